"""Files with damaged headers, each named by its seed; run as a program, it loads a range of them."""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
from bad_audio_kit import encode, tone

from asrscope.audio import SAMPLE_RATE, load_audio

MUTATED = (
    *(("WAV", s) for s in ("PCM_16", "FLOAT", "IMA_ADPCM")),
    *(("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)),
    *(("AIFF", None), ("AU", None), ("CAF", None), ("W64", None), ("RF64", None)),
)
HEADER = 120  # bytes at the beginning, where most changes are made
PATIENCE = 20  # seconds for one file, after which the process ends itself


def mutated(seed, files):
    """Change a few bytes of a file, most of them in its header; sometimes cut it, too."""
    rng = np.random.default_rng(seed)
    made = bytearray(files[seed % len(files)])
    for _ in range(rng.integers(1, 6)):
        end = min(HEADER, len(made)) if rng.random() < 0.8 else len(made)
        value = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        made[rng.integers(end)] = value
    if rng.random() < 0.2:
        del made[rng.integers(len(made)) :]
    return bytes(made)


def originals():
    """Make the files to be damaged, the same bytes each time.

    libsndfile stamps two kinds: WAV files of floats with the time, Ogg streams with a number drawn at random.
    """
    rng = np.random.default_rng(0)
    sound = (tone(seconds=0.1) + 0.05 * rng.standard_normal(1600)).astype(np.float32)
    return [unstamped(encode(sound, format=form, subtype=subtype)) for form, subtype in MUTATED]


def unstamped(content):
    """Set the time in a chunk ``PEAK`` and the number of an Ogg stream to zero."""
    made = bytearray(content)
    peak = made.find(b"PEAK")
    if made.startswith(b"RIFF") and peak > 0:  # name, size, version, time
        made[peak + 12 : peak + 16] = bytes(4)
    at = 0
    while made.startswith(b"OggS", at):  # a page: 27 bytes, the sizes of its pieces, and the pieces
        sizes = made[at + 27 : at + 27 + made[at + 26]]
        end = at + 27 + len(sizes) + sum(sizes)
        made[at + 14 : at + 18] = bytes(4)
        made[at + 22 : at + 26] = bytes(4)  # the checksum counts as zero in itself
        made[at + 22 : at + 26] = ogg_checksum(made[at:end]).to_bytes(4, "little")
        at = end
    return bytes(made)


def ogg_checksum(page):
    """Compute the CRC of an Ogg page (RFC 3533): 32 bits, polynomial 0x04C11DB7, highest bit first."""
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1) ^ (0x104C11DB7 if checksum & 0x80000000 else 0)
    return checksum


def load_mutated(start, stop, progress):
    """Load a range of damaged files, each named by its seed.

    The seed is noted before its file is loaded: should the process die or hang, it tells which file did it.
    """
    files = originals()
    counts = {"read": 0, "read with a warning": 0, "refused": 0}
    problems, slowest, longest = [], 0.0, 0.0
    with Path(progress).open("w", encoding="ascii") as note:
        for seed in range(start, stop):
            damaged = mutated(seed, files)
            note.seek(0)
            note.write(f"{seed:10}")
            note.flush()
            signal.alarm(PATIENCE)  # its default action ends the process, inside C as well
            warnings: list[str] = []
            began = time.perf_counter()
            try:
                waveform = load_audio(damaged, on_warning=warnings.append)
            except (OSError, ValueError) as error:
                counts["refused"] += 1
                if "\n" in str(error) or len(str(error)) > 300:
                    problems.append(f"{seed}: {str(error)[:300]!r} is not one line")
            except BaseException as error:  # any other type is what is looked for
                problems.append(f"{seed}: {error!r}")
            else:
                counts["read with a warning" if warnings else "read"] += 1
                longest = max(longest, waveform.size / SAMPLE_RATE)
                sound_enough = waveform.ndim == 1 and waveform.size and waveform.dtype == np.float32
                if not (sound_enough and np.abs(waveform).max() <= 1.0):  # false for NaN, too
                    problems.append(f"{seed}: shape {waveform.shape}, {waveform.dtype}, or beyond [-1, 1]")
            slowest = max(slowest, time.perf_counter() - began)
    signal.alarm(0)
    return {"counts": counts, "problems": problems, "slowest": slowest, "longest": longest}


def peak_memory():
    """Most bytes that this process has held since it last asked to forget."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    begun = peak_memory()
    found = load_mutated(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    print(json.dumps({**found, "memory": peak_memory() - begun}))  # noqa: T201 - the test reads it
