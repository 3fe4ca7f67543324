"""Each kind of bad or odd input ends as the documentation says, and none as anything else."""

import html
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import bad_audio_kit as kit
import damaged_audio_kit as damaged
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from asrscope import audio
from asrscope.audio import SAMPLE_RATE, check_waveform, load_audio

ROOT = Path(__file__).parents[1]
IDS = [kind.name for kind in kit.KINDS]
WARNED = [kind for kind in kit.KINDS if kind.outcome == "warns"]
REFUSED_FILES = [kind for kind in kit.KINDS if kind.outcome == "stops" and not kind.is_array]


def strength(waveform, hertz):
    """Amplitude of one frequency in a waveform."""
    turns = np.exp(-2j * np.pi * hertz * np.arange(len(waveform)) / SAMPLE_RATE)
    return 2 * abs(np.mean(waveform * turns))


def loudest(waveform):
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    spectrum[:5] = 0  # an offset
    return spectrum.argmax() * SAMPLE_RATE / len(waveform)


@pytest.mark.parametrize("kind", kit.KINDS, ids=IDS)
def test_each_kind_ends_as_it_should(kind, tmp_path):
    made, run, warnings = kit.load(kind, tmp_path)
    if kind.outcome == "stops":
        with pytest.raises(kind.error, match=kind.says) as caught:
            run()
        message = str(caught.value)
        assert "\n" not in message
        assert ": " in message
        if isinstance(made, Path) and str(made).isprintable():
            assert message.startswith(f"{made}: ")
        return
    waveform = run()
    if isinstance(made, io.IOBase):
        made.close()
    assert bool(warnings) == (kind.outcome == "warns"), warnings
    assert all("\n" not in warning for warning in warnings)
    assert any(kind.says in warning for warning in warnings) or kind.outcome == "reads"
    assert waveform.dtype == np.float32
    assert waveform.flags.c_contiguous
    assert waveform.flags.writeable
    assert waveform.shape == (waveform.size,)
    assert waveform.size > 0
    assert np.abs(waveform).max() <= 1.0  # false for NaN, too
    if kind.seconds is not None:
        assert len(waveform) / SAMPLE_RATE == pytest.approx(kind.seconds, rel=0.05, abs=1e-3)
    if kind.hertz is not None:
        assert loudest(waveform) == pytest.approx(kind.hertz, abs=4)
        if kind.level is not None:
            assert strength(waveform, kind.hertz) == pytest.approx(kind.level, abs=0.03)


def test_the_kinds_are_many_and_counted(audit_record):
    assert len(kit.KINDS) >= 200
    assert len(set(IDS)) == len(IDS)
    outcomes = Counter(kind.outcome for kind in kit.KINDS)
    assert min(outcomes.values()) >= 20
    audit_record("bad_audio_kinds", {"kinds": len(kit.KINDS), **outcomes})


def test_the_page_tells_of_each_row_what_happens():
    """The table of the documentation has a row for each group of kinds, and says how all of them end."""
    page = (ROOT / "docs" / "using" / "your-recording.md").read_text(encoding="utf-8")
    table = page.split("## What the loader does")[1].split("##")[0]
    told = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE)[1:])
    rows = {kind.row: kind.outcome for kind in kit.KINDS}
    assert told.keys() == rows.keys()
    for row, outcome in rows.items():
        assert {kind.outcome for kind in kit.KINDS if kind.row == row} == {outcome}
        assert ("warns" in told[row]) == (outcome == "warns"), row
        assert told[row].startswith("stops") == (outcome == "stops"), row


def test_a_file_of_another_user_is_named(tmp_path):
    path = kit.content(kit.encode(kit.tone()))(tmp_path)
    path.chmod(0)
    program = (
        "import os, sys\nfrom asrscope.audio import load_audio\n"
        "if os.geteuid() == 0:\n    os.setuid(65534)\n"  # whom no mode keeps out must become nobody
        "try:\n    load_audio(sys.argv[1])\nexcept PermissionError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: no permission to read this file: check its owner and mode\n"


# Through the model ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WARNED, ids=[kind.name for kind in WARNED])
def test_a_warning_stands_in_the_trace(kind, tmp_path, bundled):
    from asrscope.scope.tracing import trace

    made, run, expected = kit.load(kind, tmp_path)
    run()
    warnings = trace(*bundled, made).warnings
    assert list(warnings[: len(expected)]) == expected
    assert any(kind.says in warning for warning in warnings)


def test_the_report_shows_every_warning(tmp_path, make_trace):
    from asrscope.plots.report import write_html

    warnings = []
    for number, kind in enumerate(WARNED):
        folder = tmp_path / str(number)
        folder.mkdir()
        _, run, found = kit.load(kind, folder)
        run()
        warnings += found
    write_html(make_trace(seconds=0.5, warnings=tuple(warnings)), tmp_path / "page.html")
    shown = html.unescape((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert len(warnings) >= len(WARNED)
    assert [warning for warning in warnings if warning not in shown] == []


def test_the_command_line_gives_one_line_for_each_file_it_cannot_read(tmp_path):
    """One run over all of them: a bad file does not stop the others."""
    paths, kinds = [], []
    for number, kind in enumerate(REFUSED_FILES):
        if kind.row == kit.LONG:  # which this command takes window by window
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        made = kind.make(folder)
        if isinstance(made, Path) and made != folder and "\0" not in str(made):
            paths.append(made)
            kinds.append(kind)
    good = kit.content(kit.cut(kit.encode(kit.tone(), format="MP3")), "half.mp3")(tmp_path)
    command = [sys.executable, "-m", "asrscope", "transcribe", *map(str, paths), str(good)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert f"{good}: " in done.stdout
    errors = [line for line in done.stderr.splitlines() if "error: " in line]
    assert len(errors) == len(paths) > 50
    for line, path, kind in zip(errors, paths, kinds, strict=True):
        assert line.startswith("asrscope: error: ")
        assert re.search(kind.says, line), (line, path)
    others = [line for line in done.stderr.splitlines() if not line.startswith("asrscope: ")]
    assert others == []


# Bounds -----------------------------------------------------------------------------------------------------

MEASURE = """
import sys, time
from pathlib import Path
import damaged_audio_kit as kit
from asrscope.audio import load_audio
Path("/proc/self/clear_refs").write_text("5")
before, began = kit.peak_memory(), time.process_time()
waveform = load_audio(sys.argv[1], on_warning=lambda message: None)
print(waveform.size, kit.peak_memory() - before, time.process_time() - began)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
@pytest.mark.parametrize(
    ("rate", "channels", "seconds"),
    [(16_000, 1, 2 * 3600), (4_000, 1, 3600), (44_100, 2, 300), (48_000, 8, 120)],
    ids=["2 hours", "an hour at 4 kHz", "stereo", "8 channels"],
)
def test_memory_stays_below_four_times_the_samples(tmp_path, rate, channels, seconds, audit_record):
    """The measure is what is stored or what comes of it, in 32 bits, whichever is more."""
    frames = rate * seconds
    path = kit.sparse(frames * channels, rate)(tmp_path)
    path.write_bytes(kit.patched(path.read_bytes()[:44], 22, bytes([channels])))
    os.truncate(path, 44 + 2 * channels * frames)
    command = [sys.executable, "-c", MEASURE, path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    size, peak, elapsed = map(float, done.stdout.split())
    assert size == SAMPLE_RATE * seconds
    measure = 4 * max(frames * channels, SAMPLE_RATE * seconds)
    assert peak < 4 * measure + 200e6
    assert elapsed < 120
    audit_record(f"bad_audio_memory/{rate}x{channels}", {"times": round(peak / measure, 2)})


def test_what_does_not_fit_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = kit.sparse(3600 * SAMPLE_RATE)(tmp_path)  # 230 MB in the file
    monkeypatch.setattr(audio, "free_memory", lambda: 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"longer than 13 minutes .* more than there is memory for"):
            load_audio(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_stream_of_unknown_length_is_refused_as_soon_as_it_is_too_long(monkeypatch):
    endless = kit.announce(kit.encode(kit.hiss(), format="FLAC"), 0)
    monkeypatch.setattr(audio, "free_memory", lambda: 8 * 5 * SAMPLE_RATE)
    with pytest.raises(ValueError, match=r"longer than 0\.0833 minutes"):
        load_audio(endless)


def test_samples_in_memory_are_refused_before_they_are_copied(monkeypatch):
    monkeypatch.setattr(audio, "free_memory", lambda: 1000)
    with pytest.raises(ValueError, match="more than there is memory for"):
        check_waveform(kit.tone())


def test_running_out_of_memory_is_an_error_like_others(monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("asrscope.audio.mean_of_channels", fail)
    for run in (lambda: load_audio(kit.encode(kit.tone())), lambda: check_waveform(kit.tone())):
        with pytest.raises(ValueError, match="there is not enough memory for it: cut it into pieces"):
            run()


# Anything at all --------------------------------------------------------------------------------------------


def ends_well(run):
    """Whatever it is, it ends as a sound waveform or as one line of a known error."""
    try:
        waveform = run()
    except (OSError, ValueError) as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        assert waveform.ndim == 1
        assert waveform.size
        assert np.abs(waveform).max() <= 1.0


@settings(max_examples=300, deadline=None)
@given(
    array=arrays.arrays(
        dtype=st.one_of(arrays.scalar_dtypes(), arrays.unicode_string_dtypes(max_len=4)),
        shape=arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40),
    ),
    rate=st.one_of(st.integers(), st.integers(2_000, 384_000), st.floats()),
)
def test_any_array_at_any_rate_ends_well(array, rate):
    ends_well(lambda: check_waveform(array, rate, on_warning=lambda message: None))


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(max_size=3), st.lists, max_leaves=8))
def test_any_list_ends_well(values):
    ends_well(lambda: check_waveform(values, on_warning=lambda message: None))


@settings(max_examples=300, deadline=None)
@given(
    head=st.sampled_from(
        [b"", b"RIFF", b"fLaC", b"OggS", b"FORM", b"ID3", b"caff", b".snd", b"RF64", b"\xff\xfb"]
    ),
    rest=st.binary(max_size=300),
)
def test_any_bytes_end_well(head, rest):
    ends_well(lambda: load_audio(head + rest, on_warning=lambda message: None))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_path_ends_well(path):
    ends_well(lambda: load_audio(path, on_warning=lambda message: None))


def damage(start, stop, folder):
    """Load damaged files in a process of its own, which one of them might end."""
    progress = folder / f"{start}.txt"
    command = [sys.executable, damaged.__file__, str(start), str(stop), str(progress)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    note = progress.read_text(encoding="ascii").strip() if progress.exists() else "none"
    assert done.returncode == 0, f"ended with {done.returncode} at seed {note}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


def check_damage(found, mutations):
    assert found["problems"] == []
    assert sum(found["counts"].values()) == mutations
    assert (
        min(found["counts"].values()) > mutations / 50
    )  # changes that hurt nothing or all would test little
    assert found["longest"] < 5  # of 0.1 s, at the lowest rate and the fewest bits a sample
    assert found["slowest"] < damaged.PATIENCE
    assert found["memory"] < 200e6


def test_twenty_thousand_damaged_files_end_well(tmp_path, audit_record):
    found = damage(0, 20_000, tmp_path)
    check_damage(found, 20_000)
    audit_record("bad_audio_mutations", {"mutations": 20_000, **found["counts"]})


@pytest.mark.slow
def test_two_hundred_thousand_damaged_files_end_well(tmp_path):
    check_damage(damage(20_000, 220_000, tmp_path), 200_000)


def test_damaged_files_are_the_same_each_time():
    originals = damaged.originals()
    made = [damaged.mutated(seed, originals) for seed in range(50)]
    assert made == [damaged.mutated(seed, damaged.originals()) for seed in range(50)]
    assert len(set(made)) == 50


def test_files_to_be_damaged_are_whole_and_without_the_time_or_a_random_number():
    first, second = (kit.encode(kit.tone(), format="OGG", subtype="VORBIS") for _ in range(2))
    assert first != second  # by a number in each page
    assert damaged.unstamped(first) == damaged.unstamped(second)
    stamped = kit.encode(kit.tone(), subtype="FLOAT")
    clean = damaged.unstamped(stamped)
    assert sum(a != b for a, b in zip(stamped, clean, strict=True)) in range(1, 5)  # of four bytes
    for made, raw in ((first, damaged.unstamped(first)), (stamped, clean)):
        # Its reader checks the sum of each page.
        np.testing.assert_array_equal(soundfile.read(io.BytesIO(raw))[0], soundfile.read(io.BytesIO(made))[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals end a process only on POSIX")
def test_a_file_that_hangs_is_found(tmp_path, monkeypatch):
    """The watch over the damaged files works: a loader that never returns ends its process at the seed."""
    source = (
        inspect.getsource(damaged)
        .replace("PATIENCE = 20", "PATIENCE = 1")
        .replace("waveform = load_audio(damaged", "waveform = (load_audio if seed != 3 else hang)(damaged")
    )
    program = tmp_path / "hanging.py"
    hang = "def hang(*_, **__):\n    while True:\n        pass\n\n\n"
    program.write_text(source.replace("def load_mutated", hang + "def load_mutated"), encoding="utf-8")
    monkeypatch.setattr(damaged, "__file__", str(program))
    with pytest.raises(AssertionError, match="ended with -14 at seed 3"):
        damage(0, 10, tmp_path)
