"""The glossary and the pages of the course belong together."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
GLOSSARY = (DOCS / "glossary.md").read_text(encoding="utf-8")
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page.name != "glossary.md"]
LINK = re.compile(r"\{term\}`(?:[^`<]*<([^>]+)>|([^`]+))`")


def entries() -> list[str]:
    """Return the terms of the glossary, in its order."""
    return re.findall(r"^([^\s:#].*)\n  \S", GLOSSARY.split(":::{glossary}\n")[1], re.MULTILINE)


def linked(text: str) -> set[str]:
    """Return the terms that a page links to."""
    return {" ".join((first or second).split()) for first, second in LINK.findall(text)}


def test_the_entries_stand_in_the_order_of_the_alphabet():
    found = entries()
    assert len(found) > 50
    assert found == sorted(set(found), key=str.casefold)


def test_links_are_read_with_and_without_a_text_of_their_own():
    assert linked("{term}`WER` and {term}`runners-up <runner-up>`, {term}`mel\nscale`") == {
        "WER",
        "runner-up",
        "mel scale",
    }


def test_every_term_is_linked_from_a_page_that_uses_it():
    used = set().union(*(linked(page.read_text(encoding="utf-8")) for page in PAGES))
    assert sorted(set(entries()) - used) == []


def test_every_class_links_its_terms():
    for page in sorted((DOCS / "course").glob("class-*.md")):
        body, terms = page.read_text(encoding="utf-8").split("\n## Terms\n")
        listed = linked(terms.split("\n## ")[0])
        assert len(listed) >= 5, page.name
        assert sorted(listed - linked(body)) == [], page.name
