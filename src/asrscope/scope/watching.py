"""Listen at the seams of a model while it runs, and lay out in time what was heard there."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import BatchFeature, ProcessorMixin

from asrscope.scope.anatomy import Anatomy

__all__ = ["Seen", "hooked", "lay_out", "watch"]

Hook = tuple[nn.Module, Callable[..., Any]]

# Torch numbers its hooks without a lock; and a process that is forked must not inherit this one while held.
_HOOKS = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_HOOKS.acquire, after_in_parent=_HOOKS.release, after_in_child=_HOOKS.release)


@contextmanager
def hooked(before: Iterable[Hook] = (), after: Iterable[Hook] = ()) -> Iterator[None]:
    """Call functions before and after modules run, while the block runs and in its own thread only.

    Other threads may run the same model at the same time: what they do is not heard.

    Parameters
    ----------
    before : iterable of (torch.nn.Module, callable)
        Called with the module, its arguments and its keyword arguments.
    after : iterable of (torch.nn.Module, callable)
        Called with the module, its arguments and its output; what it returns replaces that, unless it is
        None.
    """
    here = threading.get_ident()

    def own(function: Callable[..., Any]) -> Callable[..., Any]:
        # Torch may call a hook that is just being removed by another thread with one argument too few.
        return lambda *args: function(*args) if threading.get_ident() == here else None

    with _HOOKS:
        handles = [module.register_forward_pre_hook(own(hook), with_kwargs=True) for module, hook in before]
        handles += [module.register_forward_hook(own(hook)) for module, hook in after]
    try:
        yield
    finally:
        with _HOOKS:
            for handle in handles:
                handle.remove()


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
def watch(anatomy: Anatomy) -> Iterator[Seen]:
    """Keep what passes between the parts of a model while the block runs; the hooks are gone afterwards.

    Parameters
    ----------
    anatomy : Anatomy
        The parts, and which module of the encoder runs first.

    Yields
    ------
    Seen
        Filled while the model runs, in this thread.
    """
    seen = Seen()
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

    encoder, projector, decoder = (anatomy.parts[part] for part in ("encoder", "projector", "decoder"))
    with hooked(
        before=[
            (encoder.get_submodule(anatomy.entry), before_encoder),
            (projector, before_projector),
            (decoder, before_decoder),
        ],
        after=[(encoder, after_encoder), (projector, after_projector)],
    ):
        yield seen


def lay_out(
    seen: Seen,
    anatomy: Anatomy,
    processor: ProcessorMixin,
    inputs: BatchFeature,
    *,
    num_beams: int,
    seconds: float,
) -> dict[str, Any]:
    """Lay what was seen of a run out in time: arrays without the padding that the decoder never read.

    Parameters
    ----------
    seen : Seen
        What passed between the parts.
    anatomy : Anatomy
        How they are joined.
    processor : ProcessorMixin
        The model's processor.
    inputs : BatchFeature
        What it made of the clip.
    num_beams : int
        Beams of the search: each read the clip for itself.
    seconds : float
        Length of the clip.

    Returns
    -------
    dict of str to object
        Fields of a `Trace`: the arrays from ``log_mel`` to ``audio_embeds``, and their place in time.

    Raises
    ------
    ValueError
        If the parts were not used as in the models that a scope knows.
    """
    is_audio = (inputs["input_ids"][0] == anatomy.audio_token_id).cpu()
    if (
        seen.features is None
        or seen.positions is None
        or seen.inputs_embeds is None
        or len(seen.inputs_embeds) != len(is_audio)
    ):
        raise ValueError(
            f"{anatomy.architecture} does not use its parts as a scope expects: features into the audio "
            "tower, its output through the projector, and audio tokens in the place of the prompt's "
            "placeholders."
        )
    extractor: Any = getattr(processor, "feature_extractor", None) or processor.audio_processor
    sizes = {**vars(extractor), **getattr(extractor, "melspec_kwargs", {})}
    n_mels = int(sizes.get("n_mels", sizes["feature_size"]))
    seconds_per_frame = sizes.get("hop_length", 160) / extractor.sampling_rate
    # Each window stands once for each beam, one after another.
    features, positions = seen.features[::num_beams], seen.positions[::num_beams]
    packed = seen.positions.ndim == 2  # the tower gave the real positions of all windows in a row
    if packed:
        positions = seen.positions[: len(seen.positions) // num_beams][None]
    is_mel = features.ndim == 3 and features.shape[1] == n_mels
    columns = (
        features.transpose(1, 2) if is_mel else features
    )  # (windows, columns, frames_per_column * n_mels)
    frames_per_column = columns.shape[-1] // n_mels
    frames = columns.reshape(len(columns), -1, n_mels)  # (windows, frames, n_mels)
    per_window = frames.shape[1] / positions.shape[1]  # frames to a position

    real_frames = [frames.shape[1]] * len(frames)
    real_positions = [positions.shape[1]] * len(positions)
    for name, mask in inputs.items():
        # Of several names in transformers: which frames of each window belong to the clip.
        if "mask" in name and tuple(mask.shape) == tuple(columns.shape[:2]):
            real_frames = [int(count) * frames_per_column for count in mask.sum(-1)]
            if packed:  # spread evenly over the clip
                per_window = sum(real_frames) / positions.shape[1]
            else:
                real_positions = [_positions(count, per_window, anatomy.pool) for count in real_frames]

    seconds_per_position = round(seconds_per_frame * per_window, 9)
    # Positions side by side in what the projector is given, and those of all windows and beams.
    wide = max(1, seen.projected[-1] // positions.shape[-1])
    enter, tokens = math.prod(seen.projected[:-1]) * wide, math.prod(seen.tokens[:-1])
    per_token = anatomy.positions_per_token or enter / tokens
    stacks = anatomy.stacks if anatomy.stacks is not None else wide > 1
    window = round(frames.shape[1] * len(frames) * seconds_per_frame, 9)
    seen_projection = (
        f"The projector makes {tokens // num_beams} audio tokens of {enter // num_beams} positions"
    )
    return {
        "log_mel": _real(frames, real_frames).T.copy(),
        "encoder_hidden_states": _real(positions, real_positions),
        "audio_embeds": seen.inputs_embeds[is_audio].numpy(),
        "projection": anatomy.projection or seen_projection,
        "stack_factor": round(per_token) if stacks else None,
        "frames_per_column": frames_per_column,
        "seconds_per_frame": seconds_per_frame,
        "seconds_per_position": seconds_per_position,
        "seconds_per_audio_token": round(per_token * seconds_per_position, 9),
        "window_seconds": window if anatomy.pads and window > seconds + seconds_per_frame else None,
    }


def _real(windows: Float[Tensor, "windows steps dim"], lengths: list[int]) -> Float[np.ndarray, "real dim"]:
    """Lay the real part of all windows in a row."""
    return torch.cat([window[:length] for window, length in zip(windows, lengths, strict=True)]).numpy()


def _positions(frames: int, frames_per_position: float, pool: int | None) -> int:
    """Count the positions that so many frames fill."""
    if pool is None:
        return math.ceil(frames / frames_per_position)
    # The convolution of stride 2 rounds up, an average of pairs leaves a single position out.
    return math.ceil(frames * pool / frames_per_position) // pool


def _kept(tensor: Tensor) -> Tensor:
    # A copy, because a model may go on to change in place what it gave.
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _now(tensor: Tensor) -> float:
    """Read the clock once the device that holds a tensor has done its work."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()
