"""Fewer bits for the decoder's weights, by the libraries that have the kernels for it."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from transformers import BitsAndBytesConfig, TorchAoConfig

__all__ = ["QUANTIZED", "Quantization", "quantization"]

QUANTIZED = {  # name: library, bits
    "int8": ("bitsandbytes", 8),
    "int4": ("bitsandbytes", 4),
    "torchao-int8": ("torchao", 8),
    "torchao-int4": ("torchao", 4),
}
GROUP = 128  # weights of a row that share a scale, in torchao's int4


@dataclass(frozen=True)
class Quantization:
    """How a decoder is quantized while it is loaded.

    Attributes
    ----------
    config : object
        For ``from_pretrained``.
    bits : int or None
        Of a weight; None where the configuration is the user's own.
    label : str
        What to say of the weights.
    """

    config: Any
    bits: int | None
    label: str


def quantization(wanted: Any, dtype: torch.dtype, *, gpu: bool) -> Quantization | None:
    """Make the configuration that quantizes the decoder's linear layers; embeddings stay as they are.

    Parameters
    ----------
    wanted : str, quantization config of transformers, or None
        ``"int8"`` or ``"int4"``, by bitsandbytes on CPUs and GPUs; ``"torchao-int8"``, by torchao on both;
        ``"torchao-int4"``, by torchao on GPUs; or a configuration of your own; None for no quantization.
    dtype : torch.dtype
        What is computed in.
    gpu : bool
        Whether the decoder goes to a GPU.

    Returns
    -------
    Quantization or None
        What ``from_pretrained`` takes.

    Raises
    ------
    OSError
        If the library is not installed.
    ValueError
        If there is no such quantization, or not on this device.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        return Quantization(wanted, None, type(wanted).__name__)
    if wanted not in QUANTIZED:
        raise ValueError(f"Expected quantize to be one of {', '.join(QUANTIZED)}, but found {wanted!r}.")
    library, bits = QUANTIZED[wanted]
    if find_spec(library) is None:
        raise OSError(f"quantize={wanted!r} needs {library}: pip install {library}")
    label = f"int{bits} by {library}"
    if library == "bitsandbytes":
        if bits == 8:
            return Quantization(BitsAndBytesConfig(load_in_8bit=True), bits, label)
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
        return Quantization(config, bits, label)
    if bits == 4 and not gpu:
        raise ValueError("torchao computes with int4 on GPUs only: take quantize='int4' on a CPU.")
    from torchao.quantization import (  # noqa: PLC0415 - an option that few have installed
        Int4WeightOnlyConfig,
        Int8WeightOnlyConfig,
    )

    kind = Int8WeightOnlyConfig() if bits == 8 else Int4WeightOnlyConfig(group_size=GROUP)
    return Quantization(TorchAoConfig(kind), bits, label)
