"""Read what may be damaged or hostile: an .npz file and the JSON in it, by what is expected of them.

Nothing is unpickled, and no memory is taken on a header's word.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints
from zipfile import ZipFile

import numpy as np

from asrscope.audio.memory import free_memory

__all__ = ["brief", "read_arrays", "restore"]

MOST_BYTES = 2**32  # of all arrays of a file; those of half an hour in a large model have a quarter of it
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: str | Path, expected: Mapping[str, np.dtype[Any] | str]) -> dict[str, np.ndarray]:
    """Read arrays from an .npz file.

    Parameters
    ----------
    path : str or Path
        The file.
    expected : mapping of str to numpy.dtype or str
        Names of the arrays and their types; only the kind of a string of one letter is compared. Other
        arrays in the file are left alone.

    Returns
    -------
    dict of str to numpy.ndarray
        The arrays, in the order of `expected`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If an array is missing, of another type or damaged, or all together are too large.
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError
        If the file is no zip archive, or damaged in another way.
    """
    with Path(path).open("rb") as file, ZipFile(file) as archive:
        members = {
            name: archive.getinfo(f"{name}.npy") for name in expected if f"{name}.npy" in archive.namelist()
        }
        if missing := [name for name in expected if name not in members]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        total = sum(member.file_size for member in members.values())
        if total > min(MOST_BYTES, free_memory() // 2):
            raise ValueError(f"its arrays take {total / 1e9:.1f} GB, more than there is memory for")
        return {name: _read_array(archive, member, expected[name]) for name, member in members.items()}


def _read_array(archive: ZipFile, member: Any, expected: np.dtype[Any] | str) -> np.ndarray:
    with archive.open(member) as stream:
        read_header = _HEADERS.get(np.lib.format.read_magic(stream))
        if read_header is None:
            raise ValueError(f"{member.filename} is of an unknown version")
        shape, in_columns, dtype = read_header(stream)
        if not (dtype.kind == expected if isinstance(expected, str) else dtype == expected):
            raise ValueError(f"{member.filename} holds {dtype}, but {expected} was expected")
        size = math.prod(shape) * dtype.itemsize
        if size != member.file_size - stream.tell():
            raise ValueError(f"{member.filename} has another size than its shape {shape} says")
        content = np.frombuffer(stream.read(size), dtype)
    return content.reshape(shape, order="F" if in_columns else "C").copy(order="C")


def restore(value: Any, hint: Any, where: str) -> Any:
    """Make what JSON holds into what a type hint says.

    Parameters
    ----------
    value : object
        What `json.loads` returned.
    hint : type
        ``str``, ``int``, ``float``, ``bool``, a dataclass, or ``tuple``, ``dict`` or ``... | None`` of these.
    where : str
        What to call the value in messages.

    Returns
    -------
    object
        Lists become tuples, and dictionaries dataclasses, where the hint says so.

    Raises
    ------
    ValueError
        If the value is of another type, lacks a field or has one too many, or is a number that is not finite.
    """
    kind, inside = get_origin(hint), get_args(hint)
    if kind in {Union, types.UnionType}:
        (other,) = (option for option in inside if option is not types.NoneType)
        return None if value is None else restore(value, other, where)
    if kind is tuple and isinstance(value, list):
        each = [inside[0]] * len(value) if inside[-1] is Ellipsis else list(inside)
        if len(each) == len(value):
            return tuple(
                restore(item, one, f"{where}[{n}]")
                for n, (item, one) in enumerate(zip(value, each, strict=True))
            )
    elif kind is dict and isinstance(value, dict):
        return {key: restore(item, inside[1], f"{where}.{key}") for key, item in value.items()}
    elif is_dataclass(hint) and isinstance(value, dict):
        hints = get_type_hints(hint)
        names = {field.name for field in fields(hint)}
        if wrong := sorted(names ^ value.keys()):
            raise ValueError(f"{where} lacks or has one too many: {', '.join(wrong)[:100]}")
        return hint(**{name: restore(value[name], hints[name], f"{where}.{name}") for name in names})  # type: ignore[operator]
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    shown = "a number that is not finite" if hint is float and isinstance(value, float) else repr(value)[:40]
    raise ValueError(f"{where} is {shown}, but {getattr(hint, '__name__', hint)} was expected")


def brief(error: Exception) -> str:
    """Shorten what a library says to a part of one line.

    Parameters
    ----------
    error : Exception
        What it raised.

    Returns
    -------
    str
        Its message, or its name if it has none.
    """
    return " ".join(str(error).split())[:200] or type(error).__name__
