"""Silence, noise, hum and clicks are told from speech by their sound, whatever the model makes of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscope.audio import load_audio
from asrscope.audio.samples import load_samples
from asrscope.decoder import COMPRESSION_LIMIT, compression_ratio
from asrscope.features import (
    LEAST_CHANGE,
    has_only_clicks,
    log_mel,
    mel_power,
    sound_warnings,
    spectral_change,
)
from asrscope.recognition.transcribe import transcribe
from asrscope.scope.tracing import trace

SR = 16_000


def colored(rng, samples, slope):
    """Noise with power in proportion to ``frequency ** -slope`` and a standard deviation of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies = np.fft.rfftfreq(samples, 1 / SR)
    spectrum[1:] *= frequencies[1:] ** (-slope / 2)
    spectrum[frequencies < 30] = 0
    noise = np.fft.irfft(spectrum, samples)
    return noise / noise.std()


def hum(time, frequency):
    return sum(np.sin(2 * np.pi * n * frequency * time + n) / n for n in range(1, 8))


def clicks(rng, samples, rate):
    wave = np.zeros(samples)
    wave[rng.integers(0, samples, max(1, round(rate * samples / SR)))] = 1.0
    return wave


def taps(rng, samples):
    """Two short, dull clicks a second, as of a key that is pressed."""
    ring = np.exp(-np.arange(400) / 60) * np.sin(0.9 * np.arange(400))
    return np.convolve(clicks(rng, samples, rate=2), ring)[:samples]


def sounds(seconds, seed=1):
    """Sounds in which nobody speaks, by name."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * SR)
    time = np.arange(samples) / SR
    white, pink = rng.standard_normal(samples), colored(rng, samples, 1)
    made = {
        "digital silence": np.zeros(samples),
        "an offset": np.full(samples, 0.3),
        "faint white noise": 1e-3 * white,
        "white noise": 0.1 * white,
        "loud white noise": 0.4 * white,
        "faint pink noise": 1e-3 * pink,
        "pink noise": 0.1 * pink,
        "loud pink noise": 0.3 * pink,
        "brown noise": 0.1 * colored(rng, samples, 2),
        "noise that swells": 0.05 * white * (1 + np.sin(8 * np.pi * time)),
        "mains hum": 0.1 * hum(time, 50),
        "hum and noise": 0.1 * hum(time, 60) + 0.01 * white,
        "a tone": 0.3 * np.sin(2 * np.pi * 440 * time),
        "clicks": clicks(rng, samples, rate=5),
    }
    return {name: np.clip(wave, -1, 1).astype(np.float32) for name, wave in made.items()}


NAMES = list(sounds(0.2))


# Sound alone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.2, 1.0, 8.0])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_speech_is_flagged(name, seconds):
    (warning,) = sound_warnings(sounds(seconds)[name])
    assert "made up" in warning


@pytest.mark.parametrize("background", [0.0, 1e-3])
@pytest.mark.parametrize("seconds", [0.5, 2.0, 8.0])
def test_taps_are_flagged_as_clicks(rng, seconds, background):
    samples = round(seconds * SR)
    sound = taps(rng, samples) + background * rng.standard_normal(samples)
    assert has_only_clicks(mel_power(sound))
    assert sound_warnings(sound)


def test_a_bang_before_speech_does_not_make_it_clicks(rng):
    for sample in load_samples():
        sound = 0.03 * load_audio(sample.path)  # 30 dB softer
        sound[800:1100] += (0.3 * rng.standard_normal(300)).astype(np.float32)
        assert not has_only_clicks(mel_power(sound))
        assert sound_warnings(sound) == []


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 4.0), st.floats(-80, -6), st.floats(-1, 2), st.integers(0, 2**31))
def test_noise_of_any_color_level_and_length_is_flagged(seconds, decibels, slope, seed):
    noise = 10 ** (decibels / 20) * colored(np.random.default_rng(seed), round(seconds * SR), slope)
    assert spectral_change(mel_power(noise)) < LEAST_CHANGE


@pytest.mark.parametrize("snr", [None, 20.0, 10.0, 5.0])
def test_speech_is_not_flagged_under_moderate_noise_either(snr, rng):
    for sample in load_samples():
        speech = load_audio(sample.path)
        for slope in (0, 1):
            noise = 0 if snr is None else colored(rng, speech.size, slope) * 10 ** (-snr / 20)
            assert sound_warnings(speech + noise * speech.std()) == []


def test_one_word_in_a_long_silence_is_speech():
    sample = load_samples()[0]
    _, start, end = max(sample.words, key=lambda word: word[2] - word[1])
    word = load_audio(sample.path)[round(start * SR) : round(end * SR)]
    clip = np.zeros(6 * SR, np.float32)
    clip[2 * SR : 2 * SR + word.size] = word
    assert sound_warnings(word) == []
    assert sound_warnings(clip) == []


def test_loudness_counts_neither_as_a_whole_nor_over_time(rng):
    speech = load_audio(load_samples()[0].path)
    assert spectral_change(mel_power(0.01 * speech)) == pytest.approx(
        spectral_change(mel_power(speech)), rel=0.01
    )
    fading = 0.1 * rng.standard_normal(2 * SR) * np.linspace(0.02, 1, 2 * SR)
    assert spectral_change(mel_power(fading)) < LEAST_CHANGE


def test_a_tone_that_jumps_changes_and_one_that_stays_does_not():
    time = np.arange(4 * SR) / SR
    low, high = np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 3000 * time)
    steady, switched = 0.3 * low, np.where(time < 2, 0.3 * low, 0.3 * high)
    assert spectral_change(mel_power(steady)) < 0.1
    assert spectral_change(mel_power(switched)) > LEAST_CHANGE


@pytest.mark.parametrize("n_mels", [80, 128])
def test_a_spectrogram_that_is_there_is_judged_as_one_that_is_made(n_mels):
    made = {**sounds(1.0), **{sample.name: load_audio(sample.path) for sample in load_samples()}}
    for name, sound in made.items():
        padded = np.pad(sound, (0, 5 * SR - sound.size % SR))
        for there in (log_mel(sound, n_mels), log_mel(padded, n_mels)):
            assert bool(sound_warnings(sound, there)) == bool(sound_warnings(sound)), name
    assert sound_warnings(sound, log_mel(sound)) == sound_warnings(sound)


@pytest.mark.parametrize("samples", [1, 100, 399, 400, 401, 1000])
def test_very_short_clips_are_measured(rng, samples):
    clip = rng.normal(0, 0.1, samples)
    assert 0 <= spectral_change(mel_power(clip)) < LEAST_CHANGE
    assert not has_only_clicks(mel_power(clip))


def test_no_samples_are_an_error():
    with pytest.raises(ValueError, match="at least one sample"):
        spectral_change(mel_power(np.zeros(0)))


# The bundled model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_where_nobody_speaks_the_text_is_empty_or_flagged_and_no_loop(bundled, name, num_beams):
    for seconds in (0.2, 1.5, 8.0):
        found = transcribe(*bundled, sounds(seconds)[name], num_beams=num_beams)
        assert not found.text or any("made up" in warning for warning in found.warnings)
        assert compression_ratio(found.text) < COMPRESSION_LIMIT + 1


def test_a_trace_has_the_same_warnings(bundled):
    for name, sound in sounds(1.0).items():
        assert trace(*bundled, sound).warnings == transcribe(*bundled, sound).warnings, name


def test_silence_is_said_once(bundled):
    for seconds in (1.0, 20.0):
        warnings = transcribe(*bundled, np.zeros(round(seconds * SR), np.float32)).warnings
        assert sum("made up" in warning for warning in warnings) == 1


def test_a_window_without_speech_is_flagged_in_a_recording_with_speech(bundled, rng):
    speech = load_audio(load_samples()[0].path)
    noise = rng.normal(0, 0.03, 9 * SR).astype(np.float32)
    found = transcribe(*bundled, np.concatenate([speech, noise]))
    assert len(found.segments) > 1
    flagged = [warning for warning in found.warnings if "made up" in warning]
    assert flagged
    assert not any(warning.startswith("0.0 to") for warning in flagged)


def test_in_a_silent_stretch_of_a_recording_nothing_is_made_up(bundled):
    speech = load_audio(load_samples()[0].path)
    found = transcribe(*bundled, np.concatenate([speech, np.zeros(9 * SR, np.float32)]))
    heard, silent = found.segments
    assert heard.text == found.text == transcribe(*bundled, speech).text
    assert silent.text == ""
    assert [warning for warning in found.warnings if "silent" in warning] == list(found.warnings)


def test_shipped_clips_are_not_flagged_by_their_sound(bundled):
    for sample in load_samples():
        assert not any("made up" in warning for warning in transcribe(*bundled, sample.path).warnings)
