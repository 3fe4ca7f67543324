"""Speak faster, slower, higher or lower: the same words at another tempo or pitch.

Tempo is changed by overlapping short pieces of the waveform at other distances (WSOLA): each piece is taken
where it continues the one before it best, so that the periods of a voice stay whole.
"""

import math

import numpy as np
import soxr
from jaxtyping import Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE

__all__ = ["change_pitch", "change_tempo"]

WINDOW = 512  # samples of a piece, 32 ms: several periods of a voice, less than most sounds
HOP = WINDOW // 2
SEARCH = 160  # samples to each side, 10 ms: a period of a low voice fits in
LARGEST = 4.0  # beyond it, pieces are left out or repeated so often that no speech remains


def change_tempo(waveform: Float32[ndarray, " samples"], factor: float) -> Float32[ndarray, " changed"]:
    """Let a clip run faster or slower at the same pitch.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    factor : float
        2 is twice as fast, 0.5 half as fast; from 1/4 to 4.

    Returns
    -------
    np.ndarray, shape (changed,)
        ``samples / factor`` samples, rounded. A factor of 1 changes nothing.

    Raises
    ------
    ValueError
        If the clip is empty or the factor is out of range.

    References
    ----------
    .. [1] W. Verhelst and M. Roelands, "An overlap-add technique based on waveform similarity (WSOLA) for
       high quality time-scale modification of speech", ICASSP 1993.
    """
    if waveform.size == 0 or not 1 / LARGEST <= factor <= LARGEST:
        raise ValueError(
            f"Expected a clip with samples and a factor from {1 / LARGEST:g} to {LARGEST:g}, "
            f"but found {waveform.size} samples and {factor}."
        )
    length = max(1, round(waveform.size / factor))
    before = HOP + SEARCH
    padded = np.pad(waveform.astype(np.float64), (before, before + WINDOW + SEARCH + math.ceil(HOP * factor)))
    fade = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)  # shifted by half, it adds up to 1
    pieces = -(-length // HOP) + 1
    output = np.zeros((pieces + 1) * HOP)
    place = SEARCH  # the first piece begins half a window before the clip
    for piece in range(pieces):
        if piece:
            wanted = SEARCH + round(piece * HOP * factor)
            place = _best_continuation(padded, place + HOP, wanted)
        output[piece * HOP : piece * HOP + WINDOW] += fade * padded[place : place + WINDOW]
    changed: ndarray = np.clip(output[HOP : HOP + length], -1.0, 1.0).astype(np.float32)
    return changed


def change_pitch(waveform: Float32[ndarray, " samples"], semitones: float) -> Float32[ndarray, " samples"]:
    """Raise or lower a clip at the same tempo.

    Everything moves, the resonances of the mouth too: it sounds like a smaller or a larger speaker.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    semitones : float
        Twelfths of an octave: 12 doubles all frequencies, -12 halves them; from -24 to 24.

    Returns
    -------
    np.ndarray, shape (samples,)
        As long as before. What a raised clip would hold above 8 kHz is gone; a lowered clip has nothing at
        the top.

    Raises
    ------
    ValueError
        If the clip is empty or the shift is out of range.
    """
    ratio = 2 ** (semitones / 12)
    if not 1 / LARGEST <= ratio <= LARGEST:
        raise ValueError(f"Expected -24 to 24 semitones, but found {semitones}.")
    stretched = change_tempo(waveform, 1 / ratio)
    changed = soxr.resample(stretched, SAMPLE_RATE * ratio, SAMPLE_RATE)[: waveform.size]
    filled = np.pad(changed, (0, waveform.size - changed.size))
    clipped: ndarray = np.clip(filled, -1.0, 1.0).astype(np.float32)
    return clipped


def _best_continuation(padded: ndarray, natural: int, wanted: int) -> int:
    """Place near `wanted` whose samples are most like those at `natural`, where the last piece goes on."""
    template = padded[natural : natural + WINDOW]
    region = padded[wanted - SEARCH : wanted + SEARCH + WINDOW]
    products = np.correlate(region, template)
    squares = np.concatenate([[0.0], np.cumsum(region**2)])
    energies = squares[WINDOW:] - squares[:-WINDOW]
    likeness = products / np.sqrt(np.maximum(energies, 1e-9))
    likeness[SEARCH] += 1e-9  # where all is silent, the wanted place
    if wanted - SEARCH <= natural <= wanted + SEARCH:
        likeness[natural - wanted + SEARCH] += 1e-6  # the same samples cannot be outdone by rounding
    return wanted - SEARCH + int(likeness.argmax())
