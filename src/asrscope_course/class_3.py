"""Class 3, training: what is frozen, what a SwiGLU holds, the loss, its cliff, and what training costs."""

import copy
import math

import numpy as np
import torch
from torch import nn

from asrscope.loading.sizes import count_parameters, full_pair
from asrscope_course.arrays import IGNORED, losses, real_loss, real_swiglu, sigmoid, silu
from asrscope_course.coding import Case, Function
from asrscope_course.engine import exercise
from asrscope_course.kinds import Choice, Design, Mistake, Number, Option, Point
from asrscope_course.material import random_array, tiny

__all__: list[str] = []

FROZEN_BYTES, TRAINED_BYTES = 2, 16
CLIPS, PROCESSES, EACH, TURNS = 100_000, 8, 4, 2


@exercise("3.1", "Frozen is not switched off", "frozen")
def _no_grad() -> Choice:
    own = copy.deepcopy(tiny()[0]).requires_grad_(False)
    projector = own.multi_modal_projector.requires_grad_(True)
    hidden = torch.randn(1, 20, own.config.audio_config.d_model, generator=torch.Generator().manual_seed(0))
    embeds = projector(hidden)
    with torch.no_grad():
        loss = own.language_model(inputs_embeds=embeds).logits.logsumexp(-1).mean()
    right = 1
    if loss.requires_grad:
        loss.backward()
        right = 0 if projector.gate.weight.grad is not None else 2
    return Choice(
        task=(
            "The decoder is frozen while the projector learns. To save memory, somebody runs the decoder "
            "inside `with torch.no_grad():` and computes the loss from its output. What gradient does the "
            "projector get?"
        ),
        options=(
            Option(
                "The same as before: frozen weights need no gradient",
                "The decoder's *weights* need none. But the loss is behind the decoder and the projector in "
                "front of it: the gradient has to pass through. Under `no_grad` nothing is remembered that "
                "could carry it.",
            ),
            Option(
                "None: `backward` raises an error",
                "Freezing means `requires_grad_(False)` for the weights. The operations are still recorded, "
                "so the gradient passes through the decoder to the projector. `no_grad` records nothing.",
            ),
            Option(
                "A smaller one, because part of the path is missing",
                "A gradient is a product along the path from the loss. With a piece of the path missing "
                "there is none at all.",
            ),
        ),
        right=right,
        hint="Where is the loss computed, where is the projector, and what lies between them?",
        solution=(
            "The encoder is another matter: it lies in front of the projector, so it may run under "
            "`no_grad`, and what it gives may even be stored."
        ),
    )


@exercise("3.2", "Parameters of a large projector", "swiglu")
def _projector_parameters() -> Number:
    pair = full_pair()
    k, hidden = pair.config.stack_factor, pair.config.projector_hidden_size
    width, out = pair.config.audio_config.d_model, pair.config.text_config.hidden_size
    stacked = k * width
    matrices = 2 * stacked * hidden + hidden * out
    return Number(
        task=(
            f"A projector stacks k = {k} encoder positions of width {width:,}. It has an RMSNorm on the "
            f"stacked vector, a SwiGLU with a hidden layer of {hidden:,} (matrices *gate*, *up* and *down*, "
            f"no biases), and an RMSNorm on its output of width {out:,}. How many **parameters** has it?"
        ),
        answer=count_parameters(pair.multi_modal_projector),
        unit="parameters",
        hint=(
            "Two matrices read the stacked vector, one writes the output. A norm has one weight a dimension."
        ),
        solution=(
            f"{stacked:,} + 2 × {stacked:,} × {hidden:,} + {hidden:,} × {out:,} + {out:,}. The two matrices "
            "that read the stacked vector hold nearly all of it, so the count grows with *k*."
        ),
        code=(
            "from asrscope import AudioProjector\n\n"
            f"projector = AudioProjector({width}, {out}, stack_factor={k}, hidden_size={hidden})\n"
            "answer = sum(weight.numel() for weight in projector.parameters())"
        ),
        mistakes=(
            Mistake(
                stacked + stacked * hidden + hidden * out + out,
                "You counted two matrices. A SwiGLU has three: *gate* and *up* read the same input.",
            ),
            Mistake(matrices, "The matrices are right. Each norm has weights too, one a dimension."),
            Mistake(
                width + 2 * width * hidden + hidden * out + out,
                "You forgot the stacking: the input is *k* positions side by side.",
            ),
            Mistake(
                stacked + matrices + out + 2 * hidden + out,
                "You counted biases. These layers have none.",
            ),
            Mistake(
                stacked + matrices + stacked,
                "The second norm stands behind the matrices: it has the width of the output.",
            ),
        ),
    )


@exercise("3.3", "A SwiGLU", "swiglu")
def _swiglu() -> Function:
    return Function(
        name="swiglu",
        task=(
            "Write the layer in the middle of the projector: SiLU of the *gate*, times *up*, then *down*. "
            "SiLU of x is x / (1 + exp(-x)). The matrices are stored as PyTorch stores them, one row for "
            "each output."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def swiglu(x, gate, up, down):\n"
            '    """x (tokens, dim), gate and up (hidden, dim), down (out, hidden); gives (tokens, out)."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def swiglu(x, gate, up, down):\n"
            '    """x (tokens, dim), gate and up (hidden, dim), down (out, hidden); gives (tokens, out)."""\n'
            "    opened = x @ gate.T\n"
            "    opened = opened / (1 + np.exp(-opened))\n"
            "    return (opened * (x @ up.T)) @ down.T"
        ),
        reference=real_swiglu,
        cases=lambda rng: [
            (
                random_array(rng, tokens, 6),
                random_array(rng, 10, 6),
                random_array(rng, 10, 6),
                random_array(rng, 4, 10),
            )
            for tokens in (1, 5, 9)
        ],
        hint="`x @ gate.T` has shape (tokens, hidden). The product of gate and up is taken number by number.",
        solution=(
            "One linear map decides how far each hidden number is let through, the other gives the number. "
            "That is why there is one matrix more than in a plain layer."
        ),
        mistakes=(
            Mistake(
                lambda x, gate, up, down: ((x @ gate.T) * silu(x @ up.T)) @ down.T,
                "You put the SiLU on *up*. It belongs on *gate*; with trained weights the two are not the "
                "same.",
            ),
            Mistake(
                lambda x, gate, up, down: (sigmoid(x @ gate.T) * (x @ up.T)) @ down.T,
                "You used the sigmoid alone: that is a GLU. SiLU is x times its sigmoid.",
            ),
            Mistake(
                lambda x, gate, up, down: (np.maximum(x @ gate.T, 0) * (x @ up.T)) @ down.T,
                "You used ReLU in the place of SiLU: that is a ReGLU.",
            ),
            Mistake(
                lambda x, gate, up, down: (silu(x @ gate.T) + (x @ up.T)) @ down.T,
                "You added *gate* and *up*. A gate multiplies: where it is shut, nothing passes.",
            ),
            Mistake(
                lambda x, gate, up, down: ((x @ gate.T) * (x @ up.T)) @ down.T,
                "The activation is missing: gate and up are multiplied as they are.",
            ),
        ),
    )


@exercise("3.4", "The loss", "loss")
def _token_loss() -> Function:
    return Function(
        name="token_loss",
        task=(
            "Write the loss that every stage of the decoder's training lowers: the mean over all labeled "
            f"positions of minus the natural logarithm of the label's probability. A label of {IGNORED} "
            "marks a position that is not counted, such as one of the prompt."
        ),
        stub=(
            "import numpy as np\n\n\n"
            "def token_loss(logits, labels):\n"
            '    """Logits (positions, vocabulary), labels (positions,); gives one number."""\n'
            "    ..."
        ),
        code=(
            "import numpy as np\n\n\n"
            "def token_loss(logits, labels):\n"
            '    """Logits (positions, vocabulary), labels (positions,); gives one number."""\n'
            f"    counted = labels != {IGNORED}\n"
            "    logits, labels = logits[counted], labels[counted]\n"
            "    log_sums = np.log(np.exp(logits).sum(axis=1))\n"
            "    return (log_sums - logits[np.arange(len(labels)), labels]).mean()"
        ),
        reference=real_loss,
        cases=_labeled,
        hint="The logarithm of the softmax is: logit minus the logarithm of the sum of all exponentials.",
        solution=(
            "Leaving the prompt out matters: its tokens are always the same, so they would only make the "
            "mean look better than the answers are."
        ),
        mistakes=(
            Mistake(
                lambda logits, labels: losses(logits, labels).sum(),
                "You gave the sum. With a mean, long and short answers can be compared.",
            ),
            Mistake(
                lambda logits, labels: losses(logits, labels).sum() / len(labels),
                f"You divided by all positions. Those with the label {IGNORED} count neither above nor "
                "below the line.",
            ),
            Mistake(
                lambda logits, labels: losses(logits, labels).mean() / np.log(2),
                "These are bits. PyTorch, and with it this course, takes the natural logarithm.",
            ),
            Mistake(
                lambda logits, labels: -np.exp(-losses(logits, labels)).mean(),
                "You averaged probabilities. The logarithm is taken first: one label at nearly zero must "
                "hurt.",
            ),
            Mistake(
                lambda logits, labels: losses(logits, np.where(labels == IGNORED, -1, labels)).mean(),
                f"A label of {IGNORED} was used as an index: NumPy then counts from the end. Leave it out.",
            ),
        ),
    )


@exercise("3.5", "The loss of a guess", "loss")
def _loss_of_a_guess() -> Number:
    vocabulary = tiny()[0].config.text_config.vocab_size
    guess = float(nn.functional.cross_entropy(torch.zeros(1, vocabulary), torch.zeros(1, dtype=torch.long)))
    return Number(
        task=(
            f"An untrained decoder gives each of its {vocabulary:,} tokens the same probability. What is its "
            "**loss**? Three digits are enough. (A loss curve that starts much higher than this hides a "
            "mistake.)"
        ),
        answer=guess,
        within=0.003,
        hint="What is the probability of the right token, and what is minus its natural logarithm?",
        solution=(
            f"The probability is 1 / {vocabulary:,}, and minus its natural logarithm is ln {vocabulary:,}."
        ),
        code=f"import math\n\nanswer = math.log({vocabulary})",
        mistakes=(
            Mistake(math.log2(vocabulary), "These are bits: a logarithm to base 2. The loss is in nats."),
            Mistake(
                math.log10(vocabulary), "This is a logarithm to base 10. The loss takes the natural one."
            ),
            Mistake(1 / vocabulary, "This is the probability. The loss is minus its logarithm."),
            Mistake(0.0, "A loss of zero belongs to a decoder that is certain and right."),
            Mistake(-guess, "The logarithm of a probability is negative; the loss is *minus* that."),
        ),
    )


@exercise("3.6", "Memory for training", "cost")
def _training_memory() -> Number:
    pair = full_pair()
    trained = count_parameters(pair.multi_modal_projector)
    frozen = count_parameters(pair) - trained
    return Number(
        task=(
            f"The large pair has {frozen:,} frozen parameters, kept in bfloat16 ({FROZEN_BYTES} bytes "
            f"each). Its projector has {trained:,}, trained with AdamW in float32: a weight, a gradient and "
            f"two moments, {TRAINED_BYTES} bytes each. How many **GB** (10⁹ bytes) is that, without "
            "activations? One decimal is enough."
        ),
        answer=(FROZEN_BYTES * frozen + TRAINED_BYTES * trained) / 1e9,
        unit="GB",
        within=0.01,
        hint="Two products and a sum.",
        solution=(
            f"{FROZEN_BYTES} × {frozen:,} + {TRAINED_BYTES} × {trained:,} bytes. Training everything in "
            f"this way would take {TRAINED_BYTES * (frozen + trained) / 1e9:.1f} GB: that is why only the "
            "projector is trained on one card."
        ),
        code=f"answer = ({FROZEN_BYTES} * {frozen} + {TRAINED_BYTES} * {trained}) / 1e9",
        mistakes=(
            Mistake(
                TRAINED_BYTES * (frozen + trained) / 1e9,
                "This is the memory for training all of it. Frozen weights have no gradient and no moments.",
            ),
            Mistake(
                TRAINED_BYTES * trained / 1e9,
                "This is the projector alone. The frozen parts must be in memory too: each batch runs "
                "through them.",
            ),
            Mistake(
                FROZEN_BYTES * (frozen + trained) / 1e9,
                "This is what the weights take when nothing is trained. The optimizer's numbers are missing.",
            ),
        ),
    )


@exercise("3.7", "Steps on eight GPUs", "scale")
def _steps() -> Number:
    together = PROCESSES * EACH * TURNS
    return Number(
        task=(
            f"A corpus of {CLIPS:,} clips is trained on {PROCESSES} GPUs. Each takes {EACH} clips at a "
            f"time, and gradients are accumulated over {TURNS} turns before the weights change. After how "
            "many **steps** (changes of the weights) has every clip been seen once? The last step may be "
            "smaller."
        ),
        answer=-(-CLIPS // together),
        unit="steps",
        hint="How many clips go into one change of the weights?",
        solution=f"{PROCESSES} × {EACH} × {TURNS} = {together} clips a step; the division is rounded up.",
        code=f"import math\n\nanswer = math.ceil({CLIPS} / ({PROCESSES} * {EACH} * {TURNS}))",
        mistakes=(
            Mistake(
                CLIPS // together,
                "You cut the last step. A few clips are left over, and they make one more, smaller step.",
            ),
            Mistake(
                CLIPS // (EACH * TURNS),
                "You counted one GPU. All of them work on the same step, each on other clips.",
            ),
            Mistake(
                CLIPS // (PROCESSES * EACH),
                f"You forgot the accumulation: the weights change after {TURNS} turns.",
            ),
            Mistake(CLIPS // EACH, "This is the number of batches of one GPU on its own."),
        ),
    )


@exercise("3.8", "The loss stays flat", "cliff")
def _flat_loss() -> Design:
    return Design(
        task=(
            "You train a projector between frozen parts. For a thousand steps the loss falls quickly and "
            "then stays flat; the transcripts have nothing to do with the sound. Do you wait, or do you "
            "look for a mistake? Describe what you would check, in order, and what would make you wait."
        ),
        hint="What could the decoder do well without listening? What would a broken chain do?",
        solution="The rubric:",
        points=(
            Point(
                "It sees the first fall for what it is: the decoder learns how answers look, and not yet to "
                "listen.",
                ("language", "text", "listen", "prompt", "without", "ignor"),
            ),
            Point(
                "It looks for breaks in the chain: gradients of the projector, placeholders, labels, "
                "lengths.",
                ("gradient", "placeholder", "label", "length", "shape", "mask"),
            ),
            Point(
                "It makes a small test: a few clips that must be learned by heart.",
                ("overfit", "few", "small", "heart", "memorize", "single", "one"),
            ),
            Point(
                "It knows that the skill can come suddenly, and says how long it would wait and on what "
                "evidence.",
                ("sudden", "cliff", "wait", "steps", "drop", "patien"),
            ),
            Point(
                "It has a control: a random projector, or audio that does not belong to the text.",
                ("random", "control", "shuffl", "wrong", "other"),
            ),
        ),
        sample=(
            "The first fall says only that the decoder has learned how our transcripts look; it can do that "
            "without listening. I would check that the projector's gradient is not zero, that placeholders "
            "and audio tokens agree and that labels cover the answer only. Then I would overfit ten clips: "
            "if that fails, something is broken. As a control I shuffle the audio: if the loss is the same, "
            "it does not listen yet. If all this is in order I wait a few thousand steps, because the drop "
            "often comes suddenly."
        ),
    )


def _labeled(rng: np.random.Generator) -> list[Case]:
    """Draw logits with labels, some of which are not counted."""
    cases: list[Case] = []
    for positions, ignored in ((4, 1), (9, 4), (12, 5)):
        labels = rng.integers(0, 7, size=positions)
        labels[:ignored] = IGNORED
        cases.append((random_array(rng, positions, 7), labels))
    return cases
