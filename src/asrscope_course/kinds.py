"""Kinds of exercise, and how each meets an answer: numbers, choices, designs. Functions are in `coding`."""

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from asrscope_course.notes import Feedback

__all__ = ["Choice", "Design", "Exercise", "Mistake", "Number", "Option", "Point"]

EXACT = 1e-9  # relative: rounding of floating-point arithmetic
NO_ANSWER = "There is no answer yet: pass yours as the second argument."

# What wrong units do to a number: factor, and what to say of it.
UNITS = (
    (1e3, "This is a thousand times the value. Look at the unit that is asked for."),
    (1e-3, "This is a thousandth of the value. Look at the unit that is asked for."),
    (1e6, "This is a million times the value. Look at the unit that is asked for."),
    (1e-6, "This is a millionth of the value. Look at the unit that is asked for."),
    (1e9, "This is a thousand million times the value. Look at the unit that is asked for."),
    (1e-9, "This is a thousand millionth of the value. Look at the unit that is asked for."),
    (1e2, "This is a hundred times the value: percent in the place of a fraction, perhaps."),
    (1e-2, "This is a hundredth of the value: a fraction in the place of percent, perhaps."),
    (8.0, "This is eight times the value: bits in the place of bytes, perhaps."),
    (1 / 8, "This is an eighth of the value: did you divide by the bits of a byte once too often?"),
    (1e3 / 2**10, "This counts 1,024 to the thousand. Here it is 1,000."),
    (1e6 / 2**20, "This counts 1,048,576 to the million. Here it is 1,000,000."),
    (1e9 / 2**30, "This counts in GiB, of 2 to the power of 30 bytes. Here a GB is 1,000,000,000 bytes."),
    (-1.0, "The size is right, the sign is not."),
)
NEAR = 0.05  # relative: a slip of rounding rather than another idea


@dataclass(frozen=True)
class Mistake:
    """An answer that a usual wrong idea gives.

    Attributes
    ----------
    answer : number or function
        What the idea gives.
    why : str
        The idea, and what is wrong with it.
    """

    answer: Any
    why: str


@dataclass(frozen=True, kw_only=True)
class Exercise(ABC):
    """What all kinds of exercise have; all texts are Markdown.

    Attributes
    ----------
    task : str
        What to find out or to write.
    hint : str
        A step on the way.
    solution : str
        The way, explained.
    """

    task: str
    hint: str
    solution: str

    @property
    @abstractmethod
    def kind(self) -> str:
        """What to call it."""

    @property
    def starter(self) -> str:
        """Program to begin with; empty if there is none."""
        return ""

    @property
    def answer_name(self) -> str:
        """What the second argument of `check` is called in examples."""
        return "answer"

    @abstractmethod
    def check(self, answer: Any) -> Feedback:
        """Meet an answer."""


@dataclass(frozen=True, kw_only=True)
class Number(Exercise):
    """A prediction: a number, worked out on paper or by a program.

    Attributes
    ----------
    answer : int or float
        The right number.
    unit : str
        What it counts; may be empty.
    within : float
        Relative difference that counts as equal; 0 for counts.
    mistakes : tuple of Mistake
        Numbers that wrong ideas give.
    code : str
        A program that leaves the number in ``answer``; part of the solution.
    """

    answer: int | float
    code: str
    unit: str = ""
    within: float = 0.0
    mistakes: tuple[Mistake, ...] = ()

    @property
    def kind(self) -> str:
        """What to call it."""
        return "prediction"

    @property
    def starter(self) -> str:
        """Program to begin with."""
        return f"answer = ...{f'  # {self.unit}' if self.unit else ''}"

    def check(self, answer: Any) -> Feedback:
        """Compare with the right number, then with those of wrong ideas."""
        if answer is None or answer is Ellipsis or answer == "":
            return Feedback(NO_ANSWER, False)
        number = _number(answer)
        if number is None:
            return Feedback(f"Expected one number, but found {type(answer).__name__}: {answer!r:.60}.", False)
        if self.equals(number, self.answer):
            return Feedback(f"Right: {self.written(self.answer)}.", True)
        for mistake in self.mistakes:
            if self.equals(number, mistake.answer):
                return Feedback(f"Not yet. {mistake.why}", False)
        return Feedback(f"Not yet. {self._difference(number)}", False)

    def equals(self, number: int | float, other: int | float) -> bool:
        """Tell whether two numbers count as the same."""
        return math.isclose(number, other, rel_tol=max(self.within, EXACT), abs_tol=EXACT)

    def written(self, number: int | float) -> str:
        """Write a number with its unit."""
        digits = f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"
        return f"{digits} {self.unit}".strip()

    def _difference(self, number: int | float) -> str:
        for factor, explanation in UNITS:
            if self.equals(number, factor * self.answer):
                return explanation
        if math.isclose(number, self.answer, rel_tol=NEAR):
            side = "above" if number > self.answer else "below"
            return f"Very close, a little {side} the value. Look at what is rounded, cut or left out."
        return f"The value is {'smaller' if number > self.answer else 'larger'}."


@dataclass(frozen=True)
class Option:
    """One of the answers to choose from.

    Attributes
    ----------
    text : str
        The answer.
    why : str
        Why it is right, or what misleads to it.
    """

    text: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Choice(Exercise):
    """A prediction with answers to choose from; which one is right was found by trying.

    Attributes
    ----------
    options : tuple of Option
        The answers, A first.
    right : int
        Index of the right one.
    """

    options: tuple[Option, ...]
    right: int

    @property
    def kind(self) -> str:
        """What to call it."""
        return "prediction"

    @property
    def starter(self) -> str:
        """Program to begin with."""
        return f"answer = ...  # {', '.join(map(repr, self.letters))}"

    @property
    def letters(self) -> tuple[str, ...]:
        """Names of the options."""
        return tuple(chr(ord("A") + index) for index in range(len(self.options)))

    def check(self, answer: Any) -> Feedback:
        """Say why the chosen option is right or wrong."""
        if answer is None or answer is Ellipsis or answer == "":
            return Feedback(NO_ANSWER, False)
        letter = str(answer).strip().rstrip(".)").upper()
        if letter not in self.letters:
            names = ", ".join(map(repr, self.letters))
            return Feedback(f"Expected one of {names}, but found {answer!r:.60}.", False)
        index = self.letters.index(letter)
        verdict = "Right." if index == self.right else "Not yet."
        return Feedback(f"{verdict} {self.options[index].why}", index == self.right)


@dataclass(frozen=True)
class Point:
    """Something that a good design speaks of.

    Attributes
    ----------
    text : str
        What a reader of the design would look for.
    words : tuple of str
        Beginnings of words that usually appear where it is spoken of.
    """

    text: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Design(Exercise):
    """A question without one right answer: the rubric is shown beside what was written.

    Attributes
    ----------
    points : tuple of Point
        The rubric.
    sample : str
        One good answer; part of the solution.
    least_words : int
        Fewer are no answer yet.
    """

    points: tuple[Point, ...]
    sample: str
    least_words: int = 30

    @property
    def kind(self) -> str:
        """What to call it."""
        return "design"

    @property
    def starter(self) -> str:
        """Program to begin with."""
        return 'answer = """\n...\n"""'

    def check(self, answer: Any) -> Feedback:
        """Show the rubric, with the points of which a word was found."""
        if answer is None or answer is Ellipsis:
            return Feedback(NO_ANSWER, False)
        if not isinstance(answer, str):
            return Feedback(f"Expected a text, but found {type(answer).__name__}.", False)
        words = re.findall(r"[\w'-]+", answer.lower())
        if len(words) < self.least_words:
            told = f"Write your own answer first: at least {self.least_words} words. There are {len(words)}."
            return Feedback(f"{told} The rubric is shown then.", False)
        lines = []
        for point in self.points:
            found = next((word for word in words if word.startswith(point.words)), None)
            mark = f'I found "{found}".' if found else "I found no word for it. Did you say it in others?"
            lines.append(f"- {point.text} *{mark}*")
        head = (
            "No program can judge a design. Read your answer beside this rubric; a good one has these points:"
        )
        return Feedback(f"{head}\n\n" + "\n".join(lines), None)


def _number(answer: Any) -> float | None:
    """Read a number from what a learner may pass: also text, NumPy and torch scalars; None if it is none."""
    if isinstance(answer, bool):
        return None
    if isinstance(answer, str):
        answer = answer.replace(",", "").replace("_", "").strip().removesuffix("%")
    try:
        number = float(answer)
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if math.isfinite(number) else None
