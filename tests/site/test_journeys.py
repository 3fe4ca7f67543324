"""What a reader does on the built site: play, turn the light off, read instead of look, use the keys."""

import os
from pathlib import Path

import pytest
from pages import Visit, wait_for, work_for_one_line, worked

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
BASE = SITE.as_uri() + "/"
GALLERY = sorted(path.relative_to(SITE).as_posix() for path in (SITE / "gallery").glob("[0-9]*.html"))
LECTURE = "course/class-2.html"
TALL = 30_000  # pixels: figures out of view would rest
FIRST = ".bokeh-figure >> nth=0"
PLACES = """() => Bokeh.documents.flatMap((each) => each.roots()).flatMap((root) => root.select("playhead"))
  .filter((span) => span.dimension === "height").map((span) => span.location)"""
FOCUSED = """() => {
  let element = document.activeElement
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
  return { tag: element.tagName, name: element.getAttribute("aria-label"), pressed: element.ariaPressed }
}"""
COLOR_AT_THE_EDGE = """(figure) => {
  const canvases = (node) => [...node.querySelectorAll("*")].flatMap((element) => [
    ...(element instanceof HTMLCanvasElement ? [element] : []),
    ...(element.shadowRoot ? canvases(element.shadowRoot) : []),
  ])
  return [...canvases(figure)[0].getContext("2d").getImageData(2, 2, 1, 1).data].slice(0, 3)
}"""


@pytest.fixture
def visit(browser):
    with Visit(browser, BASE) as visit:
        yield visit


@pytest.mark.parametrize("page", [LECTURE, "gallery/40_projector.html", "gallery/90_trace_data.html"])
def test_a_reader_plays_the_clip_with_a_key_and_the_line_moves_in_every_figure_over_time(browser, page):
    with Visit(browser, BASE, height=TALL) as visit:
        visit.open(page)
        before = visit.page.evaluate(PLACES)
        assert len(before) >= 2
        assert set(before) == {0}
        # In a loop: it shall not come to its end before the key is pressed again.
        visit.page.evaluate("document.querySelector('audio').loop = true")
        visit.page.locator("audio").first.focus()
        visit.page.keyboard.press("Space")
        visit.page.wait_for_function(f"() => ({PLACES})().every((place) => place > 0.2)")
        visit.page.keyboard.press("Space")
        assert visit.page.evaluate("document.querySelector('audio').paused")
        assert visit.complaints == []


@pytest.mark.parametrize("page", ["index.html", "gallery/90_trace_data.html"])
def test_a_reader_presses_a_word_and_hears_its_stretch(browser, page):
    with Visit(browser, BASE, height=TALL) as visit:
        visit.open(page)
        word = visit.page.locator("button[data-start]").nth(2)
        start, end = (float(word.get_attribute(f"data-{name}")) for name in ("start", "end"))
        assert 0 < start < end
        visit.watch_sound()
        word.focus()
        visit.page.keyboard.press("Enter")
        assert visit.began() == pytest.approx(start, abs=0.01)
        stopped = visit.hear_out()
        assert stopped == pytest.approx(end, abs=0.01)
        assert set(visit.page.evaluate(PLACES)) == {stopped}
        assert visit.complaints == []


def test_a_reader_turns_the_light_off_and_the_figures_follow(visit):
    visit.open(LECTURE)
    figure = visit.page.locator(FIRST).element_handle()
    visit.page.wait_for_function(
        f"(figure) => `${{({COLOR_AT_THE_EDGE})(figure)}}` === '255,255,255'", arg=figure
    )
    button = visit.page.locator("button.theme-toggle:visible").first
    for _ in range(3):  # light, dark, and as the system has it
        button.click()
        if visit.page.evaluate("document.body.dataset.theme") == "dark":
            break
    dark = f"(figure) => ({COLOR_AT_THE_EDGE})(figure)[0] < 60"
    visit.page.wait_for_function(dark, arg=figure)
    visit.page.reload()
    visit.open(LECTURE)
    visit.page.wait_for_function(dark, arg=visit.page.locator(FIRST).element_handle())


HALTS = """document.addEventListener("DOMContentLoaded", () => {
  document.documentElement.style.scrollBehavior = "auto"
  const first = document.querySelector(".bokeh-figure")
  first.closest("details")?.setAttribute("open", "")
  first.scrollIntoView()
})
const halt = () => {
  window.there = document.querySelectorAll("[data-drawn]").length
  debugger
}
document.addEventListener("bokeh-figure-drawn", () => setTimeout(halt), { once: true })"""


def work_until_the_first_figure(browser, page):
    """Seconds that the page's own thread works. It is halted there: what it draws ahead is not counted."""
    with Visit(browser, BASE) as visit:
        seconds = worked(visit.page)
        session = visit.context.new_cdp_session(visit.page)
        session.send("Debugger.enable")
        halted = []
        session.on("Debugger.paused", lambda event: halted.append(event))  # noqa: PLW0108
        visit.page.add_init_script(HALTS)
        visit.page.goto(BASE + page)
        wait_for(visit.page, lambda: halted)
        found = seconds()
        session.send("Debugger.disable")
        assert visit.page.evaluate("window.there") == 1
        return found


@pytest.mark.parametrize("page", ["index.html", LECTURE, "gallery/40_projector.html"])
def test_the_first_figure_takes_a_page_little_more_work_than_bokeh_needs_for_a_line(browser, tmp_path, page):
    # Side by side, since machines differ: some 2 times as much, and what shares the processor may add to it.
    pairs = (
        (work_for_one_line(browser, tmp_path), work_until_the_first_figure(browser, page)) for _ in range(3)
    )
    assert any(0.01 < of_page < 3 * of_bokeh for of_bokeh, of_page in pairs)


@pytest.mark.parametrize("page", [LECTURE, *GALLERY])
def test_a_reader_reaches_tools_and_words_of_figures_with_the_keys(visit, page):
    visit.open(page)
    figures = visit.page.locator(".bokeh-figure")
    assert figures.count() >= 1
    reach_tools(visit)
    for figure in figures.all():
        words = figure.locator(".bokeh-figure-description p")
        assert not words.is_visible()
        figure.locator("summary").focus()
        visit.page.keyboard.press("Enter")
        assert words.is_visible()
        assert len(words.inner_text().split()) >= 5
    assert visit.complaints == []


def reach_tools(visit):
    """Go through the tools of the first figure with the Tab key, and switch on what can be."""
    figure = visit.page.locator(FIRST)
    figure.evaluate("(figure) => { figure.tabIndex = -1; figure.focus() }")
    tools = []
    for _ in range(12):
        visit.page.keyboard.press("Tab")
        found = visit.page.evaluate(FOCUSED)
        if found["tag"] == "SUMMARY":  # behind the tools
            break
        tools.append(found["name"])
        if found["pressed"] == "false":  # it can be switched on, with a key
            visit.page.keyboard.press("Enter")
            visit.page.wait_for_function(f"() => ({FOCUSED})().pressed === 'true'")
    assert tools
    assert all(tools), tools


def test_a_reader_predicts_before_a_figure_shows_the_answer(visit):
    page = visit.page
    page.goto(BASE + "gallery/20_log_mel.html")
    asked = page.locator("article p", has_text="Predict:").first
    answer, figure = page.locator("details.answer").first, page.locator(FIRST)
    assert asked.is_visible()
    assert not figure.is_visible()
    assert not page.locator("details.showing pre").first.is_visible()
    answer.locator("> summary").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("(figure) => figure.dataset.drawn === 'true'", arg=figure.element_handle())
    assert figure.is_visible()
    assert visit.complaints == []


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
@pytest.mark.parametrize("page", ["gallery/40_projector.html", "gallery/73_train_a_projector.html"])
def test_a_reader_moves_the_slider_from_a_random_projector_to_a_trained_one(browser, page, theme, width):
    with Visit(browser, BASE, theme=theme, width=width) as visit:
        visit.open(page)
        slider = visit.page.get_by_role("slider", name="Training")
        state = slider.locator("xpath=ancestor::figure").get_by_role("status")
        written, tokens = visit.page.locator("[data-written]"), visit.page.locator("[data-token]")
        slider.focus()
        visit.page.keyboard.press("Home")
        seen = [(state.inner_text(), written.inner_text(), tokens.all_inner_texts())]
        for _ in range(int(slider.get_attribute("max"))):
            visit.page.keyboard.press("ArrowRight")
            seen.append((state.inner_text(), written.inner_text(), tokens.all_inner_texts()))
        assert len({each for each, _, _ in seen}) == len(seen)
        assert seen[0][1] != seen[-1][1]
        assert seen[0][2] != seen[-1][2]
        assert visit.overflow() <= 0
        assert visit.complaints == []


def test_the_keys_scroll_code_that_is_wider_than_a_phone(browser):
    with Visit(browser, BASE, width=390) as visit:
        visit.open("gallery/40_projector.html")
        wide = visit.page.locator("article pre[tabindex='0']").first
        wide.focus()
        visit.page.keyboard.press("ArrowRight")
        visit.page.wait_for_function("(pre) => pre.scrollLeft > 0", arg=wide.element_handle())
