"""What exercises are made of: the bundled model, its first clip and the trace of it, each loaded once."""

import json
from functools import cache
from typing import Any

import numpy as np
from numpy import ndarray

from asrscope.audio import load_audio, samples
from asrscope.audio.samples import Sample
from asrscope.loading import load
from asrscope.loading.checkpoints import CHECKPOINTS
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope_course.sizes import count_parameters

__all__ = ["clip", "metrics", "part_parameters", "random_array", "sentence", "tiny", "waveform"]

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


@cache
def metrics() -> dict[str, Any]:
    """Read what was measured of the bundled model."""
    path = CHECKPOINTS / "tiny" / "metrics.json"
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def part_parameters() -> dict[str, int]:
    """Count the parameters of the bundled model's parts."""
    model, _ = tiny()
    return {
        "encoder": count_parameters(model.audio_tower),
        "projector": count_parameters(model.multi_modal_projector),
        "decoder": count_parameters(model.language_model),
    }


def random_array(rng: np.random.Generator, *shape: int) -> ndarray:
    """Draw normal numbers in single precision."""
    return rng.standard_normal(shape).astype(np.float32)


def sentence(rng: np.random.Generator, words: int) -> list[str]:
    """Draw words, with repeats."""
    return [WORDS[index] for index in rng.integers(len(WORDS), size=words)]
