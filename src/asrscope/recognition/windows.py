"""Cut a recording into windows that a model can hear: in its pauses, or with overlap where it has none.

A word that is cut in two is lost on both sides. So the cut goes through a pause; and where somebody speaks
without one, two windows share a stretch, in which each word is whole in one of them at least.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from asrscope.audio import SAMPLE_RATE

__all__ = ["OVERLAP_SECONDS", "PAUSE_SECONDS", "Window", "cut_windows"]

PAUSE_SECONDS = 0.2  # longer than the silence within a word, before a "p", say
OVERLAP_SECONDS = 2.0  # some five words ...
OVERLAP_SHARE = 0.25  # ... but never more of a window, or short windows would be heard twice

BLOCK = SAMPLE_RATE // 100  # samples in 10 ms, over which loudness is measured
SMOOTH = 10  # blocks: the quietest place is that of the quietest 100 ms
LOUD_QUANTILE, QUIET_QUANTILE = 0.95, 0.05  # of the loudness: somebody speaks; nobody does
PAUSE_DROP = 30.0  # dB below the speech: quiet, whatever the background
ABOVE_BACKGROUND = 3.0  # dB: a noisy background swells that much
LEAST_DROP = 10.0  # dB: less is no pause, but a sound that goes on
FAINTEST = -100.0  # dB; digital silence has no logarithm


@dataclass(frozen=True, eq=False)
class Window:
    """One stretch of a recording.

    Attributes
    ----------
    start : int
        Its first sample, counted in the recording.
    samples : np.ndarray, shape (samples,)
        The sound, 16,000 samples a second.
    overlap : int
        How many samples at its start are the end of the window before it; 0 after a pause.
    seam : int
        Where the text changes over from the window before, counted in the recording: the quietest place of
        the overlap, or `start` where there is none.
    last : bool
        Whether the recording ends with it.
    """

    start: int
    samples: Float32[np.ndarray, " samples"]
    overlap: int
    seam: int
    last: bool

    @property
    def stop(self) -> int:
        """The sample after its last, counted in the recording."""
        return self.start + self.samples.size


def cut_windows(
    blocks: Iterable[Float32[np.ndarray, "_"]], seconds: float, *, overlap_seconds: float = OVERLAP_SECONDS
) -> Iterator[Window]:
    """Cut a recording into windows of limited length, with no more of it in memory than a window and a block.

    A window ends in the longest pause of its second half. If there is none, it is as long as it may be, and
    the next one begins before its end.

    Parameters
    ----------
    blocks : iterable of np.ndarray, shape (samples,)
        The recording in pieces of any length: an `asrscope.recognition.streaming.AudioStream`, or a list of
        one waveform.
    seconds : float
        Longest window.
    overlap_seconds : float
        What two windows share where there is no pause; at most a quarter of a window.

    Returns
    -------
    iterator of Window
        Windows in order. Together they hold every sample.

    Raises
    ------
    ValueError
        If the windows would be shorter than a tenth of a second, or the overlap is negative.
    """
    longest = int(seconds * SAMPLE_RATE)
    if longest < 10 * BLOCK or overlap_seconds < 0:
        raise ValueError(
            "Expected windows of at least 0.1 s and an overlap that is not negative, "
            f"but found {seconds:g} s and {overlap_seconds:g} s."
        )
    shared = min(int(overlap_seconds * SAMPLE_RATE), int(OVERLAP_SHARE * longest))
    kept, start, overlap, seam = np.zeros(0, np.float32), 0, 0, 0
    for block in blocks:
        kept = np.concatenate([kept, block])
        while kept.size > longest:
            pause = _longest_pause(kept[:longest])
            stop = longest if pause is None else pause
            yield Window(start, kept[:stop].copy(), overlap, seam, last=False)
            overlap = shared if pause is None else 0
            start += stop - overlap
            kept = kept[stop - overlap :]
            seam = start + (_quietest(kept[:overlap]) if overlap else 0)
    yield Window(start, kept, overlap, seam, last=True)


def _loudness(samples: np.ndarray) -> np.ndarray:
    """Level in dB of each 10 ms."""
    power = np.square(samples[: samples.size // BLOCK * BLOCK]).reshape(-1, BLOCK).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FAINTEST / 10))))


def _longest_pause(samples: np.ndarray) -> int | None:
    """Find the middle of the longest pause in the second half; of equally long ones that of the last."""
    level = _loudness(samples)
    loud, quiet = np.quantile(level, [LOUD_QUANTILE, QUIET_QUANTILE])
    limit = min(max(loud - PAUSE_DROP, quiet + ABOVE_BACKGROUND), loud - LEAST_DROP)
    half = level.size // 2
    is_quiet = np.concatenate([[False], level[half:] < limit, [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(is_quiet) == 1), np.flatnonzero(np.diff(is_quiet) == -1)
    lengths = stops - starts
    if not lengths.size or lengths.max() < round(PAUSE_SECONDS * SAMPLE_RATE / BLOCK):
        return None
    longest = np.flatnonzero(lengths == lengths.max())[-1]
    return int(half + (starts[longest] + stops[longest]) // 2) * BLOCK


def _quietest(overlap: np.ndarray) -> int:
    """Find the quietest place in the middle half of an overlap: at its ends one window has no context."""
    quarter = overlap.size // 4
    power = 10 ** (_loudness(overlap[quarter : overlap.size - quarter]) / 10)
    if power.size < SMOOTH:
        return overlap.size // 2
    smooth = np.convolve(power, np.ones(SMOOTH), mode="valid")
    return quarter + (int(smooth.argmin()) + SMOOTH // 2) * BLOCK
