"""Disturb log-mel spectrograms so that one synthesized clip stands for many speakers, rooms and microphones.

Everything works on whole batches of spectrograms, so speech is synthesized once and disturbed anew each time
it is drawn. Noise and echo are added as power; one unit of the normalized log-mel is four decades, or 40 dB.
"""

from dataclasses import dataclass, replace

import librosa
import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from asrscope.features import DYNAMIC_RANGE

__all__ = ["Augmentation", "augment", "stretch"]

DECIBEL = 1 / 40  # of the normalized log-mel
FLOOR = DYNAMIC_RANGE / 4  # distance from the loudest value to the floor, in the same unit


@dataclass(frozen=True)
class Augmentation:
    """How far each disturbance may go; ``share`` is the part of the clips that gets it.

    Parameters
    ----------
    vocal_tract : float
        Largest relative change of all resonances, as a longer or shorter vocal tract makes it.
    tilt_decibels : float
        Standard deviation of each of four smooth equalizer curves.
    gain_decibels : float
        Largest change of level.
    noise_share, noise_snr : float, (float, float)
        Colored noise, and its signal-to-noise ratio in dB.
    echo_share : float
        Exponentially decaying echo.
    band_share : float
        Band limits, as of a telephone.
    mask_bands, mask_frames : float
        Widest masked stripe, two of each kind a clip.
    """

    vocal_tract: float = 0.13
    tilt_decibels: float = 3.0
    gain_decibels: float = 12.0
    noise_share: float = 0.2
    noise_snr: tuple[float, float] = (10.0, 40.0)
    echo_share: float = 0.1
    band_share: float = 0.05
    mask_bands: float = 6.0
    mask_frames: float = 6.0

    def scaled(self, by: float) -> "Augmentation":
        """Go ``by`` times as far, in ``by`` times as many clips; noise stays as loud as it is."""
        changes = {name: by * value for name, value in vars(self).items() if name != "noise_snr"}
        return replace(self, **changes)


def stretch(
    mels: list[ndarray], labels: list[ndarray], rng: np.random.Generator, share: float = 0.6
) -> tuple[list[ndarray], list[ndarray]]:
    """Change the speed of a batch of clips by up to a fifth and put silence around them; the labels follow.

    Speed and the sum of the silences are drawn once a batch, so that clips of equal length stay so and little
    of the batch is padding.

    Parameters
    ----------
    mels : list of np.ndarray, shape (frames, n_mels)
        Log-mel spectrograms, ``frames`` even.
    labels : list of np.ndarray, shape (frames // 2,)
        One label each 20 ms; -100 marks positions without one.
    rng : np.random.Generator
        The generator.
    share : float
        Part of the batches that each of the two changes is made to.

    Returns
    -------
    mels, labels : list of np.ndarray
        The same with other lengths.
    """
    speed = rng.uniform(0.83, 1.2) if rng.random() < share else 1.0
    silence = int(rng.integers(0, 30)) if rng.random() < share else 0  # positions
    new_mels, new_labels = [], []
    for old_mel, old_phones in zip(mels, labels, strict=True):
        mel, phones = old_mel, old_phones
        if speed != 1.0:
            positions = max(2, round(len(phones) / speed))
            at = np.minimum(np.arange(2 * positions) * len(mel) / (2 * positions), len(mel) - 1)
            low = at.astype(int)
            high = np.minimum(low + 1, len(mel) - 1)
            part = (at - low).astype(np.float32)[:, None]
            mel = mel[low] * (1 - part) + mel[high] * part
            phones = phones[low[::2] // 2]
        before = int(rng.integers(0, silence + 1))
        around = (before, silence - before)
        floor = mel.max() - FLOOR
        new_mels.append(np.pad(mel, ((2 * around[0], 2 * around[1]), (0, 0)), constant_values=floor))
        new_labels.append(np.pad(phones, around, constant_values=-100))
    return new_mels, new_labels


def augment(
    mel: Float[Tensor, "batch frames n_mels"],
    mask: Bool[Tensor, "batch frames"],
    generator: torch.Generator,
    how: Augmentation,
) -> Float[Tensor, "batch frames n_mels"]:
    """Disturb a batch of log-mel spectrograms, each clip in its own way.

    Parameters
    ----------
    mel : torch.Tensor, shape (batch, frames, n_mels)
        Normalized log-mel spectrograms.
    mask : torch.Tensor, shape (batch, frames)
        True where a frame belongs to the clip.
    generator : torch.Generator
        The generator.
    how : Augmentation
        Limits.

    Returns
    -------
    torch.Tensor, shape (batch, frames, n_mels)
        The disturbed spectrograms; frames outside the mask are zero.
    """
    batch, _, n_mels = mel.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator) * (high - low) + low

    def chosen(share: float) -> Tensor:
        return (torch.rand(batch, 1, 1, generator=generator) < share).float()

    mel = mel @ _warp(1 + uniform(-how.vocal_tract, how.vocal_tract), n_mels)
    bands = torch.arange(n_mels) / n_mels
    curves = torch.stack([torch.cos(torch.pi * order * bands) for order in range(1, 5)])  # (4, n_mels)
    weights = torch.randn(batch, 4, generator=generator) * how.tilt_decibels * DECIBEL
    mel = mel + (weights @ curves)[:, None, :]
    mel = mel + uniform(-how.gain_decibels, how.gain_decibels, 1, 1) * DECIBEL

    power = 10 ** (4 * mel - 4) * mask[:, :, None]
    if how.echo_share:
        taps = 40
        decay = uniform(0.75, 0.95, 1)
        kernel = decay ** torch.arange(taps) * uniform(0.05, 0.3, 1) * chosen(how.echo_share)[:, :, 0]
        kernel[:, 0] = 1.0
        power = _convolve(power, kernel)
    loudness = (power * mask[:, :, None]).sum((1, 2)) / (mask.sum(1) * n_mels)
    slope = uniform(-0.05, 0.03, 1) * torch.arange(n_mels)  # decades per band: brown to blue noise
    color = 10**slope
    color = color / color.mean(1, keepdim=True)
    snr = uniform(*how.noise_snr)
    level = loudness * 10 ** (-snr / 10)
    # The power of Gaussian noise in one FFT bin is exponentially distributed; a band averages a few bins.
    grain = -torch.log(torch.rand(2, *mel.shape, generator=generator).clamp_min(1e-6)).mean(0)
    power = power + grain * (chosen(how.noise_share) * level[:, None, None] * color[:, None, :])
    low = uniform(0.0, 6.0, 1, 1) * chosen(how.band_share)
    high = n_mels - uniform(4.0, 28.0, 1, 1) * chosen(how.band_share)
    index = torch.arange(n_mels)
    power = power * ((index >= low) & (index < high))

    mel = (torch.log10(power.clamp_min(1e-10)) + 4) / 4
    top = mel.masked_fill(~mask[:, :, None], -10.0).amax((1, 2), keepdim=True)
    mel = torch.maximum(mel, top - FLOOR)
    frames = torch.arange(mel.shape[1])
    for _ in range(2):
        width = uniform(0.0, how.mask_bands, 1, 1)
        start = uniform(0.0, 1.0, 1, 1) * (n_mels - width)
        mel = torch.where((index >= start) & (index < start + width), top - FLOOR / 2, mel)
        width = uniform(0.0, how.mask_frames, 1)
        start = uniform(0.0, 1.0, 1) * (mask.sum(1, keepdim=True) - width)
        mel = torch.where(((frames >= start) & (frames < start + width))[:, :, None], top - FLOOR / 2, mel)
    return mel * mask[:, :, None]


def _warp(factors: Float[Tensor, " batch"], n_mels: int) -> Float[Tensor, "batch n_mels n_mels"]:
    """Build matrices that move every resonance to ``factor`` times its frequency."""
    centers = librosa.mel_frequencies(n_mels + 2, fmax=8000.0)[1:-1]
    source = np.clip(centers[None, :] / factors.numpy()[:, None], centers[0], centers[-1])
    # Which band each new band is read from, shape (batch, n_mels).
    at = np.interp(source, centers, np.arange(n_mels))
    index = torch.arange(n_mels)[None, :, None]
    return (1 - (torch.from_numpy(at).float()[:, None, :] - index).abs()).clamp_min(0)


def _convolve(
    power: Float[Tensor, "batch frames n_mels"], kernel: Float[Tensor, "batch taps"]
) -> Float[Tensor, "batch frames n_mels"]:
    """Convolve each clip along time with its own kernel, by FFT."""
    size = power.shape[1] + kernel.shape[1]
    spectrum = torch.fft.rfft(power, n=size, dim=1) * torch.fft.rfft(kernel, n=size, dim=1)[:, :, None]
    convolved: Tensor = torch.fft.irfft(spectrum, n=size, dim=1)[:, : power.shape[1]]
    return convolved.clamp_min(0)
