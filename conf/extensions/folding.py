"""Fold, on the gallery's pages, the answer to a prediction, and code that only shows.

Behind a paragraph with **Predict:** the figures and the printed lines of the code that follows are folded
until the reader wants to see them; sounds stand open, and so do sliders, which begin at the first step. Of a
block of code all lines from `SHOWS` on are folded; script and notebook have them where they are.
"""

from typing import Any

from docutils import nodes
from questions import element
from sphinx.application import Sphinx

from bokeh_gallery.directive import bokeh_figure

SHOWS = "# To show it:"
ANSWER, SHOWING = "What came out", "The code that shows it"
PRINTED = "sphx-glr-script-out"


def is_code(node: nodes.Node) -> bool:
    """Tell code from what it printed."""
    return isinstance(node, nodes.literal_block) and PRINTED not in node["classes"]


def asks(node: nodes.Node) -> bool:
    """Tell whether a paragraph wants a prediction."""
    strong = node.findall(nodes.strong) if isinstance(node, nodes.paragraph) else ()
    return any(each.astext() == "Predict:" for each in strong)


def folded(summary: str, *content: nodes.Node, classes: str) -> nodes.Element:
    """Put content behind a line that opens it."""
    return element("details", element("summary", nodes.Text(summary)), *content, classes=classes)


def fold_answers(question: nodes.paragraph) -> None:
    """Fold figures and printed lines between the code behind a question and the next text."""
    section, ran, found = question.parent, False, []
    for node in section.children[section.index(question) + 1 :]:
        if is_code(node):
            ran = True
        elif isinstance(node, bokeh_figure) or PRINTED in getattr(node, "attributes", {}).get("classes", ()):
            found.append(node)
        elif isinstance(node, nodes.section) or (ran and isinstance(node, nodes.paragraph)):
            break
    if found:
        place = section.index(found[0])
        for node in found:
            section.remove(node)
        section.insert(place, folded(ANSWER, *found, classes="answer"))


def fold_showing(code: nodes.literal_block) -> None:
    """Cut a block of code in two where it begins to show, and fold the second."""
    first, marker, rest = code.astext().partition(f"\n{SHOWS}\n")
    if not marker:
        return
    parts = []
    for text in (first.rstrip("\n"), rest):
        part = code.deepcopy()
        part.rawsource = text
        part.children = []
        part += nodes.Text(text)
        parts.append(part)
    code.replace_self([parts[0], folded(SHOWING, parts[1], classes="showing")])


def fold(app: Sphinx, doctree: nodes.document) -> None:
    """Fold what a page of the gallery folds."""
    if not app.env.docname.startswith("gallery/"):
        return
    for question in [node for node in doctree.findall(nodes.paragraph) if asks(node)]:
        fold_answers(question)
    for code in [node for node in doctree.findall(nodes.literal_block) if is_code(node)]:
        fold_showing(code)


def setup(app: Sphinx) -> dict[str, Any]:
    """Fold each page when it has been read."""
    app.connect("doctree-read", fold)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
