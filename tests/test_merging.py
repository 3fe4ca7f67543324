"""Texts of windows that overlap, joined: nothing lost, nothing twice."""

import random

import pytest

from asrscope.recognition.transcribe import join_overlap, most_words

SENTENCE = [
    "the",
    "old",
    "captain",
    "told",
    "us",
    "a",
    "story",
    "about",
    "the",
    "sea",
    "while",
    "we",
    "walked",
    "along",
    "the",
    "river",
    "until",
    "the",
    "sun",
    "went",
    "down",
    "and",
    "she",
    "learned",
    "to",
    "play",
    "the",
    "piano",
    "when",
    "she",
    "was",
    "six",
]


def joined(left, right, limit=12):
    left, right = left.split(), right.split()
    stay, go = join_overlap(left, right, limit)
    return " ".join(left[:stay] + right[go:])


def test_words_that_both_windows_have_come_once():
    assert joined("we walked along the river until", "the river until the sun went") == (
        "we walked along the river until the sun went"
    )


def test_words_that_the_edges_cut_are_taken_from_the_window_that_has_them_whole():
    assert joined("told us a story about the se", "ory about the sea we walked") == (
        "told us a story about the sea we walked"
    )


def test_case_and_punctuation_do_not_hide_that_two_words_are_one():
    assert joined("It was late. The train", "late, the train had gone.") == "It was late. The train had gone."


def test_a_word_heard_differently_does_not_part_the_texts():
    assert joined("do you know the way to the", "now the weigh to the museum") == (
        "do you know the way to the museum"
    )


def test_a_word_that_occurs_again_outside_the_overlap_misleads_nobody():
    left = "the cat and the dog and the bird sat on the old wall"
    right = "on the old wall the cat and the dog slept"
    assert joined(left, right) == f"{left} the cat and the dog slept"


@pytest.mark.parametrize("right", ["entirely different things were heard", ""])
def test_texts_with_nothing_in_common_are_not_joined(right):
    assert join_overlap(["we", "walked", "along", "the", "river"], right.split(), 12) is None


def test_only_so_many_words_as_the_overlap_can_hold_are_compared():
    left = [*["once", "upon", "a", "time", "there", "was", "a", "king"], *["word"] * 9]
    right = [*["other"] * 9, *["once", "upon", "a", "time"]]
    assert join_overlap(left, right, most_words(1.0)) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_text_cut_into_overlapping_windows_with_broken_edges_comes_back(seed):
    rng = random.Random(seed)
    words, text, start = SENTENCE, [], 0
    while True:
        stop = min(len(words), start + rng.randint(8, 12))
        heard = list(words[start:stop])
        if start:
            heard[0] = heard[0][rng.randint(0, 1) :] or heard[0]
        if stop < len(words):
            heard[-1] = heard[-1][: max(1, len(heard[-1]) - 1)]
        if text:
            border = join_overlap(text, heard, most_words(1.0))
            assert border is not None
            text = text[: border[0]] + heard[border[1] :]
        else:
            text = heard
        if stop == len(words):
            break
        start = stop - rng.randint(4, 6)
    assert text == words
