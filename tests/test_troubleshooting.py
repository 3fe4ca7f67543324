"""The page "Troubleshooting" quotes messages as the package words them."""

import ast
import re
from pathlib import Path

import pytest
import typer

import asrscope
from asrscope.cli.console import FAILED, expected_errors

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "course" / "troubleshooting.md"
VARYING = "…"


def quoted(text: str) -> list[str]:
    """Return the messages that the page explains: the terms of its definition lists."""
    return re.findall(r"^`(.+)`\n: ", text, re.MULTILINE)


def worded(program: str) -> set[str]:
    """Return the texts in a program, with one mark for each value that is put into them."""
    found = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else VARYING for part in node.values]
            found.add("".join(map(str, parts)))
    return found


def test_a_text_is_read_with_a_mark_for_each_value():
    program = 'raise ValueError(f"{name}: expected {n:g} s, "\n    "but found none")'
    assert f"{VARYING}: expected {VARYING} s, but found none" in worded(program)


def bare(message: str) -> str:
    """Leave out the name that a message begins or ends with: it may be put before it elsewhere."""
    return message.strip(f"{VARYING}: ")


def test_each_message_on_the_page_is_one_of_the_package():
    source = set()
    for module in Path(asrscope.__file__).parents[1].rglob("*.py"):
        source |= {bare(text) for text in worded(module.read_text(encoding="utf-8"))}
    messages = quoted(PAGE.read_text(encoding="utf-8"))
    assert len(messages) > 40
    assert [message for message in messages if bare(message) not in source] == []
    assert len(set(messages)) == len(messages)


def test_each_message_is_explained_in_words_of_its_own():
    for message, explained in re.findall(
        r"^`(.+)`\n: ((?:.+\n)+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        assert len(explained) > 10, message
        assert explained.strip() not in message


def test_errors_of_the_command_line_begin_as_the_page_says(capsys):
    with pytest.raises(typer.Exit) as ended, expected_errors():
        raise ValueError("clip.wav: the file is empty")
    text = PAGE.read_text(encoding="utf-8")
    assert capsys.readouterr().err.startswith("asrscope: error: ")
    assert "`asrscope: error:`" in text
    assert f"exit status {ended.value.exit_code}" in text
    assert ended.value.exit_code == FAILED
