"""Word error rate over a collection of recordings, with its uncertainty and the utterances that went worst.

Any recognizer can be measured: `evaluate` takes a function from waveform to text.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from asrscope.audio import SAMPLE_RATE, find_audio, load_audio
from asrscope.metrics import (
    NORMALIZER,
    WordErrors,
    align_words,
    bootstrap_interval,
    character_error_rate,
    total_errors,
    word_errors,
)

__all__ = ["Evaluation", "Result", "Utterance", "evaluate", "read_utterances"]

CONFIDENCE = 0.95  # of the interval of the word error rate

Recognize = Callable[[Float32[np.ndarray, " samples"]], str]


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
    """

    name: str
    audio: Path
    text: str
    voice: str | None = None


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


@dataclass(frozen=True)
class Evaluation:
    """Results of a collection, and the rates over it.

    Attributes
    ----------
    results : tuple of Result
        One for each utterance, in the order given.

    Raises
    ------
    ValueError
        From the rates, if not one utterance with words in its reference was recognized.
    """

    results: tuple[Result, ...]

    @property
    def scored(self) -> tuple[Result, ...]:
        """Results of the recordings that could be recognized."""
        return tuple(result for result in self.results if result.failure is None)

    @property
    def failures(self) -> tuple[Result, ...]:
        """Results of the recordings that could not."""
        return tuple(result for result in self.results if result.failure is not None)

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

    @property
    def by_voice(self) -> dict[str, WordErrors]:
        """Word errors of each voice, by name; utterances without a voice are left out."""
        voices = sorted({result.utterance.voice for result in self.scored if result.utterance.voice})
        return {
            voice: total_errors([r.errors for r in self.scored if r.utterance.voice == voice])
            for voice in voices
        }

    def worst(self, count: int = 10) -> tuple[Result, ...]:
        """Return the utterances with the highest word error rate, worst first.

        Parameters
        ----------
        count : int, default: 10
            At most how many; utterances without an error are never among them.

        Returns
        -------
        tuple of Result
            Sorted by rate, then by number of errors.
        """
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
            "by_voice": {voice: _rates(errors) for voice, errors in self.by_voice.items()},
            "results": [
                {
                    "file": result.utterance.name,
                    "voice": result.utterance.voice,
                    "reference": result.utterance.text,
                    "text": result.text,
                    **_rates(result.errors),
                }
                for result in self.scored
            ],
            "failures": [
                {"file": result.utterance.name, "error": result.failure} for result in self.failures
            ],
        }

    def to_text(self, worst: int = 10) -> str:
        """Write the evaluation as a page of text.

        Parameters
        ----------
        worst : int, default: 10
            How many of the worst utterances to show with their alignment.

        Returns
        -------
        str
            Lines for a terminal.
        """
        low, high = self.interval
        errors, seconds = self.errors, sum(result.seconds for result in self.scored)
        audio_seconds = sum(result.audio_seconds for result in self.scored)
        lines = [
            f"WER {errors.rate:.1%}  ({CONFIDENCE:.0%} interval {low:.1%} to {high:.1%})",
            f"CER {self.character_error_rate:.1%}",
            f"{errors.words} words in {len(self.scored)} utterances: {errors.substitutions} substituted, "
            f"{errors.insertions} inserted, {errors.deletions} deleted",
            f"{audio_seconds:.1f} s of audio recognized in {seconds:.1f} s",
        ]
        if self.by_voice:
            width = max(len(voice) for voice in self.by_voice)
            lines += ["", "By voice"]
            lines += [
                f"  {voice:{width}}  {one.rate:7.1%} of {one.words} words"
                for voice, one in self.by_voice.items()
            ]
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


def read_utterances(path: str | Path) -> tuple[Utterance, ...]:
    """Read what to evaluate: a manifest, or a folder of recordings with transcripts.

    Parameters
    ----------
    path : str or Path
        A JSON-lines file, each line an object with ``file`` (or ``audio``), ``text`` and possibly ``voice``,
        paths relative to the manifest; or a folder in which every recording has a text file of the same name
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


def evaluate(
    utterances: Sequence[Utterance],
    recognize: Recognize,
    *,
    on_result: Callable[[Result], None] | None = None,
) -> Evaluation:
    """Recognize a collection and count the errors.

    Parameters
    ----------
    utterances : sequence of Utterance
        What to recognize.
    recognize : callable
        Takes a waveform of shape (samples,), mono at 16 kHz, and returns the text.
    on_result : callable, optional
        Called with each result as it is ready.

    Returns
    -------
    Evaluation
        The results; recordings that raised `OSError` or `ValueError` are among its failures.
    """
    results = []
    for utterance in utterances:
        result = _recognized(utterance, recognize)
        results.append(result)
        if on_result is not None:
            on_result(result)
    return Evaluation(tuple(results))


def _recognized(utterance: Utterance, recognize: Recognize) -> Result:
    try:
        # What is odd about a recording shows in its errors; a page of warnings would hide them.
        waveform = load_audio(utterance.audio, on_warning=lambda _message: None)
        start = time.perf_counter()
        text = recognize(waveform)
        seconds = time.perf_counter() - start
    except (OSError, ValueError) as error:
        return Result(utterance, "", WordErrors(0), 0.0, 0.0, failure=str(error))
    audio_seconds = len(waveform) / SAMPLE_RATE
    return Result(utterance, text, word_errors(utterance.text, text), audio_seconds, seconds)


def _read_manifest(path: Path) -> Iterable[Utterance]:
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
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
        yield Utterance(name, path.parent / name, text, None if voice is None else str(voice))


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


def _rates(errors: WordErrors) -> dict[str, float | int]:
    return {"wer": errors.rate, **asdict(errors)}


def _alignment_rows(result: Result) -> tuple[str, str]:
    """Set the two texts above each other; stars stand where one of them has no word."""
    said, written = [], []
    for step in align_words(result.utterance.text, result.text):
        width = max(len(step.reference or ""), len(step.hypothesis or ""))
        # Wrong words are in capitals, so that they are seen without color.
        change = str if step.kind == "equal" else str.upper
        said.append(change(step.reference or "*" * width).ljust(width))
        written.append(change(step.hypothesis or "*" * width).ljust(width))
    return "said     " + " ".join(said).rstrip(), "written  " + " ".join(written).rstrip()
