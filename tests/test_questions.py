"""Questions, exercises, objectives and progress on a page: as they are built, and in a browser."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import Visit, served

CONF = Path(__file__).resolve().parents[1] / "conf"

SITE_CONF = f"""
import sys
sys.path[:0] = [{str(CONF / "extensions")!r}]
extensions = ["questions", "myst_parser"]
html_theme = "furo"
html_static_path = [{str(CONF / "static")!r}]
html_css_files = ["site.css"]
html_favicon = {str(CONF / "static" / "icon.svg")!r}
myst_enable_extensions = ["colon_fence"]
"""
INDEX = """# Course

```{progress} page
```

Nothing is asked on [another page](plain.md).

```{toctree}
page
plain
```
"""
OBJECTIVES = """```{objectives}
lengths: **count** the audio tokens
  of a clip
sound: say what sampling throws away
projector: explain it
```
"""
QUESTION = """:::{question} q-lengths
:objective: lengths

How many *audio tokens* make 11 positions with k = 5?

- [ ] 3
  This rounds up.
- [x] 2 or `11 // 5`
  The last position is cut.

  Nothing replaces it.
- [ ] 11
  That is one for each position.
:::
"""
SECOND = """:::{question} q-sound
:objective: sound

Is it all there?

- [ ] Yes
  Not above the Nyquist frequency.
- [x] No
  What lies above it is gone.
:::
"""
PAGE = f"""# Class 2

After this class you can:

{OBJECTIVES}

```{{progress}}
```

## Check yourself

See [this question](#q-lengths).

{QUESTION}

{SECOND}

```{{exercise}} 2.3
```

```{{exercise}} 2.5
```
"""


def build(folder: Path, page: str, **files: str) -> tuple[Path, str]:
    """Build a site of a few pages; return where it stands and the warnings."""
    texts = {"index": INDEX, "page": page, "plain": "# Plain\n\nNothing is asked here.\n", **files}
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / "conf.py").write_text(SITE_CONF, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-n", "-q", "-b", "html", str(folder), str(folder / "site")],
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return folder / "site", result.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    built, warnings = build(tmp_path_factory.mktemp("course"), PAGE)
    assert warnings == ""
    return built


@pytest.fixture(scope="module")
def html(site) -> str:
    return (site / "page.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def address(site):
    with served(site) as base:
        yield base


# As built -------------------------------------------------------------------------------------------------


def test_an_objective_links_to_all_that_assesses_it(html):
    line = re.search(r'<li id="objective-projector">(.*?)</li>', html, re.DOTALL)[1]
    assert re.findall(r'href="(#[\w-]+)">([\w .]+)<', line) == [
        ("#exercise-2-3", "exercise 2.3"),
        ("#exercise-2-5", "exercise 2.5"),
    ]
    assert (
        '<strong>count</strong> the audio tokens of a clip (<a class="reference internal" href="#q-l' in html
    )


def test_without_scripts_every_choice_opens_to_its_explanation(html):
    choices = re.findall(r'<details class="choice" data-right="(yes|no)"><summary>(.*?)</summary>', html)
    assert [right for right, _ in choices] == ["no", "yes", "no", "no", "yes"]
    assert choices[0][1] == "A. 3"
    assert html.count('<strong class="verdict">Right.</strong>') == 2
    assert html.count('<strong class="verdict">Not yet:</strong>') == 3
    assert "<p>Nothing replaces it.</p>" in html


def test_an_exercise_is_put_on_the_page_from_the_package(html):
    from asrscope.exercises import find

    plain = re.sub(r"<[^>]+>", "", html)
    for number in ("2.3", "2.5"):
        entry = find(number)
        assert f"Exercise {number}: {entry.title}" in plain
        assert f'print(check("{number}",' in plain.replace("&quot;", '"')
    assert "def stack(hidden, k):" in plain
    assert html.count('<details class="hint">') == html.count('<details class="solution">') == 2
    for option, _ in find("2.5").exercise.options:
        assert option in plain
    assert "prediction, 2 min" in plain


def test_only_pages_that_ask_load_the_script(site):
    assert "course.js" in (site / "page.html").read_text(encoding="utf-8")
    assert "course.js" in (site / "index.html").read_text(encoding="utf-8")  # it shows progress
    assert "course.js" not in (site / "plain.html").read_text(encoding="utf-8")


WRONG = {
    "no choice is right": (QUESTION.replace("[x]", "[ ]"), "one of them marked [x]"),
    "two are right": (QUESTION.replace("- [ ] 3", "- [x] 3"), "one of them marked [x]"),
    "one choice": (re.sub(r"- \[ \].*\n  .*\n", "", QUESTION), "two choices or more"),
    "unexplained": (QUESTION.replace("  This rounds up.\n", ""), "the choice '3' has no explanation"),
    "not indented": (QUESTION.replace("  This rounds", "This rounds"), "expected an explanation, indented"),
    "nothing asked": (
        QUESTION.replace("How many *audio tokens* make 11 positions with k = 5?", ""),
        "is asked",
    ),
    "no objective": (QUESTION.replace(":objective: lengths\n", ""), "it names no :objective:"),
    "no such exercise": ("```{exercise} 2.99\n```", "there is no exercise '2.99'"),
    "objectives without names": ("```{objectives}\nto count\n```", 'expected "name: text"'),
    "an objective twice": ("```{objectives}\nb: x\nb: y\n```", "'b' stands here twice"),
    "no objectives": ("```{objectives}\n```", "expected at least one"),
    "no such page": ("```{progress} nowhere\n```", "progress: nowhere asks nothing"),
    "an objective that nothing assesses": (
        "```{objectives}\nlengths: **count** the audio tokens\n  of a clip\nnew: forget it\n```",
        ".md:6: WARNING: the objective 'new' is assessed by no question and no exercise",
    ),
    "a question that assesses none": (
        OBJECTIVES + SECOND.replace(":objective: sound", ":objective: light"),
        "question 1 assesses 'light', which is no objective of this page",
    ),
    "an exercise on two pages": (
        "```{objectives}\nprojector: explain\n```\n\n```{exercise} 2.3\n```",
        "exercise-2-3 stands already on page",
    ),
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory) -> str:
    """Build one site with a page for each mistake."""
    pages = {f"wrong{index}": f"# Page\n\n{text}\n" for index, (text, _) in enumerate(WRONG.values())}
    listed = INDEX.replace("plain\n", "plain\n" + "\n".join(pages) + "\n")
    return build(tmp_path_factory.mktemp("wrong"), PAGE, **pages, index=listed)[1]


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_of_the_author_is_told(complaints, name):
    page = f"wrong{list(WRONG).index(name)}.md"
    lines = [line for line in complaints.splitlines() if page in line]
    assert any(WRONG[name][1] in line for line in lines), lines


# In a browser ---------------------------------------------------------------------------------------------


def question(visit, name="q-lengths"):
    return visit.page.locator(f"#{name}")


def test_a_question_is_answered_with_the_keyboard_alone(browser, address):
    with Visit(browser, address) as visit:
        visit.open("page.html")
        asked = question(visit)
        assert asked.get_by_role("radiogroup").count() == 1
        assert asked.get_by_role("radio").count() == 3
        asked.get_by_role("radio").nth(0).focus()
        visit.page.keyboard.press("Space")
        assert not asked.get_by_text("This rounds up.").first.is_visible()  # choosing does not give it away
        visit.page.keyboard.press("Enter")
        assert asked.locator(".why").nth(0).is_visible()
        assert asked.get_by_role("status").inner_text().startswith("Not yet:")
        assert "This rounds up." in asked.get_by_role("status").inner_text()
        assert not asked.get_by_role("button", name="Explain every choice").is_visible()
        asked.get_by_role("radio").nth(0).focus()
        visit.page.keyboard.press("ArrowDown")
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate("document.activeElement.textContent") == "Check"
        visit.page.keyboard.press("Enter")
        assert asked.get_by_role("status").inner_text().startswith("Right.")
        assert asked.locator(".why").nth(1).is_visible()
        assert not asked.locator(".why").nth(2).is_visible()
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Enter")
        assert asked.locator(".why").nth(2).is_visible()
        assert visit.complaints == []


def test_nothing_chosen_is_told(browser, address):
    with Visit(browser, address) as visit:
        visit.open("page.html")
        question(visit).get_by_role("button", name="Check").click()
        assert question(visit).get_by_role("status").inner_text() == "Choose an answer first."


def test_progress_stays_in_the_browser_until_it_is_cleared(browser, address):
    with Visit(browser, address) as visit:
        visit.open("page.html")
        line = visit.page.locator(".course-progress")
        assert "0 of 2 questions, 0 of 2 exercises" in line.inner_text()
        assert not line.get_by_role("button").is_visible()
        question(visit).get_by_role("radio").nth(1).check()
        question(visit).get_by_role("button", name="Check").click()
        visit.page.locator("#exercise-2-3").get_by_role("checkbox").check()
        assert "1 of 2 questions, 1 of 2 exercises" in line.inner_text()
        assert question(visit).get_by_text("answered").is_visible()

        visit.open("index.html")  # the course's index knows of it
        assert "Class 2" in line.inner_text()
        assert "1 of 2 questions, 1 of 2 exercises" in line.inner_text()
        assert line.get_by_role("progressbar", name="Progress: Class 2").evaluate("bar => bar.value") == 2
        visit.page.get_by_role("link", name="Class 2").first.click()
        visit.page.wait_for_url("**/page.html")
        assert visit.page.locator("#exercise-2-3").get_by_role("checkbox").is_checked()
        visit.page.locator("#exercise-2-3").get_by_role("checkbox").uncheck()
        assert "1 of 2 questions, 0 of 2 exercises" in line.inner_text()
        line.get_by_role("button", name="Clear my progress").click()
        assert "0 of 2 questions, 0 of 2 exercises" in line.inner_text()
        assert not question(visit).get_by_text("answered").is_visible()
        assert visit.complaints == []


def test_a_wrong_answer_is_no_progress(browser, address):
    with Visit(browser, address) as visit:
        visit.open("page.html")
        question(visit).get_by_role("radio").nth(2).check()
        question(visit).get_by_role("button", name="Check").click()
        assert "0 of 2 questions" in visit.page.locator(".course-progress").inner_text()


def test_a_browser_that_keeps_nothing_still_answers(browser, address):
    with Visit(browser, address) as visit:
        refuse = "() => { throw new DOMException('refused', 'SecurityError') }"
        visit.page.add_init_script(
            f"Storage.prototype.getItem = {refuse}; Storage.prototype.setItem = {refuse}"
        )
        visit.open("page.html")
        question(visit).get_by_role("radio").nth(1).check()
        question(visit).get_by_role("button", name="Check").click()
        # The theme's own script complains; ours goes on.
        assert "1 of 2 questions" in visit.page.locator(".course-progress").inner_text()


def test_without_scripts_the_choices_open(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "page.html").as_uri())
    assert not page.get_by_text("This rounds up.").is_visible()
    page.get_by_text("A. 3").click()
    assert page.get_by_text("This rounds up.").is_visible()
    page.locator("#exercise-2-5").get_by_text("Hint").click()
    assert page.get_by_text("compare the rows of its output").is_visible()
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_can_be_read_in_light_and_dark(browser, site, width, theme):
    contrast = """(element) => {
      const rgb = (color) => color.match(/[\\d.]+/g).map(Number)
      const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0)
      let behind = element
      const style = (node, name) => rgb(getComputedStyle(node)[name])
      while (behind && (style(behind, "backgroundColor")[3] ?? 1) === 0) behind = behind.parentElement
      const two = [light(style(element, "color")), light(style(behind, "backgroundColor"))]
      return (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05)
    }"""
    with Visit(browser, site.as_uri() + "/", width=width, theme=theme) as visit:
        visit.open("page.html")
        question(visit).get_by_role("radio").nth(1).check()
        question(visit).get_by_role("button", name="Check").click()
        question(visit).get_by_role("button", name="Explain every choice").click()
        for place in (
            "label",
            ".why p",
            ".course-title",
            ".course-done",
            "button",
            ".verdict",
            ".course-note",
        ):
            assert visit.page.locator(f".course-item {place}").first.evaluate(contrast) >= 4.5, place
        assert visit.overflow() <= 0
        assert visit.complaints == []
