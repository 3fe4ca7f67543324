"""Curves of training: read from logs as they are, thinned out, and found to be drawn."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from asrscope.cli import console
from asrscope.training.curves import compact, read_log, read_runs, scores_of


def line(step, **values):
    return {
        "step": step,
        "seconds": 2.0 * step,
        "utterances": 10 * step,
        "utterances_per_second": 5.0,
        **values,
    }


def train_line(step, loss):
    return line(step, loss=loss, gradient_norm=1.5, learning_rate=1e-3)


def write_log(folder, lines, torn=""):
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(one) + "\n" for one in lines) + torn
    (folder / "log.jsonl").write_text(text, encoding="utf-8")
    return folder / "log.jsonl"


def test_a_missing_log_is_an_empty_one(tmp_path):
    assert read_log(tmp_path / "log.jsonl") == []


def test_steps_done_again_after_a_break_count_once(tmp_path):
    lines = [train_line(step, step / 100) for step in (50, 100, 150, 200)]
    lines[2:2] = [line(100, wer_dev=0.5)]
    again = [train_line(step, 9.0) for step in (150, 200, 250)]
    found = read_log(write_log(tmp_path, lines + again, torn='{"step": 300, "lo'))
    assert [(one["step"], one.get("loss"), one.get("wer_dev")) for one in found] == [
        (50, 0.5, None),
        (100, 1.0, None),
        (100, None, 0.5),
        (150, 9.0, None),
        (200, 9.0, None),
        (250, 9.0, None),
    ]


def test_a_run_that_broke_right_after_a_line_repeats_that_line_only_once(tmp_path):
    found = read_log(write_log(tmp_path, [train_line(50, 2.0), train_line(50, 3.0)]))
    assert [one["loss"] for one in found] == [3.0]


def test_scores_are_what_an_evaluation_found():
    assert scores_of(line(5, wer_dev=0.25, dev_accuracy=1)) == {"wer_dev": 0.25, "dev_accuracy": 1.0}
    assert scores_of(train_line(5, 1.0)) == {}
    assert scores_of(line(5, dev_loss=float("nan"))) == {}


def test_a_thin_curve_is_small_and_keeps_means_and_ends():
    lines = [train_line(50 * n, 100.0 + n % 2) for n in range(1, 1001)]
    lines += [line(50_000, wer_dev=0.125)]
    thin = compact(lines, points=50)
    assert thin["curve"]["step"] == [1000 * n for n in range(1, 51)]
    assert thin["curve"]["loss"] == [100.5] * 50
    assert thin["curve"]["hours"][-1] == pytest.approx(100_000 / 3600, rel=1e-3)
    assert (thin["steps"], thin["utterances"]) == (50_000, 500_000)
    assert thin["evaluations"] == [
        {"step": 50_000, "hours": pytest.approx(27.7778, abs=1e-3), "wer_dev": 0.125}
    ]
    assert len(json.dumps(compact(lines))) < 4_000


def test_skipped_and_infinite_values_leave_a_gap():
    lines = [line(1, learning_rate=0.1, skipped=1), line(2, learning_rate=0.1, loss=float("nan"))]
    assert compact(lines)["curve"]["loss"] == [None, None]


def test_a_run_that_has_not_begun_has_an_empty_curve():
    assert compact([])["steps"] == 0
    assert compact([])["curve"]["loss"] == []


def test_all_trainings_below_a_folder_are_found_finished_or_not(tmp_path):
    write_log(tmp_path / "encoder", [train_line(50 * n, 5.0 / n) for n in range(1, 41)])
    write_log(tmp_path / "pair" / "projector", [train_line(50, 3.0), line(50, wer_dev=0.1)], torn='{"st')
    write_log(tmp_path / "decoder", [])
    found = read_runs(tmp_path)
    assert list(found) == ["encoder", "pair/projector"]
    assert found["encoder"]["curve"]["loss"][-1] == 0.125
    assert found["pair/projector"]["evaluations"] == [{"step": 50, "hours": 0.0278, "wer_dev": 0.1}]


def test_no_log_at_all_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no training has begun"):
        read_runs(tmp_path)


def at(step, steps=100):
    return SimpleNamespace(step=step, steps=steps, loss=1.25, utterances=30 * step, seconds=2.0 * step)


def test_every_line_of_the_log_is_shown_with_the_time_left(monkeypatch, capsys):
    now = iter([0.0, 0.0, 60.0, 60.0])
    monkeypatch.setattr(console.time, "perf_counter", lambda: next(now))
    watch = console.followed(Path("run"))
    watch(at(1), None)
    watch(at(11), None)
    watch(at(11), train_line(11, 1.0))
    watch(at(11), line(11, wer_dev=0.5))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("asrscope: checkpoint and log are in run")
    assert lines[1] == (
        "asrscope: step 11/100  seconds 22.0  utterances 110  utterances_per_second 5.0  loss 1.0  "
        "gradient_norm 1.5  learning_rate 0.001  08:54 left"
    )
    assert "wer_dev 0.5" in lines[2]
    assert len(lines) == 3
