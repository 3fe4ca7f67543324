"""Synthetic speech: real espeak-ng and flite where installed, and what is said where they are not."""

import itertools
import json
import random
import shutil
from dataclasses import replace

import librosa
import numpy as np
import pytest
import soundfile

from asrscope.audio.samples import load_samples
from asrscope.recognition.metrics import read_utterances
from asrscope_recipe import corpus, synthesis
from asrscope_recipe.clips import CLIPS, make_clips
from asrscope_recipe.corpus import CorpusRecipe
from asrscope_recipe.sentences import HAND_WRITTEN
from asrscope_recipe.synthesis import (
    HELD_OUT_VOICES,
    TRAIN_VOICES,
    Speech,
    Voice,
    random_voice,
    synthesize,
    training_voice,
)

SENTENCE = "the old captain told us a story out of the sea"
VOICES = (Voice("espeak-ng", "en-us+linda"), Voice("flite", "slt"))


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.synthesizer)
def test_words_have_times_in_order_within_the_clip(synthesizers, voice):
    speech = synthesize(SENTENCE, voice)
    assert [word for word, _, _ in speech.words] == SENTENCE.split()
    times = [time for _, start, end in speech.words for time in (start, end)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= len(speech.waveform) / 16_000


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.synthesizer)
def test_word_times_point_at_sound_and_pauses_at_silence(synthesizers, voice):
    speech = synthesize(SENTENCE, voice)
    power = np.convolve(speech.waveform**2, np.ones(800) / 800, "same")
    inside = np.concatenate([power[int(a * 16_000) : int(b * 16_000)] for _, a, b in speech.words])
    assert inside.mean() > power.mean() * 0.9
    assert np.abs(speech.waveform).max() <= 1


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.synthesizer)
def test_phones_cover_the_clip_without_overlap(synthesizers, voice):
    spans = synthesize(SENTENCE, voice).phones
    assert len(spans) > 20
    assert all(first[2] <= second[1] + 1e-9 for first, second in itertools.pairwise(spans))


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.synthesizer)
def test_a_larger_speaker_sounds_lower_and_speaks_as_fast(synthesizers, voice):
    own, large = (synthesize(SENTENCE, replace(voice, size=size)) for size in (1.0, 1.2))
    assert len(large.waveform) == pytest.approx(len(own.waveform), rel=0.1)
    assert large.words[-1][2] == pytest.approx(own.words[-1][2], rel=0.1)
    assert large.phones[-1][2] == pytest.approx(len(large.waveform) / 16_000, abs=0.3)
    assert median_pitch(large) == pytest.approx(median_pitch(own) / 1.2, rel=0.08)


def test_a_recorded_voice_takes_another_pitch(synthesizers):
    for hertz in (90, 130, 210):
        voice = Voice("flite", "slt", hertz=hertz, size=1.1)
        assert median_pitch(synthesize(SENTENCE, voice)) == pytest.approx(hertz, rel=0.08)


def median_pitch(speech) -> float:
    return float(np.nanmedian(librosa.pyin(speech.waveform, fmin=60, fmax=400, sr=16_000)[0]))


def test_most_voices_for_training_are_disguised_and_none_is_held_out():
    rng = random.Random(0)
    drawn = [training_voice(rng) for _ in range(1000)]
    changed = [voice for voice in drawn if voice.size != 1.0]
    assert len(changed) > 500
    assert {voice.synthesizer for voice in changed if voice.hertz} == {"flite"}
    assert all(80 <= voice.hertz <= 240 for voice in changed if voice.hertz)
    assert all(voice.name in TRAIN_VOICES[voice.synthesizer] for voice in drawn)
    flite = [voice.name for voice in drawn if voice.synthesizer == "flite"]
    assert set(flite) == set(TRAIN_VOICES["flite"])
    assert sum(name in synthesis.RECORDED_VOICES for name in flite) > len(flite) / 2


def test_every_voice_is_known_to_its_synthesizer(synthesizers):
    for voices in (TRAIN_VOICES, HELD_OUT_VOICES):
        for synthesizer, names in voices.items():
            for name in names if synthesizer == "flite" else names[::23]:
                assert synthesize("hello", Voice(synthesizer, name)).waveform.size > 2000


def test_an_unknown_voice_is_an_error_that_tells_how_to_list_them(synthesizers):
    with pytest.raises(ValueError, match=r"knows no voice 'nobody'.*espeak-ng --voices"):
        synthesize("hello", Voice("espeak-ng", "nobody"))


def test_the_shipped_clips_can_be_made_again(synthesizers, tmp_path):
    made = json.loads(make_clips(tmp_path).read_text(encoding="utf-8"))
    shipped = load_samples()
    assert [clip["text"] for clip in made["clips"]] == [sample.text for sample in shipped]
    for clip, sample in zip(made["clips"], shipped, strict=True):
        # Another release of a synthesizer may speak a little faster; it says the same.
        assert clip["seconds"] == pytest.approx(soundfile.info(sample.path).duration, rel=0.2)
        assert [word for word, _, _ in clip["words"]] == [word for word, _, _ in sample.words]


def make_shards(folder, shards, monkeypatch, **how):
    """Make shards alone, each in a process of its own; returns the utterances of each."""
    monkeypatch.setattr(corpus, "TEST_SETS", {})
    corpus.make_corpus(folder, CorpusRecipe(shards=shards, **how))
    return corpus.load_shards(folder / "shards")


def test_a_shard_is_the_same_each_time_it_is_made(synthesizers, tmp_path, monkeypatch):
    one, two = (
        make_shards(tmp_path / name, count, monkeypatch, utterances=5)[0]
        for name, count in (("one", 2), ("two", 1))
    )
    assert one.utterances == two.utterances  # with the hash of every waveform
    assert np.array_equal(one.log_mel, two.log_mel)
    assert np.array_equal(one.phones, two.phones)
    assert one.log_mel.shape[0] == 2 * len(one.phones) == sum(u["frames"] for u in one.utterances)


def test_a_clear_corpus_has_no_disguise_and_no_codec(synthesizers, tmp_path, monkeypatch):
    clear, usual = (
        make_shards(tmp_path / name, 1, monkeypatch, utterances=30, clear=name == "clear")[0].utterances
        for name in ("clear", "usual")
    )
    how = [{(line["size"], line["hertz"], line["codec"]) for line in lines} for lines in (clear, usual)]
    assert how[0] == {(1.0, None, None)} < how[1]
    assert {line["synthesizer"] for line in clear} == {"espeak-ng", "flite"}


def test_finished_shards_are_kept(synthesizers, tmp_path, monkeypatch):
    make_shards(tmp_path, 1, monkeypatch, utterances=2)
    before = (tmp_path / "shards" / "00000.mel.npy").stat().st_mtime_ns
    assert len(make_shards(tmp_path, 2, monkeypatch, utterances=2)) == 2
    assert (tmp_path / "shards" / "00000.mel.npy").stat().st_mtime_ns == before


def make_sets(folder):
    corpus.make_corpus(folder, CorpusRecipe(shards=0, test_utterances=2))


def test_held_out_sets_come_with_manifests_that_evaluate_reads_and_finished_ones_are_kept(
    synthesizers, tmp_path, monkeypatch
):
    def digests(split):
        return {path.relative_to(split): path.read_bytes() for path in split.rglob("*.flac")}

    names = ("new-espeak-voices", "seen-voices")
    monkeypatch.setattr(corpus, "TEST_SETS", {name: corpus.TEST_SETS[name] for name in names})
    make_sets(tmp_path / "one")
    for split, name in itertools.product(("dev", "test"), names):
        assert len(read_utterances(tmp_path / "one" / split / name / "manifest.jsonl")) == 2
    shutil.copytree(tmp_path / "one" / "test" / "seen-voices", tmp_path / "two" / "test" / "seen-voices")
    kept = tmp_path / "two" / "test" / "seen-voices" / "000.flac"
    before = kept.stat().st_mtime_ns
    make_sets(tmp_path / "two")
    assert kept.stat().st_mtime_ns == before
    for split in ("dev", "test"):
        assert digests(tmp_path / "one" / split) == digests(tmp_path / "two" / split)
    assert digests(tmp_path / "one" / "dev") != digests(tmp_path / "one" / "test")


def test_of_the_sentences_written_by_hand_the_test_takes_all(monkeypatch, tmp_path):
    speech = Speech(np.zeros(160, np.float32), (), (("hello", 0.0, 0.01),))
    monkeypatch.setattr(corpus, "draw_utterance", lambda *_: (Voice("flite", "rms"), speech))
    found = {}
    for split in ("dev", "test"):
        manifest = tmp_path / split / "hand-written" / "manifest.jsonl"
        corpus.make_test_set(manifest, split, 3)
        found[split] = len(read_utterances(manifest))
    assert found == {"dev": 3, "test": len(HAND_WRITTEN["test"])}


def test_voices_are_drawn_from_those_given():
    rng = random.Random(0)
    drawn = {random_voice(rng, HELD_OUT_VOICES).name for _ in range(300)}
    assert drawn <= {name for names in HELD_OUT_VOICES.values() for name in names}
    assert len(drawn) > 10


def test_a_missing_flite_is_an_error_that_tells_how_to_install_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(OSError, match="apt-get install flite"):
        synthesize("hello", Voice("flite", "slt"))


def test_a_missing_espeak_is_an_error_that_tells_how_to_install_it(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(synthesis.ctypes, "CDLL", missing)
    monkeypatch.setattr(synthesis, "_library", synthesis._Espeak)
    with pytest.raises(OSError, match="apt-get install espeak-ng"):
        synthesize("hello", Voice("espeak-ng", "en"))


def test_shipped_words_have_the_synthesizers_times():
    for sample, (name, text, _) in zip(load_samples(), CLIPS, strict=True):
        assert (sample.name, sample.text) == (name, text)
        assert [word for word, _, _ in sample.words] == text.split()
        assert sample.words[-1][2] <= soundfile.info(sample.path).duration
