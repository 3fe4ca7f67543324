"""What if the clip had been another? Waveforms with one thing changed, for comparing what the model does.

Every function takes a waveform and returns a new one; none has a model in it. Times are in seconds. Where
sound is taken away or laid end to end, the edges are faded over `FADE` seconds: a sudden edge is a click, and
a click is a change of its own.
"""

import math

import numpy as np
import soxr
from jaxtyping import Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE

__all__ = ["FADE", "add_noise", "change_pitch", "change_tempo", "cut", "mask_span", "shift"]

FADE = 0.005  # seconds
LARGEST = 4.0  # times as fast, or as slow; beyond it no speech remains
LOWEST_HZ = 50.0  # pink noise would put power where no microphone hears and no speech is
WINDOW = 512  # samples of the vocoder's window, 32 ms: several periods of a voice, less than most sounds


def mask_span(
    waveform: Float32[ndarray, " samples"], start: float, end: float
) -> Float32[ndarray, " samples"]:
    """Silence a stretch; everything else stays where it is.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    start, end : float
        The stretch, in seconds.

    Returns
    -------
    np.ndarray, shape (samples,)
        As long as before: zero between start and end, but for the fades at both ends, which lie within.

    Raises
    ------
    ValueError
        If the stretch is empty or not within the clip.
    """
    first, last = _span(waveform, start, end)
    masked = waveform.copy()
    fade = _fade(last - first)
    masked[first:last] = 0
    masked[first : first + fade.size] = waveform[first : first + fade.size] * fade[::-1]
    masked[last - fade.size : last] += waveform[last - fade.size : last] * fade
    return masked


def cut(waveform: Float32[ndarray, " samples"], start: float, end: float) -> Float32[ndarray, " shorter"]:
    """Take a stretch out; what follows moves up.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    start, end : float
        The stretch, in seconds.

    Returns
    -------
    np.ndarray, shape (shorter,)
        Shorter by the stretch; the sound fades out before the seam and in after it.

    Raises
    ------
    ValueError
        If the stretch is empty, not within the clip, or all of it.
    """
    first, last = _span(waveform, start, end)
    before, after = waveform[:first].copy(), waveform[last:].copy()
    if before.size + after.size == 0:
        raise ValueError(f"Expected to keep some of the clip, but found a cut from {start} to {end} s.")
    fade_out, fade_in = _fade(2 * before.size)[::-1], _fade(2 * after.size)
    before[before.size - fade_out.size :] *= fade_out
    after[: fade_in.size] *= fade_in
    return np.concatenate([before, after])


def shift(waveform: Float32[ndarray, " samples"], seconds: float) -> Float32[ndarray, " longer"]:
    """Let the clip start later, after a silence.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    seconds : float
        Length of the silence before the clip.

    Returns
    -------
    np.ndarray, shape (longer,)
        Longer by the silence; the samples of the clip are the same.

    Raises
    ------
    ValueError
        If the length is negative or not a finite number.
    """
    if not 0 <= seconds < math.inf:
        raise ValueError(f"Expected a silence of 0 s or more, but found {seconds} s.")
    return np.pad(waveform, (round(seconds * SAMPLE_RATE), 0))


def change_tempo(waveform: Float32[ndarray, " samples"], factor: float) -> Float32[ndarray, " changed"]:
    """Let a clip run faster or slower at the same pitch, by the phase vocoder of librosa.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    factor : float
        2 is twice as fast, 0.5 half as fast; from 1/4 to 4.

    Returns
    -------
    np.ndarray, shape (changed,)
        ``samples / factor`` samples, rounded. A factor of 1 changes next to nothing.

    Raises
    ------
    ValueError
        If the clip is empty or the factor is out of range.
    """
    if waveform.size == 0 or not 1 / LARGEST <= factor <= LARGEST:
        raise ValueError(
            f"Expected a clip with samples and a factor from {1 / LARGEST:g} to {LARGEST:g}, "
            f"but found {waveform.size} samples and {factor}."
        )
    import librosa.effects  # noqa: PLC0415 - slow to import, and the other changes do without

    length = max(1, round(waveform.size / factor))
    padded = np.pad(waveform, (0, max(0, WINDOW - waveform.size)))
    changed = librosa.effects.time_stretch(padded, rate=factor, n_fft=WINDOW)[:length]
    clipped: np.ndarray = np.clip(changed, -1.0, 1.0)
    return clipped.astype(np.float32)


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
    clipped: np.ndarray = np.clip(filled, -1.0, 1.0)
    return clipped.astype(np.float32)


def add_noise(
    waveform: Float32[ndarray, " samples"], snr: float, color: str = "white"
) -> Float32[ndarray, " samples"]:
    """Add noise of a given strength. Clips of one length get the same noise, at any strength.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    snr : float
        Signal-to-noise ratio in dB: the power of the clip, pauses included, over that of the noise.
    color : {"white", "pink"}
        White noise has equal power in each hertz and hides consonants first. Pink noise has equal power in
        each octave, as much of what rooms and streets sound like, and hides vowels too.

    Returns
    -------
    np.ndarray, shape (samples,)
        Clip and noise, scaled down together if they exceed full scale. A silent clip stays as it is.

    Raises
    ------
    ValueError
        If the color is another, or the ratio is not a finite number.
    """
    if color not in ("white", "pink") or not math.isfinite(snr):
        raise ValueError(
            f"Expected white or pink noise at a finite number of dB, but found {color!r} and {snr}."
        )
    noise = np.random.default_rng(waveform.size).standard_normal(waveform.size)
    if color == "pink":
        spectrum, frequencies = np.fft.rfft(noise), np.fft.rfftfreq(waveform.size, 1 / SAMPLE_RATE)
        heard = frequencies >= LOWEST_HZ
        spectrum[heard] /= np.sqrt(frequencies[heard])
        spectrum[~heard] = 0
        noise = np.fft.irfft(spectrum, waveform.size)
    power = np.mean(np.square(noise))
    if power == 0:  # shorter than one period of the lowest frequency
        return waveform
    # The mean of a clip is an offset, which nobody hears.
    signal = waveform.astype(np.float64)
    mixed = signal + noise * np.sqrt(signal.var() / power) * 10 ** (-snr / 20)
    scaled: ndarray = mixed / max(1.0, np.abs(mixed).max())
    return scaled.astype(np.float32)


def _span(waveform: Float32[ndarray, " samples"], start: float, end: float) -> tuple[int, int]:
    """First sample of a stretch and the sample after its last."""
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    if not 0 <= first < last <= waveform.size:
        raise ValueError(
            f"Expected a stretch within the clip's {waveform.size / SAMPLE_RATE:.3f} s, "
            f"but found {start} to {end} s."
        )
    return first, last


def _fade(samples: int) -> Float32[ndarray, " fade"]:
    """Rising half of a cosine window, at most half as long as so many samples."""
    length = min(round(FADE * SAMPLE_RATE), samples // 2)
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / max(1, length))).astype(np.float32)
