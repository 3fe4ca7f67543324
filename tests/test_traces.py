import dataclasses
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from asrscope.audio import SAMPLE_RATE
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.features import SECONDS_PER_FRAME
from asrscope.scope.traces import ARRAY_AXES, SECONDS_PER_SAMPLE, STAGES, Provenance, Trace, twins

FIELDS = [field.name for field in dataclasses.fields(Trace)]


def stage(key):
    return next(stage for stage in STAGES if stage.key == key)


def test_a_saved_trace_comes_back_exactly(make_trace, tmp_path):
    trace = make_trace(warnings=("one", "two"), eos_probability=None, finished=False)
    trace.save(tmp_path / "trace.npz")
    again = Trace.load(tmp_path / "trace.npz")
    for name in FIELDS:
        before, after = getattr(trace, name), getattr(again, name)
        if name in ARRAY_AXES:
            assert before.dtype == after.dtype, name
            np.testing.assert_array_equal(before, after)
        else:
            assert before == after, name
            assert type(before) is type(after), name


@pytest.mark.parametrize("field", ["waveform", "log_mel", "encoder_hidden_states"])
def test_no_array_of_a_trace_is_empty(make_trace, field):
    empty = getattr(make_trace(), field)[:0]
    with pytest.raises(ValueError, match=rf"Trace\.{field} must not be empty, but found shape \(0"):
        make_trace(**{field: empty})


def test_twins_stand_in_one_order_whatever_their_case_and_punctuation():
    assert twins(["The", "sea,", "the", "sea"], ["the", "old", "Sea"]) == (0, 2, None, None)
    assert twins(["old", "sea"], ["sea", "old"]).count(None) == 1
    assert twins([], ["sea"]) == ()


def test_unknown_references_come_back_as_none(make_trace, tmp_path):
    make_trace(reference=None, reference_words=None).save(tmp_path / "t")
    again = Trace.load(tmp_path / "t")  # a name without an ending is kept as it is
    assert again.reference is None
    assert again.reference_words is None


def test_the_file_holds_no_pickle(make_trace, tmp_path):
    make_trace().save(tmp_path / "trace.npz")
    with np.load(tmp_path / "trace.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {"header", *ARRAY_AXES}
        assert all(archive[name].dtype != object for name in archive.files)


def test_the_json_form_has_every_field_and_loses_little(make_trace):
    trace = make_trace(seconds=1.0)
    record = json.loads(json.dumps(trace.to_dict(), allow_nan=False))
    assert set(record) == {*FIELDS, "format", "version", "shapes"}
    np.testing.assert_allclose(record["waveform"], trace.waveform, atol=0.5 / 2**15)
    for name in ARRAY_AXES:
        assert record["shapes"][name] == list(getattr(trace, name).shape)
        np.testing.assert_allclose(record[name], getattr(trace, name), atol=1e-4)
    assert record["tokens"][0] == {
        "id": trace.tokens[0].id,
        "text": trace.tokens[0].text,
        "probability": pytest.approx(trace.tokens[0].probability, abs=1e-6),
        "runners_up": [[text, pytest.approx(p, abs=1e-6)] for text, p in trace.tokens[0].runners_up],
    }
    assert record["prompt_is_audio"] == trace.prompt_is_audio.tolist()


def test_floats_are_written_short(make_trace):
    longest = max(len(repr(value)) for value in make_trace(seconds=1.0).to_dict()["waveform"])
    assert longest <= len("-0.12345") or longest <= len("-1.2e-05")


def test_numbers_that_are_not_finite_are_refused(make_trace):
    with pytest.raises(ValueError, match="finite numbers only, but found NaN"):
        make_trace(confidence=float("nan")).to_dict()


def test_lengths_that_contradict_each_other_are_an_error(make_trace, tmp_path):
    make_trace(seconds=0.5).save(tmp_path / "trace.npz")
    with np.load(tmp_path / "trace.npz") as archive:
        arrays = dict(archive)
    arrays["audio_embeds"] = arrays["audio_embeds"][1:]
    np.savez(tmp_path / "wrong.npz", **arrays)
    # In a process of its own: the shape annotations, which are checked in this one, would speak first.
    code = "import sys; from asrscope.scope.traces import Trace; Trace.load(sys.argv[1])"
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "wrong.npz"], capture_output=True, text=True, check=False
    )
    assert "ValueError: Trace.audio_embeds has 5 audio_tokens, but 6 were expected." in run.stderr


def test_a_missing_file_is_reported_as_such(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        Trace.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVE", b"PK\x03\x04 and then nothing"])
def test_a_file_that_is_no_trace_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.npz is not a saved trace"):
        Trace.load(tmp_path / "other.npz")


def test_an_archive_of_something_else_is_an_error(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="is not a saved trace"):
        Trace.load(tmp_path / "other.npz")


def test_a_trace_of_a_later_version_is_an_error(make_trace, tmp_path, monkeypatch):
    monkeypatch.setattr("asrscope.scope.traces.FORMAT_VERSION", 99)
    make_trace(seconds=0.5).save(tmp_path / "later.npz")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has trace format 99"):
        Trace.load(tmp_path / "later.npz")


def test_stages_describe_fields_of_the_trace_with_the_right_axes(make_trace):
    trace = make_trace()
    assert len({stage.key for stage in STAGES}) == len(STAGES)
    for each in STAGES:
        assert each.field in FIELDS
        if each.field in ARRAY_AXES:
            assert tuple(axis.name for axis in each.axes) == ARRAY_AXES[each.field]
            assert getattr(trace, each.field).ndim == len(each.axes)


def test_the_clock_is_that_of_the_pipeline():
    assert pytest.approx(1 / SAMPLE_RATE) == SECONDS_PER_SAMPLE
    assert SECONDS_PER_FRAME == 0.010  # a hop of 160 samples
    assert SECONDS_PER_POSITION == 0.020  # the encoder's second convolution has stride 2


@pytest.mark.parametrize("k", [1, 4, 5])
def test_stages_of_one_clip_cover_the_same_time(make_trace, k):
    trace = make_trace(seconds=2.0, k=k)
    assert trace.duration == pytest.approx(2.0)
    covered = {
        axis.name: size * axis.seconds_per_step
        for each in STAGES
        if each.field in ARRAY_AXES
        for axis, size in zip(trace.axes(each), getattr(trace, each.field).shape, strict=True)
        if axis.seconds_per_step is not None
    }
    assert covered.keys() == {"samples", "frames", "positions", "audio_tokens"}
    for seconds in covered.values():
        assert seconds == pytest.approx(2.0, abs=trace.seconds_per_audio_token)
    assert trace.seconds_per_audio_token == pytest.approx(k * 0.02)


def test_titles_say_which_weights_are_random_or_unverified(make_trace):
    def part(name, trained):
        return Provenance(name, "somewhere", None, "0" * 64, trained, 1, "float16")

    trace = make_trace(provenance=(part("encoder", True), part("projector", False), part("decoder", None)))
    assert trace.title(stage("waveform")) == "Waveform"
    assert trace.title(stage("encoder_output")) == "Encoder output"
    assert trace.title(stage("audio_embeds")) == "Projector output (random weights: projector)"
    assert trace.title(stage("decoder_words")) == (
        "Decoder output (random weights: projector; unverified weights: decoder)"
    )
    assert [p.label for p in trace.provenance] == ["trained weights", "random weights", "unverified weights"]


def test_a_trace_is_loaded_without_torch(make_trace, tmp_path):
    make_trace(seconds=0.5).save(tmp_path / "trace.npz")
    code = (
        "import sys; from asrscope.scope.traces import Trace; Trace.load(sys.argv[1]).to_dict();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'bokeh')))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "trace.npz"], check=True)


def test_threads_that_save_to_one_file_leave_one_whole_trace(make_trace, tmp_path):
    traces = [make_trace(seconds=0.3 + 0.1 * number, name=f"trace {number}") for number in range(4)]
    path = tmp_path / "trace.npz"
    with ThreadPoolExecutor(4) as pool:
        saved = [pool.submit(traces[turn % 4].save, path) for turn in range(40)]
        for each in saved:
            each.result()
            found = Trace.load(path)  # while the others go on
            assert found.to_dict() == traces[int(found.name[-1])].to_dict()
    assert list(tmp_path.iterdir()) == [path]
