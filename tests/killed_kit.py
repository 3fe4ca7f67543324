"""A training that is killed again and again; run as a program, by test_interrupted.py.

The processes that are killed are forks of one that has imported everything, so that each starts at once.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from training_kit import ENCODER, make_shards

from asrscope.training.curves import read_log
from asrscope_recipe.encoder import train_encoder

SAVE_EVERY = 2
LEAST = 5  # kills


def train(cache, folder):
    train_encoder(cache, folder, replace(ENCODER, save_every=SAVE_EVERY))


def forked(cache, folder):
    """Start a training; a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            train(cache, folder)
        except BaseException as error:  # whatever it is, the parent has to know
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    return child


def killed(cache, folder, seconds, rng):
    """Train to the end, against being killed after some random time; what was found after each kill."""
    found = []
    while True:
        child = forked(cache, folder)
        if len(found) < 12:
            # The later ones are given time enough to come to an end, or to be killed while they write it.
            time.sleep(rng.uniform(0, seconds * (0.6 + 0.1 * len(found))))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return found
        saved = max((int(path.name.removeprefix("step-")) for path in folder.glob("step-*")), default=0)
        log = read_log(folder / "log.jsonl")
        found.append({"checkpoint": saved, "log": log[-1]["step"] if log else 0})


if __name__ == "__main__":
    root = Path(sys.argv[1])
    shards = make_shards(root / "cache" / "shards")
    began = time.perf_counter()
    _, status = os.waitpid(forked(shards.parent, root / "whole"), 0)
    assert status == 0
    took = time.perf_counter() - began
    rng = random.Random(int(sys.argv[2]))
    for _ in range(5):
        kills = killed(shards.parent, root / "killed", took, rng)
        if len(kills) >= LEAST:
            break
        # The machine had less to do by now, and the training came to its end too soon.
        shutil.rmtree(root / "killed")
        took /= 2
    print(json.dumps(kills))  # noqa: T201 - the test reads it
