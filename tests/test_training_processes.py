"""Two processes train what one process trains, at the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_kit import PROJECTORS, QUIET, losses, make_shards, train_all

TESTS = Path(__file__).parent
STAGES = ("encoder", "decoder", *PROJECTORS)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = ("-m", "accelerate.commands.launch", "--cpu", "--num_machines", "1", "--num_processes", "1")


def launch(*arguments, launcher=TORCHRUN, status=0):
    """Start two processes that talk to each other through gloo, or what another launcher starts."""
    command = [sys.executable, *launcher]
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
    assert (done.returncode != 0) == (status != 0), done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    make_shards(folder / "shards")
    return folder


@pytest.fixture(scope="module")
def alone(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train_all(cache / "shards", folder, **QUIET)
    return folder


@pytest.fixture(scope="module")
def together(cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    launch(TESTS / "training_kit.py", cache, folder)
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_the_loss_curve_of_two_processes_agrees_with_that_of_one(alone, together, stage):
    one, two = losses(alone / stage), losses(together / "whole" / stage)
    assert list(one) == list(two) == [1, 2, 3, 4, 5, 6]
    # Both are rounded to four digits; sums in another order differ by a few of the last.
    assert list(two.values()) == pytest.approx(list(one.values()), abs=3e-4)
    assert len(set(one.values())) > 1
    part = "projector" if stage in PROJECTORS else stage
    made = [
        json.loads((folder / stage / part / "recipe.json").read_text(encoding="utf-8"))
        for folder in (alone, together / "whole")
    ]
    assert [each["processes"] for each in made] == [1, 2]
    assert made[0]["utterances"] == made[1]["utterances"] > 0


def test_two_processes_that_resume_equal_two_that_never_stopped(together):
    whole, resumed = (
        load_file(together / kind / "joint" / "projector" / "model.safetensors")
        for kind in ("whole", "resumed")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("launcher", "precision"), [(TORCHRUN, "bf16"), (ACCELERATE, "fp32")], ids=["torchrun", "accelerate"]
)
def test_the_command_runs_unchanged_under_a_launcher(cache, tmp_path, launcher, precision):
    sizes = {"d_model": 32, "layers": 1, "heads": 2, "ffn": 32, "steps": 3, "frames_per_batch": 400}
    settings = [f"--set={name}={value}" for name, value in (sizes | {"precision": precision}).items()]
    (tmp_path / "shards").symlink_to(cache / "shards")
    command = ("encoder", "--cache", tmp_path, *settings, "--set=phone_steps=1")
    done = launch("-m", "asrscope_recipe", *command, launcher=launcher)
    assert sorted(losses(tmp_path / "encoder")) == [1, 2, 3]
    assert (tmp_path / "encoder" / "encoder" / "model.safetensors").is_file()
    assert done.stderr.count("step 1/3") == 1  # only one of the processes speaks
    recipe = json.loads((tmp_path / "encoder" / "encoder" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["processes"] == (2 if launcher is TORCHRUN else 1)


def test_processes_that_see_different_data_do_not_train(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, torch\n"
        "from asrscope.training.run import Recipe, Run\n"
        "model = torch.nn.Linear(2, 1)\n"
        "optimizer = torch.optim.AdamW(model.parameters())\n"
        f"run = Run(pathlib.Path({str(tmp_path / 'run')!r}), model, optimizer, Recipe(precision='fp32'))\n"
        "run.begin([3, 4, 5 + int(os.environ['RANK'])])\n",
        encoding="utf-8",
    )
    done = launch(script, status=1)
    assert "sees other data (3 items against 3)" in done.stderr


def test_all_stages_at_once_are_not_for_a_launcher(tmp_path):
    done = launch("-m", "asrscope_recipe", "all", "--cache", tmp_path, status=1)
    assert "'all' runs in one process" in done.stderr
