"""Word and character errors between what was said and what was written: of sentences, and of a collection.

Both sides are normalized first, so that ``I'm`` and ``I am``, ``Mr.`` and ``mister`` or ``twenty one`` and
``21`` count as equal. Any recognizer can be measured: `evaluate` takes a function from waveform to text.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from itertools import zip_longest
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jiwer
import numpy as np
from jaxtyping import Float32

from asrscope.audio import SAMPLE_RATE, find_audio, load_audio

if TYPE_CHECKING:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

__all__ = [
    "CONFIDENCE",
    "NORMALIZER",
    "AlignedWord",
    "Evaluation",
    "Recognize",
    "Result",
    "Utterance",
    "WordErrors",
    "align_words",
    "bootstrap_interval",
    "character_error_rate",
    "evaluate",
    "normalize",
    "paired_difference",
    "read_utterances",
    "total_errors",
    "word_errors",
]

# Whisper's list of British spellings comes with its checkpoints and not with transformers. It is left out:
# spellings count as written, and the word lists here are American.
NORMALIZER = "Whisper's English text normalizer (transformers), without its spelling map"

RESAMPLES = 1000  # collections drawn for an interval
CONFIDENCE = 0.95  # share of them that it holds
FEWEST = 5  # utterances: of fewer, drawing them again says too little about others of their kind
CONFUSIONS_KEPT = 50  # in the JSON
ERRORS_SHOWN = 10  # of each kind
VOICES_SHOWN = 20
# In a table of recordings they say that a row is a piece of its file.
PIECE_KEYS = (
    *("offset", "start", "begin", "end", "stop"),
    *("start_time", "begin_time", "end_time", "segment_start"),
)

Recognize = Callable[[Float32[np.ndarray, " samples"]], str]


# Sentences --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WordErrors:
    """Counts of one comparison, or of many added up.

    Attributes
    ----------
    words : int
        Words of the reference.
    substitutions, insertions, deletions : int
        Words written wrong, written and not said, said and not written.
    """

    words: int
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0

    @property
    def errors(self) -> int:
        """All three kinds of error together."""
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Word error rate: errors per word of the reference; an empty reference counts as one word."""
        return self.errors / max(self.words, 1)


@dataclass(frozen=True)
class AlignedWord:
    """One step of the alignment of what was said with what was written.

    Attributes
    ----------
    kind : {"equal", "substitute", "insert", "delete"}
        What happened to the word.
    reference, hypothesis : str or None
        The word said and the word written; None where there is none.
    """

    kind: str
    reference: str | None
    hypothesis: str | None


@cache
def _normalizer() -> "EnglishTextNormalizer":
    # Imported here because transformers takes a second to import, and texts are often not compared at all.
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer  # noqa: PLC0415

    return EnglishTextNormalizer({})


def normalize(text: str) -> str:
    """Bring a text into the form in which words are compared.

    Lower case, no punctuation, contractions written out, numbers as digits, fillers (``um``) and anything in
    brackets removed.

    Parameters
    ----------
    text : str
        English text.

    Returns
    -------
    str
        Words separated by single spaces; may be empty.

    References
    ----------
    .. [1] A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022, appendix C.
    """
    return str(_normalizer()(text)).strip()


def _compared(references: Sequence[str], hypotheses: Sequence[str]) -> jiwer.WordOutput:
    return jiwer.process_words([*map(normalize, references)], [*map(normalize, hypotheses)])


def align_words(reference: str, hypothesis: str) -> tuple[AlignedWord, ...]:
    """Align two texts word by word with the fewest errors.

    Parameters
    ----------
    reference : str
        What was said.
    hypothesis : str
        What was written.

    Returns
    -------
    tuple of AlignedWord
        The normalized words of both texts in order.
    """
    output = _compared([reference], [hypothesis])
    said, written = output.references[0], output.hypotheses[0]
    aligned: list[AlignedWord] = []
    for chunk in output.alignments[0]:
        before = said[chunk.ref_start_idx : chunk.ref_end_idx]
        after = written[chunk.hyp_start_idx : chunk.hyp_end_idx]
        aligned += [AlignedWord(str(chunk.type), *words) for words in zip_longest(before, after)]
    return tuple(aligned)


def word_errors(reference: str, hypothesis: str) -> WordErrors:
    """Count the word errors of one utterance.

    Parameters
    ----------
    reference : str
        What was said.
    hypothesis : str
        What was written.

    Returns
    -------
    WordErrors
        Counts over the normalized words.
    """
    kinds = Counter(step.kind for step in align_words(reference, hypothesis))
    words = kinds.total() - kinds["insert"]
    return WordErrors(words, kinds["substitute"], kinds["insert"], kinds["delete"])


def total_errors(each: Sequence[WordErrors]) -> WordErrors:
    """Add up the counts of many utterances: the rate of the sum is the word error rate of the collection.

    Parameters
    ----------
    each : sequence of WordErrors
        Counts of the utterances.

    Returns
    -------
    WordErrors
        Their sum.
    """
    counts = Counter[str]()
    for errors in each:
        counts.update(asdict(errors))
    return WordErrors(**{"words": 0, **counts})


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Character errors per character of the references, spaces included.

    Parameters
    ----------
    references : sequence of str
        What was said.
    hypotheses : sequence of str
        What was written, in the same order.

    Returns
    -------
    float
        0 if all is right; may be above 1.

    Raises
    ------
    ValueError
        If the lengths differ or the references hold no character.
    """
    said = [normalize(text) for text in references]
    written = [normalize(text) for text in hypotheses]
    if len(said) != len(written):
        raise ValueError(f"expected as many hypotheses as references ({len(said)}), but found {len(written)}")
    if not any(said):
        raise ValueError("expected references with words in them, but found none")
    return float(jiwer.process_characters(said, written).cer)


def bootstrap_interval(each: Sequence[WordErrors], *, seed: int = 0) -> tuple[float, float]:
    """Interval of the word error rate, 95 % wide, if other utterances of the same kind had been drawn.

    Utterances, not words, are drawn with replacement: errors within an utterance go together.

    Parameters
    ----------
    each : sequence of WordErrors
        Counts of the utterances.
    seed : int, default: 0
        Of the random generator: equal input gives an equal interval.

    Returns
    -------
    low : float
        Lower bound of the word error rate.
    high : float
        Upper bound.

    Raises
    ------
    ValueError
        If there is no utterance or no word of reference.

    References
    ----------
    .. [1] M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
       ICASSP 2004.
    """
    return _resampled([one.errors for one in each], [one.words for one in each], seed)


def paired_difference(
    first: Sequence[WordErrors], second: Sequence[WordErrors], *, seed: int = 0
) -> tuple[float, float, float]:
    """Compare two models that heard the same utterances: the second's word error rate minus the first's.

    Both are resampled with the same draws, so that utterances which are hard for both cancel. The interval is
    narrower than two separate ones let expect, which may overlap although one model is better.

    Parameters
    ----------
    first, second : sequence of WordErrors
        Counts of the same utterances, in the same order.
    seed : int, default: 0
        Of the random generator: equal input gives an equal interval.

    Returns
    -------
    difference, low, high : float
        Below 0: the second makes fewer errors. Where the interval holds 0, neither is shown to be better.

    Raises
    ------
    ValueError
        If the utterances are not the same, or there is no word of reference.

    References
    ----------
    .. [1] M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
       ICASSP 2004.
    """
    words = [one.words for one in first]
    if [one.words for one in second] != words:
        raise ValueError(
            f"expected two models on the same utterances, but found {len(first)} and {len(second)} with "
            "other numbers of words. Score both on one list of clips, in one order"
        )
    more = [two.errors - one.errors for one, two in zip(first, second, strict=True)]
    interval = _resampled(more, words, seed)
    return sum(more) / sum(words), *interval


def _resampled(errors: Sequence[int], words: Sequence[int], seed: int) -> tuple[float, float]:
    """Draw utterances with replacement again and again: the interval of their errors per word."""
    if not sum(words):
        raise ValueError("expected utterances with words in their references, but found none")
    counts = np.array([errors, words])
    rng = np.random.default_rng(seed)
    rates = np.empty(RESAMPLES)
    for index in range(RESAMPLES):  # one by one: all at once would fill the memory
        wrong, said = counts[:, rng.integers(len(words), size=len(words))].sum(axis=1)
        rates[index] = wrong / max(said, 1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(rates, [tail, 1 - tail])
    return float(low), float(high)


# What to evaluate -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it.

    Attributes
    ----------
    name : str
        What to call it in a report: its path as the manifest gives it.
    audio : Path or bytes
        The recording.
    text : str
        What is said.
    voice : str or None
        Who says it, if known.
    piece : tuple of float
        Where it begins in the recording, and how long it is: seconds.
    """

    name: str
    audio: Path | bytes
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
    audio_seconds, seconds : float
        Length of the recording, and time taken to recognize it.
    failure : str or None
        Why the recording could not be recognized; such a result counts in no rate.
    """

    utterance: Utterance
    text: str
    audio_seconds: float
    seconds: float
    failure: str | None = None

    @cached_property
    def alignment(self) -> tuple[AlignedWord, ...]:
        """What was said beside what was written, word by word."""
        return align_words(self.utterance.text, self.text)

    @cached_property
    def errors(self) -> WordErrors:
        """Counts against the reference."""
        return word_errors(self.utterance.text, self.text)


@dataclass(frozen=True)
class Evaluation:
    """Results of a collection, or of a part of it, and the rates over them.

    Attributes
    ----------
    results : tuple of Result
        One for each utterance, in the order given.
    """

    results: tuple[Result, ...]

    @cached_property
    def scored(self) -> tuple[Result, ...]:
        """Results of the recordings that could be recognized."""
        return tuple(result for result in self.results if result.failure is None)

    @property
    def failures(self) -> tuple[Result, ...]:
        """Results of the recordings that could not."""
        return tuple(result for result in self.results if result.failure is not None)

    @cached_property
    def errors(self) -> WordErrors:
        """Word errors of all of them; its ``rate`` is the word error rate."""
        return total_errors([result.errors for result in self.scored])

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Bootstrap interval of the word error rate, 95 % wide; None of few utterances or without an error.

        Drawing a handful of utterances again, or utterances that are all right, gives too narrow an interval.
        """
        if len(self.scored) < FEWEST or not self.errors.words or not self.errors.errors:
            return None
        return bootstrap_interval([result.errors for result in self.scored])

    @cached_property
    def character_error_rate(self) -> float:
        """Character errors per character of the references; a `ValueError` if these hold no character."""
        return character_error_rate(*self._texts)

    @property
    def _texts(self) -> tuple[list[str], list[str]]:
        return [result.utterance.text for result in self.scored], [result.text for result in self.scored]

    def by(self, what: Callable[[Utterance], str | None]) -> dict[str, "Evaluation"]:
        """Divide it, the part with most words first; utterances of which nothing is known are left out."""
        parts: dict[str, list[Result]] = {}
        for result in self.scored:
            if part := what(result.utterance):
                parts.setdefault(part, []).append(result)
        found = {part: Evaluation(tuple(results)) for part, results in parts.items()}
        return dict(sorted(found.items(), key=lambda item: (-item[1].errors.words, item[0])))

    @cached_property
    def by_voice(self) -> dict[str, "Evaluation"]:
        """The voices, that with most words first."""
        return self.by(lambda utterance: utterance.voice)

    @cached_property
    def confusions(self) -> Counter[AlignedWord]:
        """How often each wrong word was written, left out or put in, commonest first."""
        steps = Counter(step for result in self.scored for step in result.alignment if step.kind != "equal")
        words = {step: (step.reference or "", step.hypothesis or "") for step in steps}
        return Counter(dict(sorted(steps.items(), key=lambda item: (-item[1], words[item[0]]))))

    def worst(self, count: int = 10) -> tuple[Result, ...]:
        """Return the utterances with the highest word error rate, worst first, and none without an error."""
        wrong = [result for result in self.scored if result.errors.errors]
        wrong.sort(key=lambda result: (-result.errors.rate, -result.errors.errors))
        return tuple(wrong[:count])

    def rates(self) -> dict[str, Any]:
        """Give counts, rates and interval (None where there is none) as plain Python objects."""
        low, high = self.interval or (None, None)
        return {**_counts(self.errors), "utterances": len(self.scored), "wer_low": low, "wer_high": high}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python objects, ready for `json.dumps`; rates are fractions, times seconds."""
        return {
            **self.rates(),
            "interval_confidence": CONFIDENCE,
            "cer": self.character_error_rate,
            "audio_seconds": sum(result.audio_seconds for result in self.scored),
            "seconds": sum(result.seconds for result in self.scored),
            "normalizer": NORMALIZER,
            "by_voice": {voice: group.rates() for voice, group in self.by_voice.items()},
            "confusions": [
                {"said": step.reference, "written": step.hypothesis, "count": times}
                for step, times in self.confusions.most_common(CONFUSIONS_KEPT)
            ],
            "results": [
                {
                    "file": result.utterance.name,
                    "voice": result.utterance.voice,
                    "reference": result.utterance.text,
                    "text": result.text,
                    "audio_seconds": result.audio_seconds,
                    "seconds": result.seconds,
                    **_counts(result.errors),
                }
                for result in self.scored
            ],
            "failures": [
                {"file": result.utterance.name, "error": result.failure} for result in self.failures
            ],
        }

    def to_text(self, worst: int = 10) -> str:
        """Write the evaluation as lines for a terminal, with the alignment of the `worst` few."""
        audio_seconds = sum(result.audio_seconds for result in self.scored)
        seconds = sum(result.seconds for result in self.scored)
        lines = [
            f"WER {_rate(self)}",
            f"CER {self.character_error_rate:.1%}",
            f"{self.errors.words} words in {len(self.scored)} utterances: {self.errors.substitutions} "
            f"substituted, {self.errors.insertions} inserted, {self.errors.deletions} deleted",
            f"{audio_seconds:.1f} s of audio recognized in {seconds:.1f} s",
        ]
        if self.errors.errors:
            lines += ["", jiwer.visualize_error_counts(_compared(*self._texts), top_k=ERRORS_SHOWN).rstrip()]
        if self.by_voice:
            shown = list(self.by_voice.items())[:VOICES_SHOWN]
            lines += ["", "By voice"]
            lines += [f"  {voice}: {_rate(group)} of {group.errors.words} words" for voice, group in shown]
            if more := len(self.by_voice) - len(shown):
                lines.append(f"  and {more} more with fewer words, see --json")
        if chosen := self.worst(worst):
            lines += ["", "Worst utterances"]
            for result in chosen:
                voice = f" ({result.utterance.voice})" if result.utterance.voice else ""
                lines.append(f"  {result.utterance.name}{voice}: {result.errors.rate:.1%}")
                aligned = _compared([result.utterance.text], [result.text])
                _, *rows = jiwer.visualize_alignment(aligned, show_measures=False).split("\n")
                lines += [f"    {row}" for row in rows if row]
        if self.failures:
            lines += ["", f"Not recognized, in no rate: {len(self.failures)}"]
            lines += [f"  {result.failure}" for result in self.failures]
        return "\n".join(lines)


def _counts(errors: WordErrors) -> dict[str, float | int]:
    return {"wer": errors.rate, **asdict(errors)}


def _rate(evaluation: Evaluation) -> str:
    """Write a word error rate, with its interval where it has one."""
    rate = f"{evaluation.errors.rate:.1%}"
    if evaluation.interval is None:
        return rate
    low, high = evaluation.interval
    return f"{rate} ({CONFIDENCE:.0%} interval {low:.1%} to {high:.1%})"


# Measuring --------------------------------------------------------------------------------------------------


def evaluate(
    utterances: Iterable[Utterance],
    recognize: Recognize,
    *,
    on_result: Callable[[Result], None] = lambda _result: None,
) -> Evaluation:
    """Recognize a collection and count the errors.

    Parameters
    ----------
    utterances : iterable of Utterance
        What to recognize.
    recognize : callable
        Takes a waveform of shape (samples,), mono at 16 kHz, and returns the text. To measure under noise, or
        at another tempo, let it change the waveform first, with `asrscope.inside.counterfactual`.
    on_result : callable, optional
        Called with each result as it is ready.

    Returns
    -------
    Evaluation
        The results; recordings that raised `OSError` or `ValueError` are among its failures.
    """
    results = []
    for utterance in utterances:
        results.append(_recognized(utterance, recognize))
        on_result(results[-1])
    return Evaluation(tuple(results))


def _recognized(utterance: Utterance, recognize: Recognize) -> Result:
    try:
        # What is odd about a recording shows in its errors; a page of warnings would hide them.
        waveform = load_audio(utterance.audio, on_warning=lambda _message: None)
        begin, lasts = utterance.piece
        waveform = waveform[round(begin * SAMPLE_RATE) :][: round(min(lasts, len(waveform)) * SAMPLE_RATE)]
        if not len(waveform):
            raise ValueError(f"{utterance.name}: too short to have a piece at {begin:g} s")
        start = time.perf_counter()
        text = recognize(waveform)
        seconds = time.perf_counter() - start
    except (OSError, ValueError) as error:
        return Result(utterance, "", 0.0, 0.0, failure=str(error))
    return Result(utterance, text, len(waveform) / SAMPLE_RATE, seconds)
