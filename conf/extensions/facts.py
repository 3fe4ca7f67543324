"""Numbers that pages state are computed when the site is built.

A module, named by ``facts_module`` in ``conf.py``, has a function ``load_facts`` that returns `Fact` objects
by name. The role ``{fact}`NAME``` writes a fact's text; it links to the page that lists all facts, and its
title says where the value comes from. An unknown name is a warning, so that a strict build fails. The
directive ``{facts-table}`` writes the list, or that part of it whose names begin in one of the given ways.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

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
def _facts(module: str) -> Mapping[str, Fact]:
    facts: Mapping[str, Fact] = importlib.import_module(module).load_facts()
    return facts


def find(module: str, name: str) -> Fact:
    """Return a fact.

    Parameters
    ----------
    module : str
        The module that computes the facts.
    name : str
        Name of the fact.

    Returns
    -------
    Fact
        Value, text and source.

    Raises
    ------
    KeyError
        If there is no fact of that name; the message suggests the nearest one.
    """
    facts = _facts(module)
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
            fact = find(self.config.facts_module, self.text)
        except KeyError as error:
            logger.warning(error.args[0], location=self.get_location(), type="facts")
            return [nodes.problematic(self.rawtext, self.rawtext)], []
        link = nodes.reference(
            "", fact.text, internal=True, classes=["fact"], reftitle=f"{self.text}: {fact.source}"
        )
        link["fact"] = self.text
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
            for name, fact in _facts(self.config.facts_module).items()
            if not self.arguments or name.startswith(tuple(self.arguments))
        }
        if not chosen:
            raise self.error(f"facts-table: no fact begins with {' or '.join(self.arguments)}.")
        pages = getattr(self.env, "facts_pages", {})
        self.env.facts_pages = {**pages, **dict.fromkeys(chosen, self.env.docname)}
        if "grouped" in self.options:
            return [_table((50, 50), ("what", "found"), _grouped(chosen))]
        rows = [
            _row(nodes.literal(name, name), fact.text, fact.source, ids=[anchor(name)])
            for name, fact in chosen.items()
        ]
        return [_table((30, 20, 50), ("name", "value", "source"), rows)]


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
        shared = sum(1 for column in zip(*parts, strict=False) if len(set(column)) == 1)
        if len(parts) == 1:  # of a name by itself, what follows the thing it is about is its unit
            shared = min(shared, 2)
        for (name, fact), words in zip(group.items(), parts, strict=True):
            label = " ".join(words[shared:]).replace("_", " ")
            text = nodes.Text(f"{label}: {fact.text}" if label else fact.text)
            lines += nodes.line("", "", text, ids=[anchor(name)])
        rows.append(_row(source, lines))
    return rows


def _row(*cells: nodes.Node | str, ids: Sequence[str] = ()) -> nodes.row:
    row = nodes.row(ids=list(ids))
    for cell in cells:
        content = nodes.Text(cell) if isinstance(cell, str) else cell
        block = isinstance(content, nodes.line_block)
        row += nodes.entry("", content if block else nodes.paragraph("", "", content))
    return row


def link_to_table(app: Any, doctree: nodes.document, docname: str) -> None:
    """Point every fact to its row, or turn it into plain text where no table of the site has it."""
    pages = getattr(app.env, "facts_pages", {})
    for link in list(doctree.findall(lambda node: isinstance(node, nodes.reference) and "fact" in node)):
        page = pages.get(link["fact"])
        if page is None:
            link.replace_self(nodes.inline("", link.astext(), classes=["fact"]))
        else:
            link["refuri"] = f"{app.builder.get_relative_uri(docname, page)}#{anchor(link['fact'])}"


def setup(app: Any) -> dict[str, Any]:
    """Register the role and the directive."""
    app.add_config_value("facts_module", "", "env", str)
    app.add_role("fact", FactRole())
    app.add_directive("facts-table", FactsTable)
    app.connect("doctree-resolved", link_to_table)
    return {"version": "0.1.0", "parallel_read_safe": False, "parallel_write_safe": True}
