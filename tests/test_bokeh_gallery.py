"""The extension that puts Bokeh figures on pages, tested by building a miniature site and opening it."""

import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAINTED, Visit, served, wait_for
from PIL import Image

MINI_SITE = Path(__file__).parent / "mini_site"
CLOCK = MINI_SITE.parents[1] / "src" / "asrscope" / "plots" / "clock"
# A site may bring scripts of its own; this one brings the clock.
OWN_FILES = ("-D", f"html_static_path={CLOCK}", "-D", "bokeh_gallery_page_files=clock.css,clock.js")
TALL = 3000  # pixels: all of a page is in view
LECTURE, WAVE, LAYOUT = "index.html", "gallery/10_wave.html", "gallery/20_layout.html"
FORMULA = "formula.html"
COLOR_AT_THE_EDGE = """() => {
  const canvas = (node) => [...node.querySelectorAll("*")].flatMap((element) => [
    ...(element instanceof HTMLCanvasElement ? [element] : []),
    ...(element.shadowRoot ? canvas(element.shadowRoot) : []),
  ])
  const first = canvas(document.querySelector(".bokeh-figure-canvas"))[0]
  return [...first.getContext("2d").getImageData(2, 2, 1, 1).data].slice(0, 3)
}"""
FOCUSED = """() => {
  let element = document.activeElement
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
  return element.getAttribute("aria-label")
}"""
MODELS = """(name) => Bokeh.documents.flatMap((each) => each.roots()).flatMap((root) => root.select(name))"""


def build(source: Path, *options: str, chromium: str | None = None, more: str = "") -> Path:
    """Build the miniature site in a copy of its sources, with more text on its plain page."""
    shutil.copytree(MINI_SITE, source)
    with (source / "plain.md").open("a", encoding="utf-8") as page:
        page.write(more)
    site = source.parent / f"{source.name}-site"
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    if chromium is not None:
        environment["BOKEH_GALLERY_CHROMIUM"] = chromium
    # The copied conf.py does not stand two folders above conf/extensions.
    environment["PYTHONPATH"] = str(MINI_SITE.parents[1] / "conf" / "extensions")
    command = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-b", "html", *OWN_FILES]
    result = subprocess.run(
        [*command, *options, "-d", str(source.parent / f"{source.name}-doctrees"), str(source), str(site)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return site


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("mini") / "first")


@pytest.fixture(scope="module", params=["server", "file"])
def base(request, site):
    """Address of the site: on a static server, and opened from the disk."""
    if request.param == "file":
        yield site.as_uri() + "/"
    else:
        with served(site) as address:
            yield address


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_every_figure_is_drawn_and_nothing_is_fetched_elsewhere(browser, base, theme, width):
    with Visit(browser, base, width=width, theme=theme) as visit:
        for path, count in ((LECTURE, 3), (WAVE, 2), (LAYOUT, 1), (FORMULA, 1)):
            visit.open(path)
            figures = visit.figures()
            assert [figure["drawn"] for figure in figures] == ["true"] * count, path
            assert visit.overflow() <= 0, path
            if path != LECTURE:  # its last figure is empty on purpose
                wait_for(visit.page, PAINTED)
        assert visit.complaints == []


def test_a_figure_waits_until_it_is_scrolled_into_view(browser, site):
    with Visit(browser, site.as_uri() + "/", height=100) as visit:
        visit.page.goto(visit.base + LAYOUT)
        assert visit.page.locator(".bokeh-figure[data-drawn]").count() == 0
        visit.page.locator(".bokeh-figure").scroll_into_view_if_needed()
        visit.page.wait_for_selector(".bokeh-figure[data-drawn=true]")


def test_pages_without_figures_load_no_script_for_them(site):
    assert "bokeh" not in (site / "plain.html").read_text(encoding="utf-8")
    assert "bokeh-gallery.js" in (site / LECTURE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "parts"),
    [(WAVE, ["bokeh"]), (LAYOUT, ["bokeh", "bokeh-widgets"]), (FORMULA, ["bokeh", "bokeh-mathjax"])],
)
def test_a_page_loads_only_the_parts_of_bokehjs_that_its_figures_need(browser, site, path, parts):
    with Visit(browser, site.as_uri() + "/") as visit:
        asked = []
        visit.page.on("request", lambda request: asked.append(request.url))
        visit.open(path)
    names = [re.search(r"/(bokeh[a-z-]*)-[0-9][\w.]*\.min\.js$", url) for url in asked]
    assert sorted(match[1] for match in names if match) == parts
    assert list((site / "_static" / "bokeh-gallery").glob("bokeh-tables*")) == []  # no page needs them


def test_a_model_with_a_script_of_its_own_is_refused(tmp_path):
    page = """
```{bokeh-figure}
from bokeh.models import LayoutDOM

class Dial(LayoutDOM):
    __implementation__ = "export class Dial {}"

Dial()
```
"""
    with pytest.raises(
        AssertionError, match="TypeError: A page draws with BokehJS alone, but found Dial, which brings"
    ):
        build(tmp_path / "foreign", more=page)


def test_figures_follow_the_theme_while_the_reader_switches(browser, site):
    with Visit(browser, site.as_uri() + "/", theme="light") as visit:
        visit.open(WAVE)
        visit.page.wait_for_function(f"() => `${{({COLOR_AT_THE_EDGE})()}}` === '255,255,255'")
        visit.page.evaluate("document.body.dataset.theme = 'dark'")
        visit.page.wait_for_function(f"() => ({COLOR_AT_THE_EDGE})()[0] < 60")
        visit.page.evaluate("document.body.dataset.theme = 'auto'")
        visit.page.wait_for_function(f"() => ({COLOR_AT_THE_EDGE})()[0] > 200")
        visit.page.emulate_media(color_scheme="dark")  # the reader's system turns dark in the evening
        visit.page.wait_for_function(f"() => ({COLOR_AT_THE_EDGE})()[0] < 60")


def test_the_sound_moves_the_playhead_of_every_figure(browser, base):
    with Visit(browser, base, height=TALL) as visit:  # figures out of view rest until they come into view
        visit.open(WAVE)
        places = f"() => ({MODELS})('playhead').map((span) => span.location)"
        assert visit.page.evaluate(places) == [0, 0]
        visit.page.evaluate("document.querySelector('audio').currentTime = 1.25")
        visit.page.wait_for_function(f"() => ({places})().every((place) => place === 1.25)")
        visit.page.evaluate("document.querySelector('audio').play()")
        visit.page.wait_for_function(f"() => ({places})().every((place) => place > 1.3)")
        assert visit.complaints == []


def test_a_click_in_a_figure_over_time_plays_from_there(browser, site):
    with Visit(browser, site.as_uri() + "/", height=TALL) as visit:
        visit.open(WAVE)
        visit.watch_sound()
        box = visit.page.locator(".bokeh-figure-canvas").first.bounding_box()
        visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        visit.page.wait_for_function("document.querySelector('audio').ended")
        assert 0.7 < visit.began() < 1.3  # the middle, give or take axis and toolbar


def test_files_of_the_sites_own_are_loaded_where_there_are_figures(site):
    assert "clock.js" in (site / WAVE).read_text(encoding="utf-8")
    assert "clock.css" in (site / WAVE).read_text(encoding="utf-8")
    assert "clock" not in (site / "plain.html").read_text(encoding="utf-8")


def test_ranges_of_one_name_move_together(browser, site):
    with Visit(browser, site.as_uri() + "/") as visit:
        visit.open(WAVE)
        visit.page.evaluate(f"({MODELS})('time')[1].setv({{ start: 0.5, end: 0.75 }})")
        ends = visit.page.evaluate(f"({MODELS})('time').map((range) => [range.start, range.end])")
        assert ends == [[0.5, 0.75], [0.5, 0.75]]


def test_every_figure_has_a_text_alternative_and_named_tools(browser, site):
    with Visit(browser, site.as_uri() + "/") as visit:
        visit.open(WAVE)
        written, composed = visit.figures()
        assert written["label"] == "A wave"
        assert written["description"] == "Two seconds of a sine."
        for part in ("A picture", "time (s)", "from 0 to 2", "image"):
            assert part in composed["description"]
        tools = visit.page.locator(".bokeh-figure").first.get_by_role("button")
        names = [tool.get_attribute("aria-label") for tool in tools.all()]
        assert {"Pan", "Wheel Zoom", "Reset"} <= set(names)
        wheel = visit.page.locator(".bokeh-figure").first.get_by_role("button", name="Wheel Zoom")
        assert wheel.get_attribute("aria-pressed") == "false"
        # With the keyboard alone: the Tab key goes from the beginning of the figure to what is in it.
        visit.page.locator(".bokeh-figure").first.evaluate(
            "(figure) => (figure.tabIndex = -1, figure.focus())"
        )
        reached = []
        while "Wheel Zoom" not in reached:
            visit.page.keyboard.press("Tab")
            reached.append(visit.page.evaluate(FOCUSED))
            assert len(reached) < 12, reached
        assert reached[0] == "A wave"  # the drawing, then its tools
        assert None not in reached
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_function("(tool) => tool.ariaPressed === 'true'", arg=wheel.element_handle())
        visit.open(LECTURE)
        assert visit.figures()[0]["description"] == "Three points, the middle one lowest."


def test_the_lecture_shows_code_output_and_caption(site):
    page = (site / LECTURE).read_text(encoding="utf-8")
    assert "1 glyph" in page
    assert re.search(r"<figcaption>\s*<p>A line, <em>drawn</em> in a lecture</p>", page)
    assert 'aria-label="The same line &amp; more"' in page
    assert page.count(">print<") == 1  # the source is shown where it was asked for


def test_a_bokeh_model_at_the_end_of_a_block_is_not_printed(site):
    page = (site / LAYOUT).read_text(encoding="utf-8")
    assert page.count('class="bokeh-figure"') == 1
    assert "GlyphRenderer" not in page


def test_readers_without_scripts_get_a_still_picture(site):
    page = (site / WAVE).read_text(encoding="utf-8")
    posters = re.findall(r'<noscript><img src="([^"]+)" alt="([^"]+)"', page)
    assert len(posters) == 2
    for source, text in posters:
        with Image.open(site / "gallery" / source) as picture:
            assert picture.width >= 600
        assert text


def test_two_builds_are_the_same_bytes_with_one_process_or_two(site, tmp_path, monkeypatch):
    monkeypatch.setenv("MINI_SITE_PROCESSES", "2")
    again = build(tmp_path / "elsewhere" / "second")
    names = sorted(str(path.relative_to(site)) for path in site.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(again)) for path in again.rglob("*") if path.is_file())
    names.remove(".buildinfo")  # a hash of the configuration, in which the number of processes stands
    _same, different, failed = filecmp.cmpfiles(site, again, names, shallow=False)
    assert different + failed == []


def test_without_a_browser_thumbnails_are_drawn(tmp_path):
    site = build(tmp_path / "plain", chromium="none")
    for path in (site / "_images").glob("*_thumb.png"):
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(picture.width * picture.height)) > 3, path
    assert len(list((site / "_images").glob("*_thumb.png"))) == 2


def test_a_build_that_runs_nothing_still_works(tmp_path):
    site = build(tmp_path / "still", "-D", "plot_gallery=0")
    assert "This build leaves figures out" in (site / LECTURE).read_text(encoding="utf-8")
    assert not (site / "_bokeh").exists()


def test_an_error_in_a_block_names_the_page_and_the_cause(tmp_path):
    page = "\n```{bokeh-figure}\nmissing_name\n```\n"
    told = r"plain\.md:\d+: WARNING: bokeh-figure: NameError: name 'missing_name'"
    with pytest.raises(AssertionError, match=told):
        build(tmp_path / "wrong", more=page)
