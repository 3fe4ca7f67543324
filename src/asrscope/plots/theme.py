"""How every figure looks: one palette, size and style.

Bokeh draws axes, titles and labels with the CSS variables ``--bk-...`` where a page sets them, as
``theme.css`` does for light and dark. It does not do so for glyphs, so the glyph colors here are chosen to
stand out on white and on near-black alike.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import (  # type: ignore[attr-defined] # its stubs leave out renderers and annotations
    Axis,
    ColorBar,
    DataRenderer,
    FixedTicker,
    GlyphRenderer,
    GridBox,
    HoverTool,
    LinearAxis,
    LinearColorMapper,
    NoOverlap,
    PlainText,
    Range1d,
    Title,
)
from bokeh.models.text import BaseText
from bokeh.palettes import Cividis256, Viridis256
from bokeh.plotting import figure
from jaxtyping import Float

__all__ = ["COLORS", "PALETTE", "chart", "legend"]

PALETTE: tuple[str, ...] = Viridis256  # perceptually uniform, and readable without color vision
CHANCES: tuple[str, ...] = Cividis256  # of cells with text: from dark blue, improbable, to yellow
COLORS = ("#3b82c4", "#d9822b", "#4c9f70", "#b04a5a", "#8a63b8", "#7b8794")  # of what has no order
BAR = COLORS[0]
PLAYHEAD = "#f0483e"
BOUNDARY = "#8c8c8c"
OUTLINE = "#ffffff"  # within a map: most of the palette is dark, and the playhead is red
# Legible on white, and nearly so on near-black: for pages that set no variables. Color bars read none, so a
# page's script gives them the ink.
NEUTRAL_TEXT = "#757575"
# Cells with text inside: fill and text belong together, whatever the page looks like around them.
TEXT_CELL, TEXT_CELL_INK = "#cfe3f7", "#0f2d47"
AUDIO_CELL, AUDIO_CELL_INK = "#fbd9a5", "#4a2f05"

# Margins are the same for every figure over time, so that their time axes stand below each other on a page.
LEFT_MARGIN, RIGHT_MARGIN = 64, 8  # pixels: the widest tick labels and an axis label fit, in any font
PANEL_MARGIN = 40  # of a panel: two of them share a tablet's width
# Bokeh gives each child of a grid its row and column. Here they flow: two in a row where there is room.
TWO_OR_ONE = ":host { grid-template-columns: repeat(auto-fit, minmax(max(17rem, 40%), 1fr)); }"
PLACED_BY_PAGE: dict[str, str | None] = {"grid-row": "auto", "grid-column": "auto"}

# Glyphs: plain bars, and what is there for the pointer alone.
BARS: dict[str, Any] = {"fill_color": BAR, "line_color": None}
UNSEEN: dict[str, Any] = {"fill_alpha": 0, "line_alpha": 0}


def _text(part: str, pixels: int) -> dict[str, Any]:
    """Properties of one kind of text of a figure."""
    look = {"font_size": f"{pixels}px", "font_style": "normal", "color": NEUTRAL_TEXT}
    return {f"{part}text_{name}": value for name, value in look.items()}


def chart(
    name: str,
    title: str,
    *,
    description: str,
    x_label: str = "",
    y_label: str = "",
    subtitles: Sequence[str] = (),
    height: int = 260,
    left: int = LEFT_MARGIN,
) -> figure:
    """Start a figure in the style of all others: no tools, titles at the left edge, axes in the page's ink.

    Parameters
    ----------
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    description : str
        What there is to see, in words and numbers, for readers who do not see it. It goes with the figure as
        a tag, where a page finds it.
    x_label, y_label : str
        What the axes show, with its unit.
    subtitles : sequence of str
        Lines below the title.
    height : int
        Height without titles, in pixels.
    left : int
        Left margin in pixels.

    Returns
    -------
    figure
        As wide as its page, with nothing drawn in it.
    """
    fig = figure(
        name=name,
        tags=[{"description": description}],
        height=height + 20 * len(title.split("\n")) + 19 * len(subtitles),
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools=[],
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border_left=left,
        min_border_right=RIGHT_MARGIN,
        min_border_top=0,
        min_border_bottom=0,
        x_axis_label=x_label,
        y_axis_label=y_label,
    )
    fig.toolbar.logo = None
    # Titles start at the left edge of the figure, where the width of a phone allows the longest line.
    for line in reversed(subtitles):
        fig.add_layout(Title(text=line, offset=8 - left, standoff=7, **_text("", 11)), "above")
    bold = _text("", 13) | {"text_font_style": "bold"}
    fig.title = Title(text=title, offset=8 - left, standoff=6, **bold)
    for axis in fig.axis:
        axis.update(**_text("axis_label_", 11), **_text("major_label_", 11), axis_label_standoff=4)
        axis.axis_line_color = axis.major_tick_line_color = NEUTRAL_TEXT
        axis.minor_tick_line_color = None
    fig.grid.grid_line_alpha = 0.5
    return fig


def legend(fig: figure, *, columns: int = 2) -> None:
    """Set the legend of a figure below it, and let it look like its axes.

    Parameters
    ----------
    fig : figure
        A figure with glyphs that were given a ``legend_label``.
    columns : int
        Columns of it; two fit on a phone.
    """
    box = fig.legend[0]
    box.update(background_fill_alpha=0, border_line_alpha=0, padding=4, margin=2, **_text("label_", 11))
    box.update(orientation="horizontal", ncols=columns, location="left", spacing=12)
    fig.add_layout(box, "below")


def hover(fig: figure, tooltips: Sequence[tuple[str, str]], *renderers: DataRenderer) -> None:
    """Attach tooltips to some glyphs; Bokeh escapes all they show, since no format is ``safe``."""
    fig.add_tools(HoverTool(tooltips=list(tooltips), renderers=list(renderers), visible=False))


def literal(places: Sequence[float | int], names: Sequence[str]) -> dict[float | str, str | BaseText]:
    """Tick labels that Bokeh takes as they are: in a plain string it would look for TeX."""
    return {float(place): PlainText(text=name) for place, name in zip(places, names, strict=True)}


def without_tex(text: str) -> str:
    """Part the marks by which Bokeh would take a text for TeX, where it takes nothing but strings."""
    return re.sub(r"(?<=[$\\])(?=[$(\[])", "\u200b", text)


def name_ticks(axis: Axis, names: Sequence[str]) -> None:
    """Write names along an axis, at 0, 1, 2 and so on."""
    axis.ticker = FixedTicker(ticks=list(range(len(names))))
    axis.major_label_overrides = literal(range(len(names)), names)


def rows_chart(names: Sequence[str], row: int, more: int, start: Any = chart, **options: Any) -> figure:
    """Start a figure of rows with names beside them, the first on top.

    A row has so many pixels, and there are `more` above and below. `start` is what begins it, with `options`.
    """
    # Titles begin at the left edge of a figure only if the names fit into its margin.
    left = max(LEFT_MARGIN, 20 + 7 * max(map(len, names), default=0))
    fig: figure = start(**options, height=row * max(1, len(names)) + more, left=left)
    fig.y_range = Range1d(start=max(1, len(names)) - 0.5, end=-0.5)
    fig.ygrid.visible = False
    name_ticks(fig.yaxis[0], names)
    return fig


def add_names(
    fig: figure, places: Sequence[float | int], names: Sequence[str], side: str, *, dense: bool = False
) -> None:
    """Write names along one side of a figure, at their places on its axis.

    An axis, not labels: it takes the page's ink, and leaves names out where they would cover each other, so
    that a phone shows some and zooming in shows all. `dense` turns names of more than two letters on their
    side.
    """
    if not names:
        return
    axis = LinearAxis(
        ticker=FixedTicker(ticks=list(places)),  # type: ignore[arg-type] # any ticker will do
        major_label_overrides=literal(places, names),
        major_label_policy=NoOverlap(min_distance=2 if dense else 5),
        major_label_orientation="vertical" if dense and max(map(len, names)) > 2 else "horizontal",
        major_label_standoff=2,
        **_text("major_label_", 11),
        # By opacity: a page's CSS variables replace the colors of lines, None included.
        axis_line_alpha=0,
        major_tick_line_alpha=0,
        major_tick_out=0,
    )
    getattr(fig, side).insert(0, axis)  # next to the frame, below the titles


def paint(
    fig: figure,
    values: Float[np.ndarray, "rows columns"],
    x: tuple[float, float],
    y: tuple[float, float],
    mapper: LinearColorMapper,
) -> GlyphRenderer:
    """Fill a figure with a matrix; `x` and `y` are its ends, those of its first column and row first."""
    (left, right), (low, high) = sorted(x), sorted(y)
    fig.y_range = Range1d(start=y[0], end=y[1], bounds=(low, high))
    fig.grid.visible = False
    place = {"x": left, "y": low, "dw": right - left, "dh": high - low}
    look: dict[str, Any] = {**place, "color_mapper": mapper}
    # float32, not bytes: the hover reads the very values, and Bokeh cannot undo a scaling without eval.
    return fig.image(image=[np.ascontiguousarray(values, dtype=np.float32)], **look)


def add_color_bar(fig: figure, mapper: LinearColorMapper, title: str) -> None:
    """Explain the colors of an image below it."""
    bar = ColorBar(
        color_mapper=mapper,
        orientation="horizontal",
        height=8,
        title=title,
        title_standoff=4,
        major_tick_line_color=None,
        label_standoff=4,
        padding=4,
        background_fill_color=None,
        **_text("title_", 11),
        **_text("major_label_", 10),
    )
    fig.add_layout(bar, "below")


def side_by_side(
    drawn: Sequence[figure], name: str, colors: tuple[LinearColorMapper, str] | None = None
) -> GridBox:
    """Put figures of one height beside each other, two in a row where there is room for that.

    The last two get a bar of the colors that all of them share, if these are given with what they stand for.
    """
    for fig in drawn:
        fig.styles = PLACED_BY_PAGE
    if colors is not None:
        for fig in drawn[-2:]:
            fig.height = (fig.height or 0) + 44
            add_color_bar(fig, *colors)
    together = GridBox(name=name, sizing_mode="stretch_width", stylesheets=[TWO_OR_ONE])
    together.children = [(fig, *divmod(index, 2)) for index, fig in enumerate(drawn)]
    return together
