"""Which outputs of the encoder an audio token depends on, against how each class joins them."""

import numpy as np
import pytest

from asrscope.inside.reach import connector_reach
from asrscope_course import systems
from asrscope_course.architectures import tiny_random

SAMPLE_RATE = 16_000


def noise(rng, seconds):
    return (0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


# How the classes join positions, from their code: windows of Granite's are read whole by each of 3 queries.
READS = {
    "voxtral": lambda token: (4 * token, 4 * token + 3),
    "glmasr": lambda token: (4 * token, 4 * token + 3),
    "audioflamingo3": lambda token: (2 * token, 2 * token + 1),
    "qwen2_audio": lambda token: (2 * token, 2 * token + 1),
    "granite_speech": lambda token: (15 * (token // 3), 15 * (token // 3) + 14),
}


@pytest.mark.parametrize("key", systems.SYSTEMS)
def test_an_audio_token_reads_what_its_connector_gives_it(rng, key):
    model, processor = tiny_random(key)
    measured = connector_reach(model, processor, noise(rng, 3.0), 8)
    for token, row in enumerate(measured):
        first, last = READS[key](token)
        assert np.flatnonzero(row).tolist() == list(range(first, last + 1))


def test_the_reach_of_tinys_own_projector_is_its_stack_factor(rng, make_model):
    model, processor = make_model()
    measured = connector_reach(model, processor, noise(rng, 1.0), 4)
    k = model.config.stack_factor
    for token, row in enumerate(measured):
        assert np.flatnonzero(row).tolist() == list(range(k * token, k * token + k))


def test_too_many_audio_tokens_are_refused(rng):
    model, processor = tiny_random("granite_speech")
    with pytest.raises(ValueError, match="at least 99 audio tokens, but found 12"):
        connector_reach(model, processor, noise(rng, 1.0), 99)
