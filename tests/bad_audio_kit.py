"""Bad and odd recordings of every kind, each with the outcome that the documentation promises."""

import array
import io
import json
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asrscope.audio import SAMPLE_RATE, check_waveform, load_audio

SECONDS, HERTZ, LEVEL = 0.5, 440.0, 0.4


def tone(rate=SAMPLE_RATE, hertz=HERTZ, level=LEVEL, seconds=SECONDS):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def encode(samples, rate=SAMPLE_RATE, format="WAV", subtype=None, endian=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype, endian=endian)
    return buffer.getvalue()


def patched(content, offset, value):
    content = bytearray(content)
    content[offset : offset + len(value)] = value
    return bytes(content)


def cut(content, share=0.5):
    return content[: int(share * len(content))]


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    ``make`` is called with an empty folder and returns what is loaded. ``row`` is the row of the table in
    docs/using/your-recording.md that it belongs to, ``outcome`` one of "reads", "warns" and "stops". What is
    read has the tone at ``hertz`` and ``level``, where these are given, and lasts about ``seconds``. A
    warning or an error holds ``says``; an error is of the type ``error``.
    """

    name: str
    row: str
    outcome: str
    make: Callable[[Path], Any]
    says: str = ""
    error: type[Exception] = ValueError
    seconds: float | None = SECONDS
    hertz: float | None = HERTZ
    level: float | None = LEVEL
    rate: Any = None  # of an array

    @property
    def is_array(self):
        """Whether it is for `check_waveform` and not for `load_audio`."""
        return self.row.startswith("samples in memory")


KINDS: list[Kind] = []


def reads(name, row, make, **more):
    KINDS.append(Kind(name, row, "reads", make, **more))


def warns(name, row, make, says, **more):
    KINDS.append(Kind(name, row, "warns", make, says, **more))


def stops(name, row, make, says, error=ValueError, **more):
    KINDS.append(Kind(name, row, "stops", make, says, error, **more))


def content(made, name="clip.wav"):
    """Put bytes into a file."""

    def make(folder):
        path = folder / name
        path.write_bytes(made() if callable(made) else made)
        return path

    return make


# What is read as it is --------------------------------------------------------------------------------------

FORMATS = "another format, another width of samples"
for form, subtype in [
    *(("WAV", s) for s in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
    *(("WAV", s) for s in ("IMA_ADPCM", "MS_ADPCM", "GSM610")),
    *(("FLAC", s) for s in ("PCM_S8", "PCM_16", "PCM_24")),
    *(("AIFF", s) for s in ("PCM_16", "FLOAT")),
    *(("CAF", s) for s in ("PCM_16", "ALAC_16")),
    *(("OGG", s) for s in ("VORBIS", "OPUS")),
    *((f, "PCM_16") for f in ("AU", "W64", "RF64", "WAVEX", "NIST", "VOC", "SVX", "PAF", "IRCAM")),
    ("MP3", None),
]:
    reads(
        f"{form} {subtype or ''}".strip(),
        FORMATS,
        content(lambda f=form, s=subtype: encode(tone(), format=f, subtype=s)),
    )
reads("big-endian WAV", FORMATS, content(lambda: encode(tone(), endian="BIG")))
reads("FLAC named .raw", FORMATS, content(lambda: encode(tone(), format="FLAC"), "clip.raw"))
reads("MP3 named .wav", FORMATS, content(lambda: encode(tone(), format="MP3")))
reads("FLAC with no ending", FORMATS, content(lambda: encode(tone(), format="FLAC"), "clip"))
reads("junk after the samples", FORMATS, content(lambda: encode(tone()) + b"LIST of junk" * 50))
reads(
    "MP3 with tags", FORMATS, content(lambda: id3(500) + encode(tone(), format="MP3") + b"TAG" + bytes(125))
)
reads(
    "WAV with notes before the samples",
    FORMATS,
    content(lambda: with_chunk(encode(tone()), b"LIST", bytes(301))),
)

STREAMED = "a header that does not know the length, as after a recording was broken off"
reads(
    "WAV of size -1",
    STREAMED,
    content(lambda: patched(patched(encode(tone()), 4, b"\xff" * 4), 40, b"\xff" * 4)),
)
reads("WAV of size 0", STREAMED, content(lambda: patched(patched(encode(tone()), 4, bytes(4)), 40, bytes(4))))
reads("AU of size -1", STREAMED, content(lambda: patched(encode(tone(), format="AU"), 8, b"\xff" * 4)))
reads("FLAC of unknown length", STREAMED, content(lambda: announce(encode(tone(), format="FLAC"), 0)))
reads(
    "FLAC that announces years", STREAMED, content(lambda: announce(encode(tone(), format="FLAC"), 2**36 - 1))
)

LESS = "a header that announces less than there is, files glued together"
reads("FLAC that counts too little", LESS, content(lambda: announce(encode(tone(), format="FLAC"), 100)))
reads(
    "AU that counts too little",
    LESS,
    content(lambda: patched(encode(tone(), format="AU"), 8, struct.pack(">I", 100))),
)
for form, subtype in (("WAV", None), ("AIFF", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)):
    reads(
        f"two of {form} {subtype or ''}".strip(),
        LESS,
        content(lambda f=form, s=subtype: 2 * encode(tone(), format=f, subtype=s)),
        seconds=2 * SECONDS,
    )

CHANNELS = "several channels"
for channels in range(2, 9):
    reads(
        f"{channels} channels",
        CHANNELS,
        content(
            lambda n=channels: encode(np.stack([tone(level=2 * LEVEL * c / (n - 1)) for c in range(n)], 1))
        ),
    )
reads(
    "1 channel of 2 is silent",
    CHANNELS,
    content(lambda: encode(np.stack([tone(), 0 * tone()], 1))),
    level=LEVEL / 2,
)
reads("32 channels", CHANNELS, content(lambda: encode(np.stack([tone()] * 32, 1))))

RATES = "another sampling rate"
for rate in (
    2000,
    4000,
    8000,
    11025,
    22050,
    24000,
    32000,
    44100,
    48000,
    88200,
    96000,
    176400,
    192000,
    384000,
):
    reads(f"{rate} Hz", RATES, content(lambda r=rate: encode(tone(r), r)))

OFFSET = "a constant offset under the sound"
reads("tone on an offset", OFFSET, content(lambda: encode(tone() + np.float32(0.3))), level=None)

NAMES = "any name that the system allows"
for label, name in {
    "unicode": "naïve 録音 🎤.wav",
    "HTML": "<img src=x onerror=alert(1)>.wav",
    "line break": "two\nlines.wav",
    "quotes and percent": 'it\'s "100%".wav',
    "250 bytes": 246 * "a" + ".wav",
    "text written backwards": "evil\u202egnp.wav",
    "not UTF-8": os.fsdecode(b"caf\xe9.wav"),
    "blank": " ",
}.items():
    reads(f"name: {label}", NAMES, content(lambda: encode(tone()), name))


def link(folder):
    (folder / "link.wav").symlink_to(content(lambda: encode(tone()))(folder))
    return folder / "link.wav"


def pipe(_):
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as end:
        end.write(encode(tone()))
    return os.fdopen(read_end, "rb")


def half_read(folder):
    stream = io.BytesIO(b"before" + encode(tone()))
    stream.seek(6)
    return stream


OPENED = "bytes, open files, pipes and links"
reads("a link", OPENED, link)
reads("bytes", OPENED, lambda _: encode(tone()))
reads("bytearray", OPENED, lambda _: bytearray(encode(tone())))
reads("memoryview", OPENED, lambda _: memoryview(encode(tone())))
reads("an open file", OPENED, lambda folder: io.BytesIO(encode(tone())))
reads("a file read to its sound", OPENED, half_read)
reads("an open pipe", OPENED, pipe)


def spread(samples):
    """Every second element of an array, backwards: the same samples in another place."""
    wide = np.zeros(2 * len(samples), samples.dtype)
    wide[::-2] = samples
    return wide[::-2]


def read_only(samples):
    samples.setflags(write=False)
    return samples


def torch_tensor(**options):
    import torch

    return torch.tensor(tone(), **options)


MEMORY = "samples in memory"
for dtype in ("f2", "f4", "f8", "g", ">f4", ">f8"):
    reads(f"array of {dtype}", MEMORY, lambda _, d=dtype: tone().astype(d))
for dtype in ("i1", "i2", "i4", ">i2", ">i4"):
    reads(
        f"array of {dtype}",
        MEMORY,
        lambda _, d=dtype: np.round(tone().astype("f8") * np.iinfo(d).max).astype(d),
    )
reads("array of u1", MEMORY, lambda _: np.round(128 + 127 * tone()).astype(np.uint8))
reads("array at 48 kHz", MEMORY, lambda _: tone(48_000), rate=48_000)
reads("array at a rate in floating point", MEMORY, lambda _: tone(22_050), rate=22_050.0)
reads("array at a rate of NumPy", MEMORY, lambda _: tone(8_000), rate=np.int64(8_000))
reads("array in Fortran order", MEMORY, lambda _: np.asfortranarray(tone()))
reads("array with steps backwards", MEMORY, lambda _: spread(tone()))
reads("array that is read-only", MEMORY, lambda _: read_only(tone()))
reads("masked array without masked samples", MEMORY, lambda _: np.ma.array(tone()))
reads("tensor", MEMORY, lambda _: torch_tensor())
reads("list", MEMORY, lambda _: tone().tolist())
reads("tuple", MEMORY, lambda _: tuple(tone().tolist()))
reads("array of the standard library", MEMORY, lambda _: array.array("f", tone().tolist()))

# What is read with a warning --------------------------------------------------------------------------------

QUIET = "silence, or an offset alone"
warns("silence", QUIET, content(lambda: encode(0 * tone())), "silent", hertz=None)
warns("an offset alone", QUIET, content(lambda: encode(0 * tone() + 0.5)), "silent", hertz=None)
warns("the lowest bit", QUIET, content(lambda: encode(tone(level=2**-15))), "silent", hertz=None)
warns("silent stereo", QUIET, content(lambda: encode(np.zeros((8000, 2), np.float32))), "silent", hertz=None)

CLIPPED = "clipping (the recording was too loud)"
warns("clipped", CLIPPED, content(lambda: encode(np.clip(tone(level=2.0), -1, 1))), "clipped", level=None)
warns(
    "clipped below zero",
    CLIPPED,
    content(lambda: encode(np.clip(tone(level=1.5), -1, 0.2), subtype="PCM_U8")),
    "clipped",
    level=None,
)

CANCELLING = "channels that cancel each other"
warns(
    "opposite stereo",
    CANCELLING,
    content(lambda: encode(np.stack([tone(), -tone()], 1))),
    "channel 1 of 2 is used",
)
warns(
    "nearly opposite stereo",
    CANCELLING,
    content(lambda: encode(np.stack([tone(level=0.38), -tone()], 1))),
    "channel 2 of 2 is used",
)
warns(
    "4 channels that cancel",
    CANCELLING,
    content(lambda: encode(np.stack([tone(), -tone(), tone(), -tone()], 1))),
    "of 4 is used",
)

TWO = "two people on two channels, at once"
for other in (660.0, 880.0):
    warns(
        f"tones of {HERTZ:g} and {other:g} Hz",
        TWO,
        content(
            lambda h=other: encode(np.stack([tone(seconds=2), tone(hertz=h, seconds=2)], 1), subtype="FLOAT")
        ),
        "different sounds at the same time",
        seconds=2.0,
        hertz=None,
    )

BEHIND = "sound behind the end that cannot be told from something else"
for form in ("WAV", "AIFF", "RF64"):
    warns(
        f"{form} that counts too little",
        BEHIND,
        content(lambda f=form: encode(tone(), format=f) + encode(hiss())[44:5044]),
        "5,000 bytes after the announced end were not read",
    )

EARLY = "a file that ends early or is damaged inside"
for form in ("WAV", "AIFF", "RF64", "W64", "AU", "WAVEX"):
    warns(
        f"half of a {form}",
        EARLY,
        content(lambda f=form: cut(encode(tone(seconds=2), format=f))),
        "truncated",
        seconds=1.0,
    )
warns(
    "half of an MP3",
    EARLY,
    content(lambda: cut(encode(tone(seconds=2), format="MP3"))),
    "truncated",
    seconds=None,
)
for form, subtype in (("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS")):
    warns(
        f"half of {form} {subtype or ''}".strip(),
        EARLY,
        content(lambda f=form, s=subtype: cut(encode(hiss(), format=f, subtype=s))),
        "truncated",
        seconds=None,
        hertz=None,
        level=None,
    )
warns(
    "FLAC with a hole",
    EARLY,
    content(lambda: hole(encode(hiss(), format="FLAC"))),
    "truncated",
    seconds=None,
    hertz=None,
    level=None,
)

BRIEF = "less than a tenth of a second"
warns(
    "1 sample",
    BRIEF,
    content(lambda: encode(np.full(1, 0.5, np.float32))),
    "shorter than a word",
    seconds=0.0,
    hertz=None,
    level=None,
)
warns(
    "5 ms",
    BRIEF,
    content(lambda: encode(tone(seconds=0.005))),
    "shorter than a word",
    seconds=0.005,
    hertz=None,
)
warns(
    "50 ms",
    BRIEF,
    content(lambda: encode(tone(seconds=0.05))),
    "shorter than a word",
    seconds=0.05,
    hertz=None,
)

LOUD = "floating-point samples beyond -1 to 1"
for peak in (1.5, 32768.0, 2.0e9):
    warns(
        f"samples up to {peak:g}",
        LOUD,
        content(lambda p=peak: encode(p * tone(level=1.0), subtype="FLOAT")),
        "beyond full scale",
        level=1.0,
    )
warns(
    "samples in double precision up to 100",
    LOUD,
    content(lambda: encode(100 * tone(level=1.0).astype("f8"), subtype="DOUBLE")),
    "beyond full scale",
    level=1.0,
)

# What stops -------------------------------------------------------------------------------------------------


def saved_array():
    buffer = io.BytesIO()
    np.save(buffer, tone())
    return buffer.getvalue()


NO_SOUND = "no sound, whatever its name says"
for label, made, says in [
    ("0 bytes", b"", "empty"),
    ("1 byte", b"R", "text"),
    ("text", b"This is not a sound.\n" * 20, "text"),
    ("HTML", b"<!doctype html><title>404</title>" * 5, "text"),
    ("JSON", json.dumps({"text": "no sound"}).encode(), "text"),
    ("a playlist", b"#EXTM3U\n#EXTINF:10,\nclip.wav\n", "text"),
    ("text in UTF-16", "no sound at all".encode("utf-16"), "text"),
    ("text in UTF-8 with a mark", "\ufeffkein Geräusch".encode(), "text"),
    ("random bytes", bytes(range(256)) * 20, "not recognized"),
    ("zeros", bytes(4000), "not recognized"),
    ("a program", b"\x7fELF\x02\x01\x01" + bytes(400), "not recognized"),
    ("MP4", b"\x00\x00\x00\x20ftypM4A \x00" + bytes(400), "MP4/M4A"),
    ("WebM", b"\x1a\x45\xdf\xa3" + bytes(400), "WebM"),
    ("WMA", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(400), "WMA"),
    ("AMR", b"#!AMR\n" + bytes(range(100, 200)), "AMR"),
    ("AAC", b"\xff\xf1\x50\x80" + bytes(400), "AAC"),
    ("AVI", b"RIFF\x00\x10\x00\x00AVI LIST" + bytes(400), "AVI"),
    ("MIDI", b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0" + bytes(40), "MIDI"),
    ("zip", b"PK\x03\x04" + bytes(400), "zip"),
    ("gzip", b"\x1f\x8b\x08" + bytes(400), "gzip"),
    ("7z", b"7z\xbc\xaf\x27\x1c" + bytes(400), "7z"),
    ("PNG", b"\x89PNG\r\n\x1a\n" + bytes(400), "PNG"),
    ("JPEG", b"\xff\xd8\xff\xe0" + bytes(400), "JPEG"),
    ("PDF", b"%PDF-1.7\n" + bytes(400), "PDF"),
    ("Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
]:
    stops(label, NO_SOUND, content(made), says)
stops("NumPy array in a file", NO_SOUND, content(saved_array), "NumPy array")

DAMAGED = "a damaged header, or a header alone"
stops("WAV header alone", DAMAGED, content(lambda: encode(tone())[:44]), "header without samples")
stops("WAV header cut", DAMAGED, content(lambda: encode(tone())[:30]), "header cannot be read")
stops("WAV of no samples", DAMAGED, content(lambda: encode(tone(seconds=0))), "header without samples")
stops("FLAC header cut", DAMAGED, content(lambda: encode(tone(), format="FLAC")[:60]), "damaged")
stops("FLAC header alone", DAMAGED, content(lambda: flac_header(encode(tone(), format="FLAC"))), "header")
stops("Ogg cut", DAMAGED, content(lambda: encode(tone(), format="OGG")[:200]), "damaged")
stops("MP3 tag alone", DAMAGED, content(lambda: id3(500)), "damaged")
stops("half of a CAF", DAMAGED, content(lambda: cut(encode(tone(), format="CAF"))), "damaged or cut short")
stops("no channels", DAMAGED, content(lambda: patched(encode(tone()), 22, bytes(2))), "damaged")
stops(
    "60,000 channels",
    DAMAGED,
    content(lambda: patched(encode(tone()), 22, struct.pack("<H", 60_000))),
    "damaged",
)
stops("unknown codec", DAMAGED, content(lambda: patched(encode(tone()), 20, b"\xbc\x7a")), "damaged")
stops("0 bits a sample", DAMAGED, content(lambda: patched(encode(tone()), 34, bytes(2))), "damaged")
for rate, says in {
    0: "damaged",
    1: "found 1 Hz",
    1999: "found 1999 Hz",
    384_001: "found 384001",
    2**31 - 1: "found 2147483647",
}.items():
    stops(
        f"a WAV at {rate} Hz",
        DAMAGED,
        content(lambda r=rate: patched(encode(tone()), 24, struct.pack("<I", r))),
        says,
    )

NUMBERS = "samples that are no numbers, or no sound"


def one(value, dtype="f4", subtype="FLOAT"):
    def make():
        samples = tone().astype(dtype)
        samples[100] = value
        return encode(samples, subtype=subtype)

    return content(make)


stops("a NaN", NUMBERS, one(np.nan), "1 of 8000 samples are NaN")
stops("an infinity", NUMBERS, one(-np.inf), "1 of 8000 samples are NaN")
stops("all NaN", NUMBERS, content(lambda: encode(tone() * np.nan, subtype="FLOAT")), "8000 of 8000 samples")
stops("NaN in double precision", NUMBERS, one(np.nan, "f8", "DOUBLE"), "1 of 8000 samples are NaN")
stops("1e30", NUMBERS, one(1e30), "samples reach 1e.30, expected values in")
stops("too large for single precision", NUMBERS, one(1e300, "f8", "DOUBLE"), "1 of 8000 samples are NaN")
stops(
    "1 sample at 192 kHz",
    NUMBERS,
    content(lambda: encode(np.full(1, 0.5, np.float32), 192_000)),
    "shorter than one",
)

LONG = "more than there is memory for"


def sparse(frames, rate=SAMPLE_RATE):
    """Write silence of any length, which takes no room on the disk."""

    def make(folder):
        path = folder / "long.wav"
        path.write_bytes(
            patched(
                patched(encode(np.zeros(0, np.float32), rate), 4, struct.pack("<I", 36 + 2 * frames)),
                40,
                struct.pack("<I", 2 * frames),
            )
        )
        os.truncate(path, 44 + 2 * frames)
        return path

    return make


stops("5 hours", LONG, sparse(5 * 3600 * SAMPLE_RATE), "longer than 280 minutes")
stops("5 hours at 2 kHz", LONG, sparse(5 * 3600 * 2000, 2000), "longer than 280 minutes")

PLACES = "what is no file, or cannot be opened"


def fifo(folder):
    os.mkfifo(folder / "pipe.wav")
    return folder / "pipe.wav"


def unix_socket(folder):
    here = Path.cwd()
    os.chdir(folder)  # the address of a socket is short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("clip.wav")
    os.chdir(here)
    return folder / "clip.wav"


def loop(folder):
    (folder / "a.wav").symlink_to(folder / "b.wav")
    (folder / "b.wav").symlink_to(folder / "a.wav")
    return folder / "a.wav"


def dangling(folder):
    (folder / "link.wav").symlink_to(folder / "gone.wav")
    return folder / "link.wav"


def below_a_file(folder):
    return content(b"x")(folder) / "clip.wav"


class Broken(io.BytesIO):
    """A disk that fails."""

    def read(self, size=-1):
        raise OSError(5, "Input/output error")


class Text(io.BytesIO):
    """A file opened in text mode."""

    def read(self, size=-1):
        return "text"


stops("a missing file", PLACES, lambda folder: folder / "no.wav", "there is no such file", FileNotFoundError)
stops("a link to nothing", PLACES, dangling, "there is no such file", FileNotFoundError)
stops("a link to itself", PLACES, loop, "cannot be opened", OSError)
stops("a path below a file", PLACES, below_a_file, "cannot be opened", OSError)
stops("a folder", PLACES, lambda folder: folder, "this is a folder", IsADirectoryError)
stops("a FIFO", PLACES, fifo, "device or a pipe", OSError)
stops("a socket", PLACES, unix_socket, "device or a pipe", OSError)
stops("/dev/zero", PLACES, lambda _: "/dev/zero", "device or a pipe", OSError)
stops("a name that is too long", PLACES, lambda folder: folder / (300 * "a"), "cannot be opened", OSError)
stops("a null character", PLACES, lambda _: "clip\0.wav", "no valid path")
stops("an empty path", PLACES, lambda _: "", "path is empty", FileNotFoundError)
stops("a home that nobody has", PLACES, lambda _: "~nobody-of-this-name/clip.wav", "no valid path")
stops("a web address", PLACES, lambda _: "https://example.org/clip.wav", "web address", FileNotFoundError)
stops(
    "a web address as a path",
    PLACES,
    lambda _: Path("https://example.org/a.wav"),
    "web address",
    FileNotFoundError,
)
stops("a bucket", PLACES, lambda _: "s3://bucket/clip.wav", "web address", FileNotFoundError)
stops("a text stream", PLACES, lambda _: Text(), "open it in binary mode")
stops("a stream that fails", PLACES, lambda _: Broken(b"x"), "cannot be read", OSError)
stops("an empty stream", PLACES, lambda _: io.BytesIO(), "empty")
if Path("/proc/self/mem").exists():
    stops(
        "a file that cannot be read",
        PLACES,
        lambda _: "/proc/self/mem",
        "cannot be read|empty",
        (OSError, ValueError),
    )

UNFIT = "samples in memory, of another shape or type"


def generator(_):
    return (sample for sample in tone())


for label, make, says in [
    ("stereo, channels last", lambda _: np.zeros((8000, 2), np.float32), "average its channels first"),
    ("stereo, channels first", lambda _: np.zeros((2, 8000), np.float32), "average its channels first"),
    ("a batch", lambda _: np.zeros((4, 1, 8000), np.float32), "pass one clip"),
    ("a number", lambda _: np.float32(0.5), "pass one clip"),
    ("no samples", lambda _: np.zeros(0, np.float32), "no samples"),
    ("NaN", lambda _: np.array([0.1, np.nan]), "1 of 2 samples are NaN"),
    ("infinity", lambda _: np.array([0.1, np.inf], np.float16), "1 of 2 samples are NaN"),
    ("1e300", lambda _: np.array([0.1, 1e300]), "1 of 2 samples are NaN"),
    ("1e30", lambda _: np.array([0.1, 1e30]), "samples reach 1e"),
    *(
        (f"array of {kind}", lambda _, k=kind: np.zeros(8, k), says)
        for kind, says in (
            ("i8", "found int64"),
            ("u2", "found uint16"),
            ("?", "found bool"),
            ("c8", "found complex64"),
            ("m8[s]", "found timedelta"),
            ("S4", "found .S4"),
        )
    ),
    ("array of fields", lambda _: np.zeros(8, [("left", "f4"), ("right", "f4")]), "convert them first"),
    ("objects", lambda _: [None, None], "found object"),
    ("words", lambda _: ["a", "b"], "found <U1"),
    ("nothing", lambda _: None, "pass one clip"),
    ("a dictionary", lambda _: {"array": [0.1]}, "pass one clip"),
    ("a generator", generator, "pass one clip"),
    ("a ragged list", lambda _: [[0.1], [0.1, 0.2]], "expected an array of samples"),
    ("masked samples", lambda _: np.ma.array(tone(), mask=tone() > 0.3), "samples are masked"),
    ("a tensor with gradients", lambda _: torch_tensor(requires_grad=True), "expected an array of samples"),
    ("a tensor of bfloat16", lambda _: torch_tensor().bfloat16(), "expected an array of samples"),
]:
    stops(label if label.startswith("array") else f"in memory: {label}", UNFIT, make, says)
for rate in (0, -16_000, 10**7, 10**400, 1999.9, float("nan"), float("inf")):
    stops(f"in memory: rate {str(rate)[:12]}", UNFIT, lambda _: tone(), "expected a sampling rate", rate=rate)


# Pieces of files --------------------------------------------------------------------------------------------


def hiss():
    """Ten seconds that no codec packs tightly, so that half of the file holds about half of them."""
    return np.random.default_rng(5).uniform(-0.5, 0.5, 10 * SAMPLE_RATE).astype(np.float32)


def id3(size):
    """Make a tag as it stands before the sound of an MP3 file."""
    return b"ID3\x04\x00\x00" + bytes([0, 0, size >> 7, size & 127]) + bytes(size)


def with_chunk(wav, name, body):
    """Put a chunk of odd size, and its byte of padding, between the header and the samples of a WAV file."""
    chunk = name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    made = wav[:36] + chunk + wav[36:]
    return patched(made, 4, struct.pack("<I", len(made) - 8))


def announce(flac, samples):
    """Change the number of samples in the header of a FLAC file, 36 bits."""
    return patched(
        flac, 21, bytes([flac[21] & 0xF0 | samples >> 32]) + struct.pack(">I", samples & 0xFFFFFFFF)
    )


def flac_header(flac):
    """Cut a FLAC file before its first frame."""
    place, last = 4, False
    while not last:
        last = bool(flac[place] & 0x80)
        place += 4 + int.from_bytes(flac[place + 1 : place + 4], "big")
    return flac[:place]


def hole(made):
    """Overwrite a tenth of a file behind its middle."""
    middle = len(made) // 2
    return patched(made, middle, bytes(len(made) // 10))


def load(kind, folder):
    """Make one kind of input: itself, what loads it, and the list that gets its warnings."""
    warnings: list[str] = []
    made = kind.make(folder)
    if kind.is_array:
        rate = SAMPLE_RATE if kind.rate is None else kind.rate
        return made, lambda: check_waveform(made, rate, on_warning=warnings.append), warnings
    return made, lambda: load_audio(made, on_warning=warnings.append), warnings
