"""How a run computes changes nothing in what it learns; what it leaves behind can be trusted."""

import json
import math
import shutil
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from training_kit import DECODER, PROJECTOR, broken_off, train_stage

from asrscope.processing import pad_batch
from asrscope.training.run import (
    Recipe,
    Run,
    changed,
    even_batches,
    fill_batches,
    learning_rate_factor,
    quick_precision,
)

FP32 = Recipe(steps=10, learning_rate=0.05, precision="fp32")


def make_run(folder, recipe=FP32, model=None, **options):
    torch.manual_seed(0)
    model = model or nn.Linear(4, 2)
    return Run(
        folder, model, torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate), recipe, **options
    )


def one_step(run, x):
    """Take a step on the mean of squares."""
    next(run.steps_left())
    for rows, weight in run.shares(range(len(x))):
        with run.accelerator.accumulate(run.model):
            run.backward(run.model(x[list(rows)]).pow(2).sum() / len(x), weight)
    run.update(len(x))


def values(run):
    return [parameter.detach().clone() for parameter in run.model.parameters()]


@pytest.mark.parametrize("turns", [2, 3, 8])
def test_a_batch_in_turns_gives_the_same_steps(tmp_path, turns):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for accumulate in (1, turns):  # one after the other: accelerate keeps its count for the whole process
        run = make_run(tmp_path / str(accumulate), replace(FP32, accumulate=accumulate))
        losses = [one_step(run, x) or run.loss for _ in range(3)]
        found.append((losses, values(run)))
    (one, weights), (more, others) = found
    assert more == pytest.approx(one)
    for a, b in zip(weights, others, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("able", "precision"),
    [
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_bf16": True}, "bf16"),
        ({"avx512_bf16": False, "avx512_f": True}, "fp32"),
        ({}, "fp32"),
    ],
)
def test_short_numbers_are_chosen_where_the_machine_multiplies_them(monkeypatch, able, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert quick_precision(torch.device("cpu")) == precision


def test_every_item_of_a_batch_is_in_one_share(tmp_path):
    for turns in (1, 2, 5):
        run = make_run(tmp_path / str(turns), replace(FP32, accumulate=turns))
        for items in range(1, 30):
            shares = list(run.shares(list(range(items))))
            assert len(shares) == turns
            assert sorted(item for own, weight in shares for item in own if weight) == list(range(items))
            assert {weight for _, weight in shares} <= {0, turns}


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    x = torch.ones(3, 4)
    run = make_run(tmp_path)
    one_step(run, x)
    run.save()
    one_step(run, x)
    run.save()
    assert [path.name for path in sorted(tmp_path.glob("*step-*"))] == ["step-00000002"]
    again = make_run(tmp_path)
    assert (again.step, again.utterances, again.seconds) == (2, 6, run.seconds)
    assert all(torch.equal(a, b) for a, b in zip(values(run), values(again), strict=True))
    one_step(run, x)
    one_step(again, x)
    assert all(torch.equal(a, b) for a, b in zip(values(run), values(again), strict=True))


def test_a_checkpoint_that_was_broken_off_is_no_obstacle(tmp_path):
    run = make_run(tmp_path)
    one_step(run, torch.ones(3, 4))
    run.save()
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".step-00000009")
    (tmp_path / ".step-00000009" / "optimizer.bin").write_bytes(b"half")
    assert make_run(tmp_path).step == 1
    assert not list(tmp_path.glob(".step-*"))


def test_a_save_that_fails_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    one_step(run, torch.ones(3, 4))
    run.save()
    kept = {path.name: path.read_bytes() for path in (tmp_path / "step-00000001").iterdir()}
    one_step(run, torch.ones(3, 4))

    def full(folder, **_):
        (tmp_path / ".step-00000002").mkdir()
        raise RuntimeError("no space")

    monkeypatch.setattr(run.accelerator, "save_state", full)
    with pytest.raises(OSError, match=r"cannot be written \(no space\): make room"):
        run.save()
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "step-00000001").iterdir()}
    assert not list(tmp_path.glob(".step-*"))


def test_a_broken_batch_is_skipped_and_counted(tmp_path):
    run = make_run(tmp_path, replace(FP32, steps=2))
    before = values(run)
    one_step(run, torch.full((2, 4), math.nan))
    assert all(torch.equal(a, b) for a, b in zip(before, values(run), strict=True))
    one_step(run, torch.ones(2, 4))
    assert not torch.equal(before[0], values(run)[0])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert lines[0]["skipped"] == 1
    assert "loss" not in lines[0]
    assert "skipped" not in lines[1]
    assert math.isfinite(lines[1]["loss"])


def test_a_run_goes_further_and_computes_otherwise_but_learns_nothing_else(trained, tmp_path):
    folder = tmp_path / "decoder"
    shutil.copytree(trained["decoder"].parent, folder)
    done = {"shards": trained["shards"]}
    train_stage("decoder", done, folder, steps=7, accumulate=2)
    assert json.loads((folder / "decoder" / "recipe.json").read_text("utf-8"))["steps"] == 7
    for name, value in (("ffn", 64), ("seed", 1), ("learning_rate", 0.5)):
        with pytest.raises(ValueError, match=rf"made with another {name} \(.*, and not {value}\)"):
            train_stage("decoder", done, folder, **{name: value})


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_projector_does_not_go_on_between_other_parts(trained, tmp_path, part):
    broken_off(lambda: train_stage("projector", trained, tmp_path), after=4)
    model = trained["loaded"][0]
    weight = next((model.audio_tower if part == "encoder" else model.language_model).parameters())
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[0] += 1
        with pytest.raises(ValueError, match=f"made with another {part}"):
            train_stage("projector", trained, tmp_path)
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_the_learning_rate_warms_up_holds_and_falls_to_zero():
    factors = [learning_rate_factor(step, 10_000) for step in range(10_001)]
    assert factors[0] == pytest.approx(1 / 500)
    assert set(factors[500:4000]) == {1.0}
    assert factors[7000] == pytest.approx(0.5)
    assert factors[10_000] == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "tf32"}, "expected a precision of auto, bf16, fp32, fp16, but found 'tf32'"),
        ({"accumulate": 0}, "1 turn or more, but found 0"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_settings_are_changed_by_name():
    recipe = changed(PROJECTOR, ["steps=7", "learning_rate=1e-2", "norm=none"])
    assert (recipe.steps, recipe.learning_rate, recipe.norm) == (7, 0.01, "none")
    assert changed(DECODER, []) == DECODER

    @dataclass
    class Choice:
        clear: bool = False

    assert changed(Choice(), ["clear=true"]).clear is True
    for setting, message in (
        ("width=3", "expected one of steps, .* but found 'width'"),
        ("steps=many", "expected int, but found 'many'"),
    ):
        with pytest.raises(ValueError, match=message):
            changed(PROJECTOR, [setting])
    with pytest.raises(ValueError, match="expected true or false, but found 'perhaps'"):
        changed(Choice(), ["clear=perhaps"])


def test_batches_keep_to_their_budget_and_leave_nothing_out():
    lengths = [length for length in range(1, 60) for _ in range(3)]
    batches = fill_batches(lengths, 100)
    assert [index for batch in batches for index in batch] == list(range(len(lengths)))
    assert all(max(lengths[index] for index in batch) * len(batch) <= 100 for batch in batches)
    drawn = even_batches(lengths, 100, seed=3)
    found = [next(drawn) for _ in range(3 * len(batches))]
    first = [index for batch in found[: len(batches)] for index in batch]
    assert sorted(first) == list(range(len(lengths)))
    for start in (0, 5, len(batches), 2 * len(batches) + 1):  # a run that goes on draws what comes next
        again = even_batches(lengths, 100, seed=3, first=start)
        assert [next(again) for _ in range(4)] == found[start : start + 4]


def test_no_items_are_an_error_and_no_endless_loop():
    with pytest.raises(ValueError, match="found none"):
        next(even_batches([], 100, seed=0))


def test_padding_is_marked():
    import numpy as np

    padded, mask = pad_batch([np.ones(3), np.full(2, 2.0)], value=9, multiple=4)
    assert padded.tolist() == [[1, 1, 1, 9], [2, 2, 9, 9]]
    assert mask.sum(1).tolist() == [3, 2]
