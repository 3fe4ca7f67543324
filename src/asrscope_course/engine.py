"""Find exercises by their numbers and answer for them."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from asrscope_course.coding import Function
from asrscope_course.kinds import Choice, Design, Exercise, Number
from asrscope_course.notes import Feedback, Listing, Note

__all__ = [
    "Entry",
    "Feedback",
    "Listing",
    "Note",
    "check",
    "exercise",
    "find",
    "hint",
    "list_exercises",
    "listed_options",
    "solution",
    "solution_text",
    "task",
]

CLASSES = range(1, 7)

_ENTRIES: dict[str, "Entry"] = {}


@dataclass(frozen=True)
class Entry:
    """An exercise under its number; what it expects is computed when it is first needed.

    Attributes
    ----------
    number : str
        ``2.3``: the third of class 2.
    title : str
        A few words.
    objective : str
        Name of the class's objective that it assesses.
    build : callable
        Makes the exercise.
    """

    number: str
    title: str
    objective: str
    build: Callable[[], Exercise]

    @property
    def exercise(self) -> Exercise:
        """The exercise itself."""
        return _built(self.number)


def exercise(
    number: str, title: str, objective: str
) -> Callable[[Callable[[], Exercise]], Callable[[], Exercise]]:
    """Enter the exercise that the decorated function makes.

    Parameters
    ----------
    number : str
        ``2.3``: the third of class 2.
    title : str
        A few words.
    objective : str
        Name of the class's objective that it assesses.

    Returns
    -------
    callable
        The decorator.
    """

    def enter(build: Callable[[], Exercise]) -> Callable[[], Exercise]:
        _ENTRIES[number] = Entry(number, title, objective, build)
        return build

    return enter


def find(number: str) -> Entry:
    """Find an exercise.

    Parameters
    ----------
    number : str
        ``2.3``: the third of class 2.

    Returns
    -------
    Entry
        The exercise under that number.

    Raises
    ------
    ValueError
        If there is none; the message names near ones.
    """
    entries = _entries()
    if number not in entries:
        near = get_close_matches(str(number), entries, n=3, cutoff=0.3)
        raise ValueError(
            f"there is no exercise {number!r}; expected one such as {', '.join(near or list(entries)[:3])}. "
            "list_exercises() shows all of them"
        )
    return entries[number]


def check(number: str, answer: Any) -> Feedback:
    """Say whether an answer is right, and if not, which idea leads to it.

    Parameters
    ----------
    number : str
        Of the exercise.
    answer : object
        A number, a letter, a function or a text, as the task says.

    Returns
    -------
    Feedback
        Shows itself in a terminal or a notebook; ``right`` is True, False, or None for a design.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    entry = find(number)
    feedback = entry.exercise.check(answer)
    lines = [f"**Exercise {entry.number}: {entry.title}**", feedback.text]
    if feedback.right is False:
        lines.append(f"**Hint:** {entry.exercise.hint}")
    if feedback.right is not True:
        lines.append(f'When you are done: `solution("{entry.number}")`.')
    return Feedback("\n\n".join(lines), feedback.right)


def task(number: str) -> Note:
    """Show what an exercise asks for.

    Parameters
    ----------
    number : str
        Of the exercise.

    Returns
    -------
    Note
        The task, and a program to begin with.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    entry = find(number)
    made = entry.exercise
    options = f"\n\n{listed_options(made)}" if isinstance(made, Choice) else ""
    call = f'print(check("{entry.number}", {made.answer_name}))'
    code = f"```python\n{made.starter}\n\n{call}\n```"
    return Note(f"**Exercise {entry.number}: {entry.title}** ({made.kind})\n\n{made.task}{options}\n\n{code}")


def hint(number: str) -> Note:
    """Show a step on the way.

    Parameters
    ----------
    number : str
        Of the exercise.

    Returns
    -------
    Note
        The hint.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    entry = find(number)
    return Note(f"**Hint for {entry.number}:** {entry.exercise.hint}")


def solution(number: str) -> Note:
    """Show the solution: the way, the program, and what is right.

    Parameters
    ----------
    number : str
        Of the exercise.

    Returns
    -------
    Note
        The solution.

    Raises
    ------
    ValueError
        If there is no such exercise.
    """
    entry = find(number)
    return Note(f"**Solution of {entry.number}: {entry.title}**\n\n{solution_text(entry.exercise)}")


def solution_text(made: Exercise) -> str:
    """Write the solution of an exercise as Markdown.

    Parameters
    ----------
    made : Exercise
        The exercise.

    Returns
    -------
    str
        What is right, the explanation, and the program or rubric that belongs to it.
    """
    if isinstance(made, Number):
        return f"**Answer: {made.written(made.answer)}.** {made.solution}\n\n```python\n{made.code}\n```"
    if isinstance(made, Function):
        return f"{made.solution}\n\n```python\n{made.code}\n```"
    if isinstance(made, Choice):
        right = f"**{made.letters[made.right]}.** {made.solution}"
        rows = zip(made.letters, made.options, strict=True)
        return f"{right}\n\n" + "\n".join(f"- {letter}. {option.why}" for letter, option in rows)
    if isinstance(made, Design):
        points = "\n".join(f"- {point.text}" for point in made.points)
        return f"{made.solution}\n\n{points}\n\nOne good answer:\n\n> {made.sample}"
    return made.solution


def listed_options(made: Choice) -> str:
    """Write the options of a choice as a Markdown list, each with its letter."""
    rows = zip(made.letters, made.options, strict=True)
    return "\n".join(f"- {letter}. {option.text}" for letter, option in rows)


def list_exercises(class_number: int | None = None) -> Listing:
    """List the exercises.

    Parameters
    ----------
    class_number : int, optional
        Only those of this class.

    Returns
    -------
    Listing
        Shows itself as a table; ``ids`` are the numbers.

    Raises
    ------
    ValueError
        If there is no such class.
    """
    if class_number is not None and class_number not in CLASSES:
        raise ValueError(f"expected a class from {CLASSES[0]} to {CLASSES[-1]}, but found {class_number}")
    chosen = [
        entry for entry in _entries().values() if class_number in (None, int(entry.number.partition(".")[0]))
    ]
    width = max(len(entry.title) for entry in chosen)
    rows = [f"| {entry.number} | {entry.title:{width}} |" for entry in chosen]
    head = [f"|     | {'exercise':{width}} |", f"| --- | {'-' * width} |"]
    return Listing("\n".join([*head, *rows]), tuple(entry.number for entry in chosen))


@cache
def _entries() -> dict[str, Entry]:
    """Every exercise in order; the modules of the classes enter theirs when they are imported."""
    for number in CLASSES:
        importlib.import_module(f"asrscope_course.class_{number}")
    return dict(sorted(_ENTRIES.items(), key=lambda item: [int(part) for part in item[0].split(".")]))


@cache
def _built(number: str) -> Exercise:
    return _entries()[number].build()
