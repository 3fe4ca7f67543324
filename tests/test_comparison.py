"""What the model is set beside: pocketsphinx really runs, digits are found and scored by a stated rule."""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from asrscope.audio import load_audio, wav_bytes
from asrscope.audio.samples import load_sample, load_samples
from asrscope.recognition.metrics import Evaluation, Result, Utterance, evaluate
from asrscope_recipe.comparison import (
    DIGITS,
    count_right,
    listen,
    load_peer,
    spoken_digits,
)


@pytest.fixture(scope="module")
def peer():
    return load_peer("pocketsphinx")


@pytest.fixture(scope="module")
def flite_clips():
    """Shipped clips of the voice that sounds most like a person."""
    samples = [sample for sample in load_samples() if sample.voice.startswith("flite")]
    return [Utterance(sample.name, sample.path, sample.text, sample.voice) for sample in samples]


def test_pocketsphinx_writes_most_words_of_clear_speech(peer, flite_clips):
    evaluation = evaluate(flite_clips, peer.recognize)
    assert len(evaluation.scored) == len(flite_clips) >= 2
    assert evaluation.errors.rate < 0.5


def test_a_result_does_not_depend_on_the_clips_before(peer, rng):
    first, other = (load_audio(load_sample(name).path) for name in ("milk", "river"))
    text = peer.recognize(first)
    assert text
    assert peer.recognize(other) != text
    peer.recognize(rng.normal(0, 0.3, 16_000).astype(np.float32))
    assert peer.recognize(first) == text


@pytest.mark.parametrize("samples", [1, 1_600, 16_000])
def test_pocketsphinx_makes_no_sentence_of_silence(peer, samples):
    assert len(peer.recognize(np.zeros(samples, dtype=np.float32)).split()) <= 1


def test_the_peer_says_what_it_is(peer):
    assert (peer.name, peer.version, peer.model) == ("pocketsphinx", version("pocketsphinx"), "en-us")
    assert peer.model_bytes > 10_000_000  # a large vocabulary needs a large model


def test_a_missing_pocketsphinx_is_reported_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ImportError, match="pip install pocketsphinx"):
        load_peer("pocketsphinx")


def test_an_unknown_recognizer_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="out of pocketsphinx, but found 'kaldi'"):
        load_peer("kaldi")


# Digits -----------------------------------------------------------------------------------------------------


@pytest.fixture
def record(tmp_path):
    def write(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(wav_bytes(np.full(1_600, 0.1, dtype=np.float32)))
        return tmp_path

    return write


def test_the_first_digit_that_stands_alone_counts(record):
    folder = record("7_jackson_0.wav", "set_0_nicolas_7.wav", "below/take-3.wav", "two words 8.flac")
    said = {utterance.name: utterance.text for utterance in spoken_digits(folder)}
    assert said == {
        "7_jackson_0.wav": "seven",
        "set_0_nicolas_7.wav": "zero",
        "take-3.wav": "three",
        "two words 8.flac": "eight",
    }


def test_recordings_of_something_else_are_left_out(record):
    folder = record("speech.wav", "take12_anna.wav", "5_anna_1.wav")
    assert [utterance.name for utterance in spoken_digits(folder)] == ["5_anna_1.wav"]


def test_a_folder_without_digits_is_refused(record):
    with pytest.raises(FileNotFoundError, match="no recordings of digits found"):
        spoken_digits(record("speech.wav"))


def is_right(said, written):
    return count_right(Evaluation((Result(Utterance("x", Path("x.wav"), said), written, 1.0, 0.1),))) == 1


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_is_right_as_a_word_or_a_figure(digit):
    assert is_right(DIGITS[digit], DIGITS[digit])
    assert is_right(DIGITS[digit], f"{digit}.")
    assert not is_right(DIGITS[digit], DIGITS[digit - 1])


@pytest.mark.parametrize("written", ["", "seven seven", "seven of them", "heaven"])
def test_all_of_the_text_must_be_the_digit(written):
    assert not is_right("seven", written)


def test_what_could_not_be_read_ends_the_comparison(record):
    (utterance,) = spoken_digits(record("7_anna_1.wav"))
    utterance.audio.write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"7_anna_1\.wav: echo failed: .* looks like text"):
        listen({"echo": lambda _: "seven"}, {"digits": [utterance]})
