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
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from asrscope import decoder
from asrscope.audio import SAMPLE_RATE, SILENT, Clip, read_clip
from asrscope.decoder import Written, split_pieces, text_of
from asrscope.features import sound_warnings
from asrscope.saving.provenance import attach_provenance, provenance_of
from asrscope.scope.anatomy import Anatomy, describe_anatomy, uncompiled, unwrap
from asrscope.scope.traces import Provenance, Token, Trace, Word, WordTimes, twins
from asrscope.scope.watching import lay_out, watch

__all__ = ["Scope", "attach", "describe_tokens", "join_words", "nearest_tokens", "trace"]

N_NEAREST = 5  # text tokens kept for each audio token
N_RUNNERS_UP = 5  # other tokens kept for each token written


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
        Where its parts are and how they are joined. Attach anew once a part was replaced by another.
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
        num_beams: int | None = None,
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
            Beams of the search; 1 is greedy. Default: what `asrscope.transcribe` has, ``model.beams``.
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
        silent = any(SILENT in warning for warning in warnings)
        seconds = waveform.size / SAMPLE_RATE
        limit = max_new_tokens or decoder.max_new_tokens(seconds)
        model, tokenizer = unwrap(self.model), self.processor.tokenizer
        num_beams = getattr(model, "beams", 1) if num_beams is None else num_beams
        started = time.perf_counter()
        inputs = self._inputs(waveform, instruction, num_beams)
        features_done = time.perf_counter()
        with watch(self.anatomy) as seen:
            written = decoder.write(self.model, inputs, num_beams=num_beams, limit=limit, tokenizer=tokenizer)
        decoder_done = time.perf_counter()

        stages = lay_out(seen, self.anatomy, self.processor, inputs, num_beams=num_beams, seconds=seconds)
        nearest_ids, nearest_cosines = self._nearest(stages["audio_embeds"])
        prompt_ids = inputs["input_ids"][0].cpu().numpy()
        tokens = describe_tokens(tokenizer, written)
        text = text_of(tokenizer, written.ids)
        confidence = decoder.confidence(written.token_probabilities)
        trained = self.anatomy.trained_seconds
        if trained is not None and seconds > trained:
            warnings.append(
                f"the clip has {seconds:.1f} s, but the model was trained on at most {trained:g} s: "
                "the text may be wrong or incomplete"
            )
        if not silent:
            spectrogram = stages["log_mel"] if self.anatomy.mel_scale == "slaney" else None
            warnings += sound_warnings(waveform, spectrogram)
        warnings += decoder.decoding_warnings(
            text, finished=written.finished, limit=limit, confidence=confidence
        )
        spoken = tuple((word, float(start), float(end)) for word, start, end in reference_words or ())
        return Trace(
            name=name or (Path(source).stem if isinstance(source, str | Path) else "clip"),
            waveform=waveform,
            **stages,
            nearest_ids=nearest_ids,
            nearest_cosines=nearest_cosines,
            nearest_texts=tuple(split_pieces(tokenizer, row) for row in nearest_ids),
            prompt_ids=prompt_ids,
            prompt_texts=split_pieces(tokenizer, prompt_ids),
            prompt_is_audio=prompt_ids == self.anatomy.audio_token_id,
            tokens=tokens,
            finished=written.finished,
            eos_probability=written.eos_probability,
            words=join_words(tokenizer, tokens, spoken),
            text=text,
            confidence=confidence,
            timings={
                "features": features_done - started,
                **seen.seconds,
                "decoder": decoder_done - seen.decoder_started,
            },
            provenance=self._provenance(model),
            architecture=self.anatomy.architecture,
            mel_scale=self.anatomy.mel_scale,
            warnings=tuple(warnings),
            reference=reference,
            reference_words=None if reference_words is None else spoken,
            versions={
                "python": platform.python_version(),
                **{package: version(package) for package in ("asrscope", "numpy", "transformers")},
                "torch": str(torch.__version__),  # with its build, which the package's metadata may leave out
            },
        )

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
        weights = self.anatomy.parts["encoder"].parameters()
        types = [weight.dtype for weight in weights if weight.dtype.is_floating_point]
        device = model.get_input_embeddings().get_parameter("weight").device
        return inputs.to(device, dtype=types[0] if types else None)

    def _nearest(
        self, audio_embeds: Float32[np.ndarray, "audio_tokens decoder_dim"]
    ) -> tuple[Int64[np.ndarray, "audio_tokens n_nearest"], Float32[np.ndarray, "audio_tokens n_nearest"]]:
        """Find the nearest text tokens: no special ones, and none that the tokenizer doesn't have."""
        tokenizer, table = self.processor.tokenizer, self.model.get_input_embeddings().weight
        unused = range(len(tokenizer), len(table))
        special = {*tokenizer.all_special_ids, self.anatomy.audio_token_id, *unused}
        excluded = sorted(token for token in special if token < len(table))
        return nearest_tokens(torch.from_numpy(audio_embeds), table, excluded)

    def _provenance(self, model: PreTrainedModel) -> tuple[Provenance, ...]:
        """Say where the weights come from; to hash billions of them takes a while, so it is done once."""
        parts = self.anatomy.parts
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


def attach(model: Any, processor: ProcessorMixin) -> Scope:
    """Clip a scope onto a speech-language model: ours, or one that transformers ships.

    Voxtral, GLM-ASR, Audio Flamingo 3, Qwen2-Audio and Granite Speech are known. Other models are read by the
    names of their parts: an audio tower, a projector and a language model, with placeholders in the prompt.

    Parameters
    ----------
    model : PreTrainedModel
        The model; compiled, wrapped by PEFT, quantized or spread over devices, if need be.
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
    return Scope(uncompiled(model), processor, describe_anatomy(unwrap(model), processor))


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


def describe_tokens(tokenizer: PreTrainedTokenizerBase, written: Written) -> tuple[Token, ...]:
    """List the tokens written, each with its probability and the most probable other tokens.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        The decoder's tokenizer.
    written : Written
        What the decoder wrote.

    Returns
    -------
    tuple of Token
        One for each token, the end token left out.
    """
    best = written.probabilities.topk(N_RUNNERS_UP + 1, dim=-1)
    tokens = []
    for step, (token, probability) in enumerate(zip(written.ids, written.token_probabilities, strict=True)):
        others = [
            (*split_pieces(tokenizer, [other]), p)
            for other, p in zip(best.indices[step].tolist(), best.values[step].tolist(), strict=True)
            if other != token
        ]
        (text,) = split_pieces(tokenizer, [token])
        tokens.append(Token(token, text, probability, tuple(others[:N_RUNNERS_UP])))
    return tuple(tokens)


def join_words(
    tokenizer: PreTrainedTokenizerBase, tokens: Sequence[Token], reference_words: WordTimes = ()
) -> tuple[Word, ...]:
    """Join tokens to words: a token that starts with a space starts a word.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        The decoder's tokenizer.
    tokens : sequence of Token
        What the decoder wrote.
    reference_words : sequence of (str, float, float)
        The words said, with start and end in seconds.

    Returns
    -------
    tuple of Word
        Words of the text; those written as they were spoken have their times.
    """
    groups: list[list[int]] = []  # indices into tokens
    for index, token in enumerate(tokens):
        if token.id in tokenizer.all_special_ids:
            continue
        if not groups or token.text[:1].isspace():
            groups.append([])
        groups[-1].append(index)
    texts = [text_of(tokenizer, [tokens[index].id for index in group]) for group in groups]
    places = twins([word for word, *_ in reference_words], texts)
    times = {place: time for place, (_, *time) in zip(places, reference_words, strict=True)}
    return tuple(
        Word(
            text=text,
            probability=math.prod(tokens[index].probability for index in group),
            first_token=group[0],
            last_token=group[-1],
            start=start,
            end=end,
        )
        for place, (text, group) in enumerate(zip(texts, groups, strict=True))
        for start, end in [times.get(place, (None, None))]
        if text
    )
