"""How far the parts look: what of the sound an encoder position, and an audio token, depends on.

A layer's output at a position depends on the whole clip as soon as there is attention before it. How *much*
it depends on what is far away is a question for measurement: one short stretch of the encoder's input is
changed, and what moves is measured by layer. An audio token depends on what its projector reads.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.audio import Clip, read_clip
from asrscope.encoder import FRAMES_PER_POSITION, encode
from asrscope.scope.anatomy import describe_anatomy
from asrscope.scope.watching import hooked

__all__ = ["STRETCH", "change_by_distance", "change_by_layer", "connector_reach", "layer_states"]

STRETCH = 10  # frames that are changed at a time: 100 ms


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
    if not 0 <= start < end <= log_mel.shape[1]:
        raise ValueError(
            f"Expected a stretch within the clip's {log_mel.shape[1]} frames, but found {start} to {end}."
        )
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


def connector_reach(
    model: PreTrainedModel, processor: ProcessorMixin, source: Clip, audio_tokens: int
) -> Float32[np.ndarray, "audio_tokens positions"]:
    """Measure which outputs of the encoder's last layer each audio token depends on.

    What is measured is a gradient: how fast the audio token moves, in a direction drawn at random, when one
    output is changed. Where it is zero, the audio token does not read that output at all.

    Parameters
    ----------
    model : PreTrainedModel
        Any that `asrscope.attach` takes.
    processor : ProcessorMixin
        Its processor.
    source : str, Path or np.ndarray [shape=(samples,)]
        An audio file, or a mono waveform at 16 kHz.
    audio_tokens : int
        How many audio tokens to look at, from the first.

    Returns
    -------
    np.ndarray, shape (audio_tokens, positions)
        Lengths of the gradients.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the clip has fewer audio tokens, or the model is none that can be attached.
    """
    waveform, _ = read_clip(source)
    anatomy = describe_anatomy(model, processor)
    inputs = anatomy.ask(model, processor, waveform, None)
    seen: dict[str, Tensor] = {}

    def cut(_: nn.Module, __: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        seen["positions"] = hidden.detach().requires_grad_(True)
        return (seen["positions"], *output[1:]) if isinstance(output, tuple) else seen["positions"]

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        seen["tokens"] = output.flatten(0, -2)

    layers: Any = anatomy.parts["encoder"].get_submodule("layers")
    with hooked(after=[(layers[-1], cut), (anatomy.parts["projector"], keep)]), torch.enable_grad():
        model(**inputs)
    tokens, positions = seen["tokens"], seen["positions"]
    if len(tokens) < audio_tokens:
        raise ValueError(f"Expected a clip of at least {audio_tokens} audio tokens, but found {len(tokens)}.")
    direction = torch.randn(tokens.shape[1], generator=torch.Generator().manual_seed(0))
    gradients = [
        torch.autograd.grad(token @ direction, positions, retain_graph=True)[0][0].norm(dim=1)
        for token in tokens[:audio_tokens]
    ]
    return torch.stack(gradients).numpy()


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
