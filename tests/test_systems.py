"""Published systems without weights, held against processors, public counts, and small models at work."""

import numpy as np
import pytest
import torch

from asrscope.scope.anatomy import parts_of
from asrscope_course import flops, sizes, systems
from asrscope_course.architectures import tiny_random

SAMPLE_RATE = 16_000


def inputs_for(key, processor, waveform):
    """What the processor of each system makes of a clip, in a prompt of its own kind."""
    if key == "voxtral":
        features = processor._retrieve_input_features([waveform], **processor.audio_kwargs)
        tokens = torch.full((1, 375 * len(features)), processor.audio_token_id)
        return {"input_ids": tokens, "input_features": features}
    if key == "qwen2_audio":
        prompt = "<|audio_bos|><|AUDIO|><|audio_eos|>What is said?"
        return dict(processor(text=prompt, audio=waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt"))
    if key == "granite_speech":
        clip = torch.from_numpy(waveform)[None]
        return dict(processor("<|audio|>What is said?", clip, return_tensors="pt"))
    return dict(processor.apply_transcription_request(waveform))


@pytest.fixture(scope="module")
def small():
    return {key: tiny_random(key) for key in systems.SYSTEMS}


def clip(seconds):
    generator = np.random.default_rng(0)
    return (0.1 * generator.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


# What their makers state: the report of Voxtral (arXiv 2507.13264), rounded, and the cards of Qwen2.5-7B and
# Granite 3.3 2B Instruct for the decoder alone.
@pytest.mark.parametrize(
    ("key", "part", "stated", "tolerance"),
    [
        ("voxtral", "encoder", 640e6, 0.01),
        ("voxtral", "projector", 25e6, 0.01),
        ("voxtral", "decoder", 4.0e9, 0.01),  # 3.6 billion, and 400 million embeddings
        ("voxtral", "all", 4.7e9, 0.01),
        ("audioflamingo3", "decoder", 7.61e9, 0.001),
        ("granite_speech", "decoder", 2.53e9, 0.002),
    ],
)
def test_counts_are_those_that_were_published(key, part, stated, tolerance):
    assert systems.parameters_of(systems.build(key))[part] == pytest.approx(stated, rel=tolerance)


def test_three_encoders_are_whispers():
    whisper = sizes.count_parameters(sizes.full_pair().audio_tower)
    for key in ("voxtral", "audioflamingo3", "qwen2_audio"):
        assert systems.parameters_of(systems.build(key))["encoder"] == whisper


def test_glm_asr_without_learned_positions_is_smaller_by_them():
    whisper = sizes.count_parameters(sizes.full_pair().audio_tower)
    learned = 1500 * 1280
    assert systems.parameters_of(systems.build("glmasr"))["encoder"] == whisper - learned


@pytest.mark.parametrize("key", systems.SYSTEMS)
def test_a_system_has_no_numbers_and_says_what_it_is(key):
    system = systems.load_system(key)
    assert all(parameter.is_meta for parameter in systems.build(key).parameters())
    assert system.config.model_type == key
    assert system.label in systems.ORIGINS.values()
    assert len(system.source) > 40


def test_defaults_are_not_the_published_model_in_three_of_five():
    from transformers import AutoConfig

    same = []
    for key in systems.SYSTEMS:
        config, defaults = systems.load_system(key).config, AutoConfig.for_model(key)
        published, built = config.text_config, defaults.text_config
        names = ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size", "num_key_value_heads")
        if all(getattr(published, name) == getattr(built, name) for name in names):
            same.append(key)
    assert same == ["voxtral", "glmasr"]


@pytest.mark.parametrize("seconds", [1.0, 3.07, 31.3])
@pytest.mark.parametrize("key", systems.SYSTEMS)
def test_lengths_are_those_of_processor_and_model_at_work(small, key, seconds):
    model, processor = small[key]
    inputs = inputs_for(key, processor, clip(seconds))
    seen = {}

    def note(_module, _inputs, output):
        seen["shape"] = (output[0] if isinstance(output, tuple) else output).shape

    handle = parts_of(model)["encoder"].layers[-1].register_forward_hook(note)
    with torch.inference_mode():
        model(**inputs)  # which raises where placeholders and audio tokens differ in number
    handle.remove()
    expected = systems.heard(key, seconds)
    token = model.config.audio_token_id
    assert int((inputs["input_ids"] == token).sum()) == expected.audio_tokens
    assert expected.audio_tokens == systems.audio_tokens(key, seconds)
    assert seen["shape"][0] * seen["shape"][1] == expected.positions
    frames = inputs["input_features"].shape
    columns = 2 * frames[1] if key == "granite_speech" else frames[0] * frames[-1]
    assert columns == expected.frames


def test_what_is_longer_than_a_system_allows_is_not_heard():
    assert systems.heard("qwen2_audio", 45.0).seconds == 30
    assert systems.heard("audioflamingo3", 3600.0).seconds == 600
    assert systems.heard("glmasr", 3600.0).seconds == 630
    assert systems.heard("voxtral", 3600.0).seconds == 3600


@pytest.mark.parametrize("key", ["voxtral", "audioflamingo3", "qwen2_audio"])
def test_the_work_of_a_whisper_is_what_the_formula_gives(key):
    encoder = parts_of(systems.build(key))["encoder"]
    assert systems.heard(key, 3.0).encoder_flops == flops.encoder_flops(encoder, 1500)


@pytest.mark.parametrize("key", ["voxtral", "glmasr"])
def test_the_work_of_a_stacking_projector_is_two_operations_a_weight(key):
    projector = parts_of(systems.build(key))["projector"]
    assert systems.heard(key, 3.0).projector_flops == flops.projector_flops(projector, 375)


def test_twice_the_sound_is_twice_the_work_for_windows():
    one, two = systems.heard("voxtral", 30.0), systems.heard("voxtral", 60.0)
    assert (two.encoder_flops, two.audio_tokens) == (2 * one.encoder_flops, 2 * one.audio_tokens)


def test_the_cache_of_every_decoder_is_counted(small):
    for key, (model, _) in small.items():
        text = model.config.text_config
        with torch.inference_mode():
            decoder = parts_of(model)["decoder"]
            kept = decoder(torch.ones(1, 5, dtype=torch.long), use_cache=True).past_key_values
        numbers = sum(layer.keys.numel() + layer.values.numel() for layer in kept.layers)
        assert 5 * sizes.cache_bytes_per_token(text, bits=8) == numbers, key


def test_a_decoder_without_its_output_layer_works_as_much(small):
    model = systems.build("voxtral")
    decoder = parts_of(model)["decoder"]
    config = decoder.config
    expected = 2 * sizes.linear_weights(decoder) + 4 * config.num_hidden_layers * 32 * 128
    assert flops.decoder_flops(decoder, 1, 1) == expected + 2 * config.vocab_size * config.hidden_size


def test_an_unknown_system_or_an_empty_clip_is_an_error():
    with pytest.raises(ValueError, match=r"Expected one of voxtral, .+, but found 'whisper'"):
        systems.load_system("whisper")
    with pytest.raises(ValueError, match="a clip with a duration, but found 0 s"):
        systems.heard("voxtral", 0.0)
