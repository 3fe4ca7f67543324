"""What pages state is computed when the site is built, and stands only while the numbers carry it.

A module, named by ``facts_module`` in ``conf.py``, has a function ``load_facts`` that returns `Fact` objects
by name. They are kept beside the doctrees for as long as neither what `stale` looks at nor the files of
``facts_files`` change. Three roles write them, or what follows from them:

- ``{fact}`NAME``` writes a fact's text; it links to the page that lists all facts, and its title says where
  the value comes from. The directive ``{facts-table}`` writes the list, or that part of it whose names begin
  in one of the given ways.
- ``{found}`f"{rate:.0%}"``` writes what Python makes of facts, by their names, and of the names that the
  programs of the page have set above (``bokeh-figure``).
- ``{holds}`after > before``` puts a small mark behind a sentence; where it is no longer true, a warning names
  the values.

An unknown name is a warning, so that a strict build fails. Where a build leaves figures out, nothing was run
and nothing is found or judged.
"""

import ast
import importlib
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode
from stale import computed

from bokeh_gallery.results import results_of

logger = logging.getLogger(__name__)

MARK = "✓"  # behind a sentence that the build has checked
LEFT_OUT = "…"  # where nothing was run

Said = tuple[list[nodes.Node], list[nodes.system_message]]


class Fact(NamedTuple):
    """One computed value.

    Parameters
    ----------
    value : int, float or str
        The value, for programs.
    source : str
        What it was computed from, for readers.
    form : str
        Format specification that turns the value into text.
    """

    value: int | float | str
    source: str
    form: str = ""

    @property
    def text(self) -> str:
        """The value as a page writes it: ``636,968,960``."""
        if self.form:
            return format(self.value, self.form)
        return f"{self.value:,}" if isinstance(self.value, int) else str(self.value)


@cache
def facts_of(env: Any) -> Mapping[str, Fact]:
    """Return all facts of a site by name: those that its module computes, or an earlier build kept."""

    def compute() -> Mapping[str, Fact]:
        facts: Mapping[str, Fact] = importlib.import_module(env.config.facts_module).load_facts()
        return facts

    also = [Path(env.srcdir, name) for name in env.config.facts_files]
    return {name: Fact(*fields) for name, fields in computed(env, "facts", compute, also=also).items()}


def find(facts: Mapping[str, Fact], name: str) -> Fact:
    """Return a fact; the `KeyError` for one that there is not suggests the nearest."""
    if name not in facts:
        near = get_close_matches(name, facts, n=1)
        raise KeyError(f"no fact is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return facts[name]


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


def anchor(name: str) -> str:
    """Return the identifier of a fact's row in the table."""
    return nodes.make_id(f"fact-{name}")


class _Role(SphinxRole):
    """What the roles share."""

    def warn(self, message: str) -> Said:
        """Warn, now and in each build that finds the page as it is."""
        self.env.note_reread()
        logger.warning(message, location=self.get_location(), type="facts")
        return [nodes.problematic(self.rawtext, self.rawtext)], []


class FactRole(_Role):
    """Write a fact's text as a link to its row in the table."""

    def run(self) -> Said:
        try:
            fact = find(facts_of(self.env), self.text)
        except KeyError as error:
            return self.warn(error.args[0])
        text = nodes.Text(fact.text)
        link = pending_xref("", text, refdomain="", reftype="fact", reftarget=anchor(self.text))
        link["title"] = f"{self.text}: {fact.source}"
        return [link], []


class Found(_Role):
    """Write a value that the page's programs, or facts, have given."""

    kind: ClassVar[type] = str

    def run(self) -> Said:
        if not getattr(self.config, "sphinx_gallery_conf", {}).get("plot_gallery", True):
            return self.say(None, "")
        try:
            return self.say(*self.value())
        except Exception as error:
            return self.warn(f"{self.name}: {type(error).__name__}: {error}, in: {self.text}")

    def value(self) -> tuple[Any, str]:
        """Return what the role's text comes to, and the values of the names in it as a line."""
        code, values = named(self.text, facts_of(self.env))
        results = results_of(self.env)

        def compute() -> tuple[Any, str]:
            tree = ast.parse(code.strip(), mode="eval")
            known = results.names | values
            result = eval(compile(tree, "<page>", "eval"), known)
            used = {node.id: known.get(node.id) for node in ast.walk(tree) if isinstance(node, ast.Name)}
            told = [f"{name} = {value!r}" for name, value in used.items() if _is_short(value)]
            return self.kind(result), ", ".join(told)

        return results.value(f"{self.kind.__name__} {code} {values}", compute)

    def say(self, result: Any, _values: str) -> Said:
        """Write the result, or that there is none."""
        if result is None:
            return [nodes.Text(LEFT_OUT)], []
        told = f"computed when this page was built: {self.text}"
        return [nodes.abbreviation("", result, explanation=told, classes=["found"])], []


def _is_short(value: Any) -> bool:
    return isinstance(value, int | float | str) or getattr(value, "size", None) == 1


class Holds(Found):
    """Check what the sentence before it says, and mark it."""

    kind: ClassVar[type] = bool

    def say(self, result: Any, values: str) -> Said:
        """Write the mark, or warn."""
        if result is None:
            return [], []
        if not result:
            return self.warn(f"the page says what no longer holds: {self.text} ({values})")
        told = f"checked when this page was built: {self.text}"
        mark = nodes.abbreviation("", MARK, explanation=told, classes=["holds"])
        return [nodes.superscript("", "", mark)], []


class FactsTable(SphinxDirective):
    """List facts with their values and sources: all, or those whose names begin with one of the arguments."""

    optional_arguments = 100

    def run(self) -> list[nodes.Node]:
        rows = []
        for name, fact in facts_of(self.env).items():
            if not self.arguments or name.startswith(tuple(self.arguments)):
                rows.append(_row(nodes.literal(name, name), nodes.Text(fact.text), nodes.Text(fact.source)))
                rows[-1]["names"] = [anchor(name)]
                self.state.document.note_explicit_target(rows[-1])  # of the site, by which links find it
        if not rows:
            raise self.error(f"facts-table: no fact begins with {' or '.join(self.arguments)}.")
        head = _row(*map(nodes.Text, ("name", "value", "source")))
        group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in (30, 20, 50)), cols=3)
        group += [nodes.thead("", head), nodes.tbody("", *rows)]
        return [nodes.table("", group, classes=["facts", "colwidths-auto"])]


def _row(*cells: nodes.Node) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def prepare(app: Any, env: Any, names: list[str]) -> None:
    """Compute the facts before several processes read pages, each of which would compute its own."""
    if names and app.parallel > 1:
        facts_of(env)


def link_to_table(app: Any, env: Any, node: pending_xref, text: nodes.Node) -> nodes.Node | None:
    """Point a fact to its row, or leave it as plain text where no table of the site has it."""
    if node["reftype"] != "fact":
        return None
    page, row = env.domains["std"].anonlabels.get(node["reftarget"], ("", ""))
    if not page:
        return text
    link = make_refnode(app.builder, node["refdoc"], page, row, text, node["title"])
    link["classes"].append("fact")
    return link


def setup(app: Any) -> dict[str, Any]:
    """Register the roles and the directive."""
    app.add_config_value("facts_module", "", "env", str)
    app.add_config_value("facts_files", [], "", list)
    for name, role in (("fact", FactRole()), ("found", Found()), ("holds", Holds())):
        app.add_role(name, role)
    app.add_directive("facts-table", FactsTable)
    app.connect("env-before-read-docs", prepare)
    app.connect("missing-reference", link_to_table)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
