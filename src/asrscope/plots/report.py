"""A trace as files for others: one self-contained interactive HTML page, and documented JSON."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from bokeh.embed import json_item
from bokeh.models import (  # type: ignore[attr-defined] # its stubs leave out annotations
    ColumnDataSource,
    LinearAxis,
    Title,
)
from bokeh.plotting import figure as Figure
from bokeh.resources import Resources

from asrscope import plots
from asrscope.audio import wav_bytes
from asrscope.plots.page import make_page, render, resource
from asrscope.plots.words import VIEWS, counted, spelling, wrong_words
from asrscope.saving import write_text
from asrscope.scope.traces import ARRAY_AXES, STAGES, Trace

__all__ = ["write_html", "write_json"]

COMPARED = ("audio_embeds", "nearest_tokens")  # figures that are drawn of the control, too
HINTS = {
    "prompt": "Click an audio token to hear its stretch.",
    "decoder_words": "Click a word to hear it, where its time is known.",
    "decoder_tokens": "Click a written token to hear its word, where its time is known.",
}


def write_html(trace: Trace, path: str | Path, *, control: Trace | None = None) -> None:
    """Write a trace as one interactive HTML page that works offline and asks no host for anything.

    The page holds the sound, the figures, each drawn when it is scrolled into view, and every figure's
    content as a table. BokehJS and the figures are compressed. Only three scripts may run in it (a content
    security policy with their hashes), and all text of the trace is escaped. The same trace gives the same
    bytes.

    Parameters
    ----------
    trace : Trace
        What to show.
    path : str or Path
        File to write. It is replaced only once the new page is complete.
    control : Trace, optional
        The same clip through other projector weights, random ones for example. What both projectors give is
        then shown side by side.

    Raises
    ------
    ValueError
        If the control is not of the same clip.
    OSError
        If the file cannot be written.
    """
    if control is not None and not np.array_equal(control.waveform, trace.waveform):
        raise ValueError(
            f"expected a control of the same clip as {trace.name!r}, but {control.name!r} has another "
            "waveform: make sure to trace the same recording twice"
        )
    write_text(path, _page(trace, control))


def write_json(trace: Trace, path: str | Path) -> None:
    """Write a trace as JSON; `asrscope.scope.traces.trace_schema` says what each field means.

    Parameters
    ----------
    trace : Trace
        What to write. Numbers are rounded as `Trace.to_dict` says; ``Trace.save`` keeps them exactly.
    path : str or Path
        File to write. It is replaced only once the new one is complete.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    text = json.dumps(trace.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    write_text(path, text + "\n")


def _page(trace: Trace, control: Trace | None) -> str:
    # BokehJS without the parts for widgets, tables and WebGL; the page unpacks it and adds it to itself.
    bokeh = "\n".join(Resources(mode="inline", components=["bokeh"], minified=True, log_level="warn").js_raw)
    body = render(
        "report.html",
        trace=trace,
        wrong=wrong_words(trace),
        times=plots.word_times(trace),
        spelled=spelling(trace),
        audio=base64.b64encode(wav_bytes(trace.waveform)).decode("ascii"),
        rivals=[_rival(each) for each in (trace, control) if each is not None],
        sections=[_section(trace, control, key) for key in plots.PLOTS],
        anatomy=plots.prompt_length(trace),
        pipeline=_pipeline(trace),
        arrays=[
            (field, " × ".join(names), plots.statistics(trace, field)) for field, names in ARRAY_AXES.items()
        ],
        bokeh_packed=compressed(bokeh),
    )
    return make_page(
        f"{trace.name} · asrscope trace",
        body,
        css=resource("report.css") + resource("clock/clock.css") + resource("theme.css"),
        scripts=[resource("clock/clock.js"), resource("report.js")],
        added=[bokeh],
    )


def compressed(text: str) -> str:
    """Compress a text and write it as base64, for a page that unpacks it."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")


def packed(figure: Figure) -> str:
    """Pack a figure for a page that draws it; the same figure gives the same text in every process."""
    for source in cast(list[ColumnDataSource], list(figure.select(ColumnDataSource))):
        if "image" in source.data:  # to the three decimals that its hover shows: what says less is shorter
            images = source.data["image"]
            source.data["image"] = [each.astype(np.float64).round(3).astype(np.float32) for each in images]
    text = json.dumps(json_item(figure), allow_nan=False, separators=(",", ":"))
    ids: dict[str, str] = {}  # Bokeh's own depend on what was drawn before
    return compressed(re.sub(r'(?<=id":")p\d+(?=")', lambda id: ids.setdefault(id[0], f"p{len(ids)}"), text))


def _section(trace: Trace, control: Trace | None, key: str) -> dict[str, Any]:
    """Everything the template needs for one stage: its figure, or two to compare, and its table."""
    view = VIEWS[key]
    pair = [trace] if control is None or key not in COMPARED else [trace, control]
    figures = [plots.PLOTS[key](each) for each in pair]
    if key == "nearest_tokens":  # bars to compare need one scale
        scales: list[Any] = [figure.y_range for figure in figures]
        low, high = min(each.start for each in scales), max(each.end for each in scales)
        for scale in scales:
            scale.update(start=low, end=high)
    table = plots.table(trace, key)
    return {
        "key": key,
        "title": trace.title(view),
        "name": view.title,
        "about": trace.about(view),
        "panels": [
            _panel(each, figure, name, _projector_label(each) if len(pair) > 1 else "")
            for each, figure, name in zip(pair, figures, (key, f"{key}-control"), strict=False)
        ],
        "table": table,
        # the stretch of the sound for each row of a table that ends with it
        "times": plots.token_times(trace) if key == "decoder_tokens" else [None] * len(table.rows),
        "open": key == "decoder_tokens",
        "hint": HINTS.get(key, "Click to play from a moment, drag to zoom."),
    }


def _panel(trace: Trace, figure: Figure, name: str, label: str) -> dict[str, Any]:
    """One figure; `label` says of what kind the projector's weights are, where two are compared."""
    # The page has headings of its own; what must stay in the picture is a note on its weights.
    title = cast(Title, figure.title)
    notes = "\n".join(str(title.text).split("\n")[1:])
    title.text = notes or (f"{label} weights: projector" if label else "")
    title.visible = title.text != ""
    if figure.x_range.name == "time" and trace.padding_tokens:
        # The page is about the clip; a decoder that reads the rest of a window reads mostly nothing.
        figure.x_range.end = trace.duration  # type: ignore[attr-defined] # ranges of time have an end
        clock = next(each for each in figure.below if isinstance(each, LinearAxis))  # above, words stand
        clock.axis_label = "time (s) · padding follows: zoom out to see it"
    (alternative,) = cast(list[dict[str, str]], figure.tags)
    return {"id": name, "label": label, "height": figure.height, "packed": packed(figure), **alternative}


def _rival(trace: Trace) -> dict[str, Any]:
    """Sum up what the projector's weights led to: the text, and how near the audio tokens are to text."""
    return {
        "label": _projector_label(trace),
        "text": trace.text,
        "confidence": trace.confidence,
        "cosine": float(np.median(trace.nearest_cosines[:, 0])),
        "distinct": len({texts[0] for texts in trace.nearest_texts}),
        "tokens": len(trace.audio_embeds),
    }


def _projector_label(trace: Trace) -> str:
    """Tell of what kind the projector's weights are: ``"trained"``, ``"random"`` or ``"unverified"``."""
    return next((origin.label.split()[0] for origin in trace.provenance if origin.part == "projector"), "")


def _pipeline(trace: Trace) -> list[tuple[str, str, str]]:
    """Key, title and shape of each stage: the way of the clip at one glance."""
    found = []
    for stage in STAGES:
        sizes = np.shape(getattr(trace, stage.field))
        shape = [counted(size, axis.unit) for size, axis in zip(sizes, stage.axes, strict=True)]
        found.append((stage.key, stage.title, " × ".join(shape)))
    return found
