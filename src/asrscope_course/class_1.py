"""Class 1, introduction and setup: parts, sizes, sound as numbers, what a model is good for."""

from asrscope.audio import SAMPLE_RATE
from asrscope.loading.presets import load
from asrscope.loading.provenance import provenance_of
from asrscope_course.coding import Function
from asrscope_course.engine import exercise
from asrscope_course.kinds import Choice, Design, Mistake, Number, Option, Point
from asrscope_course.material import clip, part_parameters, random_array, waveform

__all__: list[str] = []

BITS = 16  # of a sample in most files
SECONDS = 10


@exercise("1.1", "How much of it is the projector?", "parts")
def _projector_share() -> Number:
    counts = part_parameters()
    total, projector = sum(counts.values()), counts["projector"]
    return Number(
        task=(
            "`asrscope info` prints how many parameters each part of tiny has. What **percentage** of all "
            "parameters belongs to the projector, the only part that is trained to join the other two? "
            "One decimal is enough."
        ),
        answer=100 * projector / total,
        unit="%",
        within=0.005,
        hint="Divide the projector's parameters by those of all three parts together.",
        solution=(
            f"The projector has {projector:,} of {total:,} parameters. The share is larger here than in a "
            "large pair, whose decoder alone has thousands of millions."
        ),
        code=(
            "import asrscope\n\n"
            'model, _ = asrscope.load("tiny")\n'
            "projector = sum(weight.numel() for weight in model.multi_modal_projector.parameters())\n"
            "answer = 100 * projector / sum(weight.numel() for weight in model.parameters())"
        ),
        mistakes=(
            Mistake(
                100 * projector / (total - projector),
                "You divided by the parameters of encoder and decoder alone. The projector is part of the "
                "whole.",
            ),
            Mistake(
                100 * projector / (projector + counts["decoder"]),
                "You left out the encoder. It is a part too, and it is run for each clip.",
            ),
            Mistake(
                100 * projector / (projector + counts["encoder"]),
                "You left out the decoder. It is a part too, and it writes every word.",
            ),
            Mistake(
                100 / len(counts),
                "You counted parts, each as one third. Count their parameters.",
            ),
        ),
    )


@exercise("1.2", "Bytes of a recording", "numbers")
def _bytes_of_a_recording() -> Number:
    bytes_a_sample = BITS // 8
    return Number(
        task=(
            f"A recording lasts {SECONDS} s. It has one channel and {SAMPLE_RATE:,} samples a second, and "
            f"each sample is stored in {BITS} bits. How many **bytes** do the samples take, without "
            "compression and without the file's header?"
        ),
        answer=SECONDS * SAMPLE_RATE * bytes_a_sample,
        unit="bytes",
        hint="First the number of samples, then the bytes of one. A byte has 8 bits.",
        solution=(
            f"{SECONDS} s × {SAMPLE_RATE:,} samples a second × {bytes_a_sample} bytes a sample. A text of "
            "what is said in that time takes a few hundred bytes: recognition throws nearly everything away."
        ),
        code=(
            "import numpy as np\n\n"
            "import asrscope\n\n"
            f"samples = np.zeros({SECONDS} * asrscope.SAMPLE_RATE, dtype=np.int{BITS})\n"
            "answer = samples.nbytes"
        ),
        mistakes=(
            Mistake(SECONDS * SAMPLE_RATE * BITS, "These are bits. A byte has 8 of them."),
            Mistake(SECONDS * SAMPLE_RATE, "This is the number of samples. Each takes more than one byte."),
            Mistake(
                2 * SECONDS * SAMPLE_RATE * bytes_a_sample, "This counts two channels. The recording has one."
            ),
            Mistake(SAMPLE_RATE * bytes_a_sample, "This is one second of it."),
        ),
    )


@exercise("1.3", "Two channels to one", "numbers")
def _to_mono() -> Function:
    return Function(
        name="to_mono",
        task=(
            "The model hears one channel. Write `to_mono`, which averages the channels of a recording. This "
            "is what `load_audio` does with a stereo file."
        ),
        stub=(
            "def to_mono(samples):\n"
            '    """Average the channels: shape (frames, channels) to shape (frames,)."""\n'
            "    ..."
        ),
        code=(
            "def to_mono(samples):\n"
            '    """Average the channels: shape (frames, channels) to shape (frames,)."""\n'
            "    return samples.mean(axis=1)"
        ),
        reference=lambda samples: samples.mean(axis=1),
        cases=lambda rng: [(random_array(rng, 40, channels),) for channels in (1, 2, 2, 5)],
        hint="`array.mean(axis=...)` averages along one axis, and that axis is gone afterwards.",
        solution=(
            "The axis that disappears is the one to average over: axis 1, the channels. A mean, and not a "
            "sum, keeps the samples between -1 and 1."
        ),
        mistakes=(
            Mistake(
                lambda samples: samples.mean(axis=0),
                "You averaged over time: one number for each channel is left, and no sound.",
            ),
            Mistake(
                lambda samples: samples.sum(axis=1),
                "You added the channels up. Two loud channels leave the range from -1 to 1 that way.",
            ),
            Mistake(
                lambda samples: samples[:, 0],
                "You kept the first channel and dropped the others, with whoever speaks there.",
            ),
            Mistake(
                lambda samples: samples.reshape(-1),
                "You laid the channels one after the other in time: the clip plays too slowly, and wrong.",
            ),
        ),
    )


@exercise("1.4", "Where do the weights come from?", "provenance")
def _random_projector() -> Choice:
    model, _ = load("tiny", random_projector=True)
    trained = {part.part: part.trained for part in provenance_of(model)}
    expected = {
        "A": {"encoder": True, "projector": True, "decoder": True},
        "B": {"encoder": True, "projector": False, "decoder": True},
        "C": {"encoder": False, "projector": False, "decoder": False},
    }
    right = [states == trained for states in expected.values()].index(True)
    return Choice(
        task=(
            'You call `asrscope.load("tiny", random_projector=True)` and trace a clip. What will the trace '
            "say "
            "of the three parts' weights?"
        ),
        options=(
            Option(
                "All are trained: the name of the model decides.",
                "A name is a claim. The package looks at what was put where: a new projector was drawn at "
                "random.",
            ),
            Option(
                "Encoder and decoder are trained, the projector is not.",
                "Each part has a provenance of its own: source, hash, and whether it is trained. Only the "
                "projector was replaced.",
            ),
            Option(
                "None is trained: a model with a random part is random.",
                "The other two parts are loaded from the same file as always. That is what makes the random "
                "projector a control: everything else is equal.",
            ),
        ),
        right=right,
        hint="Run `asrscope trace captain --random-projector` and read the title of a figure of its report.",
        solution="The trace keeps, for each part, where its weights come from.",
    )


@exercise("1.5", "How long is the clip?", "run")
def _seconds_of_the_clip() -> Number:
    samples = waveform()
    return Number(
        task=(
            f"Load the shipped clip `{clip().name}` with `asrscope.load_sample` and `asrscope.load_audio`. "
            "How many **seconds** does it last? Three digits are enough."
        ),
        answer=len(samples) / SAMPLE_RATE,
        unit="s",
        within=0.005,
        hint=(
            "`load_audio(sample.path)` gives an array of samples; `asrscope.SAMPLE_RATE` of them make a "
            "second."
        ),
        solution=f"There are {len(samples):,} samples, {SAMPLE_RATE:,} to the second.",
        code=(
            "import asrscope\n\n"
            f'sample = asrscope.load_sample("{clip().name}")\n'
            "waveform = asrscope.load_audio(sample.path)\n"
            "answer = len(waveform) / asrscope.SAMPLE_RATE"
        ),
        mistakes=(
            Mistake(len(samples), "This is the number of samples. How many make a second?"),
            Mistake(
                len(samples) / 44_100,
                "You divided by the rate of a CD. The package brings every recording to 16 kHz.",
            ),
            Mistake(
                clip().words[-1][2], "This is where the last word ends. The clip goes on a little after it."
            ),
        ),
    )


@exercise("1.6", "Minutes of a meeting", "limits")
def _minutes_of_a_meeting() -> Design:
    return Design(
        task=(
            "A friend wants to write the minutes of her weekly meeting with tiny: five people, an hour, one "
            "telephone on the table. Write to her, in a few sentences, whether she should. Name the "
            "measurements that support you, and say how she could find out for herself."
        ),
        hint=(
            "The model card says what tiny has heard, on which sets it was measured, and how long its "
            "clips were."
        ),
        solution="The rubric:",
        points=(
            Point(
                "It says what the model was trained on: synthesized speech, and no person.",
                ("synth", "trained", "heard", "voice"),
            ),
            Point(
                "It names a measured error rate, and on what it was measured.",
                ("wer", "error", "rate", "card"),
            ),
            Point(
                "It names what differs: rooms, several speakers, other words, longer clips.",
                ("room", "noise", "speaker", "vocab", "long", "hour", "second"),
            ),
            Point(
                "It proposes a test of her own: a few recordings, written down by hand, and evaluated.",
                ("test", "try", "measur", "record", "evaluat", "compar"),
            ),
        ),
        sample=(
            "No, not for that. Tiny has heard synthesized voices only. Its model card gives the word error "
            "rates on such voices, and says how it did on digits spoken by people: look at these numbers "
            "first. A meeting has a room, several speakers, other words, and an hour in place of a few "
            "seconds. If you want to be sure, record five minutes, write down what was said, and run "
            "`asrscope evaluate` on it."
        ),
    )
