"""Exercises that answer: predictions, small programs and designs, checked on your own machine.

>>> from asrscope_course import check, hint, list_exercises, solution, task
>>> task("2.2")
>>> check("2.2", 75)

What `check` expects is computed from the package, its model and its clips. A wrong answer is met with the
idea that usually leads to it, and with a hint; the solution comes only when it is asked for. Nothing is sent
anywhere, and nothing is stored.
"""

from asrscope_course.coding import Function
from asrscope_course.engine import (
    Entry,
    Feedback,
    Listing,
    Note,
    check,
    find,
    hint,
    list_exercises,
    solution,
    task,
)
from asrscope_course.kinds import Choice, Design, Exercise, Mistake, Number, Option, Point

__all__ = [
    "Choice",
    "Design",
    "Entry",
    "Exercise",
    "Feedback",
    "Function",
    "Listing",
    "Mistake",
    "Note",
    "Number",
    "Option",
    "Point",
    "check",
    "find",
    "hint",
    "list_exercises",
    "solution",
    "task",
]
