"""What a recognizer made of a collection: error rates, of all of it and of its parts, and how sure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from math import inf
from typing import Any

from asrscope.recognition.evaluation.noise import COLORS, Noise
from asrscope.recognition.evaluation.utterances import Utterance
from asrscope.recognition.metrics import (
    NORMALIZER,
    AlignedWord,
    WordErrors,
    align_words,
    bootstrap_interval,
    character_error_rate,
    total_errors,
)

__all__ = ["CONFIDENCE", "Evaluation", "Group", "Result", "length_name"]

CONFIDENCE = 0.95  # of the intervals of the word error rate
FEWEST = 5  # utterances: of fewer, drawing them again says too little about others of their kind
LENGTHS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 15.0, 30.0, inf)  # seconds; fixed, so that runs can be compared
CONFUSIONS_KEPT = 50  # of each kind, in the JSON


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
        groups = {}
        for low, high in pairwise(LENGTHS):
            inside = tuple(result for result in self.scored if low <= result.audio_seconds < high)
            if inside:
                groups[low, high] = Group(inside)
        return groups

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
        """Return the commonest errors of one kind.

        Parameters
        ----------
        kind : {"substitute", "insert", "delete"}
            Which kind.
        count : int, default: 10
            At most how many.
        least : int, default: 1
            Only those made at least so often.

        Returns
        -------
        tuple of (AlignedWord, int)
            Each error and how often it was made, commonest first.
        """
        items = self.confusions.items()
        chosen = [(step, times) for step, times in items if step.kind == kind and times >= least]
        return tuple(chosen[:count])

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
                "substitutions": [
                    {"said": step.reference, "written": step.hypothesis, "count": times}
                    for step, times in self.commonest("substitute", CONFUSIONS_KEPT)
                ],
                "insertions": [
                    {"written": step.hypothesis, "count": times}
                    for step, times in self.commonest("insert", CONFUSIONS_KEPT)
                ],
                "deletions": [
                    {"said": step.reference, "count": times}
                    for step, times in self.commonest("delete", CONFUSIONS_KEPT)
                ],
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
        # It is written in terms of this.
        from asrscope.recognition.evaluation.text import page_of_text  # noqa: PLC0415

        return page_of_text(self, worst)


def length_name(low: float, high: float) -> str:
    """Write a range of lengths for a person."""
    if low == 0:
        return f"below {high:g} s"
    return f"{low:g} s and longer" if high == inf else f"{low:g} to {high:g} s"


def _scored(results: Iterable[Result]) -> tuple[Result, ...]:
    return tuple(result for result in results if result.failure is None)


def _rates(errors: WordErrors) -> dict[str, float | int]:
    return {"wer": errors.rate, **asdict(errors)}
