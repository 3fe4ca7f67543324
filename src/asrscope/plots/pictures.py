"""Pictures of matrices that are not stages of a trace: any sound's spectrogram, likeness of vectors."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from bokeh.models import FixedTicker, GridBox, LinearColorMapper, Range1d
from bokeh.plotting import figure
from jaxtyping import Float, Float32

from asrscope.plots.figures import (
    add_color_bar,
    add_image,
    add_playhead,
    hover,
    literal,
    put_on_clock,
    sound_with,
    styled_figure,
    title_height,
)
from asrscope.plots.player import give_sound, listen
from asrscope.plots.theme import PALETTE
from asrscope.scope.traces import Trace

__all__ = ["cosines", "similarity", "spectrogram"]

WINDOW = 256  # samples; the step is half of it, or more if there would be more columns than a screen shows
MOST_COLUMNS = 700
RANGE = 60.0  # decibels kept below the loudest value: as far down as the window's own side lobes are
PANEL_MARGIN = 40  # pixels left of a panel: two of them share a tablet's width
# Bokeh gives each child of a grid its row and column. Here they flow: two in a row where there is room.
TWO_OR_ONE = ":host { grid-template-columns: repeat(auto-fit, minmax(max(17rem, 40%), 1fr)); }"
PLACED_BY_PAGE: dict[str, str | None] = {"grid-row": "auto", "grid-column": "auto"}


def spectrogram(
    waveform: Float32[np.ndarray, " samples"],
    name: str,
    title: str,
    *,
    description: str,
    sampling_rate: int,
    highest: float | None = None,
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
    highest : float, optional
        Frequency in Hz up to which is drawn; by default half the sampling rate.

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
    highest = sampling_rate / 2 if highest is None else highest
    step = max(WINDOW // 2, -(-waveform.size // MOST_COLUMNS))
    padded = np.pad(waveform.astype(np.float64), WINDOW // 2)  # so that the first column stands at 0 s
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: waveform.size : step]
    bins = min(WINDOW // 2, round(highest * WINDOW / sampling_rate)) + 1
    power = np.abs(np.fft.rfft(windows * np.blackman(WINDOW), axis=1)[:, :bins].T) ** 2  # (bins, columns)
    decibels = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 10 ** (-RANGE / 10)))
    fig = styled_figure(title, [], name, 250 + title_height(title, []), description)
    fig.title.standoff = 10  # type: ignore[union-attr] # room for the topmost tick's label
    end = waveform.size / sampling_rate
    put_on_clock(fig, end, end)
    give_sound(fig, partial(listen, waveform, title, sampling_rate))
    fig.yaxis.axis_label = "frequency (kHz)"
    add_image(fig, decibels, step / sampling_rate, row="frequency bin", value="level (dB)", digits="0")
    kilohertz = range(0, int(highest / 1000) + 1, max(1, round(highest / 6000)))
    ticks = [1000 * value * WINDOW / sampling_rate for value in kilohertz]
    fig.yaxis.ticker = FixedTicker(ticks=list(ticks))
    fig.yaxis.major_label_overrides = literal(ticks, [str(value) for value in kilohertz])
    return fig


def cosines(vectors: Float[np.ndarray, "count dim"]) -> Float[np.ndarray, "count count"]:
    """Cosine between every two of some vectors, after their mean has been subtracted.

    Without the subtraction all cosines are high, since vectors of one layer have much in common.

    Parameters
    ----------
    vectors : np.ndarray, shape (count, dim)
        At least two, not all equal.

    Returns
    -------
    np.ndarray, shape (count, count)
        Symmetric, 1 on the diagonal; 0 beside a vector that equals the mean.
    """
    centered = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(centered, axis=1, keepdims=True)
    unit = np.divide(centered, lengths, out=np.zeros_like(centered), where=lengths > 0)
    matrix: np.ndarray = unit @ unit.T
    return matrix


def similarity(
    panels: Mapping[str, Float[np.ndarray, "count dim"]],
    seconds_per_vector: float,
    *,
    name: str,
    height: int = 250,
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
    height : int
        Height of a panel in pixels.
    trace : Trace, optional
        The clip, which a page saved by a script plays.

    Returns
    -------
    GridBox
        Two panels a row, one on a phone, and one color scale from -1 to 1; time runs along both axes, and so
        do two playheads in each panel, which cross at the moment that is heard.
    """
    mapper = LinearColorMapper(palette=PALETTE, low=-1, high=1)
    drawn: list[figure] = []
    for title, vectors in panels.items():
        matrix = cosines(vectors)
        end = len(vectors) * seconds_per_vector
        neighbors = np.diagonal(matrix, offset=1).mean()
        description = f"{title}: cosine between neighboring positions {neighbors:.2f} on average."
        fig = styled_figure(title, [], f"{name}-{len(drawn)}", height, description, left=PANEL_MARGIN)
        fig.x_range = Range1d(start=0, end=end, bounds=(0, end), name="time")
        fig.y_range = Range1d(start=0, end=end, bounds=(0, end))
        image = fig.image(  # type: ignore[call-arg] # of which its stubs know only the coordinates
            image=[matrix.astype(np.float32)], x=0, y=0, dw=end, dh=end, color_mapper=mapper
        )
        hover(fig, [("moments", "$x{0.00} s and $y{0.00} s"), ("cosine", "@image{0.00}")], [image])
        for dimension in ("height", "width"):
            add_playhead(fig, dimension, None if trace is None else trace.duration)
        if trace is not None:
            sound_with(fig, trace)
        fig.grid.visible = False
        fig.xaxis.axis_label = fig.yaxis.axis_label = "time (s)"
        drawn.append(fig)
    return beside(drawn, name, mapper, "cosine")


def beside(drawn: Sequence[figure], name: str, mapper: LinearColorMapper, scale: str) -> GridBox:
    """Put figures of one scale beside each other, two in a row where there is room for that.

    Parameters
    ----------
    drawn : sequence of figure
        The figures, of one height.
    name : str
        Name of them all together.
    mapper : LinearColorMapper
        Their colors; the last two figures get a bar of them.
    scale : str
        Title of the bar: what the colors stand for, with its unit.

    Returns
    -------
    GridBox
        The figures.
    """
    for fig in drawn:
        fig.styles = PLACED_BY_PAGE
    for fig in drawn[-2:]:
        fig.height = (fig.height or 0) + 44
        add_color_bar(fig, mapper, scale)
    together = GridBox(name=name, sizing_mode="stretch_width", stylesheets=[TWO_OR_ONE])
    together.children = [(fig, *divmod(index, 2)) for index, fig in enumerate(drawn)]
    return together
