"""Class 5, looking inside: nearest tokens, attention, the lens, counterfactuals, and fair comparisons."""

import numpy as np
import torch
from numpy import ndarray

from asrscope.encoder import SECONDS_PER_POSITION, encode
from asrscope.features import log_mel
from asrscope.inside.attention import word_mask
from asrscope.inside.counterfactual import mask_span
from asrscope.loading.sizes import lengths
from asrscope_course.arrays import EPS, cosines, normed, real_lens, softmax
from asrscope_course.coding import Function
from asrscope_course.engine import exercise
from asrscope_course.kinds import Choice, Design, Mistake, Number, Option, Point
from asrscope_course.material import clip, random_array, tiny, waveform

__all__: list[str] = []

NEIGHBORS = 3  # positions that the convolutions and the windows reach
MOST = 0.9


@exercise("5.1", "The nearest text token", "gap")
def _nearest() -> Function:
    return Function(
        name="nearest",
        task=(
            "For each audio token, find the row of the embedding table that points most nearly the same "
            "way: the one with the highest cosine. Give the rows' numbers."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def nearest(audio, table):\n"
            '    """audio (tokens, dim), table (vocabulary, dim); gives (tokens,) row numbers."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def nearest(audio, table):\n"
            '    """audio (tokens, dim), table (vocabulary, dim); gives (tokens,) row numbers."""\n'
            "    audio = audio / np.linalg.norm(audio, axis=1, keepdims=True)\n"
            "    table = table / np.linalg.norm(table, axis=1, keepdims=True)\n"
            "    return (audio @ table.T).argmax(axis=1)"
        ),
        reference=lambda audio, table: cosines(audio, table).argmax(axis=1),
        cases=lambda rng: [
            (random_array(rng, tokens, 4), random_array(rng, 30, 4) * rng.uniform(0.2, 5, size=(30, 1)))
            for tokens in (20, 40)
        ],
        hint="The cosine is the dot product of two vectors of length one.",
        solution=(
            "Lengths are divided out first. Something is always nearest: what the list is worth shows only "
            "beside that of a random projector."
        ),
        mistakes=(
            Mistake(
                lambda audio, table: (audio @ table.T).argmax(axis=1),
                "You compared dot products. Long rows of the table win those, wherever they point.",
            ),
            Mistake(
                lambda audio, table: np.linalg.norm(audio[:, None] - table[None], axis=2).argmin(axis=1),
                "You compared distances. A row that points the same way but is shorter counts as far then.",
            ),
            Mistake(
                lambda audio, table: cosines(audio, table).max(axis=1),
                "These are the cosines themselves. Which rows do they belong to? (`argmax`)",
            ),
            Mistake(
                lambda audio, table: cosines(audio, table).argmin(axis=1),
                "This is the row that points most nearly the opposite way.",
            ),
            Mistake(
                lambda audio, table: cosines(audio, table).argmax(axis=0),
                "You searched along the other axis: the best audio token of each row of the table.",
            ),
        ),
    )


@exercise("5.2", "Nobody looks ahead", "attention")
def _causal() -> Function:
    return Function(
        name="causal_weights",
        task=(
            "Turn the scores of a decoder's attention into weights. A position may look at itself and at "
            "what stands before it, and the weights of each position sum to one. Row *i* of the scores says "
            "what position *i* makes of the others."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def causal_weights(scores):\n"
            '    """Scores (positions, positions) to weights of the same shape."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def causal_weights(scores):\n"
            '    """Scores (positions, positions) to weights of the same shape."""\n'
            "    allowed = np.tril(np.ones_like(scores)) == 1\n"
            "    powers = np.where(allowed, np.exp(scores), 0)\n"
            "    return powers / powers.sum(axis=1, keepdims=True)"
        ),
        reference=lambda scores: softmax(np.where(_earlier(scores), scores, -np.inf)),
        cases=lambda rng: [(random_array(rng, size, size),) for size in (2, 5, 8)],
        hint="What is in the future must weigh nothing *before* the weights are made to sum to one.",
        solution=(
            "The first position can only look at itself, so its weight is one. In the encoder there is no "
            "such mask: there every position looks at the whole clip."
        ),
        mistakes=(
            Mistake(softmax, "There is no mask: positions look ahead, as in the encoder."),
            Mistake(
                lambda scores: np.where(_earlier(scores), softmax(scores), 0),
                "You cut the future off after the softmax: the rows no longer sum to one.",
            ),
            Mistake(
                lambda scores: softmax(np.where(_earlier(scores), scores, 0)),
                "A score of zero is not a weight of zero: exp(0) is 1. The score must be minus infinity.",
            ),
            Mistake(
                lambda scores: softmax(np.where(_earlier(scores).T, scores, -np.inf)),
                "You kept the other triangle: each position sees the future and not the past.",
            ),
            Mistake(
                lambda scores: softmax(np.where(_earlier(scores), scores, -np.inf).T).T,
                "The columns sum to one. Each *row* belongs to the position that looks.",
            ),
        ),
    )


@exercise("5.3", "Listening by chance", "attention")
def _chance() -> Number:
    model, _ = tiny()
    words = clip().words
    tokens = lengths(len(waveform()) / 16_000, model.config).audio_tokens
    seconds = model.config.stack_factor * SECONDS_PER_POSITION
    word, _, _ = words[2]
    inside = int(word_mask(words, tokens, seconds)[2].sum())
    return Number(
        task=(
            f"In the clip `{clip().name}` the word *{word}* lies over {inside} of {tokens} audio tokens. A "
            f"head of attention puts a certain share of its weight on these while *{word}* is written. "
            "Which **share** would it have if it did not listen at all and spread its weight evenly over "
            "the clip?"
        ),
        answer=inside / tokens,
        within=0.01,
        hint="How much does each audio token get?",
        solution=(
            "Every share must be read beside this one. A share far above it may show that the head finds the "
            "word, but also that it knows the order of words: that needs a second control."
        ),
        code=f"answer = {inside} / {tokens}",
        mistakes=(
            Mistake(
                1 / len(words),
                "You gave each word the same share. Long words cover more audio tokens, and pauses belong "
                "to none.",
            ),
            Mistake(1 / tokens, "This is the weight of one audio token. The word covers several."),
            Mistake(1 / inside, "This is what each audio token would get if all the weight lay on the word."),
            Mistake(0.0, "Weight that is spread evenly falls on the word too."),
            Mistake(1 - inside / tokens, "This is the share that falls beside the word."),
        ),
    )


@exercise("5.4", "Through the lens", "lens")
def _lens() -> Function:
    return Function(
        name="lens",
        task=(
            "Read a vector from between the decoder's layers as if it came from the last one: apply the "
            f"final RMSNorm (each vector divided by the root of its mean square plus {EPS}, times the "
            "weight), then compare with every row of the embedding table. Give the scores."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def lens(hidden, weight, table):\n"
            '    """hidden (positions, dim), weight (dim,), table (vocabulary, dim); (positions, '
            'vocabulary)."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def lens(hidden, weight, table):\n"
            '    """hidden (positions, dim), weight (dim,), table (vocabulary, dim); (positions, '
            'vocabulary)."""\n'
            f"    scale = np.sqrt((hidden**2).mean(axis=1, keepdims=True) + {EPS})\n"
            "    return (hidden / scale * weight) @ table.T"
        ),
        reference=real_lens,
        cases=lambda rng: [
            (random_array(rng, positions, 6) + 1, random_array(rng, 6), random_array(rng, 12, 6))
            for positions in (1, 4, 9)
        ],
        hint="The mean is taken along the last axis, with `keepdims=True`, so that it can divide the rows.",
        solution=(
            "Applied to the last layer's vectors this gives the model's own scores. Applied earlier it is a "
            "way of looking: those vectors were not made to be read so."
        ),
        mistakes=(
            Mistake(
                lambda hidden, _weight, table: hidden @ table.T,
                "The norm is missing. Vectors between the layers are of very different lengths.",
            ),
            Mistake(
                lambda hidden, weight, table: (
                    normed(hidden - hidden.mean(axis=1, keepdims=True)) * weight @ table.T
                ),
                "You subtracted the mean first: that is a LayerNorm. An RMSNorm leaves it.",
            ),
            Mistake(
                lambda hidden, _weight, table: normed(hidden) @ table.T,
                "The norm's weight is missing: one number a dimension, learned.",
            ),
            Mistake(
                lambda hidden, weight, table: (
                    hidden / np.linalg.norm(hidden, axis=1, keepdims=True) * weight @ table.T
                ),
                "You divided by the length, the root of the *sum* of squares. An RMSNorm takes their mean.",
            ),
            Mistake(
                lambda hidden, weight, table: softmax(real_lens(hidden, weight, table)),
                "These are probabilities. The task asks for the scores before the softmax.",
            ),
        ),
    )


@exercise("5.5", "Silence one word", "counterfactual")
def _silenced() -> Choice:
    model, _ = tiny()
    word, start, end = clip().words[-1]
    with torch.inference_mode():
        before, after = (
            encode(
                model.audio_tower,
                torch.from_numpy(log_mel(sound, model.config.audio_config.num_mel_bins))[None],
            )
            for sound in (waveform(), mask_span(waveform(), start, end))
        )
    changed = (before != after).any(-1)[0].numpy()
    first, last = int(start / SECONDS_PER_POSITION), int(end / SECONDS_PER_POSITION) + 1
    outside = np.ones(len(changed), dtype=bool)
    outside[max(0, first - NEIGHBORS) : last + NEIGHBORS] = False
    share = float(changed[outside].mean())
    right = 0 if not changed.any() else 1 if share == 0 else 3 if share > MOST else 2
    return Choice(
        task=(
            f"In the clip `{clip().name}` you silence the last word, *{word}*, and leave everything else as "
            "it was. Which of the encoder's output vectors change?"
        ),
        options=(
            Option(
                "None: the other words are the same",
                "The silenced stretch itself must look different at least.",
            ),
            Option(
                "Those of the silenced stretch, and a few neighbors",
                "That would be so after the two convolutions, which look at a few frames. But layers of "
                "attention follow.",
            ),
            Option(
                "Those of the silenced stretch and about half of the others",
                "Attention does not stop halfway: in each layer every position takes in something of every "
                "other.",
            ),
            Option(
                "Nearly all of them, from the first word on",
                "In each layer every position takes in something of every other, before it and after it. So "
                "a vector of the first word can carry something of the last one. *How much* it changes is "
                "another question.",
            ),
        ),
        right=right,
        hint="In which direction does attention look in an encoder?",
        solution=(
            f"We tried it: {100 * share:.0f} % of the vectors outside of the word and its neighbors differ. "
            "This is why a place in the encoder's output is not simply *the sound at that moment*."
        ),
    )


@exercise("5.6", "A fair comparison", "claims")
def _ablation() -> Design:
    return Design(
        task=(
            "You believe that the projector's gate (the SwiGLU) is what makes tiny work, and you want to "
            "show it by an experiment. Describe it so that somebody who doubts you would accept the result: "
            "what is changed, what is kept equal, what is measured, and what would prove you wrong."
        ),
        hint="A layer without a gate has fewer parameters. Is that the gate, then, or the size?",
        solution="The rubric:",
        points=(
            Point(
                "One thing is changed: a layer without a gate in its place.",
                ("replac", "without", "remov", "plain", "relu"),
            ),
            Point(
                "The rest is kept equal: number of parameters, data, steps, learning rate tuned for both.",
                ("parameter", "equal", "same", "data", "steps"),
            ),
            Point(
                "Several seeds, so that luck can be told from effect.",
                ("seed", "repeat", "runs", "times", "variance"),
            ),
            Point(
                "A measurement on held-out clips, with its interval, chosen before the experiment.",
                ("wer", "held", "test", "interval", "measur", "loss"),
            ),
            Point(
                "It says what result would refute the belief, and how far the result reaches.",
                ("wrong", "refut", "otherwise", "if the", "if both", "only", "would"),
            ),
        ),
        sample=(
            "I train two projectors: ours, and a plain layer without a gate whose hidden size is raised "
            "until both have the same number of parameters. Data, steps and frozen parts are the same, and "
            "the learning rate is tuned for each. I repeat both with five seeds and measure the word error "
            "rate on held-out clips with its bootstrap interval. If the intervals overlap, I was wrong: "
            "then the size mattered and not the gate. Even if not, the result holds only for this model and "
            "this much data."
        ),
    )


def _earlier(scores: ndarray) -> ndarray:
    """Mark where a position may look."""
    return np.tri(len(scores), dtype=bool)
