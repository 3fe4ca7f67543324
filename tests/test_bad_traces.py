"""A saved trace that is damaged, hostile or of another version is one error; nothing large is read for it."""

import io
import json
import re
import time
import tracemalloc
import zipfile
from dataclasses import fields

import numpy as np
import pytest

from asrscope.scope import traces
from asrscope.scope.traces import ARRAY_AXES, FORMAT_VERSION, Trace

MUTATIONS = 2000


@pytest.fixture(scope="module")
def saved(make_trace, tmp_path_factory):
    """The bytes of a saved trace, and its header and arrays."""
    path = tmp_path_factory.mktemp("saved") / "trace.npz"
    make_trace(seconds=0.4).save(path)
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    header = json.loads(str(arrays.pop("header")))
    return path.read_bytes(), header, arrays


@pytest.fixture
def load_changed(saved, tmp_path):
    """Save header and arrays anew, changed by a function, and load them."""

    def load(change):
        _, header, arrays = saved
        header, arrays = json.loads(json.dumps(header)), dict(arrays)
        change(header, arrays)
        np.savez_compressed(tmp_path / "changed.npz", header=np.array(json.dumps(header)), **arrays)
        return Trace.load(tmp_path / "changed.npz")

    return load


def test_a_trace_saved_anew_is_loaded(load_changed):
    assert load_changed(lambda header, arrays: None).tokens


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def described(shape, dtype="<f4", version=b"\x01\x00"):
    """Write the head of an .npy file that promises anything."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text


def packed(members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def with_member(name, content):
    """Replace one array of the file."""

    def make(saved):
        _, header, arrays = saved
        members = {"header": npy(np.array(json.dumps(header)))} | {key: npy(a) for key, a in arrays.items()}
        return packed({**members, name: content})

    return make


FILES = {
    "empty": (lambda _: b"", "not a saved trace: expected an .npz"),
    "text": (lambda _: b"not a trace", "not a saved trace: expected an .npz"),
    "an empty archive": (lambda _: packed({}), "it lacks header, waveform"),
    "one array": (lambda _: packed({"waveform": npy(np.zeros(3, np.float32))}), "it lacks header"),
    "half of a file": (lambda saved: saved[0][: len(saved[0]) // 2], "not a saved trace: expected an .npz"),
    "an .npy file": (lambda _: npy(np.zeros(3)), "not a saved trace: expected an .npz"),
    "a pickle": (
        with_member("waveform", npy(np.array([{}, None], dtype=object))),
        "Object arrays cannot be loaded",
    ),
    "promised too much": (with_member("waveform", described((10**12,))), "not a saved trace"),
    "promised too little": (
        with_member("waveform", described((1,)) + bytes(4000)),
        "more bytes than its shape",
    ),
    "a negative shape": (with_member("waveform", described((-5,)) + bytes(400)), "not a saved trace"),
    "a shape of words": (with_member("waveform", described(("a",))), "not a saved trace"),
    "no shape": (with_member("waveform", b"\x93NUMPY\x01\x00\x05\x00hello"), "not a saved trace"),
    "a program as shape": (with_member("waveform", described("__import__('os').abort()")), "not a saved"),
    "an unknown version": (
        with_member("waveform", described((0,), version=b"\x09\x00")),
        "not a saved trace",
    ),
    "floats of another width": (with_member("waveform", npy(np.zeros(6400))), "holds float64, but float32"),
    "another order of bytes": (with_member("waveform", npy(np.zeros(6400, ">f4"))), "holds >f4, but float32"),
    "a header of bytes": (with_member("header", npy(np.array(b"{}"))), "not a saved trace"),
    "a header that is no JSON": (with_member("header", npy(np.array("{"))), "not a saved trace"),
    "a header that is a list": (with_member("header", npy(np.array("[1]"))), "does not say 'asrscope-trace'"),
    "a deep header": (with_member("header", npy(np.array(60_000 * "["))), "not a saved trace"),
    "two headers": (with_member("header", npy(np.array(["{}", "{}"]))), "not a saved trace"),
}


@pytest.mark.parametrize(("make", "message"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_wrong_is_one_clear_error(saved, tmp_path, make, message):
    path = tmp_path / "trace.npz"
    path.write_bytes(make(saved))
    with pytest.raises(ValueError, match=message) as caught:
        Trace.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_an_archive_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path, monkeypatch):
    """Ten megabytes of zeros in ten kilobytes stand for a bomb, and two free megabytes for a machine."""
    monkeypatch.setattr(traces, "free_memory", lambda: 2_000_000)
    bomb = packed({name: bytes(10_000_000) for name in ("header", *ARRAY_AXES)})
    assert len(bomb) < 200_000
    (tmp_path / "bomb.npz").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"its arrays take 0\.1 GB, more than there is memory for"):
            Trace.load(tmp_path / "bomb.npz")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("version", [0, -1, 1.5, "2", 2.0, None, [2], True], ids=repr)
def test_a_version_that_never_was_is_refused(load_changed, version):
    with pytest.raises(ValueError, match=re.escape(f"has trace format {version!r}, but")):
        load_changed(lambda header, arrays: header.update(version=version))


@pytest.mark.parametrize("version", [FORMAT_VERSION - 1, FORMAT_VERSION + 1])
def test_another_version_says_what_to_do(load_changed, version):
    done = f"has trace format {version}, but .* trace the clip again or, of a later format, to upgrade"
    with pytest.raises(ValueError, match=done):
        load_changed(lambda header, arrays: header.update(version=version))


NOT_ARRAYS = sorted({field.name for field in fields(Trace)} - ARRAY_AXES.keys())


@pytest.mark.parametrize("name", NOT_ARRAYS)
def test_a_field_that_is_missing_is_named(load_changed, name):
    with pytest.raises(ValueError, match=f"damaged, or not all of a trace .*{name}"):
        load_changed(lambda header, arrays: header.pop(name))


def test_a_field_that_nobody_knows_is_named(load_changed):
    with pytest.raises(ValueError, match="surprise: Extra inputs are not permitted, but found 1"):
        load_changed(lambda header, arrays: header.update(surprise=1))


@pytest.mark.parametrize("name", NOT_ARRAYS)
@pytest.mark.parametrize("value", [5, "x", 0.5, True, [1], {"a": []}, [["x"]], [None]], ids=repr)
def test_a_field_of_another_type_is_named_or_fits(load_changed, name, value):
    try:
        trace = load_changed(lambda header, arrays: header.update({name: value}))
    except ValueError as error:
        assert name in str(error)
        assert "\n" not in str(error)
    else:
        found = getattr(trace, name)
        assert found == value or (isinstance(found, tuple) and list(found) == value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, arrays: header["tokens"][0].pop("id"), r"tokens\[0\]\.id: Field required"),
        (
            lambda header, arrays: header["tokens"][0].update(id="x"),
            r"tokens\[0\]\.id: .*, but found 'x'",
        ),
        (lambda header, arrays: header["words"][0].update(last_token=10**6), "a word with other tokens"),
        (
            lambda header, arrays: header["words"][0].update(first_token=-1),
            r"words\[0\]\.first_token: .*-1",
        ),
        (lambda header, arrays: header["prompt_texts"].pop(), "prompt_texts has"),
        (lambda header, arrays: header["nearest_texts"].pop(), "nearest_texts has"),
        (lambda header, arrays: header["nearest_texts"][0].pop(), "nearest_texts must have the axes"),
        (
            lambda header, arrays: header.update(confidence=float("nan")),
            "confidence: .* finite .* found nan",
        ),
        (lambda header, arrays: arrays.update(log_mel=arrays["log_mel"][0]), "log_mel"),
        (lambda header, arrays: arrays.update(nearest_ids=arrays["nearest_ids"][1:]), "nearest_"),
        (lambda header, arrays: arrays.update(waveform=arrays["waveform"][:0]), "waveform must not be"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_named(load_changed, change, message):
    with pytest.raises(ValueError, match=message):
        load_changed(change)


def test_no_damaged_trace_ends_in_anything_else(saved, tmp_path, audit_record):
    """Bytes changed at random, half of them in the heads of the archive, and files cut short."""
    content = saved[0]
    path = tmp_path / "trace.npz"
    outcomes = {"loaded": 0, "refused": 0}
    slowest = 0.0
    for seed in range(MUTATIONS):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 5)):
            near_end = rng.random() < 0.5
            low = len(content) - 800 if near_end else 0
            damaged[rng.integers(low, len(content))] = rng.integers(256)
        if rng.random() < 0.1:
            del damaged[rng.integers(len(damaged)) :]
        path.write_bytes(damaged)
        began = time.process_time()  # of the processor: what else the machine does does not count
        try:
            Trace.load(path)
            outcomes["loaded"] += 1
        except ValueError as error:
            assert "\n" not in str(error), seed
            outcomes["refused"] += 1
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        slowest = max(slowest, time.process_time() - began)
    assert outcomes["refused"] > MUTATIONS / 2
    assert slowest < 20
    audit_record("bad_traces", {"mutations": MUTATIONS, **outcomes})


def test_other_arrays_of_a_file_are_left_alone(saved, tmp_path):
    _, header, arrays = saved
    members = {"header": np.array(json.dumps(header)), **arrays, "other": np.array([None], dtype=object)}
    np.savez(tmp_path / "more.npz", **members)
    assert Trace.load(tmp_path / "more.npz").shapes() == {name: arrays[name].shape for name in ARRAY_AXES}


def test_an_array_stored_by_columns_comes_back_as_it_was(load_changed, saved):
    loaded = load_changed(lambda header, arrays: arrays.update(log_mel=np.asfortranarray(arrays["log_mel"])))
    np.testing.assert_array_equal(loaded.log_mel, saved[2]["log_mel"])
