"""The command line: results on standard output, everything else on standard error, and no tracebacks."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import asrscope
from asrscope.audio import load_audio, wav_bytes
from asrscope.audio.samples import load_samples
from asrscope.cli import app, main
from asrscope.cli.console import progress
from asrscope.scope.traces import Trace, trace_schema

SECONDS = 0.8


@pytest.fixture
def run():
    """Call the command line in this process."""

    def call(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return call


@pytest.fixture
def clip(tmp_path, rng):
    """Write a noisy clip."""

    def write(name, seconds=SECONDS):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wav_bytes((0.1 * rng.standard_normal(round(16_000 * seconds))).astype(np.float32)))
        return path

    return write


def assert_one_error(result, message):
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("asrscope: error: ")
    assert re.search(message, lines[0])


# Starting ---------------------------------------------------------------------------------------------------


def test_help_and_version_import_no_torch():
    code = """
import sys
from typer.testing import CliRunner
from asrscope.cli import app
commands = ["trace", "transcribe", "info", "evaluate", "train"]
for arguments in [["--help"], ["--version"], *([command, "--help"] for command in commands)]:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and result.stdout, (arguments, result.output)
heavy = {"torch", "transformers", "bokeh", "librosa"} & set(sys.modules)
assert not heavy, heavy
"""
    finished = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


TYPER = """
import typer
app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command("one")(lambda: None)
app.command("two")(lambda: None)
app()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="times of children are told on POSIX alone")
@pytest.mark.parametrize(
    ("arguments", "times"), [(["-c", "import asrscope"], 1), (["-m", "asrscope", "--help"], 1.6)]
)
def test_starting_takes_next_to_nothing(arguments, times):
    """At most 0.15 s of processor time, or on slower machines so many times a program of two commands."""
    from resource import RUSAGE_CHILDREN, getrusage

    def seconds(command):
        before = getrusage(RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        after = getrusage(RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    tries = [(seconds(["-c", TYPER, "--help"]), seconds(arguments)) for _ in range(5)]
    needed, taken = map(min, zip(*tries, strict=True))
    assert 0 < taken < max(0.15, times * needed), tries  # the least of some: machines are disturbed


def test_what_is_trained_goes_where_everything_else_is_kept(tmp_path):
    code = "from asrscope.cli.train import DEFAULT_CACHE; print(DEFAULT_CACHE)"
    for environment, expected in (
        ({"ASRSCOPE_CACHE": str(tmp_path / "own")}, tmp_path / "own"),
        ({"ASRSCOPE_CACHE": "", "XDG_CACHE_HOME": str(tmp_path)}, tmp_path / "asrscope"),
    ):
        command = [sys.executable, "-c", code]
        finished = subprocess.run(
            command, check=True, capture_output=True, text=True, env=os.environ | environment
        )
        assert finished.stdout.strip() == str(expected)


def test_the_module_can_be_run():
    command = [sys.executable, "-m", "asrscope", "--version"]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    assert re.fullmatch(r"asrscope \d+\.\d+\.\d+\n", finished.stdout)
    assert finished.stderr == ""


def test_an_expected_error_ends_the_process_with_status_2_and_one_line():
    command = [sys.executable, "-m", "asrscope", "trace", "nothing.wav", "--json", "no/such/folder.json"]
    finished = subprocess.run(command, check=False, capture_output=True, text=True)
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert "there is no folder no/such" in finished.stderr


@pytest.mark.parametrize("command", ["info", "transcribe", "trace", "evaluate"])
def test_a_model_that_is_none_is_one_line(run, clip, tmp_path, command):
    clip("clip.wav").with_suffix(".txt").write_text("yes")
    argument = {"info": [], "evaluate": [tmp_path]}.get(command, [tmp_path / "clip.wav"])
    assert_one_error(run(command, *argument, "--model", tmp_path / "no_model"), "no_model")


# transcribe -------------------------------------------------------------------------------------------------


def test_one_recording_gives_its_text_alone(run, clip, make_checkpoint):
    path, checkpoint = clip("clip.wav"), make_checkpoint()
    text = run("transcribe", path, "--model", checkpoint).stdout
    record = json.loads(run("transcribe", path, "--model", checkpoint, "--format", "json").stdout)
    assert text == record["text"] + "\n"


def test_json_is_one_object_a_line_and_a_bad_file_does_not_stop_the_rest(
    run, clip, tmp_path, make_checkpoint
):
    folder = tmp_path / "recordings"
    for name in ["recordings/b.wav", "recordings/below/c.wav"]:
        clip(name)
    (folder / "a.wav").write_bytes(b"no sound at all")
    last = clip("last.wav", seconds=0.05)
    result = run("transcribe", folder, tmp_path / "nothing.wav", last, "-f", "json", "-m", make_checkpoint())
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["file"] for record in records] == [
        str(folder / "b.wav"),
        str(folder / "below" / "c.wav"),
        str(last),
    ]
    fields = {"file", "text", "confidence", "warnings", "seconds", "segments"}
    assert all(set(record) == fields for record in records)
    ends = [record["segments"][-1]["end"] for record in records]
    assert ends == pytest.approx([record["seconds"] for record in records], abs=1e-3)
    assert [record["seconds"] for record in records] == pytest.approx([SECONDS, SECONDS, 0.05])
    assert all(0 <= record["confidence"] <= 1 for record in records)
    assert any("shorter than a word" in warning for warning in records[2]["warnings"])
    errors = result.stderr.splitlines()
    assert [line.split(": ")[2] for line in errors] == [str(folder / "a.wav"), str(tmp_path / "nothing.wav")]
    assert result.exit_code == 2


def test_text_of_several_recordings_is_named_and_warnings_go_to_standard_error(run, clip, make_checkpoint):
    first, second = clip("first.wav"), clip("second.wav", seconds=0.05)
    result = run("transcribe", first, second, "--model", make_checkpoint())
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{first}: ")
    assert f"\n{second}: " in result.stdout
    assert f"asrscope: warning: {second}: only 0.050 s long" in result.stderr


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_are_those_of_the_transcript(run, clip, make_checkpoint, form):
    path, checkpoint = clip("clip.wav", seconds=7), make_checkpoint()
    text = run("transcribe", path, "--format", form, "--model", checkpoint).stdout
    transcript = asrscope.transcribe(*asrscope.load(checkpoint), path)
    assert len(transcript.segments) > 2
    assert text == getattr(transcript, f"to_{form}")() + "\n"


def test_subtitles_of_several_recordings_are_refused_before_the_work(run, clip, tmp_path):
    options = ("--format", "srt", "--model", tmp_path / "no_model")
    result = run("transcribe", clip("a.wav"), clip("b.wav"), *options)
    assert_one_error(result, "srt: expected one recording, .* but found 2: give one at a time")


def test_webvtt_has_its_header_where_nothing_is_said(run, tmp_path, make_checkpoint):
    """Players refuse an empty file."""
    silent, checkpoint = tmp_path / "silent.wav", make_checkpoint()
    silent.write_bytes(wav_bytes(np.zeros(16_000 * 10, np.float32)))
    text = run("transcribe", silent, "--format", "vtt", "--model", checkpoint).stdout
    assert text.startswith("WEBVTT\n\n")
    assert " --> " not in text
    assert run("transcribe", silent, "--format", "srt", "--model", checkpoint).stdout == ""


def test_segments_are_written_as_json_lines(run, clip, make_checkpoint):
    path, checkpoint = clip("clip.wav", seconds=7), make_checkpoint()
    lines = run("transcribe", path, "--format", "jsonl", "--model", checkpoint).stdout.splitlines()
    segments = [json.loads(line) for line in lines]
    assert len(segments) > 2
    assert all(segment.pop("file") == str(path) for segment in segments)
    whole = json.loads(run("transcribe", path, "--format", "json", "--model", checkpoint).stdout)
    assert segments == whole["segments"]


def test_of_many_warnings_the_first_are_shown_and_the_others_counted(run, clip, make_checkpoint):
    path = clip("clip.wav", seconds=24)
    result = run("transcribe", path, "--model", make_checkpoint())
    warnings = [line for line in result.stderr.splitlines() if "warning: " in line]
    assert len(warnings) == 11
    assert re.search(r"clip\.wav: \d+ more warnings, which --format json shows", warnings[-1])


@pytest.fixture
def stereo(tmp_path, rng):
    """A call: one voice from the start on the left, another from 4 s on the right."""
    time = np.arange(16_000 * 8) / 16_000
    sound = 0.1 * rng.standard_normal((time.size, 2))
    sound[time < 4, 1] = 0
    soundfile.write(tmp_path / "call.wav", sound.clip(-0.9, 0.9), 16_000)
    return tmp_path / "call.wav"


@pytest.mark.parametrize(("number", "side"), [(0, "left"), (1, "right")])
def test_a_channel_of_a_call_is_read_as_if_it_were_a_recording_of_its_own(
    run, stereo, make_checkpoint, number, side
):
    samples, rate = soundfile.read(stereo)
    alone, checkpoint = stereo.with_name(f"{side}.wav"), make_checkpoint()
    soundfile.write(alone, samples[:, number], rate)
    expected = json.loads(run("transcribe", alone, "-f", "json", "-m", checkpoint).stdout)
    found = json.loads(run("transcribe", stereo, "-f", "json", "-m", checkpoint, "--channel", side).stdout)
    assert found["segments"] == expected["segments"]


def test_a_recording_with_one_channel_has_no_right_one(run, clip, make_checkpoint):
    result = run("transcribe", clip("clip.wav"), "-m", make_checkpoint(), "--channel", "right")
    assert_one_error(result, r"clip\.wav: expected at least 2 channels, but found 1")


def test_a_call_in_one_piece_is_warned_of(run, stereo, make_checkpoint):
    told = run("transcribe", stereo, "-m", make_checkpoint()).stderr
    assert "asrscope: warning: " in told
    seconds = re.search(r"the two channels hold different sounds at the same time, (\S+) s in all", told)[1]
    assert float(seconds) == pytest.approx(4, abs=0.3)
    assert "--channel left and right" in told


def test_a_folder_of_a_phone_is_transcribed_or_named_file_by_file(run, clip, tmp_path, make_checkpoint):
    folder = tmp_path / "memos"
    clip("memos/a.wav"), clip("memos/f.wave"), clip("elsewhere/l.wav")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    for name in ("h.mp4", "i.3gp", "j.mov"):
        (folder / name).write_bytes(b"\0\0\0\x20ftyp3gp4" + bytes(400))
    (folder / "k.amr").write_bytes(b"#!AMR\n" + bytes(400))
    (folder / "l.webm").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(400))
    (folder / "m.mov").write_bytes(b"\0\0\0\x08wide\0\0\0\x20mdat" + bytes(400))
    result = run("transcribe", folder, "-f", "json", "-m", make_checkpoint())
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [
        str(folder / name) for name in ("a.wav", "f.wave", "linked/l.wav")
    ]
    errors = result.stderr.splitlines()
    assert [line.split(": ")[2] for line in errors] == [
        str(folder / name) for name in ("h.mp4", "i.3gp", "j.mov", "k.amr", "l.webm", "m.mov")
    ]
    assert all("ffmpeg -i INPUT output.wav" in line for line in errors)
    assert result.exit_code == 2


def test_a_folder_without_recordings_is_an_error(run, tmp_path):
    assert_one_error(run("transcribe", tmp_path), "expected recordings in this folder, but found none")


def test_a_format_that_is_none_is_refused(run, clip):
    result = run("transcribe", clip("clip.wav"), "--format", "pdf")
    assert result.exit_code == 2
    assert "pdf" in result.stderr


# Pipes ------------------------------------------------------------------------------------------------------


def test_a_recording_comes_through_a_pipe(clip, make_checkpoint):
    path, checkpoint = clip("clip.wav"), make_checkpoint()
    arguments = ["transcribe", "-", "-f", "json", "-m", str(checkpoint)]
    result = CliRunner().invoke(app, arguments, input=path.read_bytes(), catch_exceptions=False)
    record = json.loads(result.stdout)
    assert (record["file"], record["seconds"]) == ("standard input", SECONDS)


@pytest.mark.parametrize("content", [b"", b"no sound"])
def test_what_comes_through_a_pipe_and_is_no_recording_is_one_line(content, run, make_checkpoint):
    runner = CliRunner().invoke(
        app, ["transcribe", "-", "-m", str(make_checkpoint())], input=content, catch_exceptions=False
    )
    assert_one_error(runner, "standard input: (the file is empty|this looks like text)")


def test_a_trace_comes_through_a_pipe(clip, make_checkpoint, tmp_path, rng):
    path, npz = clip("clip.wav"), tmp_path / "t.npz"
    arguments = ["trace", "-", "--npz", str(npz), "-m", str(make_checkpoint())]
    result = CliRunner().invoke(app, arguments, input=path.read_bytes(), catch_exceptions=False)
    assert result.exit_code == 0
    trace = Trace.load(npz)
    assert trace.name == "standard input"
    np.testing.assert_array_equal(trace.waveform, load_audio(path))


COMMANDS = {
    "help": ["--help"],
    "version": ["--version"],
    "info": ["info"],
    "info --json": ["info", "--json"],
    "evaluate": ["evaluate", "CLIPS"],
    "evaluate --json": ["evaluate", "CLIPS", "--json"],
    "trace": ["trace", "CLIPS/a.wav"],
    **{form: ["transcribe", "CLIPS", "--format", form] for form in ("text", "json", "jsonl")},
    **{form: ["transcribe", "CLIPS/a.wav", "--format", form] for form in ("srt", "vtt")},
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, "full") for name in COMMANDS),
        *((name, "closed") for name in COMMANDS if name != "help"),  # which click ends without a word
    ],
)
def test_a_full_disk_or_a_closed_pipe_ends_a_command_in_one_line(  # noqa: PLR0917
    name, target, clip, tmp_path, monkeypatch, capfd
):
    """At once: it does not go on to recognize what nobody reads."""
    for letter in "abc":
        clip(f"clips/{letter}.wav").with_suffix(".txt").write_text("one two three")
    arguments = [argument.replace("CLIPS", str(tmp_path / "clips")) for argument in COMMANDS[name]]
    if target == "full":
        broken = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115, PTH123 - closed below
    else:
        read_end, write_end = os.pipe()
        os.close(read_end)
        broken = os.fdopen(write_end, "w", encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", broken)
    monkeypatch.setattr(sys, "argv", ["asrscope", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    broken.close()  # what is left in its buffer goes nowhere, and raises nothing
    reason = "No space left on device" if target == "full" else "Broken pipe"
    lines = [line for line in capfd.readouterr().err.splitlines() if "warning: " not in line]
    assert lines == [f"asrscope: error: standard output cannot be written ({reason}): the command ends here"]
    assert ended.value.code == 2


def test_a_reader_that_has_seen_enough_ends_the_process(clip, make_checkpoint):
    """One whole process, as ``head`` ends it; Python says nothing at its exit either."""
    clips = [clip(f"{number}.wav") for number in range(4)]
    command = [sys.executable, "-m", "asrscope", "transcribe", *clips, "-f", "json", "-m", make_checkpoint()]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 2
    assert told.splitlines()[-1].endswith("(Broken pipe): the command ends here")
    assert len([line for line in told.splitlines() if "warning: " not in line]) == 1


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_stream_that_is_closed_from_the_start_is_no_traceback(monkeypatch, capfd, closed):
    """Python has None in its place, and print would send what is said to standard output."""
    monkeypatch.setattr(sys, closed, None)
    monkeypatch.setattr(sys, "argv", ["asrscope", "transcribe", "nowhere.wav"])
    with pytest.raises(SystemExit) as ended:
        main()
    if closed == "stderr":
        sys.stderr.close()  # what stands there now
    found = capfd.readouterr()
    assert ended.value.code == 2
    assert found.out == ""
    told = "asrscope: error: standard output cannot be written (it is closed): the command ends here\n"
    assert found.err == (told if closed == "stdout" else "")


# trace ------------------------------------------------------------------------------------------------------


def test_a_trace_is_written_in_every_form(run, clip, tmp_path, make_checkpoint):
    path = clip("clip.wav")
    html, json_path, npz = tmp_path / "t.html", tmp_path / "t.json", tmp_path / "t.npz"
    result = run(
        *("trace", path, "--html", html, "--json", json_path, "--npz", npz),
        *("--model", make_checkpoint(), "--reference", "what was said", "--max-new-tokens", 4),
    )
    assert result.exit_code == 0
    saved = Trace.load(npz)
    assert (saved.reference, len(saved.tokens) <= 4) == ("what was said", True)
    assert result.stdout.startswith(saved.text + "\n")
    for field, shape in saved.shapes().items():
        assert re.search(rf"{field} +{' x '.join(map(str, shape))}\n", result.stdout)
    record = json.loads(json_path.read_text(encoding="utf-8"))
    jsonschema.validate(record, trace_schema())
    assert record["text"] == saved.text
    assert "<html" in html.read_text(encoding="utf-8")
    assert [line for line in result.stderr.splitlines() if "wrote" in line] == [
        f"asrscope: wrote {written}" for written in (npz, html, json_path)
    ]


def test_a_result_that_has_nowhere_to_go_is_found_out_before_the_work(run, clip, tmp_path):
    result = run("trace", clip("clip.wav"), "--html", tmp_path, "--model", tmp_path / "no_model")
    assert_one_error(result, "this is a folder: give the name of a file")


def test_an_untrained_projector_is_named_in_the_trace(run, clip, tmp_path, make_checkpoint):
    path = tmp_path / "t.npz"
    run("trace", clip("clip.wav"), "--npz", path, "--model", make_checkpoint(), "--random-projector")
    parts = {part.part: part.trained for part in Trace.load(path).provenance}
    assert parts["projector"] is False


def test_the_page_of_a_small_model_shows_an_untrained_projector_beside_it(
    run, clip, tmp_path, make_checkpoint
):
    recording, checkpoint = clip("noise.wav"), make_checkpoint()
    for options, beside in ((), True), (("--no-control",), False), (("--random-projector",), True):
        page = tmp_path / "page.html"
        result = run("trace", recording, "-m", checkpoint, "--html", page, *options)
        assert result.exit_code == 0
        text = page.read_text(encoding="utf-8")
        assert ('id="control"' in text) is beside
        if beside:
            labels = re.findall(
                r'<th scope="row"><span class="badge (\w+)">\w+</span></th><td class="long">', text
            )
            assert len(set(labels)) == 2
            assert "random" in labels


def test_a_recording_that_cannot_be_traced_is_one_line(run, tmp_path, make_checkpoint):
    result = run("trace", tmp_path / "nothing.wav", "--model", make_checkpoint())
    assert_one_error(result, r"nothing\.wav: there is no such file")


# info -------------------------------------------------------------------------------------------------------


def test_info_says_what_the_model_is_made_of(run, make_checkpoint):
    checkpoint = make_checkpoint()
    record = json.loads(run("info", "--json", "--model", checkpoint).stdout)
    parts = [record[part] for part in ("encoder", "projector", "decoder")]
    assert record["parameters"] == sum(part["parameters"] for part in parts) > 0
    assert all(re.fullmatch("[0-9a-f]{64}", part["sha256"]) for part in parts)
    assert {part["weights"] for part in parts} <= {"trained weights", "random weights", "unverified weights"}
    text = run("info", "--model", checkpoint).stdout
    assert record["decoder"]["sha256"] in text
    assert str(record["encoder"]["parameters"]) in text


# evaluate ---------------------------------------------------------------------------------------------------


def test_an_evaluation_counts_and_reports_failures(run, clip, tmp_path, make_checkpoint):
    clip("a.wav")
    (tmp_path / "bad.wav").write_bytes(b"")
    manifest = tmp_path / "list.jsonl"
    entries = [{"file": name, "text": "one two three", "voice": "noise"} for name in ("a.wav", "bad.wav")]
    manifest.write_text("\n".join(map(json.dumps, entries)))
    checkpoint = make_checkpoint()
    result = run("evaluate", manifest, "--json", "--model", checkpoint)
    record = json.loads(result.stdout)
    assert (record["utterances"], record["words"], record["model"]) == (1, 1, str(checkpoint))
    assert [failure["file"] for failure in record["failures"]] == ["bad.wav"]
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    text = run("evaluate", manifest, "--model", checkpoint, "--limit", 1)
    assert text.exit_code == 0
    assert text.stdout.startswith("WER ")


def test_an_evaluation_under_noise_hears_it(run, tmp_path):
    sample = load_samples()[0]
    (tmp_path / "a.flac").write_bytes(sample.path.read_bytes())
    (tmp_path / "a.txt").write_text(sample.text)
    clean, noisy = (
        json.loads(run("evaluate", tmp_path, "--json", "--beams", 2, *options).stdout)
        for options in ((), ("--noise", -10))
    )
    assert [record["noise_db"] for record in (clean, noisy)] == [None, -10]
    assert clean["beams"] == 2
    assert clean["wer"] < 0.5 < noisy["wer"]


def test_noise_that_cannot_be_is_found_out_before_the_work(run, tmp_path):
    options = ("--model", tmp_path / "no_model")
    assert_one_error(run("evaluate", "--noise", "nan", *options), "from -100 to 100 dB, but found nan")


def test_a_bad_manifest_is_one_line(run, tmp_path):
    (tmp_path / "list.jsonl").write_text("no json")
    assert_one_error(run("evaluate", tmp_path / "list.jsonl"), "line 1: expected one JSON object a line")


# The shipped samples and the bundled model ------------------------------------------------------------------


def test_the_shipped_samples_are_recognized_by_name(run):
    samples = load_samples()
    result = run("transcribe", "samples", "--format", "json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["file"] for record in records] == [str(sample.path) for sample in samples]
    alone = run("transcribe", samples[0].name)
    assert alone.stdout == records[0]["text"] + "\n"


def test_the_bundled_model_writes_most_words_of_the_samples_right(run):
    record = json.loads(run("evaluate", "--json").stdout)
    assert record["utterances"] == len(load_samples())
    assert record["wer"] < 0.5


def test_a_traced_sample_knows_what_was_said(run, tmp_path):
    sample = load_samples()[0]
    run("trace", sample.name, "--npz", tmp_path / "by_name.npz")
    run("trace", sample.path, "--npz", tmp_path / "by_path.npz")
    for name in ("by_name.npz", "by_path.npz"):
        trace = Trace.load(tmp_path / name)
        assert (trace.name, trace.reference, trace.reference_words) == (
            sample.name,
            sample.text,
            sample.words,
        )


# The bar ----------------------------------------------------------------------------------------------------


def test_the_bar_goes_to_standard_error_and_results_past_it(monkeypatch, capsys):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    with progress(2) as report:
        report("first result")
        report(None, "a complaint")
    assert "50%" in screen.getvalue()
    lines = screen.getvalue().replace("\r", "\n").splitlines()
    assert "asrscope: a complaint" in lines  # on a line of its own, and the bar on others
    assert capsys.readouterr().out == "first result\n"


def test_nothing_is_left_of_a_bar(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    with progress(1) as report:
        report(None)
    assert not screen.getvalue().rpartition("\r")[0].rpartition("\r")[2].strip()


def test_without_a_terminal_there_is_no_bar(capsys):
    with progress(2) as report:
        report("one")
        report("two")
    assert capsys.readouterr() == ("one\ntwo\n", "")
