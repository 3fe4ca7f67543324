"""Turn a Bokeh model into a record."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bokeh.embed import json_item
from bokeh.embed.bundle import bundle_for_objs_and_resources
from bokeh.models import GlyphRenderer, GridPlot, LayoutDOM, Plot, Range1d, Row, Title
from bokeh.resources import Resources

from .records import FigureRecord

DEFAULT_HEIGHT = 300  # pixels, of a figure that states none
MODEL_ID = re.compile(r"p\d+$|[0-9a-f]{8}-[0-9a-f-]{27}$")


def record(model: LayoutDOM) -> FigureRecord:
    """Turn a Bokeh figure or layout into a record.

    Parameters
    ----------
    model : bokeh.models.LayoutDOM
        A figure, a layout of figures, or a widget.

    Returns
    -------
    FigureRecord
        Independent of `model`, and equal for equal models.

    Raises
    ------
    TypeError
        If `model` is not a Bokeh model that can be laid out.
    """
    if not isinstance(model, LayoutDOM):
        raise TypeError(f"A page holds Bokeh figures, layouts and widgets, but found {type(model).__name__}.")
    plots = [ref for ref in _in_order(model) if isinstance(ref, Plot)]
    titles = [text for plot in plots if (text := _title(plot))]
    return FigureRecord(
        title="; ".join(titles) or "Interactive figure",
        description=_written_description(model) or " ".join(_composed_description(plot) for plot in plots),
        height=_height(model),
        bundles=_bundles(model),
        item=_renumbered(json_item(model)),
    )


def _in_order(model: LayoutDOM) -> Iterator[Any]:
    """Yield `model` and what it refers to, the outermost first and in an order that does not change."""
    yield model
    children = getattr(model, "children", [])
    for child in children:
        inner = child[0] if isinstance(child, tuple) else child
        if isinstance(inner, LayoutDOM):
            yield from _in_order(inner)


def _title(plot: Plot) -> str:
    title = plot.title
    return (title.text if isinstance(title, Title) else title) or ""


def _written_description(model: LayoutDOM) -> str:
    """Return the descriptions that the author wrote into the tags of the model or of the figures in it."""
    found = [
        tag["description"]
        for ref in _in_order(model)
        for tag in ref.tags
        if isinstance(tag, dict) and "description" in tag
    ]
    return " ".join(str(text) for text in found)


def _composed_description(plot: Plot) -> str:
    """Make a sentence of title, axes and kinds of glyphs, for a figure whose author wrote none."""
    parts = []
    for name, axes, axis_range in (
        ("horizontal", plot.xaxis, plot.x_range),
        ("vertical", plot.yaxis, plot.y_range),
    ):
        label = axes[0].axis_label if axes else None
        if label:
            span = ""
            if isinstance(axis_range, Range1d):
                span = f" from {axis_range.start:g} to {axis_range.end:g}"
            parts.append(f"{name} axis {label}{span}")
    kinds = sorted({type(r.glyph).__name__.lower() for r in plot.renderers if isinstance(r, GlyphRenderer)})
    if kinds:
        parts.append("drawn with " + ", ".join(kinds))
    return f"{_title(plot) or 'Figure'}: {'; '.join(parts) or 'a picture without axes'}."


def _height(model: Any) -> int:
    """Return the height of a model in pixels, of a layout from the figures in it."""
    if model.height is not None:
        return int(model.height)
    children = getattr(model, "children", None)
    if not children:
        return int(getattr(model, "min_height", None) or DEFAULT_HEIGHT)
    if isinstance(model, GridPlot) or isinstance(children[0], tuple):
        rows: dict[int, int] = {}
        for child, row, *_ in children:
            rows[row] = max(rows.get(row, 0), _height(child))
        return sum(rows.values())
    heights = [_height(child) for child in children]
    return max(heights) if isinstance(model, Row) else sum(heights)


def _bundles(model: LayoutDOM) -> tuple[str, ...]:
    """Return the parts of BokehJS that are needed beside ``bokeh``, by Bokeh's own rules, in order."""
    foreign = {
        type(ref).__name__
        for ref in model.references()
        if hasattr(ref, "__implementation__") or ref.__view_module__.partition(".")[0] != "bokeh"
    }
    if foreign:
        raise TypeError(
            f"A page draws with BokehJS alone, but found {', '.join(sorted(foreign))}, which brings a script"
            " of its own. Leave it out or replace it by a model of Bokeh."
        )
    files = bundle_for_objs_and_resources([model], Resources(mode="server", root_url="/")).js_files
    names = [Path(str(file)).name.removesuffix(".min.js") for file in files]
    return tuple(name for name in names if name != "bokeh")


def _renumbered(item: Any) -> dict[str, Any]:
    """Give the models of an item names that depend on their order alone.

    Bokeh numbers models in the order in which a process makes them, so a name would tell what ran before.
    """
    names: dict[str, str] = {}

    def name_of(old: str) -> str:
        return names.setdefault(old, f"m{len(names) + 1}")

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        is_model = set(value) == {"id"} or value.get("type") == "object"
        return {
            key: name_of(entry)
            if key == "id" and is_model and isinstance(entry, str) and MODEL_ID.match(entry)
            else walk(entry)
            for key, entry in value.items()
        }

    doc = walk(json.loads(json.dumps(item["doc"])))
    return {"target_id": None, "root_id": name_of(item["root_id"]), "doc": doc, "version": item["version"]}
