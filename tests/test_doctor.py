"""The doctor: what works, what is missing, and what mends it, with pieces taken away."""

import dataclasses
import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest
from serving import Answering, serving
from typer.testing import CliRunner

from asrscope.cli import app
from asrscope.cli import checkup as doctor


def named(findings, name) -> doctor.Finding:
    return next(one for one in findings if one.name == name)


@pytest.fixture
def without(monkeypatch):
    """Take modules away: importing them fails, as it does where they were never installed."""

    def take(*names):
        real = doctor.import_module

        def import_module(name):
            if name in names:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return real(name)

        monkeypatch.setattr(doctor, "import_module", import_module)

    return take


@pytest.fixture
def quick(monkeypatch):
    """Leave out the look that takes seconds."""

    def _model():
        return "not asked", ""

    monkeypatch.setattr(doctor, "_model", _model)


def works(findings):
    return all(one.ok for one in findings if one.needed)


def test_here_everything_that_is_needed_works():
    findings = doctor.examine(hub=False)
    assert [one.name for one in findings] == ["packages", "torch", "sound", "model"]
    assert f"Python {platform.python_version()}" in named(findings, "packages").found
    assert works(findings)
    assert "tiny wrote: " in named(findings, "model").found
    assert "was decoded" in named(findings, "sound").found
    assert all(one.found for one in findings)
    assert all(one.remedy for one in findings if not one.ok)
    assert not any(one.remedy for one in findings if one.ok)


def test_without_torch_the_small_build_is_named(without, quick):
    without("torch")
    finding = named(doctor.examine(hub=False), "torch")
    assert not finding.ok
    assert finding.needed
    assert finding.found == "ModuleNotFoundError: No module named 'torch'"
    assert finding.remedy == "python -m pip install torch --index-url https://download.pytorch.org/whl/cpu"


def test_without_soundfile_its_installation_is_named(without, quick):
    without("soundfile")
    findings = doctor.examine(hub=False)
    assert named(findings, "sound").remedy == "python -m pip install --force-reinstall soundfile"
    assert not works(findings)


def test_a_clip_that_is_read_wrong_is_found(monkeypatch):
    import asrscope.audio

    monkeypatch.setattr(asrscope.audio, "load_audio", lambda path: asrscope.audio.np.zeros(100, "float32"))
    found, remedy = doctor._sound()
    assert "but 100 were read" in found
    assert "soundfile soxr" in remedy


def test_a_model_that_cannot_be_loaded_is_found(monkeypatch):
    import asrscope.loading

    def fail(name):
        raise OSError(f"{name}: no file model.safetensors")

    monkeypatch.setattr(asrscope.loading, "load", fail)
    findings = doctor.examine(hub=False)
    assert named(findings, "model").found == "OSError: tiny: no file model.safetensors"
    assert "--force-reinstall asrscope" in named(findings, "model").remedy
    assert not works(findings)


@pytest.mark.parametrize("text", ["", "milk and letters and trains"])
def test_a_model_that_writes_something_else_is_found(monkeypatch, text):
    import asrscope.loading
    import asrscope.recognition.transcribe

    class Transcript:
        pass

    transcript = Transcript()
    transcript.text = text
    monkeypatch.setattr(asrscope.loading, "load", lambda name: (None, None))
    monkeypatch.setattr(asrscope.recognition.transcribe, "transcribe", lambda *_: transcript)
    found, remedy = doctor._model()
    assert "said was: " in found
    assert remedy


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch):
    real = doctor.version

    def version(name):
        if name in {"librosa", "soxr"}:
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", version)
    _, remedy = doctor._packages()
    assert remedy == "python -m pip install librosa soxr"


# The Hub --------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """A server on this machine in the place of the Hub, and what it was asked for."""
    asked = []

    class Handler(Answering):
        status = 200

        def do_HEAD(self):
            asked.append(self.command)
            self.send(Handler.status)

    with serving(Handler) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield Handler, asked


@pytest.mark.parametrize("status", [200, 401, 503])
def test_a_hub_that_answers_is_asked_for_a_header_only(hub, status):
    handler, asked = hub
    handler.status = status
    _, remedy = doctor._hub()
    assert remedy == ""
    assert asked == ["HEAD"]


def test_a_hub_that_cannot_be_reached_is_no_hindrance(hub, quick, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the port that discards
    findings = doctor.examine()
    assert "cannot be reached" in named(findings, "hub").found
    assert works(findings)


def test_a_hub_that_is_switched_off_is_not_asked(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor._hub()[1] == "unset HF_HUB_OFFLINE"
    assert hub[1] == []


# In the terminal ------------------------------------------------------------------------------------------


def test_the_command_prints_each_finding_and_its_remedy(quick, without):
    run = CliRunner().invoke(app, ["doctor", "--offline"])
    assert run.exit_code == 0
    assert run.output.splitlines()[-1] == "Everything for the course works."
    without("torch")
    run = CliRunner().invoke(app, ["doctor", "--offline"])
    assert run.exit_code == 2
    lines = run.output.splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("MISSING torch"))
    assert lines[place + 1].strip() == f"mend: {doctor.CPU_TORCH}"
    assert lines[-1] == "Mend what is marked MISSING, from the top."


def test_the_json_says_the_same(quick, without):
    without("soundfile")
    run = CliRunner().invoke(app, ["doctor", "--json", "--offline"])
    assert run.exit_code == 2
    record = json.loads(run.stdout)
    assert record["works"] is False
    sound = next(one for one in record["findings"] if one["name"] == "sound")
    assert sound == dataclasses.asdict(doctor.Finding(**sound))
    assert sound["ok"] is False


@pytest.mark.parametrize("missing", ["numpy", "torch"])
def test_the_command_comes_up_where_a_large_package_is_broken(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "sys.argv = ['asrscope', 'doctor', '--offline', '--json']\n"
        "from asrscope.cli import main\nmain()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    record = json.loads(run.stdout)
    assert record["works"] is False
    assert any(missing in one["found"] for one in record["findings"] if not one["ok"])
