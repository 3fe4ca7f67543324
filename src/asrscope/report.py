"""A trace as files for others: one self-contained interactive HTML page, and documented JSON."""

import base64
import hashlib
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from bokeh.document import Document
from bokeh.models import Title  # type: ignore[attr-defined] # its stubs leave out annotations
from bokeh.resources import Resources
from jinja2 import Environment
from markupsafe import Markup

from asrscope import plots
from asrscope.audio import wav_bytes
from asrscope.plots.measures import number
from asrscope.plots.wording import chance
from asrscope.stages import STAGES
from asrscope.traces import ARRAY_AXES, Provenance, Trace

__all__ = ["validate_json", "write_html", "write_json"]

# Figures whose horizontal axis is the clip's time: a click there is a moment to play from.
TIME_FIGURES = ("waveform", "log_mel", "encoder_output", "audio_embeds", "nearest_tokens")


def write_html(trace: Trace, path: str | Path) -> None:
    """Write a trace as one interactive HTML page that works offline and asks no host for anything.

    The page holds the figures with BokehJS, the sound, and every figure's content as a table. Only its own
    two scripts may run in it (a content security policy with their hashes), and all text of the trace is
    escaped. The same trace gives the same bytes.

    Parameters
    ----------
    trace : Trace
        What to show.
    path : str or Path
        File to write. It is replaced only once the new page is complete.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    _write(path, _page(trace))


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
    _write(path, text + "\n")


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
    loaded: dict[str, Any] = json.loads(_resource("trace.schema.json"))
    return loaded


def _page(trace: Trace) -> str:
    bokeh_js = "\n".join(
        Resources(mode="inline", components=["bokeh"], minified=True, log_level="warn").js_raw
    )
    scripts = {"bokeh_js": _script(bokeh_js), "report_js": _script(_resource("report.js"))}
    document, roots = _document(trace)
    data = {
        "document": document,
        "roots": roots,
        "timeFigures": list(TIME_FIGURES),
        "secondsPerAudioToken": trace.seconds_per_audio_token,
        "words": [_seconds(word.start, word.end) for word in trace.words],
        "wordOfToken": _word_of_token(trace),
    }
    policy = [
        "default-src 'none'",
        "script-src " + " ".join(f"'sha256-{_sha256(script)}'" for script in scripts.values()),
        "style-src 'unsafe-inline'",  # BokehJS writes style elements
        "img-src data: blob:",
        "media-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["chance"] = chance
    environment.filters["number"] = lambda value: "" if value is None else number(value)
    return environment.from_string(_resource("report.html")).render(
        trace=trace,
        policy="; ".join(policy),
        css=Markup(_resource("report.css") + plots.theme_css()),  # our own text, no trace in it
        audio=base64.b64encode(wav_bytes(trace.waveform)).decode("ascii"),
        sections=[_section(trace, key) for key in plots.PLOTS],
        pipeline=_pipeline(trace),
        arrays=[
            (field, " × ".join(names), plots.statistics(trace, field)) for field, names in ARRAY_AXES.items()
        ],
        weights=[(origin, _weights_label(origin)) for origin in trace.provenance],
        data=Markup(_json_in_html(data)),
        **{name: Markup(script) for name, script in scripts.items()},
    )


def _section(trace: Trace, key: str) -> dict[str, Any]:
    """Everything the template needs for one figure."""
    stage = next((stage for stage in STAGES if stage.key == key), None)
    return {
        "key": key,
        "title": trace.title(stage) if stage else "Token by token",
        "about": stage.description
        if stage
        else "Every token that was written, beside the tokens the decoder held most probable instead.",
        "description": plots.describe(trace, key),
        "table": plots.table(trace, key),
        "is_time": key in TIME_FIGURES,
    }


def _pipeline(trace: Trace) -> list[tuple[str, str, str]]:
    """Key, title and shape of each stage: the way of the clip at one glance."""
    shapes = {
        "waveform": f"{len(trace.waveform)} samples",
        "log_mel": "{} mel bands × {} frames".format(*trace.log_mel.shape),
        "encoder_output": "{} positions × {}".format(*trace.encoder_hidden_states.shape),
        "audio_embeds": "{} audio tokens × {}".format(*trace.audio_embeds.shape),
        "nearest_tokens": "{} × {} nearest".format(*trace.nearest_cosines.shape),
        "prompt": f"{len(trace.prompt_ids)} positions",
        "decoder_words": f"{len(trace.tokens)} tokens, {len(trace.words)} words",
    }
    return [(stage.key, stage.title, shapes[stage.key]) for stage in STAGES]


def _document(trace: Trace) -> tuple[dict[str, Any], dict[str, str]]:
    """All figures as one Bokeh document with one time range; and the id of each figure in it."""
    document = Document(title="asrscope")
    figures = {key: draw(trace) for key, draw in plots.PLOTS.items()}
    time = figures[TIME_FIGURES[0]].x_range
    for key, figure in figures.items():
        if key in TIME_FIGURES:
            figure.x_range = time
        # The page has headings of its own; what must stay in the picture is a note on its weights.
        title = cast(Title, figure.title)
        title.text = "\n".join(str(title.text).split("\n")[1:])
        title.visible = title.text != ""
        document.add_root(figure)
    ids: dict[str, str] = {}
    content = _renumbered(document.to_json(deferred=False), ids)
    return content, {key: ids[figure.id] for key, figure in figures.items()}


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


def _seconds(start: float | None, end: float | None) -> list[float] | None:
    return None if start is None or end is None else [start, end]


def _word_of_token(trace: Trace) -> list[int]:
    """Index of the word that each token belongs to, -1 for none."""
    owner = [-1] * len(trace.tokens)
    for index, word in enumerate(trace.words):
        for token in range(word.first_token, word.last_token + 1):
            owner[token] = index
    return owner


def _weights_label(origin: Provenance) -> str:
    return origin.label.removesuffix(" weights")


def _json_in_html(data: Any) -> str:
    """JSON for a script element: without ``<`` nothing in it can end the element or begin a comment."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _script(text: str) -> str:
    """Make a script safe to stand inside a script element."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _resource(name: str) -> str:
    return (files("asrscope") / name).read_text(encoding="utf-8")


def _write(path: str | Path, text: str) -> None:
    """Write beside the target and rename, so that no reader ever sees half a file."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
