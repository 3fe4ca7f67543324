"""Log-mel spectrogram, as Whisper computes it, at the clip's true length.

The steps are those of a phonograph turned into a ruler: cut the waveform into overlapping windows, measure
the power at each frequency, sum the powers into mel bands, take the logarithm.

What cannot be speech shows in it, too: silence, noise and hum keep one spectrum, and clicks do not last. A
language model writes a sentence about anything, and its own probabilities do not always betray that.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
from jaxtyping import Float, Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE

__all__ = [
    "FRAMES_PER_SECOND",
    "HOP_LENGTH",
    "LEAST_CHANGE",
    "N_FFT",
    "SECONDS_PER_FRAME",
    "count_frames",
    "has_only_clicks",
    "log_mel",
    "mel_filters",
    "mel_power",
    "sound_warnings",
    "spectral_change",
]

N_FFT = 400  # samples in one analysis window: 25 ms
HOP_LENGTH = 160  # samples from one window to the next: 10 ms
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 10 ms per frame
SECONDS_PER_FRAME = HOP_LENGTH / SAMPLE_RATE
POWER_FLOOR = 1e-10  # keeps the logarithm of digital silence finite
DYNAMIC_RANGE = 8.0  # decades kept below the loudest value of the clip: 80 dB

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


@lru_cache(maxsize=4)
def mel_filters(n_mels: int = 80) -> Float32[ndarray, "n_mels bins"]:
    """Triangular filters that sum FFT bins into mel bands.

    Parameters
    ----------
    n_mels : int
        Number of mel bands: 80 in Whisper up to large-v2, 128 from large-v3 on.

    Returns
    -------
    np.ndarray, shape (n_mels, bins)
        Weight of each of the ``N_FFT // 2 + 1`` FFT bins in each band (Slaney's mel scale and area
        normalization).
    """
    # Imported here: librosa takes longer to import than a short clip takes to transcribe.
    import librosa.filters  # noqa: PLC0415 - see above

    return librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels).astype(np.float32)


def count_frames(samples: int) -> int:
    """Count the hops that cover so many samples, rounded up to an even number: the encoder halves it."""
    return 2 * max(1, -(-samples // (2 * HOP_LENGTH)))


def log_mel(waveform: Float[ndarray, " samples"], n_mels: int = 80) -> Float32[ndarray, "n_mels frames"]:
    """Compute Whisper's log-mel spectrogram without padding the clip to 30 s.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    n_mels : int
        Number of mel bands.

    Returns
    -------
    np.ndarray, shape (n_mels, frames)
        One column each 10 ms. ``frames`` is the number of hops that cover the clip, rounded up to an even
        number, since the encoder's second convolution halves it. The values are ``(log10(power) + 4) / 4``
        with everything more than 80 dB below the clip's maximum raised to that floor, so they span 2 at most.

    Raises
    ------
    ValueError
        If the clip is empty or its values are not finite.

    References
    ----------
    ``log_mel_spectrogram`` in openai/whisper and ``WhisperFeatureExtractor`` in transformers, which this
    equals on every frame of the clip: both see zeros after its end.
    """
    if waveform.size == 0:
        raise ValueError("expected a clip with at least one sample, but found an empty one")
    if not np.isfinite(waveform).all():
        raise ValueError(
            "expected finite samples, but found NaN or infinity. Load the clip with load_audio()"
        )
    frames = count_frames(waveform.size)
    half = N_FFT // 2
    # Windows are centered on their frame: the clip is mirrored before its start and followed by zeros.
    start = np.pad(waveform.astype(np.float64), (0, max(0, half + 1 - waveform.size)))[half:0:-1]
    padded = np.zeros(frames * HOP_LENGTH + N_FFT)
    padded[:half] = start
    padded[half : half + waveform.size] = waveform
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[: frames * HOP_LENGTH : HOP_LENGTH]
    # The periodic form, as in torch.hann_window.
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    power = np.abs(scipy.fft.rfft(windows * hann, axis=1)) ** 2  # (frames, bins)
    mel = mel_filters(n_mels) @ power.T  # (n_mels, frames)
    decades = np.log10(np.maximum(mel, POWER_FLOOR))
    decades = np.maximum(decades, decades.max() - DYNAMIC_RANGE)
    scaled: ndarray = (decades + 4.0) / 4.0
    return scaled.astype(np.float32)


# What cannot be speech --------------------------------------------------------------------------------------


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
