"""What stands between sound and text: each audio token's nearest text tokens, and the prompt."""

from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, FixedTicker, Range1d
from bokeh.plotting import figure

from asrscope.plots.figures import (
    add_boundaries,
    add_names,
    hover,
    plain_figure,
    plays,
    rests,
    time_figure,
    title_height,
)
from asrscope.plots.measures import number, stage_named
from asrscope.plots.theme import AUDIO_CELL, AUDIO_CELL_INK, BAR, TEXT_CELL, TEXT_CELL_INK
from asrscope.plots.wording import title_lines, visible
from asrscope.scope.traces import Trace

__all__ = ["nearest_tokens", "prompt"]

LINE_CHARACTERS = 44  # what a phone shows of the prompt in one line
LONGEST_TEXT = 18  # characters of one token


def nearest_tokens(trace: Trace) -> figure:
    """Draw, for each audio token, the cosine to its nearest text token, and name that token.

    Parameters
    ----------
    trace : Trace
        The trace to draw.

    Returns
    -------
    figure
        Cosine over seconds; a name is written where it differs from the one before.
    """
    stage = stage_named("nearest_tokens")
    title = title_lines(trace, stage.title, stage.parts)
    tokens, n_nearest = trace.nearest_cosines.shape
    seconds = trace.seconds_per_audio_token
    best = trace.nearest_cosines[:, 0] if n_nearest else np.zeros(0, np.float32)
    subtitles = [f"{tokens} audio tokens of {seconds * 1000:g} ms · best {n_nearest} of each in the hover"]
    if len(best):
        subtitles.append(f"cosine of the nearest: mean {number(float(best.mean()))}")
    fig = time_figure(
        trace, title, subtitles, stage.key, 230 + title_height(title, subtitles), y_label="cosine"
    )
    start = np.arange(len(best)) * seconds
    names = [visible(texts[0]) for texts in trace.nearest_texts] if n_nearest else []
    others = [
        ", ".join(
            f"{visible(text)} {cosine:.2f}" for text, cosine in zip(texts[1:], cosines[1:], strict=True)
        )
        for texts, cosines in zip(trace.nearest_texts, trace.nearest_cosines, strict=True)
    ]
    source = ColumnDataSource(
        {
            "center": start + seconds / 2,
            "cosine": best,
            "index": np.arange(len(best)),
            "span": [f"{t:.2f} to {t + seconds:.2f} s" for t in start],
            "token": names,
            "others": others[: len(best)],
        }
    )
    bars = fig.vbar(
        x="center", width=seconds * 0.88, top="cosine", source=source, fill_color=BAR, line_color=None
    )
    tooltips = [
        ("audio token", "@index"),
        ("time", "@span"),
        ("nearest text token", "@token"),
        ("cosine", "@cosine{0.000}"),
        ("runners-up", "@others"),
    ]
    hover(fig, tooltips, [bars])
    bottom, top = float(best.min(initial=0.0)), float(best.max(initial=0.1))
    fig.y_range = Range1d(start=bottom * 1.1, end=top * 1.1)
    fig.yaxis.ticker = FixedTicker(ticks=[-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1])
    add_boundaries(fig, trace)
    # A run of equal names is named once, at its first token.
    changes = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    centers = [float(start[i] + seconds / 2) for i in changes]
    add_names(fig, centers, [names[i][:LONGEST_TEXT] for i in changes], "above", dense=True)
    return fig


def prompt(trace: Trace) -> figure:
    """Draw the prompt as running text: every position is a cell, text or audio.

    Parameters
    ----------
    trace : Trace
        The trace to draw.

    Returns
    -------
    figure
        Cells in reading order, wrapped to the width of a phone.
    """
    stage = stage_named("prompt")
    title = title_lines(trace, stage.title, stage.parts)
    positions, audio = len(trace.prompt_ids), int(trace.prompt_is_audio.sum())
    subtitles = [
        f"{positions} positions: {positions - audio} text + {audio} audio",
        "blue: a text token · orange: the place of an audio token",
    ]
    cells = _flow(trace)
    lines = 1 + max(cells["line"], default=0)
    height = 26 * lines + 12 + title_height(title, subtitles)
    fig = plain_figure(trace, title, subtitles, stage.key, height, left=8)
    fig.axis.visible = False
    fig.grid.visible = False
    fig.x_range = Range1d(start=0, end=LINE_CHARACTERS)
    fig.y_range = Range1d(start=lines - 0.5, end=-0.5)  # the first line at the top
    is_audio = trace.prompt_is_audio
    source = ColumnDataSource(
        {
            **cells,
            "position": np.arange(positions),
            "id": trace.prompt_ids.tolist(),  # a list: 64-bit arrays do not travel to the browser
            "kind": np.where(is_audio, "audio token", "text token").tolist(),
            "token": [visible(text) for text in trace.prompt_texts],
            "fill": np.where(is_audio, AUDIO_CELL, TEXT_CELL).tolist(),
            "ink": np.where(is_audio, AUDIO_CELL_INK, TEXT_CELL_INK).tolist(),
        }
    )
    rects = fig.rect(
        x="center", y="line", width="width", height=0.84, source=source, fill_color="fill", line_color=None
    )
    texts = fig.text(
        x="center",
        y="line",
        text="shown",
        source=source,
        text_align="center",
        text_baseline="middle",
        text_color="ink",
        text_font=value("monospace"),
        text_font_size="10px",
    )
    tooltips = [("position", "@position"), ("kind", "@kind"), ("token", "@token"), ("token id", "@id")]
    hover(fig, tooltips, [rects])
    seconds, number_of = trace.seconds_per_audio_token, np.cumsum(is_audio) - 1
    plays(
        rects,
        [
            (float(number * seconds), float((number + 1) * seconds)) if audible else None
            for number, audible in zip(number_of, is_audio, strict=True)
        ],
    )
    rests(texts)
    return fig


def _flow(trace: Trace) -> dict[str, list[Any]]:
    """Lay the positions out in lines: text, center, width and line of each cell."""
    shown, centers, widths, line_of = [], [], [], []
    column, line, audio = 0.0, 0, 0
    for text, is_audio in zip(trace.prompt_texts, trace.prompt_is_audio, strict=True):
        if is_audio:
            label, audio = f"a{audio}", audio + 1
        else:
            label = visible(text)
            if len(label) > LONGEST_TEXT:
                label = label[: LONGEST_TEXT - 1] + "…"
        width = len(label) + 1.0  # half a character of air on each side
        if column + width > LINE_CHARACTERS:
            column, line = 0.0, line + 1
        shown.append(label)
        centers.append(column + width / 2)
        widths.append(width - 0.2)
        line_of.append(line)
        column += width
    return {"shown": shown, "center": centers, "width": widths, "line": line_of}
