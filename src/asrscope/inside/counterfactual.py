"""What if the clip had been another? Waveforms with one thing changed, for comparing what the model does.

Every function takes a waveform and returns a new one; none has a model in it. Times are in seconds. Where
sound is taken away or laid end to end, the edges are faded over `FADE` seconds: a sudden edge is a click, and
a click is a change of its own.
"""

import math

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE

__all__ = ["FADE", "cut", "mask_span", "shift"]

FADE = 0.005  # seconds


def mask_span(
    waveform: Float32[ndarray, " samples"], start: float, end: float
) -> Float32[ndarray, " samples"]:
    """Silence a stretch; everything else stays where it is.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    start, end : float
        The stretch, in seconds.

    Returns
    -------
    np.ndarray, shape (samples,)
        As long as before: zero between start and end, but for the fades at both ends, which lie within.

    Raises
    ------
    ValueError
        If the stretch is empty or not within the clip.
    """
    first, last = _span(waveform, start, end)
    masked = waveform.copy()
    fade = _fade(last - first)
    masked[first:last] = 0
    masked[first : first + fade.size] = waveform[first : first + fade.size] * fade[::-1]
    masked[last - fade.size : last] += waveform[last - fade.size : last] * fade
    return masked


def cut(waveform: Float32[ndarray, " samples"], start: float, end: float) -> Float32[ndarray, " shorter"]:
    """Take a stretch out; what follows moves up.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    start, end : float
        The stretch, in seconds.

    Returns
    -------
    np.ndarray, shape (shorter,)
        Shorter by the stretch; the sound fades out before the seam and in after it.

    Raises
    ------
    ValueError
        If the stretch is empty, not within the clip, or all of it.
    """
    first, last = _span(waveform, start, end)
    before, after = waveform[:first].copy(), waveform[last:].copy()
    if before.size + after.size == 0:
        raise ValueError(f"Expected to keep some of the clip, but found a cut from {start} to {end} s.")
    fade_out, fade_in = _fade(2 * before.size)[::-1], _fade(2 * after.size)
    before[before.size - fade_out.size :] *= fade_out
    after[: fade_in.size] *= fade_in
    return np.concatenate([before, after])


def shift(waveform: Float32[ndarray, " samples"], seconds: float) -> Float32[ndarray, " longer"]:
    """Let the clip start later, after a silence.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    seconds : float
        Length of the silence before the clip.

    Returns
    -------
    np.ndarray, shape (longer,)
        Longer by the silence; the samples of the clip are the same.

    Raises
    ------
    ValueError
        If the length is negative or not a finite number.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"Expected a silence of 0 s or more, but found {seconds} s.")
    return np.pad(waveform, (round(seconds * SAMPLE_RATE), 0))


def _span(waveform: Float32[ndarray, " samples"], start: float, end: float) -> tuple[int, int]:
    """First sample of a stretch and the sample after its last."""
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    if not 0 <= first < last <= waveform.size:
        raise ValueError(
            f"Expected a stretch within the clip's {waveform.size / SAMPLE_RATE:.3f} s, "
            f"but found {start} to {end} s."
        )
    return first, last


def _fade(samples: int) -> Float32[ndarray, " fade"]:
    """Rising half of a cosine window, at most half as long as so many samples."""
    length = min(round(FADE * SAMPLE_RATE), samples // 2)
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))).astype(np.float32)
