"""The JSON Schema of a trace, made from its dataclasses: what a field is, one place says."""

import inspect
import re
import types
from dataclasses import is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from asrscope.scope.traces import (
    ARRAY_AXES,
    DECIMALS,
    FORMAT,
    FORMAT_VERSION,
    PROBABILITY_DECIMALS,
    Trace,
)

__all__ = ["trace_schema", "validate_json"]

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
KINDS = {"f": "number", "i": "integer", "b": "boolean"}  # of the numbers of an array
LIMITS: dict[str, dict[str, Any]] = {  # which no type says
    name: limit
    for names, limit in (
        ("probability eos_probability confidence", {"minimum": 0, "maximum": 1}),
        ("seconds_per_frame seconds_per_position seconds_per_audio_token", {"exclusiveMinimum": 0}),
        ("stack_factor frames_per_column", {"minimum": 1}),
        ("id first_token last_token parameters", {"minimum": 0}),
        ("mel_scale", {"enum": ["slaney", "htk", "unknown"]}),
        ("part", {"enum": ["encoder", "projector", "decoder"]}),
    )
    for name in names.split()
}


def trace_schema() -> dict[str, Any]:
    """Make the JSON Schema (draft 2020-12) of what `Trace.to_dict` returns.

    Beside the usual words it has ``x-axes``, the names of an array's axes, the first one outermost, and
    ``x-decimals``, to how many decimals its numbers are rounded.
    """
    shapes = {
        field: {"description": f"Lengths of the axes {', '.join(names)}.", **_row([int] * len(names))}
        for field, names in ARRAY_AXES.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:asrscope:trace:{FORMAT_VERSION}",
        "title": "asrscope trace",
        **_object(
            Trace,
            format={"description": "Marks the file as a trace.", "const": FORMAT},
            version={"description": "Version of this format.", "const": FORMAT_VERSION},
            shapes={"description": "Length of every axis of every array.", **_closed(shapes)},
        ),
    }


def validate_json(obj: Any) -> None:
    """Check an object read from a JSON trace against the schema, and its arrays against the shapes it states.

    Parameters
    ----------
    obj : object
        What ``json.load`` returned.

    Raises
    ------
    ValueError
        If the object is no valid trace: the message names the place.
    ImportError
        If the package jsonschema is not installed.
    """
    try:
        import jsonschema  # noqa: PLC0415 - only those who validate need it
    except ImportError as error:
        raise ImportError("validate_json needs jsonschema: pip install jsonschema") from error
    validator = jsonschema.Draft202012Validator(trace_schema())
    if problem := jsonschema.exceptions.best_match(validator.iter_errors(obj)):
        raise ValueError(f"not a valid trace at {problem.json_path}: {problem.message[:300]}")
    for field, names in ARRAY_AXES.items():
        for depth, (name, size) in enumerate(zip(names, obj["shapes"][field], strict=True)):
            level = [obj[field]]
            for _ in range(depth):
                level = [item for part in level for item in part]
            if any(len(part) != size for part in level):
                raise ValueError(f"not a valid trace at $.{field}: expected {size} {name}, as $.shapes says")


def _object(kind: type, **more: dict[str, Any]) -> dict[str, Any]:
    """Describe a dataclass: its docstring says what each field is, its annotation the type."""
    summary, _, attributes = inspect.getdoc(kind).partition("\n\nAttributes\n----------\n")  # type: ignore[union-attr]
    entries = re.findall(r"^(\S.*) : .*\n((?:    .*(?:\n|$))+)", attributes, re.MULTILINE)
    about = {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}
    fields = {
        name: {"description": about[name], **_type(hint), **_decimals(name, hint), **LIMITS.get(name, {})}
        for name, hint in get_type_hints(kind).items()
    }
    return {"description": summary, **_closed(fields | more)}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _type(hint: Any) -> dict[str, Any]:
    """Say in words of JSON Schema what a type hint says."""
    kind, inside = get_origin(hint), get_args(hint)
    if hasattr(hint, "dim_str"):  # an array of jaxtyping
        names = hint.dim_str.split()
        nested: dict[str, Any] = {"type": KINDS[np.dtype(hint.dtypes[0]).kind]}
        for _ in names:
            nested = {"type": "array", "items": nested}
        return {**nested, "x-axes": names}
    if kind in {Union, types.UnionType}:
        return {"anyOf": [_type(one) for one in inside]}
    if kind is tuple:
        return {"type": "array", "items": _type(inside[0])} if inside[-1] is Ellipsis else _row(inside)
    if kind is dict:
        return {"type": "object", "additionalProperties": _type(inside[1])}
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint)
    return {"type": "null" if hint is types.NoneType else TYPES[hint]}


def _row(hints: Any) -> dict[str, Any]:
    """Describe a list of one entry for each hint."""
    each = [_type(hint) for hint in hints]
    return {"type": "array", "prefixItems": each, "items": False, "minItems": len(each)}


def _decimals(name: str, hint: Any) -> dict[str, int]:
    if name in DECIMALS:
        return {"x-decimals": DECIMALS[name]}
    return {"x-decimals": PROBABILITY_DECIMALS} if float in {hint, *get_args(hint)} else {}
