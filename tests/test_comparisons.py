"""Figures that set models side by side: every number is in their text, and every cell in its place."""

import numpy as np
import pytest
from bokeh.models import ColumnDataSource, HBar, LinearColorMapper

from asrscope import plots

ROWS = {"one": {"encoder": 2.0, "decoder": 6.0}, "other": {"encoder": 1.0, "decoder": 1.5}}


def test_bars_are_laid_end_to_end():
    fig = plots.stacked_bars(ROWS, "parts", "Parts", x_label="size (MB)", digits=1)
    first, second = (r.data_source.data for r in fig.renderers if isinstance(r.glyph, HBar))
    np.testing.assert_allclose(first["left"], [0, 0])
    np.testing.assert_allclose(first["right"], [2, 1])
    np.testing.assert_allclose(second["left"], first["right"])
    np.testing.assert_allclose(second["right"], [8, 2.5])
    assert fig.x_range.end >= 8


def test_every_number_of_the_bars_stands_in_their_text():
    fig = plots.stacked_bars(ROWS, "parts", "Parts", x_label="size (MB)", digits=1)
    text = fig.tags[0]["description"]
    assert text == "size (MB). one: encoder 2.0, decoder 6.0; other: encoder 1.0, decoder 1.5."
    assert [label.value for item in fig.legend for label in [i.label for i in item.items]] == [
        "encoder",
        "decoder",
    ]


def test_bars_of_unlike_pieces_are_refused():
    with pytest.raises(ValueError, match="all made of the same pieces, but found"):
        plots.stacked_bars({"a": {"x": 1.0}, "b": {"y": 1.0}}, "n", "t", x_label="x")
    with pytest.raises(ValueError, match=r"but found \[\]"):
        plots.stacked_bars({}, "n", "t", x_label="x")


def test_what_a_token_reads_is_drawn_relative_to_what_it_reads_most():
    values = np.array([[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 5.0, 5.0]])
    box = plots.reach({"left": values, "right": values[:, ::-1]}, "reads")
    left, right = (fig for fig, *_ in box.children)
    image = next(s.data["image"][0] for s in left.select(ColumnDataSource) if "image" in s.data)
    np.testing.assert_allclose(image, [[100 / 3, 100, 0, 0], [0, 0, 100, 100]], rtol=1e-6)
    assert left.y_range.start > left.y_range.end  # the first audio token is on top
    assert left.select_one(LinearColorMapper).high == 100
    assert (
        "audio token 0 reads positions 0 to 1; audio token 1 reads positions 2 to 3"
        in (left.tags[0]["description"])
    )
    assert "audio token 0 reads positions 2 to 3" in right.tags[0]["description"]


def test_a_token_that_reads_nothing_is_refused():
    with pytest.raises(ValueError, match="that depend on some position, but 'dead' has others"):
        plots.reach({"dead": np.zeros((2, 3))}, "reads")
