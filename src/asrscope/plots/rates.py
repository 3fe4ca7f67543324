"""Error rates with how uncertain they are: over a scale such as loudness, or side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.models import FixedTicker, Range1d
from bokeh.plotting import figure

from asrscope.plots.charts import chart, legend
from asrscope.plots.figures import LEFT_MARGIN, literal

__all__ = ["Rate", "rates_by_name", "rates_over"]

COLORS = ("#3b82c4", "#d9822b", "#9a6fc4", "#3fa66b")


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


def rates_over(
    curves: Mapping[str, Mapping[float, Rate]],
    name: str,
    title: str,
    *,
    x_label: str,
    falling: bool = False,
    subtitles: Sequence[str] = (),
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
    subtitles : sequence of str
        Lines below the title.

    Returns
    -------
    figure
        Word error rate in percent; all numbers stand in its text alternative.

    Raises
    ------
    ValueError
        If there are no curves, or more than can be told apart.
    """
    if not 0 < len(curves) <= len(COLORS):
        raise ValueError(f"expected 1 to {len(COLORS)} curves, but found {len(curves)}")
    description = " ".join(
        f"{curve}: " + ", ".join(f"{place:g}: {rate}" for place, rate in points.items()) + "."
        for curve, points in curves.items()
    )
    fig = chart(name, title, description=f"{x_label}. {description}", subtitles=subtitles, x_label=x_label)
    places = sorted({place for points in curves.values() for place in points})
    span = places[-1] - places[0] or 1.0
    for number, (curve, points) in enumerate(curves.items()):
        color = COLORS[number]
        # Bars at one place would cover each other.
        aside = (number - (len(curves) - 1) / 2) * span / 100
        x = [place + aside for place in points]
        y = [100 * each.rate for each in points.values()]
        known = [
            (where, each.interval) for where, each in zip(x, points.values(), strict=True) if each.interval
        ]
        fig.segment(
            x0=[where for where, _ in known],
            x1=[where for where, _ in known],
            y0=[100 * low for _, (low, _) in known],
            y1=[100 * high for _, (_, high) in known],
            line_color=color,
            line_width=2,
            line_alpha=0.6,
        )
        label: dict[str, Any] = {"legend_label": curve} if len(curves) > 1 else {}
        fig.line(x, y, line_color=color, line_width=2, **label)
        fig.scatter(x, y, size=6, color=color, **label)
    first, last = places[0] - 0.04 * span, places[-1] + 0.04 * span
    fig.x_range = Range1d(start=last if falling else first, end=first if falling else last)
    fig.xaxis.ticker = FixedTicker(ticks=list(places))
    fig.yaxis.axis_label = "word error rate (%)"
    highest = max(_highest(each) for points in curves.values() for each in points.values())
    fig.y_range = Range1d(start=0, end=5 + highest)
    if len(curves) > 1:
        legend(fig, "below")
    return fig


def rates_by_name(
    rates: Mapping[str, Rate], name: str, title: str, *, subtitles: Sequence[str] = ()
) -> figure:
    """Draw one rate below the other, with their intervals as level bars.

    Parameters
    ----------
    rates : mapping of str to Rate
        Each rate under its name, the first on top.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    subtitles : sequence of str
        Lines below the title.

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
    left = max(LEFT_MARGIN, 20 + 7 * max(map(len, rates)))
    height = 60 + 34 * len(rates)
    fig = chart(name, title, description=description, subtitles=subtitles, height=height, left=left)
    rows = list(range(len(rates)))
    known = [(row, each.interval) for row, each in zip(rows, rates.values(), strict=True) if each.interval]
    fig.segment(
        x0=[100 * low for _, (low, _) in known],
        x1=[100 * high for _, (_, high) in known],
        y0=[row for row, _ in known],
        y1=[row for row, _ in known],
        line_color=COLORS[0],
        line_width=3,
        line_alpha=0.6,
    )
    fig.scatter([100 * each.rate for each in rates.values()], rows, size=9, color=COLORS[0])
    fig.x_range = Range1d(start=0, end=5 + max(map(_highest, rates.values())))
    fig.xaxis.axis_label = "word error rate (%)"
    fig.y_range = Range1d(start=len(rates) - 0.5, end=-0.5)
    fig.yaxis.ticker = FixedTicker(ticks=list(rows))
    fig.yaxis.major_label_overrides = literal(rows, list(rates))
    fig.ygrid.visible = False
    return fig


def _highest(rate: Rate) -> float:
    """Upper end of what is drawn, in percent."""
    return 100 * max(rate.rate, rate.interval[1] if rate.interval else 0.0)
