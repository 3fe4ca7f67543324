"""Class 2, the architecture: lengths, sampling, stacking, the projector's view, audio in a prompt."""

import numpy as np
import torch
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE
from asrscope.loading.sizes import lengths
from asrscope.projector import count_audio_tokens
from asrscope_course.arrays import grouped, stacked
from asrscope_course.coding import Case, Function
from asrscope_course.engine import exercise
from asrscope_course.kinds import Choice, Design, Mistake, Number, Option, Point
from asrscope_course.material import random_array, tiny

__all__: list[str] = []

SECONDS = 2.5
TONE = 10_000  # Hz, above half the sampling rate
CHANGED = 21  # an encoder position


@exercise("2.1", "Count the audio tokens", "lengths")
def _count_tokens() -> Function:
    return Function(
        name="count_tokens",
        task=(
            "The projector lays *k* neighboring encoder positions side by side and makes one audio token of "
            "them. A remainder of fewer than *k* positions is cut. Write `count_tokens`."
        ),
        stub=(
            "def count_tokens(positions, k):\n"
            '    """Number of audio tokens that so many encoder positions give."""\n'
            "    ..."
        ),
        code=(
            "def count_tokens(positions, k):\n"
            '    """Number of audio tokens that so many encoder positions give."""\n'
            "    return (positions - k) // k + 1"
        ),
        reference=count_audio_tokens,
        cases=lambda rng: [
            (int(k) * int(rng.integers(1, 300)) + int(rest), int(k))
            for k in (1, 2, 4, 5, 8)
            for rest in range(int(k))
        ],
        hint="How many whole groups of *k* fit? Try 10, 11 and 14 positions with k = 5 on paper.",
        solution=(
            "`positions // k` gives the same. The longer form, `(positions - k) // k + 1`, is that of any "
            "window that moves on by a step: (length - window) // step + 1, with a window and a step of *k*."
        ),
        mistakes=(
            Mistake(
                lambda positions, k: -(-positions // k),
                "You rounded up. The last group is then not full, and its missing positions would have to be "
                "invented. Some systems pad with zeros here; this one cuts.",
            ),
            Mistake(
                lambda positions, k: positions // k + 1,
                "You counted one group too many: `positions // k` is already the number of full groups.",
            ),
            Mistake(
                lambda positions, k: positions - k + 1,
                "This counts windows that overlap, one starting at every position. The groups lie side by "
                "side.",
            ),
            Mistake(
                lambda positions, k: positions / k,
                "You divided without cutting. Half an audio token does not exist: use `//`.",
            ),
            Mistake(
                lambda positions, k: positions * k, "You multiplied. Stacking makes fewer vectors, not more."
            ),
        ),
    )


@exercise("2.2", "From seconds to audio tokens", "lengths")
def _tokens_of_a_clip() -> Number:
    config = tiny()[0].config
    k = config.stack_factor
    sizes, window = lengths(SECONDS, config), lengths(SECONDS, config, pad=True)
    return Number(
        task=(
            f"Suppose a clip of {SECONDS} s. How many audio tokens does tiny make of it? Tiny runs its "
            f"encoder at the clip's true length and stacks k = {k} positions."
        ),
        answer=sizes.audio_tokens,
        unit="audio tokens",
        hint="Seconds to frames of 10 ms, frames to positions (half as many), positions to groups of *k*.",
        solution=(
            f"{sizes.samples:,} samples, {sizes.frames} frames, {sizes.positions} positions, "
            f"{sizes.audio_tokens} audio tokens."
        ),
        code=(
            f"frames = round({SECONDS} * 100)\npositions = frames // 2\nanswer = (positions - {k}) // {k} + 1"
        ),
        mistakes=(
            Mistake(sizes.samples, "These are the samples."),
            Mistake(sizes.frames, "These are the frames of the spectrogram, one each 10 ms."),
            Mistake(
                sizes.positions,
                "These are the encoder positions, one each 20 ms. The projector stacks them.",
            ),
            Mistake(
                window.audio_tokens,
                "This is what a full window gives. Whisper as published pads every clip to it; tiny does "
                "not.",
            ),
            Mistake(sizes.audio_tokens + 1, "One too many: only full groups count."),
        ),
    )


@exercise("2.3", "Stack positions", "projector")
def _stack() -> Function:
    return Function(
        name="stack",
        task=(
            "Write the first step of the projector: lay *k* neighboring positions side by side as one longer "
            "vector. A remainder is cut. Nothing is averaged."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def stack(hidden, k):\n"
            '    """Shape (positions, width) to shape (positions // k, k * width)."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def stack(hidden, k):\n"
            '    """Shape (positions, width) to shape (positions // k, k * width)."""\n'
            "    positions, width = hidden.shape\n"
            "    tokens = positions // k\n"
            "    return hidden[: tokens * k].reshape(tokens, k * width)"
        ),
        reference=stacked,
        cases=lambda rng: [
            (random_array(rng, int(k) * 6 + rest, 4), int(k)) for k, rest in ((2, 0), (2, 1), (5, 0), (5, 3))
        ],
        hint="Cut the array to a multiple of *k* rows, then `reshape`. Rows are stored one after the other.",
        solution=(
            "Two neighbors lie one after the other in memory, so `reshape` joins them without moving a "
            "number. The first row of the result is position 0 followed by position 1."
        ),
        mistakes=(
            Mistake(
                lambda hidden, k: grouped(hidden, k).mean(axis=1),
                "You averaged the positions of a group. That is pooling: the vector stays as wide as "
                "before, and what differs within the group is lost.",
            ),
            Mistake(
                lambda hidden, k: grouped(hidden, k)[:, 0],
                "You kept one position of each group. Stacking loses none.",
            ),
            Mistake(
                lambda hidden, k: grouped(hidden, k).transpose(0, 2, 1).reshape(len(hidden) // k, -1),
                "The numbers of the positions are interleaved: first the first number of each, then the "
                "second. The projector expects one whole position after the other.",
            ),
            Mistake(
                lambda hidden, k: (
                    hidden[: len(hidden) // k * k]
                    .reshape(k, -1, hidden.shape[1])
                    .transpose(1, 0, 2)
                    .reshape(len(hidden) // k, -1)
                ),
                "You joined positions that lie far apart. The positions of a group are neighbors.",
            ),
            Mistake(
                _padded_stack,
                "You filled the remainder up with zeros and kept it. Here it is cut.",
            ),
        ),
    )


@exercise("2.4", "A tone that is too high", "sound")
def _alias() -> Number:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    heard = int(np.abs(np.fft.rfft(np.sin(2 * np.pi * TONE * time))).argmax())
    return Number(
        task=(
            f"A tone of {TONE:,} Hz is sampled at {SAMPLE_RATE:,} samples a second, and nobody filters it "
            "before. Which **frequency** does it have when the samples are played?"
        ),
        answer=heard,
        unit="Hz",
        hint="Half the sampling rate is a mirror. How far above it is the tone?",
        solution=(
            f"The tone lies {TONE - SAMPLE_RATE // 2:,} Hz above the Nyquist frequency and comes out as far "
            f"below it: {SAMPLE_RATE:,} - {TONE:,}. The samples of both tones are the same numbers, so no "
            "later step can tell them apart."
        ),
        code=(
            "import numpy as np\n\n"
            f"time = np.arange({SAMPLE_RATE}) / {SAMPLE_RATE}  # one second\n"
            f"spectrum = np.abs(np.fft.rfft(np.sin(2 * np.pi * {TONE} * time)))\n"
            "answer = spectrum.argmax()  # bin 0 is 0 Hz, bin 1 is 1 Hz"
        ),
        mistakes=(
            Mistake(TONE, "Samples at this rate cannot hold that frequency: two for each period are needed."),
            Mistake(
                SAMPLE_RATE // 2,
                "The tone is not stopped at the Nyquist frequency. It is mirrored there.",
            ),
            Mistake(
                TONE - SAMPLE_RATE // 2,
                "That is how far it lies above the Nyquist frequency. It comes out that far *below* it.",
            ),
            Mistake(TONE // 2, "The frequency is not halved."),
            Mistake(
                0, "It does not vanish: nothing took it out before sampling. That is what the filter is for."
            ),
        ),
    )


@exercise("2.5", "How far does the projector see?", "projector")
def _view_of_the_projector() -> Choice:
    model, _ = tiny()
    projector = model.multi_modal_projector
    with torch.inference_mode():
        hidden = torch.randn(
            1, 60, model.config.audio_config.d_model, generator=torch.Generator().manual_seed(0)
        )
        changed = hidden.clone()
        changed[0, CHANGED] += 1
        differ = int((projector(hidden) != projector(changed)).any(-1).sum())
    counts = {0: 0, 1: 1, model.config.stack_factor + 1: 2, 60 // model.config.stack_factor: 3}
    return Choice(
        task=(
            f"Take the encoder's output for a clip and change position {CHANGED} alone. How many audio "
            "tokens does the projector give that differ from before?"
        ),
        options=(
            Option(
                "None", "A change of its input does reach the projector: nothing is rounded or averaged away."
            ),
            Option(
                "One",
                "Each position belongs to one group, and each audio token is computed from its group alone. "
                "Everything that needs the rest of the clip is the business of encoder and decoder.",
            ),
            Option(
                "A few: its own and those of the neighboring groups",
                "Groups do not overlap, and the projector has no convolution and no attention that would "
                "carry anything across.",
            ),
            Option(
                "All of them",
                "That would be so if the *sound* were changed: the encoder's attention looks at the whole "
                "clip. The projector comes after it and has no view of other positions.",
            ),
        ),
        right=counts[differ],
        hint="Change one row of the projector's input and compare the rows of its output.",
        solution=f"We tried it: {differ} of {60 // model.config.stack_factor} audio tokens differ.",
    )


@exercise("2.6", "Put audio into the prompt", "decoder")
def _splice() -> Function:
    return Function(
        name="splice",
        task=(
            "The prompt holds one placeholder for each audio token. Write `splice`, which gives the "
            "embeddings of the prompt with the audio tokens in the places of the placeholders, in order. If "
            "the counts differ, raise a `ValueError`."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def splice(embeds, is_audio, audio):\n"
            '    """Embeddings (positions, width), marks (positions,), audio tokens (tokens, width)."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def splice(embeds, is_audio, audio):\n"
            '    """Embeddings (positions, width), marks (positions,), audio tokens (tokens, width)."""\n'
            "    if is_audio.sum() != len(audio):\n"
            '        raise ValueError(f"{is_audio.sum()} placeholders, but {len(audio)} audio tokens")\n'
            "    spliced = embeds.copy()\n"
            "    spliced[is_audio] = audio\n"
            "    return spliced"
        ),
        reference=_spliced,
        cases=_prompts,
        hint="A Boolean array can stand in the place of an index: `array[marks] = rows`.",
        solution=(
            "Counting first is what keeps a clip from losing its end without anybody noticing. The model of "
            "this package refuses in the same way."
        ),
        mistakes=(
            Mistake(
                _splice_in_front,
                "You put the audio at the front. It belongs where the placeholders are, with text before "
                "and after.",
            ),
            Mistake(
                lambda embeds, is_audio, audio: np.concatenate([embeds[~is_audio], audio]),
                "You took the placeholders out and put the audio behind the text. The order of the prompt "
                "is lost.",
            ),
            Mistake(
                _splice_some,
                "You used as many audio tokens as there are placeholders, or the other way round. When the "
                "counts differ, something went wrong before: raise a `ValueError`.",
            ),
            Mistake(
                _splice_added,
                "You added the audio to the placeholders' own embeddings. It takes their place.",
            ),
        ),
    )


@exercise("2.7", "Is it trained?", "provenance")
def _is_it_trained() -> Design:
    return Design(
        task=(
            "A colleague sends you a colorful picture of a projector's output and writes: *look, it has "
            "learned to translate speech*. What do you ask for before you believe it? Say what each thing "
            "would show."
        ),
        hint="What would the picture look like if nothing had been trained at all?",
        solution="The rubric:",
        points=(
            Point(
                "The provenance of the weights: source, hash, and whether they are trained.",
                ("provenance", "source", "hash", "weights", "checkpoint"),
            ),
            Point(
                "A control: the same picture of a random projector.",
                ("random", "control", "untrained", "baseline"),
            ),
            Point(
                "A measurement in the place of an impression: an error rate, or a cosine compared with "
                "chance.",
                ("measur", "wer", "error", "cosine", "rate", "number"),
            ),
            Point(
                "The limits of the claim: a picture of vectors says nothing about meaning or translation.",
                ("claim", "mean", "translat", "prove", "show"),
            ),
        ),
        sample=(
            "Which weights are these: from which file, with which hash, and does the trace say that the "
            "projector is trained? Please send the same picture with a random projector, from the same "
            "clip; if the two look alike, the picture shows the encoder's output and no learning. And what "
            "is the word error rate with each of them? Even then I would claim only that the decoder can "
            "use these vectors, not that they mean anything."
        ),
    )


def _padded_stack(hidden: ndarray, k: int) -> ndarray:
    return stacked(np.pad(hidden, ((0, -len(hidden) % k), (0, 0))), k)


def _spliced(embeds: ndarray, is_audio: ndarray, audio: ndarray) -> ndarray:
    placeholders = int(is_audio.sum())
    if placeholders != len(audio):
        raise ValueError(
            f"expected one placeholder for each audio token, but found {placeholders}, {len(audio)}"
        )
    spliced = embeds.copy()
    spliced[is_audio] = audio
    return spliced


def _splice_in_front(embeds: ndarray, is_audio: ndarray, audio: ndarray) -> ndarray:
    _spliced(embeds, is_audio, audio)
    return np.concatenate([audio, embeds[len(audio) :]])


def _splice_some(embeds: ndarray, is_audio: ndarray, audio: ndarray) -> ndarray:
    spliced = embeds.copy()
    places = np.flatnonzero(is_audio)[: len(audio)]
    spliced[places] = audio[: len(places)]
    return spliced


def _splice_added(embeds: ndarray, is_audio: ndarray, audio: ndarray) -> ndarray:
    return np.asarray(embeds + _spliced(np.zeros_like(embeds), is_audio, audio))


def _prompts(rng: np.random.Generator) -> list[Case]:
    """Draw prompts with audio in the middle; in the last two the counts differ."""
    cases: list[Case] = []
    for tokens, given in ((3, 3), (7, 7), (4, 3), (4, 5)):
        is_audio = np.zeros(tokens + 5, dtype=bool)
        is_audio[3 : 3 + tokens] = True
        cases.append((random_array(rng, tokens + 5, 6), is_audio, random_array(rng, given, 6)))
    return cases
