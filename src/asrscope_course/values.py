"""Whatever a learner may pass, read as a number or an array, or described. Nothing here raises an error."""

import math
import re
import traceback
from typing import Any

import numpy as np

__all__ = ["describe", "first_values", "is_empty", "read_array", "read_numbers", "shape_of", "told"]

SHOWN = 6  # numbers of an array that are written out
SCALARS = (str, int, float, np.number, type(None))
LARGEST = 10**7  # numbers of a range
LONGEST = 60  # characters of a text that are shown
NUMBER = re.compile(r"([-+]?[.,]?\d[\d.,_' ]*(?:e[-+]?\d+)?)(?:/(\d+))?\s*(\D*)", re.IGNORECASE)


def is_empty(value: Any) -> bool:
    """Tell whether there is no answer yet."""
    return value is None or value is Ellipsis or (isinstance(value, str) and value.strip() in ("", "..."))


def read_numbers(value: Any, unit: str = "") -> tuple[float, ...]:
    """Read one number, in each way in which it may be meant.

    Parameters
    ----------
    value : object
        A number, an array or a list of one, or a text: ``"12,8"``, ``"1,000"``, ``"6000 Hz"``, ``"2/30"``.
    unit : str
        Which a text may name behind the number; of percent a hundredth is meant where another unit is wanted.

    Returns
    -------
    tuple of float
        Two for ``"1,000"``: some write thousands with a comma, others the decimals. Empty if it is no number.
    """
    if isinstance(value, str):
        return _readings(value.strip(), unit)
    array = None if isinstance(value, bool | np.bool_) else read_array(value)
    if array is None or array.size != 1 or not math.isfinite(array.item()):
        return ()
    return (array.item(),)


def _readings(text: str, unit: str) -> tuple[float, ...]:
    match = NUMBER.fullmatch(text)
    named = "" if match is None else match[3].strip().lower()
    if match is None or named not in ("", "%", unit.lower(), unit.lower().split(" ")[-1]):
        return ()
    digits = re.sub(r"[_' ]", "", match[1])
    scale = float(match[2] or 1) * (100 if named == "%" and unit != "%" else 1)
    found = set()
    for thousands, decimal in (",.", ".,"):
        whole = rf"[1-9]\d{{0,2}}(?:[{thousands}]\d{{3}})+|\d*"
        if re.fullmatch(rf"[-+]?(?:{whole})(?:[{decimal}]\d*)?(?:e[-+]?\d+)?", digits, re.IGNORECASE):
            try:
                found.add(float(digits.replace(thousands, "").replace(decimal, ".")) / scale)
            except (ValueError, ZeroDivisionError):  # a point alone, or a fraction of zero parts
                continue
    return tuple(number for number in found if math.isfinite(number))


def read_array(value: Any) -> np.ndarray | None:
    """Bring arrays, tensors, lists and numbers into one form; None if it is none of these, or too large."""
    try:
        if isinstance(value, range) and len(value) > LARGEST:  # would fill the memory
            return None
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "biufO" or any(isinstance(item, str) for item in array.ravel()[:SHOWN]):
            return None
        return array.astype(np.float64)
    except Exception:  # whatever a learner's object does when it is looked at
        return None


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Give the shape of what can be read as an array."""
    array = read_array(value)
    return None if array is None else array.shape


def describe(value: Any) -> str:
    """Say in a few words what a value is: a short value itself, an array's shape, otherwise the type."""
    if isinstance(value, str):
        return repr(value if len(value) <= LONGEST else value[: LONGEST - 3] + "...")
    if value is None or isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, int) and abs(value) < 10**15:
        return str(value)
    if isinstance(value, int | float | np.number):
        number = read_array(value)
        return "a huge number" if number is None else f"{number.item():.6g}"
    if (
        isinstance(value, list | tuple)
        and 0 < len(value) <= SHOWN
        and all(isinstance(one, SCALARS) for one in value)
    ):
        brackets = "()" if isinstance(value, tuple) else "[]"
        return brackets[0] + ", ".join(map(describe, value)) + brackets[1]
    shape = shape_of(value)
    if shape is None:
        return type(value).__name__
    return "an empty array" if 0 in shape else f"an array of shape {shape}"


def first_values(value: Any) -> str:
    """Write the first values of an array."""
    array = read_array(value)
    if array is None or array.ndim == 0:
        return describe(value)
    flat = ", ".join(f"{number:.4g}" for number in array.ravel()[:SHOWN])
    return f"[{flat}{', ...' if array.size > SHOWN else ''}]"


def told(error: BaseException) -> str:
    """Say what an error says, in one line; also of an error that cannot say it."""
    return " ".join("".join(traceback.format_exception_only(error)).split())
