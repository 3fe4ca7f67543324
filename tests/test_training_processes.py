"""Two processes train what one process trains, at the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_kit import FP32, losses, make_shards, train_all

TESTS = Path(__file__).parent
STAGES = ("encoder", "decoder", "projector")


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
    train_all(cache / "shards", folder, FP32)
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


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_count_what_the_whole_batch_holds(alone, together, stage):
    one, two = (
        json.loads((folder / stage / stage / "recipe.json").read_text(encoding="utf-8"))
        for folder in (alone, together / "whole")
    )
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["utterances"] == two["utterances"] > 0


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_that_resume_equal_two_that_never_stopped(together, stage):
    whole, resumed = (
        load_file(together / kind / stage / stage / "model.safetensors") for kind in ("whole", "resumed")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_the_command_runs_unchanged_under_a_launcher(cache, tmp_path, launcher):
    sizes = (
        "d_model=32",
        "layers=1",
        "heads=2",
        "ffn=32",
        "steps=3",
        "frames_per_batch=400",
        "phone_steps=1",
    )
    settings = [part for size in sizes for part in ("--set", size)]
    (tmp_path / "shards").symlink_to(cache / "shards")
    command = ("encoder", "--cache", tmp_path, "--precision", "fp32", *settings)
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
        "from asrscope.training.run import Run\n"
        f"run = Run(pathlib.Path({str(tmp_path / 'run')!r}), torch.nn.Linear(2, 1), 2, 0.1, 0)\n"
        "next(run.batches([3, 4, 5 + int(os.environ['RANK'])], 10))\n",
        encoding="utf-8",
    )
    done = launch(script, status=1)
    assert "process 1 sees other data than the first (3 against 3 items)" in done.stderr


def test_all_stages_at_once_are_not_for_a_launcher(tmp_path):
    done = launch("-m", "asrscope_recipe", "all", "--cache", tmp_path, status=1)
    assert "'all' runs in one process" in done.stderr
