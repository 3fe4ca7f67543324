"""The text of a recording of any length: windows, their borders, batches, silence, memory."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscope.audio import load_audio
from asrscope.audio.samples import load_samples
from asrscope.recognition import transcribe as transcribing
from asrscope.recognition.metrics import word_errors
from asrscope.recognition.transcribe import cut_windows, transcribe


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 32_123).astype(np.float32)


@pytest.fixture
def loud_and_quiet(rng):
    """Noise that pauses at given seconds."""

    def make(seconds, pauses, quiet=0.001):
        time = np.arange(int(seconds * 16_000)) / 16_000
        loudness = np.full(time.size, 0.2)
        for pause in pauses:
            loudness[np.abs(time - pause) < 0.15] = quiet
        return (loudness * rng.standard_normal(time.size)).astype(np.float32).clip(-1, 1)

    return make


def assert_in_order(transcript, seconds):
    """The segments cover the recording, without a gap and without an overlap."""
    assert transcript.segments[0].start == 0
    assert transcript.segments[-1].end == transcript.seconds == pytest.approx(seconds)
    assert all(before.end == after.start for before, after in pairwise(transcript.segments))


def test_a_short_recording_is_one_segment(make_model, clip):
    model, processor = make_model()
    found = transcribe(model, processor, clip)
    (segment,) = found.segments
    assert (segment.start, segment.end) == (0, pytest.approx(32_123 / 16_000))
    assert segment.text == found.text
    assert segment.confidence == found.confidence > 0


def test_a_long_recording_is_cut_in_its_pauses_and_each_piece_transcribed(make_model, loud_and_quiet):
    model, processor = make_model()
    recording = loud_and_quiet(7.0, pauses=[1.2, 2.5, 3.7, 4.6, 5.9])
    found = transcribe(model, processor, recording)
    assert_in_order(found, 7.0)
    assert [segment.start for segment in found.segments[1:]] == pytest.approx(
        [1.2, 2.5, 3.7, 4.6, 5.9], abs=0.1
    )
    for segment in found.segments:
        piece = recording[round(segment.start * 16_000) : round(segment.end * 16_000)]
        assert segment.text == transcribe(model, processor, piece).text
    assert found.text == " ".join(segment.text for segment in found.segments if segment.text)
    assert any(warning.startswith("0.0 to 1.") for warning in found.warnings)


@pytest.mark.parametrize("batch_size", [3, 50])
def test_windows_recognized_together_give_what_each_gives_alone(make_model, loud_and_quiet, batch_size):
    model, processor = make_model()
    lengths = {7.0: [1.2, 2.5, 3.7, 4.6], 0.4: [], 4.0: [2.0]}
    recordings = [loud_and_quiet(seconds, pauses) for seconds, pauses in lengths.items()]
    together = [transcribe(model, processor, recording, batch_size=batch_size) for recording in recordings]
    alone = [transcribe(model, processor, recording, batch_size=1) for recording in recordings]
    for found, expected in zip(together, alone, strict=True):
        assert [segment.text for segment in found.segments] == [s.text for s in expected.segments]
        assert [segment.confidence for segment in found.segments] == pytest.approx(
            [s.confidence for s in expected.segments], abs=1e-3
        )


def test_a_beam_search_takes_one_window_at_a_time(make_model, loud_and_quiet):
    model, processor = make_model()
    recording = loud_and_quiet(4.0, [1.3, 2.6])
    found = transcribe(model, processor, recording, num_beams=2)
    assert_in_order(found, 4.0)
    first = recording[: round(found.segments[0].end * 16_000)]
    assert found.segments[0].text == transcribe(model, processor, first, num_beams=2).text


def test_a_model_that_pads_its_clips_gets_windows_as_long_as_it_takes(make_model, loud_and_quiet):
    recording = loud_and_quiet(7.0, [])
    longest = {}
    for pad_audio in (False, True):
        found = transcribe(*make_model(pad_audio=pad_audio), recording)
        assert_in_order(found, 7.0)
        longest[pad_audio] = max(segment.end - segment.start for segment in found.segments)
    assert longest[False] <= 1.5
    assert 2.0 < longest[True] <= 3.0


def test_segments_are_told_as_they_come(make_model, loud_and_quiet):
    segments = []
    recording = loud_and_quiet(5.0, [1.3, 2.5, 3.7])
    found = transcribe(*make_model(), recording, batch_size=2, on_segment=segments.append)
    assert tuple(segments) == found.segments


def test_a_long_silence_is_one_segment_without_text(make_model, loud_and_quiet):
    model, processor = make_model()
    speech = loud_and_quiet(1.2, [])
    found = transcribe(model, processor, np.concatenate([speech, np.zeros(160_000, np.float32), speech]))
    assert_in_order(found, 12.4)
    (silence,) = [segment for segment in found.segments if transcribing.SILENT in segment.warnings]
    assert silence.text == ""
    assert silence.end - silence.start > 7
    assert found.segments[0].text
    assert found.segments[-1].text


def test_a_recording_that_is_silent_all_through_is_said_to_be(make_model):
    found = transcribe(*make_model(), np.zeros(160_000, np.float32))
    assert_in_order(found, 10.0)
    assert found.text == ""
    assert any("silent" in warning for warning in found.warnings)
    assert transcribe(*make_model(), np.zeros(16_000, np.float32)).segments[0].end == 1.0


def test_a_last_window_of_a_moment_is_heard(make_model, loud_and_quiet):
    model, processor = make_model()
    recording = loud_and_quiet(3.01, [])
    found = transcribe(model, processor, recording)
    assert_in_order(found, 3.01)


# Where a recording is cut -----------------------------------------------------------------------------------


@pytest.fixture
def speech(rng):
    """Noise that swells as syllables do, with pauses of a given length at given seconds."""

    def make(seconds, pauses=(), length=0.4, background=0.0005):
        time = np.arange(round(seconds * 16_000)) / 16_000
        loudness = 0.2 * (0.65 + 0.35 * np.sin(2 * np.pi * 4 * time))
        for pause in pauses:
            loudness[np.abs(time - pause) < length / 2] = background
        return (loudness * rng.standard_normal(time.size)).astype(np.float32).clip(-1, 1)

    return make


def in_pieces(waveform, size):
    return [waveform[start : start + size] for start in range(0, waveform.size, size)]


def assert_covered(windows, waveform):
    """Every sample is in one window, in its place."""
    reached = 0
    for window in windows:
        assert window.start == reached
        np.testing.assert_array_equal(window.samples, waveform[window.start : window.stop])
        reached = window.stop
    assert reached == waveform.size
    assert [window.last for window in windows] == [False] * (len(windows) - 1) + [True]


def test_a_recording_with_pauses_is_cut_in_them(speech):
    waveform = speech(20, pauses=[3.2, 6.1, 9.3, 12.0, 15.5, 18.0])
    windows = list(cut_windows([waveform], 4.0))
    assert_covered(windows, waveform)
    assert not any(window.torn for window in windows)
    assert [window.start / 16_000 for window in windows[1:]] == pytest.approx(
        [3.2, 6.1, 9.3, 12.0, 15.5, 18.0], abs=0.05
    )


def test_speech_without_a_pause_is_cut_where_it_is_quietest(speech):
    waveform = speech(12)
    waveform[round(6.9 * 16_000) : round(7.0 * 16_000)] *= 0.05  # too short for a pause
    windows = list(cut_windows([waveform], 8.0))
    assert_covered(windows, waveform)
    assert [window.torn for window in windows] == [True, False]
    assert windows[1].start / 16_000 == pytest.approx(6.95, abs=0.03)


def test_the_longest_pause_counts_and_one_within_a_word_does_not(speech):
    waveform = speech(7, pauses=[2.5], length=0.3)
    waveform[round(3.4 * 16_000) : round(3.52 * 16_000)] = 0  # as before a "p"
    first, *_ = cut_windows([waveform], 4.0)
    assert first.stop / 16_000 == pytest.approx(2.5, abs=0.05)


def test_a_pause_is_found_above_a_noisy_background(speech):
    waveform = speech(9, pauses=[2.8, 6.0], background=0.03)  # 16 dB below the speech
    windows = list(cut_windows([waveform], 4.0))
    assert [window.start / 16_000 for window in windows] == pytest.approx([0, 2.8, 6.0], abs=0.06)


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.floats(0.01, 12.0),
    longest=st.floats(0.5, 5.0),
    size=st.integers(100, 100_000),
    seed=st.integers(0, 9),
)
def test_every_sample_is_in_a_window_however_the_recording_comes(seconds, longest, size, seed):
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.choice([0.0, 0.0005, 0.2], 60), 16_000 // 5)[: max(1, int(seconds * 16_000))]
    waveform = (loudness * rng.standard_normal(loudness.size)).astype(np.float32)
    windows = list(cut_windows(in_pieces(waveform, size), longest))
    assert_covered(windows, waveform)
    assert all(window.samples.size <= longest * 16_000 for window in windows)
    whole = list(cut_windows([waveform], longest))
    assert [(window.start, window.stop) for window in windows] == [(w.start, w.stop) for w in whole]


def test_windows_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"at least 0\.2 s, but found 0\.01 s"):
        list(cut_windows([np.zeros(9, np.float32)], 0.01))


# The bundled model ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spoken(bundled):
    """The shipped clips, what is said in them, and the error rate of each by itself."""
    samples = load_samples()
    clips = [load_audio(sample.path) for sample in samples]
    texts = [transcribe(*bundled, clip).text for clip in clips]
    said = " ".join(sample.text for sample in samples)
    return samples, clips, said, word_errors(said, " ".join(texts)).rate


def test_minutes_of_sentences_are_recognized_as_well_as_each_by_itself(bundled, spoken):
    _, clips, said, alone = spoken
    rounds = 4
    recording = np.concatenate(clips * rounds)
    found = transcribe(*bundled, recording, batch_size=16)
    assert_in_order(found, recording.size / 16_000)
    assert recording.size > 90 * 16_000
    assert word_errors(" ".join([said] * rounds), found.text).rate < alone + 0.1


def test_continuous_speech_is_recognized_too_and_its_seams_are_told(bundled, spoken):
    samples, clips, said, alone = spoken
    # The silence around each sentence is cut away: the speech goes on without a pause.
    recording = np.concatenate(
        [
            clip[round(sample.words[0][1] * 16_000) : round(sample.words[-1][2] * 16_000)]
            for sample, clip in zip(samples, clips, strict=True)
        ]
    )
    found = transcribe(*bundled, recording)
    assert_in_order(found, recording.size / 16_000)
    assert any(transcribing.TORN in segment.warnings for segment in found.segments)
    assert word_errors(said, found.text).rate < alone + 0.25


# Memory -----------------------------------------------------------------------------------------------------

TWO_HOURS = """
import json, sys
from resource import RUSAGE_SELF, getrusage
from asrscope import load
from asrscope.recognition import transcribe as transcribing

def hear(model, processor, pieces, beams):  # in place of the model, which would take minutes
    return [transcribing._Heard("some words", (0.9, 0.9), ()) for _ in pieces]

transcribing._hear = hear
transcribing.sound_warnings = lambda samples: []
peak = lambda: getrusage(RUSAGE_SELF).ru_maxrss
model, processor = load("tiny")
transcribing.transcribe(model, processor, sys.argv[1])  # seconds: what is imported late is imported
before = peak()
found = transcribing.transcribe(model, processor, sys.argv[2])
segments = found.segments
gaps = sum(before.end != after.start for before, after in zip(segments, segments[1:]))
print(json.dumps([segments[0].start, found.seconds, len(segments), gaps, peak() - before]))
"""


def test_two_hours_are_read_to_their_end_in_bounded_memory(tmp_path, loud_and_quiet):
    minute = loud_and_quiet(30.0, np.arange(1.5, 60, 2.5), quiet=0.01)  # at 8 kHz: twice as long
    for name, minutes in (("short", 1), ("long", 120)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 8_000, 1, subtype="PCM_U8") as file:
            for _ in range(minutes):
                file.write(minute)
    run = subprocess.run(
        [sys.executable, "-c", TWO_HOURS, str(tmp_path / "short.wav"), str(tmp_path / "long.wav")],
        check=True,
        capture_output=True,
        text=True,
    )
    start, seconds, segments, gaps, kilobytes = json.loads(run.stdout.splitlines()[-1])
    assert (start, seconds, gaps) == (0, 7200, 0)
    assert segments > 1800
    assert kilobytes < 60_000  # its samples alone are 461 MB
