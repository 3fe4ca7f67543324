"""Read a recording of any length piece by piece, in memory that does not grow with it.

A recording is decoded twice. The first time finds what only the whole of it can tell: its loudest sample,
which channels cancel each other, whether it is silent. The second time yields the samples. So the pieces,
joined, are what `asrscope.audio.load_audio` returns.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
from jaxtyping import Float32

from asrscope.audio import (
    SAMPLE_RATE,
    SHORT_SECONDS,
    SILENT_PEAK,
    Warn,
    check_waveform,
    is_silent,
    load_audio,
)
from asrscope.audio.recordings import Source, name_of, open_recording
from asrscope.audio.survey import Survey, mean_of_channels

__all__ = ["AudioStream"]

MAX_HOURS = 48  # a compressed file of a few megabytes can hold years of silence
BLOCK_SAMPLES = 10 * SAMPLE_RATE  # of what is in memory already, at a time


class AudioStream:
    """A recording as pieces of mono 16 kHz samples; it can be gone through more than once.

    Parameters
    ----------
    source : str, pathlib.Path, bytes, binary file object or np.ndarray [shape=(samples,)]
        What `asrscope.audio.load_audio` reads, or a mono waveform at 16 kHz. Only a path is read
        piece by piece.

    Attributes
    ----------
    name : str
        What errors and warnings call the recording.
    size : int
        Number of samples at 16 kHz.
    warnings : list of str
        One sentence for each oddity, as `asrscope.audio.load_audio` gives them.
    silent : bool
        Whether the whole of it is so quiet that one of them says so.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no audio, is damaged, or holds more than two days of sound.
    """

    def __init__(self, source: Source | np.ndarray) -> None:
        self.warnings: list[str] = []
        self._waveform: np.ndarray | None = None
        if isinstance(source, np.ndarray):
            self.name = "the waveform"
            self._waveform = check_waveform(source, on_warning=self.warnings.append)
        elif not isinstance(source, (str, Path)):
            self.name = name_of(source)
            self._waveform = load_audio(source, on_warning=self.warnings.append)
        else:
            self.name, self._path = name_of(source), source
            self._survey(self.warnings.append)
            return
        self.size, self.silent = self._waveform.size, is_silent(self._waveform)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.size / SAMPLE_RATE

    def __iter__(self) -> Iterator[Float32[np.ndarray, "_"]]:
        """Yield the samples in order, some seconds at a time."""
        if self._waveform is not None:
            for start in range(0, self.size, BLOCK_SAMPLES):
                yield self._waveform[start : start + BLOCK_SAMPLES]
            return
        with open_recording(self._path) as recording:
            resampler = soxr.ResampleStream(recording.rate, SAMPLE_RATE, 1, dtype="float32")
            for block, last in _marked(recording.blocks()):
                mono = mean_of_channels(block) if self._channel is None else block[:, self._channel].copy()
                if self._peak > 1.0:
                    mono /= np.float32(self._peak)  # as load_audio does it
                if recording.rate != SAMPLE_RATE:
                    mono = resampler.resample_chunk(mono, last=last)
                if mono.size:
                    yield np.clip(mono, -1.0, 1.0)  # resampling overshoots a little at full scale

    def _survey(self, warn: Warn) -> None:
        """Go through the file once and find what only the whole of it can tell."""
        survey = Survey()
        with open_recording(self._path) as recording:
            rate = recording.rate
            low, high, total = (np.full(recording.channels + 1, start) for start in (np.inf, -np.inf, 0.0))
            for block in recording.blocks():
                survey.add(block)
                if survey.frames > MAX_HOURS * 3600 * rate:
                    raise ValueError(f"{self.name}: longer than {MAX_HOURS} hours: cut it into pieces")
                # Of each channel and of their mean, whichever it will be: is it silent?
                every = np.column_stack([block, mean_of_channels(block)])
                low, high = np.minimum(low, every.min(axis=0)), np.maximum(high, every.max(axis=0))
                total += every.sum(axis=0, dtype=np.float64)
            survey.check(self.name)
            if recording.truncated:
                left = survey.frames / rate
                warn(f"{self.name}: the file is truncated or damaged: only {left:.2f} s of it can be read")
        self._peak, self._channel = survey.peak, survey.loudest_of_cancelling()
        if self._channel is not None:
            warn(
                f"{self.name}: the channels have opposite phases and cancel each other: "
                f"channel {self._channel + 1} of {recording.channels} is used"
            )
        for oddity in survey.oddities(self.name):
            warn(oddity)
        self.size = round(survey.frames * SAMPLE_RATE / rate)
        if not self.size:
            raise ValueError(
                f"{self.name}: shorter than one sample at {SAMPLE_RATE} Hz: record or copy it again"
            )
        if self.size < SHORT_SECONDS * SAMPLE_RATE:
            warn(f"{self.name}: only {self.size / SAMPLE_RATE:.3f} s long, shorter than a word")
        heard = -1 if self._channel is None else self._channel
        middle = total[heard] / survey.frames
        swing = max(high[heard] - middle, middle - low[heard]) / max(self._peak, 1.0)
        self.silent = bool(swing < SILENT_PEAK)
        if self.silent:
            warn(f"{self.name}: the clip is silent: whatever is recognized in it is made up")


def _marked(blocks: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Say of each block whether it is the last one."""
    before = next(blocks)
    for block in blocks:
        yield before, False
        before = block
    yield before, True
