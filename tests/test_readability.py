"""Pages are written in plain sentences: short ones, without the phrases that say nothing."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if not {"gallery", "api"} & set(page.parts) and page.name not in {"changelog.md", "model-card.md"}
]
MEAN, LONGEST, EASE = 18, 45, 50  # words, words, points of the Flesch scale (higher is easier)
EMPTY = (
    r"—|delve|dive in(to)?\b|seamless|cutting.edge|state.of.the.art|game.chang|leverag|harness the|utili[sz]"
    r"|not (just|only|merely)\b[^.]*\bbut\b|it is important to note|it's worth noting|in today's|unlock"
    r"|simply put|in a nutshell|at the end of the day|let's\b|journey|powerful|exciting|!(?=\s|$)"
)


def sentences(text: str) -> list[str]:
    """Return the sentences of a page's prose, with facts, code and formulas as single words."""
    lines, closing = [], ""
    for line in text.splitlines():
        fence = re.match(r"`{3,}", line)
        if closing or (fence and "{objectives}" not in line and line != "```"):
            closing = "" if closing and line.rstrip() == closing else closing or fence[0]
        elif not fence:
            lines.append(line)
    text = "\n".join(lines)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"^\s*(\||#|:|\().*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*- \[[ x]\] (.*)$", r"\n\n\1\n\n", text, flags=re.MULTILINE)  # a choice, its reason
    text = re.sub(r"^\s*([-*]|\d+\.)\s+", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"\{term\}`([^`<]+)`|\{\w+\}`([^`<]+?)\s*<[^>]*>`", lambda m: m[1] or m[2], text)
    text = re.sub(r"\{[\w-]+\}`[^`]*`|`[^`]*`|\$[^$]*\$", "It", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        found += re.split(r"(?<=[.?!:;])[\"”*_]*\s+(?=[A-Z\"“*_(])", " ".join(paragraph.split()))
    return [sentence for sentence in found if len(words(sentence)) > 2]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_is_written_in_plain_sentences(page):
    text = page.read_text(encoding="utf-8")
    found = sentences(text)
    if len(found) < 10:  # a table or a list: too little to judge
        return
    spoken = [word for sentence in found for word in words(sentence)]
    mean = len(spoken) / len(found)
    ease = 206.835 - 1.015 * mean - 84.6 * sum(map(syllables, spoken)) / len(spoken)
    assert [sentence for sentence in found if len(words(sentence)) > LONGEST] == []
    assert mean < MEAN
    assert ease > EASE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_has_no_empty_phrases(page):
    prose = " ".join(sentences(page.read_text(encoding="utf-8")))
    assert [found[0] for found in re.finditer(EMPTY, prose, re.IGNORECASE)] == []
