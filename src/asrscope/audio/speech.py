"""Tell sound that cannot be speech: silence, noise and hum keep one spectrum, and clicks do not last.

A language model writes a sentence about anything, and its own probabilities do not always betray that. So the
sound is judged by itself, without the model.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from asrscope.features import HOP_LENGTH, N_FFT, count_frames, log_mel

__all__ = ["LEAST_CHANGE", "has_only_clicks", "mel_power", "sound_warnings", "spectral_change"]

# Decibels. Of noise, whatever its color and level, only the scatter of its bands is left: below 1.2, and
# below 1.35 if it swells and fades. Speech lies above 2.5, and mostly above this limit under noise as loud.
LEAST_CHANGE = 1.4

N_MELS, N_BANDS = 80, 20  # neighboring mel bands are added up: fewer and steadier bands
SMOOTH_FRAMES = 5  # 50 ms: less scatter, and still shorter than a syllable
RANGE = 40.0  # dB below the loudest band; what is softer counts as equally soft

HELD_FRAMES = 10  # 0.1 s: the vowels of nearly every word last as long
CLICK_DROP = 30.0  # dB from the loudest moment of a clip to what it holds for that long; speech: below 25
CLICK_RISE = 6.0  # dB from the background of a clip to what it holds; speech stands out by more
QUIET_SHARE = 0.1  # of the frames: those count as background


def mel_power(
    waveform: Float[ndarray, " samples"], spectrogram: Float[ndarray, "n_mels frames"] | None = None
) -> Float[ndarray, "n_mels inner"]:
    """Give the power of the mel bands in the frames whose window lies within a clip, or in all if none does.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    spectrogram : np.ndarray, shape (n_mels, frames), optional
        Whisper's log-mel spectrogram of the clip, which may be padded, where it was computed already.

    Returns
    -------
    np.ndarray, shape (n_mels, inner)
        Power, not in decibels.

    Raises
    ------
    ValueError
        If the clip is empty or its values are not finite.
    """
    spectrogram = log_mel(waveform, N_MELS) if spectrogram is None else spectrogram
    power = 10.0 ** (4.0 * spectrogram[:, : count_frames(waveform.size)] - 4.0)
    first, last = -(-N_FFT // 2 // HOP_LENGTH), (waveform.size - N_FFT // 2) // HOP_LENGTH
    return power[:, first : last + 1] if last > first else power


def spectral_change(power: Float[ndarray, "n_mels frames"]) -> float:
    """Measure how much the shape of the spectrum changes over time.

    The shape is the level of each frequency band relative to the mean level of all bands at that time, so
    neither loudness nor its ups and downs count, nor does the color of a noise.

    Parameters
    ----------
    power : np.ndarray, shape (n_mels, frames)
        Of the mel bands.

    Returns
    -------
    float
        Standard deviation over time in dB, mean over the bands; 0 for digital silence.
    """
    bands = np.add.reduceat(power, np.arange(N_BANDS) * len(power) // N_BANDS)  # (bands, frames)
    width = min(SMOOTH_FRAMES, bands.shape[1])
    smooth = np.lib.stride_tricks.sliding_window_view(bands, width, axis=1).mean(axis=-1)
    level = 10.0 * np.log10(np.maximum(smooth, smooth.max() * 10 ** (-RANGE / 10)))
    shape = level - level.mean(axis=0)
    return float(shape.std(axis=1).mean())


def has_only_clicks(power: Float[ndarray, "n_mels frames"]) -> bool:
    """Tell whether nothing but clicks stands out from the background of a clip.

    Parameters
    ----------
    power : np.ndarray, shape (n_mels, frames)
        Of the mel bands.

    Returns
    -------
    bool
        True if the clip has loud moments, but holds no sound for a tenth of a second. False for clips of less
        than about two tenths, which are too short to tell.
    """
    level = 10.0 * np.log10(power.sum(axis=0))  # (frames,)
    if level.size < 2 * HELD_FRAMES:
        return False
    held = np.lib.stride_tricks.sliding_window_view(level, HELD_FRAMES).min(axis=1).max()
    return bool(level.max() - held > CLICK_DROP and held - np.quantile(level, QUIET_SHARE) < CLICK_RISE)


def sound_warnings(
    waveform: Float[ndarray, " samples"], spectrogram: Float[ndarray, "n_mels frames"] | None = None
) -> list[str]:
    """Say if a clip cannot be speech, whatever a decoder makes of it.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    spectrogram : np.ndarray, shape (n_mels, frames), optional
        Whisper's log-mel spectrogram of the clip, which may be padded, where it was computed already.

    Returns
    -------
    list of str
        One sentence, or none.

    Raises
    ------
    ValueError
        If the clip is empty or its values are not finite.
    """
    power = mel_power(waveform, spectrogram)
    if (change := spectral_change(power)) < LEAST_CHANGE:
        return [
            f"the sound hardly changes (its spectrum by {change:.1f} dB, less than {LEAST_CHANGE}), "
            "as silence, noise and hum do: whatever is recognized in it is made up"
        ]
    if has_only_clicks(power):
        return ["no sound but clicks stands out: whatever is recognized in it is made up"]
    return []
