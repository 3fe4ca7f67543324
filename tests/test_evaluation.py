"""An evaluation reads what people have, counts what went wrong, and hides no failure."""

import json

import numpy as np
import pytest

from asrscope.audio import wav_bytes
from asrscope.evaluation import Utterance, evaluate, read_utterances

SECONDS = 0.25


@pytest.fixture
def clip(tmp_path):
    """Write a clip whose length tells which one it is."""

    def write(name, seconds=SECONDS):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(wav_bytes(0.3 * np.sin(np.arange(round(16_000 * seconds)) / 5).astype(np.float32)))
        return path

    return write


def write_manifest(path, entries):
    path.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n", encoding="utf-8")
    return path


# Reading ----------------------------------------------------------------------------------------------------


def test_a_manifest_is_read_with_paths_relative_to_it(tmp_path):
    manifest = write_manifest(
        tmp_path / "list.jsonl",
        [
            {"file": "a.wav", "text": "one", "voice": "slt", "seconds": 1.5},
            {"audio": "below/b.wav", "text": "two"},
        ],
    )
    assert read_utterances(manifest) == (
        Utterance("a.wav", tmp_path / "a.wav", "one", "slt"),
        Utterance("below/b.wav", tmp_path / "below/b.wav", "two", None),
    )


def test_empty_lines_and_a_byte_order_mark_are_no_entries(tmp_path):
    path = tmp_path / "list.jsonl"
    path.write_text('\ufeff{"file": "a.wav", "text": "one"}\n\n', encoding="utf-8")
    assert [utterance.text for utterance in read_utterances(path)] == ["one"]


def test_a_folder_is_read_with_its_transcripts(clip, tmp_path):
    clip("b.wav").with_suffix(".txt").write_text("second\n", encoding="utf-8")
    clip("a/a.wav").with_suffix(".txt").write_text("first\n", encoding="utf-8")
    assert [(u.name, u.text) for u in read_utterances(tmp_path)] == [
        ("a/a.wav", "first"),
        ("b.wav", "second"),
    ]


def test_a_recording_without_a_transcript_is_named(clip, tmp_path):
    clip("b.wav")
    with pytest.raises(ValueError, match=r"b\.wav: expected its transcript beside it in b\.txt"):
        read_utterances(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"file": "a.wav", "text": "one"}\nnot json\n', "line 2: expected one JSON object a line"),
        (b'["a.wav", "one"]\n', "line 1: expected a JSON object, but found list"),
        (b'{"file": "a.wav"}\n', r"line 1: expected the strings .* but found \['file'\]"),
        (b'{"file": 5, "text": "one"}\n', "line 1: expected the strings"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"\n", "no utterances found"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "list.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_utterances(path)


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl: there is no such file or folder"):
        read_utterances(tmp_path / "nothing.jsonl")


# Evaluating -------------------------------------------------------------------------------------------------


@pytest.fixture
def evaluation(clip, tmp_path):
    """Three clips, recognized by their length, and one file that is no clip."""
    answers = {}
    entries = [
        ("one.wav", "the cat sat down", "slt", "the cat sat down"),
        ("two.wav", "a red house", "slt", "a read house yes"),
        ("three.wav", "birds sing", "awb", ""),
    ]
    utterances = []
    for index, (name, said, voice, written) in enumerate(entries):
        seconds = SECONDS * (1 + index)
        utterances.append(Utterance(name, clip(name, seconds), said, voice))
        answers[round(seconds * 16_000)] = written
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    utterances.insert(1, Utterance("bad.wav", tmp_path / "bad.wav", "never heard", "awb"))
    return evaluate(utterances, lambda waveform: answers[len(waveform)])


def test_errors_are_counted_over_the_words_of_the_clips_that_could_be_read(evaluation):
    assert (evaluation.errors.words, evaluation.errors.substitutions) == (9, 1)
    assert (evaluation.errors.insertions, evaluation.errors.deletions) == (1, 2)
    assert evaluation.errors.rate == pytest.approx(4 / 9)
    low, high = evaluation.interval
    assert low < 4 / 9 < high


def test_a_clip_that_cannot_be_read_is_reported_and_counts_in_no_rate(evaluation):
    assert [result.utterance.name for result in evaluation.failures] == ["bad.wav"]
    assert "looks like text" in evaluation.failures[0].failure
    assert "bad.wav" in evaluation.to_text()


def test_each_voice_has_its_own_rate(evaluation):
    assert {voice: errors.rate for voice, errors in evaluation.by_voice.items()} == {
        "awb": 1.0,
        "slt": pytest.approx(2 / 7),
    }


def test_the_worst_come_first_and_the_right_never(evaluation):
    assert [result.utterance.name for result in evaluation.worst()] == ["three.wav", "two.wav"]
    assert len(evaluation.worst(1)) == 1


def test_the_text_sets_said_above_written(evaluation):
    lines = evaluation.to_text().splitlines()
    said = next(index for index, line in enumerate(lines) if "a RED" in line)
    assert lines[said].split() == ["said", "a", "RED", "house", "***"]
    assert lines[said + 1].split() == ["written", "a", "READ", "house", "YES"]
    assert lines[said].index("house") == lines[said + 1].index("house")
    assert lines[0].startswith("WER 44.4%")


def test_the_json_holds_the_same_numbers_and_every_clip(evaluation):
    record = json.loads(json.dumps(evaluation.to_dict()))
    assert record["wer"] == evaluation.errors.rate
    assert [record["wer_low"], record["wer_high"]] == list(evaluation.interval)
    assert record["utterances"] == len(record["results"]) == 3
    assert record["audio_seconds"] == pytest.approx(6 * SECONDS)
    assert record["by_voice"]["awb"]["deletions"] == 2
    assert [failure["file"] for failure in record["failures"]] == ["bad.wav"]
    assert record["results"][1]["text"] == "a read house yes"


def test_progress_is_reported_for_every_clip(clip):
    seen = []
    evaluate(
        [Utterance("a.wav", clip("a.wav"), "yes")] * 3,
        lambda waveform: "yes",
        on_result=lambda result: seen.append(result.text),
    )
    assert seen == ["yes"] * 3


def test_a_recognizer_that_refuses_a_clip_does_not_stop_the_rest(clip):
    def recognize(waveform):
        if len(waveform) > 16_000:
            raise ValueError("too long")
        return "yes"

    utterances = [
        Utterance(name, clip(name, seconds), "yes") for name, seconds in [("a.wav", 2), ("b.wav", 1)]
    ]
    evaluation = evaluate(utterances, recognize)
    assert [result.failure for result in evaluation.results] == ["too long", None]
    assert evaluation.errors.rate == 0


def test_rates_of_nothing_are_refused(tmp_path):
    evaluation = evaluate([Utterance("x.wav", tmp_path / "x.wav", "yes")], lambda waveform: "yes")
    with pytest.raises(ValueError, match="found none"):
        evaluation.to_dict()
