"""A content security policy in every page: only this site's own scripts run, and nothing asks another host.

When a build is done, each page gets a ``<meta http-equiv="Content-Security-Policy">`` right after its
encoding. Scripts may be files of the site, or stand in the page: those are allowed one by one, by their
SHA-256. Nothing is made a program from text (no ``unsafe-eval``), and attributes such as ``onclick`` do
nothing. A page that needs what the policy forbids is a warning, so that a strict build fails. ``csp = False``
leaves the policy out.

Styles are the exception: Bokeh and the theme write style elements and attributes while a page is shown, so
they are allowed wherever they stand. A style cannot run a program, and what it could fetch is forbidden.

``csp_more`` names pages that may do more: ``{"page": {"worker-src": "blob:"}}``.
"""

import re
from collections.abc import Mapping
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from sphinx.util import logging

from asrscope.plots.page import source_of

logger = logging.getLogger(__name__)

# What else a page may ask for: files of the site, and data that it holds itself.
SOURCES = (
    "default-src 'none'",
    "style-src 'self' 'unsafe-inline'",  # see above
    "img-src 'self' data: blob:",
    "media-src 'self' data: blob:",
    "connect-src 'self'",  # Lighthouse reads robots.txt from within a page
    "base-uri 'none'",  # no page can turn its own addresses elsewhere
    "form-action 'self' file:",  # the search; Firefox does not count the files of a saved site as its own
)
LOADED = {"script": "src", "img": "src", "audio": "src", "video": "src", "source": "src", "iframe": "src"}
# A script that stands in the page: neither a file nor data.
SCRIPT = re.compile(
    r"<script(?![^>]*\bsrc=)(?![^>]*\btype=\"application/)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE
)
ENCODING = re.compile(r'<meta charset="?utf-8"?\s*/?>', re.IGNORECASE)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="[^"]*">')


class Stopped(HTMLParser):
    """Collect what the policy would stop in a page."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        for name, value in given.items():
            if name.startswith("on"):
                self.found.append(f"the attribute {name} of <{tag}>")
            elif name in {"href", "src", "action"} and value.strip().lower().startswith("javascript:"):
                self.found.append(f"an address that is a program, in <{tag}>")
        address = given.get(LOADED.get(tag, ""), "")
        if tag == "link" and {"stylesheet", "icon", "preload"} & set(given.get("rel", "").split()):
            address = given.get("href", "")
        if urlsplit(address).netloc:
            self.found.append(f"<{tag}> from another host: {address}")
        if tag in {"iframe", "object", "embed", "base"}:
            self.found.append(f"the element <{tag}>")


def policy(scripts: list[str], more: Mapping[str, str]) -> str:
    """Return the policy of a page in which these scripts stand, and which may do more."""
    allowed = " ".join(["script-src 'self'", *sorted(set(map(source_of, scripts)))])
    parts = dict(part.split(" ", 1) for part in (allowed, *SOURCES))
    for name, sources in more.items():
        parts[name] = f"{parts.get(name, '')} {sources}".strip()
    return "; ".join(f"{name} {sources}" for name, sources in parts.items())


def protected(page: str, more: Mapping[str, str] = MappingProxyType({})) -> tuple[str, list[str]]:
    """Return a page with its policy, in the place of one that it has, and what in it the policy stops."""
    page = POLICY.sub("", page)
    place = ENCODING.search(page)
    if place is None:
        raise ValueError('expected a page that begins with <meta charset="utf-8">, but found none in it')
    allowed = escape(policy(SCRIPT.findall(page), more), quote=False)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{allowed}">'
    return page[: place.end()] + meta + page[place.end() :], Stopped(page).found


def pages(outdir: Path) -> list[Path]:
    """Return the pages of a built site, without what it gives away as files."""
    return [
        path
        for path in sorted(outdir.rglob("*.html"))
        if not path.relative_to(outdir).parts[0].startswith(("_downloads", "_sources"))
    ]


def protect(app: Any, error: Exception | None) -> None:
    """Put the policy into every page of a site, and say what it stops in them, written anew or not."""
    if error or app.builder.format != "html" or not app.config.csp:
        return
    for path in pages(Path(app.outdir)):
        name, text = path.relative_to(app.outdir).as_posix(), path.read_text(encoding="utf-8")
        page, stopped = protected(text, app.config.csp_more.get(name.removesuffix(".html"), {}))
        if page != text:
            path.write_text(page, encoding="utf-8", newline="\n")
        for what in stopped:
            logger.warning("%s: the content security policy stops %s", name, what, type="csp")


def setup(app: Any) -> dict[str, Any]:
    """Run after everything that writes or changes pages."""
    app.add_config_value("csp", True, "html", bool)
    app.add_config_value("csp_more", {}, "html", dict)
    app.connect("build-finished", protect, priority=990)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
