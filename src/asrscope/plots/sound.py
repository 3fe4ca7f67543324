"""What lies along the seconds of a sound: one time axis, and the pictures over it.

The figures of a page are on one clock: each has a range named ``"time"`` and a line named ``"playhead"``, and
glyphs that stand for a stretch of the sound say so in the columns ``plays_from`` and ``plays_to``. The script
``clock/clock.js`` looks for these names.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
from bokeh.models import (  # type: ignore[attr-defined] # its stubs leave out renderers and annotations
    BoxZoomTool,
    ColumnDataSource,
    FixedTicker,
    GlyphRenderer,
    LinearColorMapper,
    PanTool,
    Range1d,
    ResetTool,
    Span,
    WheelZoomTool,
)
from bokeh.plotting import figure
from jaxtyping import Float, Float32

from asrscope.plots import theme, words
from asrscope.plots.page import give_sound, listen, player
from asrscope.scope.traces import SECONDS_PER_SAMPLE, Trace

__all__ = ["audio_embeds", "encoder_output", "log_mel", "spectrogram", "time_chart", "time_map", "waveform"]

ENVELOPE_COLUMNS = 1600  # about one for each pixel of a wide screen
HERTZ_TICKS = (250, 500, 1000, 2000, 4000)
MAX_CELLS = 400_000  # a 30 s clip of the bundled model stays below; a larger picture is merged row by row
MOST_MARKED_WORDS = 30  # with both ends: more lines than that would hide the picture
COLOR_PERCENTILES = (0.5, 99.5)  # a few outlying values would leave everything else one color
ROW_HEIGHT = 24  # pixels of a row of a map
# Of any sound's spectrogram. The step is half a window, or more if there would be too many columns.
WINDOW = 256  # samples
MOST_COLUMNS = 700
RANGE = 60.0  # decibels kept below the loudest value: as far down as the window's own side lobes are


# --- the clock ---


def put_on_clock(fig: figure, end: float, seconds: float) -> None:
    """Make the horizontal axis the time of a sound up to `end` seconds, with tools to zoom and a playhead."""
    zoom, pan = BoxZoomTool(dimensions="width"), PanTool(dimensions="width")
    fig.add_tools(zoom, pan, WheelZoomTool(dimensions="width"), ResetTool())
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
    line = Span(location=0, dimension=dimension, level="overlay", line_color=theme.PLAYHEAD, line_width=2)
    line.update(name="playhead", tags=[] if seconds is None else [{"seconds": seconds}])
    fig.add_layout(line)


def sound_with(fig: figure, trace: Trace) -> None:
    """Let a saved page of the figure play the clip."""
    give_sound(fig, partial(player, trace))


def plays(renderer: GlyphRenderer, times: words.Times) -> None:
    """Let each glyph stand for a stretch of the sound, or for none: pages play it, and light it when heard.

    `times` has start and end in seconds for each row of the glyphs' data.
    """
    lit = renderer.glyph.clone()
    lit.update(line_color=theme.PLAYHEAD, line_width=3, line_alpha=1)
    renderer.selection_glyph = lit
    rests(renderer)
    edges = np.array([(math.nan, math.nan) if time is None else time for time in times], np.float64)
    source = cast(ColumnDataSource, renderer.data_source)
    source.data["plays_from"], source.data["plays_to"] = edges.reshape(-1, 2).T.copy()


def rests(renderer: GlyphRenderer) -> None:
    """Let glyphs look as always while others are lit, where Bokeh would fade them."""
    renderer.nonselection_glyph = None
    if renderer.selection_glyph == "auto":
        renderer.selection_glyph = None


# --- figures to draw on ---


def time_figure(trace: Trace, name: str, title: str, **options: Any) -> figure:
    """Start a `chart` over the clip, or over what it was padded to for encoder and decoder."""
    fig = theme.chart(name, title, **options)
    frames, audio_tokens = trace.log_mel.shape[1], len(trace.audio_embeds)
    padded = (frames * trace.seconds_per_frame, audio_tokens * trace.seconds_per_audio_token)
    put_on_clock(fig, max(trace.duration, *map(float, padded)), trace.duration)
    sound_with(fig, trace)
    return fig


def add_boundaries(fig: figure, trace: Trace) -> None:
    """Draw a thin line where each word begins and ends; of many words, a faint one where each begins."""
    spoken = words.spoken_words(trace)
    if not spoken:
        return
    few = len(spoken) <= MOST_MARKED_WORDS
    edges = {start for _, start, _ in spoken} | ({end for *_, end in spoken} if few else set())
    # One glyph, because every annotation costs the page an element of its own.
    look: dict[str, Any] = {"line_color": theme.BOUNDARY, "line_dash": "dotted"}
    fig.vspan(x=sorted(edges), name="boundaries", line_alpha=0.8 if few else 0.4, **look)


def time_chart(trace: Trace, name: str, title: str, *, height: int = 200, **about: Any) -> figure:
    """Start a figure over the seconds of a clip, with its playhead, zoom tools and the edges of its words.

    Parameters
    ----------
    trace : Trace
        The clip.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    height : int
        Height without titles, in pixels.
    **about
        What else a `chart` is given: its ``description``, ``y_label`` and ``subtitles``.

    Returns
    -------
    figure
        On one clock with the other figures over time of its page.
    """
    fig = time_figure(trace, name, title, height=height, **about)
    add_boundaries(fig, trace)
    return fig


def add_image(  # noqa: PLR0917
    fig: figure,
    values: Float[np.ndarray, "rows columns"],
    seconds_per_column: float,
    row: str,
    value: str,
    digits: str = "0.000",
) -> None:
    """Draw a matrix of shape (rows, columns) over time, with a color bar in the values' own unit.

    Parameters
    ----------
    fig : figure
        A figure over time. If rows have to be merged, the label of its axis says so.
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
    """
    merged = -(-values.size // MAX_CELLS)
    picture = merge_rows(values, merged)
    rows, columns = picture.shape
    low, high = map(float, np.percentile(values, COLOR_PERCENTILES))
    if low == high:
        low, high = low - 0.5, high + 0.5
    mapper = LinearColorMapper(palette=theme.PALETTE, low=low, high=high)
    # Row i covers i - 0.5 to i + 0.5, so that rounding y gives its index.
    image = theme.paint(fig, picture, (0.0, columns * seconds_per_column), (-0.5, rows - 0.5), mapper)
    theme.add_color_bar(fig, mapper, f"{value} ({words.number(low)} to {words.number(high)})")
    name, y = row, "$y{0}"
    if merged > 1:
        name, y = f"{merged} {row}s from", "@first"
        first = np.repeat(np.arange(rows)[:, None] * merged, columns, axis=1)
        image.data_source.data["first"] = [first.astype(np.uint16)]
        fig.xaxis.axis_label = f"time (s) · each row: the value of largest size among {merged} {row}s"
    theme.hover(fig, [("time", "$x{0.000} s"), (name, y), (value, f"@image{{{digits}}}")], image)


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


# --- stages of a trace ---


def waveform(trace: Trace) -> figure:
    """Draw the waveform as its envelope: lowest and highest sample of each short stretch.

    Its amplitude stands over seconds, with the words where their times are known.
    """
    stats, spoken = words.statistics(trace, "waveform"), words.spoken_words(trace)
    subtitles = [f"{stats.shape[0]} samples · {trace.duration:.2f} s · std {words.number(stats.std)}"]
    height = 200 + 18 * min(2, len(spoken))
    fig = time_figure(
        trace, **words.heading(trace, "waveform"), subtitles=subtitles, height=height, y_label="amplitude"
    )
    low, high, width = envelope(trace.waveform)
    peak = max(float(np.abs(trace.waveform).max()), 1e-4)
    data = {
        "time": ((np.arange(len(low)) + 0.5) * width).astype(np.float32),
        "low": low,
        "high": high,
        # An area as thin as silence would be invisible.
        "bottom": np.minimum(low, -peak / 200),
        "top": np.maximum(high, peak / 200),
    }
    source = ColumnDataSource(data)
    fig.varea(x="time", y1="bottom", y2="top", source=source, fill_color=theme.BAR, name="envelope")
    # An area finds the pointer only inside it; unseen bars of full height find it at every moment.
    bars = fig.vbar(
        x="time", width=width, bottom=-peak, top=peak, source=source, fill_alpha=0, line_color=None
    )
    theme.hover(
        fig, [("time", "@time{0.000} s"), ("lowest", "@low{0.000}"), ("highest", "@high{0.000}")], bars
    )
    fig.y_range = Range1d(start=-1.05 * peak, end=1.05 * peak)
    add_boundaries(fig, trace)
    for row in (spoken[1::2], spoken[::2]):  # neighbors on different heights do not collide
        theme.add_names(
            fig, [(start + end) / 2 for _, start, end in row], [text for text, *_ in row], "above"
        )
    return fig


def envelope(
    samples: Float32[np.ndarray, " samples"],
) -> tuple[Float32[np.ndarray, " stretches"], Float32[np.ndarray, " stretches"], float]:
    """Lowest and highest sample of equal stretches (the last may be shorter), and the seconds of one."""
    step = max(1, -(-len(samples) // ENVELOPE_COLUMNS))
    starts = np.arange(0, len(samples), step)
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    return low, high, step * SECONDS_PER_SAMPLE


def log_mel(trace: Trace) -> figure:
    """Draw the log-mel spectrogram over seconds; the ticks give the center frequencies of its bands."""
    n_mels, frames = trace.log_mel.shape
    size = f"{n_mels} mel bands × {frames} frames of {trace.seconds_per_frame * 1000:g} ms"
    if trace.frames_per_column > 1:
        size += f", read {trace.frames_per_column} at a time"
    centers = words.mel_centers(n_mels, trace.mel_scale)
    y_label = "mel band" if centers is None else "center of mel band (Hz)"
    fig = _picture(trace, "log_mel", trace.log_mel, size, ("mel band", "log-mel"), y_label)
    if centers is not None:
        heard = [hertz for hertz in HERTZ_TICKS if hertz < centers[-1] * 1.02]
        ticks = {int(np.abs(centers - hertz).argmin()): hertz for hertz in heard}
        fig.yaxis.ticker = FixedTicker(ticks=list(ticks))
        fig.yaxis.major_label_overrides = {band: str(hertz) for band, hertz in ticks.items()}
    return fig


def encoder_output(trace: Trace) -> figure:
    """Draw the encoder's output: its dimensions over seconds, one column for each position."""
    return _vectors(trace, "encoder_output", "positions")


def audio_embeds(trace: Trace) -> figure:
    """Draw the projector's output: its dimensions over seconds, one column for each audio token."""
    return _vectors(trace, "audio_embeds", "audio tokens")


def _vectors(trace: Trace, key: str, unit: str) -> figure:
    vectors, (_, seconds) = getattr(trace, words.VIEWS[key].field), words.step_of(trace, key)
    size = f"{len(vectors)} {unit} of {seconds * 1000:g} ms × {vectors.shape[1]} dimensions"
    # Transposed: (dimensions, positions), so that time runs to the right.
    return _picture(trace, key, vectors.T, size, ("dimension", "activation"), "dimension")


def _picture(  # noqa: PLR0917
    trace: Trace,
    key: str,
    values: Float32[np.ndarray, "rows columns"],
    size: str,
    row_and_value: tuple[str, str],
    y_label: str,
) -> figure:
    """Draw a stage that is a matrix; `row_and_value` says what its rows and values are."""
    subtitles = [size, str(words.statistics(trace, words.VIEWS[key].field))]
    fig = time_figure(trace, **words.heading(trace, key), subtitles=subtitles, height=300, y_label=y_label)
    add_image(fig, values, words.step_of(trace, key)[1], *row_and_value)
    add_boundaries(fig, trace)
    return fig


# --- pictures of what is no stage ---


def spectrogram(
    waveform: Float32[np.ndarray, " samples"],
    name: str,
    title: str,
    *,
    description: str,
    sampling_rate: int,
) -> figure:
    """Draw how strong each frequency of a sound is over time, on a linear scale of frequencies.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    description : str
        What there is to see, for readers who do not see it.
    sampling_rate : int
        Samples a second.

    Returns
    -------
    figure
        Frequency in kHz over seconds, in decibels below the loudest place.

    Raises
    ------
    ValueError
        If the sound is shorter than one window of 256 samples.
    """
    if waveform.size < WINDOW:
        raise ValueError(f"expected at least {WINDOW} samples for a spectrogram, but found {waveform.size}")
    step = max(WINDOW // 2, -(-waveform.size // MOST_COLUMNS))
    padded = np.pad(waveform.astype(np.float64), WINDOW // 2)  # so that the first column stands at 0 s
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: waveform.size : step]
    power = np.abs(np.fft.rfft(windows * np.blackman(WINDOW), axis=1).T) ** 2  # (bins, columns)
    decibels = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 10 ** (-RANGE / 10)))
    fig = theme.chart(name, title, description=description, height=250, y_label="frequency (kHz)")
    fig.title.standoff = 10  # type: ignore[union-attr] # room for the topmost tick's label
    end = waveform.size / sampling_rate
    put_on_clock(fig, end, end)
    give_sound(fig, partial(listen, waveform, title, sampling_rate))
    add_image(fig, decibels, step / sampling_rate, "frequency bin", "level (dB)", digits="0")
    kilohertz = range(0, sampling_rate // 2000 + 1, max(1, round(sampling_rate / 12_000)))
    ticks = [1000 * value * WINDOW / sampling_rate for value in kilohertz]
    fig.yaxis.ticker = FixedTicker(ticks=list(ticks))
    fig.yaxis.major_label_overrides = theme.literal(ticks, [str(value) for value in kilohertz])
    return fig


def time_map(
    trace: Trace,
    values: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    *,
    value: str,
    limits: tuple[float, float] | None = None,
    seconds_per_column: float | None = None,
    spans: Sequence[tuple[int, float, float]] = (),
    texts: Sequence[Sequence[str]] | None = None,
    **about: Any,
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
    value : str
        What a value is, with its unit.
    limits : (float, float), optional
        Values of the first and the last color; by default the smallest and the largest value.
    seconds_per_column : float, optional
        Seconds that a column covers; by default those of an audio token.
    spans : sequence of (int, float, float)
        Stretches to outline: row, start and end in seconds.
    texts : sequence of sequence of str, optional
        A text for each value, shown in its hover.
    **about
        What else a `chart` is given: its ``name``, ``title``, ``description`` and ``subtitles``.

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
    fig = theme.rows_chart(rows, ROW_HEIGHT, 92, partial(time_figure, trace), **about)
    mapper = LinearColorMapper(palette=theme.PALETTE, low=low, high=high if high > low else low + 1.0)
    theme.paint(fig, values, (0.0, columns * seconds), (n_rows - 0.5, -0.5), mapper)
    theme.add_color_bar(fig, mapper, value)

    row, start = np.repeat(np.arange(n_rows), columns), np.tile(np.arange(columns) * seconds, n_rows)
    cells = {
        "left": start,
        "right": start + seconds,
        "top": row - 0.5,
        "bottom": row + 0.5,
        "row": [name for name in rows for _ in range(columns)],
        "span": [f"{words.stretch(t, t + seconds)} s" for t in start],
        "value": values.astype(np.float32).ravel(),
        "text": [""] * values.size if texts is None else [text for row in texts for text in row],
    }
    # Nothing to see: an image by itself cannot tell the hover which row it is and what stands there.
    quads = fig.quad(source=ColumnDataSource(cells), **theme.UNSEEN)
    tooltips = [("row", "@row"), ("time", "@span"), (value, "@value{0.000}")]
    theme.hover(fig, tooltips if texts is None else [*tooltips, ("here", "@text")], quads)
    if spans:
        outlines = {
            "left": [start for _, start, _ in spans],
            "right": [end for *_, end in spans],
            "top": [row - 0.5 for row, *_ in spans],
            "bottom": [row + 0.5 for row, *_ in spans],
        }
        source = ColumnDataSource(outlines)
        marked = fig.quad(source=source, fill_alpha=0, line_color=theme.OUTLINE, line_width=1.5, name="spans")
        plays(marked, [(start, end) for _, start, end in spans])
    return fig
