"""An evaluation reads what people have, counts what went wrong, and hides no failure."""

import json
from pathlib import Path

import numpy as np
import pytest

from asrscope.audio import wav_bytes
from asrscope.recognition.metrics import (
    AlignedWord,
    Evaluation,
    Result,
    Utterance,
    bootstrap_interval,
    evaluate,
    read_utterances,
)

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


def test_lines_of_a_manifest_end_at_line_feeds_alone(tmp_path):
    """A text may hold what Python, but not JSON, takes for the end of a line."""
    texts = ["one\u2028two", "three\x85four", "five\x0bsix"]
    path = tmp_path / "list.jsonl"
    lines = [json.dumps({"file": "a.wav", "text": text}, ensure_ascii=False) for text in texts]
    path.write_text("\r\n".join(lines), encoding="utf-8", newline="")
    assert [utterance.text for utterance in read_utterances(path)] == texts


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
        (
            b'{"file": "a.wav", "text": "one", "end_time": 2.5}\n',
            "line 1: expected pieces .* found.*'end_time'",
        ),
        (b'{"file": "a.wav", "text": "one", "start": 0, "duration": 1}\n', "line 1: .*but found.*'start'"),
        (b'{"file": "a.wav", "text": "one", "offset": 1, "end": 2}\n', "line 1: .*but found.*'end'"),
        (b'{"file": "a.wav", "text": "one", "offset": "1 s"}\n', "line 1: expected .* in seconds.*'1 s'"),
        (b'{"file": "a.wav", "text": "one", "offset": -1}\n', "line 1: expected .* in seconds"),
        (b'{"file": "a.wav", "text": "one", "offset": NaN}\n', "line 1: expected .* in seconds"),
        (b'{"file": "a.wav", "text": "one", "offset": 0, "duration": 0}\n', "line 1: expected .* in seconds"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"\n", "no utterances found"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "list.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_utterances(path)


def test_a_piece_of_a_recording_is_what_is_recognized(clip, tmp_path):
    """Offset and duration of a row, as such manifests have them; a duration alone is the recording's own."""
    clip("a.wav", 3.0)
    pieces = [
        ({"offset": 0, "duration": 0.75}, 0.75),
        ({"offset": 1.5, "duration": 0.5}, 0.5),
        ({"offset": 2}, 1.0),
        ({"offset": 2.5, "duration": 10}, 0.5),
        ({"offset": None, "duration": 1}, 3.0),
        ({"duration": 2.996}, 3.0),
        ({"offset": 3.5, "duration": 1}, 0.0),
    ]
    entries = [{"file": "a.wav", "text": "one", **keys} for keys, _ in pieces]
    results = evaluate(
        read_utterances(write_manifest(tmp_path / "list.jsonl", entries)), lambda _: "one"
    ).results
    assert [result.audio_seconds for result in results] == [seconds for _, seconds in pieces]
    assert [result.failure for result in results[:-1]] == [None] * 6
    assert "too short to have a piece at 3.5 s" in results[-1].failure


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


def test_a_clip_that_cannot_be_read_is_reported_and_counts_in_no_rate(evaluation):
    assert [result.utterance.name for result in evaluation.failures] == ["bad.wav"]
    assert "looks like text" in evaluation.failures[0].failure
    assert "bad.wav" in evaluation.to_text()


def test_each_voice_has_its_own_rate(evaluation):
    assert {voice: group.errors.rate for voice, group in evaluation.by_voice.items()} == {
        "awb": 1.0,
        "slt": pytest.approx(2 / 7),
    }
    assert list(evaluation.by_voice) == ["slt", "awb"]  # that with most words first


def test_the_worst_come_first_and_the_right_never(evaluation):
    assert [result.utterance.name for result in evaluation.worst()] == ["three.wav", "two.wav"]
    assert len(evaluation.worst(1)) == 1


def test_the_text_sets_said_above_written(evaluation):
    lines = evaluation.to_text().splitlines()
    said = next(index for index, line in enumerate(lines) if "red house" in line)
    assert lines[said].split() == ["REF:", "a", "red", "house", "***"]
    assert lines[said + 1].split() == ["HYP:", "a", "read", "house", "yes"]
    assert lines[said + 2].split() == ["S", "I"]
    assert lines[said].index("house") == lines[said + 1].index("house")
    assert lines[0].startswith("WER 44.4%")


def test_the_json_holds_the_same_numbers_and_every_clip(evaluation):
    record = json.loads(json.dumps(evaluation.to_dict()))
    assert record["wer"] == evaluation.errors.rate
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


# Parts of a collection --------------------------------------------------------------------------------------


@pytest.fixture
def made_up():
    """Build an evaluation of texts that nobody spoke: (said, written, seconds, voice) each."""

    def build(*rows):
        return Evaluation(
            tuple(
                Result(Utterance(f"{index}.wav", Path(f"{index}.wav"), said, voice), written, seconds, 0.1)
                for index, (said, written, seconds, voice) in enumerate(rows)
            )
        )

    return build


def test_a_voice_has_the_interval_of_its_utterances_where_these_allow_one(made_up):
    rows = [
        ("red green blue house", written, 1.5, "slt")
        for written in ["red green blue", "red green blue house"]
    ]
    every = made_up(*rows, *rows, *rows)
    enough, few = every.by_voice["slt"], made_up(*rows).by_voice["slt"]
    low, high = every.interval
    assert f"WER 12.5% (95% interval {low:.1%} to {high:.1%})" in every.to_text()
    assert (every.to_dict()["wer_low"], every.to_dict()["wer_high"]) == (low, high)
    assert enough.interval == bootstrap_interval([result.errors for result in enough.results])
    assert enough.interval[0] < enough.errors.rate < enough.interval[1]
    assert few.interval is None
    assert few.rates()["wer_low"] is None
    assert "slt: 12.5% of 8 words" in made_up(*rows).to_text()
    right = made_up(*[rows[1]] * 20).by_voice["slt"]
    assert right.interval is None  # drawing only right ones again can give nothing but 0
    assert Evaluation(()).interval is None


def test_the_commonest_errors_come_first(made_up):
    evaluation = made_up(
        ("a cat sat", "the cat sat", 1.0, None),
        ("a dog sat", "the dog sat", 1.0, None),
        ("birds sing", "the birds song", 1.0, None),
        ("trees grow here", "trees grow", 1.0, None),
    )
    assert list(evaluation.confusions.items()) == [
        (AlignedWord("substitute", "a", "the"), 2),
        (AlignedWord("insert", None, "the"), 1),
        (AlignedWord("delete", "here", None), 1),
        (AlignedWord("substitute", "sing", "song"), 1),
    ]
    assert evaluation.confusions.total() == evaluation.errors.errors
    assert evaluation.to_dict()["confusions"][:2] == [
        {"said": "a", "written": "the", "count": 2},
        {"said": None, "written": "the", "count": 1},
    ]
    lines = evaluation.to_text(worst=0).splitlines()
    assert lines[lines.index("=== SUBSTITUTIONS ===") + 1].split() == ["a", "-->", "the", "=", "2x"]
    left_out = made_up(*[("trees grow here", "trees grow", 1.0, None)] * 3).to_text().splitlines()
    assert left_out[left_out.index("=== DELETIONS ===") + 1].split() == ["here", "=", "3x"]


def test_many_voices_do_not_fill_the_terminal(made_up):
    evaluation = made_up(*(("red green", "red", 1.5, f"voice {index:02}") for index in range(30)))
    text = evaluation.to_text(worst=0)
    assert "voice 19" in text
    assert "voice 20" not in text
    assert "and 10 more with fewer words" in text
    assert len(evaluation.to_dict()["by_voice"]) == 30


def test_keys_of_the_json_do_not_vanish(evaluation):
    record = evaluation.to_dict()
    rates = {"wer", "words", "substitutions", "insertions", "deletions"}
    assert rates | {
        *("wer_low", "wer_high", "interval_confidence", "cer", "utterances", "audio_seconds", "seconds"),
        *("normalizer", "by_voice", "confusions", "results", "failures"),
    } == set(record)
    group = rates | {"utterances", "wer_low", "wer_high"}
    assert set(record["by_voice"]["awb"]) == group
    assert set(record["results"][0]) == rates | {
        *("file", "voice", "reference", "text", "audio_seconds", "seconds"),
    }


def test_rates_of_nothing_are_refused(tmp_path):
    evaluation = evaluate([Utterance("x.wav", tmp_path / "x.wav", "yes")], lambda waveform: "yes")
    with pytest.raises(ValueError, match="found none"):
        evaluation.to_dict()
