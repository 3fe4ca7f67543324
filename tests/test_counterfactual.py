import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope.audio.samples import load_samples
from asrscope.inside.counterfactual import (
    FADE,
    add_noise,
    change_pitch,
    change_tempo,
    cut,
    mask_span,
    shift,
)

RATE = SAMPLE_RATE
EDGE = round(FADE * RATE)


@pytest.fixture
def clip(rng):
    return rng.uniform(-0.5, 0.5, RATE).astype(np.float32)


def test_a_masked_stretch_is_silent_and_nothing_else_changes(clip):
    before = clip.copy()
    masked = mask_span(clip, 0.25, 0.5)
    assert masked.dtype == np.float32
    np.testing.assert_array_equal(clip, before)
    first, last = RATE // 4, RATE // 2
    np.testing.assert_array_equal(masked[:first], clip[:first])
    np.testing.assert_array_equal(masked[last:], clip[last:])
    assert not masked[first + EDGE : last - EDGE].any()


def test_a_mask_fades_at_both_ends():
    masked = mask_span(np.ones(RATE, np.float32), 0.25, 0.5)
    assert np.abs(np.diff(masked)).max() < 0.025  # a step of 1 spread over 80 samples
    assert (np.diff(masked[: RATE // 3]) <= 0).all()
    assert (np.diff(masked[RATE // 3 :]) >= 0).all()


def test_a_mask_may_reach_from_end_to_end(clip):
    masked = mask_span(clip, 0.0, 1.0)
    assert not masked[EDGE:-EDGE].any()


def test_a_cut_takes_a_stretch_out(clip):
    short = cut(clip, 0.25, 0.5)
    first, last = RATE // 4, RATE // 2
    assert short.size == clip.size - (last - first)
    np.testing.assert_array_equal(short[: first - EDGE], clip[: first - EDGE])
    np.testing.assert_array_equal(short[first + EDGE :], clip[last + EDGE :])
    smooth = cut(np.concatenate([np.ones(RATE // 2), -np.ones(RATE // 2)]).astype(np.float32), 0.25, 0.75)
    assert np.abs(np.diff(smooth)).max() < 0.025


def test_a_cut_at_the_start_or_the_end_keeps_the_rest(clip):
    np.testing.assert_array_equal(cut(clip, 0.0, 0.5)[EDGE:], clip[RATE // 2 + EDGE :])
    np.testing.assert_array_equal(cut(clip, 0.5, 1.0)[:-EDGE], clip[: RATE // 2 - EDGE])
    with pytest.raises(ValueError, match="keep some of the clip"):
        cut(clip, 0.0, 1.0)


def test_a_shift_puts_silence_before_the_same_samples(clip):
    later = shift(clip, 0.3)
    assert later.dtype == np.float32
    assert not later[: round(0.3 * RATE)].any()
    np.testing.assert_array_equal(later[round(0.3 * RATE) :], clip)
    np.testing.assert_array_equal(shift(clip, 0.0), clip)


@pytest.mark.parametrize("seconds", [-0.1, math.inf, math.nan])
def test_a_shift_is_a_length(clip, seconds):
    with pytest.raises(ValueError, match="silence of 0 s or more"):
        shift(clip, seconds)


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.5, 1.1)])
def test_a_stretch_lies_within_the_clip(clip, start, end):
    for change in (mask_span, cut):
        with pytest.raises(ValueError, match=r"within the clip's 1\.000 s, but found"):
            change(clip, start, end)


@given(samples=st.integers(2, 3000), where=st.tuples(st.floats(0, 1), st.floats(0, 1)), what=st.booleans())
def test_changes_never_raise_the_level(samples, where, what):
    clip = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)
    first, last = sorted(round(part * samples) for part in where)
    change = mask_span if what else cut
    if first == last or (not what and last - first == samples):
        with pytest.raises(ValueError, match="Expected"):
            change(clip, first / RATE, last / RATE)
        return
    changed = change(clip, first / RATE, last / RATE)
    assert changed.size == samples - (0 if what else last - first)
    assert np.abs(changed).max(initial=0) <= np.abs(clip).max()


# Tempo and pitch, each without the other --------------------------------------------------------------------


def voice(pitch: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 11))
    return (0.2 * tones).astype(np.float32)


def pitch_of(waveform: np.ndarray) -> float:
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size), 1 << 17))
    return float(spectrum.argmax() * RATE / (1 << 17))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return load_audio(load_samples()[0].path)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_another_tempo_has_another_length_and_the_same_pitch(factor):
    changed = change_tempo(voice(150.0), factor)
    assert len(changed) == round(RATE / factor)
    assert pitch_of(changed) == pytest.approx(150, rel=0.01)
    inner = changed[1000:-1000]
    assert np.std(inner) == pytest.approx(np.std(voice(150.0)), rel=0.15)  # no pulsing, no canceling


def test_the_same_tempo_changes_next_to_nothing(speech):
    np.testing.assert_allclose(change_tempo(speech, 1.0), speech, atol=5e-3)


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
    assert len(changed) == RATE
    assert pitch_of(changed) == pytest.approx(200 * 2 ** (semitones / 12), rel=0.01)


def test_the_same_pitch_changes_next_to_nothing(speech):
    np.testing.assert_allclose(change_pitch(speech, 0.0), speech, atol=5e-3)


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


@pytest.mark.parametrize("color", ["white", "pink"])
@pytest.mark.parametrize("snr", [20.0, 0.0, -7.5])
def test_noise_has_the_ratio_asked_for(rng, color, snr):
    speech = (0.01 * rng.standard_normal(RATE)).astype(np.float32) + np.float32(0.02)
    added = add_noise(speech, snr, color) - speech
    assert 10 * np.log10(speech.var() / np.square(added).mean()) == pytest.approx(snr, abs=0.01)


def test_each_color_of_noise_has_its_spectrum(rng):
    speech = (0.001 * rng.standard_normal(2**18)).astype(np.float32)

    def octaves(color):
        """Power of the noise in octaves from 125 Hz to 8 kHz, in dB."""
        added = add_noise(speech, -20.0, color) - speech
        power, frequencies = np.square(np.abs(np.fft.rfft(added))), np.fft.rfftfreq(added.size, 1 / RATE)
        bounds = pairwise(125 * 2 ** np.arange(7))
        return 10 * np.log10(
            [power[(frequencies >= low) & (frequencies < high)].sum() for low, high in bounds]
        )

    assert np.diff(octaves("white")) == pytest.approx(10 * np.log10(2), abs=0.3)
    assert np.diff(octaves("pink")) == pytest.approx(0.0, abs=0.3)


def test_noise_is_the_same_at_every_ratio_and_another_for_a_clip_of_another_length(rng):
    speech = (0.001 * rng.standard_normal(8_000)).astype(np.float32)

    def added(snr, clip=speech):
        return add_noise(clip, snr, "pink") - clip

    np.testing.assert_array_equal(added(10.0), added(10.0))
    np.testing.assert_allclose(added(-10.0), 10 * added(10.0), atol=1e-6)
    correlation = np.corrcoef(added(10.0)[:-1], added(10.0, speech[:-1]))[0, 1]
    assert abs(correlation) < 0.2


def test_loud_mixtures_are_scaled_and_silence_stays_silent(rng):
    loud = np.clip(0.5 * rng.standard_normal(RATE), -1, 1).astype(np.float32)
    mixed = add_noise(loud, 0.0)
    assert np.abs(mixed).max() == pytest.approx(1.0)
    assert np.count_nonzero(np.abs(mixed) == np.abs(mixed).max()) == 1  # not clipped
    silence = np.zeros(8_000, np.float32)
    np.testing.assert_array_equal(add_noise(silence, 10.0, "pink"), silence)
    click = np.ones(3, np.float32)
    assert np.isfinite(add_noise(click, 10.0, "pink")).all()


@pytest.mark.parametrize(
    ("color", "snr", "message"),
    [("brown", 10.0, "white or pink noise .* but found 'brown'"), ("pink", float("nan"), "finite .* nan")],
)
def test_noise_that_is_none_is_refused(rng, color, snr, message):
    with pytest.raises(ValueError, match=message):
        add_noise(rng.uniform(-1, 1, 100).astype(np.float32), snr, color)
