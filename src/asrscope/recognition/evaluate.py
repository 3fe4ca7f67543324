"""Word error rate over a collection of recordings: how certain it is, and where the errors are.

It is counted by voice, by length and under added noise, and the utterances that went worst are set beside
what was said. Any recognizer can be measured: `evaluate` takes a function from waveform to text.
"""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
from jaxtyping import Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE, find_audio, load_audio
from asrscope.recognition.metrics import (
    NORMALIZER,
    AlignedWord,
    WordErrors,
    align_words,
    bootstrap_interval,
    character_error_rate,
    total_errors,
    word_errors,
)

__all__ = [
    "COLORS",
    "Evaluation",
    "Group",
    "Noise",
    "Recognize",
    "Result",
    "Utterance",
    "add_noise",
    "evaluate",
    "read_utterances",
]

COLORS = ("white", "pink")  # equal power in each Hz, equal power in each octave
LOWEST_HZ = 50.0  # pink noise would put power where no microphone hears and no speech is

CONFIDENCE = 0.95  # of the intervals of the word error rate
FEWEST = 5  # utterances: of fewer, drawing them again says too little about others of their kind
LENGTHS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 15.0, 30.0, inf)  # seconds; fixed, so that runs can be compared
CONFUSIONS_KEPT = 50  # of each kind, in the JSON
MOST_VOICES = 20
MOST_CONFUSIONS = 5  # of each kind
KINDS = {  # of errors: what the JSON calls them, and the text
    "substitute": ("substitutions", "substituted"),
    "insert": ("insertions", "inserted"),
    "delete": ("deletions", "deleted"),
}
# In a table of recordings they say that a row is a piece of its file.
PIECE_KEYS = (
    *("offset", "start", "begin", "end", "stop"),
    *("start_time", "begin_time", "end_time", "segment_start"),
)

Recognize = Callable[[Float32[np.ndarray, " samples"]], str]


# What to evaluate -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it.

    Attributes
    ----------
    name : str
        What to call it in a report: its path as the manifest gives it.
    audio : Path
        The recording.
    text : str
        What is said.
    voice : str or None
        Who says it, if known.
    piece : tuple of float
        Where it begins in the recording, and how long it is: seconds.
    """

    name: str
    audio: Path
    text: str
    voice: str | None = None
    piece: tuple[float, float] = (0.0, inf)


def read_utterances(path: str | Path) -> tuple[Utterance, ...]:
    """Read what to evaluate: a manifest, or a folder of recordings with transcripts.

    Parameters
    ----------
    path : str or Path
        A JSON-lines file, each line an object with ``file`` (or ``audio``), ``text`` and possibly ``voice``,
        paths relative to the manifest; with ``offset`` and ``duration``, both in seconds, it is about a piece
        of the recording; or a folder in which every recording has a text file of the same name
        (``clip.wav`` and ``clip.txt``).

    Returns
    -------
    tuple of Utterance
        In the order of the manifest, or sorted by path.

    Raises
    ------
    OSError
        If there is no such file or folder.
    ValueError
        If a line cannot be understood, a transcript is missing, or there is no utterance at all.
    """
    path = Path(path)
    utterances = tuple(_read_folder(path) if path.is_dir() else _read_manifest(path))
    if not utterances:
        raise ValueError(
            f"{path}: no utterances found: expected a JSON-lines manifest or recordings with .txt"
        )
    return utterances


def _read_manifest(path: Path) -> Iterable[Utterance]:
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: expected one JSON object a line: {error}") from error
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected a JSON object, but found {type(entry).__name__}")
        name, text, voice = entry.get("file", entry.get("audio")), entry.get("text"), entry.get("voice")
        if not isinstance(name, str) or not isinstance(text, str):
            raise ValueError(
                f"{where}: expected the strings 'file' (or 'audio') and 'text', but found {sorted(entry)}"
            )
        keys = [key for key in PIECE_KEYS if entry.get(key) is not None]
        piece: tuple[Any, Any] = (0.0, inf)
        if keys == ["offset"]:  # a duration alone is that of the whole recording
            piece = entry["offset"], inf if entry.get("duration") is None else entry["duration"]
        elif keys:
            raise ValueError(f"{where}: expected pieces by 'offset' and 'duration', but found {keys}")
        if not all(isinstance(part, int | float) for part in piece) or not (inf > piece[0] >= 0 < piece[1]):
            raise ValueError(f"{where}: expected 'offset' and 'duration' in seconds, but found {piece}")
        begin, lasts = map(float, piece)
        yield Utterance(name, path.parent / name, text, None if voice is None else str(voice), (begin, lasts))


def _read_folder(path: Path) -> Iterable[Utterance]:
    for audio in find_audio(path):
        transcript = audio.with_suffix(".txt")
        if not transcript.is_file():
            raise ValueError(
                f"{audio}: expected its transcript beside it in {transcript.name}, but found none"
            )
        yield Utterance(str(audio.relative_to(path)), audio, _read_text(transcript).strip())


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file or folder: check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, but found other bytes: {error.reason}") from error


# Noise ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Noise:
    """Noise to add to every recording.

    Attributes
    ----------
    color : {"white", "pink"}
        White noise has equal power in each hertz and hides consonants first. Pink noise has equal power in
        each octave, as much of what rooms and streets sound like, and hides vowels too.
    snr : float
        Signal-to-noise ratio in dB: the power of the recording, pauses included, over that of the noise.

    Raises
    ------
    ValueError
        If the color is another, or the ratio is not a finite number.
    """

    color: str
    snr: float

    def __post_init__(self) -> None:
        """Check the values."""
        if self.color not in COLORS:
            raise ValueError(f"expected noise of one of the colors {', '.join(COLORS)}, found {self.color!r}")
        if not math.isfinite(self.snr):
            raise ValueError(f"expected a finite signal-to-noise ratio in dB, but found {self.snr}")

    def __str__(self) -> str:
        return f"{self.color}, {self.snr:g} dB"


def add_noise(
    waveform: Float32[ndarray, " samples"], noise: Noise, name: str
) -> Float32[ndarray, " samples"]:
    """Add noise to a recording.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    noise : Noise
        Which noise, and how loud.
    name : str
        Of the recording. Together with the color it decides on the noise: the same name and color give the
        same noise, louder or softer.

    Returns
    -------
    np.ndarray, shape (samples,)
        Recording and noise, scaled down together if they exceed full scale. A silent recording stays as it
        is.
    """
    signal = waveform.astype(np.float64)
    seed = hashlib.sha256(f"{noise.color} {name}".encode()).digest()[:8]
    added = np.random.default_rng(int.from_bytes(seed)).standard_normal(signal.size)
    if noise.color == "pink":
        spectrum = scipy.fft.rfft(added)
        frequencies = scipy.fft.rfftfreq(signal.size, 1 / SAMPLE_RATE)
        heard = frequencies >= LOWEST_HZ
        spectrum[heard] /= np.sqrt(frequencies[heard])
        spectrum[~heard] = 0
        added = scipy.fft.irfft(spectrum, signal.size)
    power = np.mean(np.square(added))
    if power == 0:  # shorter than one period of the lowest frequency
        return waveform
    # The mean of a recording is an offset, which nobody hears.
    mixed = signal + added * np.sqrt(signal.var() / power) * 10 ** (-noise.snr / 20)
    scaled: ndarray = mixed / max(1.0, np.abs(mixed).max())
    return scaled.astype(np.float32)


# Results ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What a recognizer made of one utterance.

    Attributes
    ----------
    utterance : Utterance
        The recording and its reference.
    text : str
        What was written; empty if the recording could not be read.
    errors : WordErrors
        Counts against the reference.
    audio_seconds, seconds : float
        Length of the recording, and time taken to recognize it.
    failure : str or None
        Why the recording could not be recognized; such a result counts in no rate.
    """

    utterance: Utterance
    text: str
    errors: WordErrors
    audio_seconds: float
    seconds: float
    failure: str | None = None

    @cached_property
    def alignment(self) -> tuple[AlignedWord, ...]:
        """What was said beside what was written, word by word."""
        return align_words(self.utterance.text, self.text)


@dataclass(frozen=True)
class Group:
    """Results that have something in common: a voice, a length, a noise.

    Attributes
    ----------
    results : tuple of Result
        Of recordings that could be recognized.
    """

    results: tuple[Result, ...]

    @cached_property
    def errors(self) -> WordErrors:
        """Word errors of all of them; its ``rate`` is the word error rate."""
        return total_errors([result.errors for result in self.results])

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Bootstrap interval of the word error rate, 95 % wide; None of few utterances or without an error.

        Drawing a handful of utterances again, or utterances that are all right, gives too narrow an interval.
        """
        if len(self.results) < FEWEST or not self.errors.words or not self.errors.errors:
            return None
        return bootstrap_interval([result.errors for result in self.results], confidence=CONFIDENCE)

    def to_dict(self) -> dict[str, Any]:
        """Give counts, rate and interval (None where there is none) as plain Python objects."""
        low, high = self.interval or (None, None)
        return {**_rates(self.errors), "utterances": len(self.results), "wer_low": low, "wer_high": high}


@dataclass(frozen=True)
class Evaluation:
    """Results of a collection, and the rates over it.

    Attributes
    ----------
    results : tuple of Result
        One for each utterance, in the order given.
    noisy : mapping of Noise to tuple of Result
        The same under noise. They count in `by_noise` and nowhere else.

    Raises
    ------
    ValueError
        From the rates, if not one utterance with words in its reference was recognized.
    """

    results: tuple[Result, ...]
    noisy: Mapping[Noise, tuple[Result, ...]] = field(default_factory=dict)

    @property
    def scored(self) -> tuple[Result, ...]:
        """Results of the recordings that could be recognized."""
        return _scored(self.results)

    @property
    def failures(self) -> tuple[Result, ...]:
        """Results of the recordings that could not, with noise or without."""
        every = (self.results, *self.noisy.values())
        return tuple(result for results in every for result in results if result.failure is not None)

    @cached_property
    def errors(self) -> WordErrors:
        """Word errors of the whole collection; its ``rate`` is the word error rate."""
        return total_errors([result.errors for result in self.scored])

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Bootstrap interval of the word error rate, 95 % wide."""
        return bootstrap_interval([result.errors for result in self.scored], confidence=CONFIDENCE)

    @cached_property
    def character_error_rate(self) -> float:
        """Character errors per character of the references."""
        return character_error_rate(
            [result.utterance.text for result in self.scored], [result.text for result in self.scored]
        )

    @cached_property
    def by_voice(self) -> dict[str, Group]:
        """The voices, that with most words first; utterances without a voice are left out."""
        voices: dict[str, list[Result]] = {}
        for result in self.scored:
            if result.utterance.voice:
                voices.setdefault(result.utterance.voice, []).append(result)
        groups = {voice: Group(tuple(results)) for voice, results in voices.items()}
        return dict(sorted(groups.items(), key=lambda item: (-item[1].errors.words, item[0])))

    @cached_property
    def by_length(self) -> dict[tuple[float, float], Group]:
        """The lengths that occur: from the first number of seconds to just below the second."""
        inside: dict[tuple[float, float], tuple[Result, ...]] = {
            (low, high): tuple(result for result in self.scored if low <= result.audio_seconds < high)
            for low, high in pairwise(LENGTHS)
        }
        return {bounds: Group(results) for bounds, results in inside.items() if results}

    @cached_property
    def by_noise(self) -> dict[Noise, Group]:
        """The noises that were added, each color from soft to loud."""
        order = sorted(self.noisy, key=lambda noise: (COLORS.index(noise.color), -noise.snr))
        return {noise: Group(_scored(self.noisy[noise])) for noise in order}

    @cached_property
    def confusions(self) -> Counter[AlignedWord]:
        """How often each wrong word was written, left out or put in, commonest first."""
        steps = Counter(step for result in self.scored for step in result.alignment if step.kind != "equal")
        words = {step: (step.reference or "", step.hypothesis or "") for step in steps}
        return Counter(dict(sorted(steps.items(), key=lambda item: (-item[1], words[item[0]]))))

    def commonest(self, kind: str, count: int = 10, *, least: int = 1) -> tuple[tuple[AlignedWord, int], ...]:
        """Return the commonest errors of one kind ("substitute", "insert" or "delete"), with their counts."""
        items = self.confusions.items()
        chosen = [(step, times) for step, times in items if step.kind == kind and times >= least]
        return tuple(chosen[:count])

    def worst(self, count: int = 10) -> tuple[Result, ...]:
        """Return the utterances with the highest word error rate, worst first, and none without an error."""
        wrong = [result for result in self.scored if result.errors.errors]
        wrong.sort(key=lambda result: (-result.errors.rate, -result.errors.errors))
        return tuple(wrong[:count])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python objects, ready for `json.dumps`; rates are fractions, times seconds."""
        low, high = self.interval
        return {
            **_rates(self.errors),
            "wer_low": low,
            "wer_high": high,
            "interval_confidence": CONFIDENCE,
            "cer": self.character_error_rate,
            "utterances": len(self.scored),
            "audio_seconds": sum(result.audio_seconds for result in self.scored),
            "seconds": sum(result.seconds for result in self.scored),
            "normalizer": NORMALIZER,
            "by_voice": {voice: group.to_dict() for voice, group in self.by_voice.items()},
            "by_length": [
                {
                    "from_seconds": least,
                    "below_seconds": None if most == inf else most,
                    **group.to_dict(),
                }
                for (least, most), group in self.by_length.items()
            ],
            "by_noise": [
                {"color": noise.color, "snr_db": noise.snr, **group.to_dict()}
                for noise, group in self.by_noise.items()
            ],
            "confusions": {
                name: [_confusion(*found) for found in self.commonest(kind, CONFUSIONS_KEPT)]
                for kind, (name, _) in KINDS.items()
            },
            "results": [
                {
                    "file": result.utterance.name,
                    "voice": result.utterance.voice,
                    "reference": result.utterance.text,
                    "text": result.text,
                    "audio_seconds": result.audio_seconds,
                    "seconds": result.seconds,
                    **_rates(result.errors),
                }
                for result in self.scored
            ],
            "failures": [
                {"file": result.utterance.name, "error": result.failure} for result in self.failures
            ],
        }

    def to_text(self, worst: int = 10) -> str:
        """Write the evaluation as lines for a terminal, with the alignment of the `worst` few."""
        errors, (low, high) = self.errors, self.interval
        audio_seconds = sum(result.audio_seconds for result in self.scored)
        seconds = sum(result.seconds for result in self.scored)
        lines = [
            f"WER {errors.rate:.1%}  ({CONFIDENCE:.0%} interval {low:.1%} to {high:.1%})",
            f"CER {self.character_error_rate:.1%}",
            f"{errors.words} words in {len(self.scored)} utterances: {errors.substitutions} substituted, "
            f"{errors.insertions} inserted, {errors.deletions} deleted",
            f"{audio_seconds:.1f} s of audio recognized in {seconds:.1f} s",
        ]
        lines += _confusions(self)
        lengths = {_length_name(*bounds): group for bounds, group in self.by_length.items()}
        if len(lengths) > 1:
            lines += ["", "By length", *_groups(lengths)]
        if self.by_noise:
            noises = {"none": Group(self.scored)} | {
                str(noise): group for noise, group in self.by_noise.items()
            }
            lines += ["", "By added noise and signal-to-noise ratio", *_groups(noises)]
        if self.by_voice:
            shown = dict(list(self.by_voice.items())[:MOST_VOICES])
            lines += ["", "By voice", *_groups(shown)]
            if more := len(self.by_voice) - len(shown):
                lines.append(f"  and {_count(more, 'voice')} with fewer words, see --json")
        if chosen := self.worst(worst):
            lines += ["", "Worst utterances"]
            for result in chosen:
                voice = f" ({result.utterance.voice})" if result.utterance.voice else ""
                lines.append(f"  {result.utterance.name}{voice}: {result.errors.rate:.1%}")
                lines += [f"    {row}" for row in _alignment_rows(result)]
        if self.failures:
            lines += ["", f"Not recognized, in no rate: {len(self.failures)}"]
            lines += [f"  {result.failure}" for result in self.failures]
        return "\n".join(lines)


def _groups(groups: dict[str, Group]) -> Iterable[str]:
    """One line a group, in columns."""
    rows = []
    for name, group in groups.items():
        interval = "{:.1%} to {:.1%}".format(*group.interval) if group.interval else ""
        counts = f"{_count(group.errors.words, 'word')} in {_count(len(group.results), 'utterance')}"
        rows.append((name, f"{group.errors.rate:.1%}", interval, counts))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, rate, interval, counts in rows:
        yield f"  {name:{widths[0]}}  {rate:>{widths[1]}}  {interval:{widths[2]}}  {counts}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _confusions(evaluation: Evaluation) -> Iterable[str]:
    """Write the commonest errors, a line for each kind with errors that were made more than once."""
    kinds = KINDS.items()
    shown = {title: evaluation.commonest(kind, MOST_CONFUSIONS, least=2) for kind, (_, title) in kinds}
    if any(shown.values()):
        yield from ("", "Errors made more than once")
    for title, errors in shown.items():
        if errors:
            words = [
                f"{' for '.join(filter(None, (step.hypothesis, step.reference)))} ({times})"
                for step, times in errors
            ]
            yield f"  {title:11}  {', '.join(words)}"


def _confusion(step: AlignedWord, times: int) -> dict[str, Any]:
    words = {"said": step.reference, "written": step.hypothesis}
    return {**{side: word for side, word in words.items() if word is not None}, "count": times}


def _alignment_rows(result: Result) -> tuple[str, str]:
    """Set the two texts above each other; stars stand where one of them has no word."""
    said, written = [], []
    for step in result.alignment:
        width = max(len(step.reference or ""), len(step.hypothesis or ""))
        # Wrong words are in capitals, so that they are seen without color.
        change = str if step.kind == "equal" else str.upper
        said.append(change(step.reference or "*" * width).ljust(width))
        written.append(change(step.hypothesis or "*" * width).ljust(width))
    return "said     " + " ".join(said).rstrip(), "written  " + " ".join(written).rstrip()


def _length_name(low: float, high: float) -> str:
    """Write a range of lengths for a person."""
    if low == 0:
        return f"below {high:g} s"
    return f"{low:g} s and longer" if high == inf else f"{low:g} to {high:g} s"


def _scored(results: Iterable[Result]) -> tuple[Result, ...]:
    return tuple(result for result in results if result.failure is None)


def _rates(errors: WordErrors) -> dict[str, float | int]:
    return {"wer": errors.rate, **asdict(errors)}


# Measuring --------------------------------------------------------------------------------------------------


def evaluate(
    utterances: Sequence[Utterance],
    recognize: Recognize,
    *,
    noises: Sequence[Noise] = (),
    on_result: Callable[[Result], None] | None = None,
) -> Evaluation:
    """Recognize a collection and count the errors.

    Parameters
    ----------
    utterances : sequence of Utterance
        What to recognize.
    recognize : callable
        Takes a waveform of shape (samples,), mono at 16 kHz, and returns the text.
    noises : sequence of Noise
        Noises to add: each recording is recognized as it is and once more with each of them.
    on_result : callable, optional
        Called with each result as it is ready, under noise too.

    Returns
    -------
    Evaluation
        The results; recordings that raised `OSError` or `ValueError` are among its failures, and are not
        tried again with noise.
    """
    by_noise: dict[Noise | None, list[Result]] = {noise: [] for noise in (None, *noises)}
    for utterance in utterances:
        for noise, results in by_noise.items():
            results.append(_recognized(utterance, recognize, noise))
            if on_result is not None:
                on_result(results[-1])
            if noise is None and results[-1].failure is not None:
                break
    plain = tuple(by_noise.pop(None))
    return Evaluation(plain, {noise: tuple(results) for noise, results in by_noise.items() if noise})


def _recognized(utterance: Utterance, recognize: Recognize, noise: Noise | None) -> Result:
    try:
        # What is odd about a recording shows in its errors; a page of warnings would hide them.
        waveform = load_audio(utterance.audio, on_warning=lambda _message: None)
        begin, lasts = utterance.piece
        waveform = waveform[round(begin * SAMPLE_RATE) :][: round(min(lasts, len(waveform)) * SAMPLE_RATE)]
        if not len(waveform):
            raise ValueError(f"{utterance.audio}: too short to have a piece at {begin:g} s")
        if noise is not None:
            waveform = add_noise(waveform, noise, utterance.name)
        start = time.perf_counter()
        text = recognize(waveform)
        seconds = time.perf_counter() - start
    except (OSError, ValueError) as error:
        return Result(utterance, "", WordErrors(0), 0.0, 0.0, failure=str(error))
    audio_seconds = len(waveform) / SAMPLE_RATE
    return Result(utterance, text, word_errors(utterance.text, text), audio_seconds, seconds)
