"""Read any audio file into the one form the package works on: mono, 16 kHz, float32.

Everything after this module may rely on it: one dimension, finite values in [-1, 1], at least one sample.
What cannot be read ends in one clear error; what can be read but looks wrong is reported as a warning. What
would not fit into memory is refused before it is begun.
"""

import io
import warnings
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soxr
from jaxtyping import Float32

from asrscope.audio.memory import free_memory
from asrscope.audio.recordings import BLOCK_SAMPLES, Source, check_rate, open_recording
from asrscope.audio.survey import Survey, mean_of_channels

__all__ = [
    "SAMPLE_RATE",
    "SILENT",
    "Clip",
    "check_waveform",
    "find_audio",
    "is_silent",
    "load_audio",
    "read_clip",
    "wav_bytes",
]

SAMPLE_RATE = 16_000  # samples per second, what Whisper's front end expects

MAX_SAMPLES = 2**28  # over all channels, and of the result: 1 GiB of float32, 4.6 hours of mono at 16 kHz
COPIES = 2  # so many times the samples of one channel, as stored or as returned, are in memory at once

SHORT_SECONDS = 0.1  # shorter than any spoken word
SILENT_PEAK = 1e-3  # -60 dB below full scale, after the mean is removed
SILENT = "the clip is silent: whatever is recognized in it is made up"

# What counts as a recording in a folder. The second row cannot be read; an error says so, silence would not.
AUDIO_SUFFIXES = (
    *(".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wav"),
    *(".aac", ".amr", ".m4a", ".webm", ".wma"),
)

Warn = Callable[[str], None]
Rate = float | int | np.integer | np.floating
Clip = str | Path | np.ndarray  # a recording, or samples that are in memory already


def load_audio(source: Source, *, on_warning: Warn | None = None) -> Float32[np.ndarray, " samples"]:
    """Read a recording as mono 16 kHz samples.

    Channels are averaged, except where they cancel each other; other sampling rates are resampled; integer
    and float encodings are scaled to [-1, 1].

    Parameters
    ----------
    source : str, pathlib.Path, bytes or binary file object
        A path, the bytes of a file, or a file opened in binary mode. Formats: what libsndfile reads, among
        them WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF, AU and CAF.
    on_warning : callable, optional
        Called with one sentence for each oddity: silence, clipping, opposite channels, a truncated file, a
        very short clip, samples beyond full scale. By default a `UserWarning` is issued.

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
        memory.
    """
    warn = on_warning or _user_warning
    with open_recording(source) as recording, _enough_memory(recording.name):
        name, rate = recording.name, float(recording.rate)
        most = _most_frames(rate, recording.channels)
        if recording.announced is not None:
            _check_length(recording.announced, most, rate, recording.channels, name)
        survey, pieces = Survey(), []
        for block in recording.blocks():
            survey.add(block)
            _check_length(survey.frames, most, rate, recording.channels, name)
            pieces.append(mean_of_channels(block))
        survey.check(name)
        if recording.truncated:
            left = survey.frames / rate
            warn(f"{name}: the file is truncated or damaged: only {left:.2f} s of it can be read")
        if (channel := survey.loudest_of_cancelling()) is not None:
            warn(
                f"{name}: the channels have opposite phases and cancel each other: "
                f"channel {channel + 1} of {recording.channels} is used"
            )
            pieces = [block[:, channel].copy() for block in recording.blocks()]
        mono = np.concatenate(pieces)
        pieces.clear()
        return _finish(mono, rate, survey, name, warn)


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
    name = "the waveform"
    samples = _as_array(array, name)
    if samples.ndim != 1:
        advice = "average its channels first" if samples.ndim == 2 else "pass one clip"
        raise ValueError(f"{name}: expected shape (samples,), but found {samples.shape}: {advice}")
    rate = check_rate(sampling_rate, name)
    if not samples.size:
        raise ValueError(f"{name}: there are no samples: record or copy it again")
    _check_length(samples.size, _most_frames(rate, 1), rate, 1, name)
    with _enough_memory(name):
        scaled = _scaled(samples, name)
        survey = Survey()
        for start in range(0, scaled.size, BLOCK_SAMPLES):
            survey.add(scaled[start : start + BLOCK_SAMPLES, np.newaxis])
        survey.check(name)
        return _finish(scaled, rate, survey, name, on_warning or _user_warning)


def read_clip(source: Clip) -> tuple[Float32[np.ndarray, " samples"], list[str]]:
    """Read a recording, or check samples that are in memory, and collect what is odd about them.

    Parameters
    ----------
    source : str, pathlib.Path or numpy.ndarray
        An audio file, or a mono waveform at 16 kHz.

    Returns
    -------
    numpy.ndarray
        Waveform of shape (samples,), as `load_audio` and `check_waveform` return it.
    list of str
        One sentence for each oddity.

    Raises
    ------
    OSError, ValueError
        As `load_audio` and `check_waveform`.
    """
    warnings: list[str] = []
    if isinstance(source, np.ndarray):
        return check_waveform(source, on_warning=warnings.append), warnings
    return load_audio(source, on_warning=warnings.append), warnings


def is_silent(waveform: Float32[np.ndarray, " samples"]) -> bool:
    """Tell whether a waveform is so quiet that `load_audio` and `check_waveform` warn of silence."""
    mean = waveform.mean()
    return bool(max(waveform.max() - mean, mean - waveform.min()) < SILENT_PEAK)


def find_audio(folder: str | Path) -> list[Path]:
    """Find the recordings in a folder and the folders below it.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where to look; hidden files are left out.

    Returns
    -------
    list of pathlib.Path
        Files with an audio file's ending, sorted by path.
    """
    return sorted(
        path
        for path in Path(folder).rglob("*")
        if path.name.lower().endswith(AUDIO_SUFFIXES) and not path.name.startswith(".") and path.is_file()
    )


def wav_bytes(waveform: Float32[np.ndarray, " samples"], sampling_rate: int = SAMPLE_RATE) -> bytes:
    """Encode a waveform as a 16-bit PCM WAV file, for embedding in a page.

    Parameters
    ----------
    waveform : numpy.ndarray
        Samples of shape (samples,); values beyond [-1, 1] are clipped.
    sampling_rate : int
        Samples a second.

    Returns
    -------
    bytes
        The WAV file: a header of 44 bytes and two bytes a sample.
    """
    pcm = np.round(np.clip(waveform, -1.0, 1.0) * 32767.0).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sampling_rate)
        file.writeframes(pcm.tobytes())
    return buffer.getvalue()


def _user_warning(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)


@contextmanager
def _enough_memory(name: str) -> Iterator[None]:
    """Say what to do where memory runs out all the same: this process may be allowed less than there is."""
    try:
        yield
    except MemoryError as error:
        raise ValueError(f"{name}: there is not enough memory for it: cut it into pieces") from error


def _most_frames(rate: float, channels: int) -> int:
    """How many frames may be read: as many as bounds and memory allow, before and after resampling."""
    growth = max(1.0, SAMPLE_RATE / rate)
    return int(min(MAX_SAMPLES / max(channels, growth), free_memory() / (4 * COPIES * growth)))


def _check_length(frames: int, most: int, rate: float, channels: int, name: str) -> None:
    if frames > most:
        raise ValueError(
            f"{name}: longer than {most / rate / 60:.3g} minutes ({channels} channel(s) at {rate:g} Hz), "
            "more than there is memory for: cut it into pieces"
        )


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


def _finish(
    mono: np.ndarray, rate: float, survey: Survey, name: str, warn: Warn
) -> Float32[np.ndarray, " samples"]:
    """Turn checked samples of one channel, which may be overwritten, into the package's form."""
    for oddity in survey.oddities(name):
        warn(oddity)
    if survey.peak > 1.0:
        # The one loudest value decides, so that the shape of the wave is kept.
        mono /= np.float32(survey.peak)
    if rate != SAMPLE_RATE:
        mono = np.asarray(soxr.resample(mono, rate, SAMPLE_RATE))
    if not mono.size:
        raise ValueError(f"{name}: shorter than one sample at {SAMPLE_RATE} Hz: record or copy it again")
    if mono.size < SHORT_SECONDS * SAMPLE_RATE:
        warn(f"{name}: only {mono.size / SAMPLE_RATE:.3f} s long, shorter than a word")
    np.clip(mono, -1.0, 1.0, out=mono)  # resampling overshoots a little at full scale
    if is_silent(mono):
        warn(f"{name}: {SILENT}")
    return mono
