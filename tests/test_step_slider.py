"""The slider over training steps: its page, its table, and what it does in a browser."""

import json
import re
from html import unescape

import pytest
from pages import Visit

from asrscope import plots
from asrscope.plots import Moment, step_slider

MOMENTS = (
    Moment("random", "years years", (" the", "ul", "<b>"), (0.21, -0.1, 0.3), "WER 108 %"),
    Moment("step 40", "old train", ("-", " o", "l"), (0.5, 0.75, 0.625), "WER 37 %"),
    Moment("bundled", "old", ("-", "o", " "), (0.875, 0.95, 1.0)),
)


@pytest.fixture
def slider():
    return step_slider(MOMENTS, "steps", "A clip <heard>", seconds_per_token=0.04)


@pytest.fixture
def page(slider, tmp_path, capsys):
    """The slider as a plain script saves it."""
    plots.show(slider, tmp_path / "steps.html")
    assert capsys.readouterr().out == f"wrote {tmp_path / 'steps.html'}\n"
    return tmp_path / "steps.html"


def test_the_data_of_all_steps_and_no_markup_of_theirs_is_in_the_page(slider):
    html = slider.to_html()
    stored = json.loads(unescape(re.search(r'data-steps="([^"]+)"', html)[1]))
    assert [step["text"] for step in stored] == ["years years", "old train", "old"]
    assert [step["tokens"] for step in stored] == [["the", "ul", "<b>"], ["-", "o", "l"], ["-", "o", "␣"]]
    assert stored[0]["cosines"] == [0.21, -0.1, 0.3]
    assert "<b>" not in html
    assert "<heard>" not in html


def test_without_a_script_it_tells_the_last_step_and_what_is_written_at_each(slider):
    html = slider.to_html()
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", html)
    assert rows == [(moment.label, moment.note, moment.text) for moment in MOMENTS]
    assert "<label hidden>" in html
    assert re.findall(r"<span data-cosine>([^<]+)<", html) == ["0.88", "0.95", "1.00"]


def test_the_arrow_keys_move_it_through_the_steps(browser, page):
    with Visit(browser, page.parent.as_uri() + "/", width=390) as visit:
        visit.page.goto(page.as_uri())
        tokens = visit.page.locator("[data-token]")
        control = visit.page.get_by_role("slider", name="Training")
        assert control.input_value() == "2"
        assert tokens.all_text_contents() == ["-", "o", "␣"]
        control.press("ArrowLeft")
        assert tokens.all_text_contents() == ["-", "o", "l"]
        assert visit.page.locator("[data-cosine]").all_text_contents() == ["0.50", "0.75", "0.63"]
        assert visit.page.locator("[data-written]").text_content() == "old train"
        assert visit.page.get_by_role("status").text_content() == "step 40: WER 37 %"
        assert control.get_attribute("aria-valuetext") == "step 40"
        control.press("Home")
        assert tokens.all_text_contents() == ["the", "ul", "<b>"]
        assert visit.page.get_by_role("status").text_content() == "random: WER 108 %"
        control.press("End")
        assert visit.page.get_by_role("status").text_content() == "bundled"
        assert visit.overflow() <= 0
        assert visit.complaints == []


def test_it_needs_no_evaluation_of_text(browser, page):
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; "
    policy += "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
    page.write_text(page.read_text("utf-8").replace("<head>", f"<head>{policy}"), encoding="utf-8")
    with Visit(browser, page.parent.as_uri() + "/") as visit:
        visit.page.goto(page.as_uri())
        visit.page.get_by_role("slider").press("Home")
        assert visit.page.locator("[data-written]").text_content() == "years years"
        assert visit.complaints == []


def test_in_a_notebook_it_brings_style_and_script(slider, monkeypatch):
    from asrscope.plots import training

    assert "<script>" not in slider._repr_html_()
    monkeypatch.setattr(training, "in_jupyter", lambda: True)
    shown = slider._repr_html_()
    assert ".asrscope-steps-columns" in shown
    assert "addEventListener" in shown


@pytest.mark.parametrize(
    "moments",
    [
        MOMENTS[:1],
        (MOMENTS[0], Moment("step 9", "", ("a",), (0.5,))),
        (Moment("x", "", ("a", "b"), (0.5,)),) * 2,
    ],
)
def test_steps_that_cannot_be_compared_are_refused(moments):
    with pytest.raises(ValueError, match="expected two moments or more with equally many tokens and cosines"):
        step_slider(moments, "steps", "A clip", seconds_per_token=0.04)
