"""A clip and an instruction as each kind of model wants them: always through the model's own processor."""

import base64
import inspect
from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from asrscope.audio import SAMPLE_RATE, wav_bytes

__all__ = ["INSTRUCTION", "ask_asrscope", "ask_granite", "ask_voxtral", "ask_with_template"]

INSTRUCTION = "Transcribe the speech into text."  # for models whose processor has no words of its own
GRANITE_INSTRUCTION = "can you transcribe the speech into a written format?"  # as its model card asks

Waveform = Float32[np.ndarray, " samples"]


def ask_asrscope(
    model: PreTrainedModel,  # noqa: ARG001 - all of these have the same arguments
    processor: ProcessorMixin,
    waveform: Waveform,
    instruction: str | None,
) -> BatchFeature:
    """Prepare a clip for a model of this package."""
    if instruction is not None:
        processor = copy(processor)
        processor.instruction = instruction
    return processor(audio=waveform)


def ask_with_template(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    waveform: Waveform,
    instruction: str | None,
) -> BatchFeature:
    """Prepare a clip with the processor's transcription request, or else with its chat template.

    Parameters
    ----------
    model : PreTrainedModel
        The model, for its name.
    processor : ProcessorMixin
        Its processor.
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz.
    instruction : str or None
        What to ask for; None for the processor's own words.

    Returns
    -------
    BatchFeature
        What ``generate`` takes.

    Raises
    ------
    ValueError
        If the processor has no chat template.
    """
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


def ask_granite(
    model: PreTrainedModel, processor: ProcessorMixin, waveform: Waveform, instruction: str | None
) -> BatchFeature:
    """Prepare a clip for Granite Speech, whose template takes the placeholder within the text."""
    _need_template(model, processor)
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": f"{processor.audio_token}{instruction or GRANITE_INSTRUCTION}"}],
        chat_template=processor.chat_template or processor.tokenizer.chat_template,
        tokenize=False,
        add_generation_prompt=True,
    )
    return processor(text=text, audio=torch.from_numpy(waveform), return_tensors="pt")


def ask_voxtral(
    model: PreTrainedModel, processor: ProcessorMixin, waveform: Waveform, instruction: str | None
) -> BatchFeature:
    """Prepare a clip for Voxtral: a transcription request, or a question if there is an instruction.

    The tokenizer of the published checkpoints, of the package mistral-common, writes the prompt itself.
    Beside a tokenizer of another kind, which must have the same special tokens, it is written here in the
    same order.
    """
    if hasattr(processor.tokenizer, "tokenizer"):  # mistral-common's, in its wrapping of transformers
        if instruction is None:
            return processor.apply_transcription_request(
                waveform, model_id=model.name_or_path, sampling_rate=SAMPLE_RATE, format="WAV"
            )
        sound = base64.b64encode(wav_bytes(waveform)).decode("ascii")
        content = [{"type": "audio", "base64": sound}, {"type": "text", "text": instruction}]
        return processor.apply_chat_template([{"role": "user", "content": content}])
    audio: dict[str, Any] = {**processor.audio_kwargs}
    features = processor._retrieve_input_features([waveform], audio.pop("max_source_positions"), **audio)
    sizes = model.config.audio_config
    per_window = sizes.max_source_positions * sizes.hidden_size // sizes.intermediate_size
    names = ["<s>", "[INST]", "[BEGIN_AUDIO]", *["[AUDIO]"] * (len(features) * per_window)]
    ids = processor.tokenizer.convert_tokens_to_ids(names)
    ids += processor.tokenizer.encode(instruction or "", add_special_tokens=False)
    ids += processor.tokenizer.convert_tokens_to_ids(["[/INST]"] + ["[TRANSCRIBE]"] * (instruction is None))
    input_ids = torch.tensor([ids])
    return BatchFeature(
        {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "input_features": features}
    )


def _need_template(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    template = getattr(processor, "chat_template", None) or getattr(
        processor.tokenizer, "chat_template", None
    )
    if not template:
        raise ValueError(
            f"The prompt of {type(model).__name__} is made with a chat template, but neither "
            f"{type(processor).__name__} nor its tokenizer has one. Make sure to load the processor that was "
            "saved with the model, or to set processor.chat_template."
        )
