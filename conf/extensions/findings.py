"""Sentences that say what was found stand only while the numbers carry them.

Both roles evaluate Python: with the names that the programs of the page have set above (``bokeh-figure``),
and with facts by their names. ``{found}`f"{rate:.0%}"``` writes a value into the prose. ``{holds}`after >
before``` puts a small mark behind a sentence; where it is no longer true, a warning names the values, so that
a strict build fails. Where a build leaves figures out, nothing was run and nothing is judged.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from docutils import nodes
from facts import Fact, facts_of
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from bokeh_gallery.results import results_of

logger = logging.getLogger(__name__)

MARK = "✓"  # behind a sentence that the build has checked
LEFT_OUT = "…"  # where nothing was run


def named(expression: str, facts: Mapping[str, Fact]) -> tuple[str, dict[str, Any]]:
    """Put names that Python can read in place of facts' names; return the new text and their values."""
    values: dict[str, Any] = {}

    def replace(match: re.Match[str]) -> str:
        name, rest = match[0], ""
        while name not in facts:  # what follows a fact's name may be a method of its value
            name, dot, last = name.rpartition(".")
            if not dot:
                return match[0]
            rest = f".{last}{rest}"
        short = f"fact_{len(values)}"
        values[short] = facts[name].value
        return short + rest

    return re.sub(r"[a-z]\w*(?:[.-]\w+)+", replace, expression), values


class _Evaluates(SphinxRole):
    """What the roles share."""

    def value(self, kind: type) -> tuple[Any, str]:
        """Return what the role's text comes to, and the values of the names in it as a line."""
        code, values = named(self.text, facts_of(self.env))
        results = results_of(self.env)

        def compute() -> tuple[Any, str]:
            tree = ast.parse(code.strip(), mode="eval")
            known = results.names | values
            result = eval(compile(tree, "<page>", "eval"), known)
            used = {node.id: known.get(node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)}
            told = [f"{name} = {value!r}" for name, value in used.items() if _is_short(value)]
            return kind(result), ", ".join(told)

        return results.value(f"{kind.__name__} {code} {values}", compute)

    def warn(self, message: str) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        self.env.note_reread()
        logger.warning(message, location=self.get_location(), type="findings")
        return [nodes.problematic(self.rawtext, self.rawtext)], []

    def runs(self) -> bool:
        return bool(getattr(self.config, "sphinx_gallery_conf", {}).get("plot_gallery", True))


def _is_short(value: Any) -> bool:
    return isinstance(value, int | float | str) or getattr(value, "size", None) == 1


class Found(_Evaluates):
    """Write a value that the page's programs, or facts, have given."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if not self.runs():
            return [nodes.Text(LEFT_OUT)], []
        try:
            result, _ = self.value(str)
        except Exception as error:
            return self.warn(f"found: {type(error).__name__}: {error}, in: {self.text}")
        told = f"computed when this page was built: {self.text}"
        return [nodes.abbreviation("", result, explanation=told, classes=["found"])], []


class Holds(_Evaluates):
    """Check what the sentence before it says, and mark it."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        if not self.runs():
            return [], []
        try:
            holds, values = self.value(bool)
        except Exception as error:
            return self.warn(f"holds: {type(error).__name__}: {error}, in: {self.text}")
        if not holds:
            return self.warn(f"the page says what no longer holds: {self.text} ({values})")
        told = f"checked when this page was built: {self.text}"
        mark = nodes.abbreviation("", MARK, explanation=told, classes=["holds"])
        return [nodes.superscript("", "", mark)], []


def setup(app: Any) -> dict[str, Any]:
    """Register the roles."""
    app.add_role("found", Found())
    app.add_role("holds", Holds())
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
