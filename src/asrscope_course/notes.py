"""Short Markdown texts that show themselves: as plain text in a terminal, as HTML in a notebook."""

import re
import textwrap
from dataclasses import dataclass

from markdown_it import MarkdownIt

__all__ = ["Feedback", "Listing", "Note", "plain"]

WIDTH = 88  # columns of plain text
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclass(frozen=True, repr=False)
class Note:
    """A text for a reader.

    Attributes
    ----------
    text : str
        Markdown: paragraphs, lists, fenced code.
    """

    text: str

    def __str__(self) -> str:
        """Give the text for a terminal."""
        return plain(self.text)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f'<div class="asrscope-exercise">{MARKDOWN.render(self.text)}</div>'


@dataclass(frozen=True, repr=False)
class Feedback(Note):
    """What `check` says to an answer.

    Attributes
    ----------
    text : str
        Markdown.
    right : bool or None
        Whether the answer is right; None where only its author can tell.
    """

    right: bool | None


@dataclass(frozen=True, repr=False)
class Listing(Note):
    """A table of exercises.

    Attributes
    ----------
    text : str
        Markdown.
    ids : tuple of str
        Their numbers.
    """

    ids: tuple[str, ...]


def plain(markdown: str) -> str:
    """Write Markdown as plain text of at most 88 columns; code and tables keep their lines.

    Parameters
    ----------
    markdown : str
        The text.

    Returns
    -------
    str
        Without marks for bold text and code blocks.
    """
    blocks = []
    for part in re.split(r"(^```.*?^```$)", markdown.strip(), flags=re.MULTILINE | re.DOTALL):
        if part.startswith("```"):
            code = part.partition("\n")[2].removesuffix("```")
            blocks.append(textwrap.indent(code.rstrip("\n"), "    "))
            continue
        for paragraph in re.split(r"\n\s*\n", part.strip("\n")):
            if paragraph.strip():
                blocks.append(_wrapped(paragraph.replace("**", "")))
    return "\n\n".join(blocks)


def _wrapped(paragraph: str) -> str:
    """Wrap a paragraph, the items of a list each for itself; rows of a table stay as they are."""
    if paragraph.lstrip().startswith("|"):
        return paragraph
    lines: list[str] = []
    for line in paragraph.split("\n"):
        starts = not lines or re.match(r"\s*([-*]|\d+\.|[A-Z]\.) ", line)
        if starts:
            lines.append(line.strip())
        else:
            lines[-1] += " " + line.strip()
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent=_indent(line), break_on_hyphens=False) for line in lines
    )


def _indent(line: str) -> str:
    mark = re.match(r"([-*]|\d+\.|[A-Z]\.) ", line)
    return " " * len(mark[0]) if mark else ""
