"""Find exercises by their numbers and answer for them."""

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from typing import Any

from asrscope_course.kinds import Choice, Design, Exercise
from asrscope_course.notes import Feedback, Listing, Note
from asrscope_course.texts import Text, load_texts

__all__ = ["Entry", "check", "exercise", "find", "hint", "list_exercises", "solution", "task"]

CLASSES = range(1, 7)

_BUILDERS: dict[str, Callable[[Text], Exercise]] = {}


class Entry(Text):
    """The words of an exercise, not yet filled; what it expects is computed when it is first needed."""

    @property
    def exercise(self) -> Exercise:
        """The exercise itself."""
        return _built(self.number)


def exercise(number: str) -> Callable[[Callable[[Text], Exercise]], Callable[[Text], Exercise]]:
    """Let the decorated function compute what an exercise expects: it is given the text, and fills it."""

    def enter(build: Callable[[Text], Exercise]) -> Callable[[Text], Exercise]:
        _BUILDERS[number] = build
        return build

    return enter


def find(number: str | float) -> Entry:
    """Find an exercise.

    Parameters
    ----------
    number : str or float
        ``"2.3"``: the third of class 2.

    Returns
    -------
    Entry
        The exercise under that number.

    Raises
    ------
    ValueError
        If there is none; the message names near ones.
    """
    texts = load_texts()
    name = str(number)
    if name not in texts:
        near = get_close_matches(name, texts, n=3, cutoff=0.3)
        raise ValueError(
            f"there is no exercise {name!r}; expected one such as {', '.join(near or list(texts)[:3])}. "
            "list_exercises() shows all of them"
        )
    return Entry(**vars(texts[name]))


def check(number: str | float, answer: Any) -> Feedback:
    """Say whether an answer is right, and if not, which idea leads to it.

    Parameters
    ----------
    number : str or float
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


def task(number: str | float) -> Note:
    """Show what an exercise asks for, and a program to begin with."""
    entry = find(number)
    made = entry.exercise
    options = f"\n\n{made.listed}" if isinstance(made, Choice) else ""
    call = f'print(check("{entry.number}", {made.answer_name}))'
    head = f"**Exercise {entry.number}: {entry.title}** ({made.kind}, {entry.minutes} min)"
    return Note(f"{head}\n\n{made.task}{options}\n\n```python\n{made.starter}\n\n{call}\n```")


def hint(number: str | float) -> Note:
    """Show a step on the way to an exercise's solution."""
    entry = find(number)
    return Note(f"**Hint for {entry.number}:** {entry.exercise.hint}")


def solution(number: str | float) -> Note:
    """Show the solution of an exercise: the way, the program, and what is right."""
    entry = find(number)
    return Note(f"**Solution of {entry.number}: {entry.title}**\n\n{entry.exercise.solution}")


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
        text for text in load_texts().values() if class_number in (None, int(text.number.partition(".")[0]))
    ]
    width = max(len(text.title) for text in chosen)
    rows = [f"| {text.number} | {text.title:{width}} | {text.minutes:7} |" for text in chosen]
    head = [f"|     | {'exercise':{width}} | minutes |", f"| --- | {'-' * width} | ------: |"]
    return Listing("\n".join([*head, *rows]), tuple(text.number for text in chosen))


@cache
def _built(number: str) -> Exercise:
    """Fill an exercise; the module of its class says how, a design has nothing to compute."""
    importlib.import_module(f"asrscope_course.class_{number.partition('.')[0]}")
    return _BUILDERS.get(number, Design)(load_texts()[number])
