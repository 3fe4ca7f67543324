"""Five systems that transformers ships, at their full sizes and without weights, and how they are joined.

Each is built from a configuration that is kept with this package, on torch's ``meta`` device: every shape is
there and no number. Lengths come from the classes themselves, which run without computing anything.
"""

import inspect
import json
import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from asrscope.audio import SAMPLE_RATE
from asrscope.features import HOP_LENGTH
from asrscope.scope.anatomy import parts_of
from asrscope_course.granite import GraniteFeatures
from asrscope_course.sizes import CONFIGS, count_parameters

__all__ = [
    "SYSTEMS",
    "Heard",
    "System",
    "audio_tokens",
    "build",
    "heard",
    "load_system",
    "parameters_of",
]

# As transformers names them.
SYSTEMS = ("voxtral", "glmasr", "audioflamingo3", "qwen2_audio", "granite_speech")
ORIGINS = {
    "published": "published configuration",
    "defaults": "defaults of the class",
    "assembled": "assembled from several sources",
}
WINDOW_SECONDS = 30.0  # what an encoder of Whisper's kind reads at once
WINDOW_SAMPLES = round(WINDOW_SECONDS * SAMPLE_RATE)
WINDOW_SHAPE = (1, 128, WINDOW_SAMPLES // HOP_LENGTH)  # (batch, n_mels, frames)


@dataclass(frozen=True)
class System:
    """A published model, as its configuration describes it.

    Attributes
    ----------
    key : str
        One of `SYSTEMS`.
    name : str
        What people call it.
    repository : str
        Where its weights are, on the Hugging Face Hub.
    origin : str
        ``"published"``, ``"defaults"`` or ``"assembled"``: what the configuration is.
    source : str
        Where it was found, and what was changed.
    connector : str
        In words: how positions become audio tokens.
    config : PreTrainedConfig
        The configuration.
    """

    key: str
    name: str
    repository: str
    origin: str
    source: str
    connector: str
    config: PreTrainedConfig = field(repr=False)

    @property
    def label(self) -> str:
        """``"published configuration"``, ``"defaults of the class"`` or ``"assembled from several ..."``."""
        return ORIGINS[self.origin]


@dataclass(frozen=True)
class Heard:
    """What a system makes of a clip.

    Attributes
    ----------
    seconds : float
        What it hears of the clip; less than the clip where the rest is cut off.
    frames : int
        Log-mel frames of 10 ms that its encoder reads, padding included.
    positions : int
        Outputs of the encoder's last layer, padding included.
    audio_tokens : int
        Vectors that reach the decoder, in one prompt.
    encoder_flops, projector_flops : int
        Floating-point operations in matrix products and convolutions, padding included.
    """

    seconds: float
    frames: int
    positions: int
    audio_tokens: int
    encoder_flops: int
    projector_flops: int


@cache
def load_system(key: str) -> System:
    """Read what is kept of a system.

    Parameters
    ----------
    key : str
        One of `SYSTEMS`.

    Returns
    -------
    System
        With its configuration.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if key not in SYSTEMS:
        raise ValueError(f"Expected one of {', '.join(SYSTEMS)}, but found {key!r}.")
    record = json.loads((CONFIGS / "systems" / f"{key}.json").read_text(encoding="utf-8"))
    sizes = record.pop("config")
    config = AutoConfig.for_model(sizes.pop("model_type"), **sizes)
    return System(key=key, config=config, **record)


@cache
def build(key: str) -> PreTrainedModel:
    """Build a system without weights.

    Parameters
    ----------
    key : str
        One of `SYSTEMS`.

    Returns
    -------
    PreTrainedModel
        Of its class in transformers, on the device ``meta``: every shape, no numbers.
    """
    config: Any = load_system(key).config
    with torch.device("meta"):
        model: PreTrainedModel = getattr(transformers, config.architectures[0])(config)
    model.tie_weights()
    for module in model.modules():  # attention step by step: operations of fused kernels cannot be counted
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"
    return model.eval()


def parameters_of(model: nn.Module) -> dict[str, int]:
    """Count the parameters of the three parts.

    Parameters
    ----------
    model : PreTrainedModel
        Of transformers or of this package; it may be on the device ``meta``.

    Returns
    -------
    dict of str to int
        ``"encoder"``, ``"projector"``, ``"decoder"`` (with its output layer) and ``"all"``.
    """
    parts = parts_of(model)
    counts = {part: count_parameters(parts[part]) for part in ("encoder", "projector")}
    total = count_parameters(model)
    return {**counts, "decoder": total - sum(counts.values()), "all": total}


@cache
def heard(key: str, seconds: float) -> Heard:
    """Follow a clip through a system, up to its decoder, without computing anything.

    Parameters
    ----------
    key : str
        One of `SYSTEMS`.
    seconds : float
        Duration of the clip.

    Returns
    -------
    Heard
        Lengths and operations.

    Raises
    ------
    ValueError
        If there is no such system, or the clip has no length.
    """
    samples = _samples(key, seconds)
    if key == "granite_speech":
        columns = (samples // HOP_LENGTH + 1) // 2  # two frames each; an odd one at the end is left out
        windows, frames = 1, 2 * columns
        run = _run(key, (1, columns, 160))
    else:  # windows are encoded apart from each other, so one tells all
        windows = -(-samples // WINDOW_SAMPLES)
        frames = windows * WINDOW_SHAPE[-1]
        run = _run(key, WINDOW_SHAPE)
    return Heard(
        seconds=samples / SAMPLE_RATE,
        frames=frames,
        positions=windows * run.positions,
        audio_tokens=audio_tokens(key, seconds),
        encoder_flops=windows * run.encoder_flops,
        projector_flops=windows * run.projector_flops,
    )


def audio_tokens(key: str, seconds: float) -> int:
    """Count the vectors that a clip becomes in the decoder's prompt, by the rule of the system's own class.

    Parameters
    ----------
    key : str
        One of `SYSTEMS`.
    seconds : float
        Duration of the clip.

    Returns
    -------
    int
        Audio tokens.

    Raises
    ------
    ValueError
        If there is no such system, or the clip has no length.
    """
    samples = _samples(key, seconds)
    frames = torch.tensor(-(-samples // HOP_LENGTH))
    if key in ("audioflamingo3", "glmasr"):
        return int(_processor_class(key)._get_audio_token_length(None, frames))
    if key == "qwen2_audio":
        encoder: Any = parts_of(build(key))["encoder"]
        return int(encoder._get_feat_extract_output_lengths(frames)[1])
    if key == "granite_speech":
        return int(GraniteFeatures()._get_num_audio_features([samples])[0])
    windows = -(-samples // WINDOW_SAMPLES)
    return windows * _run(key, WINDOW_SHAPE).vectors  # Voxtral reads the padding, too


def _samples(key: str, seconds: float) -> int:
    """How much of a clip reaches the model: the processors of three of the five have a limit."""
    load_system(key)
    if seconds <= 0:
        raise ValueError(f"Expected a clip with a duration, but found {seconds:g} s.")
    longest = float("inf")
    if key == "qwen2_audio":
        longest = WINDOW_SECONDS
    elif key in ("audioflamingo3", "glmasr"):
        limit = inspect.signature(_processor_class(key)).parameters["max_audio_len"].default
        longest = limit // WINDOW_SECONDS * WINDOW_SECONDS  # whole windows
    return round(min(seconds, longest) * SAMPLE_RATE)


def _processor_class(key: str) -> Any:
    names = {"audioflamingo3": "AudioFlamingo3Processor", "glmasr": "GlmAsrProcessor"}
    return getattr(transformers, names[key])


@dataclass(frozen=True)
class _Run:
    """What one run of encoder and projector gives: lengths, and operations of each."""

    positions: int
    vectors: int
    encoder_flops: int
    projector_flops: int


@cache
def _run(key: str, shape: tuple[int, ...]) -> _Run:
    """Run encoder and projector on features of a shape, as the system's class joins them."""
    model = build(key)
    parts = parts_of(model)
    counter = FlopCounterMode(display=False)
    shapes: dict[str, torch.Size] = {}
    counted: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            shapes[name] = (output[0] if isinstance(output, tuple) else output).shape
            counted[name] = counter.get_total_flops()

        return hook

    layers: Any = parts["encoder"].get_submodule("layers")
    handles = [
        layers[-1].register_forward_hook(note("encoder")),
        parts["projector"].register_forward_hook(note("projector")),
    ]
    # The device ``meta`` alone is not enough: one encoder asks whether its mask hides anything.
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True), counter:
        features = torch.empty(shape, device="meta")
        mask = torch.ones(shape[0], shape[-1], dtype=torch.long, device="meta")
        try:
            _audio_features(model, features, mask)
        except DynamicOutputShapeException:
            pass  # which vectors are kept depends on the mask's numbers, and there are none
        finally:
            for handle in handles:
                handle.remove()
    return _Run(
        positions=shapes["encoder"][1],
        vectors=math.prod(shapes["projector"][:-1]),
        encoder_flops=counted["encoder"],
        projector_flops=counted["projector"] - counted["encoder"],
    )


def _audio_features(model: Any, features: Tensor, mask: Tensor) -> None:
    """Run encoder and projector, joined as the class joins them."""
    if not hasattr(model, "get_audio_features"):  # Qwen2Audio joins them in its forward
        hidden = model.model.audio_tower(features).last_hidden_state
        model.model.multi_modal_projector(hidden)
    elif "input_features_mask" in inspect.signature(model.model.get_audio_features).parameters:
        model.get_audio_features(features, input_features_mask=mask)
    else:
        model.get_audio_features(features)
