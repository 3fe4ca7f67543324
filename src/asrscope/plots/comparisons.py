"""Figures that set models beside each other: what a whole is made of, and which vector reads which."""

from collections.abc import Mapping, Sequence

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, GridBox, LinearColorMapper, Range1d
from bokeh.plotting import figure
from jaxtyping import Float

from asrscope.plots.charts import chart, legend
from asrscope.plots.figures import LEFT_MARGIN, hover, literal, styled_figure
from asrscope.plots.pictures import PANEL_MARGIN, beside
from asrscope.plots.theme import PALETTE

__all__ = ["COLORS", "reach", "stacked_bars"]

COLORS = ("#3b82c4", "#d9822b", "#4c9f70", "#b04a5a", "#8a63b8", "#7b8794")
ROW_HEIGHT = 30  # pixels


def stacked_bars(
    rows: Mapping[str, Mapping[str, float]],
    name: str,
    title: str,
    *,
    x_label: str,
    digits: int = 0,
    subtitles: Sequence[str] = (),
) -> figure:
    """Draw one level bar below the other, each made of the same pieces.

    Parameters
    ----------
    rows : mapping of str to mapping of str to float
        For each bar, the first on top, the length of each of its pieces, the first at the left.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.
    x_label : str
        What a length is, with its unit.
    digits : int
        Decimals in the hover and in the text alternative.
    subtitles : sequence of str
        Lines below the title.

    Returns
    -------
    figure
        All numbers stand in its text alternative.

    Raises
    ------
    ValueError
        If there are no bars, or not all have the same pieces.
    """
    pieces = {tuple(parts) for parts in rows.values()}
    if len(pieces) != 1:
        raise ValueError(f"Expected bars that are all made of the same pieces, but found {sorted(pieces)}.")
    (names,) = pieces
    words = [
        f"{row}: " + ", ".join(f"{piece} {length:,.{digits}f}" for piece, length in parts.items())
        for row, parts in rows.items()
    ]
    description = f"{x_label}. {'; '.join(words)}."
    left = max(LEFT_MARGIN, 20 + 7 * max(map(len, rows)))
    height = 76 + ROW_HEIGHT * len(rows)
    fig = chart(
        name, title, description=description, x_label=x_label, subtitles=subtitles, height=height, left=left
    )
    ends = np.zeros(len(rows))
    for piece, color in zip(names, COLORS, strict=False):
        lengths = np.array([parts[piece] for parts in rows.values()], dtype=float)
        source = ColumnDataSource(
            {
                "row": np.arange(len(rows)),
                "left": ends,
                "right": ends + lengths,
                "bar": list(rows),
                "length": [f"{length:,.{digits}f}" for length in lengths],
            }
        )
        bars = fig.hbar(
            y="row",
            left="left",
            right="right",
            height=0.7,
            source=source,
            fill_color=color,
            line_color=None,
            legend_label=piece,
        )
        hover(fig, [("", "@bar"), (piece, "@length")], [bars])
        ends = ends + lengths
    fig.x_range = Range1d(start=0, end=1.02 * float(ends.max()))
    fig.y_range = Range1d(start=len(rows) - 0.5, end=-0.5)
    fig.yaxis.ticker = FixedTicker(ticks=list(range(len(rows))))
    fig.yaxis.major_label_overrides = literal(range(len(rows)), list(rows))
    fig.ygrid.visible = False
    legend(fig, "below")
    return fig


def reach(
    panels: Mapping[str, Float[np.ndarray, "audio_tokens positions"]], name: str, *, height: int = 200
) -> GridBox:
    """Draw which encoder positions each audio token reads, one panel a model.

    Parameters
    ----------
    panels : mapping of str to np.ndarray, shape (audio_tokens, positions)
        How strongly each audio token depends on each position, under the title of its panel; every row is
        drawn relative to its largest value.
    name : str
        Name of the picture, and of its file where a script saves it.
    height : int
        Height of a panel in pixels.

    Returns
    -------
    GridBox
        Two panels a row, one on a phone, and one color scale. The first audio token is on top.

    Raises
    ------
    ValueError
        If an audio token depends on nothing.
    """
    mapper = LinearColorMapper(palette=PALETTE, low=0, high=100)
    drawn: list[figure] = []
    for title, values in panels.items():
        most = values.max(axis=1, keepdims=True)
        if not (most > 0).all():
            raise ValueError(f"Expected audio tokens that depend on some position, but {title!r} has others.")
        picture = (100 * values / most).astype(np.float32)
        tokens, positions = picture.shape
        read = [np.flatnonzero(row) for row in values]
        description = f"{title}: " + "; ".join(
            f"audio token {token} reads positions {row.min()} to {row.max()}"
            for token, row in enumerate(read)
        )
        fig = styled_figure(title, [], f"{name}-{len(drawn)}", height, f"{description}.", left=PANEL_MARGIN)
        fig.x_range = Range1d(start=-0.5, end=positions - 0.5, bounds=(-0.5, positions - 0.5))
        fig.y_range = Range1d(start=tokens - 0.5, end=-0.5, bounds=(-0.5, tokens - 0.5))
        image = fig.image(  # type: ignore[call-arg] # of which its stubs know only the coordinates
            image=[picture], x=-0.5, y=-0.5, dw=positions, dh=tokens, color_mapper=mapper
        )
        tooltips = [("audio token", "$y{0}"), ("position", "$x{0}"), ("of the strongest", "@image{0} %")]
        hover(fig, tooltips, [image])
        fig.grid.visible = False
        fig.xaxis.axis_label, fig.yaxis.axis_label = "encoder position (20 ms each)", "audio token"
        drawn.append(fig)
    return beside(drawn, name, mapper, "weight of a position, relative to the strongest (%)")
