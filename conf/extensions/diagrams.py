"""The directive ``diagram``: pictures with computed numbers."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from facts import facts_of, find
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

PLACEHOLDER = re.compile(r"@([a-z0-9_.]+)@")


class Diagram(SphinxDirective):
    """Put an SVG picture from ``docs/_diagrams`` into the page, with facts in place of ``@NAME@``.

    The picture becomes part of the page, so it takes the theme's colors and its text can be read aloud.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        relative, absolute = self.env.relfn2path(f"/_diagrams/{self.arguments[0]}.svg")
        path = Path(absolute)
        if not path.is_file():
            raise self.error(f"diagram: there is no file {relative}.")
        self.env.note_dependency(absolute)
        svg = PLACEHOLDER.sub(self._value, path.read_text(encoding="utf-8"))
        return [nodes.raw("", f'<div class="diagram">\n{svg}\n</div>', format="html")]

    def _value(self, match: re.Match[str]) -> str:
        try:
            return find(facts_of(self.env), match[1]).text
        except KeyError as error:
            logger.warning("diagram: %s", error.args[0], location=self.get_location(), type="facts")
            return match[0]


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("diagram", Diagram)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
