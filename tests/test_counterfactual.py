import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrscope.inside.counterfactual import FADE, cut, mask_span, shift

RATE = 16_000
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
