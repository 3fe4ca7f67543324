"""No page of the built site has a barrier that axe-core finds, of any impact."""

import os
from pathlib import Path

import pytest
from pages import Visit, barriers

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))


@pytest.mark.parametrize("page", PAGES)
def test_no_barrier_wide_and_light(browser, server, page, audit_record):
    with Visit(browser, server) as visit:
        visit.open(page)
        found = barriers(visit)
    audit_record(f"axe/{page.replace('/', '-')}", {"violations": len(found)})
    assert found == []


# What colors and widths decide. The pages of the API look alike: two stand for all.
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "api/" not in page]
    + ["api/asrscope.plots.html", "api/asrscope.scope.tracing.html"],
)
def test_no_barrier_narrow_and_dark(browser, server, page, audit_record):
    with Visit(browser, server, width=390, theme="dark") as visit:
        visit.open(page)
        rules = ["color-contrast", "scrollable-region-focusable", "label", "link-name", "button-name"]
        found = barriers(visit, runOnly=[*rules, "target-size"])
    audit_record(f"axe/{page.replace('/', '-')}-narrow", {"violations": len(found)})
    assert found == []


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
