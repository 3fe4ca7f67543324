"""What the pages say of the case that the classes follow: its words, and how likely the wrong one was."""

from facts import Fact

from asrscope_course.case import find_case, merged

Facts = dict[str, Fact]


def case() -> Facts:
    """Return the words of the case and the probability of the wrong one."""
    found = find_case()
    name = f"asrscope_course.case.find_case: {found.sample.name}"
    return {
        "case.said": Fact(found.said, f"{name}: the word that was said"),
        "case.written": Fact(found.written.text, f"{name}: the word that was written"),
        "case.spelling": Fact("".join(found.spelling), f"{name}: nearest text tokens within the word"),
        "case.reading": Fact(merged(found.spelling), f"{name}: the same without pauses and repeats"),
        "case.chance": Fact(found.written.probability, f"{name}: probability of what was written", ".2f"),
    }
