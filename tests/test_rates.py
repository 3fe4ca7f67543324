"""Figures of error rates show every rate, its interval, and both in words."""

import pytest
from bokeh.models import Line, Scatter, Segment

from asrscope import plots
from asrscope.plots import Rate


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


def test_nothing_cannot_be_drawn():
    with pytest.raises(ValueError, match="1 to 4 curves, but found 0"):
        plots.rates_over({}, "noise", "Noise", x_label="SNR (dB)")
    with pytest.raises(ValueError, match="expected rates to draw"):
        plots.rates_by_name({}, "sets", "Sets")
