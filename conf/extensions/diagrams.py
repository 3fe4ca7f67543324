"""The directive ``diagram``: pictures with computed numbers, links to pages, and the sound of the clip."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from docutils import nodes
from facts import facts_of, find
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import asrscope

logger = logging.getLogger(__name__)

PLACEHOLDER = re.compile(r"@([a-z0-9_.]+)@")
PAGE = re.compile(r"@page:([\w/-]+)@")
WAVE = re.compile(r"@wave:([\d.]+),([\d.]+),([\d.]+),([\d.]+)@")  # left, width, middle, height of a half


class Diagram(SphinxDirective):
    """Put an SVG picture from ``docs/_diagrams`` into the page, with facts in place of ``@NAME@``.

    ``@page:NAME@`` becomes the address of a page, and ``@wave:...@`` the outline of the first clip's sound.
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
        svg = WAVE.sub(lambda match: outline(*map(float, match.groups())), PAGE.sub(self._address, svg))
        return [nodes.raw("", f'<div class="diagram">\n{svg}\n</div>', format="html")]

    def _value(self, match: re.Match[str]) -> str:
        try:
            return find(facts_of(self.env), match[1]).text
        except KeyError as error:
            logger.warning("diagram: %s", error.args[0], location=self.get_location(), type="facts")
            return match[0]

    def _address(self, match: re.Match[str]) -> str:
        if match[1] not in self.env.found_docs:
            logger.warning("diagram: there is no page %r", match[1], location=self.get_location())
        return self.env.app.builder.get_relative_uri(self.env.docname, match[1])


def outline(left: float, width: float, middle: float, height: float) -> str:
    """Draw the outline of the first clip's sound as the path of an SVG."""
    sound = asrscope.load_audio(asrscope.load_samples()[0].path)
    columns = np.array_split(sound / np.abs(sound).max(), round(width / 1.5))
    places = np.linspace(left, left + width, len(columns))
    points = [
        f"{x:.1f} {middle - height * edge:.1f}"
        for x, column in zip(places, columns, strict=True)
        for edge in (column.max(), column.min())
    ]
    return f"M{' L'.join(points)}"


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("diagram", Diagram)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
