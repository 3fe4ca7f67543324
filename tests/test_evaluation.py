"""An evaluation reads what people have, counts what went wrong, and hides no failure."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from asrscope.audio import wav_bytes
from asrscope.recognition.evaluate import (
    Evaluation,
    Group,
    Noise,
    Result,
    Utterance,
    add_noise,
    evaluate,
    read_utterances,
)
from asrscope.recognition.metrics import AlignedWord, bootstrap_interval, word_errors

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
    low, high = evaluation.interval
    assert low < 4 / 9 < high


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


# Parts of a collection --------------------------------------------------------------------------------------


@pytest.fixture
def made_up():
    """Build an evaluation of texts that nobody spoke: (said, written, seconds, voice) each."""

    def build(*rows, noisy=None):
        def results(rows):
            return tuple(
                Result(
                    Utterance(f"{index}.wav", Path(f"{index}.wav"), said, voice),
                    written,
                    word_errors(said, written),
                    seconds,
                    0.1,
                )
                for index, (said, written, seconds, voice) in enumerate(rows)
            )

        return Evaluation(results(rows), {noise: results(each) for noise, each in (noisy or {}).items()})

    return build


def test_lengths_are_counted_in_ranges_that_hold_their_lower_end(made_up):
    evaluation = made_up(
        ("red", "red", 0.5, None),
        ("green", "grey", 1.0, None),
        ("blue house", "blue mouse", 1.99, None),
        ("tree", "tree", 45.0, None),
    )
    assert {
        bounds: (len(group.results), group.errors.errors) for bounds, group in evaluation.by_length.items()
    } == {
        (0.0, 1.0): (1, 0),
        (1.0, 2.0): (2, 2),
        (30.0, float("inf")): (1, 0),
    }
    ranges = [(row["from_seconds"], row["below_seconds"]) for row in evaluation.to_dict()["by_length"]]
    assert ranges == [(0.0, 1.0), (1.0, 2.0), (30.0, None)]
    for name in ("below 1 s", "1 to 2 s", "30 s and longer"):
        assert name in evaluation.to_text()


def test_every_utterance_is_in_one_range_of_lengths(made_up, rng):
    evaluation = made_up(*(("red", "red", float(seconds), None) for seconds in rng.uniform(0.01, 60, 200)))
    assert sum(len(group.results) for group in evaluation.by_length.values()) == 200


def test_a_group_has_the_interval_of_its_utterances_where_these_allow_one(made_up):
    rows = [
        ("red green blue house", written, 1.5, "slt")
        for written in ["red green blue", "red green blue house"]
    ]
    enough, few = made_up(*rows, *rows, *rows).by_voice["slt"], made_up(*rows).by_voice["slt"]
    assert enough.interval == bootstrap_interval([result.errors for result in enough.results])
    assert enough.interval[0] < enough.errors.rate < enough.interval[1]
    assert few.interval is None
    assert few.to_dict()["wer_low"] is None
    right = made_up(*[rows[1]] * 20).by_voice["slt"]
    assert right.interval is None  # drawing only right ones again can give nothing but 0
    assert Group(()).interval is None


def test_the_commonest_errors_are_counted_by_kind(made_up):
    evaluation = made_up(
        ("a cat sat", "the cat sat", 1.0, None),
        ("a dog sat", "the dog sat", 1.0, None),
        ("birds sing", "the birds song", 1.0, None),
        ("trees grow here", "trees grow", 1.0, None),
    )
    assert evaluation.commonest("substitute") == (
        (AlignedWord("substitute", "a", "the"), 2),
        (AlignedWord("substitute", "sing", "song"), 1),
    )
    assert evaluation.commonest("substitute", least=2) == evaluation.commonest("substitute", 1)
    assert evaluation.commonest("insert") == ((AlignedWord("insert", None, "the"), 1),)
    assert evaluation.commonest("delete") == ((AlignedWord("delete", "here", None), 1),)
    assert evaluation.confusions.total() == evaluation.errors.errors
    assert evaluation.to_dict()["confusions"] == {
        "substitutions": [
            {"said": "a", "written": "the", "count": 2},
            {"said": "sing", "written": "song", "count": 1},
        ],
        "insertions": [{"written": "the", "count": 1}],
        "deletions": [{"said": "here", "count": 1}],
    }
    assert "the for a (2)" in evaluation.to_text()


def test_many_voices_do_not_fill_the_terminal(made_up):
    evaluation = made_up(*(("red green", "red", 1.5, f"voice {index:02}") for index in range(30)))
    text = evaluation.to_text(worst=0)
    assert "voice 19" in text
    assert "voice 20" not in text
    assert "and 10 voices with fewer words" in text
    assert len(evaluation.to_dict()["by_voice"]) == 30


def test_keys_of_the_json_do_not_vanish(evaluation):
    record = evaluation.to_dict()
    rates = {"wer", "words", "substitutions", "insertions", "deletions"}
    assert rates | {
        *("wer_low", "wer_high", "interval_confidence", "cer", "utterances", "audio_seconds", "seconds"),
        *("normalizer", "by_voice", "by_length", "by_noise", "confusions", "results", "failures"),
    } == set(record)
    group = rates | {"utterances", "wer_low", "wer_high"}
    assert set(record["by_voice"]["awb"]) == group
    assert set(record["by_length"][0]) == group | {"from_seconds", "below_seconds"}
    assert set(record["results"][0]) == rates | {
        *("file", "voice", "reference", "text", "audio_seconds", "seconds"),
    }


# Noise ------------------------------------------------------------------------------------------------------


def test_a_collection_is_recognized_again_with_each_noise(clip, tmp_path):
    utterances = [Utterance(name, clip(name), "yes") for name in ("a.wav", "b.wav")]
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    utterances.insert(1, Utterance("bad.wav", tmp_path / "bad.wav", "yes"))
    noises = [Noise("pink", 0.0), Noise("white", 0.0), Noise("pink", 20.0)]
    heard, seen = [], []

    def recognize(waveform):
        heard.append(waveform)
        power = np.square(waveform).mean()
        return "yes" if len(heard) % 4 == 1 else f"no {power:.3f}"

    evaluation = evaluate(utterances, recognize, noises=noises, on_result=seen.append)
    assert evaluation.errors.rate == 0
    assert list(evaluation.by_noise) == [Noise("white", 0.0), Noise("pink", 20.0), Noise("pink", 0.0)]
    assert all(len(group.results) == 2 and group.errors.rate == 2 for group in evaluation.by_noise.values())
    assert len(heard) == 2 * 4
    assert len(seen) == 2 * 4 + 1
    assert len(evaluation.failures) == 1  # said once, not once a noise
    record = evaluation.to_dict()
    assert [(row["color"], row["snr_db"]) for row in record["by_noise"]] == [
        ("white", 0.0),
        ("pink", 20.0),
        ("pink", 0.0),
    ]
    assert record["utterances"] == 2
    text = evaluation.to_text()
    assert (
        text.index("none") < text.index("white, 0 dB") < text.index("pink, 20 dB") < text.index("pink, 0 dB")
    )


def test_what_fails_only_under_noise_is_a_failure_too(clip):
    calls = []

    def recognize(waveform):
        calls.append(waveform)
        if len(calls) == 2:
            raise ValueError("too noisy")
        return "yes"

    evaluation = evaluate([Utterance("a.wav", clip("a.wav"), "yes")], recognize, noises=[Noise("pink", 5.0)])
    assert evaluation.errors.rate == 0
    assert [result.failure for result in evaluation.failures] == ["too noisy"]
    assert evaluation.by_noise[Noise("pink", 5.0)].to_dict()["utterances"] == 0
    assert "too noisy" in evaluation.to_text()


@pytest.mark.parametrize("color", ["white", "pink"])
@pytest.mark.parametrize("snr", [20.0, 0.0, -7.5])
def test_noise_has_the_ratio_asked_for(rng, color, snr):
    speech = (0.01 * rng.standard_normal(16_000)).astype(np.float32) + np.float32(0.02)
    added = add_noise(speech, Noise(color, snr), "a.wav") - speech
    assert 10 * np.log10(speech.var() / np.square(added).mean()) == pytest.approx(snr, abs=0.01)


def test_each_color_has_its_spectrum(rng):
    speech = (0.001 * rng.standard_normal(2**18)).astype(np.float32)

    def octaves(color):
        """Power of the noise in octaves from 125 Hz to 8 kHz, in dB."""
        added = add_noise(speech, Noise(color, -20.0), "a.wav") - speech
        power, frequencies = np.square(np.abs(np.fft.rfft(added))), np.fft.rfftfreq(added.size, 1 / 16_000)
        edges = 125 * 2 ** np.arange(7)
        bounds = pairwise(edges)
        return 10 * np.log10(
            [power[(frequencies >= low) & (frequencies < high)].sum() for low, high in bounds]
        )

    assert np.diff(octaves("white")) == pytest.approx(10 * np.log10(2), abs=0.3)
    assert np.diff(octaves("pink")) == pytest.approx(0.0, abs=0.3)


def test_noise_is_the_same_for_a_name_and_louder_at_a_lower_ratio(rng):
    speech = (0.001 * rng.standard_normal(8_000)).astype(np.float32)

    def added(snr, name):
        return add_noise(speech, Noise("pink", snr), name) - speech

    np.testing.assert_array_equal(added(10.0, "a.wav"), added(10.0, "a.wav"))
    np.testing.assert_allclose(added(-10.0, "a.wav"), 10 * added(10.0, "a.wav"), atol=1e-6)
    correlation = np.corrcoef(added(10.0, "a.wav"), added(10.0, "b.wav"))[0, 1]
    assert abs(correlation) < 0.2


def test_loud_mixtures_are_scaled_and_silence_stays_silent(rng):
    loud = np.clip(0.5 * rng.standard_normal(16_000), -1, 1).astype(np.float32)
    mixed = add_noise(loud, Noise("white", 0.0), "a.wav")
    assert np.abs(mixed).max() == pytest.approx(1.0)
    assert np.count_nonzero(np.abs(mixed) == np.abs(mixed).max()) == 1  # not clipped
    silence = np.zeros(8_000, np.float32)
    np.testing.assert_array_equal(add_noise(silence, Noise("pink", 10.0), "a.wav"), silence)
    click = np.ones(3, np.float32)
    assert np.isfinite(add_noise(click, Noise("pink", 10.0), "a.wav")).all()


@pytest.mark.parametrize(
    ("color", "snr", "message"),
    [("brown", 10.0, "white, pink, found 'brown'"), ("pink", float("nan"), "finite .* but found nan")],
)
def test_noise_that_is_none_is_refused(color, snr, message):
    with pytest.raises(ValueError, match=message):
        Noise(color, snr)


def test_rates_of_nothing_are_refused(tmp_path):
    evaluation = evaluate([Utterance("x.wav", tmp_path / "x.wav", "yes")], lambda waveform: "yes")
    with pytest.raises(ValueError, match="found none"):
        evaluation.to_dict()
