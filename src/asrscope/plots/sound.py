"""The two stages before any weight is involved: waveform and log-mel spectrogram."""

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, Range1d
from bokeh.plotting import figure
from jaxtyping import Float32

from asrscope.plots.figures import (
    add_boundaries,
    add_image,
    add_names,
    hover,
    time_figure,
    title_height,
)
from asrscope.plots.measures import mel_centers, number, stage_named, statistics, summary
from asrscope.plots.theme import BAR
from asrscope.plots.wording import spoken_words, title_lines
from asrscope.scope.stages import SECONDS_PER_SAMPLE
from asrscope.scope.traces import Trace

__all__ = ["log_mel", "waveform"]

ENVELOPE_COLUMNS = 1600  # about one for each pixel of a wide screen
HERTZ_TICKS = (250, 500, 1000, 2000, 4000)


def waveform(trace: Trace) -> figure:
    """Draw the waveform as its envelope: lowest and highest sample of each short stretch.

    Parameters
    ----------
    trace : Trace
        The trace to draw.

    Returns
    -------
    figure
        Amplitude over seconds, with the words where their times are known.
    """
    stage = stage_named("waveform")
    stats = statistics(trace, "waveform")
    title = title_lines(trace, stage.title, stage.parts)
    subtitles = [f"{stats.shape[0]} samples · {trace.duration:.2f} s · std {number(stats.std or 0.0)}"]
    words = spoken_words(trace)
    height = 200 + title_height(title, subtitles) + 18 * min(2, len(words))
    fig = time_figure(trace, title, subtitles, stage.key, height, y_label="amplitude")
    low, high, width = envelope(trace.waveform)
    peak = max(float(np.abs(trace.waveform).max(initial=0.0)), 1e-4)
    source = ColumnDataSource(
        {
            "time": ((np.arange(len(low)) + 0.5) * width).astype(np.float32),
            "low": low,
            "high": high,
            # An area as thin as silence would be invisible.
            "bottom": np.minimum(low, -peak / 200),
            "top": np.maximum(high, peak / 200),
        }
    )
    fig.varea(x="time", y1="bottom", y2="top", source=source, fill_color=BAR, name="envelope")
    # An area finds the pointer only inside it; unseen bars of full height find it at every moment.
    bars = fig.vbar(
        x="time", width=width, bottom=-peak, top=peak, source=source, fill_alpha=0, line_color=None
    )
    hover(fig, [("time", "@time{0.000} s"), ("lowest", "@low{0.000}"), ("highest", "@high{0.000}")], [bars])
    fig.y_range = Range1d(start=-1.05 * peak, end=1.05 * peak)
    add_boundaries(fig, trace)
    for row in (words[1::2], words[::2]):  # neighbors on different heights do not collide
        if row:
            centers = [(start + end) / 2 for _, start, end in row]
            add_names(fig, centers, [text for text, _, _ in row], "above")
    return fig


def log_mel(trace: Trace) -> figure:
    """Draw the log-mel spectrogram.

    Parameters
    ----------
    trace : Trace
        The trace to draw.

    Returns
    -------
    figure
        Mel bands over seconds; the ticks give the bands' center frequencies.
    """
    stage = stage_named("log_mel")
    stats = statistics(trace, "log_mel")
    title = title_lines(trace, stage.title, stage.parts)
    n_mels, frames = stats.shape
    size = f"{n_mels} mel bands × {frames} frames of {trace.seconds_per_frame * 1000:g} ms"
    if trace.frames_per_column > 1:
        size += f", read {trace.frames_per_column} at a time"
    subtitles = [size, summary(stats)]
    height = 300 + title_height(title, subtitles)
    centers = mel_centers(n_mels, trace.mel_scale)
    label = "mel band" if centers is None else "center of mel band (Hz)"
    fig = time_figure(trace, title, subtitles, stage.key, height, y_label=label)
    add_image(fig, trace.log_mel, trace.seconds_per_frame, row="mel band", value="log-mel")
    if centers is not None:
        ticks = {
            int(np.abs(centers - hertz).argmin()): hertz
            for hertz in HERTZ_TICKS
            if hertz < centers[-1] * 1.02
        }
        fig.yaxis.ticker = FixedTicker(ticks=list(ticks))
        fig.yaxis.major_label_overrides = {band: str(hertz) for band, hertz in ticks.items()}
    add_boundaries(fig, trace)
    return fig


def envelope(
    samples: Float32[np.ndarray, " samples"],
) -> tuple[Float32[np.ndarray, " stretches"], Float32[np.ndarray, " stretches"], float]:
    """Lowest and highest sample of equal stretches, and the seconds of one stretch.

    Parameters
    ----------
    samples : np.ndarray, shape (samples,)
        Mono audio at 16 kHz.

    Returns
    -------
    low, high : np.ndarray, shape (stretches,)
        The last stretch may be shorter than the others.
    seconds : float
        Length of a stretch.
    """
    step = max(1, -(-len(samples) // ENVELOPE_COLUMNS))
    starts = np.arange(0, len(samples), step)
    if len(starts) == 0:
        return np.zeros(0, np.float32), np.zeros(0, np.float32), step * SECONDS_PER_SAMPLE
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    return low, high, step * SECONDS_PER_SAMPLE
