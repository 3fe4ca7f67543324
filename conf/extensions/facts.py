"""Numbers that pages state are computed when the site is built.

A module, named by ``facts_module`` in ``conf.py``, has a function ``load_facts`` that returns `Fact` objects
by name. They are kept beside the doctrees for as long as neither what `stale` looks at nor the files of
``facts_files`` change. The role ``{fact}`NAME``` writes a fact's text; it links to the page that lists all
facts, and its title says where the value comes from. An unknown name is a warning, so that a strict build
fails. The directive ``{facts-table}`` writes the list, or that part of it whose names begin in one of the
given ways.
"""

import hashlib
import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.nodes import make_refnode
from stale import computed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fact:
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
def load(module: str, record: Path, state: str) -> Mapping[str, Fact]:
    """Return the facts that a module computes, or those of the record if it is of the same state."""

    def compute() -> dict[str, Any]:
        facts: Mapping[str, Fact] = importlib.import_module(module).load_facts()
        return {name: astuple(fact) for name, fact in facts.items()}

    return {name: Fact(*fields) for name, fields in computed(record, state, compute).items()}


def facts_of(env: Any) -> Mapping[str, Fact]:
    """Return all facts of a site by name."""
    state = getattr(env.config, "stale_state", "")  # without that extension, they are computed each time
    for name in env.config.facts_files if state else ():
        state += hashlib.sha256(Path(env.app.confdir, name).read_bytes()).hexdigest()
    return load(env.config.facts_module, Path(env.doctreedir, "facts.json"), state)


def find(facts: Mapping[str, Fact], name: str) -> Fact:
    """Return a fact; the `KeyError` for one that there is not suggests the nearest."""
    if name not in facts:
        near = get_close_matches(name, facts, n=1)
        raise KeyError(f"no fact is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return facts[name]


def anchor(name: str) -> str:
    """Return the identifier of a fact's row in the table."""
    return nodes.make_id(f"fact-{name}")


class FactRole(SphinxRole):
    """Write a fact's text as a link to its row in the table."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            fact = find(facts_of(self.env), self.text)
        except KeyError as error:
            self.env.note_reread()
            logger.warning(error.args[0], location=self.get_location(), type="facts")
            return [nodes.problematic(self.rawtext, self.rawtext)], []
        text = nodes.Text(fact.text)
        link = pending_xref("", text, refdomain="", reftype="fact", reftarget=anchor(self.text))
        link["title"] = f"{self.text}: {fact.source}"
        return [link], []


class FactsTable(SphinxDirective):
    """List facts with their values and sources: all, or those whose names begin with one of the arguments.

    With ``:grouped:``, facts of one source share a row: the source, and below each other what it came to.
    """

    optional_arguments = 100
    option_spec: ClassVar = {"grouped": directives.flag}

    def run(self) -> list[nodes.Node]:
        chosen = {
            name: fact
            for name, fact in facts_of(self.env).items()
            if not self.arguments or name.startswith(tuple(self.arguments))
        }
        if not chosen:
            raise self.error(f"facts-table: no fact begins with {' or '.join(self.arguments)}.")
        if "grouped" in self.options:
            table = _table((50, 50), ("what", "found"), _grouped(chosen))
        else:
            rows = [
                _row(nodes.literal(name, name), fact.text, fact.source, names=[anchor(name)])
                for name, fact in chosen.items()
            ]
            table = _table((30, 20, 50), ("name", "value", "source"), rows)
        for row in table.findall(lambda node: isinstance(node, nodes.Element) and node["names"]):
            self.state.document.note_explicit_target(row)  # a label of the site, by which links find it
        return [table]


def _table(widths: tuple[int, ...], names: tuple[str, ...], rows: list[nodes.row]) -> nodes.table:
    table = nodes.table(classes=["facts", "colwidths-auto"])
    group = nodes.tgroup(cols=len(widths))
    group += [nodes.colspec(colwidth=width) for width in widths]
    group += [nodes.thead("", _row(*names)), nodes.tbody("", *rows)]
    table += group
    return table


def _grouped(facts: Mapping[str, Fact]) -> list[nodes.row]:
    """Return a row for each source; each fact in it has a line, and its address, of its own."""
    by_source: dict[str, dict[str, Fact]] = {}
    for name, fact in facts.items():
        by_source.setdefault(fact.source, {})[name] = fact
    rows = []
    for source, group in by_source.items():
        lines = nodes.line_block()
        parts = [name.split(".") for name in group]
        # Of a name by itself, what follows the thing it is about is its unit.
        shared = len(os.path.commonprefix(parts)) if len(parts) > 1 else 2  # noqa: RUF071
        for (name, fact), words in zip(group.items(), parts, strict=True):
            label = " ".join(words[shared:]).replace("_", " ")
            text = nodes.Text(f"{label}: {fact.text}" if label else fact.text)
            lines += nodes.line("", "", text, names=[anchor(name)])
        rows.append(_row(source, lines))
    return rows


def _row(*cells: nodes.Node | str, names: Sequence[str] = ()) -> nodes.row:
    row = nodes.row(names=list(names))
    for cell in cells:
        content = nodes.Text(cell) if isinstance(cell, str) else cell
        block = isinstance(content, nodes.line_block)
        row += nodes.entry("", content if block else nodes.paragraph("", "", content))
    return row


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
    """Register the role and the directive."""
    app.add_config_value("facts_module", "", "env", str)
    app.add_config_value("facts_files", [], "", list)
    app.add_role("fact", FactRole())
    app.add_directive("facts-table", FactsTable)
    app.connect("env-before-read-docs", prepare)
    app.connect("missing-reference", link_to_table)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
