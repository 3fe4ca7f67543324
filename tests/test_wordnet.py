"""Example sentences of a dictionary, and how they are spoken; two lines stand for WordNet."""

import pytest

from asrscope.features import log_mel
from asrscope_recipe.wordnet import Spoken, example_sentences

LINES = (
    "  1 This software is provided to you\n"
    '00001740 03 n 01 chance 0 000 | a risk; "he gave me a very good chance"; "too short"\n'
    '00001741 03 n 01 brook 0 000 | a stream; "he saw 3 brooks run by"; "the brook runs on"--A. Poet\n'
)


@pytest.fixture
def dictionary(tmp_path):
    for kind in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{kind}").write_text(LINES if kind == "noun" else "", encoding="latin-1")
    return tmp_path


def test_examples_of_some_words_are_written_as_people_write(dictionary):
    assert sorted(example_sentences(dictionary)) == ["He gave me a very good chance.", "The brook runs on."]


def test_without_a_dictionary_the_package_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt-get install wordnet-base"):
        example_sentences(tmp_path)


def test_a_sentence_is_spoken_alike_each_time(synthesizers, dictionary):
    sentences = example_sentences(dictionary)
    spoken = Spoken(sentences, lambda waveform: log_mel(waveform, 80))
    assert [name for name, _ in spoken.rows(1)] == sentences[1:]
    one, two = (spoken.read(sentences[0]) for _ in range(2))
    assert one.text == sentences[0]
    assert len(one.log_mel) > 50
    assert one.log_mel.shape == two.log_mel.shape
    assert spoken.identity != Spoken(sentences[:1], spoken.features).identity
