"""Log-mel spectrogram, as Whisper computes it, at the clip's true length.

The steps are those of a phonograph turned into a ruler: cut the waveform into overlapping windows, measure
the power at each frequency, sum the powers into mel bands, take the logarithm.
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
    "N_FFT",
    "SECONDS_PER_FRAME",
    "count_frames",
    "log_mel",
    "mel_filters",
]

N_FFT = 400  # samples in one analysis window: 25 ms
HOP_LENGTH = 160  # samples from one window to the next: 10 ms
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 10 ms per frame
SECONDS_PER_FRAME = HOP_LENGTH / SAMPLE_RATE
POWER_FLOOR = 1e-10  # keeps the logarithm of digital silence finite
DYNAMIC_RANGE = 8.0  # decades kept below the loudest value of the clip: 80 dB


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
