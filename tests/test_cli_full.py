"""The large pair on the command line, with very small random models in its parts' places."""

import json

import pytest
from hub_kit import write_own_projector
from typer.testing import CliRunner

from asrscope.cli import app


@pytest.fixture
def run(full_parts, tmp_path, monkeypatch):
    """Call a command for a pair that the environment names; gives status, output and errors."""
    write_own_projector(tmp_path / "p.safetensors")
    for part, folder in full_parts.items():
        monkeypatch.setenv(f"ASRSCOPE_{part.upper()}", str(folder))
    monkeypatch.delenv("ASRSCOPE_MODEL", raising=False)

    def call(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture
def clip(tmp_path, rng):
    import soundfile

    soundfile.write(tmp_path / "clip.wav", 0.1 * rng.standard_normal(16_000), 16_000)
    return tmp_path / "clip.wav"


def test_a_clip_is_traced_with_a_projector_that_is_named(run, clip, tmp_path, monkeypatch):
    monkeypatch.setattr("asrscope.loading.pair.LARGE", 0)  # of which a line about memory is written
    projector = tmp_path / "p.safetensors"
    status, _, told = run(
        *("trace", clip, "--model", "full", "--projector", projector, "--max-new-tokens", 2),
        *("--html", tmp_path / "page.html", "--json", tmp_path / "data.json"),
    )
    assert status == 0, told
    assert "full: weights" in told
    record = json.loads((tmp_path / "data.json").read_text())
    assert str(projector) in json.dumps(record["provenance"])
    assert "unverified" in (tmp_path / "page.html").read_text()


def test_the_environment_can_name_everything(run, tmp_path, monkeypatch):
    monkeypatch.setenv("ASRSCOPE_MODEL", "full")
    monkeypatch.setenv("ASRSCOPE_PROJECTOR", str(tmp_path / "p.safetensors"))
    status, output, _ = run("info", "--json")
    assert status == 0
    assert json.loads(output)["projector"]["source"] == str(tmp_path / "p.safetensors")


def test_what_is_wrong_is_one_line_and_status_2(run, clip, monkeypatch):
    status, _, told = run("trace", clip, "--model", "full")
    assert (status, told.count("\n")) == (2, 1)
    assert told.startswith("asrscope: error: The model 'full' needs a projector")
    monkeypatch.setattr("asrscope.loading.room.free_bytes", lambda _: 10)
    status, _, told = run("info", "--model", "full", "--projector", clip.parent / "p.safetensors")
    assert (status, told.count("\n")) == (2, 1)
    assert "GB of memory on cpu, but" in told


def test_fewer_bits_are_asked_for_by_an_option(run, tmp_path):
    pytest.importorskip("bitsandbytes")
    status, output, told = run(
        *("info", "--model", "full", "--projector", tmp_path / "p.safetensors", "--quantize", "int8")
    )
    assert status == 0, told
    assert "bfloat16, loaded as int8 by bitsandbytes" in output
