"""Noise of a given color at a given signal-to-noise ratio, the same for the same recording every time."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE

__all__ = ["COLORS", "Noise", "add_noise"]

COLORS = ("white", "pink")  # equal power in each Hz, equal power in each octave
LOWEST_HZ = 50.0  # pink noise would put power where no microphone hears and no speech is


@dataclass(frozen=True, order=True)
class Noise:
    """Noise to add to every recording.

    Attributes
    ----------
    color : {"white", "pink"}
        White noise has equal power in each hertz and hides consonants first. Pink noise has equal power in
        each octave, as much of what rooms and streets sound like, and hides vowels too.
    snr : float
        Signal-to-noise ratio in dB: the power of the recording, pauses included, over that of the noise.

    Raises
    ------
    ValueError
        If the color is another, or the ratio is not a finite number.
    """

    color: str
    snr: float

    def __post_init__(self) -> None:
        """Check the values."""
        if self.color not in COLORS:
            raise ValueError(f"expected noise of one of the colors {', '.join(COLORS)}, found {self.color!r}")
        if not math.isfinite(self.snr):
            raise ValueError(f"expected a finite signal-to-noise ratio in dB, but found {self.snr}")

    def __str__(self) -> str:
        return f"{self.color}, {self.snr:g} dB"


def add_noise(
    waveform: Float32[ndarray, " samples"], noise: Noise, name: str
) -> Float32[ndarray, " samples"]:
    """Add noise to a recording.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    noise : Noise
        Which noise, and how loud.
    name : str
        Of the recording. Together with the color it decides on the noise: the same name and color give the
        same noise, louder or softer.

    Returns
    -------
    np.ndarray, shape (samples,)
        Recording and noise, scaled down together if they exceed full scale. A silent recording stays as it
        is.
    """
    signal = waveform.astype(np.float64)
    seed = hashlib.sha256(f"{noise.color} {name}".encode()).digest()[:8]
    added = np.random.default_rng(int.from_bytes(seed)).standard_normal(signal.size)
    if noise.color == "pink":
        spectrum = scipy.fft.rfft(added)
        frequencies = scipy.fft.rfftfreq(signal.size, 1 / SAMPLE_RATE)
        heard = frequencies >= LOWEST_HZ
        spectrum[heard] /= np.sqrt(frequencies[heard])
        spectrum[~heard] = 0
        added = scipy.fft.irfft(spectrum, signal.size)
    power = np.mean(np.square(added))
    if power == 0:  # shorter than one period of the lowest frequency
        return waveform
    # The mean of a recording is an offset, which nobody hears.
    mixed = signal + added * np.sqrt(signal.var() / power) * 10 ** (-noise.snr / 20)
    scaled: ndarray = mixed / max(1.0, np.abs(mixed).max())
    return scaled.astype(np.float32)
