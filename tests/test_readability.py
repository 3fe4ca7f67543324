"""Pages are written in plain sentences that breathe: none too long, no row of stumps, no empty phrase."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if not {"gallery", "api"} & set(page.parts) and page.name not in {"changelog.md", "model-card.md"}
]
LONGEST, EASE = 50, 45  # words, points of the Flesch scale (higher is easier)
SHORT, IN_A_ROW = 8, 3  # words of a stump; more of them in a row read like a telegram
EMPTY = (
    r"—|delve|dive in(to)?\b|seamless|cutting.edge|state.of.the.art|game.chang|leverag|harness the|utili[sz]"
    r"|not (just|only|merely)\b[^.]*\bbut\b|it is important to note|it's worth noting|in today's|unlock"
    r"|\bin the places? of\b|\bmend(s|ed|ing)?\b|\bdearer\b|\bforesee"  # idioms that are none
    r"|simply put|in a nutshell|at the end of the day|let's\b|journey|powerful|exciting|!(?=\s|$)"
)


def paragraphs(text: str) -> list[list[str]]:
    """Return the sentences of a page's prose by paragraphs, with facts, code and formulas as single words."""
    lines, closing = [], ""
    for line in text.splitlines():
        fence = re.match(r"`{3,}", line)
        if closing or (fence and "{objectives}" not in line and line != "```"):
            closing = "" if closing and line.rstrip() == closing else closing or fence[0]
        elif not fence:
            lines.append(line)
    text = "\n".join(lines)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"\{holds\}`[^`]*`", "", text)  # a mark behind a sentence, no word of it
    text = re.sub(r"^\s*(\||#|:|\().*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*- \[[ x]\] (.*)$", r"\n\n\1\n\n", text, flags=re.MULTILINE)  # a choice, its reason
    text = re.sub(r"^\s*([-*]|\d+\.)\s+", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"\{term\}`([^`<]+)`|\{\w+\}`([^`<]+?)\s*<[^>]*>`", lambda m: m[1] or m[2], text)
    text = re.sub(r"\{[\w-]+\}`[^`]*`|`[^`]*`|\$[^$]*\$", "It", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(
        r"^\s*\*\*[^*]+\.\*\*\s", "", text, flags=re.MULTILINE
    )  # the name of an idea, before it is met
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        parts = re.split(r"(?<=[.?!:;])(?<!\b[A-Z]\.)[\"”*_]*\s+(?=[A-Z\"“*_(])", " ".join(paragraph.split()))
        found.append([sentence for sentence in parts if len(words(sentence)) > 2])
    return found


def sentences(text: str) -> list[str]:
    """Return the sentences of a page's prose."""
    return [sentence for paragraph in paragraphs(text) for sentence in paragraph]


def stumps(paragraph: list[str]) -> list[str]:
    """Return the longest row of short sentences."""
    longest: list[str] = []
    row: list[str] = []
    for sentence in paragraph:
        row = [*row, sentence] if len(words(sentence)) < SHORT else []
        longest = max(longest, row, key=len)
    return longest


def words(sentence: str) -> list[str]:
    """Return the words of a sentence."""
    return re.findall(r"[A-Za-z][A-Za-z'’-]*", sentence)


def syllables(word: str) -> int:
    """Estimate the syllables of an English word by its groups of vowels."""
    groups = re.findall(r"[aeiouy]+", word.lower())
    silent = word.lower().endswith("e") and not word.lower().endswith("le") and len(groups) > 1
    return max(1, len(groups) - silent)


def test_sentences_and_syllables_are_counted():
    page = "# A title\n\nOne short {term}`audio token`. Is it *two*? Yes, it is.\n\n```python\nx = 1\n```\n"
    assert sentences(page) == ["One short audio token.", "Is it *two*?", "Yes, it is."]
    assert [syllables(word) for word in ("token", "note", "table", "the", "encoder")] == [2, 1, 2, 1, 3]


def test_a_row_of_stumps_is_found():
    telegram = "It is here. One is there. They are two. We saw them all. Nobody asked why. So we went on."
    assert len(stumps(paragraphs(telegram)[0])) > IN_A_ROW
    breathing = telegram.replace("all. Nobody", "all, and nobody of those who were standing around")
    assert len(stumps(paragraphs(breathing)[0])) <= IN_A_ROW


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_is_written_in_plain_sentences(page):
    text = page.read_text(encoding="utf-8")
    found = sentences(text)
    if len(found) < 10:  # a table or a list: too little to judge
        return
    spoken = [word for sentence in found for word in words(sentence)]
    ease = 206.835 - 1.015 * len(spoken) / len(found) - 84.6 * sum(map(syllables, spoken)) / len(spoken)
    assert [sentence for sentence in found if len(words(sentence)) > LONGEST] == []
    assert [row for row in map(stumps, paragraphs(text)) if len(row) > IN_A_ROW] == []
    assert ease > EASE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_has_no_empty_phrases(page):
    prose = " ".join(sentences(page.read_text(encoding="utf-8")))
    assert [found[0] for found in re.finditer(EMPTY, prose, re.IGNORECASE)] == []
