"""The case that the classes follow is found by its rules, and missed in words that a reader understands."""

from dataclasses import replace

import pytest

from asrscope_course import case
from asrscope_course.case import find_case, merged


def test_a_spelling_is_read_as_ctc_is_read():
    assert merged("--hh-ee-l-lllo-") == "hello"
    assert merged(["w", "", "", "e"]) == "we"


def test_the_case_is_one_word_for_one_that_was_spelled_as_it_was_said():
    found = find_case()
    said, written = found.sample.text.split(), found.trace.text.split()
    assert said[: found.index] == written[: found.index]
    assert said[found.index] != written[found.index]
    assert said[found.index + 1] == written[found.index + 1]
    assert merged(found.spelling) == found.said == said[found.index]


def test_the_chance_of_the_written_word_is_the_one_in_the_trace():
    found = find_case()
    assert found.chance(found.written.text) == pytest.approx(found.written.probability, rel=1e-3)


def test_without_a_case_the_message_says_what_is_missing(monkeypatch):
    found = find_case()
    right = replace(
        found.trace, words=tuple(replace(found.written, text=word) for word, *_ in found.sample.words)
    )
    monkeypatch.setattr(case, "load_samples", lambda: (found.sample,))
    monkeypatch.setattr(case, "trace", lambda *_args, **_kwargs: right)
    with pytest.raises(LookupError, match="no shipped clip has a word that is spelled as it was said"):
        find_case.__wrapped__()
