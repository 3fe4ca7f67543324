"""Exercises whose answer is a function: it is run on random inputs beside the real one."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asrscope_course.kinds import NO_ANSWER, Exercise, Mistake
from asrscope_course.notes import Feedback

__all__ = ["Function", "describe"]

CLOSE = 1e-4  # relative and absolute: float32 arithmetic in another order
SHOWN = 6  # numbers of an array that are written out

Case = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Function(Exercise):
    """A small function to write.

    Attributes
    ----------
    name : str
        Of the function.
    stub : str
        Program to begin with: the signature, a docstring with shapes, no body.
    code : str
        A program that defines the function; part of the solution.
    reference : callable
        The real one.
    cases : callable
        Given a random generator, returns the tuples of arguments to try.
    mistakes : tuple of Mistake
        Functions that wrong ideas give.
    """

    name: str
    stub: str
    code: str
    reference: Callable[..., Any]
    cases: Callable[[np.random.Generator], Sequence[Case]]
    mistakes: tuple[Mistake, ...] = ()

    @property
    def kind(self) -> str:
        """What to call it."""
        return "program"

    @property
    def starter(self) -> str:
        """Program to begin with."""
        return self.stub

    @property
    def answer_name(self) -> str:
        """What the second argument of `check` is called in examples."""
        return self.name

    def check(self, answer: Any) -> Feedback:
        """Run the function on each case; explain the first difference, or name the idea behind it."""
        if answer is None or answer is Ellipsis:
            return Feedback(NO_ANSWER, False)
        if not callable(answer):
            told = f"Expected the function `{self.name}` itself, but found {describe(answer)}."
            return Feedback(f"{told} Pass its name without parentheses.", False)
        cases = self.cases(np.random.default_rng(0))
        answers = [_run(answer, case) for case in cases]
        expected = [_run(self.reference, case) for case in cases]
        pairs = zip(answers, expected, strict=True)
        wrong = [index for index, (own, real) in enumerate(pairs) if not _agree(own, real)]
        if not wrong:
            return Feedback(f"Right, on {len(cases)} random inputs.", True)
        first = wrong[0]
        told = _difference(answers[first], expected[first], cases[first])
        for mistake in self.mistakes:
            if all(map(_agree, answers, [_run(mistake.answer, case) for case in cases])):
                return Feedback(f"Not yet. {mistake.why}\n\n{told}", False)
        return Feedback(f"Not yet. {told}", False)


@dataclass(frozen=True)
class _Outcome:
    """What a call gave: a value, or an error."""

    value: Any = None
    error: Exception | None = None


def _run(function: Callable[..., Any], case: Case) -> _Outcome:
    """Call a function with copies of the arguments, so that it cannot change them for the next one."""
    try:
        return _Outcome(function(*copy.deepcopy(case)))
    except Exception as error:  # whatever a learner's program raises is explained, not passed on
        return _Outcome(error=error)


def _agree(own: _Outcome, real: _Outcome) -> bool:
    if own.error is not None or real.error is not None:
        return isinstance(own.error, ValueError) and isinstance(real.error, ValueError)
    return _same(own.value, real.value)


def _same(value: Any, expected: Any) -> bool:
    if isinstance(expected, str) or isinstance(value, str):
        return bool(value == expected)
    own, real = _array(value), _array(expected)
    if own is None or real is None or own.shape != real.shape:
        return False
    return bool(np.allclose(own, real, rtol=CLOSE, atol=CLOSE, equal_nan=True))


def _array(value: Any) -> np.ndarray | None:
    """Bring arrays, tensors, lists and numbers into one form; None if it is none of these."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _difference(own: _Outcome, real: _Outcome, case: Case) -> str:
    """Explain the first difference in a way that helps to find its cause."""
    call = f"Called with {', '.join(map(describe, case))}"
    if own.error is not None:
        told = f"{type(own.error).__name__}: {own.error}".strip().rstrip(":")
        if real.error is not None:
            return f"{call}, it should raise a ValueError. It raised another error: `{told}`."
        return f"{call}, it raised an error: `{told}`. Write the shapes of all arrays beside each line."
    if own.value is None:
        ending = "a ValueError was expected" if real.error else f"{describe(real.value)} was expected"
        return f"{call}, it gave None, where {ending}. Is there a `return`?"
    if real.error is not None:
        return f"{call}, it gave {describe(own.value)}, where a ValueError was expected: `{real.error}`"
    shape, wanted = _shape(own.value), _shape(real.value)
    if shape != wanted:
        gave = f"it gave {describe(own.value)}, where {describe(real.value)} was expected"
        return f"{call}, {gave}: {_axes(shape, wanted)}"
    return f"{call}, it gave {_values(own.value)}, where {_values(real.value)} was expected."


def _shape(value: Any) -> tuple[int, ...] | None:
    array = _array(value)
    return None if array is None else array.shape


def _axes(shape: tuple[int, ...] | None, wanted: tuple[int, ...] | None) -> str:
    if shape is None or wanted is None:
        return "it is of another kind."
    if len(shape) != len(wanted):
        return f"it has {_count(len(shape), 'axis', 'axes')}, and should have {len(wanted)}."
    if sorted(shape) == sorted(wanted):
        return "the axes have the right lengths in another order."
    wrong = [index for index, (own, real) in enumerate(zip(shape, wanted, strict=True)) if own != real]
    return " ".join(f"Axis {index} has length {shape[index]}, not {wanted[index]}." for index in wrong)


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def describe(value: Any) -> str:
    """Say in a few words what a value is.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    str
        A short value itself, an array's shape, otherwise the type.
    """
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    if value is None or isinstance(value, bool | int | float | np.number):
        return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
    if isinstance(value, list | tuple) and len(value) <= SHOWN and not any(_shape(item) for item in value):
        brackets = "()" if isinstance(value, tuple) else "[]"
        return brackets[0] + ", ".join(map(describe, value)) + brackets[1]
    shape = _shape(value)
    if shape is None:
        return f"{type(value).__name__}"
    return f"an array of shape {shape}"


def _values(value: Any) -> str:
    """Write the first values of an array."""
    array = _array(value)
    if isinstance(value, str) or array is None or array.ndim == 0:
        return describe(value)
    flat = ", ".join(f"{number:.4g}" for number in array.ravel()[:SHOWN])
    return f"[{flat}{', ...' if array.size > SHOWN else ''}]"
