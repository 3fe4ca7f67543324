"""What exercises are made of: the bundled model, its first clip and the trace of it, each loaded once."""

from functools import cache

import numpy as np
from numpy import ndarray

from asrscope.audio import load_audio, samples
from asrscope.audio.samples import Sample
from asrscope.loading import load
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.saving.provenance import PARTS
from asrscope_course.sizes import count_parameters

__all__ = ["clip", "part_parameters", "random_array", "sentence", "tiny", "waveform"]

WORDS = [
    *("the", "a", "old", "captain", "told", "us", "story", "about"),
    *("sea", "milk", "train", "letter", "piano", "river", "museum", "spring"),
]


@cache
def tiny() -> tuple[AsrScopeForConditionalGeneration, AsrScopeProcessor]:
    """Load the bundled model; not to be changed."""
    return load("tiny")


@cache
def clip() -> Sample:
    """Take the first shipped clip, which the lectures follow."""
    return samples.load_samples()[0]


@cache
def waveform() -> ndarray:
    """Read the first shipped clip."""
    return load_audio(clip().path)


def part_parameters() -> dict[str, int]:
    """Count the parameters of the bundled model's parts."""
    model, _ = tiny()
    return {part: count_parameters(getattr(model, module)) for part, module in PARTS.items()}


def random_array(rng: np.random.Generator, *shape: int) -> ndarray:
    """Draw normal numbers in single precision."""
    return rng.standard_normal(shape).astype(np.float32)


def sentence(rng: np.random.Generator, words: int) -> list[str]:
    """Draw words, with repeats."""
    return [WORDS[index] for index in rng.integers(len(WORDS), size=words)]
