"""Write sound: to files, and through the lossy codecs that recordings of real life have been through."""

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE
from asrscope.saving import write_bytes

__all__ = ["CODECS", "FLAC", "compress", "random_codec", "write_sound"]

FLAC = {"format": "FLAC", "subtype": "PCM_16"}

# name -> (container, subtype, sample rate, lowest and highest compression level)
CODECS: dict[str, tuple[str, str, int, tuple[float, float] | None]] = {
    "u-law": ("WAV", "ULAW", 8_000, None),  # the fixed telephone
    "gsm": ("WAV", "GSM610", 8_000, None),  # the first mobile telephones
    "mp3": ("MP3", "MPEG_LAYER_III", 16_000, (0.5, 0.98)),
    "vorbis": ("OGG", "VORBIS", 16_000, (0.5, 1.0)),
    "opus": ("OGG", "OPUS", 16_000, (0.5, 0.98)),  # calls over the internet
}


def compress(
    waveform: Float32[ndarray, " samples"], codec: str, strength: float = 0.5
) -> Float32[ndarray, " samples"]:
    """Encode and decode a clip; its length and the place of every sound stay.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono, 16 kHz.
    codec : str
        A key of `CODECS`.
    strength : float
        0 for the mildest to 1 for the harshest compression, where the codec leaves a choice.

    Returns
    -------
    np.ndarray, shape (samples,)
        What comes out at the other end, 16 kHz.
    """
    container, subtype, rate, levels = CODECS[codec]
    level = None if levels is None else levels[0] + (levels[1] - levels[0]) * strength
    file = io.BytesIO()
    sent = soxr.resample(waveform, SAMPLE_RATE, rate)
    soundfile.write(file, sent, rate, subtype, format=container, compression_level=level)
    file.seek(0)
    received, _ = soundfile.read(file, dtype="float32")
    received = soxr.resample(received, rate, SAMPLE_RATE)[: waveform.size]
    padded = np.zeros_like(waveform)
    padded[: received.size] = received
    return padded


def random_codec(rng: random.Random, share: float = 0.15) -> tuple[str, float] | None:
    """Draw a codec and its strength, or, for all but a ``share`` of the clips, none."""
    return (rng.choice(list(CODECS)), rng.random()) if rng.random() < share else None


def write_sound(path: Path, waveform: Float32[ndarray, " samples"], **form: Any) -> str:
    """Write a waveform at 16 kHz in a form that soundfile knows; returns the SHA-256 of the file."""
    sound = io.BytesIO()
    soundfile.write(sound, waveform, SAMPLE_RATE, **form)
    write_bytes(path, sound.getvalue())
    return hashlib.sha256(sound.getvalue()).hexdigest()
