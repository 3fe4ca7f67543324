"""Class 4, evaluation and deployment: error rates by hand, their limits and uncertainty, files."""

import numpy as np
from numpy import ndarray

from asrscope.loading.checkpoints import CHECKPOINTS
from asrscope.recognition.metrics import WordErrors, total_errors, word_errors
from asrscope_course.engine import exercise
from asrscope_course.kinds import Case, Function, Number
from asrscope_course.material import part_parameters, sentence, tiny
from asrscope_course.texts import Text

__all__: list[str] = []

SAID = "the old captain told us a story about the sea"
WRITTEN = "the cold captain told a story about about about the sea"
LOOP_SAID, LOOP_WRITTEN = "yes please", "yes yes yes yes yes please please please"
ERRORS, WORDS = (1, 1, 0), (1, 19, 10)


@exercise("4.1")
def _word_error_rate(text: Text) -> Function:
    return Function(
        text.filled(),
        lambda reference, hypothesis: word_errors(reference, hypothesis).rate,
        _texts,
        mistakes={
            "in_place": lambda reference, hypothesis: _in_place(reference.split(), hypothesis.split()),
            "by_hypothesis": lambda reference, hypothesis: (
                _distance(reference.split(), hypothesis.split()) / max(1, len(hypothesis.split()))
            ),
            "characters": lambda reference, hypothesis: (
                _distance(list(reference), list(hypothesis)) / len(reference)
            ),
            "count": lambda reference, hypothesis: _distance(reference.split(), hypothesis.split()),
            "sets": lambda reference, hypothesis: (
                len(set(reference.split()) ^ set(hypothesis.split())) / len(reference.split())
            ),
            "accuracy": lambda reference, hypothesis: 1 - word_errors(reference, hypothesis).rate,
        },
    )


@exercise("4.2")
def _by_hand(text: Text) -> Number:
    errors, written = word_errors(SAID, WRITTEN), WRITTEN.split()
    return Number(
        text.filled(said=SAID, written=WRITTEN, errors=errors),
        errors.rate,
        within=0.005,
        mistakes={
            "by_hypothesis": errors.errors / len(written),
            "no_insertions": (errors.substitutions + errors.deletions) / errors.words,
            "substitutions_alone": errors.substitutions / errors.words,
            "in_place": _in_place(SAID.split(), written),
            "accuracy": 1 - errors.rate,
        },
    )


@exercise("4.3")
def _collection(text: Text) -> Number:
    each = [WordErrors(words, substitutions=errors) for words, errors in zip(WORDS, ERRORS, strict=True)]
    rates = [one.rate for one in each]
    return Number(
        text.filled(words=WORDS, errors=ERRORS, all=total_errors(each)),
        total_errors(each).rate,
        within=0.005,
        mistakes={
            "mean_of_rates": float(np.mean(rates)),
            "sentence_errors": sum(errors > 0 for errors in ERRORS) / len(ERRORS),
            "median": float(np.median(rates)),
        },
    )


@exercise("4.4")
def _loop(text: Text) -> Number:
    errors = word_errors(LOOP_SAID, LOOP_WRITTEN)
    return Number(
        text.filled(said=LOOP_SAID, written=LOOP_WRITTEN, errors=errors),
        errors.rate,
        within=0.005,
        mistakes={
            "at_most_one": 1.0,
            "by_hypothesis": errors.insertions / len(LOOP_WRITTEN.split()),
            "all_there": 0.0,
            "count": errors.insertions,
        },
    )


@exercise("4.5")
def _resampled(text: Text) -> Function:
    return Function(
        text.filled(),
        lambda errors, words, drawn: errors[drawn].sum() / words[drawn].sum(),
        _draws,
        mistakes={
            "mean_of_rates": lambda errors, words, drawn: (errors[drawn] / words[drawn]).mean(),
            "all_words": lambda errors, words, drawn: errors[drawn].sum() / words.sum(),
            "not_drawn": lambda errors, words, _drawn: errors.sum() / words.sum(),
            "once_each": lambda errors, words, drawn: (
                errors[np.unique(drawn)].sum() / words[np.unique(drawn)].sum()
            ),
        },
    )


@exercise("4.6")
def _file_size(text: Text) -> Number:
    total = sum(part_parameters().values())
    config = tiny()[0].config.text_config
    weights = CHECKPOINTS / "tiny" / "model.safetensors"
    return Number(
        text.filled(total=total),
        weights.stat().st_size / 1e6,
        unit="MB",
        within=0.01,
        mistakes={
            "float32": 4 * total / 1e6,
            "int8": total / 1e6,
            "bits": 16 * total / 1e6,
            "table_twice": 2 * (total + config.vocab_size * config.hidden_size) / 1e6,
        },
    )


def _distance(said: list[str], written: list[str]) -> int:
    """Edit distance."""
    above = list(range(len(written) + 1))
    for row, word in enumerate(said, start=1):
        costs = [row]
        for column, other in enumerate(written, start=1):
            costs.append(min(above[column - 1] + (word != other), above[column] + 1, costs[-1] + 1))
        above = costs
    return above[-1]


def _in_place(said: list[str], written: list[str]) -> float:
    """Compare word by word without an alignment."""
    wrong = sum(one != other for one, other in zip(said, written, strict=False))
    return (wrong + abs(len(said) - len(written))) / len(said)


def _texts(rng: np.random.Generator) -> list[Case]:
    """Draw sentences, and the same with words replaced, left out and put in."""
    cases: list[Case] = []
    for length in (1, 3, 6, 8, 10, 12):
        said = sentence(rng, length)
        written = [word for word in said if rng.random() > 0.2]
        for place in range(len(written)):
            if rng.random() < 0.2:
                written[place] = sentence(rng, 1)[0]
        for word in sentence(rng, int(rng.integers(0, 3))):
            written.insert(int(rng.integers(0, len(written) + 1)), word)
        cases.append((" ".join(said), " ".join(written)))
    return cases


def _draws(rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for utterances in (4, 9, 20):
        words: ndarray = rng.integers(3, 15, size=utterances)
        errors = rng.integers(0, 4, size=utterances)
        drawn = rng.integers(0, utterances, size=utterances)
        drawn[1] = drawn[0]  # one of them twice, so that another is left out
        cases.append((errors, words, drawn))
    return cases
