"""Lay what was seen of a run out in time: the real part of each array, and the seconds behind its steps."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from asrscope.scope.anatomy import Anatomy
from asrscope.scope.watching import Seen

__all__ = ["Layout", "lay_out"]


@dataclass(frozen=True)
class Layout:
    """Arrays of one clip without the padding that its decoder never read, and their place in time.

    Attributes
    ----------
    log_mel : np.ndarray [shape=(n_mels, frames)]
        What the encoder read.
    encoder_hidden_states : np.ndarray [shape=(positions, encoder_dim)]
        What it gave.
    audio_embeds : torch.Tensor [shape=(audio_tokens, decoder_dim)]
        What the decoder read in the place of the placeholders.
    projection : str
        How the projector makes audio tokens of positions.
    stack_factor : int or None
        Positions stacked to one audio token; None if the projector does not stack.
    frames_per_column : int
        Frames that the encoder reads as one column.
    seconds_per_frame, seconds_per_position, seconds_per_audio_token : float
        Seconds behind one step.
    window_seconds : float or None
        Length that the clip was padded to; None if it was not.
    """

    log_mel: Float32[np.ndarray, "n_mels frames"]
    encoder_hidden_states: Float32[np.ndarray, "positions encoder_dim"]
    audio_embeds: Float[Tensor, "audio_tokens decoder_dim"]
    projection: str
    stack_factor: int | None
    frames_per_column: int
    seconds_per_frame: float
    seconds_per_position: float
    seconds_per_audio_token: float
    window_seconds: float | None


def lay_out(
    seen: Seen,
    anatomy: Anatomy,
    processor: ProcessorMixin,
    inputs: BatchFeature,
    *,
    num_beams: int,
    seconds: float,
) -> Layout:
    """Lay what was seen of a run out in time.

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
    Layout
        The arrays and their steps.

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
    if features.shape[1] == n_mels and features.ndim == 3:
        frames_per_column = 1
        columns = features.transpose(1, 2)  # (windows, columns, n_mels)
    else:
        columns = features
        frames_per_column = features.shape[-1] // n_mels
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
    audio_embeds = seen.inputs_embeds[is_audio]

    seconds_per_position = round(seconds_per_frame * per_window, 9)
    wide = max(
        1, seen.projected[-1] // positions.shape[-1]
    )  # positions side by side in what the projector is given
    enter = math.prod(seen.projected[:-1]) * wide  # positions of all windows and beams
    tokens = math.prod(seen.tokens[:-1])
    per_token = anatomy.positions_per_token or enter / tokens
    stacks = anatomy.stacks if anatomy.stacks is not None else wide > 1
    window = round(frames.shape[1] * len(frames) * seconds_per_frame, 9)
    return Layout(
        log_mel=np.concatenate([w[:n].numpy() for w, n in zip(frames, real_frames, strict=True)]).T.copy(),
        encoder_hidden_states=np.concatenate(
            [w[:n].numpy() for w, n in zip(positions, real_positions, strict=True)]
        ),
        audio_embeds=audio_embeds,
        projection=anatomy.projection
        or f"The projector makes {tokens // num_beams} audio tokens of {enter // num_beams} positions",
        stack_factor=round(per_token) if stacks else None,
        frames_per_column=frames_per_column,
        seconds_per_frame=seconds_per_frame,
        seconds_per_position=seconds_per_position,
        seconds_per_audio_token=round(per_token * seconds_per_position, 9),
        window_seconds=window if anatomy.pads and window > seconds + seconds_per_frame else None,
    )


def _positions(frames: int, frames_per_position: float, pool: int | None) -> int:
    """Count the positions that so many frames fill."""
    if pool is None:
        return math.ceil(frames / frames_per_position)
    # The convolution of stride 2 rounds up, an average of pairs leaves a single position out.
    return math.ceil(frames * pool / frames_per_position) // pool
