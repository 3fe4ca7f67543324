"""The programs beside the classes do what the pages say: speak a corpus, serve a report, publish a model."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from hub_server import Hub, serve
from typer.testing import CliRunner

COURSE = Path(__file__).parents[1] / "docs" / "course"
CLASS_4 = (COURSE / "class-4.md").read_text(encoding="utf-8")
TINY = Path(__file__).parents[1] / "src" / "asrscope" / "data" / "checkpoints" / "tiny"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """Run a program as a reader would, and return what it prints."""
    finished = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=ENVIRONMENT | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


# Class 2: the program that is changed ---------------------------------------------------------------------


def test_the_change_that_the_class_asks_for_adds_a_second_at_every_stage(run_here, tmp_path):
    page = (COURSE / "class-2.md").read_text(encoding="utf-8")
    change = re.search(r"^```\{code-block\} python\n(import numpy.*?)^```$", page, re.MULTILINE | re.DOTALL)[
        1
    ]
    program = (COURSE.parents[1] / "gallery" / "90_trace_data.py").read_text(encoding="utf-8")
    line = "trace = asrscope.trace(model"
    assert program.count(f"\n{line}") == 1
    end = program.index("\n# %%", program.index(f"\n{line}"))  # what is drawn is another test's business
    show = "\nfor size in trace.shapes().items():\n    print(*size)\n"
    printed = []
    for name, code in (("as_it_is", ""), ("changed", change)):
        text = program[:end].replace(f"\n{line}", f"\n{code}{line}") + show
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        printed.append(run_here(tmp_path / f"{name}.py"))
    lengths = [dict(re.findall(r"^(\w+) \((\d+),", each, re.MULTILINE)) for each in printed]
    more = {field: int(lengths[1][field]) - int(lengths[0][field]) for field in lengths[0]}
    assert more["waveform"] == 16_000
    assert more["encoder_hidden_states"] == 50


# Class 3: clips.py and speak.py ---------------------------------------------------------------------------


def utterances(folder: Path) -> list:
    """Read a corpus as `asrscope train projector` does."""
    from asrscope.features import log_mel
    from asrscope.training.corpus import Corpus

    corpus = Corpus(folder, log_mel)
    return [corpus.read(row) for _, row in corpus.rows()]


def test_the_clips_of_the_package_can_be_trained_on(tmp_path):
    lesson = Path(__file__).parents[1] / "src" / "asrscope" / "data" / "lesson" / "lesson.json"
    described = json.loads(lesson.read_text(encoding="utf-8"))["sets"]["train"]["clips"]
    assert run(COURSE / "clips.py", "spoken", folder=tmp_path) == f"{len(described)} clips are in spoken\n"
    rows = utterances(tmp_path / "spoken")
    assert [row.text for row in rows] == [clip["text"] for clip in described]
    frames = [row.log_mel.shape[0] for row in rows]
    assert np.allclose(frames, [clip["samples"] / 160 for clip in described], atol=2)


def test_the_corpus_that_is_spoken_can_be_trained_on(synthesizers, tmp_path):
    assert run(COURSE / "speak.py", "spoken", "3", folder=tmp_path) == "3 clips are in spoken\n"
    rows = utterances(tmp_path / "spoken")
    assert len(rows) == 3
    assert all(row.text and len(row.log_mel) > 30 for row in rows)


# Class 4: demo.py -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo():
    """Address of the page, served by the program as a reader starts it."""
    command = [sys.executable, str(COURSE / "demo.py"), "0"]  # 0: any free port
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as program:
        yield re.search(r"http://127\.0\.0\.1:\d+", program.stdout.readline())[0]
        program.terminate()


def post(address: str, name: str, content: bytes) -> tuple[int, str]:
    """Send a file as the page's form does."""
    head = f'Content-Disposition: form-data; name="clip"; filename="{name}"\r\n'
    body = f"--edge\r\n{head}Content-Type: audio/flac\r\n\r\n".encode() + content + b"\r\n--edge--\r\n"
    request = urllib.request.Request(address, body, {"Content-Type": "multipart/form-data; boundary=edge"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("content", ["a recording", "no recording"])
def test_a_hostile_file_name_is_shown_as_text(demo, browser, tmp_path, content):
    from hostile import FILE_NAME, attacks

    import asrscope

    sound = asrscope.load_sample("captain").path.read_bytes() if content == "a recording" else b"no sound"
    status, page = post(demo, FILE_NAME.replace('"', "%22"), sound)
    assert status == (200 if content == "a recording" else 400)
    assert "class=attack src=x" in page
    assert "Content-Security-Policy" in page
    path = tmp_path / "answer.html"
    path.write_text(page, encoding="utf-8")
    assert attacks(browser, path.as_uri()) == []


def test_the_page_asks_for_a_recording_and_answers_with_its_report(demo):
    import asrscope

    with urllib.request.urlopen(demo, timeout=60) as answer:
        form = answer.read().decode()
    assert '<input type="file" name="clip"' in form
    assert "://" not in form  # nothing is fetched from elsewhere
    sample = asrscope.load_sample("museum")
    status, page = post(demo, "museum.flac", sample.path.read_bytes())
    assert status == 200
    assert asrscope.transcribe(*asrscope.load("tiny"), sample.path).text in page
    assert "bk-root" in page or "Bokeh" in page


@pytest.mark.parametrize(("content", "told"), [(b"no sound", "notes.txt"), (b"", "notes.txt")])
def test_the_page_says_what_is_wrong_with_a_file(demo, content, told):
    status, page = post(demo, "notes.txt", content)
    assert status == 400
    assert told in page
    assert "tmp" not in page  # the folder it was kept in is nobody's business
    assert "<form" in page  # and one can try again


def test_the_page_refuses_a_file_that_is_too_large_before_it_reads_it(demo):
    from http.client import HTTPConnection

    connection = HTTPConnection(urlsplit(demo).netloc, timeout=60)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    assert connection.getresponse().status == 413


# Class 4: publishing --------------------------------------------------------------------------------------


@pytest.fixture
def hub():
    """A Hub of this test's own."""
    with serve(Hub(owner="reader")) as own:
        yield own


@pytest.fixture
def variables(hub, tmp_path):
    """What leads a program to that Hub."""
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_of_a_reader",
    }


def test_push_to_hub_sends_the_rows_of_the_table_and_leaves_out_the_measured_card(hub, variables, tmp_path):
    code = re.search(r"^```\{code-block\} python\n(model\.push_to_hub.*?)^```$", CLASS_4, re.M | re.S)[1]
    load = 'import asrscope\nmodel, processor = asrscope.load("tiny")\nmodel.half()\n'
    (tmp_path / "push.py").write_text(load + code.replace("YOUR-NAME", "reader"), encoding="utf-8")
    run("push.py", folder=tmp_path, **variables)
    rows = re.findall(r"^\| (`.+?) \| .+ \| `(.+)` \|$", CLASS_4, re.MULTILINE)
    table = {name: by for names, by in rows for name in re.findall(r"`([^`]+)`", names)}
    saved = {name for name, by in table.items() if by.endswith("save_pretrained")}
    # A card is written from the model, which is not the measured one; the Hub adds git's list of large files.
    files = hub.files["reader/my-tiny", "main"]
    assert set(files) - {".gitattributes", "README.md"} == saved
    assert files["README.md"] != (TINY / "README.md").read_bytes()
    assert {name for name, by in table.items() if by.startswith("asrscope")} & set(files) == {"README.md"}
    assert set(table) == {path.name for path in TINY.iterdir()}
    assert hub.private == {"reader/my-tiny": True}


def test_a_folder_that_was_uploaded_is_downloaded_and_loaded_with_its_provenance(
    hub, variables, tmp_path, monkeypatch
):
    from asrscope.cli import app

    shutil.copytree(TINY, tmp_path / "lesson" / "pair" / "model")
    lines = re.findall(r"^\$ hf (upload|download) (.+)$", CLASS_4, re.MULTILINE)
    assert [verb for verb, _ in lines] == ["upload", "download"]
    for verb, arguments in lines:
        words = arguments.replace("YOUR-NAME", "reader").split()
        run("-m", "huggingface_hub.cli.hf", verb, *words, folder=tmp_path, **variables)
    sent = {path.name: path.read_bytes() for path in TINY.iterdir()}
    files = hub.files["reader/my-tiny", "main"]
    assert {name: content for name, content in files.items() if name in sent} == sent
    assert hub.private == {"reader/my-tiny": True}
    monkeypatch.chdir(tmp_path)
    parts = json.loads(CliRunner().invoke(app, ["info", "--model", "my-tiny", "--json"]).stdout)
    assert {parts[part]["weights"] for part in ("encoder", "projector", "decoder")} == {"trained weights"}
