"""Where the parts of a speech-language model are, and how they are joined: one description a kind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from asrscope.prompts import ask_asrscope, ask_granite, ask_voxtral, ask_with_template

__all__ = ["Anatomy", "describe_anatomy", "unwrap"]

TOWERS, PROJECTORS = ("audio_tower", "encoder"), ("multi_modal_projector", "projector")
DECODER = "language_model"


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of a model are, and how sound becomes audio tokens in it.

    Attributes
    ----------
    architecture : str
        Class of the model.
    tower, projector, decoder : str
        Paths of the parts within the model.
    ask : callable
        Makes the model's input of model, processor, waveform and instruction.
    audio_token_id : int
        The placeholder in the prompt.
    entry : str
        Path of the module within the tower that runs first; empty for the tower itself.
    pool : int or None
        Positions that the tower averages to one before its output; 1 if it does not, None if that is not
        known.
    positions_per_token : int or None
        Encoder positions that one audio token stands for; None to see it from what goes through the
        projector.
    stacks : bool or None
        Whether the projector stacks those positions itself; None to see it.
    projection : str or None
        How the projector makes audio tokens of positions, in words; None to say what is seen.
    mel_scale : str
        ``"slaney"``, ``"htk"`` or ``"unknown"``.
    pads : bool
        Whether its processor pads each clip to the whole window.
    longest_seconds : float or None
        Longest clip that its processor keeps whole; None if there is no limit.
    processor : str or None
        Class of its processor; None if any will do.
    trained_seconds : float or None
        Longest clip of its training, where the config says it.
    """

    architecture: str
    tower: str
    projector: str
    decoder: str
    ask: Callable[[PreTrainedModel, ProcessorMixin, Any, str | None], BatchFeature]
    audio_token_id: int
    entry: str = ""
    pool: int | None = 1
    positions_per_token: int | None = None
    stacks: bool | None = None
    projection: str | None = None
    mel_scale: str = "slaney"
    pads: bool = True
    longest_seconds: float | None = None
    processor: str | None = None
    trained_seconds: float | None = None

    def parts(self, model: PreTrainedModel) -> dict[str, nn.Module]:
        """Find the modules of encoder, projector and decoder in a model of this kind."""
        return {
            "encoder": model.get_submodule(self.tower),
            "projector": model.get_submodule(self.projector),
            "decoder": model.get_submodule(self.decoder),
        }


def unwrap(model: Any) -> PreTrainedModel:
    """Take a model out of the wrapping of PEFT, if it is in one; its adapters stay in its layers."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not isinstance(inner, PreTrainedModel):
        raise TypeError(f"Expected a model of transformers, but found {type(model).__name__}.")
    return inner


def describe_anatomy(model: PreTrainedModel, processor: ProcessorMixin) -> Anatomy:
    """Describe a model: by what is known of its kind, or else by the names of its parts.

    Parameters
    ----------
    model : PreTrainedModel
        A model with an audio tower, a projector and a language model.
    processor : ProcessorMixin
        Its processor.

    Returns
    -------
    Anatomy
        Where the parts are and how they are joined.

    Raises
    ------
    ValueError
        If a part is missing, or the processor is of another kind.
    """
    found = {
        "audio tower": (TOWERS, _path(model, TOWERS)),
        "projector": (PROJECTORS, _path(model, PROJECTORS)),
        "language model": ((DECODER,), _path(model, (DECODER,))),
    }
    audio_token_id = getattr(model.config, "audio_token_id", None)
    missing = [f"{part} ({' or '.join(names)})" for part, (names, path) in found.items() if path is None]
    missing += ["audio placeholder (config.audio_token_id)"] if audio_token_id is None else []
    if missing or audio_token_id is None:
        raise ValueError(
            f"A scope needs a model with an audio tower, a projector, a language model and an audio "
            f"placeholder, but {type(model).__name__} has no {', no '.join(missing)}."
        )
    tower, projector, decoder = (str(path) for _, path in found.values())
    common: dict[str, Any] = {
        "architecture": type(model).__name__,
        "tower": tower,
        "projector": projector,
        "decoder": decoder,
        "audio_token_id": int(audio_token_id),
    }
    anatomy = Anatomy(**common, **_KINDS.get(model.config.model_type, _unknown)(model.config))
    names = {base.__name__ for base in type(processor).__mro__}
    if anatomy.processor is not None and anatomy.processor not in names:
        raise ValueError(
            f"{anatomy.architecture} must be given a {anatomy.processor}, but found a "
            f"{type(processor).__name__}. Make sure to load the processor that was saved with the model."
        )
    return anatomy


def _path(model: nn.Module, names: tuple[str, ...]) -> str | None:
    """Find the first of some names in the model, or one level down."""
    for prefix in ("", "model."):
        for name in names:
            owner = getattr(model, "model", None) if prefix else model
            if isinstance(getattr(owner, name, None), nn.Module):
                return prefix + name
    return None


def _asrscope(config: Any) -> dict[str, Any]:
    k = config.stack_factor
    norm = " with RMSNorm before and after" if config.projector_norm == "rms" else ""
    return {
        "ask": ask_asrscope,
        "entry": "conv1",  # the encoder's own forward is not used, see asrscope.encoder
        "positions_per_token": k,
        "stacks": True,
        "projection": f"{k} neighboring positions are stacked and pass an MLP ({config.projector_mlp}){norm}",
        "pads": config.pad_audio,
        "processor": "AsrScopeProcessor",
        "trained_seconds": float(config.trained_seconds),
    }


def _voxtral(config: Any) -> dict[str, Any]:
    return {"ask": ask_voxtral, "projection": _stacked(config), "processor": "VoxtralProcessor"}


def _glmasr(config: Any) -> dict[str, Any]:
    return {
        "ask": ask_with_template,
        "projection": _stacked(config),
        "processor": "GlmAsrProcessor",
    }


def _audioflamingo3(config: Any) -> dict[str, Any]:
    return {
        "ask": ask_with_template,
        "pool": 2,
        "projection": (
            "The encoder averages pairs of its positions before its output; each then passes by itself two "
            f"linear layers with {config.projector_hidden_act} between them, nothing is stacked"
        ),
        "processor": "AudioFlamingo3Processor",
    }


def _musicflamingo(config: Any) -> dict[str, Any]:
    return {
        **_audioflamingo3(config),
        "projection": (
            "The encoder averages pairs of its positions before its output; each is turned by its time, then "
            f"passes by itself two linear layers with {config.projector_hidden_act} between them, nothing is "
            "stacked"
        ),
        "processor": "MusicFlamingoProcessor",
    }


def _qwen2_audio(config: Any) -> dict[str, Any]:  # noqa: ARG001 - all kinds have the same argument
    return {
        "ask": ask_with_template,
        "pool": 2,
        "projection": (
            "The encoder averages pairs of its positions before its output; each then passes by itself one "
            "linear layer, nothing is stacked"
        ),
        "longest_seconds": 30.0,  # its processor cuts longer clips without a word
        "processor": "Qwen2AudioProcessor",
    }


def _granite_speech(config: Any) -> dict[str, Any]:
    window, rate = config.window_size, config.downsample_rate
    return {
        "ask": ask_granite,
        "positions_per_token": rate,
        "stacks": False,
        "projection": (
            f"{window // rate} queries of a Q-Former read each window of {window} positions, and a linear "
            f"layer makes an audio token of each answer; nothing is stacked. Each answer may draw on its "
            f"whole window: the {rate} positions that it stands over are its share, not all that it saw"
        ),
        "mel_scale": "htk",
        "pads": False,
        "processor": "GraniteSpeechProcessor",
    }


def _unknown(config: Any) -> dict[str, Any]:  # noqa: ARG001 - all kinds have the same argument
    return {"ask": ask_with_template, "pool": None, "mel_scale": "unknown"}


def _stacked(config: Any) -> str:
    factor = config.audio_config.intermediate_size // config.audio_config.hidden_size
    return (
        f"{factor} neighboring positions are stacked, by a reshape, and pass two linear layers with "
        f"{config.projector_hidden_act} between them"
    )


_KINDS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "asrscope": _asrscope,
    "voxtral": _voxtral,
    "glmasr": _glmasr,
    "audioflamingo3": _audioflamingo3,
    "qwen2_audio": _qwen2_audio,
    "granite_speech": _granite_speech,
    "granite_speech_plus": _granite_speech,
    "musicflamingo": _musicflamingo,
}
