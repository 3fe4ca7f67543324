"""What an audio token depends on: the encoder's outputs that its projector reads."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn
from transformers import PreTrainedModel, ProcessorMixin

from asrscope.audio import Clip, read_clip
from asrscope.scope.anatomy import describe_anatomy, parts_of

__all__ = ["connector_reach"]


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
    inputs = describe_anatomy(model, processor).ask(model, processor, waveform, None)
    seen: dict[str, Tensor] = {}

    def cut(_: nn.Module, __: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        seen["positions"] = hidden.detach().requires_grad_(True)
        return (seen["positions"], *output[1:]) if isinstance(output, tuple) else seen["positions"]

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        seen["tokens"] = output.flatten(0, -2)

    parts = parts_of(model)
    layers: Any = parts["encoder"].get_submodule("layers")
    handles = [layers[-1].register_forward_hook(cut), parts["projector"].register_forward_hook(keep)]
    try:
        with torch.enable_grad():
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    tokens, positions = seen["tokens"], seen["positions"]
    if len(tokens) < audio_tokens:
        raise ValueError(f"Expected a clip of at least {audio_tokens} audio tokens, but found {len(tokens)}.")
    direction = torch.randn(tokens.shape[1], generator=torch.Generator().manual_seed(0))
    gradients = [
        torch.autograd.grad(token @ direction, positions, retain_graph=True)[0][0].norm(dim=1)
        for token in tokens[:audio_tokens]
    ]
    return torch.stack(gradients).numpy()
