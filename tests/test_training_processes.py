"""Two processes train what one process trains, at the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_kit import LOOPS, QUIET, train_stage

TESTS = Path(__file__).parent


def launch(*arguments):
    """Start two processes that talk to each other through gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    done = subprocess.run(
        [*command, *map(str, arguments)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def alone(trained, tmp_path_factory):
    """The loops in one process, all from the same parts and encodings."""
    folder = tmp_path_factory.mktemp("alone")
    for stage in LOOPS:
        train_stage(stage, trained, folder / stage, **QUIET)
    return folder


@pytest.fixture(scope="module")
def together(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    launch(TESTS / "training_kit.py", trained["shards"], trained["encodings"].parent, folder)
    return folder


def lines(folder):
    """What the log of a run tells of its steps."""
    found = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in found if "loss" in line]


@pytest.mark.parametrize("stage", LOOPS)
def test_the_loss_curve_of_two_processes_agrees_with_that_of_one(alone, together, stage):
    one, two = lines(alone / stage), lines(together / stage)
    assert [line["step"] for line in one] == [line["step"] for line in two] == [1, 2, 3, 4, 5, 6]
    # The same gradient, but for the rounding of sums in another order.
    for name, digits in (("loss", 2e-4), ("gradient_norm", 2e-3)):
        assert two[0][name] == pytest.approx(one[0][name], abs=digits)
    # AdamW steps as far for a gradient of rounding errors as for any other, so the curves part slowly.
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=2e-3)
    assert len({line["loss"] for line in one}) == 6
    part = "projector" if stage == "joint" else stage
    made = [
        json.loads((folder / stage / part / "recipe.json").read_text(encoding="utf-8"))
        for folder in (alone, together)
    ]
    assert [each["processes"] for each in made] == [1, 2]
    assert made[0]["utterances"] == made[1]["utterances"] > 0


def test_two_processes_that_resume_equal_two_that_never_stopped(together):
    whole, resumed = (
        load_file(folder / "joint" / "projector" / "model.safetensors")
        for folder in (together, together / "resumed")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_processes_that_see_different_data_do_not_train(together):
    for number in range(2):
        told = (together / f"refused-{number}").read_text(encoding="utf-8")
        assert "sees other data (2 items against 2)" in told


def test_the_command_runs_unchanged_under_a_launcher(trained, tmp_path):
    sizes = {"d_model": 32, "layers": 1, "heads": 2, "ffn": 32, "steps": 3, "frames_per_batch": 400}
    settings = [f"--set={name}={value}" for name, value in sizes.items()]
    (tmp_path / "shards").symlink_to(trained["shards"])
    done = launch("-m", "asrscope_recipe", "encoder", "--cache", tmp_path, *settings, "--set=phone_steps=1")
    assert [line["step"] for line in lines(tmp_path / "encoder")] == [1, 2, 3]
    assert (tmp_path / "encoder" / "encoder" / "model.safetensors").is_file()
    assert done.stderr.count("step 1/3") == 1  # only one of the processes speaks
    recipe = json.loads((tmp_path / "encoder" / "encoder" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["processes"] == 2
