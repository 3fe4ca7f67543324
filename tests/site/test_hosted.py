"""What the built site gives beside its pages: lines for lists of results, hashes, and pages on paper."""

import hashlib
import html
import os
import re
from pathlib import Path

import pytest
from pages import Visit, wait_for

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
BASE = SITE.as_uri() + "/"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
LONGEST = 160  # characters that lists of results show
URL = os.environ.get("ASRSCOPE_SITE_URL", "")
# Of all that is visible: what belongs to the screen, and what stands for figures.
ON_PAPER = """() => {
  const visible = (selector) => [...document.querySelectorAll(selector)].filter(
    (each) => each.getClientRects().length > 0
  )
  return {
    screen: visible(
      ".sidebar-drawer, .toc-drawer, .mobile-header, .related-pages, .theme-toggle, .headerlink, .copybtn,"
      + " audio, .bokeh-figure-canvas"
    ).map((each) => each.className || each.tagName),
    figures: document.querySelectorAll(".bokeh-figure").length,
    posters: visible(".bokeh-figure-poster").filter((each) => each.naturalWidth > 100).length,
    wide: document.documentElement.scrollWidth - window.innerWidth,
    text: getComputedStyle(document.querySelector("article p")).color,
  }
}"""


def test_each_page_says_in_one_line_of_its_own_what_it_is_about():
    lines = {}
    for page in PAGES:
        text = (SITE / page).read_text(encoding="utf-8")
        (line,) = re.findall(r'<meta name="description" content="([^"]*)"', text)
        line = html.unescape(line)
        assert 40 <= len(line) <= LONGEST, f"{page}: {line}"
        assert lines.setdefault(line, page) == page, f"{page} and {lines[line]} say the same: {line}"


def test_every_download_is_listed_with_its_hash():
    listed = dict(
        reversed(line.split("  ")) for line in (SITE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    given = [path for folder in ("_downloads", "notebooks", "package") for path in (SITE / folder).rglob("*")]
    files = {path.relative_to(SITE).as_posix(): path for path in given if path.is_file()}
    assert {name.partition("/")[0] for name in files} >= {"_downloads", "package"}
    assert listed == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_search_engines_may_look_and_are_told_of_every_page_where_the_site_has_an_address():
    assert "Disallow" not in (SITE / "robots.txt").read_text(encoding="utf-8")
    assert (SITE / "sitemap.xml").is_file() == bool(URL)
    if URL:
        listed = re.findall(r"<loc>([^<]*)</loc>", (SITE / "sitemap.xml").read_text(encoding="utf-8"))
        own = {"404.html", "genindex.html", "py-modindex.html", "search.html"}
        assert set(listed) == {f"{URL.rstrip('/')}/{page}" for page in PAGES if page not in own}


@pytest.mark.parametrize("page", ["course/class-2.html", "gallery/40_projector.html"])
def test_on_paper_the_text_and_its_figures_are_left_and_all_is_light(browser, page):
    with Visit(browser, BASE, width=700, theme="dark") as visit:
        visit.open(page)
        visit.page.emulate_media(media="print")
        visit.page.pdf()  # has the browser fetch what only paper shows
        wait_for(
            visit.page, f"(({ON_PAPER})().posters) === document.querySelectorAll('.bokeh-figure').length"
        )
        paper = visit.page.evaluate(ON_PAPER)
        assert paper["screen"] == []
        assert paper["figures"] == paper["posters"] > 2
        assert paper["wide"] <= 0
        assert (
            max(map(int, re.findall(r"\d+", paper["text"])[:3])) < 100
        )  # dark letters, though the theme is dark
        assert visit.complaints == []
