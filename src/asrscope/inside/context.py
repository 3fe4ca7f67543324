"""How far the encoder looks: one short stretch of its input is changed, and what moves is measured by layer.

A layer's output at a position depends on the whole clip as soon as there is attention before it. How *much*
it depends on what is far away is a question for measurement.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.encoder import encode

__all__ = ["STRETCH", "change_by_distance", "change_by_layer", "layer_states"]

STRETCH = 10  # frames that are changed at a time: 100 ms
FRAMES_PER_POSITION = 2


def layer_states(
    encoder: WhisperEncoder, log_mel: Float32[ndarray, "n_mels frames"]
) -> Float32[ndarray, "levels positions encoder_dim"]:
    """Run the encoder and keep what goes into its first layer and what comes out of each.

    Parameters
    ----------
    encoder : WhisperEncoder
        The encoder.
    log_mel : np.ndarray, shape (n_mels, frames)
        Log-mel spectrogram of one clip, ``frames`` even.

    Returns
    -------
    np.ndarray, shape (levels, positions, encoder_dim)
        Level 0 comes from the convolutions, level n from layer n, before the final norm.
    """
    levels: list[Tensor] = []
    with torch.no_grad():
        encode(encoder, torch.from_numpy(log_mel)[None], collect=lambda _, hidden: levels.append(hidden[0]))
    states: ndarray = torch.stack(levels).float().numpy()
    return states


def change_by_layer(
    encoder: WhisperEncoder, log_mel: Float32[ndarray, "n_mels frames"], start: int, end: int
) -> Float32[ndarray, "levels positions"]:
    """Silence one stretch of the spectrogram and measure how far each position moves, layer by layer.

    Parameters
    ----------
    encoder : WhisperEncoder
        The encoder.
    log_mel : np.ndarray, shape (n_mels, frames)
        Log-mel spectrogram of one clip, ``frames`` even.
    start, end : int
        First frame of the stretch, and the frame after its last. They are set to the clip's lowest value.

    Returns
    -------
    np.ndarray, shape (levels, positions)
        Length of the difference, relative to the length of the vector as it was. Level 0 comes from the
        convolutions, level n from layer n.

    Raises
    ------
    ValueError
        If the stretch is empty or not within the clip.
    """
    _check_stretch(log_mel, start, end)
    return _change(encoder, log_mel, layer_states(encoder, log_mel), start, end)


def change_by_distance(
    encoder: WhisperEncoder, log_mel: Float32[ndarray, "n_mels frames"], length: int = STRETCH
) -> Float[ndarray, "levels distances"]:
    """Average what `change_by_layer` gives over stretches from all over the clip, by distance.

    Parameters
    ----------
    encoder : WhisperEncoder
        The encoder.
    log_mel : np.ndarray, shape (n_mels, frames)
        Log-mel spectrogram of one clip, ``frames`` even.
    length : int
        Frames of a stretch, even. The stretches lie side by side.

    Returns
    -------
    np.ndarray, shape (levels, distances)
        Mean relative change of the positions that lie so many positions before or after the stretch; those
        inside it are at distance 0. As many distances as occur on both sides of some stretch.

    Raises
    ------
    ValueError
        If the length is odd, not positive, or longer than a third of the clip.
    """
    frames = log_mel.shape[1]
    if length % FRAMES_PER_POSITION or not 0 < length <= frames // 3:
        raise ValueError(
            f"Expected stretches of an even number of frames up to a third of the clip's {frames}, "
            f"but found {length}."
        )
    states = layer_states(encoder, log_mel)
    levels, positions, _ = states.shape
    distances = (positions - length // FRAMES_PER_POSITION) // 2 + 1
    sums, counts = np.zeros((levels, positions)), np.zeros(positions)
    here = np.arange(positions)
    for start in range(0, frames - length + 1, length):
        first, last = start // FRAMES_PER_POSITION, (start + length) // FRAMES_PER_POSITION - 1
        distance = np.maximum(0, np.maximum(first - here, here - last))
        change = _change(encoder, log_mel, states, start, start + length)
        np.add.at(sums.T, distance, change.T)
        np.add.at(counts, distance, 1)
    mean: ndarray = sums[:, :distances] / counts[:distances]
    return mean


def _change(
    encoder: WhisperEncoder,
    log_mel: Float32[ndarray, "n_mels frames"],
    states: Float32[ndarray, "levels positions encoder_dim"],
    start: int,
    end: int,
) -> Float32[ndarray, "levels positions"]:
    silenced = log_mel.copy()
    silenced[:, start:end] = log_mel.min()
    moved = np.linalg.norm(layer_states(encoder, silenced) - states, axis=2)
    relative: ndarray = moved / np.linalg.norm(states, axis=2)
    return relative


def _check_stretch(log_mel: Float32[ndarray, "n_mels frames"], start: int, end: int) -> None:
    if not 0 <= start < end <= log_mel.shape[1]:
        raise ValueError(
            f"Expected a stretch within the clip's {log_mel.shape[1]} frames, but found {start} to {end}."
        )
