"""Draw how training went: one page with the curves of all stages, whole in one file."""

from collections.abc import Mapping
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from typing import Any

from bokeh.embed import components
from bokeh.model import Model
from bokeh.models import HoverTool
from bokeh.palettes import Colorblind8
from bokeh.plotting import figure
from bokeh.resources import Resources
from jinja2 import Environment
from markupsafe import Markup

from asrscope.files import write_text
from asrscope.plots import theme_css
from asrscope.plots.policy import content_policy
from asrscope.plots.theme import BAR, NEUTRAL_TEXT
from asrscope.training.curves import STAGES, compact, read_log

__all__ = ["stage_figures", "write_curves"]

POINTS = 400  # of a curve on the page
TABLE_POINTS = 12

# title, column of the values, column of the horizontal axis, label
FIGURES = (
    ("Loss over steps", "loss", "step", "loss"),
    ("Loss over hours", "loss", "hours", "loss"),
    ("Learning rate", "learning_rate", "step", "learning rate"),
    ("Gradient norm before clipping", "gradient_norm", "step", "norm"),
    ("Throughput since the start", "utterances_per_second", "step", "utterances per second"),
)
FAMILIES = (("wer", "word error rate"),)  # of scores, by how their names begin
LEGEND_LINE = 24  # pixels


def write_curves(cache: Path, path: Path) -> Path:
    """Draw the logs of all stages, finished or not, on one page that asks no host for anything.

    Parameters
    ----------
    cache : Path
        Folder of the training; the logs are ``STAGE/log.jsonl`` in it.
    path : Path
        The page.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    FileNotFoundError
        If no stage has a log.
    """
    logs = {stage: read_log(cache / stage / "log.jsonl") for stage in STAGES}
    if not any(logs.values()):
        raise FileNotFoundError(f"{cache}: no stage has begun: there is no log to draw")
    figures: dict[str, Model] = {}
    sections = []
    for stage, lines in logs.items():
        section: dict[str, Any] = {"name": stage}
        if lines:
            run, few = compact(lines, POINTS), compact(lines, TABLE_POINTS)
            figures |= {f"{stage}-{number}": plot for number, plot in enumerate(stage_figures(run))}
            section |= {
                **{name: run[name] for name in ("steps", "hours", "utterances")},
                "finished": (cache / stage / stage / "recipe.json").is_file(),
                "loss": next((loss for loss in reversed(run["curve"]["loss"]) if loss is not None), None),
                "columns": [name.replace("_", " ") for name in few["curve"]],
                "rows": list(zip(*few["curve"].values(), strict=True)),
                "scores": list(dict.fromkeys(name for row in few["evaluations"] for name in row)),
                "evaluations": few["evaluations"],
            }
        sections.append(section)
    script, divs = components(figures, wrap_script=False)
    for section in sections:
        section["figures"] = [
            Markup(div) for name, div in divs.items() if name.startswith(f"{section['name']}-")
        ]
    bokeh = "\n".join(Resources(mode="inline", components=["bokeh"], minified=True).js_raw)
    scripts = {"bokeh": bokeh.replace("</script", "<\\/script"), "script": script}
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_template())
    text = page.render(
        stages=sections,
        policy=content_policy(scripts.values()),
        theme=Markup(theme_css()),
        **{name: Markup(content) for name, content in scripts.items()},
    )
    write_text(path, text)
    return path


def stage_figures(run: Mapping[str, Any]) -> list[figure]:
    """Draw the curves of one stage.

    Parameters
    ----------
    run : mapping
        What `asrscope.training.curves.compact` returned.

    Returns
    -------
    list of bokeh.plotting.figure
        Loss over steps and over hours; learning rate, gradient norm and throughput over steps; and what the
        evaluations found, if there were any.
    """
    curve = run["curve"]
    figures = [_curve(title, curve[over], curve[name], axis, over) for title, name, over, axis in FIGURES]
    scores: dict[str, list[tuple[int, float]]] = {}
    for row in run["evaluations"]:
        for name, value in row.items():
            if name not in ("step", "hours"):
                scores.setdefault(name, []).append((row["step"], value))
    families: dict[str, list[str]] = {}
    for name in scores:
        families.setdefault(_family(name), []).append(name)
    for title, names in families.items():
        plot = _empty(f"Evaluation: {title}", title, "step")
        plot.height += LEGEND_LINE * len(names)  # type: ignore[operator]  # an int, since it was given one
        for color, name in zip(cycle(Colorblind8[:7]), names, strict=False):
            steps, values = zip(*scores[name], strict=True)
            plot.line(steps, values, color=color, line_width=2, legend_label=name)
            plot.scatter(steps, values, color=color, size=6, legend_label=name)
        plot.legend.background_fill_alpha = 0.0
        plot.legend.label_text_color = NEUTRAL_TEXT
        plot.add_layout(plot.legend[0], "below")
        figures.append(plot)
    return figures


def _family(name: str) -> str:
    """Group scores that belong on one axis."""
    return next((title for start, title in FAMILIES if name.startswith(start)), name.replace("_", " "))


def _curve(title: str, at: list[Any], values: list[Any], label: str, over: str) -> figure:
    plot = _empty(title, label, over)
    points = [(x, y) for x, y in zip(at, values, strict=True) if y is not None]
    plot.line([x for x, _ in points], [y for _, y in points], color=BAR, line_width=2)
    return plot


def _empty(title: str, label: str, over: str) -> figure:
    plot = figure(
        title=title,
        height=260,
        sizing_mode="stretch_width",
        x_axis_label=over,
        y_axis_label=label,
        tools="xpan,xwheel_zoom,box_zoom,reset",
        toolbar_location="above",
    )
    plot.add_tools(HoverTool(tooltips=[(over, "@x"), (label, "@y")], mode="vline"))
    plot.toolbar.logo = None
    return plot


def _template() -> str:
    return (files("asrscope.training") / "curves.html").read_text(encoding="utf-8")
