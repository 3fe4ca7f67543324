"""How a stage is computed: number formats, memory, compilation. None of it changes what is learned."""

import copy
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel, SmolLM3Model
from transformers.models.whisper.modeling_whisper import WhisperEncoder

__all__ = ["Options", "changed", "compile_layers", "recompute_layers", "working_copy"]

PRECISIONS = ("bf16", "fp32", "fp16")
Recipe = TypeVar("Recipe")
EXPECTED = {bool: "true or false"}
COMPILERS = ("g++", "clang++", "c++", "cl")


@dataclass(frozen=True)
class Options:
    """Choices of every stage that trade time, memory and rounding against each other.

    Parameters
    ----------
    precision : {"bf16", "fp32", "fp16"}
        Numbers of the forward and backward passes; the optimizer always keeps 32 bits. ``fp16`` scales the
        loss and needs a GPU.
    accumulate : int
        Turns in which each process works through its share of a batch: more turns, less memory, the same
        gradient.
    checkpoint_layers : bool
        Keep only the input of every layer for the backward pass, and compute the rest again.
    compile : bool
        Compile encoder layers and decoder with ``torch.compile``: a minute or two at the start, fewer
        milliseconds a step.

    Raises
    ------
    ValueError
        If a value is none of these.
    """

    precision: str = "bf16"
    accumulate: int = 1
    checkpoint_layers: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.precision not in PRECISIONS:
            raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, but found {self.precision!r}")
        if self.accumulate < 1:
            raise ValueError(f"expected to accumulate over 1 turn or more, but found {self.accumulate}")

    def check(self, device: torch.device) -> None:
        """Refuse what a device cannot do.

        Raises
        ------
        ValueError
            If the precision needs another device, or there is no compiler.
        """
        if self.precision == "fp16" and device.type != "cuda":
            raise ValueError(
                f"precision fp16 needs a CUDA GPU, but this process runs on {device.type}: "
                "use bf16 or fp32 here"
            )
        if self.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise ValueError("this GPU has no bfloat16: use precision fp16 or fp32")
        if self.compile and _compiler() is None:
            raise ValueError(
                f"torch.compile needs a C++ compiler, but found none of {', '.join(COMPILERS)}: "
                "install one, name it in the variable CXX, or leave compiling out"
            )


def _compiler() -> str | None:
    named = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [named] if named else COMPILERS)), None)


def working_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Copy a model with all its parameters in one number format; buffers keep theirs.

    Rounding the buffers would turn the decoder's rotary angles by up to a tenth of a radian. Parameters that
    are frozen and have that format already are shared, so that a large frozen part is in memory once.

    Parameters
    ----------
    model : torch.nn.Module
        What to copy.
    dtype : torch.dtype
        Number format of the parameters.

    Returns
    -------
    torch.nn.Module
        The copy.
    """
    shared: dict[int, object] = {
        id(parameter): parameter
        for parameter in model.parameters()
        if not parameter.requires_grad and parameter.dtype == dtype
    }
    copied = copy.deepcopy(model, shared)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(dtype)
    return copied


def recompute_layers(model: nn.Module) -> None:
    """Let every layer of the transformers in a model forget what it can compute again."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            module.activation_checkpointing_enable({"use_reentrant": False})


def compile_layers(model: nn.Module) -> None:
    """Compile in place what takes the time: the layers of an encoder, the inner model of a decoder."""
    for module in model.modules():
        if isinstance(module, SmolLM3Model):
            module.compile(dynamic=True)
        elif isinstance(module, WhisperEncoder):
            for layer in module.layers:
                layer.compile(dynamic=True)


def changed(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Replace settings of a recipe.

    Parameters
    ----------
    recipe : dataclass instance
        What to change.
    settings : iterable of str
        Each ``NAME=VALUE``.

    Returns
    -------
    dataclass instance
        The changed recipe.

    Raises
    ------
    ValueError
        If there is no such setting, or the value is of another type.
    """
    known = {
        field.name: type(getattr(recipe, field.name))
        for field in fields(recipe)  # type: ignore[arg-type]  # typeshed alone names dataclasses
        if not is_dataclass(getattr(recipe, field.name))
    }
    changes: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in known:
            raise ValueError(f"--set {setting}: expected one of {', '.join(known)}, but found {name!r}")
        try:
            changes[name] = _truth(value) if known[name] is bool else known[name](value)
        except ValueError as error:
            expected = EXPECTED.get(known[name], known[name].__name__)
            raise ValueError(f"--set {setting}: expected {expected}, but found {value!r}") from error
    return type(recipe)(**{**vars(recipe), **changes})


def _truth(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError
    return value == "true"
