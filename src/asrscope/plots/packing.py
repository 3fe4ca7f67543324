"""A figure in few bytes, for a page that unpacks it: its JSON, then its numbers, compressed together."""

import base64
import json
import re
import struct
import zlib
from functools import cache
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.models import LayoutDOM
from bokeh.resources import Resources

__all__ = ["bokeh_js", "compressed", "packed"]

STEP = 1e-3  # of the values of images: the three decimals that their hover shows


def packed(figure: LayoutDOM) -> str:
    """Pack a figure: four bytes with the length of its JSON, the JSON, the numbers; compressed.

    Images are stored as whole thousandths, which is what their hover shows of them, and byte by byte of
    equal rank, which compresses better. All other arrays keep every bit.

    Parameters
    ----------
    figure : LayoutDOM
        What to draw. It is given a document of its own.

    Returns
    -------
    str
        Base64 of a zlib stream. The same figure gives the same text, whatever the process has drawn before.
    """
    document = Document()
    document.add_root(figure)
    ids: dict[str, str] = {}
    numbers = bytearray()
    serialized = document.to_json(deferred=True)  # deferred: the bytes of arrays stay bytes
    content = _renumbered(_without_arrays(serialized.content, numbers), ids)
    document.clear()
    item = {"doc": content, "root_id": ids[figure.id], "target_id": None}
    text = json.dumps(item, allow_nan=False, separators=(",", ":")).encode()
    return compressed(struct.pack("<I", len(text)) + text + bytes(numbers))


def compressed(data: bytes) -> str:
    """Compress bytes and write them as base64."""
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


@cache
def bokeh_js() -> str:
    """Read BokehJS as one script, without the parts for widgets, tables and WebGL."""
    resources = Resources(mode="inline", components=["bokeh"], minified=True, log_level="warn")
    return "\n".join(resources.js_raw)


def _without_arrays(value: Any, numbers: bytearray, name: str = "") -> Any:
    """Move the bytes of all arrays to `numbers`; where they stood it says what to read there."""
    if isinstance(value, list | tuple):
        return [_without_arrays(item, numbers, name) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "map":
        return {
            **value,
            "entries": [
                [_without_arrays(key, numbers), _without_arrays(item, numbers, str(key))]
                for key, item in value.get("entries", [])
            ],
        }
    if value.get("type") == "ndarray" and value["array"].get("type") == "bytes":
        raw = value["array"]["data"].to_bytes()
        place: dict[str, Any] = {"type": "bytes", "at": len(numbers), "size": len(raw)}
        if name == "image" and value["dtype"] == "float32":
            coded = _thousandths(np.frombuffer(raw, np.float32))
            raw = coded.tobytes()
            place |= {"size": len(raw), "ranks": len(coded), "step": STEP}
        numbers += raw
        return {**value, "array": place}
    return {key: _without_arrays(item, numbers, name) for key, item in value.items()}


def _thousandths(values: np.ndarray) -> np.ndarray:
    """Whole thousandths as bytes, shape (ranks, values): the lowest byte of each value, then the next."""
    whole = np.floor(values.astype(np.float64) / STEP + 0.5)  # a half goes up, as in a browser
    dtype = np.int16 if np.abs(whole).max(initial=0) < 2**15 else np.int32
    ranks = np.ascontiguousarray(whole.astype(dtype).astype(np.dtype(dtype).newbyteorder("<")))
    return np.ascontiguousarray(ranks.view(np.uint8).reshape(-1, ranks.itemsize).T)


def _renumbered(value: Any, ids: dict[str, str]) -> Any:
    """Give the models of a document ids in order of appearance: Bokeh's own depend on what ran before."""
    if isinstance(value, dict):
        fresh = {key: _renumbered(item, ids) for key, item in value.items() if key != "id"}
        model = value.get("id")
        if isinstance(model, str) and re.fullmatch(r"p\d+", model):
            return {**fresh, "id": ids.setdefault(model, f"p{len(ids) + 1}")}
        return {**fresh, "id": model} if "id" in value else fresh
    if isinstance(value, list | tuple):
        return [_renumbered(item, ids) for item in value]
    return value
