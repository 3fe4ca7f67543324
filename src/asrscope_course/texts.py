"""The words of the exercises, which stand in Markdown files beside the modules that compute their answers.

An exercise begins with ``## 2.3 Title`` and the lines ``:objective:`` and ``:minutes:``. Its task follows,
then sections under ``### Hint``, ``### Program``, ``### Solution``, ``### Sample``, and lists:
``### Mistakes`` (``- name: why``), ``### Options`` and ``### Points`` (``- text``, and indented below it why,
or the words).
What stands in braces, as in ``{total:,}``, is filled with computed values; braces of programs are doubled.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Text", "load_texts"]

FOLDER = Path(__file__).parent
HEAD = re.compile(r"(\d+\.\d+) (.+)\n\n:objective: ([a-z]+)\n:minutes: (\d+)\n")
LISTS = ("Mistakes", "Options", "Points")


@dataclass(frozen=True)
class Text:
    """What an exercise says, as it stands in its file.

    Attributes
    ----------
    number, title, objective : str
        ``2.3``, a few words, and the name of the class's objective that it assesses.
    minutes : int
        That it takes a learner who has followed the class.
    sections : mapping of str to str
        Markdown by heading; the task under ``Task``, a program without its fence.
    items : mapping of str to tuple of pairs of str
        Of each list: the name or text of an item, and what is said of it.
    """

    number: str
    title: str
    objective: str
    minutes: int
    sections: Mapping[str, str]
    items: Mapping[str, tuple[tuple[str, str], ...]]

    def filled(self, **values: Any) -> "Text":
        """Put computed values where their names stand; a name without a value is a `KeyError`."""
        sections = {name: text.format_map(values) for name, text in self.sections.items()}
        items = {
            name: tuple((key.format_map(values), told.format_map(values)) for key, told in pairs)
            for name, pairs in self.items.items()
        }
        return replace(self, sections=sections, items=items)


@cache
def load_texts() -> dict[str, Text]:
    """Read all exercises, in order, by number."""
    found: dict[str, Text] = {}
    for path in sorted(FOLDER.glob("class_*.md")):
        for part in re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            text = _parse(part)
            found[text.number] = text
    return found


def _parse(part: str) -> Text:
    head = HEAD.match(part)
    if head is None:
        raise ValueError(f"expected a title, an :objective: and :minutes:, but found {part[:60]!r}")
    parts = re.split(r"^### (\w+)\n", part[head.end() :], flags=re.MULTILINE)
    blocks = {"Task": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}
    sections = {name: block.strip() for name, block in blocks.items() if name not in LISTS}
    if program := sections.get("Program"):
        sections["Program"] = program.removeprefix("```python\n").removesuffix("\n```")
    items = {
        name: tuple(map(_item, blocks[name].strip()[2:].split("\n- "))) for name in LISTS if name in blocks
    }
    return Text(head[1], head[2], head[3], int(head[4]), sections, items)


def _item(text: str) -> tuple[str, str]:
    """Cut an item at its first colon if it starts with a name, otherwise at the end of its first line."""
    named = re.match(r"(\w+): ", text)
    first, told = (named[1], text[named.end() :]) if named else text.split("\n", 1)
    return first, " ".join(told.split())
