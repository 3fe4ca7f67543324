"""Floating-point operations that the parts of a model take for a clip: from their shapes, without weights."""

from typing import Any

from torch import nn

from asrscope_course.sizes import STRIDE, head_dim, linear_weights

__all__ = ["decoder_flops", "encoder_flops", "projector_flops"]


def encoder_flops(encoder: nn.Module, positions: int) -> int:
    """Estimate the floating-point operations of the encoder for one clip.

    Two for each weight and each vector that it is applied to, and four for each pair of positions and each
    dimension in attention: two for the score, two for the weighted sum. Norms, activations and the softmax
    are left out; they are far smaller.

    Parameters
    ----------
    encoder : WhisperEncoder
        The encoder; it may be on the device ``meta``.
    positions : int
        Encoder positions.

    Returns
    -------
    int
        Operations.
    """
    parts: Any = encoder  # its submodules have the types of torch, which say less than the code needs
    per_position = STRIDE * parts.conv1.weight.numel() + parts.conv2.weight.numel()
    per_position += linear_weights(parts.layers)
    attention = 4 * positions**2 * parts.config.d_model * len(parts.layers)
    return int(2 * positions * per_position + attention)


def projector_flops(projector: nn.Module, audio_tokens: int) -> int:
    """Estimate the operations of the projector for one clip: two for each weight and each audio token."""
    return 2 * audio_tokens * linear_weights(projector)


def decoder_flops(decoder: nn.Module, read: int, written: int) -> int:
    """Estimate the operations of the decoder for one prompt and its answer, with a cache.

    Two for each weight and each position, four for each pair of a position and one it looks at and each
    dimension of the heads. Scores of the vocabulary are counted once for each written token.

    Parameters
    ----------
    decoder : SmolLM3ForCausalLM
        The decoder, with or without its output layer; it may be on the device ``meta``.
    read : int
        Positions of the prompt.
    written : int
        Tokens of the answer, the one that ends it included; the last is not read again.

    Returns
    -------
    int
        Operations.
    """
    config: Any = decoder.config
    positions = read + written - 1
    pairs = positions * (positions + 1) // 2  # no position looks ahead
    heads = config.num_attention_heads * head_dim(config)
    attention = 4 * pairs * heads * config.num_hidden_layers
    scores = 2 * written * config.vocab_size * config.hidden_size
    body = getattr(decoder, "model", decoder)
    return int(2 * positions * linear_weights(body) + attention + scores)
