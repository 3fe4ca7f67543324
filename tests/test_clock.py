"""The clock of the plots, on a small site that shows figures over the seconds of a sound."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import Visit, served

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = ROOT / "conf" / "bokeh_gallery"
CLOCK = ROOT / "src" / "asrscope" / "plots" / "clock"
WAVE = "gallery/10_wave.html"
TALL = 3000  # pixels: figures out of view would rest
MODELS = """(name) => Bokeh.documents.flatMap((each) => each.roots()).flatMap((root) => root.select(name))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    source = shutil.copytree(EXTENSION / "tests" / "mini_site", tmp_path_factory.mktemp("clock") / "source")
    clock = ("-D", f"html_static_path={CLOCK}", "-D", "bokeh_gallery_page_files=clock.css,clock.js")
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", *clock, source, source.parent / "site"],
        env={**os.environ, "PYTHONPATH": str(EXTENSION / "src"), "BOKEH_GALLERY_CHROMIUM": "none"},
        check=True,
    )
    return source.parent / "site"


@pytest.fixture(params=["server", "file"])
def visit(request, browser, site):
    """The page with two figures and their sound: on a static server, and opened from the disk."""
    with served(site) as address:
        base = address if request.param == "server" else site.as_uri() + "/"
        with Visit(browser, base, height=TALL) as visit:
            visit.open(WAVE)
            yield visit


def test_the_sound_moves_the_playhead_of_every_figure(visit):
    places = f"() => ({MODELS})('playhead').map((span) => span.location)"
    assert visit.page.evaluate(places) == [0, 0]
    visit.page.evaluate("document.querySelector('audio').currentTime = 1.25")
    visit.page.wait_for_function(f"() => ({places})().every((place) => place === 1.25)")
    visit.page.evaluate("document.querySelector('audio').play()")
    visit.page.wait_for_function(f"() => ({places})().every((place) => place > 1.3)")
    assert visit.complaints == []


def test_a_click_in_a_figure_over_time_plays_from_there(visit):
    visit.watch_sound()
    box = visit.page.locator(".bokeh-figure-canvas").first.bounding_box()
    visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.wait_for_function("document.querySelector('audio').ended")
    assert 0.7 < visit.began() < 1.3  # the middle, give or take axis and toolbar
