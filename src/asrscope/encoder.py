"""Run a Whisper encoder at the clip's true length.

``WhisperEncoder.forward`` insists on 30 s of input. Nothing in its layers does: the sinusoidal position table
is merely cut to the clip. The loop below runs the same modules in the same order, so at full length its
output equals the encoder's own bit for bit, and a 3 s clip costs a tenth.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.features import SECONDS_PER_FRAME

__all__ = ["FRAMES_PER_POSITION", "SECONDS_PER_POSITION", "encode", "lead_positions", "position_mask"]

FRAMES_PER_POSITION = 2  # stride of the second convolution
SECONDS_PER_POSITION = FRAMES_PER_POSITION * SECONDS_PER_FRAME


def position_mask(frame_mask: Bool[Tensor, "batch frames"]) -> Bool[Tensor, "batch positions"]:
    """Tell which encoder positions hold audio, given which frames do.

    Parameters
    ----------
    frame_mask : torch.Tensor, shape (batch, frames)
        True where the mel frame belongs to the clip, False in padding.

    Returns
    -------
    torch.Tensor, shape (batch, frames // 2)
        True where the position's first frame belongs to the clip.
    """
    return frame_mask[:, ::FRAMES_PER_POSITION]


def lead_positions(config: WhisperConfig) -> int:
    """Read how much silence an encoder hears ahead of each clip; of Whisper as published, none.

    At its true length, a clip that begins in the middle of a word is heard better so.

    Parameters
    ----------
    config : WhisperConfig
        The encoder's; ``lead_positions`` may be among its settings.

    Returns
    -------
    int
        Positions of 20 ms.

    Raises
    ------
    ValueError
        If there is no room for a clip behind so many.
    """
    found = getattr(config, "lead_positions", 0)
    if type(found) is not int or not 0 <= found < config.max_source_positions:
        most = config.max_source_positions - 1
        raise ValueError(f"expected lead_positions from 0 to {most}, but found {found!r}")
    return found


def encode(
    encoder: WhisperEncoder,
    input_features: Float[Tensor, "batch n_mels frames"],
    frame_mask: Bool[Tensor, "batch frames"] | None = None,
    collect: Callable[[int, Tensor], None] | None = None,
) -> Float[Tensor, "batch positions encoder_dim"]:
    """Turn mel frames of any length up to the encoder's window into hidden states.

    Parameters
    ----------
    encoder : WhisperEncoder
        The encoder; its ``config.max_source_positions`` bounds the length. What it hears of `lead_positions`
        is not returned.
    input_features : torch.Tensor, shape (batch, n_mels, frames)
        Log-mel spectrograms, ``frames`` even.
    frame_mask : torch.Tensor, shape (batch, frames), optional
        True where a frame belongs to the clip. Without it every frame does, as in Whisper, which attends to
        its padding. With it, a clip's output does not depend on what it is batched with.
    collect : callable, optional
        Called with (layer, hidden states): layer 0 is the input of the first layer, layer n the output of the
        nth, before the final norm.

    Returns
    -------
    torch.Tensor, shape (batch, frames // 2, encoder_dim)
        One vector each 20 ms.

    Raises
    ------
    ValueError
        If ``frames`` is odd or longer than the encoder's window.
    """
    frames = input_features.shape[-1]
    limit = FRAMES_PER_POSITION * encoder.config.max_source_positions
    if frames % FRAMES_PER_POSITION or not 0 < frames <= limit:
        raise ValueError(
            f"the encoder expects an even number of mel frames up to {limit}, but found {frames}. "
            "Make sure to pad to even length, and cut longer audio into windows"
        )
    weight = encoder.conv1.weight
    input_features = input_features.to(weight.device, weight.dtype)
    if frame_mask is not None and bool(frame_mask.all()):
        frame_mask = None  # there is no padding
    if frame_mask is not None:
        frame_mask = frame_mask.to(weight.device)
        # Padding must be silent to the convolutions too: they look one frame to each side.
        input_features = input_features * frame_mask[:, None, :]
    lead = min(lead_positions(encoder.config), (limit - frames) // FRAMES_PER_POSITION)
    # First what comes first: who watches the convolutions keeps what they read last, which is the clip.
    ahead = [_convolve(encoder, _silence(input_features, frame_mask, lead), None)] if lead else []
    hidden = torch.cat([*ahead, _convolve(encoder, input_features, frame_mask)], 1)
    hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
    hidden = nn.functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
    attention_mask = None
    if frame_mask is not None:
        is_padding = ~nn.functional.pad(position_mask(frame_mask), (lead, 0), value=True)
        # Added to the scores of each position.
        attention_mask = is_padding[:, None, None, :].to(hidden.dtype) * torch.finfo(hidden.dtype).min
        attention_mask = attention_mask.expand(-1, 1, hidden.shape[1], -1)
    for number, layer in enumerate(encoder.layers):
        if collect is not None:
            collect(number, hidden[:, lead:])
        hidden = layer(hidden, attention_mask)
    if collect is not None:
        collect(len(encoder.layers), hidden[:, lead:])
    normed: Tensor = encoder.layer_norm(hidden[:, lead:])
    return normed


def _convolve(
    encoder: WhisperEncoder, features: Tensor, frame_mask: Tensor | None
) -> Float[Tensor, "batch positions encoder_dim"]:
    """Run both convolutions, the second of which halves the number of frames."""
    hidden = nn.functional.gelu(encoder.conv1(features))  # (batch, encoder_dim, frames)
    if frame_mask is not None:
        hidden = hidden * frame_mask[:, None, :]
    return nn.functional.gelu(encoder.conv2(hidden)).transpose(1, 2)


def _silence(features: Tensor, frame_mask: Tensor | None, positions: int) -> Tensor:
    """Give each clip the spectrogram of silence: its own lowest value everywhere."""
    if frame_mask is not None:
        features = features.masked_fill(~frame_mask[:, None, :], torch.inf)
    lowest = features.amin((1, 2), keepdim=True)
    return lowest.expand(-1, features.shape[1], FRAMES_PER_POSITION * positions)
