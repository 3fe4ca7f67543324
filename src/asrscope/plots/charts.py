"""Figures for what is measured on a trace: an empty chart to draw on, and a map of rows over time."""

from collections.abc import Sequence

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, LinearColorMapper, Range1d
from bokeh.palettes import Cividis256
from bokeh.plotting import figure
from jaxtyping import Float

from asrscope.plots.figures import (
    LEFT_MARGIN,
    add_boundaries,
    add_color_bar,
    hover,
    literal,
    plays,
    rests,
    sound_with,
    styled_figure,
    time_figure,
    title_height,
)
from asrscope.plots.theme import NEUTRAL_TEXT, PALETTE
from asrscope.plots.wording import visible
from asrscope.scope.traces import Trace

__all__ = ["chart", "legend", "time_chart", "time_map", "token_grid"]

LONGEST_TOKEN = 8  # characters in one cell
ROW_HEIGHT = 24  # pixels
SPAN = "#ffffff"  # outlines within a map: most of the palette is dark, and the playhead is red


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
        What there is to see, in words and numbers, for readers who do not see it.
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
    height += title_height(title, subtitles)
    fig = styled_figure(title, subtitles, name, height, description, left=left)
    fig.xaxis.axis_label, fig.yaxis.axis_label = x_label, y_label
    return fig


def time_chart(
    trace: Trace,
    name: str,
    title: str,
    *,
    description: str,
    y_label: str,
    subtitles: Sequence[str] = (),
    height: int = 200,
) -> figure:
    """Start a figure over the seconds of a clip, with its playhead, zoom tools and the edges of its words.

    Parameters
    ----------
    trace : Trace
        The clip.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    description : str
        What there is to see, in words and numbers, for readers who do not see it.
    y_label : str
        What the vertical axis shows, with its unit.
    subtitles : sequence of str
        Lines below the title.
    height : int
        Height without titles, in pixels.

    Returns
    -------
    figure
        On one clock with the other figures over time of its page.
    """
    height += title_height(title, subtitles)
    fig = time_figure(trace, title, subtitles, name, height, y_label=y_label, description=description)
    add_boundaries(fig, trace)
    return fig


def time_map(
    trace: Trace,
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    *,
    name: str,
    title: str,
    value: str,
    description: str,
    subtitles: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    seconds_per_column: float | None = None,
    spans: Sequence[tuple[int, float, float]] = (),
    texts: Sequence[Sequence[str]] | None = None,
) -> figure:
    """Draw rows of values over the seconds of a clip, the first row on top.

    Parameters
    ----------
    trace : Trace
        The clip.
    values : np.ndarray, shape (rows, columns)
        What is shown as color.
    rows : sequence of str
        Name of each row.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    value : str
        What a value is, with its unit.
    description : str
        What there is to see, in words and numbers, for readers who do not see it.
    subtitles : sequence of str
        Lines below the title.
    limits : (float, float), optional
        Values of the first and the last color; by default the smallest and the largest value.
    seconds_per_column : float, optional
        Seconds that a column covers; by default those of an audio token.
    spans : sequence of (int, float, float)
        Stretches to outline: row, start and end in seconds.
    texts : sequence of sequence of str, optional
        A text for each value, shown in its hover.

    Returns
    -------
    figure
        On one clock with the other figures over time of its page.

    Raises
    ------
    ValueError
        If there are not as many names as rows, or not as many texts as values.
    """
    n_rows, columns = values.shape
    shape = (len(rows), columns) if texts is None else (len(texts), *{len(row) for row in texts})
    if len(rows) != n_rows or shape != values.shape:
        raise ValueError(
            f"Expected a name for each of {n_rows} rows and a text for each of {columns} columns, or none, "
            f"but found {len(rows)} names and texts of shape {shape}."
        )
    seconds = trace.seconds_per_audio_token if seconds_per_column is None else seconds_per_column
    low, high = limits or (float(values.min()), float(values.max()))
    # The titles begin at the left edge of the figure only if the names fit into the margin.
    left = max(LEFT_MARGIN, 20 + 7 * max(map(len, rows)))
    height = ROW_HEIGHT * n_rows + 92 + title_height(title, subtitles)
    fig = time_figure(trace, title, subtitles, name, height, y_label="", description=description, left=left)
    mapper = LinearColorMapper(palette=PALETTE, low=low, high=high if high > low else low + 1.0)
    picture = np.ascontiguousarray(values, dtype=np.float32)
    place = {"x": 0, "y": -0.5, "dw": columns * seconds, "dh": n_rows}
    fig.image(image=[picture], color_mapper=mapper, **place)  # type: ignore[call-arg] # see add_image
    fig.y_range = Range1d(start=n_rows - 0.5, end=-0.5, bounds=(-0.5, n_rows - 0.5))
    fig.yaxis.ticker = FixedTicker(ticks=list(range(n_rows)))
    fig.yaxis.major_label_overrides = literal(range(n_rows), rows)
    fig.grid.visible = False
    add_color_bar(fig, mapper, value)

    start = np.tile(np.arange(columns) * seconds, n_rows)
    cells = ColumnDataSource(
        {
            "left": start,
            "right": start + seconds,
            "top": np.repeat(np.arange(n_rows), columns) - 0.5,
            "bottom": np.repeat(np.arange(n_rows), columns) + 0.5,
            "row": np.repeat(np.asarray(rows), columns).tolist(),
            "span": [f"{t:.2f} to {t + seconds:.2f} s" for t in start],
            "value": picture.ravel(),
            "text": [""] * values.size if texts is None else [text for row in texts for text in row],
        }
    )
    # Nothing to see: an image by itself cannot tell the hover which row it is and what stands there.
    quads = fig.quad(source=cells, fill_alpha=0, line_alpha=0)
    tooltips = [("row", "@row"), ("time", "@span"), (value, "@value{0.000}")]
    hover(fig, tooltips if texts is None else [*tooltips, ("here", "@text")], [quads])
    if spans:
        outlines = ColumnDataSource(
            {
                "left": [start for _, start, _ in spans],
                "right": [end for *_, end in spans],
                "top": [row - 0.5 for row, *_ in spans],
                "bottom": [row + 0.5 for row, *_ in spans],
            }
        )
        marked = fig.quad(source=outlines, fill_alpha=0, line_color=SPAN, line_width=1.5, name="spans")
        plays(marked, [(start, end) for _, start, end in spans])
    return fig


def token_grid(
    texts: Sequence[Sequence[str]],
    probabilities: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    name: str,
    title: str,
    description: str,
    subtitles: Sequence[str] = (),
    corner: tuple[str, str] = ("row", "column"),
    clip: tuple[Trace, Sequence[tuple[float, float] | None]] | None = None,
) -> figure:
    """Draw a table of tokens, each cell with a token and colored by its probability, the first row on top.

    Parameters
    ----------
    texts : sequence of sequence of str
        The token in each cell, by row.
    probabilities : np.ndarray, shape (rows, columns)
        Its probability.
    rows, columns : sequence of str
        Names of the rows and the columns.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    description : str
        What there is to see, in words and numbers, for readers who do not see it.
    subtitles : sequence of str
        Lines below the title.
    corner : (str, str)
        What a row and what a column is, for the hover text.
    clip : (Trace, sequence of (float, float) or None), optional
        A clip, and for each row the stretch of it that the row stands for, in seconds, or None: pages play
        it, and light the row while it is heard.

    Returns
    -------
    figure
        Yellow is a probability near 1, dark blue near 0.

    Raises
    ------
    ValueError
        If there are not as many tokens or names as probabilities.
    """
    found = (len(rows), len(columns)), (len(texts), *{len(row) for row in texts})
    if not found[0] == found[1] == probabilities.shape:
        raise ValueError(
            f"Expected names and tokens for {probabilities.shape} cells, but found {found[0]} and {found[1]}."
        )
    left = max(LEFT_MARGIN, 20 + 7 * max(map(len, rows)))
    height = ROW_HEIGHT * len(rows) + 30
    fig = chart(name, title, description=description, subtitles=subtitles, height=height, left=left)
    flat = probabilities.ravel().astype(float)
    shown = [visible(text) for row in texts for text in row]
    cells = ColumnDataSource(
        {
            "row": np.repeat(np.arange(len(rows)), len(columns)),
            "column": np.tile(np.arange(len(columns)), len(rows)),
            "row_name": np.repeat(np.asarray(rows), len(columns)).tolist(),
            "column_name": list(columns) * len(rows),
            "token": shown,
            "shown": [
                text if len(text) <= LONGEST_TOKEN else text[: LONGEST_TOKEN - 1] + "…" for text in shown
            ],
            "probability": flat,
            "fill": [Cividis256[round(p * 255)] for p in flat],
            "ink": ["#ffffff" if p < 0.5 else "#1b1b1b" for p in flat],
        }
    )
    rects = fig.rect(
        x="column", y="row", width=0.96, height=0.9, source=cells, fill_color="fill", line_color=None
    )
    written = fig.text(
        x="column",
        y="row",
        text="shown",
        source=cells,
        text_align="center",
        text_baseline="middle",
        text_color="ink",
        text_font_size="10px",
    )
    tooltips = [
        (corner[0], "@row_name"),
        (corner[1], "@column_name"),
        ("token", "@token"),
        ("probability", "@probability{0.0000}"),
    ]
    hover(fig, tooltips, [rects])
    if clip is not None:
        trace, times = clip
        plays(rects, [time for time in times for _ in columns])
        rests(written)
        sound_with(fig, trace)
    fig.x_range = Range1d(start=-0.5, end=len(columns) - 0.5)
    fig.y_range = Range1d(start=len(rows) - 0.5, end=-0.5)
    for axis, names in ((fig.xaxis, columns), (fig.yaxis, rows)):
        axis.ticker = FixedTicker(ticks=list(range(len(names))))
        axis.major_label_overrides = literal(range(len(names)), names)
    fig.grid.visible = False
    return fig


def legend(fig: figure, location: str = "top_right", *, columns: int = 2) -> None:
    """Let the legend of a figure look like its axes.

    Parameters
    ----------
    fig : figure
        A figure with glyphs that were given a ``legend_label``.
    location : str
        Where it stands, ``"top_left"`` for example; ``"below"`` sets it under the figure.
    columns : int
        Columns of a legend below; two fit on a phone.
    """
    box = fig.legend[0]
    box.background_fill_alpha = 0
    box.border_line_alpha = 0
    box.label_text_color = NEUTRAL_TEXT
    box.label_text_font_size = "11px"
    box.padding = 4  # type: ignore[assignment] # one number is one of the ways to state it
    box.margin = 2
    if location == "below":
        box.orientation, box.ncols, box.location = "horizontal", columns, "left"
        box.spacing = 12
        fig.add_layout(box, "below")
    else:
        box.location = location  # type: ignore[assignment] # one of the names that its stubs spell out
