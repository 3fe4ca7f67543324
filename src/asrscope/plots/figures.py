"""What all figures share: size, margins, titles, the time axis with its playhead, images, words on top."""

import math
from collections.abc import Sequence
from functools import partial
from typing import cast

import numpy as np
from bokeh.models import (  # type: ignore[attr-defined] # its stubs leave out annotations
    BoxZoomTool,
    ColorBar,
    ColumnDataSource,
    DataRenderer,
    FixedTicker,
    GlyphRenderer,
    HoverTool,
    LinearAxis,
    LinearColorMapper,
    NoOverlap,
    PanTool,
    PlainText,
    Range1d,
    ResetTool,
    Span,
    Title,
    WheelZoomTool,
)
from bokeh.models.text import BaseText
from bokeh.plotting import figure
from jaxtyping import Float

from asrscope.plots.descriptions import describe
from asrscope.plots.measures import number
from asrscope.plots.player import give_sound, player
from asrscope.plots.theme import BOUNDARY, NEUTRAL_TEXT, PALETTE, PLAYHEAD
from asrscope.plots.wording import spoken_words
from asrscope.scope.traces import Trace

# Margins are the same for every figure over time, so that their time axes stand below each other on a page.
LEFT_MARGIN, RIGHT_MARGIN = 60, 8  # pixels
MAX_CELLS = 400_000  # a 30 s clip of the bundled model stays below; a larger picture is merged row by row
MOST_MARKED_WORDS = 30  # with both ends: more lines than that would hide the picture
COLOR_PERCENTILES = (0.5, 99.5)  # a few outlying values would leave everything else one color


def plain_figure(
    trace: Trace, title: str, subtitles: Sequence[str], name: str, height: int, *, left: int = LEFT_MARGIN
) -> figure:
    """Figure that fills the width of its page, without tools; `left` is its left margin in pixels.

    Its text alternative goes with it as a tag, where a page finds it.
    """
    fig = styled_figure(title, subtitles, name, height, describe(trace, name), left=left)
    sound_with(fig, trace)
    return fig


def styled_figure(
    title: str, subtitles: Sequence[str], name: str, height: int, description: str, *, left: int = LEFT_MARGIN
) -> figure:
    """Like `plain_figure`, with the text alternative given: for figures of something else than a trace."""
    fig = figure(
        name=name,
        tags=[{"description": description}],
        height=height,
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
    )
    fig.toolbar.logo = None
    # Titles start at the left edge of the figure, where the width of a phone allows the longest line.
    indent = 8 - left
    for line in reversed(subtitles):
        fig.add_layout(
            Title(
                text=line,
                text_font_size="11px",
                text_font_style="normal",
                text_color=NEUTRAL_TEXT,
                offset=indent,
                standoff=7,
            ),
            "above",
        )
    fig.title = Title(text=title, text_font_size="13px", text_color=NEUTRAL_TEXT, offset=indent, standoff=6)
    for axis in fig.axis:
        axis.axis_label_text_font_size = "11px"
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = NEUTRAL_TEXT
        axis.axis_label_standoff = 4
        axis.major_label_text_font_size = "11px"
        axis.major_label_text_color = NEUTRAL_TEXT
        axis.axis_line_color = axis.major_tick_line_color = NEUTRAL_TEXT
        axis.minor_tick_line_color = None
    fig.grid.grid_line_alpha = 0.5
    return fig


def time_figure(
    trace: Trace,
    title: str,
    subtitles: Sequence[str],
    name: str,
    height: int,
    *,
    y_label: str,
    description: str | None = None,
    left: int = LEFT_MARGIN,
) -> figure:
    """Figure over the seconds of the clip, with zoom tools, the shared range ``"time"`` and a playhead.

    A figure that is not one of `PLOTS` brings its own text alternative, `description`.
    """
    end = clip_end(trace)
    description = describe(trace, name) if description is None else description
    fig = styled_figure(title, subtitles, name, height, description, left=left)
    put_on_clock(fig, end, trace.duration)
    sound_with(fig, trace)
    fig.yaxis.axis_label = y_label
    return fig


def sound_with(fig: figure, trace: Trace) -> None:
    """Let a saved page of the figure play the clip, if there is anything to play."""
    if trace.waveform.size:
        give_sound(fig, partial(player, trace))


def put_on_clock(fig: figure, end: float, seconds: float) -> None:
    """Make the horizontal axis the time of a sound up to `end` seconds, with tools to zoom and a playhead."""
    zoom, pan = BoxZoomTool(dimensions="width"), PanTool(dimensions="width")
    wheel = WheelZoomTool(dimensions="width")
    fig.add_tools(zoom, pan, wheel, ResetTool())
    fig.toolbar_location = "right"
    fig.toolbar.active_drag = zoom
    fig.toolbar.stylesheets = [".bk-tool-overflow { min-height: 24px; }"]  # for fingers: Bokeh has 15
    fig.toolbar.active_scroll = None  # the wheel scrolls the page until the reader asks for zoom
    # One name: a page links all figures by pairing the ranges that carry it.
    fig.x_range = Range1d(start=0, end=end, bounds=(0, end), min_interval=0.05, name="time")
    fig.xaxis.axis_label = "time (s)"
    add_playhead(fig, "height", seconds)


def add_playhead(fig: figure, dimension: str, seconds: float | None) -> None:
    """Draw the line that a page moves with a sound: upright (``"height"``) or level (``"width"``).

    It follows sounds of the length given in seconds, so that no other sound of the page moves it; without a
    length, every sound.
    """
    # "overlay" is a canvas of its own: moving the playhead repaints nothing below it.
    fig.add_layout(
        Span(
            location=0,
            dimension=dimension,
            name="playhead",
            tags=[] if seconds is None else [{"seconds": seconds}],
            level="overlay",
            line_color=PLAYHEAD,
            line_width=2,
        )
    )


def plays(renderer: GlyphRenderer, times: Sequence[tuple[float, float] | None]) -> None:
    """Let each glyph stand for a stretch of the sound, or for none: pages play it, and light it when heard.

    Parameters
    ----------
    renderer : GlyphRenderer
        What was drawn.
    times : sequence of (float, float) or None
        Start and end in seconds, one for each row of its data.
    """
    lit = renderer.glyph.clone()
    lit.update(line_color=PLAYHEAD, line_width=3, line_alpha=1)
    renderer.selection_glyph = lit
    rests(renderer)
    edges = [(math.nan, math.nan) if time is None else time for time in times]
    source = cast(ColumnDataSource, renderer.data_source)
    source.data["plays_from"] = np.array([start for start, _ in edges], np.float64)
    source.data["plays_to"] = np.array([end for _, end in edges], np.float64)


def rests(renderer: GlyphRenderer) -> None:
    """Let glyphs look as always while others are lit, where Bokeh would fade them."""
    renderer.nonselection_glyph = None
    if renderer.selection_glyph == "auto":
        renderer.selection_glyph = None


def clip_end(trace: Trace) -> float:
    """Seconds that the pictures cover: the clip, or what it was padded to for encoder and decoder."""
    frames, audio_tokens = trace.log_mel.shape[1], len(trace.audio_embeds)
    covered = (
        trace.duration,
        float(frames * trace.seconds_per_frame),
        float(audio_tokens * trace.seconds_per_audio_token),
    )
    return max(covered)


def title_height(title: str, subtitles: Sequence[str]) -> int:
    """Pixels that the title and the lines below it take."""
    return 20 * len(title.split("\n")) + 19 * len(subtitles)


def hover(fig: figure, tooltips: list[tuple[str, str]], renderers: Sequence[DataRenderer]) -> None:
    """Attach tooltips to some glyphs; Bokeh escapes all they show, since no format is ``safe``."""
    fig.add_tools(HoverTool(tooltips=tooltips, renderers=list(renderers), visible=False))


def add_image(
    fig: figure,
    values: Float[np.ndarray, "rows columns"],
    seconds_per_column: float,
    *,
    row: str,
    value: str,
    digits: str = "0.000",
) -> str | None:
    """Draw a matrix of shape (rows, columns) over time, with a color bar in the values' own unit.

    Parameters
    ----------
    fig : figure
        A figure over time.
    values : np.ndarray, shape (rows, columns)
        First row at the bottom.
    seconds_per_column : float
        Width of a column.
    row : str
        What a row is, for the hover text.
    value : str
        What a value is, with its unit, for hover text and color bar.
    digits : str
        Number format of the values in the hover text.

    Returns
    -------
    str or None
        A line for the subtitle if rows had to be merged, else None.
    """
    if values.size == 0:
        return None
    merged = -(-values.size // MAX_CELLS)
    picture = merge_rows(values, merged)
    rows, columns = picture.shape
    low, high = np.percentile(values, COLOR_PERCENTILES)
    if low == high:
        low, high = low - 0.5, high + 0.5
    mapper = LinearColorMapper(palette=PALETTE, low=float(low), high=float(high))
    # float32, not bytes: the hover reads the very values, and Bokeh cannot undo a scaling without eval.
    source = ColumnDataSource({"image": [np.ascontiguousarray(picture, dtype=np.float32)]})
    image = fig.image(  # type: ignore[call-arg] # of which its stubs know only the coordinates
        image="image",
        x=0,
        y=-0.5,  # row i covers i - 0.5 to i + 0.5, so that rounding y gives its index
        dw=columns * seconds_per_column,
        dh=rows,
        color_mapper=mapper,
        source=source,
    )
    fig.y_range = Range1d(start=-0.5, end=rows - 0.5, bounds=(-0.5, rows - 0.5))
    fig.grid.visible = False
    add_color_bar(fig, mapper, f"{value} ({number(float(low))} to {number(float(high))})")
    name = row if merged == 1 else f"{merged} {row}s from"
    y = "$y{0}" if merged == 1 else "@first"
    if merged > 1:
        source.data["first"] = [
            np.repeat(np.arange(rows)[:, None] * merged, columns, axis=1).astype(np.uint16)
        ]
    hover(fig, [("time", "$x{0.000} s"), (name, y), (value, f"@image{{{digits}}}")], [image])
    return None if merged == 1 else f"each row: the value of largest size among {merged} {row}s"


def add_color_bar(fig: figure, mapper: LinearColorMapper, title: str) -> None:
    """Explain the colors of an image below it."""
    bar = ColorBar(
        color_mapper=mapper,
        orientation="horizontal",
        height=8,
        title=title,
        title_text_font_size="11px",
        title_text_font_style="normal",
        title_text_color=NEUTRAL_TEXT,
        title_standoff=4,
        major_label_text_font_size="10px",
        major_label_text_color=NEUTRAL_TEXT,
        major_tick_line_color=None,
        label_standoff=4,
        padding=4,
        background_fill_color=None,
    )
    fig.add_layout(bar, "below")


def merge_rows(
    values: Float[np.ndarray, "rows columns"], merged: int
) -> Float[np.ndarray, "merged_rows columns"]:
    """Keep, of every `merged` neighboring rows, the value of largest magnitude in each column."""
    if merged == 1:
        return values
    rows = -(-values.shape[0] // merged)
    filled = np.zeros((rows * merged, values.shape[1]), dtype=values.dtype)
    filled[: values.shape[0]] = values
    groups = filled.reshape(rows, merged, values.shape[1])
    largest = np.abs(groups).argmax(axis=1, keepdims=True)
    return np.take_along_axis(groups, largest, axis=1)[:, 0]


def add_boundaries(fig: figure, trace: Trace) -> None:
    """Draw a thin line where each word begins and ends; of many words, a faint one where each begins."""
    words = spoken_words(trace)
    if not words:
        return
    few = len(words) <= MOST_MARKED_WORDS
    edges = {start for _, start, _ in words} | ({end for *_, end in words} if few else set())
    # One glyph, because every annotation costs the page an element of its own.
    fig.vspan(
        x=sorted(edges),
        name="boundaries",
        line_color=BOUNDARY,
        line_alpha=0.8 if few else 0.4,
        line_dash="dotted",
    )


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
        major_label_text_font_size="11px",
        major_label_text_color=NEUTRAL_TEXT,
        major_label_standoff=2,
        # By opacity: a page's CSS variables replace the colors of lines, None included.
        axis_line_alpha=0,
        major_tick_line_alpha=0,
        major_tick_out=0,
    )
    getattr(fig, side).insert(0, axis)  # next to the frame, below the titles


def literal(places: Sequence[float | int], names: Sequence[str]) -> dict[float | str, str | BaseText]:
    """Tick labels that Bokeh takes as they are: in a plain string it would look for TeX."""
    return {float(place): PlainText(text=name) for place, name in zip(places, names, strict=True)}
