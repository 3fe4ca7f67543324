"""Word errors are counted as a person would count them."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrscope.recognition.metrics import (
    AlignedWord,
    WordErrors,
    align_words,
    bootstrap_interval,
    character_error_rate,
    normalize,
    paired_difference,
    total_errors,
    word_errors,
)

SENTENCES = st.lists(st.sampled_from(["red", "green", "blue", "house", "tree"]), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, World!", "hello world"),
        ("I'm here", "i am here"),
        ("twenty one dogs", "21 dogs"),
        ("Mr. Smith", "mister smith"),
        ("well um yes", "well yes"),
        ("yes [laughs]", "yes"),
    ],
)
def test_texts_that_differ_only_in_writing_are_equal(one, other):
    assert normalize(one) == normalize(other)
    assert word_errors(one, other).errors == 0


def test_each_kind_of_error_is_counted():
    assert word_errors("the cat sat down", "the dog sat") == WordErrors(words=4, substitutions=1, deletions=1)
    assert word_errors("the cat", "the big cat") == WordErrors(words=2, insertions=1)


def test_an_alignment_shows_both_sides():
    assert align_words("the cat sat down", "a the dog sat") == (
        AlignedWord("insert", None, "a"),
        AlignedWord("equal", "the", "the"),
        AlignedWord("substitute", "cat", "dog"),
        AlignedWord("equal", "sat", "sat"),
        AlignedWord("delete", "down", None),
    )


def test_empty_texts_are_compared():
    assert word_errors("", "").rate == 0
    assert word_errors("", "two words") == WordErrors(words=0, insertions=2)
    assert word_errors("two words", "") == WordErrors(words=2, deletions=2)
    assert align_words("", "") == ()


@given(SENTENCES, SENTENCES)
def test_an_alignment_holds_every_word_and_every_error(reference, hypothesis):
    aligned = align_words(reference, hypothesis)
    errors = word_errors(reference, hypothesis)
    assert " ".join(step.reference for step in aligned if step.reference is not None) == reference
    assert " ".join(step.hypothesis for step in aligned if step.hypothesis is not None) == hypothesis
    assert sum(step.kind != "equal" for step in aligned) == errors.errors
    assert errors.words == len(reference.split())


def test_the_rate_of_a_collection_weighs_words_not_utterances():
    total = total_errors([WordErrors(words=9, substitutions=1), WordErrors(words=1, deletions=1)])
    assert total.rate == pytest.approx(0.2)


def test_insertions_can_lift_the_rate_above_one():
    assert word_errors("yes", "red green blue").rate == 3


def test_characters_are_counted_over_the_collection():
    assert character_error_rate(["cat", "dog"], ["cut", "dog"]) == pytest.approx(1 / 6)


def test_character_errors_need_equal_lengths_and_some_text():
    with pytest.raises(ValueError, match=r"as many hypotheses as references \(2\), but found 1"):
        character_error_rate(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="found none"):
        character_error_rate(["", ""], ["a", "b"])


def test_the_interval_holds_the_rate_and_narrows_with_more_utterances(rng):
    def utterances(count):
        return [WordErrors(words=8, substitutions=int(wrong)) for wrong in rng.binomial(8, 0.3, count)]

    few, many = utterances(20), utterances(2000)
    low, high = bootstrap_interval(few)
    assert low < total_errors(few).rate < high
    narrow_low, narrow_high = bootstrap_interval(many)
    assert narrow_high - narrow_low < (high - low) / 3


def test_the_interval_covers_the_true_rate_about_as_often_as_it_says(rng):
    covered = 0
    for seed in range(100):
        each = [WordErrors(words=8, deletions=int(wrong)) for wrong in rng.binomial(8, 0.3, 100)]
        low, high = bootstrap_interval(each, seed=seed)
        covered += low <= 0.3 <= high
    assert 85 <= covered <= 100


def test_the_interval_is_the_same_every_time():
    each = [WordErrors(words=5, substitutions=k % 3) for k in range(30)]
    assert bootstrap_interval(each) == bootstrap_interval(each)


def test_equal_utterances_have_an_interval_of_width_zero():
    low, high = bootstrap_interval([WordErrors(words=4, substitutions=1)] * 10)
    assert np.allclose([low, high], 0.25)


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="found none"):
        bootstrap_interval([])


def test_a_pair_decides_what_two_intervals_leave_open(rng):
    hard = rng.binomial(8, rng.uniform(0, 0.8, 200))  # clips differ far more than the two models do
    first = [WordErrors(words=9, substitutions=int(wrong) + 1) for wrong in hard]
    second = [WordErrors(words=9, substitutions=int(wrong + (rng.random() < 0.5))) for wrong in hard]
    one, two = bootstrap_interval(first), bootstrap_interval(second)
    assert one[0] < two[1]  # they overlap
    difference, low, high = paired_difference(first, second)
    assert difference == pytest.approx(total_errors(second).rate - total_errors(first).rate)
    assert low < difference < high < 0
    assert high - low < (one[1] - one[0]) / 3
    assert np.allclose(paired_difference(second, first), (-difference, -high, -low), atol=0.01)


def test_two_models_of_equal_skill_are_seldom_told_apart(rng):
    decided = 0
    for seed in range(100):
        first, second = (
            [WordErrors(words=8, deletions=int(wrong)) for wrong in rng.binomial(8, 0.3, 100)] for _ in "ab"
        )
        _, low, high = paired_difference(first, second, seed=seed)
        decided += not low <= 0 <= high
    assert 0 <= decided <= 15


def test_a_model_does_not_differ_from_itself():
    each = [WordErrors(words=5, substitutions=k % 3) for k in range(30)]
    assert paired_difference(each, each) == (0, 0, 0)


def test_models_that_heard_other_clips_are_not_compared():
    one, two = [WordErrors(words=3)], [WordErrors(words=4)]
    for other in (two, one * 2, []):
        with pytest.raises(ValueError, match="expected two models on the same utterances"):
            paired_difference(one, other)
    with pytest.raises(ValueError, match="found none"):
        paired_difference([], [])


def test_comparing_texts_imports_no_torch():
    code = "import sys; from asrscope.recognition import metrics as m; m.word_errors('a', 'b')"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
