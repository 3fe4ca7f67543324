"""Formulas as MathML, written when the site is built: no script, no fonts, readable by screen readers.

Formulas are LaTeX without macros of one's own; what latex2mathml cannot read is a warning.
"""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _mathml(node: nodes.Element, display: str) -> str:
    formula = node.astext()
    try:
        return convert(formula, display=display)
    except Exception as error:  # the converter raises many kinds
        logger.warning("formula %r: %r", formula, error, location=node, type="mathml")
        return ""


def visit_math(self: Any, node: nodes.math) -> None:
    """Write a formula in a line of text."""
    self.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own, with its number and link where it has them."""
    identifier = f' id="{node["ids"][0]}"' if node["ids"] else ""
    self.body.append(f'<div class="math"{identifier}>')
    if node["number"]:
        number = f"({node['number']})"
        self.body.append(f'<span class="eqno">{number}')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(_mathml(node, "block"))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    """Register the renderer under the name ``mathml``, for ``html_math_renderer``."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
