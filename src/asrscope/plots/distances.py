"""The table by which the fewest word errors between two sentences are found, cell by cell."""

from collections.abc import Sequence

import numpy as np
from bokeh.models import FixedTicker, Range1d
from bokeh.plotting import figure
from jaxtyping import Int

from asrscope.plots.charts import chart
from asrscope.plots.figures import literal
from asrscope.plots.theme import AUDIO_CELL, AUDIO_CELL_INK, TEXT_CELL, TEXT_CELL_INK

__all__ = ["distance_table"]

ROW_HEIGHT = 26  # pixels
START = "·"  # stands before the first word


def distance_table(
    distances: Int[np.ndarray, "rows columns"],
    said: Sequence[str],
    written: Sequence[str],
    path: Sequence[tuple[int, int]],
    *,
    name: str = "distances",
    title: str = "The fewest errors, word by word",
) -> figure:
    """Draw the table of a word alignment, with the cells of one path in another color.

    Parameters
    ----------
    distances : np.ndarray, shape (rows, columns)
        Fewest errors between the first i words said and the first j words written, i and j from 0.
    said, written : sequence of str
        The words: one fewer than rows and columns.
    path : sequence of (int, int)
        Cells to mark: row and column.
    name : str
        Name of the figure, and of its file where a script saves it.
    title : str
        Title.

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
    longest = max((len(word) for word in said), default=1)
    fig = chart(
        name, title, description=description, height=ROW_HEIGHT * rows + 70, left=max(60, 24 + 7 * longest)
    )
    marked = set(path)
    cells = [(row, column, (row, column) in marked) for row in range(rows) for column in range(columns)]
    fig.rect(
        x=[column for _, column, _ in cells],
        y=[row for row, *_ in cells],
        width=0.94,
        height=0.9,
        fill_color=[AUDIO_CELL if on_path else TEXT_CELL for *_, on_path in cells],
        line_color=None,
    )
    fig.text(
        x=[column for _, column, _ in cells],
        y=[row for row, *_ in cells],
        text=[str(distances[row, column]) for row, column, _ in cells],
        text_align="center",
        text_baseline="middle",
        text_font_size="12px",
        text_color=[AUDIO_CELL_INK if on_path else TEXT_CELL_INK for *_, on_path in cells],
    )
    fig.y_range = Range1d(start=rows - 0.5, end=-0.5)
    fig.x_range = Range1d(start=-0.5, end=columns - 0.5)
    for axis, words in ((fig.yaxis[0], said), (fig.xaxis[0], written)):
        axis.ticker = FixedTicker(ticks=list(range(len(words) + 1)))
        axis.major_label_overrides = literal(range(len(words) + 1), [START, *words])
        axis.major_tick_line_alpha = 0
    fig.xaxis.major_label_orientation = "vertical"
    fig.xaxis.axis_label, fig.yaxis.axis_label = "written", "said"
    fig.grid.visible = False
    return fig
