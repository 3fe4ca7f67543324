"""Run the model on a clip and keep every stage of the way."""

import math
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from asrscope import decoder
from asrscope.audio import SAMPLE_RATE, Clip, is_silent, read_clip
from asrscope.decoder import WordTimes
from asrscope.features import mel_filters
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.provenance import provenance_of
from asrscope.speech import sound_warnings
from asrscope.traces import Trace

__all__ = ["nearest_tokens", "trace"]

N_NEAREST = 5  # text tokens kept for each audio token


@torch.inference_mode()
def trace(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    source: Clip,
    *,
    name: str | None = None,
    num_beams: int = 1,
    max_new_tokens: int | None = None,
    reference: str | None = None,
    reference_words: WordTimes | None = None,
) -> Trace:
    """Transcribe a clip and keep what each stage made of it.

    Everything comes from one run of ``generate``: what is drawn is what led to the text.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    source : str, Path or np.ndarray [shape=(samples,)]
        An audio file, or a mono waveform at 16 kHz.
    name : str, optional
        What to call the clip; by default its file's name.
    num_beams : int
        Beams of the search; 1 is greedy.
    max_new_tokens : int, optional
        Cap on the tokens written; by default it follows from the clip's length.
    reference : str, optional
        What was said.
    reference_words : sequence of (str, float, float), optional
        The words said, with start and end in seconds.

    Returns
    -------
    Trace
        Arrays, tokens, words, timings, provenance and warnings.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no audio, or longer than the encoder's window.
    """
    waveform, warnings = read_clip(source)
    seconds = waveform.size / SAMPLE_RATE
    if seconds > model.config.trained_seconds:
        warnings.append(
            f"the clip has {seconds:.1f} s, but the model was trained on at most "
            f"{model.config.trained_seconds:g} s: the text may be wrong or incomplete"
        )
    limit = max_new_tokens or decoder.max_new_tokens(seconds)
    mel_filters(processor.feature_extractor.feature_size)  # made once a process, and not the clip's time
    started = time.perf_counter()
    inputs = processor(audio=waveform)
    features_done = time.perf_counter()
    with _watch(model) as seen:
        written = decoder.write(
            model, inputs, num_beams=num_beams, limit=limit, tokenizer=processor.tokenizer
        )
    decoder_done = time.perf_counter()

    tokenizer = processor.tokenizer
    table = model.get_input_embeddings().get_parameter("weight")
    nearest_ids, nearest_cosines = nearest_tokens(seen.audio_embeds, table, tokenizer.all_special_ids)
    tokens = decoder.describe_tokens(tokenizer, written)
    text = decoder.text_of(tokenizer, written.ids)
    confidence = decoder.confidence(written.token_probabilities)
    if not is_silent(waveform):  # the loader has said that
        warnings += sound_warnings(waveform)
    warnings += decoder.decoding_warnings(text, finished=written.finished, limit=limit, confidence=confidence)
    prompt_ids = inputs["input_ids"][0].cpu().numpy()
    return Trace(
        name=name or (Path(source).stem if isinstance(source, str | Path) else "clip"),
        waveform=waveform,
        log_mel=inputs["input_features"][0].cpu().numpy(),
        encoder_hidden_states=seen.encoder_hidden_states.numpy(),
        audio_embeds=seen.audio_embeds.numpy(),
        nearest_ids=nearest_ids,
        nearest_cosines=nearest_cosines,
        nearest_texts=tuple(decoder.split_pieces(tokenizer, row) for row in nearest_ids),
        prompt_ids=prompt_ids,
        prompt_texts=decoder.split_pieces(tokenizer, prompt_ids),
        prompt_is_audio=prompt_ids == processor.audio_token_id,
        tokens=tokens,
        finished=written.finished,
        eos_probability=written.eos_probability,
        words=decoder.join_words(tokenizer, tokens, reference_words or ()),
        text=text,
        confidence=confidence,
        timings={
            "features": features_done - started,
            "encoder": seen.encoder_done - seen.encoder_started,
            "projector": seen.projector_done - seen.encoder_done,
            "decoder": decoder_done - seen.projector_done,
        },
        provenance=provenance_of(model),
        stack_factor=model.config.stack_factor,
        warnings=tuple(warnings),
        reference=reference,
        reference_words=(
            None
            if reference_words is None
            else tuple((word, float(start), float(end)) for word, start, end in reference_words)
        ),
        versions={
            "python": platform.python_version(),
            **{package: version(package) for package in ("asrscope", "numpy", "torch", "transformers")},
        },
    )


def nearest_tokens(
    audio_embeds: Float[Tensor, "audio_tokens decoder_dim"],
    table: Float[Tensor, "vocabulary decoder_dim"],
    excluded: Sequence[int] = (),
    n_nearest: int = N_NEAREST,
) -> tuple[Int64[np.ndarray, "audio_tokens n_nearest"], Float32[np.ndarray, "audio_tokens n_nearest"]]:
    """Find the text tokens whose embeddings point most nearly the same way as each audio token.

    Parameters
    ----------
    audio_embeds : torch.Tensor, shape (audio_tokens, decoder_dim)
        Projector output.
    table : torch.Tensor, shape (vocabulary, decoder_dim)
        The decoder's token embeddings.
    excluded : sequence of int
        Tokens that do not count as text.
    n_nearest : int
        How many to return.

    Returns
    -------
    np.ndarray, shape (audio_tokens, n_nearest)
        Token ids, nearest first.
    np.ndarray, shape (audio_tokens, n_nearest)
        Their cosines, between -1 and 1.
    """
    audio, text = audio_embeds.float(), table.detach().float().to(audio_embeds.device)
    norms = audio.norm(dim=1, keepdim=True) * text.norm(dim=1)  # (audio_tokens, vocabulary)
    cosines = (audio @ text.T) / norms.clamp_min(torch.finfo(torch.float32).tiny)
    cosines[:, list(excluded)] = -math.inf
    best = cosines.topk(n_nearest, dim=1)
    return best.indices.cpu().numpy(), best.values.clamp(-1, 1).cpu().numpy()


@dataclass
class _Seen:
    """What passed between the parts during one run, and when."""

    encoder_hidden_states: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    audio_embeds: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    encoder_started: float = 0.0
    encoder_done: float = 0.0
    projector_done: float = 0.0


@contextmanager
def _watch(model: AsrScopeForConditionalGeneration) -> Iterator[_Seen]:
    """Listen at the seams of the model: before the encoder, and before and after the projector."""
    seen = _Seen()

    def before_encoder(*_: Any) -> None:
        seen.encoder_started = time.perf_counter()

    def before_projector(_: Any, inputs: tuple[Tensor]) -> None:
        seen.encoder_done = time.perf_counter()
        seen.encoder_hidden_states = inputs[0][0].float().cpu()  # every beam reads the same clip

    def after_projector(_: Any, __: Any, output: Tensor) -> None:
        seen.projector_done = time.perf_counter()
        seen.audio_embeds = output[0].float().cpu()

    handles = [
        # Its first layer: the encoder's own forward is not used, see asrscope.encoder.
        model.audio_tower.conv1.register_forward_pre_hook(before_encoder),
        model.multi_modal_projector.register_forward_pre_hook(before_projector),
        model.multi_modal_projector.register_forward_hook(after_projector),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
