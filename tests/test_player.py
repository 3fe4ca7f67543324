"""The player shows the sound of a trace and nothing but that."""

import base64
import io
import re

import numpy as np
import pytest
import soundfile

from asrscope.plots.player import listen, player


def test_the_page_holds_the_sound_itself(make_trace):
    trace = make_trace(seconds=1.0)
    source = re.search(r'src="data:audio/wav;base64,([^"]+)"', player(trace)._repr_html_())
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(source[1])), dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(heard, trace.waveform, atol=1 / 32_000)


def test_a_name_cannot_become_markup(make_trace):
    html = player(make_trace(seconds=0.5, name='<img src=x onerror="alert(1)">'))._repr_html_()
    assert "<img" not in html
    assert 'onerror="' not in html


def test_silence_without_samples_is_refused(make_trace):
    trace = make_trace(
        seconds=0.5,
        waveform=np.zeros(0, np.float32),
    )
    with pytest.raises(ValueError, match="nothing to play in 'clock-flite-slt'"):
        player(trace)


def test_samples_of_any_rate_can_be_heard(rng):
    samples = rng.uniform(-1, 1, 4_800).astype(np.float32)
    shown = listen(samples, "a hiss", 48_000)
    heard, rate = soundfile.read(io.BytesIO(shown.wav), dtype="float32")
    assert rate == 48_000
    np.testing.assert_allclose(heard, samples, atol=2 / 32_768)
    assert "a hiss, 0.10 s" in shown._repr_html_()


def test_no_samples_cannot_be_heard():
    with pytest.raises(ValueError, match="nothing to play in 'a hiss'"):
        listen(np.zeros(0, np.float32), "a hiss")
