"""Figures to draw on, and pictures of any matrix: style, clock, and values in their places."""

import numpy as np
import pytest
from bokeh.embed import json_item
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Image,
    Rect,
    Span,
    Text,
    Title,
)
from bokeh.palettes import Cividis256
from bokeh.plotting import figure

from asrscope import plots
from asrscope.plots.theme import AUDIO_CELL, TEXT_CELL

RATE = 16_000


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
    plots.legend(fig)
    assert fig.legend[0] in fig.below
    assert fig.legend[0].ncols == 2


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


# --- the spectrogram of any sound ---


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def image_of(fig: figure) -> np.ndarray:
    return next(s.data["image"][0] for s in fig.select(ColumnDataSource) if "image" in s.data)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_tone_stands_at_its_frequency_and_nowhere_else(rate):
    fig = plots.spectrogram(tone(3000, rate=rate), "tone", "A tone", description="3 kHz", sampling_rate=rate)
    levels = image_of(fig)
    assert levels.max() == 0
    middle = levels[:, levels.shape[1] // 4 : -levels.shape[1] // 4]
    hertz = np.arange(len(levels)) * rate / 2 / (len(levels) - 1)
    assert np.abs(hertz[middle.argmax(axis=0)] - 3000).max() <= rate / 256
    assert (middle[np.abs(hertz - 3000) > 4 * rate / 256] < -50).all()


def test_the_ticks_of_a_spectrogram_are_kilohertz():
    fig = plots.spectrogram(tone(500), "tone", "A tone", description="500 Hz", sampling_rate=RATE)
    ticks = fig.yaxis.ticker
    assert isinstance(ticks, FixedTicker)
    rows = len(image_of(fig))  # the last row is 8 kHz
    names = fig.yaxis.major_label_overrides
    places = {names[tick].text: tick for tick in ticks.ticks}
    assert places["8"] == rows - 1
    assert places["4"] == (rows - 1) / 2


def test_a_long_sound_has_no_more_columns_than_a_screen():
    fig = plots.spectrogram(tone(500, seconds=30.0), "t", "t", description="a tone", sampling_rate=RATE)
    assert 350 < image_of(fig).shape[1] <= 700
    assert fig.x_range.end == 30


def test_a_sound_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="at least 256 samples for a spectrogram, but found 100"):
        plots.spectrogram(np.zeros(100, np.float32), "t", "t", description="none", sampling_rate=RATE)


def test_silence_can_be_drawn():
    fig = plots.spectrogram(np.zeros(RATE, np.float32), "t", "t", description="none", sampling_rate=RATE)
    assert (image_of(fig) == -60).all()


# --- the table of a word alignment ---

SAID, WRITTEN = ["a", "b"], ["a", "c", "b"]
TABLE = np.array([[0, 1, 2, 3], [1, 0, 1, 2], [2, 1, 1, 1]])
PATH = [(0, 0), (1, 1), (1, 2), (2, 3)]


@pytest.fixture
def distances():
    return plots.distance_table(TABLE, SAID, WRITTEN, PATH)


def data(fig, kind):
    return next(renderer for renderer in fig.renderers if isinstance(renderer.glyph, kind))


def test_every_cell_shows_its_number(distances):
    cells = data(distances, Text).data_source.data
    shown = np.zeros_like(TABLE)
    for row, column, text in zip(cells["row"], cells["column"], cells["shown"], strict=True):
        shown[row, column] = int(text)
    assert np.array_equal(shown, TABLE)


def test_the_path_has_a_color_of_its_own(distances):
    cells = data(distances, Rect).data_source.data
    colors = dict(zip(zip(cells["row"], cells["column"], strict=True), cells["fill"], strict=True))
    assert {cell for cell, color in colors.items() if color == AUDIO_CELL} == set(PATH)
    assert {color for cell, color in colors.items() if cell not in PATH} == {TEXT_CELL}


def test_words_stand_at_their_rows_and_columns(distances):
    assert [distances.yaxis.major_label_overrides[row].text for row in range(3)] == ["·", *SAID]
    assert [distances.xaxis.major_label_overrides[column].text for column in range(4)] == ["·", *WRITTEN]
    assert distances.y_range.start > distances.y_range.end
    assert "ends at 1 errors" in distances.tags[0]["description"]


def test_a_table_that_does_not_fit_its_words_is_refused():
    with pytest.raises(ValueError, match="3 x 4 for 2 and 3 words, but found 2 x 4"):
        plots.distance_table(TABLE[:2], SAID, WRITTEN, PATH)
