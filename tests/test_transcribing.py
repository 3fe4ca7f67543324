import numpy as np
import pytest

from asrscope.transcribing import transcribe, windows


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 32_123).astype(np.float32)


@pytest.fixture
def loud_and_quiet(rng):
    """Noise that pauses at given seconds, of given length in seconds."""

    def make(seconds, pauses):
        time = np.arange(int(seconds * 16_000)) / 16_000
        loudness = np.full(time.size, 0.2)
        for pause in pauses:
            loudness[np.abs(time - pause) < 0.1] = 0.001
        return (loudness * rng.standard_normal(time.size)).astype(np.float32).clip(-1, 1)

    return make


def test_a_short_recording_is_one_segment(make_model, clip):
    model, processor = make_model()
    found = transcribe(model, processor, clip)
    (segment,) = found.segments
    assert (segment.start, segment.end) == (0, pytest.approx(32_123 / 16_000))
    assert segment.text == found.text
    assert segment.confidence == found.confidence > 0


def test_a_long_recording_is_cut_in_its_pauses_and_each_piece_transcribed(make_model, loud_and_quiet):
    model, processor = make_model()
    recording = loud_and_quiet(7.0, pauses=[2.5, 4.6])
    found = transcribe(model, processor, recording)
    assert [segment.start for segment in found.segments[1:]] == pytest.approx([2.5, 4.6], abs=0.1)
    assert [segment.end for segment in found.segments[:-1]] == [s.start for s in found.segments[1:]]
    assert found.segments[-1].end == 7.0
    for segment in found.segments:
        piece = recording[round(segment.start * 16_000) : round(segment.end * 16_000)]
        assert segment.text == transcribe(model, processor, piece).text
    assert found.text == " ".join(segment.text for segment in found.segments)
    assert any(warning.startswith("0.0 to 2.") for warning in found.warnings)


@pytest.mark.parametrize("seconds", [0.5, 3.0, 3.001, 20.0])
def test_windows_cover_everything_once_and_are_short_enough(rng, seconds):
    waveform = rng.normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
    bounds = windows(waveform, 3.0)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == waveform.size
    assert [stop for _, stop in bounds[:-1]] == [start for start, _ in bounds[1:]]
    assert all(0 < stop - start <= 48_000 for start, stop in bounds)
    assert len(bounds) <= 1 + seconds // 1.5
