"""The built site, page by page in a browser: ``nox -s site`` runs this after the build."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from pages import PAINTED, Visit, wait_for

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
ON_DISK = [page for page in PAGES if page != "404.html"]  # only a server shows it, for any address
ON_DISK_BASE = SITE.as_uri() + "/"
ROOT = "http://site.invalid/"  # stands for wherever the site is
VIEWS = [(1280, "light"), (390, "light"), (390, "dark"), (1280, "dark")]  # two steps on is the opposite
FIGURES_WANTED = {"index.html": 1, "course/class-2.html": 1, "gallery/90_trace_data.html": 7}


def look(browser, base: str, page: str, width: int, theme: str) -> None:
    """Open a page, draw all of its figures, and complain of whatever is wrong with it."""
    with Visit(browser, base, width=width, theme=theme) as visit:
        visit.open(page)
        for figure in visit.figures():
            assert figure["drawn"] == "true", figure["label"]
            assert len(figure["description"]) > 20, f"{figure['label']} has no text alternative"
        wait_for(visit.page, PAINTED)  # else one is blank
        assert visit.overflow() <= 0, f"{visit.overflow()} pixels wider than the window"
        assert visit.complaints == []


# Every page once from a server and once from the disk, once wide and once narrow, once light and once dark;
# the main pages in all combinations.
@pytest.mark.parametrize("page", PAGES)
def test_a_page_from_a_static_server(browser, server, page):
    look(browser, server, page, *VIEWS[PAGES.index(page) % 2])


@pytest.mark.parametrize("page", ON_DISK)
def test_a_page_opened_from_the_disk(browser, page):
    look(browser, ON_DISK_BASE, page, *VIEWS[PAGES.index(page) % 2 + 2])


@pytest.mark.parametrize("page", FIGURES_WANTED)
@pytest.mark.parametrize("view", range(4))
def test_a_main_page_in_every_view(browser, server, page, view):
    look(browser, server, page, *VIEWS[view])
    look(browser, ON_DISK_BASE, page, *VIEWS[view])


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
