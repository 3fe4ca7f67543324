"""The outline of a waveform: the lowest and the highest sample of each short stretch."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int8

from asrscope.audio import SAMPLE_RATE

__all__ = ["Peaks", "measure_peaks"]

MOST = 2**20  # stretches: two bytes each, and still 7 ms for two hours
FINEST = SAMPLE_RATE // 1000  # samples in 1 ms: finer than a pixel of a word


@dataclass(frozen=True, eq=False)
class Peaks:
    """The outline of a waveform.

    Attributes
    ----------
    low, high : np.ndarray, shape (stretches,)
        Lowest and highest sample of each stretch, in 127ths of `top`.
    step : int
        Samples in a stretch, at 16 kHz.
    top : float
        Largest absolute value of the recording.
    """

    low: Int8[np.ndarray, " stretches"]
    high: Int8[np.ndarray, " stretches"]
    step: int
    top: float


def measure_peaks(blocks: Iterable[Float32[np.ndarray, "_"]], size: int, *, most: int = MOST) -> Peaks:
    """Measure the outline of a recording, piece by piece.

    Parameters
    ----------
    blocks : iterable of np.ndarray, shape (samples,)
        The recording in order, in pieces of any length.
    size : int
        Number of samples in all; how fine the outline is depends on it.
    most : int
        Largest number of stretches.

    Returns
    -------
    Peaks
        Of stretches of 1 ms or more.
    """
    step = max(FINEST, -(-size // most))
    lows, highs = [], []
    rest = np.zeros(0, np.float32)
    for block in blocks:
        samples = np.concatenate([rest, block])
        whole = samples.size // step * step
        stretches = samples[:whole].reshape(-1, step)
        lows.append(stretches.min(axis=1))
        highs.append(stretches.max(axis=1))
        rest = samples[whole:]
    if rest.size:
        lows.append(rest.min(keepdims=True))
        highs.append(rest.max(keepdims=True))
    low, high = np.concatenate(lows), np.concatenate(highs)
    top = float(max(high.max(), -low.min(), np.finfo(np.float32).tiny))
    # Outwards, so that no sample stands out of its outline.
    return Peaks(
        np.floor(127 * low / top).astype(np.int8), np.ceil(127 * high / top).astype(np.int8), step, top
    )
