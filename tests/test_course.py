"""What the pages tell a reader to do works, and every objective of a class is asked about."""

import json
import re
import shlex
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "gallery" not in page.parts)
CLASS_2 = (DOCS / "course" / "class-2.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Return a section of a page, up to the next heading of its level."""
    level = re.search(rf"^(#+) {title}$", text, re.MULTILINE)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", text.split(f"{level} {title}\n")[1], flags=re.MULTILINE)[0]


def questions() -> dict[str, str]:
    """Return the questions of the class by their labels."""
    parts = re.split(r"^\((q-[a-z]+)\)=\n", section(CLASS_2, "Check yourself"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_each_objective_is_assessed_by_a_question_and_each_question_assesses_one():
    objectives = re.split(r"^\d+\. ", section(CLASS_2, "Objectives"), flags=re.MULTILINE)[1:]
    asked = [re.findall(r"\(#(q-[a-z]+)\)", objective) for objective in objectives]
    assert all(asked)
    assert sorted(label for labels in asked for label in labels) == sorted(questions())


def test_each_question_explains_every_choice_and_one_choice_is_right():
    found = questions()
    assert len(found) >= 5
    for label, question in found.items():
        choices = re.findall(r"^:::\{dropdown\} [A-Z]\. .+\n((?:.+\n)+?):::$", question, re.MULTILINE)
        assert len(choices) == 4, label
        assert sum(explanation.startswith("Yes. ") for explanation in choices) == 1, label
        assert all(len(explanation) > 60 for explanation in choices), label


def test_the_minutes_of_the_class_add_up():
    for part, total in (("A: Lecture", 20), ("B: Hands-on", 40)):
        text = CLASS_2.split(f"## Part {part} ({total} minutes)\n")[1].split("\n## ")[0]
        assert sum(int(found) for found in re.findall(r"\((\d+) minutes?\)$", text, re.MULTILINE)) == total


def test_each_stage_of_the_report_has_a_prediction_and_an_explanation():
    hands_on = CLASS_2.split("## Part B")[1].split("## Check yourself")[0]
    assert hands_on.count("{admonition} Predict") == hands_on.count("{dropdown} Explain") >= 6


def test_the_class_traces_the_clip_that_its_lecture_follows():
    from asrscope.samples import load_samples

    traced = set(re.findall(r"^\$ asrscope trace (\w+) ", CLASS_2, re.MULTILINE))
    assert traced == {load_samples()[0].name}


def test_no_page_types_a_number_that_the_build_can_compute():
    units = "ms|GB|MB|parameters|layers|dimensions|mel bands|mels|tokens|positions|frames|samples a second"
    typed = re.compile(rf"(?<![\w.`])\d[\d,.]*\s(?:{units})\b")
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        # Claims that are corrected stand in headings as they were made; questions there may suppose any clip.
        prose = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
        assert typed.findall(prose) == [], page.name


def commands() -> list[str]:
    """Return every call of the command line that a page shows."""
    return sorted(
        {
            line.removeprefix("$ ").partition("  #")[0].strip()
            for page in PAGES
            for line in page.read_text(encoding="utf-8").splitlines()
            if line.startswith("$ asrscope ")
        }
    )


@pytest.mark.parametrize("command", commands())
def test_a_command_on_a_page_exists_with_its_options(command):
    from typer.main import get_command

    from asrscope.cli import app

    found = get_command(app)
    words = shlex.split(command)[1:]
    while words and words[0] in getattr(found, "commands", {}):
        found = found.commands[words.pop(0)]
    assert not hasattr(found, "commands"), f"{command}: no such command"
    names = {name for parameter in found.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= names


def blocks() -> list[tuple[str, str]]:
    """Return the Python programs of the pages, with the page that each is on."""
    return [
        (page.relative_to(DOCS).as_posix(), code)
        for page in PAGES
        for code in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with what a reader has at hand: a recording, a list with it, and the data of its trace."""
    import soundfile

    import asrscope

    folder = tmp_path_factory.mktemp("reader")
    sample = asrscope.load_samples()[2]
    soundfile.write(folder / "recording.wav", asrscope.load_audio(sample.path), asrscope.SAMPLE_RATE)
    line = {"file": "recording.wav", "text": sample.text, "voice": sample.voice}
    (folder / "manifest.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    asrscope.write_json(asrscope.trace(*asrscope.load("tiny"), sample.path), folder / "data_trace.json")
    return folder


@pytest.mark.parametrize(("page", "code"), blocks(), ids=lambda value: value[:40].partition("\n")[0])
def test_a_program_on_a_page_runs(page, code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(compile(code, page, "exec"), {})
    assert ("print(" in code) == bool(capsys.readouterr().out)
