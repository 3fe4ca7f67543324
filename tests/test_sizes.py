"""Sizes from configurations: held against published counts, against a model at work, and against torch."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from asrscope.encoder import encode
from asrscope.features import log_mel
from asrscope_course import flops, sizes


@pytest.fixture(scope="module")
def pair():
    return sizes.full_pair()


def test_the_large_pair_has_its_published_counts(pair):
    assert sizes.count_parameters(pair.audio_tower) == 636_968_960
    assert sizes.count_parameters(pair.language_model) == 3_075_098_624
    assert all(parameter.is_meta for parameter in pair.parameters())


def test_an_unknown_configuration_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match="smollm3-3b, whisper-large-v3-turbo, but found 'whisper'"):
        sizes.published_config("whisper")


def test_lengths_are_those_of_a_model_at_work(make_model, rng):
    model, _ = make_model()
    for samples in (3_201, 16_000, 20_001):
        mel = log_mel(rng.standard_normal(samples).astype("float32"))
        with torch.inference_mode():
            found = model.get_audio_features(torch.from_numpy(mel)[None])
        expected = sizes.lengths(samples / 16_000, model.config)
        assert expected.samples == samples
        assert expected.frames == mel.shape[1]
        assert expected.positions == found.last_hidden_state.shape[1]
        assert expected.audio_tokens == found.pooler_output.shape[0]


def test_a_padded_clip_is_as_long_as_the_window(pair):
    assert sizes.lengths(1.0, pair.config) == sizes.Lengths(480_000, 3000, 1500, 300)
    assert sizes.lengths(1.0, pair.config, pad=False) == sizes.Lengths(16_000, 100, 50, 10)


def test_a_clip_longer_than_the_window_is_an_error(pair):
    with pytest.raises(ValueError, match="a clip of at most 30 s, but found 31 s"):
        sizes.lengths(31.0, pair.config)


def test_memory_goes_with_the_bits():
    assert [sizes.weight_bytes(1000, bits) for bits in (32, 16, 8, 4)] == [4000, 2000, 1000, 500]


def test_the_cache_holds_what_a_decoder_keeps(make_model):
    model, _ = make_model()
    text = model.config.text_config
    with torch.inference_mode():
        kept = model.language_model(torch.ones(1, 7, dtype=torch.long), use_cache=True).past_key_values
    numbers = sum(layer.keys.numel() + layer.values.numel() for layer in kept.layers)
    assert 7 * sizes.cache_bytes_per_token(text, bits=8) == numbers
    assert sizes.cache_bytes_per_token(text) == 2 * sizes.cache_bytes_per_token(text, bits=8)


@pytest.fixture
def stepwise(make_model):
    """A model whose attention is computed step by step: torch counts no operations of the fused kernels."""
    model, _ = make_model()
    model.set_attn_implementation("eager")
    return model


def counted(call) -> int:
    """Operations as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        call()
    return counter.get_total_flops()


def test_the_encoders_work_is_what_torch_counts(stepwise):
    model = stepwise
    mel = torch.randn(1, 80, 120)
    expected = counted(lambda: encode(model.audio_tower, mel))
    assert flops.encoder_flops(model.audio_tower, 60) == expected


def test_the_projectors_work_is_what_torch_counts(stepwise):
    model = stepwise
    hidden = torch.randn(1, 60, 32)
    expected = counted(lambda: model.multi_modal_projector(hidden))
    assert flops.projector_flops(model.multi_modal_projector, 12) == expected


def test_the_decoders_work_is_what_torch_counts_without_what_lies_ahead(stepwise):
    model = stepwise
    config, positions = model.language_model.config, 20
    ids = torch.ones(1, positions, dtype=torch.long)
    full = counted(lambda: model.language_model(ids, use_cache=False, logits_to_keep=1))
    # torch counts every pair of positions; the decoder looks at itself and at what stands before.
    heads = config.num_attention_heads * (config.hidden_size // config.num_attention_heads)
    ahead = 4 * heads * config.num_hidden_layers * (positions * (positions - 1) // 2)
    assert flops.decoder_flops(model.language_model, positions, 1) == full - ahead


def test_a_written_token_costs_its_weights_and_a_look_at_all_before_it(make_model):
    model, _ = make_model()
    config = model.language_model.config
    more = flops.decoder_flops(model.language_model, 20, 6) - flops.decoder_flops(model.language_model, 20, 5)
    weights = sizes.linear_weights(model.language_model)
    assert more == 2 * weights + 4 * 25 * config.hidden_size * config.num_hidden_layers
