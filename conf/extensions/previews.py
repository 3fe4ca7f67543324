"""What each page is about, in one line: for search engines, previews of links, and the site's own search.

The line is made of the page's first sentences, unless the setting ``previews`` has one under ``about``. Under
``words`` it has words by which learners look for a page. Sphinx keeps the lines as metadata of the pages,
where `sphinxext.opengraph` finds them.
"""

import json
import re
from html import escape
from textwrap import shorten
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util import logging

logger = logging.getLogger(__name__)

KEY = "og:description"
GENERATED = ("genindex", "py-modindex", "search")  # pages that nobody writes
LONGEST = 160  # characters; what is longer is cut off in lists of results
SENTENCE = re.compile(r"(?<=[.?!:])\s+")
UNTITLED = "\ue000"  # no letter of any text


def first_sentences(doctree: nodes.document) -> str:
    """Return how a page begins, without notes, tables, and sentences whose links have no title yet."""
    texts = []
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.document | nodes.section):
            copy = paragraph.deepcopy()
            for link in list(copy.findall(pending_xref)):
                if link.get("reftype") in {"doc", "ref"} and not link.get("refexplicit"):
                    link.parent.replace(link, nodes.Text(UNTITLED))
            texts += copy.astext().split()
    line = ""
    for sentence in SENTENCE.split(" ".join(texts)):
        if line and len(f"{line} {sentence}") > LONGEST:
            break
        if UNTITLED not in sentence:
            line = f"{line} {sentence}".strip()
    return shorten(line, LONGEST, placeholder="…")


def remember(app: Any, doctree: nodes.document) -> None:
    """Keep a page's line with its metadata."""
    if text := first_sentences(doctree):
        app.env.metadata[app.env.docname][KEY] = text


def describe(app: Any, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Write the line into the page, and all of them into the page of the search."""
    lines = {name: about[KEY] for name, about in app.env.metadata.items() if KEY in about}
    lines |= app.config.previews.get("about", {})
    if text := escape(lines.get(pagename, ""), quote=False):
        meta = '<meta name="description" content="{}" />'.format(text.replace('"', "&quot;"))
        context["metatags"] = f"{context.get('metatags', '')}\n{meta}"
        context["meta"] = {**(context.get("meta") or {}), KEY: text}
    if pagename == "search":
        words = app.config.previews.get("words", {})
        pages = {
            name: {"about": line, "words": words.get(name, "")}
            for name, line in lines.items()
            if name in app.env.found_docs
        }
        told = json.dumps(pages, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")
        app.add_js_file(None, body=f"window.searchPages = {told}", priority=400)
        app.add_js_file("search.js", loading_method="defer")


def check(app: Any, env: Any) -> None:
    """Warn of lines that are too long and of pages that do not exist."""
    lines, words = (app.config.previews.get(name, {}) for name in ("about", "words"))
    for name in lines.keys() | words.keys():
        if name not in {*env.found_docs, *GENERATED}:
            logger.warning("previews: there is no page %r", name)
    for name, text in lines.items():
        if len(text) > LONGEST:
            what = "previews: the line on %r has %d characters, expected at most %d"
            logger.warning(what, name, len(text), LONGEST)


def setup(app: Any) -> dict[str, Any]:
    """Register what keeps the lines and what writes them, before the preview of links looks for them."""
    app.add_config_value("previews", {}, "html", dict)
    app.connect("env-check-consistency", check)
    app.connect("doctree-read", remember, priority=900)
    app.connect("html-page-context", describe, priority=400)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
