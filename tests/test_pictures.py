"""Pictures of matrices show what is in the sound or in the vectors, and play along with the page."""

import numpy as np
import pytest
from bokeh.models import ColorBar, ColumnDataSource, FixedTicker, Span
from bokeh.plotting import figure

from asrscope import plots
from asrscope.plots.pictures import cosines

RATE = 16_000


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


def test_a_spectrogram_can_end_below_half_the_rate():
    fig = plots.spectrogram(tone(500), "t", "t", description="500 Hz", sampling_rate=RATE, highest=2000.0)
    assert len(image_of(fig)) == 33  # steps of 62.5 Hz, both ends counted


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


def test_cosines_are_those_of_vectors_without_their_mean(rng):
    vectors = rng.standard_normal((7, 5)) + 40
    matrix = cosines(vectors)
    rest = vectors - vectors.mean(axis=0)
    expected = rest[2] @ rest[5] / np.sqrt(rest[2] @ rest[2] * (rest[5] @ rest[5]))
    assert matrix[2, 5] == pytest.approx(expected)
    assert matrix == pytest.approx(matrix.T)
    assert np.diagonal(matrix) == pytest.approx(np.ones(7))


def test_a_vector_at_the_mean_is_like_no_other():
    matrix = cosines(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]))
    assert matrix[2].tolist() == [0, 0, 0]
    assert matrix[0].tolist() == [1, -1, 0]


@pytest.fixture
def panels(rng):
    return {f"layer {layer}": rng.standard_normal((20, 8)).astype(np.float32) for layer in range(3)}


def test_similarity_has_a_panel_for_each_layer_on_one_clock(panels):
    picture = plots.similarity(panels, 0.02, name="likeness")
    assert picture.name == "likeness"
    drawn = sorted((child for child, *_ in picture.children), key=lambda fig: fig.name)
    assert [fig.title.text for fig in drawn] == list(panels)
    assert {(child.name, row, column) for child, row, column, *_ in picture.children} == {
        ("likeness-0", 0, 0),
        ("likeness-1", 0, 1),
        ("likeness-2", 1, 0),
    }
    for fig, vectors in zip(drawn, panels.values(), strict=True):
        assert image_of(fig) == pytest.approx(cosines(vectors), abs=1e-6)
        assert fig.x_range.name == "time"
        assert fig.x_range.end == fig.y_range.end == pytest.approx(0.4)
        heads = [span for span in fig.center if isinstance(span, Span) and span.name == "playhead"]
        assert {span.dimension for span in heads} == {"height", "width"}
        neighbors = np.diagonal(cosines(vectors), offset=1).mean()
        assert f"{neighbors:.2f}" in fig.tags[0]["description"]
    assert len({image.glyph.color_mapper.id for fig in drawn for image in fig.renderers}) == 1
    assert [bool(fig.select(ColorBar)) for fig in drawn] == [False, True, True]  # below the last two
