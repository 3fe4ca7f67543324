"""Kinds of exercise, and how each meets an answer: numbers, choices, programs, designs."""

import ast
import copy
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from asrscope_course.notes import Feedback
from asrscope_course.texts import Text
from asrscope_course.values import describe, first_values, is_empty, read_array, read_numbers, shape_of, told

__all__ = ["Case", "Choice", "Design", "Exercise", "Function", "Number"]

EXACT = 1e-9  # relative: rounding of floating-point arithmetic
NEAR = 0.05  # relative: a slip of rounding rather than another idea
CLOSE = 1e-4  # relative and absolute: float32 arithmetic in another order
LEAST_WORDS = 30  # of a design; fewer are no answer yet

# What wrong units do to a number: factor, and what to say of it.
UNITS = (
    (1e3, "This is a thousand times the value. Look at the unit that is asked for."),
    (1e-3, "This is a thousandth of the value. Look at the unit that is asked for."),
    (1e6, "This is a million times the value. Look at the unit that is asked for."),
    (1e-6, "This is a millionth of the value. Look at the unit that is asked for."),
    (1e9, "This is a thousand million times the value. Look at the unit that is asked for."),
    (1e-9, "This is a thousand millionth of the value. Look at the unit that is asked for."),
    (1e2, "This is a hundred times the value: percent instead of a fraction, perhaps."),
    (1e-2, "This is a hundredth of the value: a fraction instead of percent, perhaps."),
    (8.0, "This is eight times the value: bits instead of bytes, perhaps."),
    (1 / 8, "This is an eighth of the value: did you divide by the bits of a byte once too often?"),
    (1e3 / 2**10, "This counts 1,024 to the thousand. Here it is 1,000."),
    (1e6 / 2**20, "This counts 1,048,576 to the million. Here it is 1,000,000."),
    (1e9 / 2**30, "This counts in GiB, of 2 to the power of 30 bytes. Here a GB is 1,000,000,000 bytes."),
    (-1.0, "The size is right, the sign is not."),
)

Case = tuple[Any, ...]


@dataclass(frozen=True)
class Exercise(ABC):
    """What all kinds of exercise have.

    Attributes
    ----------
    text : Text
        Its words, filled with computed values.
    """

    text: Text
    kind: ClassVar[str] = "prediction"

    @property
    def task(self) -> str:
        """What to find out or to write."""
        return self.text.sections["Task"]

    @property
    def hint(self) -> str:
        """A step on the way."""
        return self.text.sections["Hint"]

    @property
    def program(self) -> str:
        """A program that solves it; empty if there is none."""
        return self.text.sections.get("Program", "")

    @property
    def answer_name(self) -> str:
        """What the second argument of `check` is called in examples."""
        return "answer"

    @property
    @abstractmethod
    def starter(self) -> str:
        """Program to begin with."""

    @property
    def solution(self) -> str:
        """What is right, the way to it, and the program, as Markdown."""
        return f"{self.text.sections['Solution']}\n\n```python\n{self.program}\n```"

    def check(self, answer: Any) -> Feedback:
        """Meet an answer, whatever it is."""
        if is_empty(answer):
            return Feedback("There is no answer yet: pass yours as the second argument.", False)
        return self._met(answer)

    @abstractmethod
    def _met(self, answer: Any) -> Feedback:
        """Meet an answer that is one."""


@dataclass(frozen=True)
class _Recognizing(Exercise):
    """Wrong ideas have names; what is said of each stands under that name in the text."""

    mistakes: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if set(self.mistakes) != set(self.remarks):
            raise ValueError(
                f"{self.text.number}: expected the mistakes {set(self.remarks)}, but found others"
            )

    @property
    def remarks(self) -> dict[str, str]:
        """What is said of each wrong idea."""
        return dict(self.text.items.get("Mistakes", ()))


@dataclass(frozen=True)
class Number(_Recognizing):
    """A prediction: a number, worked out on paper or by a program.

    Attributes
    ----------
    text : Text
        Its words; the program leaves the number in ``answer``.
    answer : int or float
        The right number.
    unit : str
        What it counts; may be empty.
    within : float
        Relative difference that counts as equal; 0 for counts.
    mistakes : mapping of str to number
        What wrong ideas give.
    """

    answer: int | float
    unit: str = field(default="", kw_only=True)
    within: float = field(default=0.0, kw_only=True)

    @property
    def starter(self) -> str:
        """Program to begin with."""
        return f"answer = ...{f'  # {self.unit}' if self.unit else ''}"

    @property
    def solution(self) -> str:
        """The number, the way to it, and the program."""
        return f"**Answer: {self.written}.** {super().solution}"

    @property
    def written(self) -> str:
        """The right number with its unit."""
        digits = f"{self.answer:,}" if isinstance(self.answer, int) else f"{self.answer:,.4g}"
        return f"{digits} {self.unit}".strip()

    def _met(self, answer: Any) -> Feedback:
        numbers = read_numbers(answer, self.unit)
        if not numbers:
            wanted = f"one number{f' ({self.unit})' if self.unit else ''}"
            return Feedback(f"Expected {wanted}, but found {describe(answer)}.", False)
        if any(self._equal(number, self.answer) for number in numbers):
            return Feedback(f"Right: {self.written}.", True)
        for name, mistake in self.mistakes.items():
            if any(self._equal(number, mistake) for number in numbers):
                return Feedback(f"Not yet. {self.remarks[name]}", False)
        return Feedback(f"Not yet. {self._difference(numbers[0])}", False)

    def _equal(self, number: float, other: int | float) -> bool:
        return math.isclose(number, other, rel_tol=max(self.within, EXACT), abs_tol=EXACT)

    def _difference(self, number: float) -> str:
        for factor, explanation in UNITS:
            if self._equal(number, factor * self.answer):
                return explanation
        if math.isclose(number, self.answer, rel_tol=NEAR):
            side = "above" if number > self.answer else "below"
            return f"Very close, a little {side} the value. Look at what is rounded, cut or left out."
        return f"The value is {'smaller' if number > self.answer else 'larger'}."


@dataclass(frozen=True)
class Choice(Exercise):
    """A prediction with answers to choose from.

    Attributes
    ----------
    text : Text
        Its words, with the options, A first.
    right : int
        Index of the right one, which was found by trying.
    """

    right: int

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """The answers, and why each is right or wrong."""
        return self.text.items["Options"]

    @property
    def letters(self) -> tuple[str, ...]:
        """Names of the options."""
        return tuple(chr(ord("A") + index) for index in range(len(self.options)))

    @property
    def listed(self) -> str:
        """The options as a Markdown list, each with its letter."""
        return "\n".join(
            f"- {letter}. {text}" for letter, (text, _) in zip(self.letters, self.options, strict=True)
        )

    @property
    def starter(self) -> str:
        """Program to begin with."""
        return f"answer = ...  # {', '.join(map(repr, self.letters))}"

    @property
    def solution(self) -> str:
        """The right option, the way to it, and what is to be said of each."""
        rows = zip(self.letters, self.options, strict=True)
        reasons = "\n".join(f"- {letter}. {why}" for letter, (_, why) in rows)
        return f"**{self.letters[self.right]}.** {self.text.sections['Solution']}\n\n{reasons}"

    def _met(self, answer: Any) -> Feedback:
        letter = answer.strip().strip(".()").upper() if isinstance(answer, str) else ""
        if letter not in self.letters:
            names = ", ".join(map(repr, self.letters))
            return Feedback(f"Expected one of {names}, but found {describe(answer)}.", False)
        index = self.letters.index(letter)
        verdict = "Right." if index == self.right else "Not yet."
        return Feedback(f"{verdict} {self.options[index][1]}", index == self.right)


@dataclass(frozen=True)
class Design(Exercise):
    """A question without one right answer: the rubric is shown beside what was written."""

    kind: ClassVar[str] = "design"

    @property
    def points(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The rubric, each point with beginnings of words that usually appear where it is spoken of."""
        return tuple(
            (text, tuple(words.strip("()").split(", "))) for text, words in self.text.items["Points"]
        )

    @property
    def sample(self) -> str:
        """One good answer."""
        return self.text.sections["Sample"]

    @property
    def starter(self) -> str:
        """Program to begin with."""
        return 'answer = """\n...\n"""'

    @property
    def solution(self) -> str:
        """The rubric and a good answer."""
        points = "\n".join(f"- {text}" for text, _ in self.points)
        return f"The rubric:\n\n{points}\n\nOne good answer:\n\n> {' '.join(self.sample.split())}"

    def _met(self, answer: Any) -> Feedback:
        if not isinstance(answer, str):
            return Feedback(f"Expected a text, but found {type(answer).__name__}.", False)
        words = re.findall(r"[\w'-]+", answer.lower())
        if len(words) < LEAST_WORDS:
            asked = f"Write your own answer first: at least {LEAST_WORDS} words. There are {len(words)}."
            return Feedback(f"{asked} The rubric is shown then.", False)
        lines = []
        for text, beginnings in self.points:
            found = next((word for word in words if word.startswith(beginnings)), None)
            mark = f'I found "{found}".' if found else "I found no word for it. Did you say it in others?"
            lines.append(f"- {text} *{mark}*")
        head = (
            "No program can judge a design. Read your answer beside this rubric; a good one has these points:"
        )
        return Feedback(f"{head}\n\n" + "\n".join(lines), None)


@dataclass(frozen=True)
class Function(_Recognizing):
    """A small function to write: it is run on random inputs beside the real one.

    Attributes
    ----------
    text : Text
        Its words; the program ends with the function.
    reference : callable
        The real one.
    cases : callable
        Given a random generator, returns the tuples of arguments to try.
    mistakes : mapping of str to callable
        What wrong ideas give.
    """

    reference: Callable[..., Any]
    cases: Callable[[np.random.Generator], Sequence[Case]]
    kind: ClassVar[str] = "program"

    @property
    def answer_name(self) -> str:
        """Name of the function."""
        return self._parsed.name

    @property
    def starter(self) -> str:
        """The program without the function's body, which begins behind its docstring."""
        docstring = self._parsed.body[0]
        return "\n".join([*self.program.splitlines()[: docstring.end_lineno], "    ..."])

    @property
    def _parsed(self) -> ast.FunctionDef:
        return [node for node in ast.parse(self.program).body if isinstance(node, ast.FunctionDef)][-1]

    def _met(self, answer: Any) -> Feedback:
        if not callable(answer):
            found = f"Expected the function `{self.answer_name}` itself, but found {describe(answer)}."
            return Feedback(f"{found} Pass its name without parentheses.", False)
        cases = self.cases(np.random.default_rng(0))
        answers = [_run(answer, case) for case in cases]
        expected = [_run(self.reference, case) for case in cases]
        wrong = [index for index, pair in enumerate(zip(answers, expected, strict=True)) if not _agree(*pair)]
        if not wrong:
            return Feedback(f"Right, on {len(cases)} random inputs.", True)
        first = wrong[0]
        difference = _difference(answers[first], expected[first], cases[first])
        for name, mistake in self.mistakes.items():
            if all(map(_agree, answers, [_run(mistake, case) for case in cases])):
                return Feedback(f"Not yet. {self.remarks[name]}\n\n{difference}", False)
        return Feedback(f"Not yet. {difference}", False)


@dataclass(frozen=True)
class _Outcome:
    """What a call gave: a value, or an error."""

    value: Any = None
    error: BaseException | None = None


def _run(function: Callable[..., Any], case: Case) -> _Outcome:
    """Call a function with copies of the arguments, so that it cannot change them for the next one."""
    try:
        return _Outcome(function(*copy.deepcopy(case)))
    except (
        Exception,
        SystemExit,
    ) as error:  # whatever a learner's program raises is explained, not passed on
        return _Outcome(error=error)


def _agree(own: _Outcome, real: _Outcome) -> bool:
    if own.error is not None or real.error is not None:
        return isinstance(own.error, ValueError) and isinstance(real.error, ValueError)
    first, second = read_array(own.value), read_array(real.value)
    if first is None or second is None or first.shape != second.shape:
        return False
    return bool(np.allclose(first, second, rtol=CLOSE, atol=CLOSE, equal_nan=True))


def _difference(own: _Outcome, real: _Outcome, case: Case) -> str:
    """Explain the first difference in a way that helps to find its cause."""
    call = f"Called with {', '.join(map(describe, case))}"
    if own.error is not None:
        if real.error is not None:
            return f"{call}, it should raise a ValueError. It raised another error: `{told(own.error)}`."
        raised = f"it raised an error: `{told(own.error)}`"
        return f"{call}, {raised}. Write the shapes of all arrays beside each line."
    if own.value is None:
        ending = "a ValueError was expected" if real.error else f"{describe(real.value)} was expected"
        return f"{call}, it gave None, where {ending}. Is there a `return`?"
    if real.error is not None:
        return f"{call}, it gave {describe(own.value)}, where a ValueError was expected: `{real.error}`"
    shape, wanted = shape_of(own.value), shape_of(real.value)
    if shape != wanted:
        gave = f"it gave {describe(own.value)}, where {describe(real.value)} was expected"
        return f"{call}, {gave}: {_axes(shape, wanted)}"
    return f"{call}, it gave {first_values(own.value)}, where {first_values(real.value)} was expected."


def _axes(shape: tuple[int, ...] | None, wanted: tuple[int, ...] | None) -> str:
    if shape is None or wanted is None:
        return "it is of another kind."
    if len(shape) != len(wanted):
        return f"it has {len(shape)} {'axis' if len(shape) == 1 else 'axes'}, and should have {len(wanted)}."
    if sorted(shape) == sorted(wanted):
        return "the axes have the right lengths in another order."
    wrong = [index for index, (own, real) in enumerate(zip(shape, wanted, strict=True)) if own != real]
    return " ".join(f"Axis {index} has length {shape[index]}, not {wanted[index]}." for index in wrong)
