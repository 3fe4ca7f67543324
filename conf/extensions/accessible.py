"""Mend what stands in the way of people who use a screen reader, in markup of the theme and of docutils."""

from pathlib import Path
from typing import Any

# Captions between the parts of the navigation are headings, of a level that the theme does not state.
NAVIGATION = {'role="heading"': 'role="heading" aria-level="2"'}
# docutils puts references in a list and gives them a role that is none of a list's and is out of use.
BODY = {
    'role="doc-biblioentry"': 'role="listitem"',
    '<th class="head"><p></p></th>': "<td></td>",  # the corner of a table heads nothing
}
# The theme's two columns at the sides have the same role, and no names to tell them apart; its link upwards
# stands in no landmark.
COLUMNS = {
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Site">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="Page">',
    '<a href="#" class="back-to-top': '<nav aria-label="Top"><a href="#top" class="back-to-top',
    "<span>Back to top</span>\n        </a>": "<span>Back to top</span></a></nav>",
}


def mended(text: str, changes: dict[str, str]) -> str:
    """Return `text` with some attributes replaced by others."""
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def mend(_app: Any, _pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Mend a page before it is written."""
    for name, changes in (("furo_navigation_tree", NAVIGATION), ("body", BODY)):
        if name in context:
            context[name] = mended(context[name], changes)


def mend_columns(app: Any, error: Exception | None) -> None:
    """Mend what stands in templates of the theme, in the pages that were just written."""
    if error is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            if (better := mended(text, COLUMNS)) != text:
                page.write_text(better, encoding="utf-8", newline="\n")


def setup(app: Any) -> dict[str, Any]:
    """Run after the theme, which makes the navigation at this moment too."""
    app.connect("html-page-context", mend, priority=900)
    app.connect("build-finished", mend_columns, priority=100)  # before others sign what is written
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
