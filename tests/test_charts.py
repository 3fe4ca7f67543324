"""Figures that compare: every number is in their text, every line, bar and cell in its place."""

import numpy as np
import pytest
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    HBar,
    Line,
    LinearColorMapper,
    Scatter,
    Segment,
    Span,
    Step,
    Title,
)
from bokeh.plotting import figure

from asrscope import plots
from asrscope.plots import Rate
from asrscope.plots.charts import cosines


def image_of(fig: figure) -> np.ndarray:
    return next(s.data["image"][0] for s in fig.select(ColumnDataSource) if "image" in s.data)


def glyphs(fig, kind):
    return [renderer.data_source.data for renderer in fig.renderers if isinstance(renderer.glyph, kind)]


@pytest.fixture
def noise():
    return {
        "white": {20.0: Rate(0.2, (0.1, 0.3)), 0.0: Rate(0.9, (0.8, 1.1))},
        "pink": {20.0: Rate(0.0), 0.0: Rate(0.5, (0.25, 0.75))},
    }


def test_a_rate_reads_as_percent_with_its_interval():
    assert str(Rate(0.256, (0.1, 1.204))) == "26 % (10 to 120 %)"
    assert str(Rate(0.0)) == "0 %"


def test_a_curve_goes_through_its_rates(noise):
    fig = plots.rates_over(noise, "noise", "Noise", x_label="SNR (dB)", falling=True)
    white, pink = glyphs(fig, Line)
    assert list(white["y"]) == [20, 90]
    assert list(pink["y"]) == [0, 50]
    assert list(white["x"]) == pytest.approx([20, 0], abs=0.2)
    assert fig.x_range.start > 20
    assert fig.x_range.end < 0  # from soft to loud noise
    assert fig.y_range.start == 0
    assert fig.y_range.end > 110
    assert [item.label.value for item in fig.legend[0].items] == ["white", "pink"]


def test_curves_are_drawn_as_lines_dots_or_steps_each_with_a_name():
    fig = plots.chart("curves", "Curves", description="Three curves.")
    curves = {"one": ([0, 1], [2, 3]), "two": ([4, 5], [6, 7]), "three": ([8], [9])}
    assert plots.draw(fig, curves, kinds=("line", "dots", "steps"), colors=("#000001", "#000002")) is fig
    drawn = [(renderer.glyph, renderer.data_source.data) for renderer in fig.renderers]
    assert [type(glyph) for glyph, _ in drawn] == [Line, Scatter, Step]
    assert [(data["x"], data["y"]) for _, data in drawn] == list(curves.values())
    assert [glyph.line_color for glyph, _ in drawn] == ["#000001", "#000002", "#000001"]
    assert drawn[2][0].mode == "after"
    assert [item.label.value for item in fig.legend[0].items] == list(curves)
    assert fig.height > plots.chart("curves", "Curves", description="").height  # for the legend's second row
    alone = plots.draw(plots.chart("alone", "Alone", description="One."), {"one": ([0, 1], [2, 3])})
    assert alone.legend == []


def test_one_curve_needs_no_legend(noise):
    fig = plots.rates_over({"white": noise["white"]}, "noise", "Noise", x_label="SNR (dB)")
    assert fig.legend == []
    assert fig.tags[0]["description"].startswith("SNR (dB). white: 20: 20 %")


def test_bars_are_intervals_and_an_unknown_one_has_none(noise):
    fig = plots.rates_over(noise, "noise", "Noise", x_label="SNR (dB)")
    white, pink = glyphs(fig, Segment)
    assert (list(white["y0"]), list(white["y1"])) == ([10, 80], [pytest.approx(30), pytest.approx(110)])
    assert (list(pink["y0"]), list(pink["y1"])) == ([25], [75])
    assert set(white["x0"]).isdisjoint(pink["x0"])  # or one would cover the other
    assert fig.x_range.start < 0
    assert fig.x_range.end > 20


def test_the_text_alternative_has_every_number(noise):
    fig = plots.rates_over(noise, "noise", "Noise", x_label="SNR (dB)")
    text = fig.tags[0]["description"]
    assert text.startswith("SNR (dB). white: 20: 20 % (10 to 30 %), 0: 90 % (80 to 110 %).")
    assert text.endswith("pink: 20: 0 %, 0: 50 % (25 to 75 %).")


def test_rates_stand_below_each_other_in_order():
    rates = {"seen voices": Rate(0.1, (0.05, 0.2)), "new voices": Rate(0.4)}
    fig = plots.rates_by_name(rates, "sets", "Sets")
    (dots,), (bars,) = glyphs(fig, Scatter), glyphs(fig, Segment)
    assert (list(dots["x"]), list(dots["y"])) == ([10, 40], [0, 1])
    assert (list(bars["x0"]), list(bars["x1"]), list(bars["y0"])) == ([5], [20], [0])
    assert fig.y_range.start > fig.y_range.end  # the first on top
    assert [fig.yaxis.major_label_overrides[row].text for row in (0, 1)] == list(rates)
    assert fig.tags == [{"description": "seen voices: 10 % (5 to 20 %); new voices: 40 %."}]


def test_no_rates_cannot_be_drawn():
    with pytest.raises(ValueError, match="1 to 6 curves, but found 0"):
        plots.rates_over({}, "noise", "Noise", x_label="SNR (dB)")
    with pytest.raises(ValueError, match="expected rates to draw"):
        plots.rates_by_name({}, "sets", "Sets")


# --- what a whole is made of, and which vector reads which ---

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


# --- likeness of vectors ---


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


# --- steps of trainings ---


def run(steps, losses, **scores):
    curve = {"step": steps, "hours": [0.1] * len(steps), "loss": losses, "learning_rate": losses}
    return {
        "steps": steps[-1],
        "hours": 1.5,
        "utterances": 10 * steps[-1],
        "curve": {**curve, "gradient_norm": losses, "utterances_per_second": losses},
        "evaluations": [{"step": steps[-1], "hours": 0.1, **scores}] if scores else [],
    }


def test_curves_of_training_have_a_panel_a_quantity_and_a_line_a_training():
    runs = {
        "encoder": run([10, 20, 2000], [3.0, None, 1.0]),
        "projector": run([5], [2.0], wer_dev=0.25, hit=0.5),
    }
    box = plots.training_curves(runs)
    drawn = {fig.title.text: fig for fig, *_ in box.children}
    quantities = ["loss", "learning rate", "gradient norm before clipping", "utterances per second"]
    assert list(drawn) == [*quantities, "word error rate", "hit"]
    lines = [each["x"] for each in glyphs(drawn["loss"], Line)]
    assert lines == [[10, 2000], [5]]  # a step without a loss leaves no point
    assert [item.label.value for item in drawn["loss"].legend[0].items] == ["encoder", "projector"]
    assert [item.label.value for item in drawn["word error rate"].legend[0].items] == ["projector: wer_dev"]
    ((score,),) = [each["y"] for each in glyphs(drawn["hit"], Line)]
    assert score == 0.5
    shown = [line.text for line in drawn["loss"].above if isinstance(line, Title)]
    assert "encoder: 2,000 steps in 1.50 hours, 20,000 utterances" in shown
    assert drawn["loss"].tags[0]["description"].startswith("loss: encoder: at last 1; projector: at last 2. ")


def test_no_training_cannot_be_drawn():
    with pytest.raises(ValueError, match="expected trainings to draw, but found none"):
        plots.training_curves({})
