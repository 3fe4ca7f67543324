"""Word and character errors between what was said and what was written.

Both sides are normalized first, so that ``I'm`` and ``I am``, ``Mr.`` and ``mister`` or ``twenty one`` and
``21`` count as equal.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING

import jiwer
import numpy as np

if TYPE_CHECKING:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

__all__ = [
    "CONFIDENCE",
    "NORMALIZER",
    "AlignedWord",
    "WordErrors",
    "align_words",
    "bootstrap_interval",
    "character_error_rate",
    "normalize",
    "paired_difference",
    "total_errors",
    "word_errors",
]

# Whisper's list of British spellings comes with its checkpoints and not with transformers. It is left out:
# spellings count as written, and the word lists here are American.
NORMALIZER = "Whisper's English text normalizer (transformers), without its spelling map"

RESAMPLES = 1000  # collections drawn for an interval
CONFIDENCE = 0.95  # share of them that it holds


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
    output = jiwer.process_words(normalize(reference), normalize(hypothesis))
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
    return WordErrors(
        words=sum(errors.words for errors in each),
        substitutions=sum(errors.substitutions for errors in each),
        insertions=sum(errors.insertions for errors in each),
        deletions=sum(errors.deletions for errors in each),
    )


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
