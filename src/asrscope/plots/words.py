"""What the decoder wrote: words with their probabilities, and every token with what it might have been."""

from bokeh.models import ColumnDataSource, FixedTicker, Range1d
from bokeh.palettes import Cividis256
from bokeh.plotting import figure

from asrscope.plots.figures import (
    LEFT_MARGIN,
    add_names,
    hover,
    literal,
    plain_figure,
    plays,
    rests,
    title_height,
)
from asrscope.plots.measures import stage_named
from asrscope.plots.theme import BAR
from asrscope.plots.wording import chance, title_lines, visible
from asrscope.scope.traces import Token, Trace

__all__ = ["decoder_tokens", "decoder_words", "token_times", "word_times"]

LONGEST_NAME = 14  # characters of a word beside its bar
MOST_ALTERNATIVES = 4  # beside the written token: five in all
END = "end of text"


def decoder_words(trace: Trace) -> figure:
    """Draw the words in order, each with a bar for its probability.

    Parameters
    ----------
    trace : Trace
        The trace to draw.

    Returns
    -------
    figure
        One bar a word, first word on top.
    """
    stage = stage_named("decoder_words")
    title = title_lines(trace, stage.title, stage.parts)
    words = trace.words
    subtitles = [f"{len(words)} words · {len(trace.tokens)} tokens · confidence {chance(trace.confidence)}"]
    subtitles.append("each bar: the product of its tokens' probabilities" if words else "nothing was written")
    height = _row_height(len(words)) * max(1, len(words)) + 48 + title_height(title, subtitles)
    names = [_short(word.text, LONGEST_NAME) for word in words]
    # The titles begin at the left edge of the figure only if the names fit into the margin.
    left = max(LEFT_MARGIN, 20 + 7 * max(map(len, names), default=0))
    fig = plain_figure(trace, title, subtitles, stage.key, height, left=left)
    tokens = [trace.tokens[word.first_token : word.last_token + 1] for word in words]
    times = word_times(trace)
    source = ColumnDataSource(
        {
            "row": list(range(len(words))),
            "word": [word.text for word in words],
            "probability": [word.probability for word in words],
            "tokens": [
                " ".join(f"{visible(t.text)} {chance(t.probability)}" for t in group) for group in tokens
            ],
            "instead": ["; ".join(_instead(token) for token in group) for group in tokens],
            "time": ["not known" if time is None else f"{time[0]:.2f} to {time[1]:.2f} s" for time in times],
        }
    )
    bars = fig.hbar(y="row", height=0.72, right="probability", source=source, fill_color=BAR, line_color=None)
    rests(bars)
    # A whole row can be pressed, and shows which word is heard: a bar may be too short for either.
    row = fig.hbar(y="row", height=0.9, left=0, right=1, source=source, fill_alpha=0, line_alpha=0)
    plays(row, times)
    tooltips = [
        ("word", "@word"),
        ("probability", "@probability{0.000}"),
        ("time", "@time"),
        ("tokens", "@tokens"),
        ("runners-up", "@instead"),
    ]
    hover(fig, tooltips, [bars])
    _rows(fig, names)
    add_names(fig, range(len(words)), [chance(word.probability) for word in words], "right")
    fig.x_range = Range1d(start=0, end=1)
    fig.xaxis.ticker = FixedTicker(ticks=[0, 0.25, 0.5, 0.75, 1])
    fig.xaxis.axis_label = "probability"
    fig.ygrid.visible = False
    return fig


def decoder_tokens(trace: Trace) -> figure:
    """Draw every token that was written beside the tokens that were most probable instead.

    Parameters
    ----------
    trace : Trace
        The trace to draw.

    Returns
    -------
    figure
        One row a token, first token on top; color is probability.
    """
    stage = stage_named("decoder_words")
    title = title_lines(trace, "Token by token", stage.parts)
    columns = 1 + min(MOST_ALTERNATIVES, max((len(t.runners_up) for t in trace.tokens), default=0))
    last = f"{END} {chance(trace.eos_probability)}" if trace.eos_probability is not None else "cut off"
    subtitles = [
        f"{len(trace.tokens)} tokens, then {last}",
        "yellow: probability near 1 · dark blue: near 0",
    ]
    rows = len(trace.tokens)
    height = _row_height(rows) * max(1, rows) + 30 + title_height(title, subtitles)
    fig = plain_figure(trace, title, subtitles, "decoder_tokens", height)
    cells = [
        (row, column, text, probability)
        for row, token in enumerate(trace.tokens)
        for column, (text, probability) in enumerate(
            [(token.text, token.probability), *token.runners_up[: columns - 1]]
        )
    ]
    shades = [Cividis256[round(probability * 255)] for *_, probability in cells]
    source = ColumnDataSource(
        {
            "row": [row for row, *_ in cells],
            "column": [column for _, column, *_ in cells],
            "token": [visible(text) for *_, text, _ in cells],
            "shown": [_short(visible(text)) for *_, text, _ in cells],
            "probability": [probability for *_, probability in cells],
            "place": ["written" if column == 0 else f"alternative {column}" for _, column, *_ in cells],
            "fill": shades,
            "ink": ["#ffffff" if probability < 0.5 else "#1b1b1b" for *_, probability in cells],
        }
    )
    rects = fig.rect(
        x="column", y="row", width=0.96, height=0.88, source=source, fill_color="fill", line_color=None
    )
    texts = fig.text(
        x="column",
        y="row",
        text="shown",
        source=source,
        text_align="center",
        text_baseline="middle",
        text_color="ink",
        text_font_size="10px",
    )
    heard = token_times(trace)
    plays(rects, [heard[row] if column == 0 else None for row, column, *_ in cells])
    rests(texts)
    tooltips = [
        ("token number", "@row"),
        ("place", "@place"),
        ("token", "@token"),
        ("probability", "@probability{0.0000}"),
    ]
    hover(fig, tooltips, [rects])
    _rows(fig, [str(row) for row in range(rows)])
    fig.x_range = Range1d(start=-0.5, end=columns - 0.5)
    fig.xaxis.ticker = FixedTicker(ticks=list(range(columns)))
    fig.xaxis.major_label_overrides = {
        column: "written" if column == 0 else f"alt. {column}" for column in range(columns)
    }
    fig.grid.visible = False
    return fig


def token_times(trace: Trace) -> tuple[tuple[float, float] | None, ...]:
    """Find when each written token was spoken: with its word, if that was written as it was spoken.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    tuple of (float, float) or None
        Start and end of the token's word in seconds, one for each token; None where they are not known.
    """
    times: list[tuple[float, float] | None] = [None] * len(trace.tokens)
    for word, time in zip(trace.words, word_times(trace), strict=True):
        for index in range(word.first_token, word.last_token + 1):
            times[index] = time
    return tuple(times)


def word_times(trace: Trace) -> tuple[tuple[float, float] | None, ...]:
    """Find when each written word was spoken, if it was written as it was spoken.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    tuple of (float, float) or None
        Start and end in seconds, one for each word; None where they are not known.
    """
    return tuple(
        None if word.start is None or word.end is None else (word.start, word.end) for word in trace.words
    )


def _row_height(rows: int) -> int:
    """Pixels for one of many rows: comfortable for a sentence, tight for a long clip."""
    return 22 if rows <= 40 else 15


def _rows(fig: figure, names: list[str]) -> None:
    """Write the names of the rows beside them, the first on top."""
    fig.y_range = Range1d(start=max(1, len(names)) - 0.5, end=-0.5)
    fig.yaxis.ticker = FixedTicker(ticks=list(range(len(names))))
    fig.yaxis.major_label_overrides = literal(range(len(names)), names)
    fig.yaxis.major_tick_line_alpha = 0


def _instead(token: Token) -> str:
    best = ", ".join(f"{visible(text)} {chance(probability)}" for text, probability in token.runners_up[:2])
    return f"{visible(token.text)}: {best}" if best else f"{visible(token.text)}: none"


def _short(text: str, longest: int = 9) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
