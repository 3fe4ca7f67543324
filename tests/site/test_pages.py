"""The built site, page by page in a browser: ``nox -s site`` runs this after the build."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from pages import PAINTED, Visit, barriers, wait_for

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
ON_DISK = [page for page in PAGES if page != "404.html"]  # only a server shows it, for any address
ON_DISK_BASE = SITE.as_uri() + "/"
ROOT = "http://site.invalid/"  # stands for wherever the site is
# Beside wide and light from a server, narrow and dark from the disk, which all pages get.
VIEWS = [("server", 1280, "dark"), ("disk", 390, "light")]
# The pages of the API look alike: two stand for all where colors and widths decide.
LIKE_OTHERS = re.compile(r"api/(?!asrscope\.plots\.html|asrscope\.scope\.tracing\.html)")
NARROW_RULES = ["color-contrast", "scrollable-region-focusable", "label", "link-name", "button-name"]
FIGURES_WANTED = {"index.html": 1, "course/class-2.html": 1, "gallery/90_trace_data.html": 7}


def look(visit: Visit, page: str) -> None:
    """Open a page, draw all of its figures, and complain of whatever is wrong with it."""
    visit.open(page)
    for figure in visit.figures():
        assert figure["drawn"] == "true", figure["label"]
        assert len(figure["description"]) > 20, f"{figure['label']} has no text alternative"
    wait_for(visit.page, PAINTED)  # else one is blank
    assert visit.overflow() <= 0, f"{visit.overflow()} pixels wider than the window"
    assert visit.complaints == []


@pytest.fixture(scope="module")
def served_pages(browser, server):
    """One window for all pages of the server: what they share is fetched and compiled once."""
    with Visit(browser, server) as visit:
        yield visit


@pytest.fixture(scope="module")
def pages_on_disk(browser):
    """And one, narrow and dark, for all pages on the disk."""
    with Visit(browser, ON_DISK_BASE, width=390, theme="dark") as visit:
        yield visit


@pytest.mark.parametrize("page", PAGES)
def test_a_page_from_a_static_server_has_no_fault_and_no_barrier(served_pages, page, audit_record):
    visit = served_pages
    visit.complaints.clear()
    visit.narrow(1280)
    look(visit, page)
    found = barriers(visit)
    audit_record(f"axe/{page.replace('/', '-')}", {"violations": len(found)})
    assert found == []
    visit.narrow(390)
    assert visit.overflow() <= 0, f"{visit.overflow()} pixels wider than a phone"


@pytest.mark.parametrize("page", [page for page in ON_DISK if not LIKE_OTHERS.match(page)])
def test_a_page_from_the_disk_has_no_fault_and_no_barrier_narrow_and_dark(pages_on_disk, page, audit_record):
    visit = pages_on_disk
    visit.complaints.clear()
    look(visit, page)
    found = barriers(visit, runOnly=[*NARROW_RULES, "target-size"])
    audit_record(f"axe/{page.replace('/', '-')}-narrow", {"violations": len(found)})
    assert found == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.startswith(("course/", "gallery/", "using/"))]
)
def test_no_line_of_a_program_is_cut_where_the_window_is_wide(browser, page):
    cut = """() => {
      for (const each of document.querySelectorAll("details")) each.open = true
      const wide = (each) => each.scrollWidth > each.clientWidth + 1
      return [...document.querySelectorAll("article pre")].filter(wide).map((each) => each.innerText)
    }"""
    with Visit(browser, ON_DISK_BASE, width=1280) as visit:
        visit.page.goto(ON_DISK_BASE + page)
        assert visit.page.evaluate(cut) == []


@pytest.mark.parametrize("page", FIGURES_WANTED)
@pytest.mark.parametrize(("place", "width", "theme"), VIEWS)
def test_a_main_page_in_the_other_views(browser, server, page, place, width, theme):  # noqa: PLR0917
    base = server if place == "server" else ON_DISK_BASE
    with Visit(browser, base, width=width, theme=theme) as visit:
        look(visit, page)


def test_axe_finds_the_barriers_that_it_is_given(browser, server):
    with Visit(browser, server) as visit:
        visit.open("index.html")
        visit.page.evaluate(
            "document.querySelector('article').insertAdjacentHTML('beforeend',"
            " '<button></button><p style=\"color: #ccc; background: #fff\">pale</p>')"
        )
        found = " ".join(barriers(visit))
        assert "button-name" in found
        assert "color-contrast" in found


@pytest.mark.parametrize("page", FIGURES_WANTED)
def test_the_main_pages_have_their_figures_and_a_player(page):
    text = (SITE / page).read_text(encoding="utf-8")
    assert text.count('class="bokeh-figure"') >= FIGURES_WANTED[page]
    assert "<audio controls" in text


@pytest.mark.parametrize("page", ["course/class-2.html", "gallery/90_trace_data.html"])
def test_the_sound_moves_the_playheads(browser, page):
    places = (
        "() => Bokeh.documents.flatMap((each) => each.roots()).flatMap((root) => root.select('playhead'))"
        ".map((span) => span.location)"
    )
    with Visit(browser, ON_DISK_BASE, height=30_000) as visit:  # figures out of view would rest
        visit.open(page)
        assert len(visit.page.evaluate(places)) >= 4
        visit.page.evaluate("document.querySelector('audio').currentTime = 0.75")
        visit.page.wait_for_function(f"() => ({places})().every((place) => place === 0.75)")


class Links(HTMLParser):
    """Collect where a page points, and the places in it that can be pointed at."""

    def __init__(self, text: str):
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, _tag, attributes):
        for name, value in attributes:
            if name in {"href", "src", "data-script"} and value:
                self.targets.add(value)
            elif name in {"id", "name"} and value:
                self.places.add(value)


def test_every_link_within_the_site_leads_somewhere():
    parsed = {page: Links((SITE / page).read_text(encoding="utf-8")) for page in PAGES}
    broken, checked = [], 0
    for page, links in parsed.items():
        if page == "404.html":
            continue  # its addresses start at the root of the server
        for target in links.targets:
            address, place = urldefrag(urljoin(ROOT + page, target))
            if not address.startswith(ROOT):
                continue
            checked += 1
            path = unquote(urlsplit(address).path).lstrip("/")
            if not (SITE / path).is_file():
                broken.append(f"{page}: {target}")
            elif path == "live.html" and place.startswith("clip="):
                continue  # not a place, but edits: see tests/test_live.py
            elif place == "top":
                continue  # of every page, by the HTML standard
            elif place and path in parsed and unquote(place) not in parsed[path].places:
                broken.append(f"{page}: {target} (no such place)")
    assert broken == []
    assert checked > 10 * len(PAGES)


def article(page: str) -> Links:
    """Return the links in the text of a page, without those of the navigation around it."""
    text = (SITE / page).read_text(encoding="utf-8")
    return Links(text[text.index("<article") : text.index("</article>")])


def linked_pages(page: str) -> set[str]:
    addresses = {urldefrag(urljoin(ROOT + page, target))[0] for target in article(page).targets}
    return {unquote(address.removeprefix(ROOT)) for address in addresses if address.startswith(ROOT)}


def test_lectures_and_api_pages_lead_to_every_page_of_the_gallery_and_it_leads_back():
    gallery = {page for page in PAGES if re.match(r"gallery/\d", page)}
    lectures = {page for page in PAGES if page.startswith("course/class")}
    api = {page for page in PAGES if page.startswith("api/")} - {"api/index.html"}
    assert gallery
    from_lectures = set().union(*map(linked_pages, lectures))
    from_api = set().union(*map(linked_pages, api))
    assert gallery - from_lectures == set()
    assert gallery - from_api == set()
    for page in gallery:
        assert linked_pages(page) & lectures, f"{page} leads to no lecture"
        assert linked_pages(page) & api, f"{page} leads to no API page"


def test_no_page_loads_anything_from_another_host():
    loading = re.compile(
        r'<(?:script|img|audio|video|source|iframe)[^>]* src="(?:https?:)?//'
        r'|<link[^>]*rel="(?:stylesheet|preload|icon)"[^>]*href="(?:https?:)?//'
    )
    assert [page for page in PAGES if loading.search((SITE / page).read_text(encoding="utf-8"))] == []


def test_scripts_notebooks_and_archives_can_be_downloaded():
    downloads = {path.name for path in (SITE / "_downloads").rglob("*") if path.is_file()}
    for stem in (path.stem for path in (SITE / "gallery").glob("[0-9]*.html")):
        assert {f"{stem}.py", f"{stem}.ipynb", f"{stem}.zip"} <= downloads


def test_no_fact_is_left_open():
    for page in PAGES:
        assert not re.search(r"@[a-z]+\.[a-z_.]+@", (SITE / page).read_text(encoding="utf-8")), page


def test_no_page_names_a_folder_of_the_machine_that_built_it():
    folder = str(Path(__file__).parents[2])
    named = [page for page in PAGES if folder in (SITE / page).read_text(encoding="utf-8")]
    assert named == []
