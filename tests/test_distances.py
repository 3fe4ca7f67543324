"""The table of an alignment shows its numbers, its words and its path."""

import numpy as np
import pytest
from bokeh.models import Rect, Text

from asrscope import plots
from asrscope.plots.theme import AUDIO_CELL, TEXT_CELL

SAID, WRITTEN = ["a", "b"], ["a", "c", "b"]
TABLE = np.array([[0, 1, 2, 3], [1, 0, 1, 2], [2, 1, 1, 1]])
PATH = [(0, 0), (1, 1), (1, 2), (2, 3)]


@pytest.fixture
def fig():
    return plots.distance_table(TABLE, SAID, WRITTEN, PATH)


def data(fig, kind):
    return next(renderer for renderer in fig.renderers if isinstance(renderer.glyph, kind))


def test_every_cell_shows_its_number(fig):
    cells = data(fig, Text).data_source.data
    shown = np.zeros_like(TABLE)
    for row, column, text in zip(cells["y"], cells["x"], cells["text"], strict=True):
        shown[row, column] = int(text)
    assert np.array_equal(shown, TABLE)


def test_the_path_has_a_color_of_its_own(fig):
    cells = data(fig, Rect).data_source.data
    colors = dict(zip(zip(cells["y"], cells["x"], strict=True), cells["fill_color"], strict=True))
    assert {cell for cell, color in colors.items() if color == AUDIO_CELL} == set(PATH)
    assert {color for cell, color in colors.items() if cell not in PATH} == {TEXT_CELL}


def test_words_stand_at_their_rows_and_columns(fig):
    assert [fig.yaxis.major_label_overrides[row].text for row in range(3)] == ["·", *SAID]
    assert [fig.xaxis.major_label_overrides[column].text for column in range(4)] == ["·", *WRITTEN]
    assert fig.y_range.start > fig.y_range.end
    assert "ends at 1 errors" in fig.tags[0]["description"]


def test_a_table_that_does_not_fit_its_words_is_refused():
    with pytest.raises(ValueError, match="3 x 4 for 2 and 3 words, but found 2 x 4"):
        plots.distance_table(TABLE[:2], SAID, WRITTEN, PATH)
