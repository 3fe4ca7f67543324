"""Sentences: their vocabulary, their grammar, and the split between training and testing."""

import itertools
import random

import pytest

from asrscope_recipe.clips import CLIPS
from asrscope_recipe.sentences import (
    HAND_WRITTEN,
    WRITTEN,
    inflect,
    make_loose_sentence,
    make_sentence,
    sentences,
    split_of,
    vocabulary,
)
from asrscope_recipe.synthesis import HELD_OUT_VOICES, TRAIN_VOICES


def word_runs(text: str) -> set[tuple[str, ...]]:
    """Return all five words in a row."""
    words = text.split()
    return {tuple(words[first : first + 5]) for first in range(len(words) - 4)}


def test_the_vocabulary_has_at_least_a_thousand_words():
    assert len(vocabulary()) >= 1000
    assert all(set(word) <= set("abcdefghijklmnopqrstuvwxyz'") for word in vocabulary())


def test_every_sentence_is_made_of_the_vocabulary():
    rng = random.Random(3)
    known = set(vocabulary())
    for _ in range(2000):
        assert set(make_sentence(rng).split()) <= known


def test_loose_sentences_have_little_words_where_the_grammar_would_not_put_them():
    rng = random.Random(4)
    loose = [make_loose_sentence(rng) for _ in range(500)]
    assert all(2 <= len(sentence.split()) <= 14 for sentence in loose)
    pairs = {pair for sentence in loose for pair in itertools.pairwise(sentence.split())}
    drawn = [make_sentence(rng) for _ in range(500)]
    known = {pair for sentence in drawn for pair in itertools.pairwise(sentence.split())}
    assert len(pairs - known) > len(pairs) / 2


def test_sentences_for_training_are_of_all_three_kinds_and_filled():
    drawn = list(itertools.islice(sentences("train", 7), 3000))
    starts = {
        line.split(" {")[0] for line in WRITTEN if line.startswith(("the last bus", "there was nothing"))
    }
    assert all(any(sentence.startswith(start) for sentence in drawn) for start in starts)
    assert not any(set("{}.") & set(sentence) for sentence in drawn)
    letters = set("abcdefghijklmnopqrstuvwxyz' ")
    assert all(set(sentence) <= letters for sentence in drawn)


def test_no_sentence_written_for_training_shares_five_words_in_a_row_with_a_test_sentence():
    held_out = [*HAND_WRITTEN["dev"], *HAND_WRITTEN["test"]]
    tested = set().union(*(word_runs(sentence) for sentence in held_out))
    assert not any(word_runs(line) & tested for line in WRITTEN)


def test_equal_seeds_draw_equal_sentences_and_others_do_not():
    first, again, other = (list(itertools.islice(sentences("train", seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_no_test_sentence_is_ever_drawn_for_training():
    trained = set(itertools.islice(sentences("train", 0), 5000))
    assert not trained & set(itertools.islice(sentences("test", 0), 300))
    assert not trained & set(itertools.islice(sentences("dev", 0), 300))
    assert not trained & {*HAND_WRITTEN["dev"], *HAND_WRITTEN["test"]}


@pytest.mark.parametrize("split", ["dev", "test"])
def test_hand_written_sentences_are_held_out_whatever_their_hash(split):
    assert len(HAND_WRITTEN[split]) == len(set(HAND_WRITTEN[split])) == 100
    assert {split_of(sentence) for sentence in HAND_WRITTEN[split]} == {split}
    assert {word for sentence in HAND_WRITTEN[split] for word in sentence.split()} <= {*vocabulary(), "gets"}


def test_hand_written_sentences_to_measure_on_share_no_five_words_in_a_row_with_those_to_choose_by():
    shared = [word_runs(sentence) for sentence in HAND_WRITTEN["dev"]]
    assert not any(word_runs(sentence) & set().union(*shared) for sentence in HAND_WRITTEN["test"])


def test_no_voice_for_testing_is_heard_in_training():
    for synthesizer, names in HELD_OUT_VOICES.items():
        variants = {name.partition("+")[2] or name for name in names}
        trained = {name.partition("+")[2] or name for name in TRAIN_VOICES[synthesizer]}
        assert not variants & trained


def test_shipped_clips_are_held_out_sentences_in_at_least_two_held_out_voices():
    assert len(CLIPS) >= 6
    assert all(split_of(text) == "dev" for _, text, _ in CLIPS)
    assert len({voice.name for _, _, voice in CLIPS}) >= 2
    assert all(voice.name in HELD_OUT_VOICES[voice.synthesizer] for _, _, voice in CLIPS)


def test_words_are_inflected_as_english_spells_them():
    assert [inflect("stop", "past"), inflect("carry", "past"), inflect("see", "past")] == [
        "stopped",
        "carried",
        "saw",
    ]
    assert [inflect("make", "ing"), inflect("agree", "ing"), inflect("cut", "ing")] == [
        "making",
        "agreeing",
        "cutting",
    ]
    assert [inflect("watch", "s"), inflect("carry", "s"), inflect("go", "s")] == [
        "watches",
        "carries",
        "goes",
    ]
    assert [inflect("child", "plural"), inflect("city", "plural"), inflect("boy", "plural")] == [
        "children",
        "cities",
        "boys",
    ]
