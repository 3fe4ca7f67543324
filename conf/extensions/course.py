"""Directives for this site alone: diagrams with computed numbers, and the fields of the trace's JSON file."""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from facts import facts_of, find
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

Schema = dict[str, Any]

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


class JsonSchema(SphinxDirective):
    """List the fields of a JSON Schema: name, type and description."""

    required_arguments = 0

    def run(self) -> list[nodes.Node]:
        path = Path(self.config.json_schema_file).resolve()
        self.env.note_dependency(str(path))
        schema = json.loads(path.read_text(encoding="utf-8"))
        table = nodes.table()
        group = nodes.tgroup(cols=3)
        group += [nodes.colspec(colwidth=width) for width in (25, 25, 50)]
        body = nodes.tbody()
        for name, field in _fields(schema, schema):
            row = nodes.row()
            texts = [nodes.Text(_type(field)), nodes.Text(field.get("description", ""))]
            row += [
                nodes.entry("", nodes.paragraph("", "", cell)) for cell in (nodes.literal(name, name), *texts)
            ]
            body += row
        titles = ("field", "type", "description")
        head = nodes.row("", *(nodes.entry("", nodes.paragraph("", title)) for title in titles))
        group += [nodes.thead("", head), body]
        table += group
        return [table]


def _fields(schema: Schema, node: Schema, prefix: str = "") -> list[tuple[str, Schema]]:
    """Return the named fields of a schema, with those of the objects in lists and objects below them."""
    found = []
    for name, raw in node.get("properties", {}).items():
        field = _resolved(schema, raw)
        found.append((prefix + name, {**field, **{k: v for k, v in raw.items() if k == "description"}}))
        inner, mark = field, "."
        while isinstance(inner.get("items"), dict):  # "items: false" closes a list of fixed length
            inner, mark = _resolved(schema, inner["items"]), "[]" + mark
        found.extend(_fields(schema, inner, prefix + name + mark))
    return found


def _resolved(schema: Schema, node: Schema) -> Schema:
    """Follow a reference within the schema."""
    if "$ref" not in node:
        return node
    target: Any = schema
    for step in node["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return dict(target)


def _type(field: Schema) -> str:
    if "const" in field:
        return json.dumps(field["const"])
    if "enum" in field:
        return " or ".join(json.dumps(value) for value in field["enum"])
    kind = field.get("type", "")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def setup(app: Any) -> dict[str, Any]:
    """Register the directives."""
    app.add_config_value("json_schema_file", "", "env", str)
    app.add_directive("diagram", Diagram)
    app.add_directive("json-schema", JsonSchema)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
