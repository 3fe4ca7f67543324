"""Tempo and pitch change, each without the other."""

import numpy as np
import pytest

from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope.audio.samples import load_samples
from asrscope.inside.prosody import change_pitch, change_tempo


def voice(pitch: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 11))
    return (0.2 * tones).astype(np.float32)


def pitch_of(waveform: np.ndarray) -> float:
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size), 1 << 17))
    return float(spectrum.argmax() * SAMPLE_RATE / (1 << 17))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return load_audio(load_samples()[0].path)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_another_tempo_has_another_length_and_the_same_pitch(factor):
    changed = change_tempo(voice(150.0), factor)
    assert len(changed) == round(SAMPLE_RATE / factor)
    assert pitch_of(changed) == pytest.approx(150, rel=0.01)
    inner = changed[1000:-1000]
    assert np.std(inner) == pytest.approx(np.std(voice(150.0)), rel=0.05)  # no pulsing, no canceling


def test_the_same_tempo_changes_nothing(speech):
    np.testing.assert_allclose(change_tempo(speech, 1.0), speech, atol=1e-6)


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_events_move_to_where_the_tempo_puts_them(speech, factor):
    changed = change_tempo(speech, factor)
    power = [np.convolve(wave**2, np.ones(800) / 800, "same") for wave in (speech, changed)]
    moments = np.linspace(0.05, 0.95, 60)
    there = [p[(moments * len(p)).astype(int)] for p in power]
    assert np.corrcoef(there[0], there[1])[0, 1] > 0.9


@pytest.mark.parametrize("semitones", [-7.0, 4.0, 12.0])
def test_another_pitch_has_the_same_length(semitones):
    changed = change_pitch(voice(200.0), semitones)
    assert len(changed) == SAMPLE_RATE
    assert pitch_of(changed) == pytest.approx(200 * 2 ** (semitones / 12), rel=0.01)


def test_the_same_pitch_changes_nothing(speech):
    np.testing.assert_allclose(change_pitch(speech, 0.0), speech, atol=1e-3)


def test_silence_stays_silence():
    silence = np.zeros(4000, np.float32)
    assert not change_tempo(silence, 1.7).any()
    assert not change_pitch(silence, 5.0).any()


@pytest.mark.parametrize("samples", [1, 100, 513, 5119])
@pytest.mark.parametrize("factor", [0.25, 1.1, 4.0])
def test_clips_of_any_length_can_be_changed(rng, samples, factor):
    clip = rng.uniform(-1, 1, samples).astype(np.float32)
    assert len(change_tempo(clip, factor)) == max(1, round(samples / factor))
    assert len(change_pitch(clip, 12 * np.log2(factor))) == samples


@pytest.mark.parametrize("factor", [0.0, 0.2, -1.0, 5.0, float("nan")])
def test_a_tempo_out_of_range_is_refused(factor):
    with pytest.raises(ValueError, match=r"a factor from 0\.25 to 4, but found 4000 samples"):
        change_tempo(np.zeros(4000, np.float32), factor)


def test_an_empty_clip_is_refused():
    with pytest.raises(ValueError, match="found 0 samples"):
        change_tempo(np.zeros(0, np.float32), 1.5)


def test_a_pitch_out_of_range_is_refused():
    with pytest.raises(ValueError, match="-24 to 24 semitones, but found 30"):
        change_pitch(np.zeros(4000, np.float32), 30.0)
