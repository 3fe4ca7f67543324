"""The clips that the package ships to train a projector on."""

import hashlib
import json

import numpy as np
import pytest

from asrscope.audio import load_audio
from asrscope.audio.samples import load_samples
from asrscope_recipe import lesson as module
from asrscope_recipe.lesson import LESSON, load_lesson, make_lesson
from asrscope_recipe.sentences import split_of
from asrscope_recipe.synthesis import TRAIN_VOICES


@pytest.fixture(scope="module")
def lesson():
    return load_lesson(n_mels=80)


@pytest.fixture(scope="module")
def manifest():
    return json.loads((LESSON / "lesson.json").read_text(encoding="utf-8"))


def test_no_sentence_to_test_on_is_trained_on_anywhere(lesson):
    assert {split_of(text) for text in lesson["train"].texts} == {"train"}
    assert {split_of(text) for text in lesson["held-out"].texts} == {"test"}
    assert not {sample.text for sample in load_samples()} & set(lesson["train"].texts)


def test_every_voice_is_one_to_train_on(manifest):
    known = {f"{synthesizer} {name}" for synthesizer, names in TRAIN_VOICES.items() for name in names}
    for described in manifest["sets"].values():
        voices = {clip["voice"] for clip in described["clips"]}
        assert voices <= known
        assert {voice.split()[0] for voice in voices} == set(TRAIN_VOICES)


def test_there_are_some_hundred_clips_in_little_room(lesson):
    assert len(set(lesson["train"].texts)) == len(lesson["train"].texts) >= 300
    assert len(set(lesson["held-out"].texts)) == len(lesson["held-out"].texts) >= 40
    assert sum(path.stat().st_size for path in LESSON.iterdir()) < 3_000_000


def test_the_spectrograms_have_the_length_of_the_sound(lesson, manifest):
    for name, clips in lesson.items():
        read = [clips.read(row) for _, row in clips.rows()]
        assert [one.text for one in read] == clips.texts
        assert {one.log_mel.shape[1] for one in read} == {80}
        frames = sum(len(one.log_mel) for one in read)
        assert frames / 100 == pytest.approx(manifest["sets"][name]["seconds"], abs=0.02 * len(read))


def test_the_files_are_those_of_the_manifest_and_nothing_is_clipped(manifest):
    for described in manifest["sets"].values():
        path = LESSON / described["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == described["sha256"]
        warnings: list[str] = []
        load_audio(path, on_warning=warnings.append)
        assert warnings == []


def test_the_codec_leaves_each_clip_where_the_manifest_says(manifest):
    described = manifest["sets"]["held-out"]
    waveform = load_audio(LESSON / described["file"])
    for clip in described["clips"]:
        end = clip["first"] + clip["samples"]
        gap = waveform[end + module.GAP // 4 : end + module.GAP * 3 // 4]
        assert np.abs(gap).max() < 0.1 * np.abs(waveform[clip["first"] : end]).max()


def test_the_clips_can_be_made_again(synthesizers, manifest, tmp_path, monkeypatch):
    few = {name: (split, 3) for name, (split, _) in module.SETS.items()}
    monkeypatch.setattr(module, "SETS", few)
    made = json.loads(make_lesson(tmp_path).read_text(encoding="utf-8"))
    for name in few:
        shipped = manifest["sets"][name]["clips"][:3]
        assert [(clip["text"], clip["voice"]) for clip in made["sets"][name]["clips"]] == [
            (clip["text"], clip["voice"]) for clip in shipped
        ]
    found = load_lesson(n_mels=80, folder=tmp_path)
    assert [len(clips.texts) for clips in found.values()] == [3, 3]
