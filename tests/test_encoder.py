import copy

import pytest
import torch
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.encoder import SECONDS_PER_POSITION, encode, position_mask


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=64, num_mel_bins=80
    )
    return WhisperEncoder(config).eval()


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(1)
    return lambda *shape: torch.randn(*shape, generator=generator)


@torch.no_grad()
def test_at_full_length_the_loop_is_the_encoder_bit_for_bit(encoder, features):
    full = features(2, 80, 3_000)
    assert torch.equal(encode(encoder, full), encoder(full).last_hidden_state)


@torch.no_grad()
def test_a_mask_of_nothing_but_true_changes_nothing(encoder, features):
    full = features(1, 80, 200)
    assert torch.equal(encode(encoder, full, torch.ones(1, 200, dtype=torch.bool)), encode(encoder, full))


@torch.no_grad()
@pytest.mark.parametrize("frames", [2, 100, 318])
def test_a_position_covers_two_frames(encoder, features, frames):
    assert encode(encoder, features(1, 80, frames)).shape == (1, frames // 2, 32)
    assert pytest.approx(2 * 160 / 16_000) == SECONDS_PER_POSITION


@torch.no_grad()
def test_a_clip_does_not_depend_on_what_it_is_batched_with(encoder, features):
    short, long = features(1, 80, 120), features(1, 80, 200)
    batch = torch.cat([torch.nn.functional.pad(short, (0, 80), value=3.0), long])
    mask = torch.arange(200) < torch.tensor([[120], [200]])
    together = encode(encoder, batch, mask)
    torch.testing.assert_close(together[:1, :60], encode(encoder, short), rtol=0, atol=1e-5)
    torch.testing.assert_close(together[1:], encode(encoder, long), rtol=0, atol=1e-5)


@torch.no_grad()
def test_collect_sees_every_layer_and_the_norm_ends_it(encoder, features):
    seen = {}
    output = encode(encoder, features(1, 80, 60), collect=seen.__setitem__)
    assert list(seen) == [0, 1, 2, 3]
    assert all(hidden.shape == (1, 30, 32) for hidden in seen.values())
    assert torch.equal(encoder.layer_norm(seen[3]), output)


def test_the_mask_of_positions_is_that_of_their_first_frames():
    mask = torch.tensor([[True, True, True, False, False, False]])
    assert position_mask(mask).tolist() == [[True, True, False]]


@pytest.mark.parametrize("frames", [0, 99, 3_002])
def test_odd_empty_and_too_long_inputs_are_errors(encoder, features, frames):
    with pytest.raises(ValueError, match=f"up to 3000, but found {frames}"):
        encode(encoder, features(1, 80, frames))


# A silence ahead of the clip --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def led(encoder):
    """The same encoder, which hears fifteen positions of silence first."""
    other = copy.deepcopy(encoder)
    other.config.lead_positions = 15
    return other


@torch.no_grad()
def test_a_lead_is_heard_and_not_returned(led, encoder, features):
    clip, inputs, seen = features(2, 80, 60), [], {}
    handle = led.layers[0].register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    output = encode(led, clip, collect=seen.__setitem__)
    handle.remove()
    assert inputs[0].shape == (2, 45, 32)
    assert output.shape == (2, 30, 32)
    assert all(hidden.shape == (2, 30, 32) for hidden in seen.values())
    assert not torch.allclose(output, encode(encoder, clip), atol=1e-3)
    # Ahead of each clip stands what silence gives, and behind that the clip as without it, each in its place.
    silence = clip.amin((1, 2), keepdim=True).expand(2, 80, 30)
    gelu, places = torch.nn.functional.gelu, encoder.embed_positions.weight
    each = [gelu(encoder.conv2(gelu(encoder.conv1(part)))).mT for part in (silence, clip)]
    torch.testing.assert_close(inputs[0], torch.cat(each, 1) + places[:45])


@torch.no_grad()
def test_a_lead_is_the_same_in_a_batch(led, features):
    short, long = features(1, 80, 120), features(1, 80, 200)
    batch = torch.cat([torch.nn.functional.pad(short, (0, 80), value=-30.0), long])
    mask = torch.arange(200) < torch.tensor([[120], [200]])
    together = encode(led, batch, mask)
    torch.testing.assert_close(together[:1, :60], encode(led, short), rtol=0, atol=1e-5)
    torch.testing.assert_close(together[1:], encode(led, long), rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_lead_takes_no_more_room_than_the_window_has(led, encoder, features):
    full = features(1, 80, 3_000)
    assert torch.equal(encode(led, full), encode(encoder, full))
    assert encode(led, full[..., :2_990]).shape == (1, 1_495, 32)
