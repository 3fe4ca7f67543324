"""What the pages tell a reader to do works, what they ask is all there, and no number is typed."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "gallery" not in page.parts)
CLASSES = sorted((DOCS / "course").glob("class-*.md"))
CLASS_2 = (DOCS / "course" / "class-2.md").read_text(encoding="utf-8")
CODE = {"bokeh-figure", "code-block", "diagram", "eval-rst", "exercise", "facts-table", "include"}
CODE |= {"math", "progress", "toctree"}


@pytest.mark.parametrize("page", CLASSES, ids=lambda page: page.stem)
def test_a_class_has_every_one_of_its_exercises(page):
    from asrscope.exercises import list_exercises

    shown = re.findall(r"^```\{exercise\} ([\d.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(list_exercises(int(page.stem.rpartition("-")[2])).ids)


@pytest.mark.parametrize("page", CLASSES, ids=lambda page: page.stem)
def test_a_class_asks_and_explains(page):
    # That each objective is assessed, each choice explained and one of them right, the build sees to.
    text = page.read_text(encoding="utf-8")
    questions = re.split(r"^:::\{question\} ", text, flags=re.MULTILINE)[1:]
    assert len(questions) >= 5
    assert all(len(re.findall(r"^- \[[ x]\] ", question, re.MULTILINE)) >= 3 for question in questions)
    assert text.count("```{objectives}") == text.count("```{progress}\n") == 1
    assert text.count("{admonition} Predict") == text.count("{dropdown} Explain")


# What these explain is held by tests of the programs, or is advice on what to read: nothing to compute.
TOLD = (
    "The vertical axis no longer means",
    "Compare with the report",
    "The losses agree up to",
    "The second waits",
)


@pytest.mark.parametrize("page", CLASSES, ids=lambda page: page.stem)
def test_what_a_class_explains_is_held_by_the_numbers_of_the_build(page):
    explained = re.findall(
        r"^:::\{dropdown\} Explain.*?\n(.*?)^:::$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    free = [text[:70] for text in explained if "{holds}" not in text and "assert " not in text]
    assert [text for text in free if not text.startswith(TOLD)] == []


@pytest.mark.parametrize("page", CLASSES, ids=lambda page: page.stem)
def test_the_minutes_of_a_class_add_up(page):
    for part, total in (("A: Lecture", 20), ("B: Hands-on", 40)):
        text = page.read_text(encoding="utf-8").split(f"## Part {part} ({total} minutes)\n")[1]
        minutes = re.findall(r"\((\d+) minutes?\)$", text.split("\n## ")[0], re.MULTILINE)
        assert sum(map(int, minutes)) == total


@pytest.mark.parametrize("page", CLASSES, ids=lambda page: page.stem)
def test_the_exercises_of_a_part_fit_into_its_minutes(page):
    from asrscope.exercises import find

    parts = re.split(r"^##+ ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    asked = {
        part.partition("\n")[0]: sum(
            find(number).minutes for number in re.findall(r"^```\{exercise\} (\S+)", part, re.MULTILINE)
        )
        for part in parts
    }
    for title, minutes in asked.items():
        told = re.search(r"\((\d+) minutes?\)$", title)
        assert minutes == 0 or minutes <= int(told[1]), title
        assert not title.startswith("At home") or minutes == int(told[1])


@pytest.mark.parametrize("page", CLASSES, ids=lambda page: page.stem)
def test_the_plan_for_instructors_fills_the_hour_in_the_order_of_the_parts(page):
    text = page.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+)-(\d+) \|", text.split(":::{dropdown} For instructors")[1], re.MULTILINE)
    ends = [0, *(int(end) for _, end in rows)]
    assert [int(start) for start, _ in rows] == ends[:-1]
    assert ends[-1] == 60
    minutes = re.findall(r"^### \d+\. .*\((\d+) minutes?\)$", text, re.MULTILINE)
    assert set(ends) <= {sum(map(int, minutes[:count])) for count in range(len(minutes) + 1)}


def test_each_stage_of_the_report_has_a_prediction_and_an_explanation():
    hands_on = CLASS_2.split("## Part B")[1].split("## Check yourself")[0]
    assert hands_on.count("{admonition} Predict") >= 6


def test_the_class_traces_the_clip_that_its_lecture_follows():
    from asrscope.audio.samples import load_samples

    traced = set(re.findall(r"^\$ asrscope trace (\w+) ", CLASS_2, re.MULTILINE))
    assert traced == {load_samples()[0].name}


def prose(text: str) -> str:
    """Return what a page says in its own words: no programs, no headings, no facts, nothing supposed."""
    lines, closing = [], ""
    for line in text.splitlines():
        fence = re.match(r"(`{3,}|:{3,}) *(?:\{([\w-]+)\}|([\w-]*))", line)
        if closing:
            closing = "" if line.rstrip() == closing else closing
        elif fence and fence[1][0] == "`" and (fence[2] in CODE or fence[2] is None):
            closing = fence[1]
        elif not fence and not line.startswith("#"):  # claims stand in headings as they were made
            lines.append(line)
    said = "\n".join(lines)
    said = re.sub(r"\{[\w-]+\}`[^`]*`|`[^`]*`|\]\([^)]*\)|<[^>]*>|https?://\S+", " ", said)
    return re.sub(r"\bSuppose\b[^.?!]*[.?!]", " ", said)  # a supposition has numbers of its own


def test_prose_keeps_questions_and_drops_programs():
    page = """# 80 mels\n\nWith {fact}`a.b` and `7 ms`. Suppose a clip of 5 s. Then 6.\n
```python\nx = 1\n```\n
:::{question} q\n- [x] 4 tokens\n:::\n
```{objectives}\nname: do 3\n```\n
```{bokeh-figure}\ny = 2\n```\n"""
    assert re.findall(r"\d", prose(page)) == ["6", "4", "3"]


def test_no_page_types_a_number_that_the_build_can_compute():
    units = "ms|GB|MB|parameters|layers|dimensions|mel bands|mels|tokens|positions|frames|samples a second"
    typed = re.compile(rf"(?<![\w.`])\d[\d,.]*\s(?:{units})\b")
    found = {page.name: typed.findall(prose(page.read_text(encoding="utf-8"))) for page in PAGES}
    assert {name: numbers for name, numbers in found.items() if numbers} == {}


def test_no_page_types_a_number_that_is_a_fact():
    sys.path.insert(0, str(DOCS.parent / "conf" / "extensions"))
    from facts_asrscope import load_facts

    facts: dict[str, str] = {}
    for name, fact in load_facts().items():
        digits = fact.text.replace(",", "")
        if re.fullmatch(r"[\d.]+", digits) and len(digits.replace(".", "").strip("0")) >= 3:
            facts.setdefault(digits, name)
    found = []
    for page in PAGES:
        for number in re.findall(
            r"(?<![\w.,/-])\d[\d,]*(?:\.\d+)?(?![\w/-])", prose(page.read_text("utf-8"))
        ):
            if name := facts.get(number.replace(",", "")):
                found.append(f"{page.name}: {number} is {name}")
    assert found == []


def commands() -> list[str]:
    """Return every call of the command line that a page shows."""
    return sorted(
        {
            line.removeprefix("$ ").partition("  #")[0].strip()
            for page in PAGES
            for line in page.read_text(encoding="utf-8").replace("\\\n", "").splitlines()  # continued lines
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
