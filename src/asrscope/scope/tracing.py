"""Clip a scope onto a speech-language model, run it on a clip, and keep every stage of the way."""

import math
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from asrscope import decoder
from asrscope.audio import SAMPLE_RATE, Clip, is_silent, read_clip
from asrscope.audio.speech import sound_warnings
from asrscope.decoder import WordTimes
from asrscope.loading.provenance import attach_provenance, provenance_of
from asrscope.scope.anatomy import Anatomy, describe_anatomy, parts_of, unwrap
from asrscope.scope.layout import Layout, lay_out
from asrscope.scope.traces import Provenance, Trace
from asrscope.scope.watching import watch

__all__ = ["Scope", "attach", "nearest_tokens", "trace"]

N_NEAREST = 5  # text tokens kept for each audio token


@dataclass(frozen=True)
class Scope:
    """A model with its processor, and what is known of how it is built; `attach` makes it.

    Attributes
    ----------
    model : PreTrainedModel
        The model, as it was given: it may be wrapped by PEFT, quantized, or spread over devices.
    processor : ProcessorMixin
        Its processor.
    anatomy : Anatomy
        Where its parts are and how they are joined.
    """

    model: Any
    processor: Any
    anatomy: Anatomy

    @torch.no_grad()  # not inference_mode: parameters that accelerate moves meanwhile would stay marked
    def trace(
        self,
        source: Clip,
        *,
        instruction: str | None = None,
        name: str | None = None,
        num_beams: int = 1,
        max_new_tokens: int | None = None,
        reference: str | None = None,
        reference_words: WordTimes | None = None,
    ) -> Trace:
        """Let the model answer to a clip, and keep what each stage made of it.

        Everything comes from one run of the model's own ``generate``: what is drawn is what led to the text.

        Parameters
        ----------
        source : str, Path or np.ndarray [shape=(samples,)]
            An audio file, or a mono waveform at 16 kHz.
        instruction : str, optional
            What to ask of the model; by default to transcribe, in the words of its own processor.
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
            If it is no audio or too long for the model, or the processor does not fit the model.
        """
        waveform, warnings = read_clip(source)
        seconds = waveform.size / SAMPLE_RATE
        warnings += self._length_warnings(seconds)
        limit = max_new_tokens or decoder.max_new_tokens(seconds)
        model, tokenizer = unwrap(self.model), self.processor.tokenizer
        started = time.perf_counter()
        inputs = self._inputs(waveform, instruction, num_beams)
        features_done = time.perf_counter()
        with watch(model, self.anatomy) as seen:
            written = decoder.write(self.model, inputs, num_beams=num_beams, limit=limit, tokenizer=tokenizer)
        decoder_done = time.perf_counter()

        prompt_ids = inputs["input_ids"][0].cpu().numpy()
        found: Layout = lay_out(
            seen, self.anatomy, self.processor, inputs, num_beams=num_beams, seconds=seconds
        )
        table = model.get_input_embeddings().get_parameter("weight")
        special = {
            *tokenizer.all_special_ids,
            self.anatomy.audio_token_id,
            *range(len(tokenizer), len(table)),
        }
        excluded = sorted(token for token in special if token < len(table))
        nearest_ids, nearest_cosines = nearest_tokens(found.audio_embeds, table, excluded)
        tokens = decoder.describe_tokens(tokenizer, written)
        text = decoder.text_of(tokenizer, written.ids)
        confidence = decoder.confidence(written.token_probabilities)
        if not is_silent(waveform):  # the loader has said that
            warnings += sound_warnings(waveform)
        warnings += decoder.decoding_warnings(
            text, finished=written.finished, limit=limit, confidence=confidence
        )
        return Trace(
            name=name or (Path(source).stem if isinstance(source, str | Path) else "clip"),
            waveform=waveform,
            log_mel=found.log_mel,
            encoder_hidden_states=found.encoder_hidden_states,
            audio_embeds=found.audio_embeds.numpy(),
            nearest_ids=nearest_ids,
            nearest_cosines=nearest_cosines,
            nearest_texts=tuple(decoder.split_pieces(tokenizer, row) for row in nearest_ids),
            prompt_ids=prompt_ids,
            prompt_texts=decoder.split_pieces(tokenizer, prompt_ids),
            prompt_is_audio=prompt_ids == self.anatomy.audio_token_id,
            tokens=tokens,
            finished=written.finished,
            eos_probability=written.eos_probability,
            words=decoder.join_words(tokenizer, tokens, reference_words or ()),
            text=text,
            confidence=confidence,
            timings={
                "features": features_done - started,
                **seen.seconds,
                "decoder": decoder_done - seen.decoder_started,
            },
            provenance=self._provenance(model),
            architecture=self.anatomy.architecture,
            projection=found.projection,
            stack_factor=found.stack_factor,
            frames_per_column=found.frames_per_column,
            mel_scale=self.anatomy.mel_scale,
            seconds_per_frame=found.seconds_per_frame,
            seconds_per_position=found.seconds_per_position,
            seconds_per_audio_token=found.seconds_per_audio_token,
            window_seconds=found.window_seconds,
            warnings=tuple(warnings),
            reference=reference,
            reference_words=(
                None
                if reference_words is None
                else tuple((word, float(start), float(end)) for word, start, end in reference_words)
            ),
            versions={
                "python": platform.python_version(),
                **{package: version(package) for package in ("asrscope", "numpy", "transformers")},
                "torch": str(torch.__version__),  # with its build, which the package's metadata may leave out
            },
        )

    @torch.no_grad()  # not inference_mode: parameters that accelerate moves meanwhile would stay marked
    def transcribe(
        self,
        source: Clip,
        *,
        instruction: str | None = None,
        num_beams: int = 1,
        max_new_tokens: int | None = None,
    ) -> str:
        """Let the model answer to a clip, and keep only the text.

        Parameters
        ----------
        source : str, Path or np.ndarray [shape=(samples,)]
            An audio file, or a mono waveform at 16 kHz.
        instruction : str, optional
            What to ask of the model; by default to transcribe, in the words of its own processor.
        num_beams : int
            Beams of the search; 1 is greedy.
        max_new_tokens : int, optional
            Cap on the tokens written; by default it follows from the clip's length.

        Returns
        -------
        str
            What the model wrote.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is no audio or too long for the model, or the processor does not fit the model.
        """
        waveform, _ = read_clip(source)
        limit = max_new_tokens or decoder.max_new_tokens(waveform.size / SAMPLE_RATE)
        tokenizer = self.processor.tokenizer
        written = decoder.write(
            self.model,
            self._inputs(waveform, instruction, num_beams),
            num_beams=num_beams,
            limit=limit,
            tokenizer=tokenizer,
        )
        return decoder.text_of(tokenizer, written.ids)

    def _inputs(
        self, waveform: Float32[np.ndarray, " samples"], instruction: str | None, num_beams: int
    ) -> BatchFeature:
        """Prepare a clip as the model's processor does, where the model is and in the type it computes in."""
        longest, seconds = self.anatomy.longest_seconds, waveform.size / SAMPLE_RATE
        if longest is not None and seconds > longest:
            raise ValueError(
                f"{self.anatomy.architecture} takes clips of up to {longest:g} s, but found {seconds:.2f} s. "
                "Make sure to cut longer audio."
            )
        model = unwrap(self.model)
        inputs = self.anatomy.ask(model, self.processor, waveform, instruction)
        if not bool((inputs["input_ids"] == self.anatomy.audio_token_id).any()):
            raise ValueError(
                f"The prompt must hold audio placeholders (token {self.anatomy.audio_token_id}), but "
                f"{type(self.processor).__name__} wrote none. Make sure to load the processor that was saved "
                "with the model."
            )
        windows = len(inputs.get("input_features", [None]))
        if windows > 1 and num_beams > 1:
            # generate repeats each window for each beam, one after another: the first beam would read the
            # first window several times, and the last windows not at all.
            raise ValueError(
                f"{self.anatomy.architecture} reads this clip of {seconds:.1f} s in {windows} windows, which "
                f"the beam search of transformers mixes up, but found num_beams={num_beams}. Make sure to "
                "use num_beams=1, or to cut the clip to one window."
            )
        tower = parts_of(model)["encoder"]
        types = [weight.dtype for weight in tower.parameters() if weight.dtype.is_floating_point]
        device = model.get_input_embeddings().get_parameter("weight").device
        return inputs.to(device, dtype=types[0] if types else None)

    def _provenance(self, model: PreTrainedModel) -> tuple[Provenance, ...]:
        """Say where the weights come from; to hash billions of them takes a while, so it is done once."""
        parts = parts_of(model)
        if model.config.model_type == "asrscope":  # its loader has said it
            return provenance_of(model, parts)
        found = provenance_of(
            model,
            parts,
            source=model.name_or_path or "built in memory",
            revision=getattr(model.config, "_commit_hash", None),
        )
        attach_provenance(model, found, parts)
        return found

    def _length_warnings(self, seconds: float) -> list[str]:
        trained = self.anatomy.trained_seconds
        if trained is None or seconds <= trained:
            return []
        return [
            f"the clip has {seconds:.1f} s, but the model was trained on at most {trained:g} s: "
            "the text may be wrong or incomplete"
        ]


def attach(model: Any, processor: ProcessorMixin) -> Scope:
    """Clip a scope onto a speech-language model: ours, or one that transformers ships.

    Voxtral, GLM-ASR, Audio Flamingo 3, Qwen2-Audio and Granite Speech are known. Other models are read by the
    names of their parts: an audio tower, a projector and a language model, with placeholders in the prompt.

    Parameters
    ----------
    model : PreTrainedModel
        The model; wrapped by PEFT, quantized or spread over devices, if need be.
    processor : ProcessorMixin
        The processor saved with it.

    Returns
    -------
    Scope
        Its ``trace`` runs a clip and keeps every stage.

    Raises
    ------
    TypeError
        If it is no model of transformers.
    ValueError
        If a part of the model is missing, or the processor is of another kind.
    """
    return Scope(model, processor, describe_anatomy(unwrap(model), processor))


def trace(model: Any, processor: ProcessorMixin, source: Clip, **options: Any) -> Trace:
    """Let a speech-language model answer to a clip, and keep what each stage made of it.

    Parameters
    ----------
    model : PreTrainedModel
        The model: of this package, or any that `attach` takes.
    processor : ProcessorMixin
        The processor saved with it.
    source : str, Path or np.ndarray [shape=(samples,)]
        An audio file, or a mono waveform at 16 kHz.
    **options
        Options of `Scope.trace`: ``num_beams``, ``max_new_tokens``, ``instruction``, ``name``,
        ``reference`` and ``reference_words``.

    Returns
    -------
    Trace
        Arrays, tokens, words, timings, provenance and warnings.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no audio, longer than the encoder's window, or the model is none that `attach` takes.
    """
    return attach(model, processor).trace(source, **options)


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
    audio = audio_embeds.float()
    norms = audio.norm(dim=1, keepdim=True)  # (audio_tokens, 1)
    ids, cosines = [], []
    rows = decoder.TABLE_ROWS  # a whole large table in float32 would be a gigabyte
    for first in range(0, len(table), rows):
        text = table[first : first + rows].detach().float().to(audio.device)
        near = (audio @ text.T) / (norms * text.norm(dim=1)).clamp_min(torch.finfo(torch.float32).tiny)
        near[:, [token - first for token in excluded if first <= token < first + len(text)]] = -math.inf
        some = near.topk(min(n_nearest, len(text)), dim=1)
        ids.append(some.indices + first)
        cosines.append(some.values)
    best = torch.cat(cosines, dim=1).topk(n_nearest, dim=1)
    nearest = torch.cat(ids, dim=1).gather(1, best.indices)
    return nearest.cpu().numpy(), best.values.clamp(-1, 1).cpu().numpy()
