"""Charts for what is measured on a trace: style, clock, and values in their places."""

import numpy as np
import pytest
from bokeh.embed import json_item
from bokeh.models import ColorBar, ColumnDataSource, HoverTool, Image, Span, Title
from bokeh.palettes import Cividis256

from asrscope import plots


@pytest.fixture(scope="module")
def trace(make_trace):
    return make_trace()


def test_a_chart_says_what_it_shows_and_fits_its_page():
    fig = plots.chart(
        "tall",
        "Title",
        description="Nothing yet.",
        x_label="t (s)",
        y_label="level (dB)",
        subtitles=["below"],
    )
    assert fig.name == "tall"
    assert fig.tags == [{"description": "Nothing yet."}]
    assert fig.sizing_mode == "stretch_width"
    assert fig.xaxis.axis_label == "t (s)"
    assert fig.yaxis.axis_label == "level (dB)"
    assert fig.title.text == "Title"
    assert "below" in [line.text for line in fig.above if isinstance(line, Title)]
    assert fig.toolbar_location is None


def test_charts_over_time_are_on_the_clock_of_their_page(trace):
    fig = plots.time_chart(trace, "level", "Level", description="A level.", y_label="dB")
    other = plots.waveform(trace)
    assert fig.x_range.name == other.x_range.name == "time"
    assert (fig.x_range.start, fig.x_range.end) == (other.x_range.start, other.x_range.end)
    assert isinstance(fig.select_one("playhead"), Span)
    assert fig.tags == [{"description": "A level."}]


@pytest.fixture(scope="module")
def values(trace):
    return np.linspace(0, 1, 3 * len(trace.audio_embeds)).reshape(3, -1)


def make_map(trace, values, **options):
    fields = {"name": "map", "title": "Map", "value": "share", "description": "Three rows."}
    return plots.time_map(trace, values, ["one", "two", "three"], **(fields | options))


def test_a_map_has_its_values_at_their_rows_and_times(trace, values):
    texts = [[f"{row}-{column}" for column in range(values.shape[1])] for row in range(3)]
    fig = make_map(trace, values, texts=texts, spans=[(1, 0.5, 0.9)])
    (image,) = [renderer for renderer in fig.renderers if isinstance(renderer.glyph, Image)]
    np.testing.assert_allclose(image.data_source.data["image"][0], values, atol=1e-6)
    cells = next(s for s in fig.select(ColumnDataSource) if "row" in s.data).data
    seconds = trace.seconds_per_audio_token
    for row, column in ((0, 0), (1, 5), (2, values.shape[1] - 1)):
        cell = row * values.shape[1] + column
        assert cells["row"][cell] == ["one", "two", "three"][row]
        assert cells["text"][cell] == f"{row}-{column}"
        assert cells["value"][cell] == pytest.approx(values[row, column])
        assert cells["left"][cell] == pytest.approx(column * seconds)
        assert cells["top"][cell] < row < cells["bottom"][cell]
    assert fig.y_range.start > fig.y_range.end  # the first row is on top
    outline = fig.select_one({"name": "spans"}).data_source.data
    assert (outline["left"], outline["right"], outline["top"]) == ([0.5], [0.9], [0.5])
    (hover,) = fig.select(HoverTool)
    assert dict(hover.tooltips)["here"] == "@text"


def test_colors_cover_the_limits_or_all_values(trace, values):
    (bar,) = make_map(trace, values).select(ColorBar)
    assert (bar.color_mapper.low, bar.color_mapper.high) == (0, 1)
    (bar,) = make_map(trace, values, limits=(0.0, 0.2)).select(ColorBar)
    assert bar.color_mapper.high == 0.2
    (bar,) = make_map(trace, np.zeros_like(values)).select(ColorBar)
    assert bar.color_mapper.low < bar.color_mapper.high
    json_item(make_map(trace, values))


def test_names_and_texts_must_fit_the_values(trace, values):
    with pytest.raises(ValueError, match="name for each of 2 rows"):
        make_map(trace, values[:2])
    with pytest.raises(ValueError, match=r"texts of shape \(3, 1\)"):
        make_map(trace, values, texts=[["a"]] * 3)


def test_a_legend_below_leaves_the_frame_to_the_data():
    fig = plots.chart("lines", "Lines", description="Two lines.")
    for name in ("one", "two"):
        fig.line([0, 1], [0, 1], legend_label=name)
    plots.legend(fig, "below")
    assert fig.legend[0] in fig.below
    assert fig.legend[0].ncols == 2
    inside = plots.chart("lines", "Lines", description="One line.")
    inside.line([0, 1], [0, 1], legend_label="one")
    plots.legend(inside, "top_left")
    assert inside.legend[0].location == "top_left"
    assert inside.legend[0] not in inside.below


def test_a_grid_of_tokens_has_each_at_its_place_colored_by_its_probability():
    texts = [["a", " b"], ["c", "</script>$$x$$"], ["e", "f"]]
    chances = np.array([[0.0, 1.0], [0.25, 0.5], [0.1, 0.9]])
    fields = {"name": "grid", "title": "Grid", "description": "Six tokens."}
    fig = plots.token_grid(texts, chances, ["0", "1", "2"], ["written", "other"], **fields)
    cells = fig.select_one(ColumnDataSource).data
    assert cells["token"] == ["a", "␣b", "c", "</script>$$x$$", "e", "f"]
    assert list(zip(cells["row"], cells["column"], strict=True))[3] == (1, 1)
    assert (cells["row_name"][4], cells["column_name"][4]) == ("2", "written")
    assert (cells["fill"][0], cells["fill"][1]) == (Cividis256[0], Cividis256[255])
    assert all(len(text) <= 8 for text in cells["shown"])
    assert fig.y_range.start > fig.y_range.end
    with pytest.raises(ValueError, match=r"Expected names and tokens for \(3, 2\) cells, but found \(3, 1\)"):
        plots.token_grid(texts, chances, ["0", "1", "2"], ["written"], **fields)
