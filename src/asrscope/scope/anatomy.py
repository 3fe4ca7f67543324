"""Where the parts of a speech-language model are, and how they are joined."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from asrscope.scope.prompts import ask_asrscope, ask_granite, ask_voxtral, ask_with_template

__all__ = ["Anatomy", "describe_anatomy", "parts_of", "unwrap"]

PARTS = {  # what transformers calls them
    "encoder": ("audio_tower", "encoder"),
    "projector": ("multi_modal_projector", "projector"),
    "decoder": ("language_model",),
}


@dataclass(frozen=True)
class Anatomy:
    """How a model is asked, and how sound becomes audio tokens in it.

    Attributes
    ----------
    architecture : str
        Class of the model.
    ask : callable
        Makes the model's input of model, processor, waveform and instruction.
    audio_token_id : int
        The placeholder in the prompt.
    entry : str
        Path of the module within the encoder that runs first; empty for the encoder itself.
    pool : int or None
        Positions that the encoder averages to one before its output; 1 if it does not, None if that is not
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


def unwrap(model: Any) -> PreTrainedModel:
    """Take a model out of the wrapping of PEFT, if it is in one; its adapters stay in its layers."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not isinstance(inner, PreTrainedModel):
        raise TypeError(f"Expected a model of transformers, but found {type(model).__name__}.")
    return inner


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """Find the three parts of a speech-language model by their names, in the model or one level down.

    Parameters
    ----------
    model : torch.nn.Module
        A model of transformers or of this package; it may be on the device ``meta``.

    Returns
    -------
    dict of str to torch.nn.Module
        ``"encoder"``, ``"projector"`` and ``"decoder"``; the layer that scores the vocabulary may lie outside
        of them.

    Raises
    ------
    ValueError
        If one of them is missing; the message names those that are.
    """
    owners = [owner for owner in (model, getattr(model, "model", None)) if owner is not None]
    found: dict[str, nn.Module] = {}
    for part, names in PARTS.items():
        known = [getattr(owner, name, None) for owner in owners for name in names]
        modules = [each for each in known if isinstance(each, nn.Module)]
        if modules:
            found[part] = modules[0]
    missing = [f"{part} ({' or '.join(names)})" for part, names in PARTS.items() if part not in found]
    if missing:
        raise ValueError(
            f"A speech-language model must have an encoder, a projector and a decoder, but "
            f"{type(model).__name__} has no {', no '.join(missing)}."
        )
    return found


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
    parts_of(model)  # they are there
    architecture = type(model).__name__
    audio_token_id = getattr(model.config, "audio_token_id", None)
    if audio_token_id is None:
        raise ValueError(
            f"The config of a speech-language model must name the placeholder of its audio tokens, but "
            f"{architecture} has no config.audio_token_id."
        )
    kind = _KINDS.get(model.config.model_type, _unknown)(model.config)
    anatomy = Anatomy(architecture=architecture, audio_token_id=int(audio_token_id), **kind)
    names = {base.__name__ for base in type(processor).__mro__}
    if anatomy.processor is not None and anatomy.processor not in names:
        raise ValueError(
            f"{anatomy.architecture} must be given a {anatomy.processor}, but found a "
            f"{type(processor).__name__}. Make sure to load the processor that was saved with the model."
        )
    return anatomy


def _asrscope(config: Any) -> dict[str, Any]:
    k = config.stack_factor
    norm = " with RMSNorm before and after" if config.projector_norm == "rms" else ""
    context = config.projector_context
    beside = f" and {context} on either side" if context else ""
    bound = (
        "; audio tokens are means of the decoder's own embeddings, weighted by how much it points to each"
        if config.projector_output == "bound"
        else ""
    )
    return {
        "ask": ask_asrscope,
        "entry": "conv1",  # the encoder's own forward is not used, see asrscope.encoder
        "positions_per_token": k,
        "stacks": True,
        "projection": (
            f"{k} neighboring positions{beside} are stacked and pass an MLP ({config.projector_mlp})"
            f"{norm}{bound}"
        ),
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
