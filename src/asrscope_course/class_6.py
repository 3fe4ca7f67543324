"""Class 6, scaling up: memory, the cache, padding, fewer bits, long recordings, noise."""

import numpy as np
from numpy import ndarray

from asrscope.loading.sizes import (
    cache_bytes_per_token,
    count_parameters,
    encoder_flops,
    full_pair,
    lengths,
    weight_bytes,
)
from asrscope_course.coding import Case, Function
from asrscope_course.engine import exercise
from asrscope_course.kinds import Design, Mistake, Number, Point
from asrscope_course.material import random_array

__all__: list[str] = []

SECONDS = 3.0
LEVELS = 127  # of int8, on each side of zero


@exercise("6.1", "The large pair in four bits", "memory")
def _four_bits() -> Number:
    pair = full_pair()
    total, decoder = count_parameters(pair), count_parameters(pair.language_model)
    return Number(
        task=(
            f"The large pair has {total:,} parameters. How many **GB** (10⁹ bytes) do its weights take if "
            "each is stored in 4 bits? Leave out what the format stores beside them. Two digits are enough."
        ),
        answer=weight_bytes(total, 4) / 1e9,
        unit="GB",
        within=0.02,
        hint="How many parameters fit into a byte?",
        solution=(
            f"Half a byte each. In bfloat16 it is {weight_bytes(total, 16) / 1e9:.1f} GB, in int8 "
            f"{weight_bytes(total, 8) / 1e9:.1f} GB. Activations and the decoder's cache come on top, in "
            "any format."
        ),
        code=f"answer = {total} * 4 / 8 / 1e9",
        mistakes=(
            Mistake(weight_bytes(total, 16) / 1e9, "This is bfloat16: two bytes a parameter."),
            Mistake(weight_bytes(total, 8) / 1e9, "This is int8: one byte a parameter."),
            Mistake(
                4 * total / 1e9,
                "You took four *bytes* a parameter: that is float32. Four bits are half a byte.",
            ),
            Mistake(
                weight_bytes(decoder, 4) / 1e9, "This is the decoder alone. The pair has an encoder too."
            ),
        ),
    )


@exercise("6.2", "What the decoder keeps", "memory")
def _cache() -> Number:
    pair = full_pair()
    text, clip = pair.config.text_config, lengths(pair.config.window_seconds, pair.config)
    head = text.hidden_size // text.num_attention_heads
    each, heads = cache_bytes_per_token(text), text.num_attention_heads // text.num_key_value_heads
    return Number(
        task=(
            f"The large pair makes {clip.audio_tokens} audio tokens of a full window. Its decoder has "
            f"{text.num_hidden_layers} layers, each with {text.num_attention_heads} heads of {head} "
            f"numbers, of which {text.num_key_value_heads} keep keys and values of their own. How many "
            "**MB** (10⁶ bytes) does its cache take for these audio tokens in bfloat16? Three digits are "
            "enough."
        ),
        answer=each * clip.audio_tokens / 1e6,
        unit="MB",
        within=0.005,
        hint=(
            "Per token: a key and a value, in each layer, for each head that keeps its own, two bytes a "
            "number."
        ),
        solution=(
            f"2 × {text.num_hidden_layers} × {text.num_key_value_heads} × {head} × 2 bytes = {each:,} bytes "
            f"a token, times {clip.audio_tokens}. Sharing keys and values among heads makes it {heads} "
            "times smaller."
        ),
        code=(
            f"bytes_a_token = 2 * {text.num_hidden_layers} * {text.num_key_value_heads} * {head} * 2\n"
            f"answer = bytes_a_token * {clip.audio_tokens} / 1e6"
        ),
        mistakes=(
            Mistake(
                heads * each * clip.audio_tokens / 1e6,
                "You counted all heads. Groups of them share keys and values, to keep the cache small.",
            ),
            Mistake(
                each * clip.audio_tokens / 2e6,
                "You counted keys and no values, or one byte a number. Both are kept, in two bytes each.",
            ),
            Mistake(
                each * clip.audio_tokens / text.num_hidden_layers / 1e6,
                "This is one layer. Each keeps its own.",
            ),
            Mistake(
                each * clip.positions / 1e6,
                "You counted encoder positions. The projector makes fewer vectors of them, and only these "
                "enter the decoder.",
            ),
        ),
    )


@exercise("6.3", "What padding costs", "padding")
def _padding() -> Number:
    pair = full_pair()
    padded, true = (lengths(SECONDS, pair.config, pad=pad).positions for pad in (True, False))
    width, layers = pair.config.audio_config.d_model, pair.config.audio_config.encoder_layers
    return Number(
        task=(
            f"Whisper's encoder fills a clip of {SECONDS:g} s up to its window: {padded:,} positions in the "
            f"place of {true}. How many **times** more work does the large pair's encoder do for that? "
            "Count with `asrscope.loading.sizes.encoder_flops`: work with weights grows with the positions, "
            "attention with their square. Three digits are enough."
        ),
        answer=encoder_flops(pair.audio_tower, padded) / encoder_flops(pair.audio_tower, true),
        unit="times",
        within=0.005,
        hint="`full_pair()` builds the encoder without weights; `encoder_flops(encoder, positions)` counts.",
        solution=(
            "More than the ratio of the lengths, because of attention; far less than its square, because "
            "most of the work is with weights."
        ),
        code=(
            "from asrscope.loading.sizes import encoder_flops, full_pair\n\n"
            "encoder = full_pair().audio_tower\n"
            f"answer = encoder_flops(encoder, {padded}) / encoder_flops(encoder, {true})"
        ),
        mistakes=(
            Mistake(
                padded / true,
                "This is the ratio of the lengths. Attention compares every position with every other: its "
                "part grows with the square.",
            ),
            Mistake(
                (padded / true) ** 2,
                "You squared everything. Only attention grows with the square; work with weights does not.",
            ),
            Mistake(
                encoder_flops(pair.audio_tower, padded)
                / (encoder_flops(pair.audio_tower, true) - 4 * true**2 * width * layers),
                "You left attention out of the short clip.",
            ),
            Mistake(
                1 - true / padded,
                "This is the share of positions that hold only padding. How many times more work is it?",
            ),
        ),
    )


@exercise("6.4", "Eight bits for a matrix", "quantize")
def _quantize() -> Function:
    return Function(
        name="quantize",
        task=(
            "Store a matrix in int8 and read it again: each row has a scale of its own, its largest "
            f"absolute value divided by {LEVELS}; each number becomes the nearest whole multiple of the "
            "scale. Give the matrix as it is read again, in floating point."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def quantize(weight):\n"
            '    """Shape (out, in), no row of zeros; gives the rounded matrix, of the same shape."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def quantize(weight):\n"
            '    """Shape (out, in), no row of zeros; gives the rounded matrix, of the same shape."""\n'
            f"    scale = np.abs(weight).max(axis=1, keepdims=True) / {LEVELS}\n"
            "    return np.round(weight / scale).astype(np.int8) * scale"
        ),
        reference=lambda weight: _rounded(weight, np.abs(weight).max(axis=1, keepdims=True)),
        cases=lambda rng: [
            (random_array(rng, rows, 8) * rng.uniform(0.5, 20, size=(rows, 1)),) for rows in (2, 5)
        ],
        hint="`np.abs(weight).max(axis=1, keepdims=True)` has shape (out, 1) and divides row by row.",
        solution=(
            "The error of a number is at most half of its row's scale. One number far outside makes the "
            "scale of its row large and all others in it coarse: that is why rows, or shorter groups, have "
            "their own."
        ),
        mistakes=(
            Mistake(
                lambda weight: _rounded(weight, np.abs(weight).max(keepdims=True)),
                "You used one scale for the whole matrix. Rows of small numbers lose nearly everything then.",
            ),
            Mistake(
                lambda weight: _rounded(weight, np.abs(weight).max(axis=0, keepdims=True)),
                "You gave each column a scale. The rows have one each: they belong to one output.",
            ),
            Mistake(
                lambda weight: weight,
                "Nothing is rounded. There are only 255 different whole numbers to store.",
            ),
            Mistake(
                lambda weight: _cut(weight, np.abs(weight).max(axis=1, keepdims=True)),
                "You cut the fraction off. The nearest whole number has half of that error at most.",
            ),
            Mistake(
                lambda weight: np.round(weight * LEVELS / np.abs(weight).max(axis=1, keepdims=True)),
                "These are the whole numbers as they are stored. Reading them again multiplies by the scale.",
            ),
        ),
    )


@exercise("6.5", "A long recording", "long")
def _windows() -> Function:
    return Function(
        name="windows",
        task=(
            "The encoder takes a window of limited length. Cut a recording into stretches that follow each "
            "other without gap and without overlap, all as long as allowed but the last. Give first sample "
            "and the sample after the last of each."
        ),
        stub=(
            "def windows(samples, longest):\n"
            '    """Two whole numbers; gives a list of pairs (first, end)."""\n'
            "    ..."
        ),
        code=(
            "def windows(samples, longest):\n"
            '    """Two whole numbers; gives a list of pairs (first, end)."""\n'
            "    starts = range(0, samples, longest)\n"
            "    return [(start, min(start + longest, samples)) for start in starts]"
        ),
        reference=_real_windows,
        cases=lambda rng: [(100, 40), (80, 40), (39, 40), (40, 40), (int(rng.integers(500, 900)), 70)],
        hint="`range(0, samples, longest)` gives the starts. Where does the last stretch end?",
        solution=(
            "This cuts through words. `asrscope.recognition.transcribe.cut_windows` looks for a pause near "
            "each cut, and where there is none lets two windows overlap, so that their texts can be joined."
        ),
        mistakes=(
            Mistake(
                lambda samples, longest: [
                    (start, start + longest) for start in range(0, samples - longest + 1, longest)
                ],
                "The remainder is dropped: the end of the recording is never heard.",
            ),
            Mistake(
                lambda samples, longest: [(start, start + longest) for start in range(0, samples, longest)],
                "The last stretch goes on after the end of the recording.",
            ),
            Mistake(
                lambda samples, longest: [
                    (start, min(start + longest, samples) - 1) for start in range(0, samples, longest)
                ],
                "The second number is the sample *after* the last, as in a Python slice. One sample is lost "
                "at each cut otherwise.",
            ),
            Mistake(
                lambda samples, longest: (
                    [*_real_windows(samples, longest), (samples, samples)]
                    if samples % longest == 0
                    else _real_windows(samples, longest)
                ),
                "There is an empty stretch at the end when the length fits exactly.",
            ),
        ),
    )


@exercise("6.6", "Noise of a given strength", "robust")
def _noise() -> Function:
    return Function(
        name="add_noise",
        task=(
            "Robustness is measured under noise of a known strength. Add a noise to a clip so that the "
            "signal-to-noise ratio is as asked: ten times the logarithm (base 10) of the clip's mean power "
            "over that of the noise."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def add_noise(clip, noise, snr_db):\n"
            '    """Two arrays (samples,) and a number of decibels; gives (samples,)."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def add_noise(clip, noise, snr_db):\n"
            '    """Two arrays (samples,) and a number of decibels; gives (samples,)."""\n'
            "    wanted = (clip**2).mean() / 10 ** (snr_db / 10)  # power of the noise\n"
            "    return clip + noise * np.sqrt(wanted / (noise**2).mean())"
        ),
        reference=lambda clip, noise, snr_db: clip + noise * _ratio(clip, noise) * 10 ** (-snr_db / 20),
        cases=_noisy,
        hint="First the power that the noise must have; then the factor for its samples, a square root.",
        solution=(
            "Power goes with the square of the samples, so 20 dB less power is a tenth of the amplitude. At "
            "0 dB both are equally strong."
        ),
        mistakes=(
            Mistake(
                lambda clip, noise, snr_db: clip + noise * _ratio(clip, noise) * 10 ** (-snr_db / 10),
                "You scaled the samples by the ratio of *powers*. The power goes with the square of the "
                "samples: take the root.",
            ),
            Mistake(
                lambda clip, noise, snr_db: clip + noise * _ratio(clip, noise) * 10 ** (snr_db / 20),
                "The sign is turned round: more decibels must mean less noise.",
            ),
            Mistake(
                lambda clip, noise, snr_db: clip + noise * 10 ** (-snr_db / 20),
                "You did not measure how strong clip and noise are. The ratio is between the two.",
            ),
            Mistake(
                lambda clip, noise, snr_db: (
                    clip + noise * np.abs(clip).max() / np.abs(noise).max() * 10 ** (-snr_db / 20)
                ),
                "You compared the peaks. The ratio is one of mean powers.",
            ),
            Mistake(
                lambda clip, noise, snr_db: noise * _ratio(clip, noise) * 10 ** (-snr_db / 20),
                "This is the noise alone. Add it to the clip.",
            ),
        ),
    )


@exercise("6.7", "A model for a phone", "choose")
def _phone() -> Design:
    return Design(
        task=(
            "A notes app is to transcribe speech on the phone itself, with 4 GB of memory for everything "
            "and no network. Choose a design in the manner of this course (encoder, projector, decoder), "
            "give sizes, and say what you would measure before you promise anything."
        ),
        hint="Weights, cache and activations share the memory. Which part is largest, and what shrinks it?",
        solution="The rubric:",
        points=(
            Point(
                "It counts memory: parameters times bits, the cache, and room for the rest.",
                ("memory", "gb", "mb", "bits", "int4", "int8", "cache"),
            ),
            Point(
                "It finds the decoder to be the largest part, and makes that smaller first.",
                ("decoder", "language"),
            ),
            Point(
                "It measures the loss by fewer bits on its own test set, and does not assume it.",
                ("wer", "measur", "quanti", "error", "test"),
            ),
            Point(
                "It avoids padding and plans for long recordings.",
                ("pad", "window", "long", "true", "chunk", "stream"),
            ),
            Point(
                "It tests on such phones, in such rooms, with such voices.",
                ("noise", "room", "voice", "accent", "phone", "device", "real"),
            ),
        ),
        sample=(
            "The encoder of Whisper with a decoder of about a thousand million parameters: in int4 the "
            "weights take less than 1 GB, the cache of a minute some tens of MB, which leaves room for the "
            "app. The decoder is the largest part, so it is the one to choose small and to quantize. I "
            "would run the encoder at true length and cut long notes at pauses. Before promising anything I "
            "would measure the word error rate in bfloat16 and in int4 on the same recordings, made with "
            "phones, in cafés and cars, by people with different accents, and the time on the slowest phone."
        ),
    )


def _rounded(weight: ndarray, largest: ndarray) -> ndarray:
    scale = largest / LEVELS
    return np.asarray(np.round(weight / scale) * scale)


def _cut(weight: ndarray, largest: ndarray) -> ndarray:
    scale = largest / LEVELS
    return np.asarray(np.trunc(weight / scale) * scale)


def _real_windows(samples: int, longest: int) -> list[tuple[int, int]]:
    return [(start, min(start + longest, samples)) for start in range(0, samples, longest)]


def _ratio(clip: ndarray, noise: ndarray) -> float:
    """Factor that makes the noise as strong as the clip."""
    return float(np.sqrt((clip**2).mean() / (noise**2).mean()))


def _noisy(rng: np.random.Generator) -> list[Case]:
    return [
        (0.3 * random_array(rng, 400), float(level) * random_array(rng, 400), decibels)
        for level, decibels in ((1, 10), (5, 0), (0.1, 20), (2, -5))
    ]
