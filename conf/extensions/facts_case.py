"""What the pages say of the case that the classes follow: its words."""

from facts import Fact

from asrscope_course.case import find_case, merged

Facts = dict[str, Fact]


def case() -> Facts:
    """Return the word that was said, how it was spelled, and what was written."""
    found = find_case()
    name = f"asrscope_course.case.find_case: {found.sample.name}"
    return {
        "case.said": Fact(found.said, f"{name}: the word that was said"),
        "case.written": Fact(found.written.text, f"{name}: the word that was written"),
        "case.reading": Fact(
            merged(found.spelling), f"{name}: nearest text tokens within the word, without pauses and repeats"
        ),
    }
