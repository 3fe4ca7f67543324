"""The extension, tested by building a miniature site with its wheel and opening it in a browser."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from visit import PAINTED, Visit, served, wait_for

HERE = Path(__file__).resolve().parent
MINI_SITE, PROJECT = HERE / "mini_site", HERE.parent
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


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> dict[str, Path]:
    """Wheel and source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", folder]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=True)
    return {"wheel": next(folder.glob("*.whl")), "sdist": next(folder.glob("*.tar.gz"))}


@pytest.fixture(scope="session")
def installed(packages, tmp_path_factory) -> Path:
    """The wheel by itself, in a folder that comes before everything else that is installed."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*pip, "--target", target, packages["wheel"]], check=True)
    return target


@pytest.fixture(scope="session")
def build(installed):
    """Build the miniature site with the wheel, in a copy of its sources, with more text on its plain page."""

    def run(source: Path, *options: str, chromium: str | None = None, more: str = "") -> Path:
        shutil.copytree(MINI_SITE, source)
        with (source / "plain.md").open("a", encoding="utf-8") as page:
            page.write(more)
        site = source.parent / f"{source.name}-site"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "PYTHONPATH": str(installed)}
        if chromium is not None:
            environment["BOKEH_GALLERY_CHROMIUM"] = chromium
        command = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-b", "html", *options]
        result = subprocess.run(
            [*command, "-d", str(source.parent / f"{source.name}-doctrees"), str(source), str(site)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return site

    return run


@pytest.fixture(scope="module")
def site(build, tmp_path_factory) -> Path:
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


@pytest.mark.parametrize(
    ("builder", "path", "count"), [("dirhtml", "gallery/10_wave/index.html", 2), ("singlehtml", LECTURE, 7)]
)
def test_figures_are_drawn_whatever_the_names_of_pages_are_and_thumbnails_without_a_browser(  # noqa: PLR0917
    browser, build, tmp_path, builder, path, count
):
    site = build(tmp_path / "source", "-b", builder, chromium="none")
    thumbnails = list((site / "_images").glob("*_thumb.png"))
    assert len(thumbnails) == 2
    for thumbnail in thumbnails:
        with Image.open(thumbnail) as picture:
            assert len(picture.convert("RGB").getcolors(picture.width * picture.height)) > 3, thumbnail
    with Visit(browser, site.as_uri() + "/", height=TALL) as visit:
        visit.open(path)
        assert [figure["drawn"] for figure in visit.figures()] == ["true"] * count
        names = visit.page.evaluate("[...document.querySelectorAll('.bokeh-figure')].map((each) => each.id)")
        assert len(names) == len(set(names))
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


def test_files_of_the_sites_own_are_loaded_where_there_are_figures_and_hear_of_each(browser, site):
    with Visit(browser, site.as_uri() + "/") as visit:
        visit.open(WAVE)
        wait_for(visit.page, "document.body.dataset.seen === '2'")
        wait_for(visit.page, "getComputedStyle(document.querySelector('h1')).color === 'rgb(1, 2, 3)'")
        assert visit.complaints == []
    assert "seen." not in (site / "plain.html").read_text(encoding="utf-8")


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


def contents(site: Path) -> dict[str, bytes | dict[str, bytes]]:
    """Return what each file of a site holds; of archives, which state times, what is packed in them."""
    found = {}
    for path in sorted(path for path in site.rglob("*") if path.is_file()):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                found[str(path.relative_to(site))] = {name: archive.read(name) for name in archive.namelist()}
        else:
            found[str(path.relative_to(site))] = path.read_bytes()
    return found


def test_two_builds_are_the_same_bytes_with_one_process_or_two(build, site, tmp_path, monkeypatch):
    monkeypatch.setenv("MINI_SITE_PROCESSES", "2")
    first, again = contents(site), contents(build(tmp_path / "elsewhere" / "second"))
    assert list(first) == list(again)
    different = {name for name in first if first[name] != again[name]}
    # It has a hash of the configuration, in which the number of processes stands.
    assert different <= {".buildinfo"}


def test_a_build_that_runs_nothing_still_works(build, tmp_path):
    site = build(tmp_path / "still", "-D", "plot_gallery=0")
    assert "This build leaves figures out" in (site / LECTURE).read_text(encoding="utf-8")
    assert not (site / "_bokeh").exists()


WRONG = """
```{bokeh-figure}
missing_name
```

```{bokeh-figure}
from bokeh.models import LayoutDOM

class Dial(LayoutDOM):
    __implementation__ = "export class Dial {}"

Dial()
```
"""


def test_an_error_in_a_block_names_page_and_cause_and_a_model_with_a_script_of_its_own_is_one(
    build, tmp_path
):
    with pytest.raises(
        AssertionError, match=r"plain\.md:\d+: WARNING: bokeh-figure: NameError: name 'missing_name'"
    ) as told:
        build(tmp_path / "wrong", chromium="none", more=WRONG)
    assert "TypeError: A page draws with BokehJS alone, but found Dial, which brings" in str(told.value)


def test_the_wheel_holds_the_extension_with_its_page_files_and_nothing_else(packages):
    with zipfile.ZipFile(packages["wheel"]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = PROJECT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert names == {name for name in files if "__pycache__" not in name}
    assert {"bokeh_gallery/__init__.py", "bokeh_gallery/static/bokeh-gallery/bokeh-gallery.js"} <= names


def test_the_source_distribution_holds_its_tests(packages):
    with tarfile.open(packages["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tests = {f"tests/{path.relative_to(HERE).as_posix()}" for path in HERE.rglob("*") if path.is_file()}
    kept = {name for name in tests if "__pycache__" not in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", *kept} <= names


def test_the_site_was_built_with_the_wheel(installed):
    code = "import bokeh_gallery; print(bokeh_gallery.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(installed)
