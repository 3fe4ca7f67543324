"""Write down what is said in a recording of any length.

It is cut into windows that a model can hear: in its pauses or, where somebody speaks without one, where it is
quietest. Every sample is in one window.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from asrscope import decoder
from asrscope.audio import SAMPLE_RATE, AudioStream, Clip, is_silent
from asrscope.features import sound_warnings
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor

__all__ = ["BATCH_SIZE", "Segment", "Transcript", "Window", "cut_windows", "transcribe"]

BATCH_SIZE = 8  # windows that are recognized together
SILENT = "the stretch is silent: nothing was looked for in it"
TORN = "there is no pause where this stretch ends: a word may be cut in two there"

BLOCK = SAMPLE_RATE // 100  # samples in 10 ms, over which loudness is measured
SMOOTH = 10  # blocks: the quietest place is that of the quietest 100 ms
PAUSE = 20  # blocks: longer than the silence within a word, before a "p", say
LOUD_QUANTILE, QUIET_QUANTILE = 0.95, 0.05  # of the loudness: somebody speaks; nobody does
PAUSE_DROP = 30.0  # dB below the speech: quiet, whatever the background
ABOVE_BACKGROUND = 3.0  # dB: a noisy background swells that much
LEAST_DROP = 10.0  # dB: less is no pause, but a sound that goes on
FAINTEST = -100.0  # dB; digital silence has no logarithm


# What is written down ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """The text of one stretch of the audio.

    Attributes
    ----------
    start, end : float
        Seconds from the start of the audio.
    text : str
        What was recognized.
    confidence : float
        Geometric mean of the token probabilities of the window; 0 if no token was written.
    warnings : tuple of str
        What is odd about this stretch.
    """

    start: float
    end: float
    text: str
    confidence: float
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them; times in seconds, to the millisecond."""
        times = {"start": round(self.start, 3), "end": round(self.end, 3)}
        return asdict(self) | times | {"confidence": round(self.confidence, 4), "warnings": [*self.warnings]}


@dataclass(frozen=True)
class Transcript:
    """The text of a whole recording.

    Attributes
    ----------
    text : str
        What was recognized.
    confidence : float
        Geometric mean of the token probabilities; 0 if no token was written.
    warnings : tuple of str
        What the reader should know before trusting the text.
    segments : tuple of Segment
        The stretches that the audio was cut into, in order; together they cover all of it.
    """

    text: str
    confidence: float
    warnings: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.segments[-1].end

    def to_dict(self) -> dict[str, Any]:
        """Return the transcript as JSON holds it."""
        return {
            "text": self.text,
            "confidence": self.confidence,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "segments": [segment.to_dict() for segment in self.segments],
        }

    def to_srt(self) -> str:
        """Write the segments that have a text as SubRip subtitles."""
        cues = enumerate((segment for segment in self.segments if segment.text), start=1)
        return "\n".join(f"{number}\n{_times(cue, ',')}\n{cue.text}\n" for number, cue in cues)

    def to_vtt(self) -> str:
        """Write the segments that have a text as WebVTT subtitles; what would be markup is escaped."""
        cues = (segment for segment in self.segments if segment.text)
        escaped = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
        return "WEBVTT\n\n" + "\n".join(
            f"{_times(cue, '.')}\n{cue.text.translate(escaped)}\n" for cue in cues
        )


def _times(segment: Segment, point: str) -> str:
    return f"{_clock(segment.start, point)} --> {_clock(segment.end, point)}"


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


@torch.inference_mode()
def transcribe(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    source: Clip | AudioStream,
    *,
    num_beams: int | None = None,
    batch_size: int = BATCH_SIZE,
    on_segment: Callable[[Segment], None] | None = None,
) -> Transcript:
    """Write down what is said in a recording of any length.

    Audio longer than what the model was trained on is cut into windows: in pauses or, where there is none,
    where it is quietest, which is said. The recording is read piece by piece, so memory does not grow with
    it. Nothing is dropped; silent stretches of a longer recording are marked and not recognized.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    source : str, Path, bytes, binary file object, np.ndarray [shape=(samples,)] or AudioStream
        An audio file, a mono waveform at 16 kHz, or a recording that was opened already.
    num_beams : int
        Beams of the search; 1 is greedy. Default: ``model.beams``.
    batch_size : int
        Windows that are recognized together: faster, with more memory. A beam search takes one at a time.
    on_segment : callable, optional
        Called with each segment as soon as it is recognized; its ``end`` says how far that is.

    Returns
    -------
    Transcript
        Text, confidence, warnings, and the segments they were made of.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no audio.
    """
    num_beams = model.beams if num_beams is None else num_beams
    if num_beams < 1 or batch_size < 1:
        raise ValueError(
            f"Expected at least one beam and one window at a time, but found {num_beams} and {batch_size}."
        )
    config = model.config
    longest = float(min(config.trained_seconds, config.window_seconds))
    # Most clips of a training are shorter than its longest; a model that pads each clip does not mind.
    usual = min(longest, config.trained_seconds / (1 if config.pad_audio else 2))
    stream = source if isinstance(source, AudioStream) else AudioStream(source)
    windows = cut_windows(stream, longest if stream.seconds <= longest else usual)

    def heard() -> Iterator[tuple[Window, _Heard]]:
        while batch := list(islice(windows, 1 if num_beams > 1 else batch_size)):
            # Silence is left out, unless it is all that there is.
            only = batch[0].start == 0 and batch[0].last
            spoken = [only or not is_silent(window.samples) for window in batch]
            pieces = [window.samples for window, wanted in zip(batch, spoken, strict=True) if wanted]
            found = iter(_hear(model, processor, pieces, num_beams) if pieces else ())
            for window, wanted in zip(batch, spoken, strict=True):
                yield window, next(found) if wanted else _LEFT_OUT

    segments: list[Segment] = []
    probabilities: list[float] = []

    def settle(start: int, stop: int, found: _Heard, *more: str) -> None:
        confidence = decoder.confidence(found.probabilities)
        times = start / SAMPLE_RATE, stop / SAMPLE_RATE
        segments.append(Segment(*times, found.text, confidence, (*found.warnings, *more)))
        probabilities.extend(found.probabilities)
        if on_segment is not None:
            on_segment(segments[-1])

    for is_left_out, stretch in groupby(heard(), lambda pair: pair[1] is _LEFT_OUT):
        if is_left_out:  # one long silence
            edges = [place for window, _ in stretch for place in (window.start, window.stop)]
            settle(edges[0], edges[-1], _LEFT_OUT)
            continue
        for window, found in stretch:
            settle(window.start, window.stop, found, *([TORN] if window.torn else []))
    warnings = [
        f"{segment.start:.1f} to {segment.end:.1f} s: {warning}" if len(segments) > 1 else warning
        for segment in segments
        for warning in segment.warnings
    ]
    return Transcript(
        text=" ".join(segment.text for segment in segments if segment.text),
        confidence=decoder.confidence(probabilities),
        warnings=(*stream.warnings, *warnings),
        segments=tuple(segments),
    )


# Windows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Window:
    """One stretch of a recording.

    Attributes
    ----------
    start : int
        Its first sample, counted in the recording.
    samples : np.ndarray, shape (samples,)
        The sound, 16,000 samples a second.
    torn : bool
        Whether there is no pause where it ends.
    last : bool
        Whether the recording ends with it.
    """

    start: int
    samples: Float32[np.ndarray, " samples"]
    torn: bool
    last: bool

    @property
    def stop(self) -> int:
        """The sample after its last, counted in the recording."""
        return self.start + self.samples.size


def cut_windows(blocks: Iterable[Float32[np.ndarray, "_"]], seconds: float) -> Iterator[Window]:
    """Cut a recording into windows of limited length, with no more of it in memory than a window and a block.

    A window ends in the longest pause of its second half; if there is none, in the quietest place of it.

    Parameters
    ----------
    blocks : iterable of np.ndarray, shape (samples,)
        The recording in pieces of any length: an `asrscope.audio.AudioStream`, or a list of one
        waveform.
    seconds : float
        Longest window.

    Returns
    -------
    iterator of Window
        Windows in order. Every sample is in one of them.

    Raises
    ------
    ValueError
        If the windows would be shorter than a fifth of a second.
    """
    longest = int(seconds * SAMPLE_RATE)
    if longest < 2 * SMOOTH * BLOCK:
        raise ValueError(f"Expected windows of at least 0.2 s, but found {seconds:g} s.")
    kept, start = np.zeros(0, np.float32), 0
    for block in blocks:
        kept = np.concatenate([kept, block])
        while kept.size > longest:
            stop, torn = _place_to_cut(kept[:longest])
            yield Window(start, kept[:stop].copy(), torn, last=False)
            start, kept = start + stop, kept[stop:]
    yield Window(start, kept, torn=False, last=True)


def _loudness(samples: np.ndarray) -> np.ndarray:
    """Level in dB of each 10 ms."""
    power = np.square(samples[: samples.size // BLOCK * BLOCK]).reshape(-1, BLOCK).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FAINTEST / 10))))


def _place_to_cut(samples: np.ndarray) -> tuple[int, bool]:
    """Find where to cut in the second half of a window, and tell whether that is in no pause.

    It is the middle of the longest pause; of equally long ones that of the last.
    """
    level = _loudness(samples)
    loud, quiet = np.quantile(level, [LOUD_QUANTILE, QUIET_QUANTILE])
    limit = min(max(loud - PAUSE_DROP, quiet + ABOVE_BACKGROUND), loud - LEAST_DROP)
    half = level.size // 2
    is_quiet = np.concatenate([[False], level[half:] < limit, [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(is_quiet) == 1), np.flatnonzero(np.diff(is_quiet) == -1)
    lengths = stops - starts
    if lengths.size and lengths.max() >= PAUSE:
        longest = np.flatnonzero(lengths == lengths.max())[-1]
        return int(half + (starts[longest] + stops[longest]) // 2) * BLOCK, False
    smooth = np.convolve(10 ** (level[half:] / 10), np.ones(SMOOTH), mode="valid")
    return int(half + smooth.argmin() + SMOOTH // 2) * BLOCK, True


# Hearing them -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Heard:
    """What the model wrote about one piece of sound, and what is to be said of it."""

    text: str
    probabilities: tuple[float, ...]  # of the tokens
    warnings: tuple[str, ...]


_LEFT_OUT = _Heard("", (), (SILENT,))


class _ChosenProbabilities(LogitsProcessor):
    """Keeps the probability of each token that a greedy search writes, and of the rest nothing.

    ``generate(output_scores=True)`` would keep all scores of all steps: gigabytes for a large vocabulary.
    """

    def __init__(self) -> None:
        self.chosen: list[Tensor] = []  # one for each step, shape (batch,)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        self.chosen.append(scores.float().softmax(dim=-1).amax(dim=-1))
        return scores


def _hear(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    pieces: list[np.ndarray],
    num_beams: int,
) -> list[_Heard]:
    """Recognize pieces of sound together; each gives what it would give alone."""
    limits = [decoder.max_new_tokens(piece.size / SAMPLE_RATE) for piece in pieces]
    if num_beams > 1:
        options: dict[str, Any] = {"num_beams": num_beams, "tokenizer": processor.tokenizer}
        each = [
            decoder.write(model, processor(audio=piece), limit=limit, **options)
            for piece, limit in zip(pieces, limits, strict=True)
        ]
        rows = [(one.ids, one.token_probabilities, one.finished) for one in each]
    else:
        rows = _write_together(model, processor, pieces, limits)
    heard = []
    for piece, (ids, probabilities, finished), limit in zip(pieces, rows, limits, strict=True):
        text = decoder.text_of(processor.tokenizer, ids)
        odd = [] if is_silent(piece) else sound_warnings(piece)
        odd += decoder.decoding_warnings(
            text, finished=finished, limit=limit, confidence=decoder.confidence(probabilities)
        )
        heard.append(_Heard(text, tuple(probabilities), tuple(odd)))
    return heard


def _write_together(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    pieces: list[np.ndarray],
    limits: list[int],
) -> list[tuple[list[int], list[float], bool]]:
    """Let the decoder write about several pieces: tokens and their probabilities, and whether it ended."""
    inputs: Any = processor(audio=pieces).to(model.device)
    prompt_tokens = inputs["input_ids"].shape[1]
    seen = _ChosenProbabilities()
    sequences = model.generate(
        **inputs,
        do_sample=False,
        num_beams=1,
        max_new_tokens=max(limits),
        logits_processor=LogitsProcessorList([seen]),
        stopping_criteria=StoppingCriteriaList([decoder.LoopStop(processor.tokenizer, prompt_tokens)]),
    )
    written = sequences[:, prompt_tokens:].tolist()
    chosen = torch.stack(seen.chosen, dim=1).tolist()  # (batch, steps)
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    rows = []
    for ids, probabilities, limit in zip(written, chosen, limits, strict=True):
        # A shorter piece may have gone on while a longer one was not done.
        end = next((place for place, token in enumerate(ids[:limit]) if token in ends), None)
        kept = slice(limit if end is None else end)
        rows.append((ids[kept], probabilities[kept], end is not None))
    return rows
