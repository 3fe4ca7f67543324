import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from asrscope.audio import SAMPLE_RATE
from asrscope.features import FRAMES_PER_SECOND, HOP_LENGTH, N_FFT, log_mel, mel_filters


@pytest.fixture
def speechlike(rng):
    """Tones and noise with pauses, at any length in samples."""

    def make(samples):
        time = np.arange(samples) / SAMPLE_RATE
        tones = sum(np.sin(2 * np.pi * f * time) for f in (110, 220, 1_000, 3_300))
        loudness = np.clip(np.sin(2 * np.pi * 1.5 * time), 0, 1)
        return (0.1 * loudness * tones + 0.002 * rng.standard_normal(samples)).astype(np.float32)

    return make


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("samples", [480, 16_000, 16_001, 35_999, 51_360])
def test_every_frame_of_the_clip_is_whispers(speechlike, n_mels, samples):
    clip = speechlike(samples)
    found = log_mel(clip, n_mels)
    whisper = WhisperFeatureExtractor(feature_size=n_mels)
    expected = whisper(clip, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0]
    assert expected.shape == (n_mels, 3000)
    np.testing.assert_allclose(found, expected[:, : found.shape[1]], rtol=0, atol=1e-4)


def test_thirty_seconds_of_silence_after_the_clip_give_whispers_whole_input(speechlike):
    clip = speechlike(40_000)
    found = log_mel(np.pad(clip, (0, 480_000 - clip.size)))
    expected = WhisperFeatureExtractor()(clip, sampling_rate=SAMPLE_RATE, return_tensors="np")
    np.testing.assert_allclose(found, expected["input_features"][0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "frames"), [(1, 2), (320, 2), (321, 4), (16_000, 100), (16_001, 102), (480_000, 3_000)]
)
def test_frames_cover_the_clip_and_are_even(samples, frames):
    assert log_mel(np.full(samples, 0.1, np.float32)).shape == (80, frames)


def test_the_constants_belong_together():
    assert FRAMES_PER_SECOND * HOP_LENGTH == SAMPLE_RATE
    assert mel_filters(80).shape == (80, N_FFT // 2 + 1)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_filters_are_whispers(n_mels):
    whisper = WhisperFeatureExtractor(feature_size=n_mels)
    np.testing.assert_allclose(mel_filters(n_mels), whisper.mel_filters.T, atol=1e-7)


def test_values_span_at_most_two(speechlike):
    found = log_mel(speechlike(16_000))
    assert found.max() - found.min() <= 2 + 1e-6


def test_a_louder_clip_is_shifted_and_otherwise_the_same(speechlike):
    clip = speechlike(16_000)
    # Ten times the amplitude is a hundred times the power: two decades, of which four make one unit.
    np.testing.assert_allclose(log_mel(10 * clip), log_mel(clip) + 2 / 4, atol=1e-5)


def test_a_tone_is_loudest_in_the_band_around_it():
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    mel = log_mel(np.sin(2 * np.pi * 1_000 * time).astype(np.float32))
    band = mel[:, 10:-10].mean(axis=1).argmax()
    bins = np.flatnonzero(mel_filters(80)[band])
    assert bins.min() * SAMPLE_RATE / N_FFT <= 1_000 <= bins.max() * SAMPLE_RATE / N_FFT


def test_silence_is_finite():
    assert np.isfinite(log_mel(np.zeros(1_000, np.float32))).all()


def test_an_empty_clip_is_an_error():
    with pytest.raises(ValueError, match="at least one sample"):
        log_mel(np.zeros(0, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_samples_are_an_error(value):
    clip = np.zeros(1_000, np.float32)
    clip[3] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        log_mel(clip)
