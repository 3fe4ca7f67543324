"""Where a recording is cut, and that every sample is in a window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscope.recognition.transcribe import cut_windows


@pytest.fixture
def speech(rng):
    """Noise that swells as syllables do, with pauses of a given length at given seconds."""

    def make(seconds, pauses=(), length=0.4, background=0.0005):
        time = np.arange(round(seconds * 16_000)) / 16_000
        loudness = 0.2 * (0.65 + 0.35 * np.sin(2 * np.pi * 4 * time))
        for pause in pauses:
            loudness[np.abs(time - pause) < length / 2] = background
        return (loudness * rng.standard_normal(time.size)).astype(np.float32).clip(-1, 1)

    return make


def in_pieces(waveform, size):
    return [waveform[start : start + size] for start in range(0, waveform.size, size)]


def assert_covered(windows, waveform):
    """Every sample is in a window, in its place, and only an overlap is in two."""
    reached = 0
    for window in windows:
        assert window.start == reached - window.overlap
        np.testing.assert_array_equal(window.samples, waveform[window.start : window.stop])
        assert window.start <= window.seam <= window.start + window.overlap
        reached = window.stop
    assert reached == waveform.size
    assert [window.last for window in windows] == [False] * (len(windows) - 1) + [True]


def test_a_recording_with_pauses_is_cut_in_them_without_overlap(speech):
    waveform = speech(20, pauses=[3.2, 6.1, 9.3, 12.0, 15.5, 18.0])
    windows = list(cut_windows([waveform], 4.0))
    assert_covered(windows, waveform)
    assert [window.overlap for window in windows] == [0] * 7
    assert [window.start / 16_000 for window in windows[1:]] == pytest.approx(
        [3.2, 6.1, 9.3, 12.0, 15.5, 18.0], abs=0.05
    )


def test_speech_without_a_pause_is_cut_with_overlap(speech):
    waveform = speech(20)
    windows = list(cut_windows([waveform], 8.0))
    assert_covered(windows, waveform)
    assert [window.overlap for window in windows] == [0, 32_000, 32_000]
    assert all(window.samples.size == 8 * 16_000 for window in windows[:-1])


def test_the_overlap_is_at_most_a_quarter_of_a_window_and_can_be_none(speech):
    waveform = speech(9)
    assert [window.overlap for window in cut_windows([waveform], 4.0)] == [0, 16_000, 16_000]
    plain = list(cut_windows([waveform], 4.0, overlap_seconds=0.0))
    assert_covered(plain, waveform)
    assert [window.overlap for window in plain] == [0, 0, 0]


def test_the_text_changes_over_in_the_quietest_place_of_the_overlap(speech):
    waveform = speech(12)
    waveform[round(6.9 * 16_000) : round(7.0 * 16_000)] *= 0.05  # too short for a pause
    _, second = cut_windows([waveform], 8.0)
    assert second.overlap == 32_000
    assert second.seam / 16_000 == pytest.approx(6.95, abs=0.03)


def test_the_longest_pause_counts_and_one_within_a_word_does_not(speech):
    waveform = speech(7, pauses=[2.5], length=0.3)
    waveform[round(3.4 * 16_000) : round(3.52 * 16_000)] = 0  # as before a "p"
    first, *_ = cut_windows([waveform], 4.0)
    assert first.stop / 16_000 == pytest.approx(2.5, abs=0.05)


def test_a_pause_is_found_above_a_noisy_background(speech):
    waveform = speech(9, pauses=[2.8, 6.0], background=0.03)  # 16 dB below the speech
    windows = list(cut_windows([waveform], 4.0))
    assert [window.start / 16_000 for window in windows] == pytest.approx([0, 2.8, 6.0], abs=0.06)


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.floats(0.01, 12.0),
    longest=st.floats(0.5, 5.0),
    overlap=st.floats(0.0, 3.0),
    size=st.integers(100, 100_000),
    seed=st.integers(0, 9),
)
def test_every_sample_is_in_a_window_however_the_recording_comes(seconds, longest, overlap, size, seed):
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.choice([0.0, 0.0005, 0.2], 60), 16_000 // 5)[: max(1, int(seconds * 16_000))]
    waveform = (loudness * rng.standard_normal(loudness.size)).astype(np.float32)
    windows = list(cut_windows(in_pieces(waveform, size), longest, overlap_seconds=overlap))
    assert_covered(windows, waveform)
    assert all(window.samples.size <= longest * 16_000 for window in windows)
    whole = list(cut_windows([waveform], longest, overlap_seconds=overlap))
    assert [(window.start, window.stop) for window in windows] == [(w.start, w.stop) for w in whole]


def test_windows_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"at least 0\.1 s .* but found 0\.01 s"):
        list(cut_windows([np.zeros(9, np.float32)], 0.01))
    with pytest.raises(ValueError, match="not negative"):
        list(cut_windows([np.zeros(9, np.float32)], 4.0, overlap_seconds=-1.0))
