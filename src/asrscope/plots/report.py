"""A trace as files for others: one self-contained interactive HTML page, and documented JSON."""

import base64
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
from bokeh.models import LinearAxis, Title  # type: ignore[attr-defined] # its stubs leave out annotations
from bokeh.plotting import figure as Figure
from jinja2 import Environment
from markupsafe import Markup

from asrscope import plots
from asrscope.audio import wav_bytes
from asrscope.files import write_text
from asrscope.plots.measures import number
from asrscope.plots.packing import bokeh_js, compressed, packed
from asrscope.plots.player import clock_css, clock_js
from asrscope.plots.policy import content_policy
from asrscope.plots.wording import chance
from asrscope.scope.stages import STAGES
from asrscope.scope.traces import ARRAY_AXES, Provenance, Trace

__all__ = ["validate_json", "write_html", "write_json"]

TOKENS = "Token by token"
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
    """Write a trace as JSON; the package's ``trace.schema.json`` says what each field means.

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
    validator = jsonschema.Draft202012Validator(schema())
    if problem := jsonschema.exceptions.best_match(validator.iter_errors(obj)):
        raise ValueError(f"not a valid trace at {problem.json_path}: {problem.message[:300]}")
    for field, names in ARRAY_AXES.items():
        for depth, (name, size) in enumerate(zip(names, obj["shapes"][field], strict=True)):
            level = [obj[field]]
            for _ in range(depth):
                level = [item for part in level for item in part]
            if any(len(part) != size for part in level):
                raise ValueError(f"not a valid trace at $.{field}: expected {size} {name}, as $.shapes says")


def schema() -> dict[str, Any]:
    """Read the JSON Schema (draft 2020-12) of the files that `write_json` writes.

    Returns
    -------
    dict
        The schema.
    """
    loaded: dict[str, Any] = json.loads(
        (files("asrscope.scope") / "trace.schema.json").read_text(encoding="utf-8")
    )
    return loaded


def _page(trace: Trace, control: Trace | None) -> str:
    bokeh = bokeh_js()
    scripts = {"clock_js": _script(clock_js()), "report_js": _script(_resource("report.js"))}
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["chance"] = chance
    environment.filters["number"] = lambda value: "" if value is None else number(value)
    return environment.from_string(_resource("report.html")).render(
        trace=trace,
        policy=content_policy((*scripts.values(), bokeh)),  # BokehJS is unpacked and added by the page
        css=Markup(_resource("report.css") + clock_css() + plots.theme_css()),  # our own text, no trace in it
        audio=base64.b64encode(wav_bytes(trace.waveform)).decode("ascii"),
        rivals=[_rival(each) for each in (trace, control) if each is not None],
        sections=[_section(trace, control, key) for key in plots.PLOTS],
        anatomy=plots.prompt_length(trace),
        pipeline=_pipeline(trace),
        arrays=[
            (field, " × ".join(names), plots.statistics(trace, field)) for field, names in ARRAY_AXES.items()
        ],
        weights=[(origin, _weights_label(origin)) for origin in trace.provenance],
        bokeh_packed=compressed(bokeh.encode()),
        **{name: Markup(script) for name, script in scripts.items()},
    )


def _section(trace: Trace, control: Trace | None, key: str) -> dict[str, Any]:
    """Everything the template needs for one stage: its figure, or two to compare, and its table."""
    stage = next((stage for stage in STAGES if stage.key == key), None)
    pair = [trace] if control is None or key not in COMPARED else [trace, control]
    figures = [plots.PLOTS[key](each) for each in pair]
    if key == "nearest_tokens":  # bars to compare need one scale
        scales: list[Any] = [figure.y_range for figure in figures]
        low, high = min(each.start for each in scales), max(each.end for each in scales)
        for scale in scales:
            scale.update(start=low, end=high)
    panels = [
        _panel(each, key, figure, name, _projector_label(each) if len(pair) > 1 else "")
        for each, figure, name in zip(pair, figures, (key, f"{key}-control"), strict=False)
    ]
    return {
        "key": key,
        "title": trace.title(stage) if stage else TOKENS,
        "name": stage.title if stage else TOKENS,
        "about": trace.about(stage)
        if stage
        else "Every token that was written, beside the tokens the decoder held most probable instead.",
        "panels": panels,
        "table": plots.table(trace, key),
        "times": _row_times(trace, key),
        "open": key == "decoder_tokens",
        "hint": HINTS.get(key, "Click to play from a moment, drag to zoom."),
    }


def _panel(trace: Trace, key: str, figure: Figure, name: str, label: str) -> dict[str, Any]:
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
    return {
        "id": name,
        "label": label,
        "height": figure.height,
        "packed": packed(figure),
        "description": plots.describe(trace, key),
    }


def _rival(trace: Trace) -> dict[str, Any]:
    """Sum up what the projector's weights led to: the text, and how near the audio tokens are to text."""
    best = trace.nearest_cosines[:, 0] if trace.nearest_cosines.size else None
    return {
        "label": _projector_label(trace),
        "text": trace.text,
        "confidence": trace.confidence,
        "cosine": None if best is None else float(np.median(best)),
        "distinct": len({texts[0] for texts in trace.nearest_texts if texts}),
        "tokens": len(trace.audio_embeds),
    }


def _projector_label(trace: Trace) -> str:
    return next((_weights_label(origin) for origin in trace.provenance if origin.part == "projector"), "")


def _row_times(trace: Trace, key: str) -> Sequence[tuple[float, float] | None]:
    """Stretch of the sound for each row of a table that ends with it."""
    if key == "decoder_tokens":
        return plots.token_times(trace)
    return [None] * len(plots.table(trace, key).rows)


def _pipeline(trace: Trace) -> list[tuple[str, str, str]]:
    """Key, title and shape of each stage: the way of the clip at one glance."""
    shapes = {
        "waveform": f"{len(trace.waveform)} samples",
        "log_mel": "{} mel bands × {} frames".format(*trace.log_mel.shape),
        "encoder_output": "{} positions × {}".format(*trace.encoder_hidden_states.shape),
        "audio_embeds": "{} audio tokens × {}".format(*trace.audio_embeds.shape),
        "nearest_tokens": "{} × {} nearest".format(*trace.nearest_cosines.shape),
        "prompt": f"{len(trace.prompt_ids)} positions",
        "decoder_words": f"{_count(len(trace.tokens), 'token')}, {_count(len(trace.words), 'word')}",
    }
    return [(stage.key, stage.title, shapes[stage.key]) for stage in STAGES]


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _weights_label(origin: Provenance) -> str:
    return origin.label.removesuffix(" weights")


def _script(text: str) -> str:
    """Make a script safe to stand inside a script element."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _resource(name: str) -> str:
    return (files("asrscope.plots") / name).read_text(encoding="utf-8")
