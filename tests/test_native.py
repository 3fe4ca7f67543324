from importlib.util import find_spec

import numpy as np
import pytest
import torch
from native_kit import ARCHITECTURES, NEEDS_TORCHAUDIO, save_tiny, tiny_random
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from asrscope.loading import load_native
from asrscope_course.granite import GraniteFeatures


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != NEEDS_TORCHAUDIO])
def test_a_tiny_model_survives_the_hubs_layout(architecture, tmp_path):
    model, processor = tiny_random(architecture)
    again, its_processor = load_native(save_tiny(architecture, tmp_path))
    assert type(again) is type(model)
    assert type(its_processor) is type(processor)
    assert model.config.model_type == architecture
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert its_processor.tokenizer.get_vocab() == processor.tokenizer.get_vocab()


@pytest.mark.skipif(find_spec("torchaudio") is not None, reason="it is installed")
def test_a_processor_that_needs_torchaudio_says_so(tmp_path):
    with pytest.raises(ImportError, match="torchaudio"):
        load_native(save_tiny(NEEDS_TORCHAUDIO, tmp_path))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_tiny_model_is_its_seeds(architecture):
    first, _ = tiny_random(architecture, seed=1)
    same, _ = tiny_random(architecture, seed=1)
    other, _ = tiny_random(architecture, seed=2)
    weights = [next(iter(m.get_input_embeddings().parameters())) for m in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_an_unknown_architecture_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"Expected one of voxtral, .* but found 'whisper'"):
        tiny_random("whisper")


def test_granites_features_are_those_of_a_mel_spectrogram_two_frames_at_a_time(rng):
    clip = rng.normal(0, 0.1, 16_000 + 160).astype(np.float32)  # 102 frames
    found = GraniteFeatures()(clip)
    reference = spectrogram(
        clip,
        window_function(400, "hann"),
        400,
        160,
        fft_length=512,
        power=2.0,
        mel_filters=mel_filter_bank(257, 80, 0.0, 8000.0, 16_000),
        mel_floor=1e-10,
        log_mel="log10",
    )  # (bands, frames)
    reference = np.maximum(reference, reference.max() - 8) / 4 + 1
    columns = found["input_features"][0].numpy()
    assert columns.shape == (51, 160)
    np.testing.assert_allclose(columns.reshape(-1, 80), reference.T, atol=2e-4)
    assert found["audio_embed_sizes"] == [12]  # 4 windows of 15 positions, 3 queries each
    assert found["input_features_mask"].shape == (1, 12)


def test_granites_features_of_several_clips_are_padded(rng):
    clips = [rng.normal(0, 0.1, size).astype(np.float32) for size in (8_000, 16_000)]
    found = GraniteFeatures()(clips)
    assert found["input_features"].shape == (2, 50, 160)
    assert found["input_features_mask"].sum(-1).tolist() == found["audio_embed_sizes"] == [6, 12]
