"""How much memory a model takes, and how much this machine has: said before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from asrscope.audio.memory import free_memory
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
    "estimate",
    "free_bytes",
    "head_dim",
    "linear_weights",
    "places",
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


def places(device_map: Any, need: Need) -> dict[str, int]:
    """Share out what a model needs among the devices that a device map names.

    Parameters
    ----------
    device_map : str, int, torch.device, dict or None
        As in transformers: a device for all, ``"auto"``, or a device for each of the modules ``audio_tower``,
        ``multi_modal_projector`` and ``language_model``.
    need : Need
        What the model takes.

    Returns
    -------
    dict of str to int
        Bytes for each device; the name of several that share is joined by ``" + "``.
    """
    if not isinstance(device_map, Mapping):
        return {_device(device_map): need.total}
    parts = dict(zip(PARTS.values(), (need.encoder, need.projector, need.decoder + need.clip), strict=True))
    shared: dict[str, int] = {}
    for part, size in parts.items():
        inside = [_device(device) for name, device in device_map.items() if name.startswith(part)]
        device = " + ".join(dict.fromkeys(inside)) or _device(device_map.get(""))
        shared[device] = shared.get(device, 0) + size
    return shared


def free_bytes(device: str) -> int | None:
    """Say how much memory is free.

    Parameters
    ----------
    device : str
        ``"cpu"``, ``"cuda:0"``, ``"mps"``, or several joined by ``" + "``.

    Returns
    -------
    int or None
        Bytes; None where the device does not tell. For the processor's memory a limit of the control group
        counts, as schedulers and containers set it.
    """
    if " + " in device:
        each = [free_bytes(one) for one in device.split(" + ")]
        return None if None in each else sum(filter(None, each))
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
    device_map : str, int, torch.device, dict or None
        Where the model is to go.
    model : str
        What to call it.

    Returns
    -------
    str
        One line for the user.

    Raises
    ------
    MemoryError
        If a device has too little memory free.
    """
    told = []
    for device, size in places(device_map, need).items():
        free = free_bytes(device)
        if free is not None and free < size:
            raise MemoryError(
                f"The model {model!r} needs {size / GB:.1f} GB of memory on {device}, but {free / GB:.1f} GB "
                "are free. Quantize the decoder (quantize='int8' or 'int4'), choose other devices "
                "(device_map), or close other programs."
            )
        told.append(
            f"{size / GB:.1f} GB on {device}" + ("" if free is None else f", {free / GB:.1f} GB free")
        )
    return (
        f"{model}: weights {need.weights / GB:.2f} GB (encoder {need.encoder / GB:.2f}, projector "
        f"{need.projector / GB:.2f}, decoder {need.decoder / GB:.2f}), with a clip of the whole window "
        + "; ".join(told)
    )


def _device(device: Any) -> str:
    """Name a device as torch does; ``"auto"`` and its like use all GPUs and the processor's memory."""
    if device in ("auto", "balanced", "balanced_low_0", "sequential"):
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        return " + ".join([*gpus, "cpu"])
    if device is None:
        return "cpu"
    named = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    return "cuda:0" if str(named) == "cuda" else str(named)
