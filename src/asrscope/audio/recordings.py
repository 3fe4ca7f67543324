"""Open a recording of any kind and hand out its samples in blocks, as they are stored.

No header is believed further than the samples bear it out: a file is read to the end of its sound, whatever
length it announces, and what is not read is counted. Nothing large is held.
"""

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import soundfile
from jaxtyping import Float32

__all__ = [
    "BLOCK_SAMPLES",
    "BinaryReader",
    "Recording",
    "Source",
    "check_rate",
    "held",
    "name_of",
    "open_recording",
    "read_stream",
]

MIN_RATE, MAX_RATE = 2_000, 384_000  # Hz; damaged headers show rates far outside
BLOCK_SAMPLES = 2**16  # in one block, over all channels

_STREAMED_SIZE = 0x7FFF_0000  # programs that write to a pipe put a size this large, or 0, into the header
_MAX_BYTES = 2**31  # of an open stream
_MOST = 10_000  # chunks of a recording, and recordings in a file
_SAMPLES_PER_BYTE = 10_000  # no codec that is read here packs silence more tightly
_TRAILER = 2_048  # bytes after the sound that are nobody's loss: a tag, padding

# What people give in place of a recording that libsndfile reads, by the bytes it has in a certain place.
_FOREIGN = (
    (4, (b"ftyp", b"moov", b"mdat", b"wide"), "an MP4/M4A file or a video"),
    (0, (b"\x1a\x45\xdf\xa3",), "a WebM/Matroska file"),
    (0, (b"\x30\x26\xb2\x75",), "a WMA file"),
    (0, (b"#!AMR",), "an AMR file"),
    (0, (b"\xff\xf1", b"\xff\xf9"), "an AAC file"),
    (0, (b"wvpk",), "a WavPack file"),
    (0, (b"MAC ",), "a Monkey's Audio file"),
    (0, (b"MThd",), "a MIDI file, which holds notes and no sound"),
    (8, (b"AVI ",), "an AVI video"),
    (8, (b"WEBP",), "a WebP image"),
    (0, (b"PK\x03\x04",), "a zip archive"),
    (0, (b"\x1f\x8b",), "a gzip archive"),
    (0, (b"7z\xbc\xaf",), "a 7z archive"),
    (0, (b"BZh",), "a bzip2 archive"),
    (0, (b"\xfd7zXZ",), "an xz archive"),
    (0, (b"\x93NUMPY",), "a NumPy array; numpy.load() reads it"),
    (0, (b"\x89PNG",), "a PNG image"),
    (0, (b"\xff\xd8\xff",), "a JPEG image"),
    (0, (b"%PDF",), "a PDF document"),
    (0, (b"version https://git-lfs",), "a Git LFS pointer; run 'git lfs pull' first"),
)


@runtime_checkable
class BinaryReader(Protocol):
    """Whatever has a `read` that yields bytes: an open file, `io.BytesIO`, a pipe."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes, all of them by default."""
        ...


Source = str | Path | bytes | bytearray | memoryview | BinaryReader


class Recording:
    """A recording that has been opened, or one of its channels.

    Parameters
    ----------
    data : _Bytes
        What the file holds.
    name : str
        What to call it in messages.
    channel : int, optional
        The one channel to read, counted from 0.

    Attributes
    ----------
    name : str
        What to call it in messages.
    rate : float
        Samples per second.
    channels : int
        Number of channels in the file.
    announced : int or None
        Frames that its header announces; None if it does not say, or says what its size rules out.
    truncated : bool
        Whether less was found than its header announces; known after the last block.
    unread : int
        Bytes after the end of the sound that are no known kind of addition; known after the last block.
    """

    def __init__(self, data: "_Bytes", name: str, channel: int | None = None) -> None:
        self._data, self.name, self._channel = data, name, channel
        self._parts, self._rest = _parts_of(data)
        self.truncated, self._damaged, self.unread = False, False, self._rest
        first = self._parts[0]
        try:
            with _Decoder(_View(data, first)) as decoder:
                rate, self.channels = int(decoder.samplerate), int(decoder.channels)
                frames = int(decoder.frames) if first.frames is None else first.frames
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            data.raise_failure(name)
            raise ValueError(f"{name}: {_not_audio(data.at(0, 64))}") from error
        self.rate = check_rate(rate, name)
        if channel is not None and not 0 <= channel < self.channels:
            raise ValueError(f"{name}: expected at least {channel + 1} channels, but found {self.channels}")
        believed = not first.length and frames <= _SAMPLES_PER_BYTE * data.size
        self.announced = frames if believed else None

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
        self._damaged, self.unread = False, self._rest
        total = 0
        for number, part in enumerate(self._parts):
            before, view = total, _View(self._data, part)
            for block in self._decoded(view):
                total += len(block)
                yield block if self._channel is None else block[:, self._channel, np.newaxis]
            if total == before and number:
                self.unread += part.stop - part.start
            elif number == 0 and self.announced:
                self._damaged = total < self.announced  # behind the announced end there may be a tag
            if total > before and not self._damaged:
                self.unread += view.left()
        self.truncated = self._damaged or any(part.cut for part in self._parts)
        self._data.raise_failure(self.name)
        if not total:
            raise ValueError(
                f"{self.name}: a header without samples that can be read: record or copy it again"
            )

    def _decoded(self, view: "_View") -> Iterator[np.ndarray]:
        """Decode one of the recordings in the file; nothing, if it is unlike the first."""
        try:
            decoder = _Decoder(view)
        except (soundfile.LibsndfileError, TypeError, ValueError):
            return
        size = max(1, BLOCK_SAMPLES // self.channels)
        with decoder:
            whole = (decoder.samplerate, decoder.channels) == (self.rate, self.channels)
            while whole:
                block = np.full((size, self.channels), np.nan, np.float32)
                try:
                    count = len(decoder.read(out=block))
                except (soundfile.LibsndfileError, RuntimeError):
                    # What was decoded before the damage is there; the decoder does not tell how much.
                    self._damaged, whole = True, False
                    missing = np.isnan(block[:, 0])
                    count = int(missing.argmax()) if missing.any() else size
                if not count:
                    return
                yield block[:count]


@contextmanager
def open_recording(
    source: str | Path | bytes, channel: int | None = None, name: str | None = None
) -> Iterator[Recording]:
    """Open a recording; a context manager that closes what it opened.

    Parameters
    ----------
    source : str, pathlib.Path or bytes
        A path, or the bytes of a file.
    channel : int, optional
        The one channel to read, counted from 0.
    name : str, optional
        What to call it in messages.

    Yields
    ------
    Recording
        With its rate and channels, ready to be read.

    Raises
    ------
    FileNotFoundError, IsADirectoryError, OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is empty, not audio, its header is damaged, or it has no such channel.
    """
    name = name or name_of(source)
    with io.BytesIO(source) if isinstance(source, bytes) else _open_path(source, name) as opened:
        data = _Bytes(opened)
        if data.size == 0:
            data.raise_failure(name)
            raise ValueError(f"{name}: the file is empty (0 bytes): record or copy it again")
        yield Recording(data, name, channel)


def held(source: Source, name: str) -> str | Path | bytes:
    """Read what is no path into memory, for the decoder seeks, which pipes and half-read files cannot."""
    if isinstance(source, (str, Path, bytes)):
        return source
    if isinstance(source, (bytearray, memoryview)):
        return bytes(source)
    if not isinstance(source, BinaryReader):
        raise ValueError(
            f"expected a path, bytes or an open file, but found {type(source).__name__}: "
            "samples go to check_waveform()"
        )
    return read_stream(source, name)


def read_stream(stream: BinaryReader, name: str) -> bytes:
    """Read an open file to its end; a `ValueError` if that is no binary one, or too far."""
    try:
        data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(name, error) from error
    if not isinstance(data, bytes):
        raise ValueError(
            f"{name}: the stream yields {type(data).__name__}, not bytes: open it in binary mode"
        )
    if len(data) > _MAX_BYTES:
        raise ValueError(f"{name}: the stream holds more than {_MAX_BYTES} bytes: cut it into pieces")
    return data


def name_of(source: Source) -> str:
    """Find what to call a source in messages, which are one line; what cannot be shown is quoted."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "the given bytes"
    named = source if isinstance(source, (str, Path)) else getattr(source, "name", None)
    if not isinstance(named, (str, Path)):  # open pipes have a number
        return "the given stream"
    name = str(named)
    return name if name and name.isprintable() else repr(name)


def check_rate(rate: object, name: str) -> float:
    """Return a sampling rate as a number; a `ValueError` if no recording has it."""
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


# Where the sound is -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One recording in a file, from its first byte to the byte after its last.

    A better header, where it has one, replaces the first `skip` bytes. The decoder is told of `length` bytes.
    """

    start: int
    stop: int
    head: bytes = b""
    skip: int = 0
    length: int = 0
    frames: int | None = None  # that the true header announces
    cut: bool = False  # the true header announces more bytes than there are


def _parts_of(data: "_Bytes") -> tuple[list[_Part], int]:
    """Find the recordings in a file, and how many bytes after them are unknown.

    Most files hold one. Streams are recorded, and files put behind each other, so that one follows the other.
    """
    parts: list[_Part] = []
    place = 0
    while place < data.size and len(parts) < _MOST:
        begin = _after_tags(data, place)
        part = next((part for find in _FINDERS if (part := find(data, begin))), None)
        if part is None or part.stop <= begin:
            break
        parts.append(part)
        place = part.stop
    if not parts:  # libsndfile knows more kinds than are known here
        return [_Part(0, data.size)], 0
    return parts, _unknown(data, place, data.size)


def _unknown(data: "_Bytes", place: int, stop: int) -> int:
    """Count the bytes behind the sound, unless they are few, zeros or a tag."""
    rest = data.at(place, _TRAILER)
    known = rest.startswith((b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")) or not rest.strip(b"\0")
    return 0 if known or stop - place < _TRAILER else stop - place


def _after_tags(data: "_Bytes", place: int) -> int:
    """Skip what stands before the sound of MP3 files, and of some others."""
    while (tag := data.at(place, 10)).startswith(b"ID3") and len(tag) == 10:
        size = 0
        for byte in tag[6:]:
            size = size << 7 | byte & 0x7F
        place += 10 + size
    return place


# Files made of chunks: the order of bytes in numbers, where the first chunk begins, the bytes of its size.
_CHUNKED: dict[bytes, tuple[Literal["little", "big"], int, int]] = {
    b"RIFF": ("little", 12, 4),
    b"RIFX": ("big", 12, 4),
    b"RF64": ("little", 12, 4),
    b"FORM": ("big", 12, 4),  # AIFF, SVX
    b"caff": ("big", 8, 8),
}


def _chunks(data: "_Bytes", start: int) -> _Part | None:
    """Go from chunk to chunk, to where the sound and all that belongs to it ends."""
    form = data.at(start, 4)
    if form not in _CHUNKED:
        return None
    order, first, width = _CHUNKED[form]

    def number(place: int, width: int = 4) -> int:
        return int.from_bytes(data.at(place, width), order)

    announced = 8 + (number(start + 20, 8) if form == b"RF64" else number(start + 4))
    streamed = announced >= _STREAMED_SIZE and form != b"RF64"
    # A byte of padding is often left out. CAF does not say how long it is.
    cut = form != b"caff" and not streamed and start + announced > data.size + 1
    place, sound = start + first, False
    for _ in range(_MOST):
        name = data.at(place, 4)
        if not _is_name(name) or (sound and name in _CHUNKED):  # nothing, or the next recording
            break
        body = place + 4 + width
        size = number(place + 4, width)
        if name in {b"data", b"SSND", b"BODY"}:
            sound = True
            if form == b"RF64":
                size = number(start + 28, 8)
            left = data.size - body - size
            # Sizes are often stored modulo 4 GiB, or not at all.
            more = left >> 32 << 32 if 0 < size < _STREAMED_SIZE else left
            if form == b"RIFF" and more > 0 and not _is_chunk(data, body + size):
                return _endless(data, start, body, size + more)
            if left <= 0:
                place = data.size
                break
        if body + size > data.size:
            break
        place = body + size + (size & 1 if width == 4 else 0)
    return _Part(
        start,
        data.size if cut or (streamed and form != b"caff") or not sound else min(place, data.size),
        cut=cut,
    )


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and name.isascii() and name.decode().isprintable()


def _is_chunk(data: "_Bytes", place: int) -> bool:
    """Tell whether a chunk of a RIFF file begins at a place and ends within the file."""
    head = data.at(place, 8)
    return _is_name(head[:4]) and place + 8 + int.from_bytes(head[4:], "little") <= data.size + 1


def _endless(data: "_Bytes", start: int, body: int, size: int) -> _Part:
    """Give a WAV file whose sizes are wrong the header of one that may be larger than 4 GiB (RF64)."""
    sizes = b"ds64" + (28).to_bytes(4, "little") + b"".join(n.to_bytes(8, "little") for n in (size, size, 0))
    chunks = data.at(start + 12, body - start - 20)  # those before the sound, its format among them
    head = b"RF64" + b"\xff" * 4 + b"WAVE" + sizes + bytes(4) + chunks + b"data" + b"\xff" * 4
    return _Part(start, min(body + size, data.size), head, body - start)


def _w64(data: "_Bytes", start: int) -> _Part | None:
    """See whether a file is cut; the decoder reads it to its end."""
    if data.at(start, 4) != b"riff":
        return None
    return _Part(start, data.size, cut=int.from_bytes(data.at(start + 16, 8), "little") > data.size + 1)


def _flac(data: "_Bytes", start: int) -> _Part | None:
    """Hide the number of samples, at which the decoder would stop; the next file's beginning is its end."""
    head = data.at(start, 26)
    if not head.startswith(b"fLaC") or len(head) < 26:
        return None
    frames = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
    hidden = head[:21] + bytes([head[21] & 0xF0]) + bytes(4)
    stop = data.find(rb"fLaC[\0\x80]\0\0\x22", start + len(hidden))
    return _Part(start, stop, hidden, len(hidden), frames=frames)


def _au(data: "_Bytes", start: int) -> _Part | None:
    """Hide the number of bytes: all after the header is sound."""
    head = data.at(start, 12)
    if head[:4] not in {b".snd", b"dns."} or len(head) < 12:
        return None
    before, size = (int.from_bytes(head[p : p + 4], "big" if head[0] == 46 else "little") for p in (4, 8))
    cut = size < _STREAMED_SIZE and start + before + size > data.size + 1
    return _Part(start, data.size, head[:8] + b"\xff" * 4, len(head), cut=cut)


def _ogg(data: "_Bytes", start: int) -> _Part | None:
    """Go from page to page to the last one, or to the first one of another stream (RFC 3533)."""
    place, last, sound = start, False, False
    while (page := data.at(place, 282)).startswith(b"OggS") and len(page) >= 27:
        if page[5] & 2 and sound:
            break
        last, sound = bool(page[5] & 4), sound or not page[5] & 2
        place += 27 + page[26] + sum(page[27 : 27 + page[26]])
    if place == start:
        return None
    whole = last and place <= data.size
    return _Part(start, place if whole or page.startswith(b"OggS") else data.size, cut=not whole)


def _mp3(data: "_Bytes", start: int) -> _Part | None:
    """Find the note of an encoder that says how long an MP3 stream is; where there is none, hide its length.

    The decoder guesses the number of frames from the first one's bit rate, and stops there.
    """
    frame = data.at(start, 200) + bytes(16)
    if frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0 or not frame[1] & 6:
        return None
    size = 0
    if (note := max(frame.find(b"Xing"), frame.find(b"Info"))) > 0 and frame[note + 7] & 1:
        size = int.from_bytes(frame[note + 12 : note + 16], "big") if frame[note + 7] & 2 else data.size
    elif (note := frame.find(b"VBRI")) > 0:
        size = int.from_bytes(frame[note + 10 : note + 14], "big")
    if size:
        return _Part(start, min(start + size, data.size))
    return _Part(start, data.size, length=64 * (data.size - start))  # bit rates differ by less than that


_FINDERS = (_chunks, _w64, _flac, _au, _ogg, _mp3)


# Reading ----------------------------------------------------------------------------------------------------


class _Bytes:
    """What a binary stream holds. Reading it never raises; a failure is kept for `raise_failure`."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._failure: OSError | None = None
        try:
            self.size = stream.seek(0, os.SEEK_END)
        except OSError:
            self.size = 0

    def at(self, place: int, size: int) -> bytes:
        try:
            self._stream.seek(place)
            return self._stream.read(size)
        except OSError as error:
            self._failure = error
        except (ValueError, OverflowError):  # no such place
            pass
        return b""

    def find(self, pattern: bytes, place: int) -> int:
        """Find the next place where a short pattern fits; the end, if there is none."""
        while block := self.at(place, 2**20):
            if found := re.search(pattern, block):
                return place + found.start()
            place += max(len(block) - 2**6, 1)
        return self.size

    def raise_failure(self, name: str) -> None:
        if self._failure is not None:
            raise _unreadable(name, self._failure) from self._failure


class _View:
    """One part of a file as libsndfile reads it.

    libsndfile calls the methods from C, where an exception cannot be raised but is printed with its
    traceback. Damaged headers make it seek before the start: standing still is what a C stream does.
    """

    def __init__(self, data: _Bytes, part: _Part) -> None:
        self._data, self._part, self._place = data, part, 0
        self._size = len(part.head) + part.stop - part.start - part.skip
        self._length = max(part.length, self._size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + (0, self._place, self._length)[whence]
        self._place = self._place if place < 0 else place
        return self._place

    def tell(self) -> int:
        return self._place

    def left(self) -> int:
        """Count the bytes of a stream that were not asked for; what is made of chunks knows its end."""
        chunks = self._data.at(self._part.start, 4) in {*_CHUNKED, b"riff"}
        place = self._part.stop - self._size + self._place
        return 0 if chunks else _unknown(self._data, place, self._part.stop)

    def read(self, size: int) -> bytes:
        place, part = self._place, self._part
        if place > self._size:  # the MP3 decoder looks for a tag at the end that it was told of
            found = bytes(max(0, min(size, self._length - place)))
        else:
            found = part.head[place : place + size]
            behind = place + len(found) - len(part.head)
            size = min(size, self._size - place) - len(found)
            if size > 0:
                found += self._data.at(part.start + part.skip + behind, size)
        self._place += len(found)
        return found


class _Decoder(soundfile.SoundFile):
    """A file that is read from its beginning to its end.

    The base class seeks after each read. In a FLAC file of unknown length, which programs write into a pipe,
    that fails at the end and loses the last block; in an MP3 file it triples the time.
    """

    def seekable(self) -> bool:
        return False


def _unreadable(name: str, error: OSError) -> OSError:
    return OSError(f"{name}: cannot be read ({error.strerror or error}): copy it again")


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
            raise OSError(
                f"{name}: this is a device or a pipe: give a regular file; 'asrscope transcribe -' reads "
                "standard input, and Python an opened pipe"
            )
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


def _not_audio(head: bytes) -> str:
    """Say what a file that libsndfile cannot open seems to be, and what to do."""
    convert = "convert it to WAV or FLAC first, for example with 'ffmpeg -i INPUT output.wav'"
    for offset, magics, what in _FOREIGN:
        if head[offset:].startswith(magics):
            return f"this is {what}, not audio that can be read here: {convert}"
    if head.startswith((*_CHUNKED, b"riff", b"fLaC", b"OggS", b".snd", b"ID3")):
        return "the audio file is damaged or cut short, its header cannot be read: record or copy it again"
    text = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")) or (
        head.isascii() and not any(byte < 32 and byte not in b"\t\n\r\f" for byte in head)
    )
    if text:
        return f"this looks like text, not audio: give a WAV, FLAC, Ogg or MP3 file, or {convert}"
    return f"not recognized as audio: {convert}"
