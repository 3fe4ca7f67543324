"""One clock on each page of the built site: figures over time follow the sound, and words can be pressed."""

import os
from pathlib import Path

import pytest
from pages import Visit, wait_for

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
BASE = SITE.as_uri() + "/"
PAGES = [
    page.relative_to(SITE).as_posix()
    for page in [
        SITE / "index.html",
        SITE / "course/class-2.html",
        *sorted((SITE / "gallery").glob("[0-9]*.html")),
    ]
    if "bokeh-figure" in page.read_text(encoding="utf-8")
]
WITH_WORDS = [page for page in PAGES if "asrscope-words" in (SITE / page).read_text(encoding="utf-8")]
TALL = 30_000  # pixels: figures out of view would rest
LINES = """() => asrscopeClock.figures.map((figure) => ({
  name: figure.plot.name, over_time: figure.plot.xaxis?.[0]?.axis_label ?? figure.plot.below
    .map((model) => model.axis_label).find((label) => label != null) ?? "",
  seconds: figure.seconds, places: figure.lines.map((line) => line.location), lit: figure.lit,
  cells: figure.cells.length,
}))"""


@pytest.fixture(scope="module")
def window(browser):
    with Visit(browser, BASE, height=TALL) as visit:
        yield visit


@pytest.fixture
def visit(window):
    """One window for all pages, without the complaints of the page before."""
    window.complaints.clear()
    return window


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_over_the_seconds_of_a_clip_has_a_line_which_stops_where_a_pressed_word_ends(
    visit, page
):
    visit.open(page)
    wait_for(visit.page, "asrscopeClock.figures.length >= document.querySelectorAll('.bokeh-figure').length")
    lines = visit.page.evaluate(LINES)
    assert lines
    assert [
        line["name"] for line in lines if line["over_time"].startswith("time (s)") and not line["places"]
    ] == []
    if page in WITH_WORDS:
        press_a_word(visit)
    assert visit.complaints == []


def press_a_word(visit):
    """Press the second word of a page: it is heard alone, and every line stops at its end."""
    player = visit.page.locator(".asrscope-player:has(.asrscope-words)").first
    word = player.locator(".asrscope-words button").nth(1)
    start, end = (float(word.get_attribute(f"data-{name}")) for name in ("start", "end"))
    visit.watch_sound()
    word.press("Enter")
    assert visit.began() == pytest.approx(start, abs=0.01)
    stopped = visit.hear_out()
    heard = player.locator("audio")
    assert stopped == pytest.approx(end, abs=0.01)
    assert stopped < end
    assert word.get_attribute("aria-current") == "true"
    duration = heard.evaluate("(sound) => sound.duration")
    lines = visit.page.evaluate(LINES)
    own = [line for line in lines if line["seconds"] is None or abs(line["seconds"] - duration) < 0.1]
    assert {place for line in own for place in line["places"]} <= {stopped}
    assert all(line["lit"] for line in own if line["name"] == "decoder_words")


def test_a_click_in_a_figure_of_the_gallery_plays_from_there(visit):
    visit.open("gallery/90_trace_data.html")
    visit.watch_sound()
    box = visit.page.locator(".bokeh-figure-canvas").nth(1).bounding_box()
    visit.page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    wait_for(visit.page, "document.querySelector('audio').ended")
    duration = visit.page.evaluate("document.querySelector('audio').duration")
    assert 0.6 * duration < visit.began() < 0.9 * duration
