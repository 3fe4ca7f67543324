"""Fold, on the gallery's pages, the answer to a prediction, and code that only shows.

Behind a paragraph with **Predict:** the figures and the printed lines of the code that follows are folded
until the reader wants to see them; sounds stand open, and so do sliders, which begin at the first step. Of a
block of code all lines from `SHOWS` on are folded; script and notebook have them where they are.
"""

from typing import Any

from docutils import nodes
from questions import folded
from sphinx.application import Sphinx

from bokeh_gallery.directive import bokeh_figure

SHOWS = "# To show it:"
PRINTED = "sphx-glr-script-out"


def fold_answers(question: nodes.paragraph) -> None:
    """Fold figures and printed lines between the code behind a question and the next text."""
    section, ran, found = question.parent, False, []
    for node in section[section.index(question) + 1 :]:
        if isinstance(node, bokeh_figure) or PRINTED in node["classes"]:
            found.append(node)
        elif isinstance(node, nodes.section) or (ran and isinstance(node, nodes.paragraph)):
            break
        ran = ran or isinstance(node, nodes.literal_block)
    if found:
        place = section.index(found[0])
        section[:] = [node for node in section if node not in found]
        section.insert(place, folded([nodes.Text("What came out")], *found, classes="answer"))


def fold(app: Sphinx, doctree: nodes.document) -> None:
    """Fold what a page of the gallery folds."""
    if not app.env.docname.startswith("gallery/"):
        return
    for strong in list(doctree.findall(nodes.strong)):
        if strong.astext() == "Predict:":
            fold_answers(strong.parent)
    for code in list(doctree.findall(nodes.literal_block)):
        first, marker, rest = code.astext().partition(f"\n{SHOWS}\n")
        if marker:
            parts = (nodes.literal_block(text, text, **code.attributes) for text in (first.rstrip(), rest))
            code.replace_self(
                [next(parts), folded([nodes.Text("The code that shows it")], *parts, classes="showing")]
            )


def setup(app: Sphinx) -> dict[str, Any]:
    """Fold each page when it has been read."""
    app.connect("doctree-read", fold)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
