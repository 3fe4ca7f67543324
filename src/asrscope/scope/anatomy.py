"""Where the parts of a speech-language model are, how they are joined, and how it is asked.

A clip and an instruction always go through the model's own processor.
"""

import base64
import inspect
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from asrscope.audio import SAMPLE_RATE, wav_bytes

__all__ = ["Anatomy", "describe_anatomy", "parts_of", "unwrap"]

PARTS = {  # what transformers calls them
    "encoder": ("audio_tower", "encoder"),
    "projector": ("multi_modal_projector", "projector"),
    "decoder": ("language_model",),
}
INSTRUCTION = "Transcribe the speech into text."  # for models whose processor has no words of its own
GRANITE_INSTRUCTION = "can you transcribe the speech into a written format?"  # as its model card asks
PAIRS = "The encoder averages pairs of its positions before its output; each {}, nothing is stacked"

Waveform = Float32[np.ndarray, " samples"]
Ask = Callable[[PreTrainedModel, ProcessorMixin, Waveform, str | None], BatchFeature]


@dataclass(frozen=True)
class Anatomy:
    """How a model is asked, and how sound becomes audio tokens in it.

    Attributes
    ----------
    architecture : str
        Class of the model.
    parts : mapping of str to torch.nn.Module
        ``"encoder"``, ``"projector"`` and ``"decoder"``.
    audio_token_id : int
        The placeholder in the prompt.
    ask : callable
        Makes the model's input of model, processor, waveform and instruction.
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
    parts: Mapping[str, nn.Module] = field(repr=False)
    audio_token_id: int
    ask: Ask
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
    """Take a model out of the wrapping of `torch.compile` and of PEFT; adapters stay in its layers."""
    inner = uncompiled(model)
    inner = uncompiled(inner.get_base_model()) if hasattr(inner, "get_base_model") else inner
    if not isinstance(inner, PreTrainedModel):
        raise TypeError(f"Expected a model of transformers, but found {type(model).__name__}.")
    return inner


def uncompiled(model: Any) -> Any:
    """Take a model out of what `torch.compile` returns, whose ``generate`` is that of the model inside."""
    return getattr(model, "_orig_mod", model)  # torch has no other name for it


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
        found.update((part, module) for module in reversed(known) if isinstance(module, nn.Module))
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
    parts = parts_of(model)
    architecture = type(model).__name__
    audio_token_id = getattr(model.config, "audio_token_id", None)
    if audio_token_id is None:
        raise ValueError(
            f"The config of a speech-language model must name the placeholder of its audio tokens, but "
            f"{architecture} has no config.audio_token_id."
        )
    kind = {"ask": _ask_template, **_kind(model.config)}
    anatomy = Anatomy(architecture, parts, int(audio_token_id), **kind)
    names = {base.__name__ for base in type(processor).__mro__}
    if anatomy.processor is not None and anatomy.processor not in names:
        raise ValueError(
            f"{anatomy.architecture} must be given a {anatomy.processor}, but found a "
            f"{type(processor).__name__}. Make sure to load the processor that was saved with the model."
        )
    return anatomy


def _kind(config: Any) -> dict[str, Any]:
    """Say what is known of a kind of model, as fields of `Anatomy`."""
    match config.model_type:
        case "asrscope":
            k, mlp = config.stack_factor, config.projector_mlp
            norm = " with RMSNorm before and after" if config.projector_norm == "rms" else ""
            bound = (
                "; audio tokens are means of the decoder's own embeddings, weighted by how it points to each"
                if config.projector_output == "bound"
                else ""
            )
            return {
                "ask": _ask_asrscope,
                "entry": "conv1",  # the encoder's own forward is not used, see asrscope.encoder
                "positions_per_token": k,
                "stacks": True,
                "projection": f"{k} neighboring positions are stacked and pass an MLP ({mlp}){norm}{bound}",
                "pads": config.pad_audio,
                "processor": "AsrScopeProcessor",
                "trained_seconds": float(config.trained_seconds),
            }
        case "voxtral":
            return {"ask": _ask_voxtral, "projection": _stacked(config), "processor": "VoxtralProcessor"}
        case "glmasr":
            return {"projection": _stacked(config), "processor": "GlmAsrProcessor"}
        case "audioflamingo3":
            how = f"then passes by itself two linear layers with {config.projector_hidden_act} between them"
            return {"pool": 2, "projection": PAIRS.format(how), "processor": "AudioFlamingo3Processor"}
        case "qwen2_audio":
            return {
                "pool": 2,
                "projection": PAIRS.format("then passes by itself one linear layer"),
                "longest_seconds": 30.0,  # its processor cuts longer clips without a word
                "processor": "Qwen2AudioProcessor",
            }
        case "granite_speech" | "granite_speech_plus":
            window, rate = config.window_size, config.downsample_rate
            return {
                "ask": _ask_granite,
                "positions_per_token": rate,
                "stacks": False,
                "projection": (
                    f"{window // rate} queries of a Q-Former read each window of {window} positions, and a "
                    "linear layer makes an audio token of each answer; nothing is stacked. Each answer may "
                    f"draw on its whole window: the {rate} positions that it stands over are its share, not "
                    "all that it saw"
                ),
                "mel_scale": "htk",
                "pads": False,
                "processor": "GraniteSpeechProcessor",
            }
        case _:
            return {"pool": None, "mel_scale": "unknown"}


def _stacked(config: Any) -> str:
    factor = config.audio_config.intermediate_size // config.audio_config.hidden_size
    return (
        f"{factor} neighboring positions are stacked, by a reshape, and pass two linear layers with "
        f"{config.projector_hidden_act} between them"
    )


def _ask_asrscope(_: Any, processor: Any, waveform: Waveform, instruction: str | None) -> BatchFeature:
    if instruction is not None:
        processor = copy(processor)
        processor.instruction = instruction
    return processor(audio=waveform)


def _ask_template(model: Any, processor: Any, waveform: Waveform, instruction: str | None) -> BatchFeature:
    """Ask with the processor's transcription request, or else with its chat template."""
    _need_template(model, processor)
    request: Callable[..., BatchFeature] | None = getattr(processor, "apply_transcription_request", None)
    if request is not None:
        takes_words = "prompt" in inspect.signature(request).parameters
        if instruction is None or takes_words:
            words = {} if instruction is None else {"prompt": instruction}
            return request(waveform, processor_kwargs={"return_tensors": "pt"}, **words)
    content = [{"type": "audio", "audio": waveform}, {"type": "text", "text": instruction or INSTRUCTION}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        processor_kwargs={"return_tensors": "pt", "audio_kwargs": {"sampling_rate": SAMPLE_RATE}},
    )


def _ask_granite(model: Any, processor: Any, waveform: Waveform, instruction: str | None) -> BatchFeature:
    """Ask Granite Speech, whose template takes the placeholder within the text."""
    _need_template(model, processor)
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": f"{processor.audio_token}{instruction or GRANITE_INSTRUCTION}"}],
        chat_template=processor.chat_template or processor.tokenizer.chat_template,
        tokenize=False,
        add_generation_prompt=True,
    )
    return processor(text=text, audio=torch.from_numpy(waveform), return_tensors="pt")


def _ask_voxtral(model: Any, processor: Any, waveform: Waveform, instruction: str | None) -> BatchFeature:
    """Ask Voxtral: with a transcription request, or a question if there is an instruction.

    The tokenizer of the published checkpoints, of the package mistral-common, writes the prompt itself.
    Beside a tokenizer of another kind, which must have the same special tokens, it is written here in the
    same order.
    """
    tokenizer = processor.tokenizer
    if hasattr(tokenizer, "tokenizer"):  # mistral-common's, in its wrapping of transformers
        if instruction is None:
            return processor.apply_transcription_request(
                waveform, model_id=model.name_or_path, sampling_rate=SAMPLE_RATE, format="WAV"
            )
        sound = base64.b64encode(wav_bytes(waveform)).decode("ascii")
        content = [{"type": "audio", "base64": sound}, {"type": "text", "text": instruction}]
        return processor.apply_chat_template([{"role": "user", "content": content}])
    sizes, extractor = model.config.audio_config, processor.feature_extractor
    whole = extractor(
        waveform,
        sampling_rate=SAMPLE_RATE,
        padding=True,
        truncation=False,
        pad_to_multiple_of=extractor.n_samples,
        return_tensors="pt",
    )["input_features"][0]  # (n_mels, frames)
    windows = torch.stack(whole.split(extractor.nb_max_frames, dim=1))  # (windows, n_mels, frames)
    per_window = sizes.max_source_positions * sizes.hidden_size // sizes.intermediate_size
    ids = tokenizer.convert_tokens_to_ids(
        ["<s>", "[INST]", "[BEGIN_AUDIO]", *["[AUDIO]"] * (len(windows) * per_window)]
    )
    ids += tokenizer.encode(instruction or "", add_special_tokens=False)
    ids += tokenizer.convert_tokens_to_ids(["[/INST]"] + ["[TRANSCRIBE]"] * (instruction is None))
    input_ids = torch.tensor([ids])
    return BatchFeature(
        {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "input_features": windows}
    )


def _need_template(model: Any, processor: Any) -> None:
    template = getattr(processor, "chat_template", None) or getattr(
        processor.tokenizer, "chat_template", None
    )
    if not template:
        raise ValueError(
            f"The prompt of {type(model).__name__} is made with a chat template, but neither "
            f"{type(processor).__name__} nor its tokenizer has one. Make sure to load the processor that was "
            "saved with the model, or to set processor.chat_template."
        )
