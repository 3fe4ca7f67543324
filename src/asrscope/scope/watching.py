"""Listen at the seams of a model while it runs: what enters and leaves encoder, projector and decoder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from asrscope.scope.anatomy import Anatomy, parts_of

__all__ = ["Seen", "watch"]


@dataclass
class Seen:
    """What passed between the parts during one run of ``generate``, in float32 and on the CPU.

    Attributes
    ----------
    features : torch.Tensor [shape=(rows, ...)]
        What the encoder read, one row for each window of the clip and beam of the search.
    positions : torch.Tensor [shape=(rows, positions, encoder_dim)]
        What the encoder gave.
    projected : tuple of int
        Shape of what entered the projector.
    tokens : tuple of int
        Shape of what left it.
    inputs_embeds : torch.Tensor [shape=(prompt_positions, decoder_dim)]
        What the decoder read, audio tokens in their places.
    seconds : dict of str to float
        Time spent in encoder and projector.
    decoder_started : float
        When the projector had done, on the clock of `time.perf_counter`.
    """

    features: Tensor | None = None
    positions: Tensor | None = None
    projected: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    inputs_embeds: Float[Tensor, "prompt_positions decoder_dim"] | None = None
    seconds: dict[str, float] = field(default_factory=lambda: {"encoder": 0.0, "projector": 0.0})
    decoder_started: float = 0.0


@contextmanager
def watch(model: PreTrainedModel, anatomy: Anatomy) -> Iterator[Seen]:
    """Keep what passes between the parts of a model while the block runs; the hooks are gone afterwards.

    Parameters
    ----------
    model : PreTrainedModel
        The model.
    anatomy : Anatomy
        Which module of its encoder runs first.

    Yields
    ------
    Seen
        Filled while the model runs.
    """
    seen = Seen()
    parts = parts_of(model)
    began = 0.0

    def before_encoder(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal began
        features = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        seen.features = _kept(features)
        began = _now(features)

    def after_encoder(_: Any, __: Any, output: Any) -> None:
        nonlocal began
        positions = output[0]  # of a tuple, or of the outputs of transformers
        seen.seconds["encoder"] += _now(positions) - began
        seen.positions = _kept(positions)
        began = _now(positions)

    def before_projector(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal began
        positions = next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        seen.projected = tuple(positions.shape)
        if seen.positions is None:  # the tower's layers were run one by one
            after_encoder(None, None, (positions,))
        began = _now(positions)

    def after_projector(_: Any, __: Any, output: Tensor) -> None:
        seen.decoder_started = _now(output)
        seen.seconds["projector"] += seen.decoder_started - began
        seen.tokens = tuple(output.shape)

    def before_decoder(_: Any, __: Any, kwargs: dict[str, Any]) -> None:
        if (
            seen.inputs_embeds is None and seen.tokens
        ):  # the first run reads the prompt, the others a token each
            seen.inputs_embeds = _kept(kwargs["inputs_embeds"][0])

    tower = parts["encoder"]
    handles = [
        tower.get_submodule(anatomy.entry).register_forward_pre_hook(before_encoder, with_kwargs=True),
        tower.register_forward_hook(after_encoder),
        parts["projector"].register_forward_pre_hook(before_projector, with_kwargs=True),
        parts["projector"].register_forward_hook(after_projector),
        parts["decoder"].register_forward_pre_hook(before_decoder, with_kwargs=True),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _kept(tensor: Tensor) -> Tensor:
    # A copy, because a model may go on to change in place what it gave.
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _now(tensor: Tensor) -> float:
    """Read the clock once the device that holds a tensor has done its work."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()
