"""What each page is about, in one line: for search engines, for previews of links, and for the site's search.

The line is made of the page's first sentences, unless the file of TOML that ``descriptions_file`` names has
one for it, under ``[about]``. Under ``[words]`` it has, by the name of the page, words under which learners
look for it; the page of the search gets them too.
"""

import json
import re
import tomllib
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util import logging

logger = logging.getLogger(__name__)

LONGEST = 160  # characters; what is longer is cut off in lists of results
SHORTEST = 50  # a line that says something
GENERATED = {
    "search": "Search the lectures, the gallery, the glossary and the API reference of asrscope.",
    "genindex": "Index of all functions, classes, modules and glossary terms of asrscope, from A to Z.",
    "py-modindex": "All modules of the Python package asrscope, with a line on what each of them holds.",
    "404": "There is no page at this address. The search and the navigation lead to those that there are.",
}
# Paragraphs in these are no beginning of a text.
ASIDE = (nodes.Admonition, nodes.table, nodes.field_list, nodes.footnote, nodes.figure, nodes.system_message)
SENTENCE = re.compile(r"(?<=[.?!:])\s+")
UNTITLED = "\ue000"  # no letter of any text
ASIDE_CLASSES = {"sphx-glr-download-link-note", "sphx-glr-thumbcontainer", "sphx-glr-thumbnails"}


def shortened(text: str, longest: int = LONGEST) -> str:
    """Cut a text behind a sentence, or else between two words.

    Parameters
    ----------
    text : str
        Some sentences.
    longest : int
        Number of characters that the result has at most.

    Returns
    -------
    str
        The text itself if it is short enough.
    """
    if len(text) <= longest:
        return text
    ends = [match.end() for match in re.finditer(r"[.?!](?=\s)", text) if match.end() <= longest]
    if ends and ends[-1] >= SHORTEST:
        return text[: ends[-1]]
    return text[: longest - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def plain_text(paragraph: nodes.paragraph) -> str:
    """Return the sentences of a paragraph, without those whose links have no title yet."""
    copy = paragraph.deepcopy()
    for link in list(copy.findall(pending_xref)):
        if link.get("reftype") in {"doc", "ref"} and not link.get("refexplicit"):
            link.replace_self(nodes.Text(UNTITLED))
    sentences = SENTENCE.split(" ".join(copy.astext().split()))
    return " ".join(sentence for sentence in sentences if UNTITLED not in sentence)


def description_of(doctree: nodes.document) -> str:
    """Return the first sentences of a page, without those of notes, tables and pictures."""
    words = ""
    for paragraph in doctree.findall(nodes.paragraph):
        around, aside = paragraph.parent, False
        while around is not None:
            aside |= isinstance(around, ASIDE) or bool(ASIDE_CLASSES & set(around.get("classes", ())))
            around = around.parent
        text = plain_text(paragraph)
        if aside or not text:
            continue
        words = f"{words} {text}".strip()
        if len(words) >= LONGEST:
            break
    return shortened(words)


def remember(app: Any, doctree: nodes.document) -> None:
    """Keep what a page is about, where another build that does not read it again finds it."""
    _known(app.env)[app.env.docname] = description_of(doctree)


def forget(_app: Any, env: Any, docname: str) -> None:
    """Drop what is known of a page that is read again or gone."""
    _known(env).pop(docname, None)


def merge(_app: Any, env: Any, docnames: list[str], other: Any) -> None:
    """Take what another process found out."""
    _known(env).update({name: text for name, text in _known(other).items() if name in docnames})


def describe(app: Any, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Write the line into the page, and all of them into the page of the search."""
    text = GENERATED.get(pagename) or lines(app).get(pagename, "")
    if 'name="description"' in context.get("metatags", ""):
        text = ""  # the page has a line of its own
    if text:
        context["metatags"] = (
            context.get("metatags", "") + f'\n<meta name="description" content="{escape(text)}" />'
        )
        context["meta"] = {**(context.get("meta") or {}), "og:description": text}
    if pagename == "search":
        pages = json.dumps(search_pages(app), ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")
        app.add_js_file(None, body=f"window.searchPages = {pages}", priority=400)
        app.add_js_file("search.js", loading_method="defer")


def lines(app: Any) -> dict[str, str]:
    """Return for each page what it is about."""
    return {**_known(app.env), **_table(app, "about")}


def search_pages(app: Any) -> dict[str, dict[str, str]]:
    """Return for each page what it is about, and the words under which it is to be found."""
    words = _table(app, "words")
    return {name: {"about": text, "words": words.get(name, "")} for name, text in lines(app).items()}


def check(app: Any, _env: Any) -> None:
    """Warn of lines that are too long and of pages that do not exist."""
    for table in ("about", "words"):
        for name, text in _table(app, table).items():
            if name not in app.env.found_docs:
                logger.warning("%s: there is no page %r", app.config.descriptions_file, name)
            elif table == "about" and len(text) > LONGEST:
                what = "%s: the line on %r has %d characters, expected at most %d"
                logger.warning(what, app.config.descriptions_file, name, len(text), LONGEST)


def _table(app: Any, name: str) -> dict[str, str]:
    if not app.config.descriptions_file:
        return {}
    path = Path(app.confdir, app.config.descriptions_file)
    return dict(tomllib.loads(path.read_text(encoding="utf-8")).get(name, {}))


def _known(env: Any) -> dict[str, str]:
    if not hasattr(env, "page_descriptions"):
        env.page_descriptions = {}
    return env.page_descriptions


def setup(app: Any) -> dict[str, Any]:
    """Register what keeps the lines and what writes them, before the preview of links looks for them."""
    app.add_config_value("descriptions_file", "", "html", str)
    app.connect("env-check-consistency", check)
    app.connect("doctree-read", remember)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("html-page-context", describe, priority=400)
    return {"version": "0.1.0", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
