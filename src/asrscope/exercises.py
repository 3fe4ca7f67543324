"""The course's exercises, of the package beside this one, under the name that the lectures use."""

from asrscope_course import *  # noqa: F403
from asrscope_course import __all__  # noqa: F401
