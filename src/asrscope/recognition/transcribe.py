"""Write down what is said in a recording of any length.

It is cut into windows that a model can hear, in its pauses. Where somebody speaks without one, two windows
share a stretch, in which each word is whole in one of them at least. What both heard of it is aligned word by
word, and somewhere in it the text changes over from one to the other: no word is lost, and none comes twice.
"""

import math
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import islice
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

__all__ = [
    "BATCH_SIZE",
    "OVERLAP_SECONDS",
    "Segment",
    "Transcript",
    "Window",
    "cut_windows",
    "join_overlap",
    "most_words",
    "transcribe",
]

BATCH_SIZE = 8  # windows that are recognized together
SILENT = "the stretch is silent: nothing was looked for in it"
RECUT = (
    "there is no pause where this stretch ends, and the windows on both sides of it did not agree: "
    "a word may be cut in two there"
)

PAUSE_SECONDS = 0.2  # longer than the silence within a word, before a "p", say
OVERLAP_SECONDS = 2.0  # some five words ...
OVERLAP_SHARE = 0.25  # ... but never more of a window, or short windows would be heard twice

BLOCK = SAMPLE_RATE // 100  # samples in 10 ms, over which loudness is measured
SMOOTH = 10  # blocks: the quietest place is that of the quietest 100 ms
LOUD_QUANTILE, QUIET_QUANTILE = 0.95, 0.05  # of the loudness: somebody speaks; nobody does
PAUSE_DROP = 30.0  # dB below the speech: quiet, whatever the background
ABOVE_BACKGROUND = 3.0  # dB: a noisy background swells that much
LEAST_DROP = 10.0  # dB: less is no pause, but a sound that goes on
FAINTEST = -100.0  # dB; digital silence has no logarithm

WORDS_PER_SECOND = 5.0  # fast speech
SPARE_WORDS = 2  # the two that the edges cut
GAP = -0.6  # for a word that only one of the windows has
AGREED = 0.5  # least score: half of what one word counts that both have


# What is written down ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segment:
    """The text of one stretch of the audio.

    Attributes
    ----------
    start, end : float
        Seconds from the start of the audio. Where two windows overlap, the border is in the quietest place of
        what they share, and a word next to it may have been spoken on the other side.
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
    num_beams: int = 1,
    batch_size: int = BATCH_SIZE,
    on_segment: Callable[[Segment], None] | None = None,
    on_progress: Callable[[float, float], None] | None = None,
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
    source : str, Path, bytes, binary file object, np.ndarray [shape=(samples,)] or AudioStream
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

    def hear(pieces: list[np.ndarray]) -> list[_Heard]:
        return _hear(model, processor, pieces, num_beams) if pieces else []

    def heard() -> Iterator[tuple[Window, _Heard]]:
        while batch := list(islice(windows, 1 if num_beams > 1 else batch_size)):
            found = iter(hear([window.samples for window in batch if not _is_left_out(window)]))
            for window in batch:
                yield window, _Heard("", (), (SILENT,)) if _is_left_out(window) else next(found)
                if on_progress is not None:
                    on_progress(window.stop / SAMPLE_RATE, stream.seconds)

    segments: list[Segment] = []
    probabilities: list[float] = []
    for stretch in _settled(heard(), hear):
        segments.append(stretch.segment())
        probabilities += stretch.heard.probabilities
        if on_segment is not None:
            on_segment(segments[-1])
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
    overlap : int
        How many samples at its start are the end of the window before it; 0 after a pause.
    seam : int
        Where the text changes over from the window before, counted in the recording: the quietest place of
        the overlap, or `start` where there is none.
    last : bool
        Whether the recording ends with it.
    """

    start: int
    samples: Float32[np.ndarray, " samples"]
    overlap: int
    seam: int
    last: bool

    @property
    def stop(self) -> int:
        """The sample after its last, counted in the recording."""
        return self.start + self.samples.size


def cut_windows(
    blocks: Iterable[Float32[np.ndarray, "_"]], seconds: float, *, overlap_seconds: float = OVERLAP_SECONDS
) -> Iterator[Window]:
    """Cut a recording into windows of limited length, with no more of it in memory than a window and a block.

    A window ends in the longest pause of its second half. If there is none, it is as long as it may be, and
    the next one begins before its end.

    Parameters
    ----------
    blocks : iterable of np.ndarray, shape (samples,)
        The recording in pieces of any length: an `asrscope.audio.AudioStream`, or a list of one
        waveform.
    seconds : float
        Longest window.
    overlap_seconds : float
        What two windows share where there is no pause; at most a quarter of a window.

    Returns
    -------
    iterator of Window
        Windows in order. Together they hold every sample.

    Raises
    ------
    ValueError
        If the windows would be shorter than a tenth of a second, or the overlap is negative.
    """
    longest = int(seconds * SAMPLE_RATE)
    if longest < 10 * BLOCK or overlap_seconds < 0:
        raise ValueError(
            "Expected windows of at least 0.1 s and an overlap that is not negative, "
            f"but found {seconds:g} s and {overlap_seconds:g} s."
        )
    shared = min(int(overlap_seconds * SAMPLE_RATE), int(OVERLAP_SHARE * longest))
    kept, start, overlap, seam = np.zeros(0, np.float32), 0, 0, 0
    for block in blocks:
        kept = np.concatenate([kept, block])
        while kept.size > longest:
            pause = _longest_pause(kept[:longest])
            stop = longest if pause is None else pause
            yield Window(start, kept[:stop].copy(), overlap, seam, last=False)
            overlap = shared if pause is None else 0
            start += stop - overlap
            kept = kept[stop - overlap :]
            seam = start + (_quietest(kept[:overlap]) if overlap else 0)
    yield Window(start, kept, overlap, seam, last=True)


def _loudness(samples: np.ndarray) -> np.ndarray:
    """Level in dB of each 10 ms."""
    power = np.square(samples[: samples.size // BLOCK * BLOCK]).reshape(-1, BLOCK).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (FAINTEST / 10))))


def _longest_pause(samples: np.ndarray) -> int | None:
    """Find the middle of the longest pause in the second half; of equally long ones that of the last."""
    level = _loudness(samples)
    loud, quiet = np.quantile(level, [LOUD_QUANTILE, QUIET_QUANTILE])
    limit = min(max(loud - PAUSE_DROP, quiet + ABOVE_BACKGROUND), loud - LEAST_DROP)
    half = level.size // 2
    is_quiet = np.concatenate([[False], level[half:] < limit, [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(is_quiet) == 1), np.flatnonzero(np.diff(is_quiet) == -1)
    lengths = stops - starts
    if not lengths.size or lengths.max() < round(PAUSE_SECONDS * SAMPLE_RATE / BLOCK):
        return None
    longest = np.flatnonzero(lengths == lengths.max())[-1]
    return int(half + (starts[longest] + stops[longest]) // 2) * BLOCK


def _quietest(overlap: np.ndarray) -> int:
    """Find the quietest place in the middle half of an overlap: at its ends one window has no context."""
    quarter = overlap.size // 4
    power = 10 ** (_loudness(overlap[quarter : overlap.size - quarter]) / 10)
    if power.size < SMOOTH:
        return overlap.size // 2
    smooth = np.convolve(power, np.ones(SMOOTH), mode="valid")
    return quarter + (int(smooth.argmin()) + SMOOTH // 2) * BLOCK


# Joining their texts ----------------------------------------------------------------------------------------


def most_words(seconds: float) -> int:
    """Bound the number of words that a stretch of sound can hold: more than anyone says in that time."""
    return math.ceil(seconds * WORDS_PER_SECOND) + SPARE_WORDS


def join_overlap(left: Sequence[str], right: Sequence[str], limit: int) -> tuple[int, int] | None:
    """Find where the text changes over from one window to the next.

    Parameters
    ----------
    left : sequence of str
        Words of the first window; its last ones were heard in the shared stretch.
    right : sequence of str
        Words of the second window; its first ones were heard in the shared stretch.
    limit : int
        How many words the shared stretch can hold.

    Returns
    -------
    (int, int) or None
        How many words of the first window stay, and how many of the second go: the text is
        ``left[:stay] + right[go:]``. None if the windows have nothing in common there.
    """
    first = max(0, len(left) - limit)
    tail, head = [_bare(word) for word in left[first:]], [_bare(word) for word in right[:limit]]
    pairs, score = _align(tail, head)
    if score < AGREED:
        return None
    # Far from both edges: in the middle of the pairs, best at one that both windows write the same way.
    same = [pair for pair in pairs if tail[pair[0]] == head[pair[1]]] or pairs
    row, column = same[len(same) // 2]
    return first + row + 1, column + 1


def _align(tail: list[str], head: list[str]) -> tuple[list[tuple[int, int]], float]:
    """Align the end of `tail` with the start of `head`; returns pairs of indices, and how well they agree.

    Words before the shared stretch (in `tail`) and after it (in `head`) cost nothing.
    """
    rows, columns = len(tail), len(head)
    scores = np.zeros((rows + 1, columns + 1))
    scores[0] = GAP * np.arange(columns + 1)  # words of `head` before the first of `tail`
    steps = np.zeros((rows + 1, columns + 1), dtype=int)
    steps[0, 1:] = 2
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            options = (
                scores[row - 1, column - 1] + _likeness(tail[row - 1], head[column - 1]),
                scores[row - 1, column] + GAP,
                scores[row, column - 1] + GAP,
            )
            steps[row, column] = int(np.argmax(options))
            scores[row, column] = max(options)
    row, column = rows, int(scores[rows].argmax())
    best, pairs = float(scores[row, column]), []
    while row > 0 and column > 0:
        step = int(steps[row, column])
        if step == 0:
            pairs.append((row - 1, column - 1))
        row, column = row - int(step != 2), column - int(step != 1)
    return pairs[::-1], best


def _likeness(first: str, second: str) -> float:
    """Compare two words by their letters: 1 if they are the same, -1 if they share none."""
    if first == second:
        return 1.0
    return 2 * SequenceMatcher(None, first, second, autojunk=False).ratio() - 1


def _bare(word: str) -> str:
    return word.casefold().strip(string.punctuation)


@dataclass(frozen=True)
class _Heard:
    """What the model wrote about one piece of sound, and what is to be said of it."""

    text: str
    probabilities: tuple[float, ...]  # of the tokens
    warnings: tuple[str, ...]


_Hear = Callable[[list[np.ndarray]], list[_Heard]]


@dataclass
class _Stretch:
    """A window and its text, as long as its right border is not settled."""

    window: Window
    heard: _Heard
    words: list[str]  # without those that the window before has
    begin: int  # first sample, counted in the recording
    stop: int  # the sample after the last
    taken: int = 0  # how many words that window has
    notes: tuple[str, ...] = ()  # on its border

    def segment(self) -> Segment:
        written, heard = self.heard.text, self.heard
        # Where nothing was taken away, the text stays as it was written.
        text = written if len(self.words) == len(written.split()) else " ".join(self.words)
        odd = [] if is_silent(self.window.samples) else sound_warnings(self.window.samples)
        confidence = decoder.confidence(heard.probabilities)
        start, end = self.begin / SAMPLE_RATE, self.stop / SAMPLE_RATE
        return Segment(start, end, text, confidence, (*odd, *heard.warnings, *self.notes))


def _settled(heard: Iterator[tuple[Window, _Heard]], hear: _Hear) -> Iterator[_Stretch]:
    """Settle each window's right border as soon as the next one is heard."""
    old: _Stretch | None = None
    for window, found in heard:
        new = _Stretch(window, found, found.text.split(), window.seam, window.stop)
        if old is not None and SILENT in old.heard.warnings and SILENT in found.warnings:
            new.begin = old.begin  # one long silence
        elif old is not None:
            old.stop = window.seam
            if window.overlap:
                _share(old, new, hear)
            yield old
        old = new
    if old is not None:
        yield old


def _share(old: _Stretch, new: _Stretch, hear: _Hear) -> None:
    """Share the words of an overlap between its windows."""
    window = new.window
    border = join_overlap(old.words, new.words, most_words(window.overlap / SAMPLE_RATE))
    if border is not None:
        old.words, new.taken = old.words[: border[0]], border[1]
    elif old.words and new.words:
        # Each side anew, up to one border: nothing twice, though a word may be cut.
        before = old.window.samples[: window.seam - old.window.start]
        old.heard, new.heard = hear([before, window.samples[window.seam - window.start :]])
        old.words, new.words = old.heard.text.split()[old.taken :], new.heard.text.split()
        old.notes = (RECUT,)
    new.words = new.words[new.taken :]


def _is_left_out(window: Window) -> bool:
    """Tell whether nothing is to be looked for in a window: silence, unless it is all that there is."""
    return is_silent(window.samples) and not (window.start == 0 and window.last)


# Hearing them -----------------------------------------------------------------------------------------------


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
    for (ids, probabilities, finished), limit in zip(rows, limits, strict=True):
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
