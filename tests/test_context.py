"""What an encoder position and an audio token depend on, against how the classes join them."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.audio import SAMPLE_RATE
from asrscope.encoder import encode
from asrscope.inside.context import change_by_distance, change_by_layer, connector_reach, layer_states
from asrscope_course import systems
from asrscope_course.architectures import tiny_random


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    return WhisperEncoder(WhisperConfig(**sizes, num_mel_bins=80, max_source_positions=200)).eval()


@pytest.fixture
def clip(rng) -> np.ndarray:
    return rng.uniform(-0.5, 1.0, (80, 120)).astype(np.float32)


def test_levels_are_the_convolutions_and_each_layer(encoder, clip):
    states = layer_states(encoder, clip)
    assert states.shape == (3, 60, 32)
    with torch.no_grad():
        output = encode(encoder, torch.from_numpy(clip)[None])[0]
        assert torch.equal(encoder.layer_norm(torch.from_numpy(states[-1])), output)


def test_convolutions_reach_one_position_and_attention_the_whole_clip(encoder, clip):
    change = change_by_layer(encoder, clip, 40, 50)
    assert change.shape == (3, 60)
    assert np.flatnonzero(change[0]).tolist() == list(range(19, 26))  # positions 20 to 24 and one each side
    assert (change[1:] > 0).all()


def test_a_change_is_relative_to_the_vector_that_changes(encoder, clip):
    change = change_by_layer(encoder, clip, 0, 120)
    before, after = layer_states(encoder, clip), layer_states(encoder, np.full_like(clip, clip.min()))
    expected = np.linalg.norm(after[2, 7] - before[2, 7]) / np.linalg.norm(before[2, 7])
    assert change[2, 7] == pytest.approx(expected, rel=1e-5)


def test_distances_average_over_stretches_on_both_sides(encoder, clip):
    means = change_by_distance(encoder, clip, 20)
    assert means.shape == (3, 26)
    changes = [change_by_layer(encoder, clip, start, start + 20) for start in range(0, 120, 20)]
    inside = np.mean([change[:, 10 * n : 10 * n + 10] for n, change in enumerate(changes)], axis=(0, 2))
    assert means[:, 0] == pytest.approx(inside)
    third = [change[1, 10 * n + 12] for n, change in enumerate(changes) if 10 * n + 12 < 60]
    third += [change[1, 10 * n - 3] for n, change in enumerate(changes) if 10 * n - 3 >= 0]
    assert means[1, 3] == pytest.approx(np.mean(third))
    assert (means[0, 2:] == 0).all()


def test_measuring_leaves_the_clip_alone(encoder, clip):
    before = clip.copy()
    change_by_distance(encoder, clip)
    assert np.array_equal(clip, before)


@pytest.mark.parametrize(("start", "end"), [(5, 5), (-2, 4), (110, 122)])
def test_a_stretch_outside_the_clip_is_refused(encoder, clip, start, end):
    with pytest.raises(ValueError, match=f"the clip's 120 frames, but found {start} to {end}"):
        change_by_layer(encoder, clip, start, end)


@pytest.mark.parametrize("length", [0, 5, 42])
def test_stretches_of_an_odd_or_great_length_are_refused(encoder, clip, length):
    with pytest.raises(ValueError, match=f"third of the clip's 120, but found {length}"):
        change_by_distance(encoder, clip, length)


# Audio tokens -----------------------------------------------------------------------------------------------


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
