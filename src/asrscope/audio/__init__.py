"""Bring any sound into the one form the package works on: mono, 16 kHz, float32.

Everything after this module may rely on it: one dimension, finite values in [-1, 1], at least one sample.
What cannot be read ends in one clear error; what can be read but looks wrong is reported as a warning. What
would not fit into memory is refused before it is begun.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import soundfile
import soxr
from jaxtyping import Float32

from asrscope.audio.recordings import (
    BLOCK_SAMPLES,
    Recording,
    Source,
    check_rate,
    held,
    name_of,
    open_recording,
)

__all__ = [
    "SAMPLE_RATE",
    "SILENT",
    "AudioStream",
    "Clip",
    "check_waveform",
    "find_audio",
    "free_memory",
    "is_silent",
    "load_audio",
    "read_clip",
    "record",
    "wav_bytes",
]

SAMPLE_RATE = 16_000  # samples per second, what Whisper's front end expects

MAX_SAMPLES = 2**28  # over all channels, and of the result: 1 GiB of float32, 4.6 hours of mono at 16 kHz
MAX_HOURS = 48  # of a stream: a compressed file of a few megabytes can hold years of silence
COPIES = 2  # so many times the samples of one channel, as stored or as returned, are in memory at once

CONTAINER = Path("/sys/fs/cgroup")  # where Linux keeps the limits of a container, as seen from inside
OWN_GROUP = Path("/proc/self/cgroup")  # which group in it the process is in, that of a job say

SHORT_SECONDS = 0.1  # shorter than any spoken word
SILENT_PEAK = 1e-3  # -60 dB below full scale, after the mean is removed
SILENT = "the clip is silent: whatever is recognized in it is made up"
MAX_AMPLITUDE = 2.0**31  # float files sometimes hold 32-bit integers; beyond that it is not sound
CLIPPED_LEVEL = 0.98  # a clipped sample stands at least this high ...
CLIPPED_SAMPLES = 10  # ... and is equal to its neighbor; a few such pairs happen in clean recordings
CANCELLED_SHARE = 0.01  # of the channels' power: less left in their mean means opposite phases

# Two people on two channels: for some time both are loud, and what they say is not alike.
BOTH_SECONDS = 0.5  # in all
BOTH_SHARE = 0.01  # of the loudest power: 20 dB below it
BOTH_ALIKE = 0.5  # correlation; of one voice before two microphones it is higher

# What counts as a recording in a folder: the endings of what libsndfile reads, and then those of what it
# cannot read. An error says so; silence would not.
AUDIO_SUFFIXES = (
    *(".8svx", ".aif", ".aifc", ".aiff", ".au", ".avr", ".bwf", ".caf", ".flac", ".htk", ".iff", ".ircam"),
    *(".mp1", ".mp2", ".mp3", ".mpga", ".nist", ".oga", ".ogg", ".opus", ".paf", ".pvf", ".rf64", ".sd2"),
    *(".sds", ".sf", ".snd", ".sph", ".svx", ".voc", ".w64", ".wav", ".wave", ".wve", ".xi"),
    *(".3g2", ".3gp", ".aac", ".ac3", ".amr", ".ape", ".avi", ".awb", ".dss", ".flv", ".m4a", ".m4b"),
    *(".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".qt", ".spx", ".webm"),
    *(".wma", ".wmv", ".wv"),
)

Warn = Callable[[str], None]
Rate = float | int | np.integer | np.floating
Clip = Source | np.ndarray  # a recording, or samples that are in memory already


# Three ways to a waveform -----------------------------------------------------------------------------------


def load_audio(
    source: Source, *, channel: int | None = None, on_warning: Warn | None = None
) -> Float32[np.ndarray, " samples"]:
    """Read a recording as mono 16 kHz samples.

    Channels are averaged, except where they cancel each other; other sampling rates are resampled; integer
    and float encodings are scaled to [-1, 1].

    Parameters
    ----------
    source : str, pathlib.Path, bytes or binary file object
        A path, the bytes of a file, or a file opened in binary mode. Formats: what libsndfile reads, among
        them WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF, AU and CAF.
    channel : int, optional
        Read this one channel alone, counted from 0: the left one, for example.
    on_warning : callable, optional
        Called with one sentence for each oddity: silence, clipping, opposite channels, two people on two
        channels, a truncated file, a very short clip, samples beyond full scale. By default a `UserWarning`
        is issued.

    Returns
    -------
    numpy.ndarray
        Waveform of shape (samples,), float32 in [-1, 1], 16,000 samples a second.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        If there is no such file, or it cannot be opened.
    ValueError
        If the content is empty, not audio, damaged, non-finite, too long or too large for this machine's
        memory, or has no such channel.
    """
    return _whole(AudioStream(source, channel=channel, in_memory=True), on_warning)


def check_waveform(
    array: object, sampling_rate: Rate = SAMPLE_RATE, *, on_warning: Warn | None = None
) -> Float32[np.ndarray, " samples"]:
    """Check samples that are already in memory and bring them into the package's form.

    Parameters
    ----------
    array : array_like
        One channel of samples, shape (samples,): floats in [-1, 1], or int8, int16, int32 or uint8, which
        are scaled by the range of their type. An array of NumPy in any order of bytes or memory, a tensor, a
        list.
    sampling_rate : float or int, default: 16000
        Samples per second of `array`; other rates than 16,000 are resampled.
    on_warning : callable, optional
        Called with one sentence for each oddity, as in `load_audio`.

    Returns
    -------
    numpy.ndarray
        Waveform of shape (samples,), float32 in [-1, 1], 16,000 samples a second.

    Raises
    ------
    ValueError
        If the array has another rank or type, is empty, too long, or holds NaN, infinity or masked samples.
    """
    return _whole(AudioStream(_Samples(array, sampling_rate), in_memory=True), on_warning)


def record(seconds: float = 5.0) -> Float32[np.ndarray, " samples"]:
    """Record a clip from the default microphone, with the optional package sounddevice.

    Parameters
    ----------
    seconds : float
        Length of the clip.

    Returns
    -------
    np.ndarray, shape (samples,)
        Mono, 16 kHz, in [-1, 1], as `load_audio` returns it.

    Raises
    ------
    ImportError
        If sounddevice or the library PortAudio, which it needs, is not installed.
    OSError
        If there is no microphone, or it may not be used.
    ValueError
        If the length is not positive, or nothing but zeros was recorded.
    """
    if not seconds > 0:
        raise ValueError(f"expected a length above 0 s, but found {seconds:g}")
    try:
        import sounddevice  # noqa: PLC0415 - only those who record need it
    except (ImportError, OSError) as error:  # the second, where its library is missing
        raise ImportError(
            'to record, install the package sounddevice: pip install "asrscope[microphone]"; on Debian and '
            f"Ubuntu its library PortAudio, too: apt-get install libportaudio2 ({error})"
        ) from error
    try:
        rate = round(sounddevice.query_devices(kind="input")["default_samplerate"])
        # At the device's own rate: not every one can do 16 kHz.
        samples = sounddevice.rec(
            round(seconds * rate), samplerate=rate, channels=1, dtype="float32", blocking=True
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise OSError(
            f"the microphone cannot be used ({error}): connect one, choose it in the settings of the system, "
            "and allow this program to use it"
        ) from error
    if not samples.any():
        raise ValueError(
            "the microphone gave nothing but zeros: turn it up, and allow this program to use it in the "
            "settings of the system"
        )
    return check_waveform(samples[:, 0], rate)


def read_clip(source: Clip) -> tuple[Float32[np.ndarray, " samples"], list[str]]:
    """Read a recording, or check samples that are in memory; returns them and what is odd about them."""
    stream = AudioStream(source, in_memory=True)
    return stream.samples(), stream.warnings


class AudioStream:
    """A recording as pieces of mono 16 kHz samples, in memory that does not grow with it.

    It is decoded once for what only the whole of it can tell: its loudest sample, which channels cancel each
    other, whether it is silent; and once more whenever it is gone through. `load_audio` returns the pieces,
    joined.

    Parameters
    ----------
    source : str, pathlib.Path, bytes, binary file object or np.ndarray [shape=(samples,)]
        What `load_audio` reads, or a mono waveform at 16 kHz.
    channel : int, optional
        Read this one channel alone, counted from 0.
    in_memory : bool
        Refuse it if all its samples would not fit into memory.

    Attributes
    ----------
    name : str
        What errors and warnings call the recording.
    channels : int
        How many channels the file has.
    size : int
        Number of samples at 16 kHz.
    warnings : list of str
        One sentence for each oddity.
    silent : bool
        Whether the whole of it is so quiet that one of them says so.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no audio, is damaged, or holds more than two days of sound.
    """

    def __init__(
        self, source: "Clip | _Samples", *, channel: int | None = None, in_memory: bool = False
    ) -> None:
        if isinstance(source, np.ndarray):
            source = _Samples(source, SAMPLE_RATE)
        self.name = source.name if isinstance(source, _Samples) else name_of(source)
        self._source = source if isinstance(source, _Samples) else held(source, self.name)
        self._channel = channel
        with self._opened() as recording:
            self.channels, rate = recording.channels, recording.rate
            in_memory = in_memory or isinstance(source, _Samples)
            most = _most_frames(rate, recording.channels, in_memory=in_memory)
            self._check_length(recording, recording.announced or 0, most)
            survey = _Survey(rate)
            for block in recording.blocks():
                survey.add(block)
                self._check_length(recording, survey.frames, most)
            self._loudest, self._peak = survey.loudest_of_cancelling(self.name), survey.peak
            self.warnings = [f"{self.name}: {oddity}" for oddity in survey.oddities(recording)]
        self.size = round(survey.frames * SAMPLE_RATE / rate)
        if not self.size:
            raise ValueError(
                f"{self.name}: shorter than one sample at {SAMPLE_RATE} Hz: record or copy it again"
            )
        if self.size < SHORT_SECONDS * SAMPLE_RATE:
            self.warnings.append(f"{self.name}: only {self.seconds:.3f} s long, shorter than a word")
        self.silent = survey.swing() / max(self._peak, 1.0) < SILENT_PEAK
        if self.silent:
            self.warnings.append(f"{self.name}: {SILENT}")

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.size / SAMPLE_RATE

    def __iter__(self) -> Iterator[Float32[np.ndarray, "_"]]:
        """Yield the samples in order, some seconds at a time."""
        with self._opened() as recording:
            resampler = soxr.ResampleStream(recording.rate, SAMPLE_RATE, 1, dtype="float32")
            for block in chain(recording.blocks(), [None]):
                if block is None:  # the end: the resampler holds some samples back
                    mono = np.zeros(0, np.float32)
                elif self._loudest is None:
                    mono = mean_of_channels(block)
                else:
                    mono = block[:, self._loudest].copy()
                if self._peak > 1.0:
                    mono = mono / np.float32(self._peak)  # all of it, so that the shape of the wave is kept
                if recording.rate != SAMPLE_RATE:
                    mono = np.asarray(resampler.resample_chunk(mono, last=block is None))
                if mono.size:
                    yield np.clip(mono, -1.0, 1.0)  # resampling overshoots a little at full scale

    def samples(self) -> Float32[np.ndarray, " samples"]:
        """Return all samples at once."""
        try:
            return np.concatenate(list(self))
        except MemoryError as error:  # this process may be allowed less than there is
            raise ValueError(f"{self.name}: there is not enough memory for it: cut it into pieces") from error

    def _opened(self) -> "AbstractContextManager[Recording | _Samples]":
        if isinstance(self._source, _Samples):
            return nullcontext(self._source)
        return open_recording(self._source, self._channel, self.name)

    def _check_length(self, recording: "Recording | _Samples", frames: int, most: tuple[int, str]) -> None:
        if frames > most[0]:
            raise ValueError(
                f"{self.name}: longer than {most[0] / recording.rate / 60:.3g} minutes "
                f"({recording.channels} channel(s) at {recording.rate:g} Hz), more than {most[1]}: "
                "cut it into pieces"
            )


# Other forms ------------------------------------------------------------------------------------------------


def is_silent(waveform: Float32[np.ndarray, " samples"]) -> bool:
    """Tell whether a waveform is so quiet that `load_audio` and `check_waveform` warn of silence."""
    mean = waveform.mean()
    return bool(max(waveform.max() - mean, mean - waveform.min()) < SILENT_PEAK)


def find_audio(folder: str | Path) -> list[Path]:
    """Find the recordings in a folder and the folders below it, by their endings, sorted by path.

    Links to folders are followed, each folder once; hidden files are left out. A link that leads nowhere
    counts: whoever opens it says so. A folder that cannot be read is an `OSError`.
    """

    def fail(error: OSError) -> None:
        raise OSError(f"{error.filename}: this folder cannot be read ({error.strerror})") from error

    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=fail):
        if (real := os.path.realpath(place)) in seen:  # a link leads in a circle, or to what is listed anyway
            folders.clear()
            continue
        seen.add(real)
        folders.sort(key=lambda name: Path(place, name).is_symlink())
        names = [name for name in files if name.lower().endswith(AUDIO_SUFFIXES) and name[0] != "."]
        found += [Path(place, name) for name in names]
    return sorted(found)


def wav_bytes(waveform: Float32[np.ndarray, " samples"], sampling_rate: int = SAMPLE_RATE) -> bytes:
    """Encode a waveform as a 16-bit PCM WAV file, for embedding in a page; beyond [-1, 1] it is clipped."""
    buffer = io.BytesIO()
    pcm = np.round(np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)
    soundfile.write(buffer, pcm, sampling_rate, format="WAV")
    return buffer.getvalue()


# What has to be known of all samples ------------------------------------------------------------------------


class _Survey:
    """What has to be known of all samples of a recording; it is fed with one block after the other."""

    def __init__(self, rate: float) -> None:
        self.frames, self.peak = 0, 0.0
        self._rate = rate
        self._samples = self._bad = self._flat = 0
        # Of each channel, and of their mean behind them: whichever it will be that is used.
        self._powers = self._sums = np.zeros(1)
        self._low, self._high = np.array(np.inf), np.array(-np.inf)
        self._used = -1
        self._last: np.ndarray | None = None  # the frame before the next block
        self._levels: list[np.ndarray] = []  # of both channels and what they share, each 50 ms

    def add(self, block: Float32[np.ndarray, "frames channels"]) -> None:
        """Take the next frames into account."""
        self.frames += len(block)
        self._samples += block.size
        bad = int(np.count_nonzero(~np.isfinite(block)))
        self._bad += bad
        peak = float(max(block.max(), -block.min())) if block.size else 0.0
        self.peak = max(self.peak, peak)
        if bad or not block.size or peak > MAX_AMPLITUDE:  # it will be refused: nothing else matters
            return
        if peak >= CLIPPED_LEVEL:  # flat stretches: neighbors that are equal and as high as can be
            earlier = block[:-1] if self._last is None else np.concatenate([self._last, block[:-1]])
            here = block[len(block) - len(earlier) :]
            self._flat += int(np.count_nonzero((np.abs(here) >= CLIPPED_LEVEL) & (here == earlier)))
        self._last = block[-1:].copy()
        every = block if block.shape[1] == 1 else np.column_stack([block, mean_of_channels(block)])
        ones = np.ones(len(block), np.float32)
        self._powers = self._powers + (ones @ np.square(every)).astype(np.float64)
        self._sums = self._sums + every.sum(axis=0, dtype=np.float64)
        self._low = np.minimum(self._low, every.min(axis=0))
        self._high = np.maximum(self._high, every.max(axis=0))
        width = int(self._rate / 20)
        if block.shape[1] == 2 and len(block) >= width:
            pairs = block[: len(block) // width * width].reshape(-1, width, 2)
            self._levels.append(np.einsum("fwc,fwd->fcd", pairs, pairs).reshape(-1, 4)[:, [0, 1, 3]])

    def loudest_of_cancelling(self, name: str) -> int | None:
        """Return the channel to use where the channels cancel each other, counted from 0; else None.

        Refuses what is no sound with a `ValueError`.
        """
        if self._bad:
            raise ValueError(
                f"{name}: {self._bad} of {self._samples} samples are NaN or infinite: export the audio again"
            )
        if self.peak > MAX_AMPLITUDE:
            raise ValueError(
                f"{name}: samples reach {self.peak:.3g}, expected values in [-1, 1]: export the audio again"
            )
        *channels, mean = self._powers
        if channels and mean < CANCELLED_SHARE * np.mean(channels):
            self._used = int(np.argmax(channels))
            return self._used
        return None

    def swing(self) -> float:
        """Return how far the channel that is used leaves its mean."""
        mean = self._sums[self._used] / self.frames
        return float(max(self._high[self._used] - mean, mean - self._low[self._used]))

    def oddities(self, recording: "Recording | _Samples") -> Iterator[str]:
        """Say what is odd about the samples as stored, in one sentence each."""
        if recording.truncated:
            left = self.frames / self._rate
            yield f"the file is truncated or damaged: only {left:.2f} s of it can be read"
        if recording.unread:
            yield (
                f"{recording.unread:,} bytes after the announced end were not read: the header counts too "
                "little, or something else follows the sound"
            )
        if self._used >= 0:
            yield (
                "the channels have opposite phases and cancel each other: "
                f"channel {self._used + 1} of {recording.channels} is used"
            )
        if (seconds := self._both_speak()) >= BOTH_SECONDS:
            yield (
                f"the two channels hold different sounds at the same time, {seconds:.1f} s in all, and their "
                "average mixes them: read them one by one, with channel=0 and 1, or --channel left and right"
            )
        if self._flat >= CLIPPED_SAMPLES:
            yield f"{self._flat} samples are clipped at full scale: record with less gain if you can"
        if self.peak > 1.0:
            yield f"samples reach {self.peak:.3g}, beyond full scale: the clip was scaled down to [-1, 1]"

    def _both_speak(self) -> float:
        """Return for how many seconds two channels are loud and unlike each other."""
        if not self._levels:
            return 0.0
        left, shared, right = np.concatenate(self._levels).T
        least = max(BOTH_SHARE * max(left.max(), right.max()), SILENT_PEAK**2 * int(self._rate / 20))
        both = (left > least) & (right > least) & (np.abs(shared) < BOTH_ALIKE * np.sqrt(left * right))
        return float(np.count_nonzero(both) / 20)


class _Samples:
    """Samples that are in memory already, in the place of a `Recording`."""

    name, channels, truncated, unread = "the waveform", 1, False, 0

    def __init__(self, array: object, sampling_rate: Rate) -> None:
        samples = _as_array(array, self.name)
        if samples.ndim != 1:
            advice = "average its channels first" if samples.ndim == 2 else "pass one clip"
            raise ValueError(f"{self.name}: expected shape (samples,), but found {samples.shape}: {advice}")
        self.rate = check_rate(sampling_rate, self.name)
        if not samples.size:
            raise ValueError(f"{self.name}: there are no samples: record or copy it again")
        self._samples, self.announced = samples, samples.size

    def blocks(self) -> Iterator[Float32[np.ndarray, "frames 1"]]:
        """Scale integers by the range of their type, block by block."""
        for start in range(0, self._samples.size, BLOCK_SAMPLES):
            yield _scaled(self._samples[start : start + BLOCK_SAMPLES], self.name)[:, np.newaxis]


def mean_of_channels(block: Float32[np.ndarray, "frames channels"]) -> Float32[np.ndarray, " frames"]:
    """Average the channels of some frames; many times as fast as `numpy.mean` over so short an axis."""
    channels = block.shape[1]
    return block[:, 0] if channels == 1 else block @ np.full(channels, 1 / channels, np.float32)


def _whole(stream: AudioStream, on_warning: Warn | None) -> np.ndarray:
    for message in stream.warnings:
        if on_warning is None:
            warnings.warn(message, UserWarning, stacklevel=3)
        else:
            on_warning(message)
    return stream.samples()


def _most_frames(rate: float, channels: int, *, in_memory: bool) -> tuple[int, str]:
    """How many frames may be read: as many as bounds and memory allow, before and after resampling."""
    if not in_memory:
        return int(MAX_HOURS * 3600 * rate), f"{MAX_HOURS} hours"
    growth = max(1.0, SAMPLE_RATE / rate)
    most = min(MAX_SAMPLES / max(channels, growth), free_memory() / (4 * COPIES * growth))
    return int(most), "there is memory for"


def _as_array(array: object, name: str) -> np.ndarray:
    if np.ma.isMaskedArray(array) and np.ma.is_masked(array):
        masked = np.count_nonzero(np.ma.getmaskarray(array))
        raise ValueError(f"{name}: {masked} samples are masked: fill or remove them first")
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:  # rows of unequal length, a tensor with gradients
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{name}: expected an array of samples, but found {type(array).__name__} ({reason}): "
            "convert it to a NumPy array first"
        ) from error


def _scaled(samples: np.ndarray, name: str) -> np.ndarray:
    """Scale integers by the range of their type; a new float32 array of the same shape."""
    kind = samples.dtype.newbyteorder("=")  # the order of bytes in memory says nothing about the values
    if kind in {np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.int16), np.dtype(np.int32)}:
        scaled = samples.astype(np.float32)
        if kind == np.uint8:  # the one unsigned type in use: 8-bit WAV, silence at 128
            scaled -= 128.0
        scaled /= 2.0 ** (8 * kind.itemsize - 1)
        return scaled
    if np.issubdtype(kind, np.floating):
        with np.errstate(over="ignore"):  # becomes infinite, and is reported as such
            return samples.astype(np.float32)
    raise ValueError(
        f"{name}: expected float samples in [-1, 1] or int8, int16, int32 or uint8, "
        f"but found {samples.dtype}: convert them first"
    )


# The memory that can be had ---------------------------------------------------------------------------------


def free_memory() -> int:
    """Tell how much memory can be had without swapping.

    Returns
    -------
    int
        Bytes: of the machine, or of the container that the process runs in, if that has less.
    """
    return int(min(psutil.virtual_memory().available, _left_in_container()))


def _left_in_container() -> int | float:
    """Bytes below the limits that control groups set; infinity where they set none."""
    try:
        lines = OWN_GROUP.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # no Linux
        lines = []
    group = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder = CONTAINER / group
    groups = [folder, *folder.parents]  # every group around the own one may have a limit
    return min(map(_left_in_group, groups[: groups.index(CONTAINER) + 1]))


def _left_in_group(group: Path) -> int | float:
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # no such file, or "max"
        return float("inf")
    # Cached files count as used, and are given up when memory is wanted.
    cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, limit - used + cached)
