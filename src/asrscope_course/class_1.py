"""Class 1, introduction and setup: parts, sizes, sound as numbers, where weights come from."""

import numpy as np

from asrscope.audio import SAMPLE_RATE
from asrscope.loading import load
from asrscope.saving.provenance import provenance_of
from asrscope_course.engine import exercise
from asrscope_course.kinds import Choice, Function, Number
from asrscope_course.material import clip, part_parameters, random_array, waveform
from asrscope_course.texts import Text

__all__: list[str] = []

BITS = 16  # of a sample in most files
SECONDS = 10
CD_RATE = 44_100
TRAINED = (  # encoder, projector and decoder, as each option of exercise 1.4 has them
    (True, True, True),
    (True, False, True),
    (False, False, False),
)


@exercise("1.1")
def _projector_share(text: Text) -> Number:
    encoder, projector, decoder = part_parameters().values()
    total = encoder + projector + decoder
    return Number(
        text.filled(projector=projector, total=total),
        100 * projector / total,
        unit="%",
        within=0.005,
        mistakes={
            "others_alone": 100 * projector / (encoder + decoder),
            "without_encoder": 100 * projector / (projector + decoder),
            "without_decoder": 100 * projector / (encoder + projector),
            "parts": 100 / 3,
        },
    )


@exercise("1.2")
def _bytes_of_a_recording(text: Text) -> Number:
    samples, size = SECONDS * SAMPLE_RATE, BITS // 8
    return Number(
        text.filled(seconds=SECONDS, rate=SAMPLE_RATE, bits=BITS, size=size),
        samples * size,
        unit="bytes",
        mistakes={
            "bits": samples * BITS,
            "samples": samples,
            "two_channels": 2 * samples * size,
            "one_second": SAMPLE_RATE * size,
        },
    )


@exercise("1.3")
def _to_mono(text: Text) -> Function:
    return Function(
        text.filled(),
        lambda samples: samples.mean(axis=1),
        lambda rng: [(random_array(rng, 40, channels),) for channels in (1, 2, 2, 5)],
        mistakes={
            "over_time": lambda samples: samples.mean(axis=0),
            "sum": lambda samples: samples.sum(axis=1),
            "first_channel": lambda samples: samples[:, 0],
            "one_after_another": np.ravel,
        },
    )


@exercise("1.4")
def _random_projector(text: Text) -> Choice:
    model, _ = load("tiny", random_projector=True)
    return Choice(text.filled(), TRAINED.index(tuple(part.trained for part in provenance_of(model))))


@exercise("1.5")
def _seconds_of_the_clip(text: Text) -> Number:
    samples = len(waveform())
    return Number(
        text.filled(clip=clip().name, samples=samples, rate=SAMPLE_RATE),
        samples / SAMPLE_RATE,
        unit="s",
        within=0.005,
        mistakes={"samples": samples, "cd_rate": samples / CD_RATE, "last_word": clip().words[-1][2]},
    )
