"""Codecs: what comes back is the same clip at the same place, and poorer."""

import random

import numpy as np
import pytest

from asrscope.audio import load_audio
from asrscope.audio.samples import load_samples
from asrscope_recipe.codecs import CODECS, compress, random_codec


@pytest.fixture(scope="module")
def clip():
    return load_audio(load_samples()[0].path)


def lag(one: np.ndarray, other: np.ndarray) -> int:
    """Samples by which ``other`` comes after ``one``, from their cross-correlation."""
    size = 2 * one.size
    product = np.fft.irfft(np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size)), size)
    found = int(product.argmax())
    return found - size if found > size // 2 else found


def high_band(waveform: np.ndarray) -> float:
    """Share of the power above 4 kHz."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float(power[power.size // 2 :].sum() / power.sum())


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_codec_keeps_length_and_place_and_changes_the_samples(clip, codec, strength):
    received = compress(clip, codec, strength)
    assert received.shape == clip.shape
    assert received.dtype == np.float32
    assert abs(lag(clip, received)) <= 1
    assert not np.array_equal(received, clip)
    assert np.corrcoef(clip, received)[0, 1] > 0.9


@pytest.mark.parametrize("codec", ["u-law", "gsm"])
def test_telephones_have_nothing_above_four_kilohertz(clip, codec):
    assert high_band(compress(clip, codec)) < high_band(clip) / 20


@pytest.mark.parametrize("codec", ["mp3", "vorbis", "opus"])
def test_strength_costs_quality(clip, codec):
    mild, harsh = (np.mean((compress(clip, codec, strength) - clip) ** 2) for strength in (0.0, 1.0))
    assert harsh > 2 * mild


def test_a_share_of_the_clips_gets_a_codec_and_every_codec_is_drawn():
    rng = random.Random(0)
    drawn = [random_codec(rng, share=0.3) for _ in range(1000)]
    assert 200 < sum(codec is not None for codec in drawn) < 400
    assert {codec[0] for codec in drawn if codec} == set(CODECS)
