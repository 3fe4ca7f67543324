"""Gallery scripts run by themselves too; the build runs each, and ``tests/site`` each notebook of it."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
import soundfile

import asrscope

GALLERY = Path(__file__).parents[1] / "gallery"
SCRIPTS = sorted(GALLERY.glob("[0-9]*.py"))
TRACE_DATA = GALLERY / "90_trace_data.py"
METRICS = GALLERY.parent / "src" / "asrscope" / "data" / "checkpoints" / "tiny" / "metrics.json"


def addresses(page: str) -> list[str]:
    """Return what the elements of a page would fetch from other hosts; the text of scripts does not count."""
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value for name, value in attrs if name in ("src", "href") and value)

    Reader().feed(page)
    return [address for address in found if address.startswith(("http:", "https:", "//"))]


def narration(script: Path) -> str:
    """Return the text of a page, without its code."""
    source = script.read_text(encoding="utf-8")
    comments = [line.removeprefix("#").strip() for line in source.splitlines() if line.startswith("#")]
    return (ast.get_docstring(ast.parse(source)) or "") + "\n" + "\n".join(comments)


def test_the_gallery_has_these_pages_in_this_order():
    assert [script.stem.partition("_")[2] for script in SCRIPTS] == [
        "from_air_to_numbers",
        "log_mel",
        "encoder",
        "projector",
        "modality_gap",
        "prompt_anatomy",
        "decoder",
        "attention",
        "logit_lens",
        "what_if",
        "robustness",
        "train_a_projector",
        "ablations",
        "evaluation",
        "trace_data",
        "real_pair",
        "side_by_side",
        "any_model",
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_page_asks_one_question_predicts_and_links_on(script):
    source = script.read_text(encoding="utf-8")
    text = narration(script)
    intro = ast.get_docstring(ast.parse(source))
    assert re.match(r"\.\. _gallery-[a-z-]+:\n\n.+\n=+\n\n\*\*[^*]+\?\*\*\n", intro), "label, title, question"
    assert text.index("**Predict") < len(text)
    assert "\nSummary\n" in text
    summary = text.rpartition("\nSummary\n")[2]
    assert ":ref:`" in summary
    assert ":doc:`" in summary
    assert re.search(r"\bplots\.(player|listen)\(", source), "something to hear"
    assert 80 <= len(source.splitlines()) <= 195
    assert max(map(len, source.splitlines())) <= 88, "the site would cut it"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_defines_no_helpers(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    defined = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    assert defined == []


def test_every_label_linked_to_is_the_label_of_a_page():
    labels = {re.search(r"^\.\. _([a-z-]+):", s.read_text("utf-8"), re.MULTILINE)[1] for s in SCRIPTS}
    linked = {label for s in SCRIPTS for label in re.findall(r":ref:`[^<`]+<([a-z-]+)>`", narration(s))}
    assert linked == labels


def assert_saved(script: Path, folder: Path, printed: str) -> None:
    """Make sure that each figure that a script shows was saved as a page that needs no network."""
    figures = re.findall(r"^wrote (.+\.html)$", printed, re.MULTILINE)
    shown = script.read_text(encoding="utf-8").count("plots.show(")
    assert len(set(figures)) == shown > 0
    for name in figures:
        page = (folder / name).read_text(encoding="utf-8")
        assert "Bokeh" in page or 'type="range"' in page
        assert addresses(page) == []


@pytest.mark.parametrize("stem", ["10_from_air_to_numbers", "40_projector"])  # with sounds; with a slider
def test_a_script_run_by_itself_saves_its_figures_as_pages_that_need_no_network(stem, run_here, tmp_path):
    script = GALLERY / f"{stem}.py"
    assert_saved(script, tmp_path, run_here(script))


def test_the_workshops_script_writes_a_report_and_valid_json_and_no_time_of_the_clock(tmp_path):
    """In a process of its own, as a reader starts it."""
    from asrscope.audio.samples import load_samples
    from asrscope.scope.traces import trace_schema

    finished = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(TRACE_DATA)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    printed = finished.stdout
    assert_saved(TRACE_DATA, tmp_path, printed)
    sample = load_samples()[0]
    data = json.loads((tmp_path / "data_trace.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, trace_schema())
    assert f"spoken:  {sample.text}\n" in printed
    assert f"written: {data['text']}\n" in printed
    assert data["reference"] == sample.text
    page = (tmp_path / "data_trace.html").read_text(encoding="utf-8")
    assert "<audio" in page
    assert addresses(page) == []
    assert "this run:" not in printed  # of a clip of the package, only what was recorded
    speed = json.loads(METRICS.read_text(encoding="utf-8"))["speed"]
    assert (
        f"{speed['clip']}: {speed['audio_seconds']:.2f} s of sound in {speed['seconds']:.2f} s\n" in printed
    )


def test_the_workshops_script_takes_a_recording(run_here, tmp_path):
    from asrscope.audio.samples import load_samples

    recording = tmp_path / "my recording.flac"
    shutil.copyfile(load_samples()[1].path, recording)
    printed = run_here(TRACE_DATA, recording.name)
    data = json.loads((tmp_path / "data_trace.json").read_text(encoding="utf-8"))
    assert "spoken:  not known\n" in printed
    assert "this run:" in printed
    assert data["reference"] is None
    assert data["name"] == recording.stem


def test_the_workshops_script_takes_what_the_microphone_hears(run_here, tmp_path, monkeypatch):
    from asrscope.audio.samples import load_samples

    sample = load_samples()[0]

    def rec(frames, **_options):
        return soundfile.read(sample.path, dtype="float32", always_2d=True)[0][:frames]

    microphone = SimpleNamespace(
        PortAudioError=RuntimeError, rec=rec, query_devices=lambda kind: {"default_samplerate": 16000.0}
    )
    monkeypatch.setitem(sys.modules, "sounddevice", microphone)
    printed = run_here(TRACE_DATA, "microphone")
    data = json.loads((tmp_path / "data_trace.json").read_text(encoding="utf-8"))
    assert printed.startswith("Speak now")
    assert "spoken:  not known\n" in printed
    assert data["shapes"]["waveform"] == [asrscope.load_audio(sample.path).size]
    assert (tmp_path / "data_trace.html").is_file()


def test_the_workshops_script_says_so_if_a_recording_is_missing(run_here, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no-such-file\.wav"):
        run_here(TRACE_DATA, "no-such-file.wav")
    assert not (tmp_path / "data_trace.html").exists()


def test_notebooks_say_in_words_what_a_role_links_to(monkeypatch):
    monkeypatch.syspath_prepend(GALLERY.parent / "conf" / "extensions")
    from downloads import plain

    assert plain("Next: :ref:`the encoder <gallery-encoder>`.") == "Next: *the encoder*."
    for script in SCRIPTS:
        assert not re.search(r":[a-z]+:`", plain(narration(script)))
