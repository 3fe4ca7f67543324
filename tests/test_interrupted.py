"""What is broken off, crowded out or refused by the disk leaves no half of a file behind."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed_kit
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import asrscope
from asrscope.saving import alone_in, write_bytes, write_text, written
from asrscope.training.curves import end_last_line, read_log
from asrscope.training.run import Recipe, Run

TESTS = Path(__file__).parent
PATIENCE = 300  # seconds for a program, on a machine that does ten other things
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}


def program(code, *arguments, **options):
    """Start a program that may import the package and the kits."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Writing ----------------------------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "page.html"
    write_text(path, "erste Fassung, größer\r\n")
    assert path.read_bytes() == "erste Fassung, größer\r\n".encode()
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["page.html"]


def test_an_error_in_the_middle_leaves_the_old_content(tmp_path):
    path = tmp_path / "data.npz"
    write_bytes(path, b"old")

    def write():
        with written(path) as file:
            file.write(b"half of the new")
            raise KeyError("broken off")

    with pytest.raises(KeyError, match="broken off"):
        write()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["data.npz"]


def test_a_link_is_followed_and_the_mode_is_kept(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "page.html"
    target.write_bytes(b"old")
    target.chmod(0o640)
    (tmp_path / "link.html").symlink_to(target)
    write_bytes(tmp_path / "link.html", b"new")
    assert (tmp_path / "link.html").is_symlink()
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_new_file_has_the_mode_that_is_usual(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    path = tmp_path / (250 * "a")
    write_bytes(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_device_is_written_to_and_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = program("import sys; print(open(sys.argv[1]).read())", tmp_path / "pipe")
    write_text(tmp_path / "pipe", "through")
    assert reader.communicate(timeout=PATIENCE)[0] == "through\n"
    write_text("/dev/null", "nowhere")
    assert Path("/dev/null").is_char_device()


# A disk that refuses ----------------------------------------------------------------------------------------

LIMITED = """
import json, resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
import numpy as np, torch
from safetensors.torch import save
from asrscope.saving import write_bytes, write_text, written
from asrscope.scope.traces import Trace
from asrscope.training.run import Recipe, Run
trace = Trace.load(folder / "trace.npz")
model = torch.nn.Linear(300, 300)
run = Run(folder / "run", model, torch.optim.AdamW(model.parameters()), Recipe(precision="fp32"))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from asrscope.plots.report import write_html, write_json
found = {}
for name, write in {
    "text": lambda: write_text(folder / "text", 30_000 * "x"),
    "weights": lambda: write_bytes(folder / "weights", save({"a": torch.zeros(30_000)})),
    "trace.npz": lambda: trace.save(folder / "trace.npz"),
    "page.html": lambda: write_html(trace, folder / "page.html"),
    "page.json": lambda: write_json(trace, folder / "page.json"),
    "run/step-00000000": run.save,
}.items():
    try:
        write()
    except OSError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


def test_a_disk_that_is_full_is_one_error_and_the_old_content_stays(tmp_path, make_trace):
    """The limit of a process on the size of files stands for the disk: the same path through the code."""
    trace = make_trace(seconds=1.0)
    trace.save(tmp_path / "trace.npz")
    kept = (tmp_path / "trace.npz").read_bytes()
    for name in ("text", "weights", "page.html", "page.json"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "run").mkdir()
    found = json.loads(program(LIMITED, tmp_path).communicate(timeout=PATIENCE)[0])
    saved = found.pop("run/step-00000000")
    assert saved.startswith(f"{tmp_path}/run/step-00000000: cannot be written (")
    assert saved.endswith("): make room, or choose another place")
    assert found == {
        name: f"{tmp_path / name}: cannot be written (File too large): make room, or choose another place"
        for name in ("text", "weights", "trace.npz", "page.html", "page.json")
    }
    assert (tmp_path / "trace.npz").read_bytes() == kept
    assert {(tmp_path / name).read_bytes() for name in ("text", "weights", "page.html", "page.json")} == {
        b"old"
    }
    assert names(tmp_path / "run") == [".lock", "run.json"]
    assert not list(tmp_path.glob(".*"))


def test_a_full_device_is_one_error():
    with pytest.raises(OSError, match=r"/dev/full: cannot be written \(No space left on device\): make room"):
        write_bytes("/dev/full", b"x")


READ_ONLY = """
import os, sys
from pathlib import Path
import filelock  # now: nobody may not be allowed to read it
from asrscope.saving import alone_in, write_bytes
if os.geteuid() == 0:
    os.setuid(65534)  # whom no mode keeps out must become nobody
for act in (lambda: write_bytes(sys.argv[1] + "/page.html", b"new"), lambda: alone_in(sys.argv[1])):
    try:
        act()
    except PermissionError as error:
        print(error)
"""


def test_a_folder_that_must_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o555)
    try:
        printed = program(READ_ONLY, tmp_path).communicate(timeout=PATIENCE)[0].splitlines()
    finally:
        tmp_path.chmod(0o755)
    assert [line.split(": ")[0] for line in printed] == [f"{tmp_path}/page.html", str(tmp_path)]
    assert all("(Permission denied): make room, or choose another place" in line for line in printed)
    assert names(tmp_path) == []


@pytest.mark.parametrize("target", ["gone/page.html", "."])
def test_a_place_that_is_no_file_is_named(tmp_path, target):
    with pytest.raises(OSError, match="cannot be written"):
        write_bytes(tmp_path / target, b"x")


# Two processes ----------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from asrscope.saving import alone_in
lock = alone_in(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""

WRITE = """
import sys
from asrscope.saving import write_text
print("begun", flush=True)
for number in range(int(sys.argv[3])):
    write_text(sys.argv[1], 200_000 * sys.argv[2])
"""


def make_run(folder):
    model = nn.Linear(2, 1)
    return Run(folder, model, torch.optim.AdamW(model.parameters()), Recipe(precision="fp32"))


def test_a_folder_is_for_one_process_until_that_has_ended(tmp_path):
    holder = program(HOLD, tmp_path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(OSError, match=f"{tmp_path}: another process is at work in this folder: wait for its"):
        make_run(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=PATIENCE)
    assert (tmp_path / ".lock").exists()  # which is no obstacle
    make_run(tmp_path)
    again = alone_in(tmp_path)  # the same process may, as a run that is resumed in a notebook does
    again.release(force=True)


def test_two_processes_on_one_output_never_mix(tmp_path):
    path = tmp_path / "page.html"
    writers = [program(WRITE, path, letter, 20) for letter in "ab"]
    for writer in writers:
        assert writer.stdout.readline() == "begun\n"
    seen, at_work = set(), True
    while at_work:  # and once more when they have ended
        at_work = any(writer.poll() is None for writer in writers)
        if path.exists():
            text = path.read_text(encoding="utf-8")
            assert len(text) == 200_000
            assert len(set(text)) == 1
            seen.add(text[0])
    for writer in writers:
        writer.communicate(timeout=PATIENCE)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a", "b"}
    assert seen
    assert names(tmp_path) == ["page.html"]


# Killed -----------------------------------------------------------------------------------------------------


def test_a_process_killed_while_it_writes_leaves_a_whole_file(tmp_path):
    path = tmp_path / "page.html"
    write_text(path, 200_000 * "0")
    rng = random.Random(3)
    for letter in "abc":
        writer = program(WRITE, path, letter, 1_000_000)
        assert writer.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=PATIENCE)
        text = path.read_text(encoding="utf-8")
        assert len(text) == 200_000
        assert len(set(text)) == 1
    assert all(name == "page.html" or name.startswith(".page.html.") for name in names(tmp_path))


def test_a_training_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path, audit_record):
    """Killed at random moments, resumed each time: the weights and the curve are those of an unbroken run."""
    command = [sys.executable, killed_kit.__file__, str(tmp_path), "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    kills = json.loads(done.stdout)
    assert len(kills) >= killed_kit.LEAST
    steps = [kill["checkpoint"] for kill in kills]
    assert steps == sorted(steps)  # nothing that was saved is lost
    for kill in kills:
        assert kill["log"] - kill["checkpoint"] <= killed_kit.SAVE_EVERY
    runs = [tmp_path / name / "encoder" for name in ("whole", "killed")]
    whole, killed = (load_file(run / "model.safetensors") for run in runs)
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    curves = [
        [(line["step"], line["loss"]) for line in read_log(run.parent / "log.jsonl") if "loss" in line]
        for run in runs
    ]
    assert curves[0] == curves[1]
    assert not list((tmp_path / "killed").glob(".step-*"))
    audit_record("killed_trainings", {"kills": len(kills)})


def test_a_line_of_the_log_that_was_broken_off_costs_no_other(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo', encoding="utf-8")
    end_last_line(path)
    end_last_line(path)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "loss": 2.0}\n')
    assert [line["step"] for line in read_log(path)] == [1, 3]
    end_last_line(tmp_path / "missing.jsonl")
    assert not (tmp_path / "missing.jsonl").exists()


def test_nothing_in_the_package_writes_past_the_one_module():
    """Files are opened for writing in `asrscope.saving` alone; a log is appended to."""
    past = re.compile(
        r'\.write_(text|bytes)\(|open\("[wx]|save_file\(|(torch|np)\.save(?!\w*\((state, )?file)'
    )
    package = Path(asrscope.__file__).parent
    found = [
        f"{path.name}: {line.strip()}"
        for path in package.rglob("*.py")
        if path != package / "saving" / "__init__.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if past.search(line.split("  #")[0])
    ]
    assert found == []


def test_saved_arrays_are_whole_or_missing(tmp_path):
    with written(tmp_path / "a.npy") as file:
        np.save(file, np.arange(5))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2, 3, 4]
