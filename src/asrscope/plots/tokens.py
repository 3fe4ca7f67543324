"""What is made of pieces of text: what audio tokens are near, the prompt, and what the decoder wrote."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import (  # type: ignore[attr-defined] # its stubs leave out renderers
    ColumnDataSource,
    FixedTicker,
    GlyphRenderer,
    Range1d,
)
from bokeh.plotting import figure
from jaxtyping import Float, Int

from asrscope.plots import theme, words
from asrscope.plots.sound import add_boundaries, plays, rests, sound_with, time_figure
from asrscope.scope.traces import Token, Trace

__all__ = ["decoder_tokens", "decoder_words", "distance_table", "nearest_tokens", "prompt", "token_grid"]

LINE_CHARACTERS = 44  # what a phone shows of the prompt in one line
LONGEST_TEXT = 18  # characters of a token of the prompt, and above a bar
LONGEST_NAME = 14  # of a word beside its bar
LONGEST_ALTERNATIVE, LONGEST_TOKEN = 9, 8  # in a cell of the decoder's tokens, and of any grid
MOST_ALTERNATIVES = 4  # beside the written token: five in all
ROW_HEIGHT = 24  # pixels of a row of a grid
DISTANCE_HEIGHT = 26  # and of a table of distances
START = "·"  # stands before the first word


def nearest_tokens(trace: Trace) -> figure:
    """Draw, for each audio token, the cosine to its nearest text token, and name that token.

    The cosine stands over seconds; a name is written where it differs from the one before.
    """
    tokens, n_nearest = trace.nearest_cosines.shape
    seconds = trace.seconds_per_audio_token
    best = trace.nearest_cosines[:, 0]
    subtitles = [
        f"{tokens} audio tokens of {seconds * 1000:g} ms · best {n_nearest} of each in the hover",
        f"cosine of the nearest: mean {words.number(float(best.mean()))}",
    ]
    texts = words.heading(trace, "nearest_tokens")
    fig = time_figure(trace, **texts, subtitles=subtitles, height=230, y_label="cosine")
    start = np.arange(tokens) * seconds
    names = [words.visible(texts[0]) for texts in trace.nearest_texts]
    others = [
        ", ".join(words.with_chances(list(zip(texts[1:], cosines[1:].tolist(), strict=True)), 2))
        for texts, cosines in zip(trace.nearest_texts, trace.nearest_cosines, strict=True)
    ]
    data = {
        "center": start + seconds / 2,
        "cosine": best,
        "index": np.arange(tokens),
        "span": [f"{words.stretch(t, t + seconds)} s" for t in start],
        "token": names,
        "others": others,
    }
    source = ColumnDataSource(data)
    bars = fig.vbar(x="center", width=seconds * 0.88, top="cosine", source=source, **theme.BARS)
    which = [("audio token", "@index"), ("time", "@span"), ("nearest text token", "@token")]
    theme.hover(fig, [*which, ("cosine", "@cosine{0.000}"), ("runners-up", "@others")], bars)
    bottom, top = float(best.min(initial=0.0)), float(best.max(initial=0.1))
    fig.y_range = Range1d(start=bottom * 1.1, end=top * 1.1)
    fig.yaxis.ticker = FixedTicker(ticks=[-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1])
    add_boundaries(fig, trace)
    # A run of equal names is named once, at its first token.
    changes = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    centers = [float(start[i] + seconds / 2) for i in changes]
    theme.add_names(fig, centers, [names[i][:LONGEST_TEXT] for i in changes], "above", dense=True)
    return fig


def prompt(trace: Trace) -> figure:
    """Draw the prompt as running text, wrapped to the width of a phone: every position is a cell."""
    positions, audio = len(trace.prompt_ids), len(trace.audio_embeds)
    subtitles = [
        f"{positions} positions: {positions - audio} text + {audio} audio",
        "blue: a text token · orange: the place of an audio token",
    ]
    cells = _flow(trace)
    lines = 1 + max(cells["line"], default=0)
    fig = theme.chart(**words.heading(trace, "prompt"), subtitles=subtitles, height=26 * lines + 12, left=8)
    fig.axis.visible = False
    fig.grid.visible = False
    fig.x_range = Range1d(start=0, end=LINE_CHARACTERS)
    fig.y_range = Range1d(start=lines - 0.5, end=-0.5)  # the first line at the top
    is_audio = trace.prompt_is_audio
    cells |= {
        "position": np.arange(positions),
        "id": trace.prompt_ids.tolist(),  # a list: 64-bit arrays do not travel to the browser
        "kind": np.where(is_audio, "audio token", "text token").tolist(),
        "token": [words.visible(text) for text in trace.prompt_texts],
        "fill": np.where(is_audio, theme.AUDIO_CELL, theme.TEXT_CELL).tolist(),
        "ink": np.where(is_audio, theme.AUDIO_CELL_INK, theme.TEXT_CELL_INK).tolist(),
    }
    tooltips = [("position", "@position"), ("kind", "@kind"), ("token", "@token"), ("token id", "@id")]
    places = {"x": "center", "y": "line", "width": "width"}
    rects = _cells(fig, cells, tooltips, **places, height=0.84, text_font=value("monospace"))
    plays(rects, words.audio_times(trace))
    sound_with(fig, trace)
    return fig


def _flow(trace: Trace) -> dict[str, Any]:
    """Lay the positions out in lines: text, center, width and line of each cell."""
    cells: dict[str, list[Any]] = {"shown": [], "center": [], "width": [], "line": []}
    column, line, audio = 0.0, 0, 0
    for text, is_audio in zip(trace.prompt_texts, trace.prompt_is_audio, strict=True):
        label = f"a{audio}" if is_audio else words.short(words.visible(text), LONGEST_TEXT)
        audio += bool(is_audio)
        width = len(label) + 1.0  # half a character of air on each side
        if column + width > LINE_CHARACTERS:
            column, line = 0.0, line + 1
        for name, item in zip(cells, (label, column + width / 2, width - 0.2, line), strict=True):
            cells[name].append(item)
        column += width
    return cells


def decoder_words(trace: Trace) -> figure:
    """Draw the words in order, the first on top, each with a bar for its probability."""
    written, times = trace.words, words.word_times(trace)
    subtitles = [
        f"{len(written)} words · {len(trace.tokens)} tokens · confidence {words.chance(trace.confidence)}",
        "each bar: the product of its tokens' probabilities" if written else "nothing was written",
    ]
    wrong = words.wrong_words(trace)
    if any(wrong):
        subtitles.append("✗: not said")
    marks = ["✗ " if each else "" for each in wrong]
    names = [mark + words.short(word.text, LONGEST_NAME) for mark, word in zip(marks, written, strict=True)]
    about = words.heading(trace, "decoder_words")
    fig = theme.rows_chart(names, _row_height(len(names)), 48, subtitles=subtitles, **about)
    tokens = [words.tokens_of(trace, word) for word in written]
    data = {
        "row": list(range(len(written))),
        "word": [word.text for word in written],
        "probability": [word.probability for word in written],
        "tokens": [
            " ".join(words.with_chances([(t.text, t.probability) for t in group])) for group in tokens
        ],
        "instead": ["; ".join(map(_instead, group)) for group in tokens],
        "time": ["not known" if time is None else f"{words.stretch(*time)} s" for time in times],
    }
    source = ColumnDataSource(data)
    bars = fig.hbar(y="row", height=0.72, right="probability", source=source, **theme.BARS)
    # A whole row can be pressed, and shows which word is heard: a bar may be too short for either.
    row = fig.hbar(y="row", height=0.9, left=0, right=1, source=source, **theme.UNSEEN)
    plays(row, times)
    rests(bars)
    sound_with(fig, trace)
    found = [("word", "@word"), ("probability", "@probability{0.000}"), ("time", "@time")]
    theme.hover(fig, [*found, ("tokens", "@tokens"), ("runners-up", "@instead")], bars)
    fig.yaxis.major_tick_line_alpha = 0
    theme.add_names(fig, range(len(written)), [words.chance(word.probability) for word in written], "right")
    fig.x_range = Range1d(start=0, end=1)
    fig.xaxis.ticker = FixedTicker(ticks=[0, 0.25, 0.5, 0.75, 1])
    fig.xaxis.axis_label = "probability"
    return fig


def _instead(token: Token) -> str:
    others = ", ".join(words.with_chances(token.runners_up[:2]))
    return f"{words.visible(token.text)}: {others or 'none'}"


def decoder_tokens(trace: Trace) -> figure:
    """Draw every token that was written, the first on top, beside the tokens most probable instead.

    Color is probability.
    """
    rows, times = len(trace.tokens), words.token_times(trace)
    columns = 1 + min(MOST_ALTERNATIVES, max((len(t.runners_up) for t in trace.tokens), default=0))
    end = trace.eos_probability
    last = "cut off" if end is None else f"end of text {words.chance(end)}"
    subtitles = [f"{rows} tokens, then {last}", "yellow: probability near 1 · dark blue: near 0"]
    names = [str(row) for row in range(rows)]
    about = words.heading(trace, "decoder_tokens")
    fig = theme.rows_chart(names, _row_height(rows), 30, subtitles=subtitles, **about)
    written = [[(token.text, token.probability), *token.runners_up][:columns] for token in trace.tokens]
    places = ["written", *(f"alternative {column}" for column in range(1, columns))]
    rects = _token_cells(fig, written, names, places, ("token number", "place"), LONGEST_ALTERNATIVE)
    heard = [[time] + [None] * (len(row) - 1) for time, row in zip(times, written, strict=True)]
    plays(rects, [time for row in heard for time in row])
    sound_with(fig, trace)
    theme.name_ticks(fig.xaxis[0], [place.replace("alternative", "alt.") for place in places])
    fig.yaxis.major_tick_line_alpha = 0
    return fig


def token_grid(
    texts: Sequence[Sequence[str]],
    probabilities: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    corner: tuple[str, str] = ("row", "column"),
    clip: tuple[Trace, words.Times] | None = None,
    **about: Any,
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
    corner : (str, str)
        What a row and what a column is, for the hover text.
    clip : (Trace, sequence of (float, float) or None), optional
        A clip, and for each row the stretch of it that the row stands for, in seconds, or None: pages play
        it, and light the row while it is heard.
    **about
        What else a `chart` is given: its ``name``, ``title``, ``description`` and ``subtitles``.

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
    fig = theme.rows_chart(rows, ROW_HEIGHT, 30, **about)
    pairs = zip(texts, probabilities.tolist(), strict=True)
    written = [list(zip(row, chances, strict=True)) for row, chances in pairs]
    rects = _token_cells(fig, written, rows, columns, corner, LONGEST_TOKEN)
    if clip is not None:
        trace, times = clip
        plays(rects, [time for time in times for _ in columns])
        sound_with(fig, trace)
    return fig


def distance_table(
    distances: Int[np.ndarray, "rows columns"],
    said: Sequence[str],
    written: Sequence[str],
    path: Sequence[tuple[int, int]],
) -> figure:
    """Draw the table by which the fewest word errors are found, with the cells of one path in another color.

    Parameters
    ----------
    distances : np.ndarray, shape (rows, columns)
        Fewest errors between the first i words said and the first j words written, i and j from 0.
    said, written : sequence of str
        The words: one fewer than rows and columns.
    path : sequence of (int, int)
        Cells to mark: row and column.

    Returns
    -------
    figure
        Words said down the side, words written along the top.

    Raises
    ------
    ValueError
        If the table does not have one row and one column more than there are words.
    """
    rows, columns = len(said) + 1, len(written) + 1
    if distances.shape != (rows, columns):
        raise ValueError(
            f"expected a table of {rows} x {columns} for {len(said)} and {len(written)} words, "
            f"but found {distances.shape[0]} x {distances.shape[1]}"
        )
    description = (
        f"{len(said)} words said down the side, {len(written)} written along the top. The marked path of "
        f"{len(path)} cells ends at {distances[-1, -1]} errors."
    )
    about = {"name": "distances", "title": "The fewest errors, word by word", "description": description}
    labels = {"x_label": "written", "y_label": "said"}
    fig = theme.rows_chart([START, *said], DISTANCE_HEIGHT, 70, **about, **labels)
    marked = np.zeros((rows, columns), bool)
    for cell in path:
        marked[cell] = True
    row, column = np.indices((rows, columns))
    data = {
        "row": row.ravel(),
        "column": column.ravel(),
        "shown": [str(errors) for errors in distances.ravel()],
        "fill": np.where(marked, theme.AUDIO_CELL, theme.TEXT_CELL).ravel().tolist(),
        "ink": np.where(marked, theme.AUDIO_CELL_INK, theme.TEXT_CELL_INK).ravel().tolist(),
    }
    _cells(fig, data, [], width=0.94, height=0.9, text_font_size="12px")
    theme.name_ticks(fig.xaxis[0], [START, *written])
    fig.x_range = Range1d(start=-0.5, end=columns - 0.5)
    fig.axis.major_tick_line_alpha = 0
    fig.xaxis.major_label_orientation = "vertical"
    fig.grid.visible = False
    return fig


def _token_cells(  # noqa: PLR0917
    fig: figure,
    written: Sequence[Sequence[tuple[str, float]]],
    rows: Sequence[str],
    columns: Sequence[str],
    corner: tuple[str, str],
    longest: int,
) -> GlyphRenderer:
    """Draw cells with a token in each, colored by its probability; a row may be shorter than others."""
    cells = [
        (row, column, words.visible(text), probability)
        for row, pairs in enumerate(written)
        for column, (text, probability) in enumerate(pairs)
    ]
    data = {
        "row": [row for row, *_ in cells],
        "column": [column for _, column, *_ in cells],
        "row_name": [rows[row] for row, *_ in cells],
        "column_name": [columns[column] for _, column, *_ in cells],
        "token": [token for *_, token, _ in cells],
        "shown": [words.short(token, longest) for *_, token, _ in cells],
        "probability": [probability for *_, probability in cells],
        "fill": [theme.CHANCES[round(probability * 255)] for *_, probability in cells],
        "ink": ["#ffffff" if probability < 0.5 else "#1b1b1b" for *_, probability in cells],
    }
    kinds = [(corner[0], "@row_name"), (corner[1], "@column_name"), ("token", "@token")]
    rects = _cells(fig, data, [*kinds, ("probability", "@probability{0.0000}")], width=0.96, height=0.9)
    theme.name_ticks(fig.xaxis[0], columns)
    fig.x_range = Range1d(start=-0.5, end=len(columns) - 0.5)
    fig.grid.visible = False
    return rects


def _cells(
    fig: figure,
    data: dict[str, Any],
    tooltips: Sequence[tuple[str, str]],
    *,
    x: str = "column",
    y: str = "row",
    width: float | str,
    height: float,
    **text_style: Any,
) -> GlyphRenderer:
    """Draw cells with a text in each: the columns ``shown``, ``fill`` and ``ink`` of the data."""
    source = ColumnDataSource(data)
    rects = fig.rect(x=x, y=y, width=width, height=height, source=source, fill_color="fill", line_color=None)
    style = {"text_align": "center", "text_baseline": "middle", "text_font_size": "10px", **text_style}
    rests(fig.text(x=x, y=y, text="shown", source=source, text_color="ink", **style))
    if tooltips:
        theme.hover(fig, tooltips, rects)
    return rects


def _row_height(rows: int) -> int:
    """Pixels for one of many rows: comfortable for a sentence, tight for a long clip."""
    return 22 if rows <= 40 else 15
