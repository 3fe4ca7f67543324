"""Read any audio file into the one form the package works on: mono, 16 kHz, float32.

Everything after this module may rely on it: one dimension, finite values in [-1, 1], at least one sample.
What cannot be read ends in one clear error; what can be read but looks wrong is reported as a warning.
"""

import io
import os
import struct
import warnings
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

__all__ = [
    "SAMPLE_RATE",
    "Clip",
    "check_waveform",
    "find_audio",
    "is_silent",
    "load_audio",
    "read_clip",
    "wav_bytes",
]

SAMPLE_RATE = 16_000  # samples per second, what Whisper's front end expects

MIN_RATE, MAX_RATE = 2_000, 384_000  # Hz; damaged headers show rates far outside
MAX_SAMPLES = 2**28  # over all channels, before resampling: 1 GiB of float32, 4.6 hours of mono at 16 kHz
MAX_AMPLITUDE = 2.0**31  # float files sometimes hold 32-bit integers; beyond that it is not sound
BLOCK_FRAMES = 2**14  # read in blocks: what a truncated file still holds is kept, and no header is believed

SHORT_SECONDS = 0.1  # shorter than any spoken word
SILENT_PEAK = 1e-3  # -60 dB below full scale, after the mean is removed
CLIPPED_LEVEL = 0.98  # a clipped sample stands at least this high ...
CLIPPED_SAMPLES = 10  # ... and is equal to its neighbor; a few such pairs happen in clean recordings
CANCELLED_SHARE = 0.01  # of the channels' power: less left in their mean means opposite phases

# What counts as a recording in a folder. The second row cannot be read; an error says so, silence would not.
AUDIO_SUFFIXES = (
    *(".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wav"),
    *(".aac", ".amr", ".m4a", ".webm", ".wma"),
)

_STREAMED_SIZE = 0x7FFF_0000  # programs that write to a pipe put a size this large, or 0, into the header
_MAX_BYTES = 2**31  # of an open stream

# Formats that people often have and libsndfile does not read, by the bytes they start with.
_FOREIGN = (
    (4, b"ftyp", "an MP4/M4A file"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM/Matroska file"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"version https://git-lfs", "a Git LFS pointer; run 'git lfs pull' first"),
)

Warn = Callable[[str], None]
Clip = str | Path | np.ndarray  # a recording, or samples that are in memory already


@runtime_checkable
class BinaryReader(Protocol):
    """Whatever has a `read` that yields bytes: an open file, `io.BytesIO`, a pipe."""

    def read(self, size: int = -1, /) -> bytes: ...


def load_audio(
    source: str | Path | bytes | BinaryReader, *, on_warning: Warn | None = None
) -> Float32[np.ndarray, " samples"]:
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
        If the content is empty, not audio, damaged, non-finite or too long.
    """
    warn = on_warning or _user_warning
    name = _name(source)
    with _open(source, name) as stream:
        samples, rate = _read(stream, name, warn)
    return _finish(samples, rate, name, warn)


def check_waveform(
    array: object, sampling_rate: int = SAMPLE_RATE, *, on_warning: Warn | None = None
) -> Float32[np.ndarray, " samples"]:
    """Check samples that are already in memory and bring them into the package's form.

    Parameters
    ----------
    array : array_like
        One channel of samples, shape (samples,): floats in [-1, 1], or int8, int16, int32 or uint8, which
        are scaled by the range of their type.
    sampling_rate : int, default: 16000
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
        If the array has another rank or type, is empty, too long, or holds NaN or infinity.
    """
    name = "the waveform"
    samples = np.asarray(array)
    if samples.ndim != 1:
        advice = "average its channels first" if samples.ndim == 2 else "pass one clip"
        raise ValueError(f"{name}: expected shape (samples,), but found {samples.shape}: {advice}")
    if samples.size > MAX_SAMPLES:
        raise ValueError(
            f"{name}: {samples.size} samples, at most {MAX_SAMPLES} can be read: cut it into pieces"
        )
    scaled = _scaled(samples, name)
    return _finish(scaled[:, np.newaxis], sampling_rate, name, on_warning or _user_warning)


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
    return bool(np.abs(waveform - waveform.mean()).max() < SILENT_PEAK)


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


class _SafeStream:
    """A binary stream whose `seek` never raises.

    Damaged headers make libsndfile seek before the start. It calls `seek` from C, where an exception cannot
    be raised but is printed with its traceback; standing still is what a C stream does.

    Parameters
    ----------
    stream : binary file object
        The stream to read from.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self.read = stream.read
        self.tell = stream.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._stream.seek(offset, whence)
        except (ValueError, OSError):
            return self._stream.tell()


def _user_warning(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)


def _name(source: str | Path | bytes | BinaryReader) -> str:
    if isinstance(source, bytes):
        return "the given bytes"
    if not isinstance(source, (str, Path)):
        source = getattr(source, "name", None) or "the given stream"
    name = str(source)
    return name if name.isprintable() else repr(name)  # a line break in a name must not break the message


def _open(source: str | Path | bytes | BinaryReader, name: str) -> io.BufferedIOBase:
    if isinstance(source, bytes):
        stream: io.BufferedIOBase = io.BytesIO(source)
    elif isinstance(source, (str, Path)):
        stream = _open_path(source, name)
    else:
        # Read into memory: the decoder seeks to absolute positions, which pipes and half-read files lack.
        data = source.read(_MAX_BYTES + 1)
        if not isinstance(data, bytes):
            raise ValueError(
                f"{name}: the stream yields {type(data).__name__}, not bytes: open it in binary mode"
            )
        if len(data) > _MAX_BYTES:
            raise ValueError(f"{name}: the stream holds more than {_MAX_BYTES} bytes: cut it into pieces")
        stream = io.BytesIO(data)
    if stream.seek(0, os.SEEK_END) == 0:
        stream.close()
        raise ValueError(f"{name}: the file is empty (0 bytes): record or copy it again")
    stream.seek(0)
    return stream


def _open_path(source: str | Path, name: str) -> io.BufferedIOBase:
    if str(source).startswith(("http://", "https://")):
        raise FileNotFoundError(f"{name}: this is a web address: download the file and give its path")
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            raise IsADirectoryError(f"{name}: this is a folder: give a file in it")
        if path.exists() and not path.is_file():
            raise OSError(f"{name}: this is a device or a pipe: give a regular file")
        return path.open("rb")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: there is no such file: check the path") from error
    except PermissionError as error:
        raise PermissionError(f"{name}: no permission to read this file: check its owner and mode") from error
    except ValueError as error:  # a NUL character in the path
        raise ValueError(f"{name}: this is no valid path: {error}") from error


def _read(stream: io.BufferedIOBase, name: str, warn: Warn) -> tuple[np.ndarray, int]:
    """Decode all frames of a file; shape (frames, channels) and samples per second."""
    head = stream.read(64)
    truncated = _is_truncated(stream, head)
    stream.seek(0)
    try:
        file = soundfile.SoundFile(_SafeStream(stream))
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: {_not_audio(head)}") from error
    with file:
        rate, channels = int(file.samplerate), int(file.channels)
        _check_rate(rate, name)
        blocks: list[np.ndarray] = []
        total = 0
        while True:
            try:
                block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError):
                truncated = True
                break
            if not len(block):
                break
            blocks.append(block)
            total += len(block)
            if total * channels > MAX_SAMPLES:
                raise ValueError(
                    f"{name}: longer than {MAX_SAMPLES / channels / rate / 60:.0f} minutes "
                    f"({channels} channel(s) at {rate} Hz): cut it into pieces"
                )
        if not total:
            raise ValueError(f"{name}: a header without samples that can be read: record or copy it again")
        if truncated or total < file.frames:
            warn(f"{name}: the file is truncated or damaged: only {total / rate:.2f} s of it can be read")
    return np.concatenate(blocks), rate


def _is_truncated(stream: io.BufferedIOBase, head: bytes) -> bool:
    """Tell whether a WAV or AIFF header promises more bytes than there are; libsndfile does not say."""
    order = {b"RIFF": "<", b"RIFX": ">", b"FORM": ">"}.get(head[:4])
    if order is None or len(head) < 8:
        return False
    promised = int(struct.unpack(f"{order}I", head[4:8])[0])
    size = stream.seek(0, os.SEEK_END)
    return promised < _STREAMED_SIZE and promised + 8 > size + 1  # one byte of padding is often left out


def _not_audio(head: bytes) -> str:
    """Say what a file that libsndfile cannot open seems to be, and what to do."""
    convert = "convert it to WAV or FLAC first, for example with 'ffmpeg -i INPUT output.wav'"
    for offset, magic, what in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return f"this is {what}, not audio that can be read here: {convert}"
    if head[:4] in {b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff"} or head[:3] == b"ID3":
        return "the audio file is damaged or cut short, its header cannot be read: record or copy it again"
    if head.isascii() and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        return f"this looks like text, not audio: give a WAV, FLAC, Ogg or MP3 file, or {convert}"
    return f"not recognized as audio: {convert}"


def _check_rate(rate: int, name: str) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(
            f"{name}: expected a sampling rate from {MIN_RATE} to {MAX_RATE} Hz, but found {rate} Hz: "
            "the header is damaged, or the rate is wrong"
        )


def _scaled(samples: np.ndarray, name: str) -> np.ndarray:
    """Scale integers by the range of their type; float32 of the same shape."""
    if samples.dtype == np.uint8:  # the one unsigned type in use: 8-bit WAV, silence at 128
        return (samples.astype(np.float32) - 128.0) / 128.0
    if samples.dtype in (np.int8, np.int16, np.int32):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if np.issubdtype(samples.dtype, np.floating):
        with np.errstate(over="ignore"):  # becomes infinite, and is reported as such
            return samples.astype(np.float32)
    raise ValueError(
        f"{name}: expected float samples in [-1, 1] or int8, int16, int32 or uint8, "
        f"but found {samples.dtype}: convert them first"
    )


def _finish(samples: np.ndarray, rate: int, name: str, warn: Warn) -> Float32[np.ndarray, " samples"]:
    """Turn decoded samples of shape (frames, channels) into the package's form."""
    _check_rate(rate, name)
    if not samples.size:
        raise ValueError(f"{name}: there are no samples: record or copy it again")
    bad = int(np.count_nonzero(~np.isfinite(samples)))
    if bad:
        raise ValueError(
            f"{name}: {bad} of {samples.size} samples are NaN or infinite: export the audio again"
        )
    peak = float(np.abs(samples).max())
    if peak > MAX_AMPLITUDE:
        raise ValueError(
            f"{name}: samples reach {peak:.3g}, expected values in [-1, 1]: export the audio again"
        )
    _warn_clipping(samples, name, warn)
    mono = _mono(samples, name, warn)  # (frames,)
    if rate != SAMPLE_RATE:
        mono = np.asarray(soxr.resample(mono, rate, SAMPLE_RATE))
    if not mono.size:
        raise ValueError(f"{name}: shorter than one sample at {SAMPLE_RATE} Hz: record or copy it again")
    if peak > 1.0:
        # The one loudest value decides, so that the shape of the wave is kept.
        mono = mono / np.float32(peak)
        warn(f"{name}: samples reach {peak:.3g}, beyond full scale: the clip was scaled down to [-1, 1]")
    if mono.size < SHORT_SECONDS * SAMPLE_RATE:
        warn(f"{name}: only {mono.size / SAMPLE_RATE:.3f} s long, shorter than a word")
    if float(np.abs(mono - mono.mean()).max()) < SILENT_PEAK:
        warn(f"{name}: the clip is silent: whatever is recognized in it is made up")
    # Resampling overshoots a little at full scale.
    return np.asarray(np.clip(mono, -1.0, 1.0), dtype=np.float32)


def _mono(samples: np.ndarray, name: str, warn: Warn) -> np.ndarray:
    """Average the channels, or take the loudest one where they cancel each other."""
    if samples.shape[1] == 1:
        return np.asarray(samples[:, 0])
    mean = np.asarray(samples.mean(axis=1, dtype=np.float64), dtype=np.float32)
    powers = np.array([np.mean(np.square(channel, dtype=np.float64)) for channel in samples.T])
    if np.mean(np.square(mean, dtype=np.float64)) < CANCELLED_SHARE * powers.mean():
        loudest = int(powers.argmax())
        warn(
            f"{name}: the channels have opposite phases and cancel each other: "
            f"channel {loudest + 1} of {samples.shape[1]} is used"
        )
        return np.ascontiguousarray(samples[:, loudest])
    return mean


def _warn_clipping(samples: np.ndarray, name: str, warn: Warn) -> None:
    """Warn of flat stretches at full scale: neighbors that are equal and as high as can be."""
    high = np.abs(samples[1:]) >= CLIPPED_LEVEL
    flat = int(np.count_nonzero(high & (samples[1:] == samples[:-1])))
    if flat >= CLIPPED_SAMPLES:
        warn(f"{name}: {flat} samples are clipped at full scale: record with less gain if you can")
