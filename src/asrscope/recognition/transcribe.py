"""Write down what is said in a recording of any length."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from asrscope import decoder
from asrscope.audio import SAMPLE_RATE, Clip, is_silent
from asrscope.audio.speech import sound_warnings
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.recognition.merging import join_overlap, most_words
from asrscope.recognition.streaming import AudioStream
from asrscope.recognition.transcripts import Segment, Transcript
from asrscope.recognition.windows import OVERLAP_SECONDS, Window, cut_windows

__all__ = ["BATCH_SIZE", "Segment", "Transcript", "transcribe", "transcribe_all"]

BATCH_SIZE = 8  # windows that are recognized together
SILENT = "the stretch is silent: nothing was looked for in it"
RECUT = (
    "there is no pause where this stretch ends, and the windows on both sides of it did not agree: "
    "a word may be cut in two there"
)

Progress = Callable[[float, float], None]


def transcribe(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    source: Clip | AudioStream,
    *,
    num_beams: int = 1,
    batch_size: int = BATCH_SIZE,
    on_segment: Callable[[Segment], None] | None = None,
    on_progress: Progress | None = None,
) -> Transcript:
    """Write down what is said in a recording of any length.

    Audio longer than what the model was trained on is cut into windows: in pauses, or, where there is none,
    with an overlap whose words are written once. The recording is read piece by piece, so memory does not
    grow with it. Nothing is dropped; silent stretches of a longer recording are marked and not recognized.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    source : str, Path, np.ndarray [shape=(samples,)] or AudioStream
        An audio file, a mono waveform at 16 kHz, or a recording that was opened already.
    num_beams : int
        Beams of the search; 1 is greedy.
    batch_size : int
        Windows that are recognized together: faster, with more memory. A beam search takes one at a time.
    on_segment : callable, optional
        Called with each segment as soon as it is settled.
    on_progress : callable, optional
        Called with the seconds recognized so far and the length of the recording in seconds.

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
    (transcript,) = transcribe_all(
        *(model, processor, [source]),
        num_beams=num_beams,
        batch_size=batch_size,
        on_segment=on_segment,
        on_progress=on_progress,
    )
    return transcript


@torch.inference_mode()
def transcribe_all(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    sources: Iterable[Clip | AudioStream],
    *,
    num_beams: int = 1,
    batch_size: int = BATCH_SIZE,
    window_seconds: float | int | None = None,
    overlap_seconds: float | int = OVERLAP_SECONDS,
    on_segment: Callable[[Segment], None] | None = None,
    on_progress: Progress | None = None,
) -> Iterator[Transcript]:
    """Write down what is said in several recordings; windows of one and the next are recognized together.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    sources : iterable of str, Path, np.ndarray [shape=(samples,)] or AudioStream
        The recordings, as `transcribe` takes them.
    num_beams : int
        Beams of the search; 1 is greedy.
    batch_size : int
        Windows that are recognized together.
    window_seconds : float, optional
        Longest window, at most what the model was trained on. By default that, if the model pads each clip to
        its window anyway, and else half of it: most clips of its training were as short.
    overlap_seconds : float
        What two windows share where there is no pause between them.
    on_segment : callable, optional
        Called with each segment as soon as it is settled.
    on_progress : callable, optional
        Called with the seconds recognized so far and the length of the recording in seconds.

    Returns
    -------
    iterator of Transcript
        One for each recording, in order.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If one is no audio.
    """
    if num_beams < 1 or batch_size < 1:
        raise ValueError(
            f"Expected at least one beam and one window at a time, but found {num_beams} and {batch_size}."
        )
    longest = float(min(model.config.trained_seconds, model.config.window_seconds))
    usual = min(longest, float(window_seconds or _usual_seconds(model)))

    overlap = float(overlap_seconds)

    def hear(pieces: list[np.ndarray]) -> list[_Heard]:
        return _hear(model, processor, pieces, num_beams) if pieces else []

    def windows() -> Iterator[tuple[_Recording, Window]]:
        for source in sources:
            recording = _Recording(source)
            whole = window_seconds is None and recording.stream.seconds <= longest
            for window in cut_windows(recording.stream, longest if whole else usual, overlap_seconds=overlap):
                yield recording, window

    waiting = windows()
    while batch := list(islice(waiting, 1 if num_beams > 1 else batch_size)):
        spoken = [window.samples for _, window in batch if not _is_left_out(window)]
        found = iter(hear(spoken))
        for recording, window in batch:
            heard = _Heard("", (), (SILENT,)) if _is_left_out(window) else next(found)
            settled = recording.add(window, heard, hear)
            for segment in settled if on_segment is not None else ():
                on_segment(segment)  # type: ignore[misc] # there is one
            if on_progress is not None:
                on_progress(window.stop / SAMPLE_RATE, recording.stream.seconds)
            if window.last:
                yield recording.transcript()


@dataclass(frozen=True)
class _Heard:
    """What the model wrote about one piece of sound, and what is to be said of it."""

    text: str
    probabilities: tuple[float, ...]  # of the tokens
    warnings: tuple[str, ...]


@dataclass
class _Stretch:
    """A window and its text, as long as its right border is not settled."""

    window: Window
    heard: _Heard
    words: list[str]  # without those that the window before has
    begin: int  # first sample, counted in the recording
    taken: int = 0  # how many words that window has

    @property
    def text(self) -> str:
        written = self.heard.text
        # Where nothing was taken away, the text stays as it was written.
        return written if len(self.words) == len(written.split()) else " ".join(self.words)


@dataclass
class _Recording:
    """One recording, and as much of its transcript as there is."""

    source: Clip | AudioStream
    segments: list[Segment] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    open: _Stretch | None = None

    def __post_init__(self) -> None:
        source = self.source
        self.stream = source if isinstance(source, AudioStream) else AudioStream(source)

    def add(
        self, window: Window, heard: _Heard, hear: Callable[[list[np.ndarray]], list[_Heard]]
    ) -> list[Segment]:
        """Take in the next window; returns the segments that are settled by it."""
        before = len(self.segments)
        new = _Stretch(window, heard, heard.text.split(), window.seam)
        old, self.open = self.open, new
        if old is not None and SILENT in old.heard.warnings and SILENT in heard.warnings:
            new.begin = old.begin  # one long silence
        elif old is not None:
            notes: tuple[str, ...] = ()
            if window.overlap:
                limit = most_words(window.overlap / SAMPLE_RATE)
                border = join_overlap(old.words, new.words, limit)
                if border is not None:
                    old.words, new.taken = old.words[: border[0]], border[1]
                elif old.words and new.words:
                    # Each side anew, up to one border: nothing twice, though a word may be cut.
                    old.heard, new.heard = hear(
                        [
                            old.window.samples[: window.seam - old.window.start],
                            window.samples[window.seam - window.start :],
                        ]
                    )
                    old.words, new.words = old.heard.text.split()[old.taken :], new.heard.text.split()
                    notes = (RECUT,)
                new.words = new.words[new.taken :]
            self._settle(old, window.seam, notes)
        if window.last:
            self._settle(new, window.stop, ())
        return self.segments[before:]

    def transcript(self) -> Transcript:
        """Join what was found."""
        several = len(self.segments) > 1
        return Transcript(
            text=" ".join(segment.text for segment in self.segments if segment.text),
            confidence=decoder.confidence(self.probabilities),
            warnings=(
                *self.stream.warnings,
                *(
                    f"{segment.start:.1f} to {segment.end:.1f} s: {warning}" if several else warning
                    for segment in self.segments
                    for warning in segment.warnings
                ),
            ),
            segments=tuple(self.segments),
        )

    def _settle(self, stretch: _Stretch, stop: int, notes: tuple[str, ...]) -> None:
        heard = stretch.heard
        # Of a recording that is silent as a whole, the loader has said so.
        odd = [] if self.stream.silent or SILENT in heard.warnings else sound_warnings(stretch.window.samples)
        self.probabilities += heard.probabilities
        self.segments.append(
            Segment(
                stretch.begin / SAMPLE_RATE,
                stop / SAMPLE_RATE,
                stretch.text,
                decoder.confidence(heard.probabilities),
                (*odd, *heard.warnings, *notes),
            )
        )


def _usual_seconds(model: AsrScopeForConditionalGeneration) -> float:
    """Length of the windows of a long recording, in seconds."""
    config = model.config
    return float(config.trained_seconds if config.pad_audio else config.trained_seconds / 2)


def _is_left_out(window: Window) -> bool:
    """Tell whether nothing is to be looked for in a window: silence, unless it is all that there is."""
    return is_silent(window.samples) and not (window.start == 0 and window.last)


class _ChosenProbabilities(LogitsProcessor):
    """Keeps the probability of each token that a greedy search writes, and of the rest nothing.

    ``generate(output_logits=True)`` would keep all logits of all steps: gigabytes for a large vocabulary.
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
    found = []
    if num_beams > 1:
        for piece, limit in zip(pieces, limits, strict=True):
            written = decoder.write(
                *(model, processor(audio=piece)),
                num_beams=num_beams,
                limit=limit,
                tokenizer=processor.tokenizer,
            )
            found.append((written.ids, written.token_probabilities, written.finished, limit))
    else:
        rows = _write_together(model, processor, pieces, max(limits))
        ends = model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        for (ids, probabilities), limit in zip(rows, limits, strict=True):
            # A shorter piece may have gone on while a longer one was not done.
            end = next((place for place, token in enumerate(ids[:limit]) if token in ends), None)
            kept = slice(limit if end is None else end)
            found.append((ids[kept], probabilities[kept], end is not None, limit))
    heard = []
    for ids, probabilities, finished, limit in found:
        text = decoder.text_of(processor.tokenizer, ids)
        odd = decoder.decoding_warnings(
            text, finished=finished, limit=limit, confidence=decoder.confidence(probabilities)
        )
        heard.append(_Heard(text, tuple(probabilities), tuple(odd)))
    return heard


def _write_together(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    pieces: list[np.ndarray],
    limit: int,
) -> list[tuple[list[int], list[float]]]:
    """Let the decoder write about several pieces at once; tokens and probabilities of each, padding too."""
    inputs: Any = processor(audio=pieces).to(model.device)
    prompt_tokens = inputs["input_ids"].shape[1]
    seen = _ChosenProbabilities()
    sequences = model.generate(
        **inputs,
        do_sample=False,
        num_beams=1,
        max_new_tokens=limit,
        logits_processor=LogitsProcessorList([seen]),
        stopping_criteria=StoppingCriteriaList([decoder.LoopStop(processor.tokenizer, prompt_tokens)]),
    )
    written = sequences[:, prompt_tokens:].tolist()
    probabilities = torch.stack(seen.chosen, dim=1).tolist()  # (batch, steps)
    return list(zip(written, probabilities, strict=True))
