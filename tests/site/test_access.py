"""No page of the built site has a barrier that axe-core calls serious or critical."""

import os
from pathlib import Path

import axe_playwright_python
import pytest
from pages import Visit

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
# Of what axe finds: the rule, how bad it is, and the first few elements.
BARRIERS = """async (options) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...options })
  const bad = found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
  const elements = (each) => each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")
  return bad.map((each) => `${each.id} (${each.impact}): ${elements(each)}`)
}"""


def barriers(visit: Visit, **options) -> list[str]:
    visit.page.evaluate(AXE)
    return visit.page.evaluate(BARRIERS, options)


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
