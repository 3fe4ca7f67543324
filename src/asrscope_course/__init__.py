"""Exercises that answer: predictions, small programs and designs, checked on your own machine.

>>> from asrscope_course import check, hint, list_exercises, solution, task
>>> task("2.2")
>>> check("2.2", 75)

What `check` expects is computed from the package, its model and its clips. A wrong answer is met with the
idea that usually leads to it, and with a hint; the solution comes only when it is asked for. Nothing is sent
anywhere, and nothing is stored.
"""

from asrscope_course.engine import Entry, check, find, hint, list_exercises, solution, task
from asrscope_course.kinds import Choice, Design, Exercise, Function, Number
from asrscope_course.notes import Feedback, Listing, Note

__all__ = [
    "Choice",
    "Design",
    "Entry",
    "Exercise",
    "Feedback",
    "Function",
    "Listing",
    "Note",
    "Number",
    "check",
    "find",
    "hint",
    "list_exercises",
    "solution",
    "task",
]
