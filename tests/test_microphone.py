"""A clip from the microphone; a made-up sounddevice stands for the hardware."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from asrscope.audio import SAMPLE_RATE, load_audio, record
from asrscope.cli import app


class PortAudioError(Exception):
    pass


@pytest.fixture
def device(monkeypatch):
    """A microphone at 48 kHz that hears a tone of 440 Hz."""

    def rec(frames, *, samplerate, channels, dtype, blocking):
        assert (channels, dtype, blocking) == (1, "float32", True)
        time = np.arange(frames)[:, None] / samplerate
        return (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)

    found = SimpleNamespace(
        PortAudioError=PortAudioError, rec=rec, query_devices=lambda kind: {"default_samplerate": 48_000.0}
    )
    monkeypatch.setitem(sys.modules, "sounddevice", found)
    return found


def test_a_recording_has_the_rate_and_the_length_that_the_model_reads(device):
    waveform = record(0.5)
    assert waveform.dtype == np.float32
    assert waveform.size == SAMPLE_RATE // 2
    power = np.abs(np.fft.rfft(waveform))
    assert np.fft.rfftfreq(waveform.size, 1 / SAMPLE_RATE)[power.argmax()] == pytest.approx(440, abs=2)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ImportError, match=r'pip install "asrscope\[microphone\]"'):
        record(1.0)


def test_without_its_library_it_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="apt-get install libportaudio2"):
        record(1.0)


def test_without_a_microphone_it_says_so(device):
    def none(kind):
        raise PortAudioError("Error querying device -1")

    device.query_devices = none
    with pytest.raises(OSError, match=r"cannot be used .*device -1.*connect one"):
        record(1.0)


def test_a_microphone_that_is_shut_off_is_noticed(device):
    device.rec = lambda frames, **_options: np.zeros((frames, 1), np.float32)
    with pytest.raises(ValueError, match="nothing but zeros"):
        record(1.0)


def test_a_length_of_nothing_is_refused():
    with pytest.raises(ValueError, match="above 0 s, but found 0"):
        record(0.0)


def test_the_command_writes_a_file_that_can_be_traced(device, tmp_path):
    path = tmp_path / "mine.wav"
    result = CliRunner().invoke(app, ["record", str(path), "--seconds", "0.5"])
    assert result.exit_code == 0
    assert "speak now" in result.stderr
    assert f"wrote {path}" in result.stderr
    assert load_audio(path).size == SAMPLE_RATE // 2


def test_the_command_overwrites_nothing_and_explains_in_one_line(device, monkeypatch, tmp_path):
    path = tmp_path / "mine.wav"
    path.write_text("precious")
    result = CliRunner().invoke(app, ["record", str(path)])
    assert result.exit_code == 2
    assert "there is a file of this name" in result.stderr
    assert path.read_text() == "precious"
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = CliRunner().invoke(app, ["record", str(tmp_path / "new.wav")])
    assert result.exit_code == 2
    assert result.stderr.strip().splitlines()[-1].startswith("asrscope: error: to record, install")
