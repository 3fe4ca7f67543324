"""Figures that compare: error rates with how uncertain they are, models, vectors, and steps of a training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    GridBox,
    LinearColorMapper,
    Range1d,
)
from bokeh.plotting import figure
from jaxtyping import Float
from numpy.typing import ArrayLike

from asrscope.plots import theme
from asrscope.plots.sound import add_playhead, sound_with
from asrscope.scope.traces import Trace

__all__ = [
    "Rate",
    "draw",
    "rates_by_name",
    "rates_over",
    "reach",
    "similarity",
    "stacked_bars",
    "training_curves",
]

BAR_HEIGHT, LEGEND_ROW = 30, 26  # pixels
CURVES = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm before clipping",
    "utterances_per_second": "utterances per second",
}


@dataclass(frozen=True)
class Rate:
    """A rate and its interval, as fractions.

    Attributes
    ----------
    rate : float
        The rate, 0.25 for example.
    interval : (float, float) or None
        From where to where the rate is uncertain; None if that is not known.
    """

    rate: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{100 * self.rate:.0f} %"
        low, high = self.interval
        return f"{100 * self.rate:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)"


def draw(
    fig: figure,
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    kinds: Sequence[str] = ("line",),
    colors: Sequence[str] = theme.COLORS,
) -> figure:
    """Draw curves into a chart, each in a color of its own; several get a legend below.

    Parameters
    ----------
    fig : figure
        From `chart` or `time_chart`.
    curves : mapping of str to (x, y)
        Under the name of each curve its places on both axes.
    kinds : sequence of str
        How each is drawn, from the first again where there are more curves: ``"line"``, ``"dots"``, or
        ``"steps"``, which keep a value up to the next place.
    colors : sequence of str
        Color of each, likewise.

    Returns
    -------
    figure
        The same figure.
    """
    glyphs: dict[str, tuple[Any, dict[str, Any]]] = {
        "line": (fig.line, {"line_width": 2}),
        "steps": (fig.step, {"line_width": 2, "mode": "after"}),
        "dots": (fig.scatter, {"size": 5, "alpha": 0.8}),
    }
    for (label, (x, y)), kind, color in zip(curves.items(), cycle(kinds), cycle(colors)):
        glyph, look = glyphs[kind]
        glyph(x, y, color=color, **look, **({"legend_label": label} if len(curves) > 1 else {}))
    if len(curves) > 1:
        theme.legend(fig)
        fig.height = (fig.height or 0) + LEGEND_ROW * ((len(curves) - 1) // 2)  # as much room as with one row
    return fig


def rates_over(
    curves: Mapping[str, Mapping[float, Rate]],
    name: str,
    title: str,
    *,
    x_label: str,
    falling: bool = False,
) -> figure:
    """Draw rates over a scale, one line for each curve, with their intervals as upright bars.

    Parameters
    ----------
    curves : mapping of str to mapping of float to Rate
        Under the name of each curve its places on the scale and the rates there.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    x_label : str
        What the scale is, with its unit.
    falling : bool
        Draw the largest value of the scale at the left.

    Returns
    -------
    figure
        Word error rate in percent; all numbers stand in its text alternative.

    Raises
    ------
    ValueError
        If there are no curves, or more than can be told apart.
    """
    if not 0 < len(curves) <= len(theme.COLORS):
        raise ValueError(f"expected 1 to {len(theme.COLORS)} curves, but found {len(curves)}")
    description = " ".join(
        f"{curve}: " + ", ".join(f"{place:g}: {rate}" for place, rate in points.items()) + "."
        for curve, points in curves.items()
    )
    fig = theme.chart(name, title, description=f"{x_label}. {description}", x_label=x_label)
    places = sorted({place for points in curves.values() for place in points})
    span = places[-1] - places[0] or 1.0
    for number, (color, (curve, points)) in enumerate(zip(theme.COLORS, curves.items(), strict=False)):
        # Bars at one place would cover each other.
        aside = (number - (len(curves) - 1) / 2) * span / 100
        x, y = [place + aside for place in points], [100 * rate.rate for rate in points.values()]
        known, low, high = _intervals(x, points.values())
        fig.segment(x0=known, x1=known, y0=low, y1=high, line_color=color, line_width=2, line_alpha=0.6)
        label: dict[str, Any] = {"legend_label": curve} if len(curves) > 1 else {}
        fig.line(x, y, line_color=color, line_width=2, **label)
        fig.scatter(x, y, size=6, color=color, **label)
    first, last = places[0] - 0.04 * span, places[-1] + 0.04 * span
    fig.x_range = Range1d(start=last if falling else first, end=first if falling else last)
    fig.xaxis.ticker = FixedTicker(ticks=list(places))
    fig.yaxis.axis_label = "word error rate (%)"
    fig.y_range = _up_to([rate for points in curves.values() for rate in points.values()])
    if len(curves) > 1:
        theme.legend(fig)
    return fig


def rates_by_name(rates: Mapping[str, Rate], name: str, title: str) -> figure:
    """Draw one rate below the other, with their intervals as level bars.

    Parameters
    ----------
    rates : mapping of str to Rate
        Each rate under its name, the first on top.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.

    Returns
    -------
    figure
        Word error rate in percent; all numbers stand in its text alternative.

    Raises
    ------
    ValueError
        If there are no rates.
    """
    if not rates:
        raise ValueError("expected rates to draw, but found none")
    description = "; ".join(f"{label}: {rate}" for label, rate in rates.items()) + "."
    fig = theme.rows_chart(list(rates), 34, 60, name=name, title=title, description=description)
    rows, color = list(range(len(rates))), theme.COLORS[0]
    known, low, high = _intervals(rows, rates.values())
    fig.segment(x0=low, x1=high, y0=known, y1=known, line_color=color, line_width=3, line_alpha=0.6)
    fig.scatter([100 * each.rate for each in rates.values()], rows, size=9, color=color)
    fig.x_range = _up_to(rates.values())
    fig.xaxis.axis_label = "word error rate (%)"
    return fig


def _intervals(places: Sequence[float | int], rates: Iterable[Rate]) -> Float[np.ndarray, "3 known"]:
    """Places of the rates whose interval is known, and both its ends in percent."""
    pairs = zip(places, rates, strict=True)
    known = [(place, *(100 * end for end in rate.interval)) for place, rate in pairs if rate.interval]
    return np.array(known, float).reshape(-1, 3).T


def _up_to(rates: Iterable[Rate]) -> Range1d:
    """Make an axis from zero to above what is drawn, in percent."""
    highest = max(max(rate.rate, rate.interval[1] if rate.interval else 0.0) for rate in rates)
    return Range1d(start=0, end=5 + 100 * highest)


def stacked_bars(
    rows: Mapping[str, Mapping[str, float]],
    name: str,
    title: str,
    *,
    x_label: str,
    digits: int = 0,
) -> figure:
    """Draw one level bar below the other, each made of the same pieces.

    Parameters
    ----------
    rows : mapping of str to mapping of str to float
        For each bar, the first on top, the length of each of its pieces, the first at the left.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    x_label : str
        What a length is, with its unit.
    digits : int
        Decimals in the hover and in the text alternative.

    Returns
    -------
    figure
        All numbers stand in its text alternative.

    Raises
    ------
    ValueError
        If there are no bars, or not all have the same pieces.
    """
    pieces = {tuple(parts) for parts in rows.values()}
    if len(pieces) != 1:
        raise ValueError(f"Expected bars that are all made of the same pieces, but found {sorted(pieces)}.")
    texts = [
        f"{row}: " + ", ".join(f"{piece} {length:,.{digits}f}" for piece, length in parts.items())
        for row, parts in rows.items()
    ]
    about = {"description": f"{x_label}. {'; '.join(texts)}.", "x_label": x_label}
    fig = theme.rows_chart(list(rows), BAR_HEIGHT, 76, name=name, title=title, **about)
    ends = np.zeros(len(rows))
    for piece, color in zip(*pieces, theme.COLORS, strict=False):
        lengths = np.array([parts[piece] for parts in rows.values()], dtype=float)
        data = {
            "row": np.arange(len(rows)),
            "left": ends,
            "right": ends + lengths,
            "bar": list(rows),
            "length": [f"{length:,.{digits}f}" for length in lengths],
        }
        look: dict[str, Any] = {"height": 0.7, "fill_color": color, "line_color": None, "legend_label": piece}
        bars = fig.hbar(y="row", left="left", right="right", source=ColumnDataSource(data), **look)
        theme.hover(fig, [("", "@bar"), (piece, "@length")], bars)
        ends = ends + lengths
    fig.x_range = Range1d(start=0, end=1.02 * float(ends.max()))
    theme.legend(fig)
    return fig


def reach(panels: Mapping[str, Float[np.ndarray, "audio_tokens positions"]], name: str) -> GridBox:
    """Draw which encoder positions each audio token reads, one panel a model.

    Parameters
    ----------
    panels : mapping of str to np.ndarray, shape (audio_tokens, positions)
        How strongly each audio token depends on each position, under the title of its panel; every row is
        drawn relative to its largest value.
    name : str
        Name of the picture, and of its file where a script saves it.

    Returns
    -------
    GridBox
        Two panels a row, one on a phone, and one color scale. The first audio token is on top.

    Raises
    ------
    ValueError
        If an audio token depends on nothing.
    """
    mapper = LinearColorMapper(palette=theme.PALETTE, low=0, high=100)
    drawn: list[figure] = []
    for title, values in panels.items():
        most = values.max(axis=1, keepdims=True)
        if not (most > 0).all():
            raise ValueError(f"Expected audio tokens that depend on some position, but {title!r} has others.")
        read = [np.flatnonzero(row) for row in values]
        description = "; ".join(
            f"audio token {token} reads positions {row.min()} to {row.max()}"
            for token, row in enumerate(read)
        )
        bottom, right = np.array(values.shape) - 0.5
        fig = _panel(f"{name}-{len(drawn)}", title, description, 200, "encoder position (20 ms each)")
        fig.yaxis.axis_label = "audio token"
        fig.x_range = Range1d(start=-0.5, end=right, bounds=(-0.5, right))
        image = theme.paint(fig, 100 * values / most, (-0.5, right), (bottom, -0.5), mapper)
        tooltips = [("audio token", "$y{0}"), ("position", "$x{0}"), ("of the strongest", "@image{0} %")]
        theme.hover(fig, tooltips, image)
        drawn.append(fig)
    return theme.side_by_side(drawn, name, (mapper, "weight of a position, relative to the strongest (%)"))


def similarity(
    panels: Mapping[str, Float[np.ndarray, "count dim"]],
    seconds_per_vector: float,
    *,
    name: str,
    trace: Trace | None = None,
) -> GridBox:
    """Draw which moments of a clip are alike: the cosine of every vector with every other.

    Parameters
    ----------
    panels : mapping of str to np.ndarray, shape (count, dim)
        A sequence of vectors under the title of its panel, all of one length.
    seconds_per_vector : float
        Seconds from one vector to the next.
    name : str
        Name of the picture, and of its file where a script saves it.
    trace : Trace, optional
        The clip, which a page saved by a script plays.

    Returns
    -------
    GridBox
        Two panels a row, one on a phone, and one color scale from -1 to 1; time runs along both axes, and so
        do two playheads in each panel, which cross at the moment that is heard.
    """
    mapper = LinearColorMapper(palette=theme.PALETTE, low=-1, high=1)
    drawn: list[figure] = []
    for title, vectors in panels.items():
        matrix = cosines(vectors)
        end = len(vectors) * seconds_per_vector
        neighbors = np.diagonal(matrix, offset=1).mean()
        description = f"cosine between neighboring positions {neighbors:.2f} on average"
        fig = _panel(f"{name}-{len(drawn)}", title, description, 250, "time (s)")
        fig.x_range = Range1d(start=0.0, end=end, bounds=(0.0, end), name="time")
        image = theme.paint(fig, matrix, (0.0, end), (0.0, end), mapper)
        fig.yaxis.axis_label = "time (s)"
        theme.hover(fig, [("moments", "$x{0.00} s and $y{0.00} s"), ("cosine", "@image{0.00}")], image)
        for dimension in ("height", "width"):
            add_playhead(fig, dimension, None if trace is None else trace.duration)
        if trace is not None:
            sound_with(fig, trace)
        drawn.append(fig)
    return theme.side_by_side(drawn, name, (mapper, "cosine"))


def cosines(vectors: Float[np.ndarray, "count dim"]) -> Float[np.ndarray, "count count"]:
    """Cosine between every two of some vectors, after their mean has been subtracted.

    Without the subtraction all cosines are high, since vectors of one layer have much in common. They are 0
    beside a vector that equals the mean.
    """
    centered = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(centered, axis=1, keepdims=True)
    unit = np.divide(centered, lengths, out=np.zeros_like(centered), where=lengths > 0)
    matrix: np.ndarray = unit @ unit.T
    return matrix


def _panel(name: str, title: str, description: str, height: int, x_label: str) -> figure:
    """Start one of several pictures beside each other: its title is part of its height."""
    about = {"description": f"{title}: {description}.", "x_label": x_label}
    return theme.chart(name, title, **about, height=height - 20, left=theme.PANEL_MARGIN)


def training_curves(runs: Mapping[str, Mapping[str, Any]]) -> GridBox:
    """Draw how trainings went, finished or not.

    Parameters
    ----------
    runs : mapping of str to mapping
        Under the name of each training what `asrscope.training.curves.compact` made of its log.

    Returns
    -------
    GridBox
        Loss, learning rate, gradient norm, throughput and every kind of score over steps: a panel for each,
        and in it a line for each training. How long each has been going on stands in the first.

    Raises
    ------
    ValueError
        If there are no trainings.
    """
    if not runs:
        raise ValueError("expected trainings to draw, but found none")
    lines: dict[str, dict[str, list[tuple[int, float]]]] = {title: {} for title in CURVES.values()}
    for run, found in runs.items():
        for column, title in CURVES.items():
            values = zip(found["curve"]["step"], found["curve"][column], strict=True)
            lines[title][run] = [(step, value) for step, value in values if value is not None]
        for row in found["evaluations"]:
            for score, value in row.items():
                if score not in ("step", "hours"):
                    title = "word error rate" if score.startswith("wer") else score.replace("_", " ")
                    line = lines.setdefault(title, {}).setdefault(f"{run}: {score}", [])
                    line.append((row["step"], value))
    progress = [
        f"{run}: {found['steps']:,} steps in {found['hours']:.2f} hours, {found['utterances']:,} utterances"
        for run, found in runs.items()
    ]
    figures: list[figure] = []
    for title, each in lines.items():
        last = "; ".join(f"{label}: at last {points[-1][1]:g}" for label, points in each.items() if points)
        fig = theme.chart(
            f"curves-{len(figures)}",
            theme.without_tex(title),
            description=f"{title}: {last}. {'; '.join(progress)}.",
            x_label="step",
            subtitles=() if figures else [theme.without_tex(line) for line in progress],
            height=220 + 24 * len(each),
        )
        for (label, points), color in zip(each.items(), cycle(theme.COLORS)):
            shown = theme.without_tex(label)
            x, y = [step for step, _ in points], [value for _, value in points]
            fig.line(x, y, line_color=color, line_width=2, legend_label=shown)
            dots = fig.scatter(x, y, size=4, color=color, legend_label=shown)
            theme.hover(fig, [(label, "@y"), ("step", "@x")], dots)
        theme.legend(fig, columns=1)
        figures.append(fig)
    return theme.side_by_side(figures, "curves")
