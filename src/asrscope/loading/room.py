"""How much memory a model takes, and how much this machine has: said before anything is loaded."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from asrscope.audio import free_memory
from asrscope.decoder import TABLE_ROWS, max_new_tokens
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.projector import count_audio_tokens
from asrscope.saving.provenance import PARTS

__all__ = [
    "GB",
    "Need",
    "cache_bytes_per_token",
    "check_room",
    "count_parameters",
    "devices",
    "estimate",
    "free_bytes",
    "head_dim",
    "linear_weights",
]

GB = 1e9
PROMPT = 64  # positions of a prompt beside its audio tokens, at most
FLOAT = 4  # bytes of a float32
SCALE_BYTES = {8: 4 / 1024, 4: 4 / 64}  # a float32 for a row of weights (int8), or for each 64 of them (int4)


@dataclass(frozen=True)
class Need:
    """Bytes that a model takes.

    Attributes
    ----------
    encoder, projector, decoder : int
        Weights of the parts.
    clip : int
        What one traced clip of the whole window takes while it runs.
    """

    encoder: int
    projector: int
    decoder: int
    clip: int

    @property
    def weights(self) -> int:
        """Bytes of all weights."""
        return self.encoder + self.projector + self.decoder

    @property
    def total(self) -> int:
        """Bytes of the weights and of a clip."""
        return self.weights + self.clip


def count_parameters(module: nn.Module) -> int:
    """Count parameters; a tensor that is used twice, such as tied embeddings, counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


def linear_weights(module: nn.Module) -> int:
    """Count the weights of the linear layers in a module."""
    return sum(int(layer.weight.numel()) for layer in module.modules() if isinstance(layer, nn.Linear))


def cache_bytes_per_token(text_config: Any, bits: int = 16) -> int:
    """Give the memory that one position takes in the decoder's cache.

    Parameters
    ----------
    text_config : PreTrainedConfig
        Of the decoder: of SmolLM3, Llama, Qwen2 or another that names its layers and heads as they do.
    bits : int
        Of each number.

    Returns
    -------
    int
        Bytes: a key and a value, in each layer, for each of the heads that keep their own.
    """
    width = text_config.num_key_value_heads * head_dim(text_config)
    return int(2 * text_config.num_hidden_layers * width * bits // 8)


def head_dim(config: Any) -> int:
    """Give the width of one head of a decoder."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def estimate(
    model: AsrScopeForConditionalGeneration, bits: int = 16, decoder_bits: int | None = None
) -> Need:
    """Compute the memory of a model from its shapes.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model; it may be on the device ``meta``.
    bits : int
        Of each weight.
    decoder_bits : int, optional
        Of the weights in the decoder's layers, where these are quantized: 8 or 4.

    Returns
    -------
    Need
        Weights by part; for a clip the decoder's cache, the logits of each token that may be written (kept,
        stacked and as probabilities), and a piece of the embedding table in float32, for the nearest tokens.
    """
    config, text = model.config, model.config.text_config
    weights = {part: count_parameters(getattr(model, name)) * bits // 8 for part, name in PARTS.items()}
    if decoder_bits is not None:
        layers = linear_weights(model.language_model.get_submodule("model"))
        weights["decoder"] += round(layers * (SCALE_BYTES[decoder_bits] - (bits - decoder_bits) / 8))
    positions = config.audio_config.max_source_positions
    audio_tokens = count_audio_tokens(positions, config.stack_factor, config.projector_remainder)
    written = max_new_tokens(config.window_seconds)
    logits = 3 * written * text.vocab_size * FLOAT
    rows = min(TABLE_ROWS, text.vocab_size)
    table = (text.hidden_size + 2 * audio_tokens) * rows * FLOAT  # and two numbers for each pair
    cache = cache_bytes_per_token(text, bits) * (audio_tokens + PROMPT + written)
    return Need(**weights, clip=cache + max(logits, table))  # one after the other


def devices(device_map: Any) -> list[str]:
    """Name the devices that a model may lie on.

    Parameters
    ----------
    device_map : str, torch.device or None
        A device for all of it, by default the processor's memory; or ``"auto"`` for every GPU, and the
        processor's memory for what is left.

    Returns
    -------
    list of str
        Their names.

    Raises
    ------
    ValueError
        If that is no device.
    """
    if device_map == "auto":
        return [*(f"cuda:{number}" for number in range(torch.cuda.device_count())), "cpu"]
    try:
        return [str(torch.device("cpu" if device_map is None else device_map))]
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"Expected device_map to be 'auto' or a device, such as 'cuda', but found {device_map!r}."
        ) from error


def free_bytes(device: str) -> int | None:
    """Say how much memory is free.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda:0"`` or ``"mps"``.

    Returns
    -------
    int or None
        Bytes; None where the device does not tell. For the processor's memory a limit of the control group
        counts, as schedulers and containers set it.
    """
    if device == "cpu":
        return free_memory()
    if device.startswith("cuda") and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    if device == "mps" and torch.backends.mps.is_available():
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return None


def check_room(need: Need, device_map: Any = None, model: str = "full") -> str:
    """Say what a model takes and where, and make sure that it has room there.

    Parameters
    ----------
    need : Need
        What `estimate` computed.
    device_map : str, torch.device or None
        Where the model is to go, see `devices`.
    model : str
        What to call it.

    Returns
    -------
    str
        One line for the user.

    Raises
    ------
    MemoryError
        If there is too little memory free.
    ValueError
        If the device map names no device.
    """
    names = devices(device_map)
    where, each = " + ".join(names), [free_bytes(name) for name in names]
    free = None if None in each else sum(filter(None, each))
    if free is not None and free < need.total:
        raise MemoryError(
            f"The model {model!r} needs {need.total / GB:.1f} GB of memory on {where}, but "
            f"{free / GB:.1f} GB are free. Quantize the decoder (quantize='int8' or 'int4'), choose "
            "another device (device_map), or close other programs."
        )
    return (
        f"{model}: weights {need.weights / GB:.2f} GB (encoder {need.encoder / GB:.2f}, projector "
        f"{need.projector / GB:.2f}, decoder {need.decoder / GB:.2f}), with a clip of the whole window "
        f"{need.total / GB:.1f} GB on {where}" + ("" if free is None else f", {free / GB:.1f} GB free")
    )
