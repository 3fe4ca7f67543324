"""Open a recording of any kind and hand out its samples in blocks, as they are stored.

No header is believed further than the samples bear it out, and nothing large is held: what is made of the
blocks is the business of those who read them.
"""

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soundfile
from jaxtyping import Float32

__all__ = ["BinaryReader", "Recording", "Source", "check_rate", "name_of", "open_recording"]

MIN_RATE, MAX_RATE = 2_000, 384_000  # Hz; damaged headers show rates far outside
BLOCK_SAMPLES = 2**16  # in one block, over all channels

_STREAMED_SIZE = 0x7FFF_0000  # programs that write to a pipe put a size this large, or 0, into the header
_OGG_PAGE = 65_307  # bytes of the largest page of an Ogg file
_MAX_BYTES = 2**31  # of an open stream
_SAMPLES_PER_BYTE = 10_000  # no codec that is read here packs silence more tightly

# What people give in place of a recording that libsndfile reads, by the bytes it has in a certain place.
_FOREIGN = (
    (4, b"ftyp", "an MP4/M4A file"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM/Matroska file"),
    (0, b"\x30\x26\xb2\x75", "a WMA file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"\xff\xf1", "an AAC file"),
    (0, b"\xff\xf9", "an AAC file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"MThd", "a MIDI file, which holds notes and no sound"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WEBP", "a WebP image"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (0, b"\x93NUMPY", "a NumPy array; numpy.load() reads it"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"version https://git-lfs", "a Git LFS pointer; run 'git lfs pull' first"),
)
_CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"fLaC", b"OggS", b"FORM", b"caff", b"riff", b".snd")


@runtime_checkable
class BinaryReader(Protocol):
    """Whatever has a `read` that yields bytes: an open file, `io.BytesIO`, a pipe."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes, all of them by default."""
        ...


Source = str | Path | bytes | bytearray | memoryview | BinaryReader


class Recording:
    """A recording that has been opened.

    Parameters
    ----------
    stream : _Stream
        Its bytes.
    name : str
        What to call it in messages.

    Attributes
    ----------
    name : str
        What to call it in messages.
    rate : int
        Samples per second.
    channels : int
        Number of channels.
    announced : int or None
        Frames that its header announces; None if it does not say, or says what its size rules out.
    truncated : bool
        Whether less was found than its header announces; known after the last block.
    """

    def __init__(self, stream: "_Stream", name: str) -> None:
        self._stream, self.name = stream, name
        stream.seek(0)
        head = stream.read(64)
        self.truncated = _is_truncated(stream, head)
        try:
            with self._decoder() as decoder:
                self.rate, self.channels = int(decoder.samplerate), int(decoder.channels)
                frames = int(decoder.frames)
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            stream.raise_failure(name)
            raise ValueError(f"{name}: {_not_audio(head)}") from error
        check_rate(self.rate, name)
        self.announced = frames if frames <= _SAMPLES_PER_BYTE * stream.size else None

    def blocks(self) -> Iterator[Float32[np.ndarray, "frames channels"]]:
        """Decode from the beginning; may be called again.

        Yields
        ------
        numpy.ndarray
            The next frames, shape (frames, channels): integers scaled to [-1, 1], floats as they are.

        Raises
        ------
        ValueError
            If no frame can be read.
        OSError
            If the file cannot be read to its end.
        """
        size = max(1, BLOCK_SAMPLES // self.channels)
        total = 0
        with self._decoder() as decoder:
            while True:
                try:
                    block = decoder.read(size, dtype="float32", always_2d=True)
                except (soundfile.LibsndfileError, RuntimeError):
                    self.truncated = True
                    break
                if not len(block):
                    break
                total += len(block)
                yield block
        self._stream.raise_failure(self.name)
        if not total:
            raise ValueError(
                f"{self.name}: a header without samples that can be read: record or copy it again"
            )
        self.truncated |= self.announced is not None and total < self.announced

    def _decoder(self) -> soundfile.SoundFile:
        self._stream.seek(0)
        return _Decoder(self._stream)


@contextmanager
def open_recording(source: Source) -> Iterator[Recording]:
    """Open a recording; a context manager that closes what it opened.

    Parameters
    ----------
    source : str, pathlib.Path, bytes or binary file object
        A path, the bytes of a file, or a file opened in binary mode.

    Yields
    ------
    Recording
        With its rate and channels, ready to be read.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is empty, not audio, or its header is damaged.
    """
    name = name_of(source)
    with _open(source, name) as opened:
        stream = _Stream(opened)
        if stream.size == 0:
            stream.raise_failure(name)
            raise ValueError(f"{name}: the file is empty (0 bytes): record or copy it again")
        yield Recording(stream, name)


def name_of(source: Source) -> str:
    """Find what to call a source in messages, which are one line.

    Parameters
    ----------
    source : str, pathlib.Path, bytes or binary file object
        What `open_recording` takes.

    Returns
    -------
    str
        Its path; quoted, if a character of it cannot be shown.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "the given bytes"
    named = source if isinstance(source, (str, Path)) else getattr(source, "name", None)
    if not isinstance(named, (str, Path)):  # open pipes have a number
        return "the given stream"
    name = str(named)
    return name if name and name.isprintable() else repr(name)


def check_rate(rate: object, name: str) -> float:
    """Refuse a sampling rate that no recording has.

    Parameters
    ----------
    rate : float or int
        Samples per second.
    name : str
        What to call the recording.

    Returns
    -------
    float
        The rate.

    Raises
    ------
    ValueError
        If it is no number, or no recording has it.
    """
    try:
        found = float(rate)  # type: ignore[arg-type]  # whatever is no number is refused below
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not MIN_RATE <= found <= MAX_RATE:
        raise ValueError(
            f"{name}: expected a sampling rate from {MIN_RATE} to {MAX_RATE} Hz, but found {rate} Hz: "
            "the header is damaged, or the rate is wrong"
        )
    return found


class _Decoder(soundfile.SoundFile):
    """A file that is read from its beginning to its end.

    The base class seeks after each read. In a FLAC file of unknown length, which programs write into a pipe,
    that fails at the end and loses the last block; in an MP3 file it triples the time.
    """

    def seekable(self) -> bool:
        return False


class _Stream:
    """A binary stream whose methods never raise.

    libsndfile calls them from C, where an exception cannot be raised but is printed with its traceback.
    Damaged headers make it seek before the start: standing still is what a C stream does. A failure to read
    is kept for `raise_failure`.

    Parameters
    ----------
    stream : binary file object
        The stream to read from.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._failure: OSError | None = None
        self.tell = stream.tell
        self.size = self.seek(0, os.SEEK_END)
        self.seek(0)
        self._head = b""  # read in the place of the first bytes
        self._head = _finished(self.read(64), self.size)
        self.seek(0)

    def read(self, size: int) -> bytes:
        place = self.tell()
        try:
            data = self._stream.read(size)
        except OSError as error:
            self._failure = error
            return b""
        head = self._head[place : place + len(data)]
        return head + data[len(head) :] if head else data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._stream.seek(offset, whence)
        except (ValueError, OSError):
            return self._stream.tell()

    def raise_failure(self, name: str) -> None:
        if self._failure is not None:
            raise _unreadable(name, self._failure) from self._failure


def _unreadable(name: str, error: OSError) -> OSError:
    return OSError(f"{name}: cannot be read ({error.strerror or error}): copy it again")


def _open(source: Source, name: str) -> io.BufferedIOBase:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if isinstance(source, (str, Path)):
        return _open_path(source, name)
    if not isinstance(source, BinaryReader):
        raise ValueError(
            f"expected a path, bytes or an open file, but found {type(source).__name__}: "
            "samples go to check_waveform()"
        )
    # Read into memory: the decoder seeks to absolute positions, which pipes and half-read files lack.
    try:
        data = source.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(name, error) from error
    if not isinstance(data, bytes):
        raise ValueError(
            f"{name}: the stream yields {type(data).__name__}, not bytes: open it in binary mode"
        )
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{name}: the stream holds more than {_MAX_BYTES} bytes: cut it into pieces")
    return io.BytesIO(data)


def _open_path(source: str | Path, name: str) -> io.BufferedIOBase:
    if re.match(r"(?i)(https?|ftp|s3|gs|hf|file):/", str(source)):  # a Path has lost the second slash
        raise FileNotFoundError(f"{name}: this is a web address: download the file and give its path")
    if not str(source):
        raise FileNotFoundError(f"{name}: the path is empty: give the name of a file")
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            raise IsADirectoryError(f"{name}: this is a folder: give a file in it")
        if path.exists() and not path.is_file():
            raise OSError(f"{name}: this is a device or a pipe: give a regular file")
        return path.open("rb")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: there is no such file: check the path") from error
    except PermissionError as error:
        raise PermissionError(f"{name}: no permission to read this file: check its owner and mode") from error
    except (ValueError, RuntimeError) as error:  # a NUL character in the path; a home that nobody has
        raise ValueError(f"{name}: this is no valid path: {error}") from error
    except OSError as error:  # a chain of links without an end, a name that is too long
        if error.errno is None:
            raise
        raise OSError(f"{name}: cannot be opened ({error.strerror}): check the path") from error


def _finished(head: bytes, size: int) -> bytes:
    """Give a WAV header whose sizes were never filled in, as after a crash, those of an endless recording."""
    unfinished = head[:4] == b"RIFF" and head[4:8] in {bytes(4), b"\xff" * 4}
    if unfinished and head[36:44] == b"data" + bytes(4) and size > 44:
        return head[:4] + b"\xff" * 4 + head[8:40] + b"\xff" * 4
    return b""


def _is_truncated(stream: _Stream, head: bytes) -> bool:
    """Tell whether a header promises more bytes than there are; libsndfile does not say."""
    if head.startswith(b"OggS"):
        return _ends_early(stream)
    form, promised = head[:4], 0
    if form in {b"RIFF", b"RIFX", b"FORM"}:
        promised = 8 + int.from_bytes(head[4:8], "little" if form == b"RIFF" else "big")
    elif form == b"RF64" and head[12:16] == b"ds64":
        promised = 8 + int.from_bytes(head[20:28], "little")
    elif form == b"riff":  # W64
        promised = int.from_bytes(head[16:24], "little")
    elif form == b".snd":
        promised = int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big")
    if promised >= _STREAMED_SIZE and form not in {b"RF64", b"riff"}:
        return False
    return promised > stream.size + 1  # a byte of padding is often left out


def _ends_early(stream: _Stream) -> bool:
    """Tell whether an Ogg file lacks the page that is marked as the last one, or part of it."""
    stream.seek(max(0, stream.size - _OGG_PAGE))
    tail = stream.read(_OGG_PAGE)
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    if len(page) < 27:
        return len(page) > 0
    lengths = page[27 : 27 + page[26]]
    return not page[5] & 4 or len(page) < 27 + page[26] + sum(lengths)


def _not_audio(head: bytes) -> str:
    """Say what a file that libsndfile cannot open seems to be, and what to do."""
    convert = "convert it to WAV or FLAC first, for example with 'ffmpeg -i INPUT output.wav'"
    for offset, magic, what in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return f"this is {what}, not audio that can be read here: {convert}"
    if head.startswith((*_CONTAINERS, b"ID3")):
        return "the audio file is damaged or cut short, its header cannot be read: record or copy it again"
    text = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")) or (
        head.isascii() and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    )
    if text:
        return f"this looks like text, not audio: give a WAV, FLAC, Ogg or MP3 file, or {convert}"
    return f"not recognized as audio: {convert}"
