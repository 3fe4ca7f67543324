"""No page of the built site has a barrier that axe-core calls serious or critical."""

import os
from pathlib import Path

import pytest
from pages import Visit, barriers

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))


@pytest.mark.parametrize("page", PAGES)
def test_no_serious_barrier(browser, page):
    """Wide and light with all rules; narrow and dark with those that colors and widths decide."""
    with Visit(browser, SITE.as_uri() + "/") as visit:
        visit.open(page)
        assert barriers(visit) == []
    with Visit(browser, SITE.as_uri() + "/", width=390, theme="dark") as visit:
        visit.open(page)
        rules = ["color-contrast", "scrollable-region-focusable", "label", "link-name", "button-name"]
        assert barriers(visit, runOnly=rules) == []


def test_axe_finds_the_barriers_that_it_is_given(browser):
    with Visit(browser, SITE.as_uri() + "/") as visit:
        visit.open("index.html")
        visit.page.evaluate(
            "document.querySelector('article').insertAdjacentHTML('beforeend',"
            " '<button></button><p style=\"color: #ccc; background: #fff\">pale</p>')"
        )
        found = " ".join(barriers(visit))
        assert "button-name" in found
        assert "color-contrast" in found
