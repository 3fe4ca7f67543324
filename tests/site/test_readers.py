"""Whole visits to the built site, from the first page to a download, in the circumstances of readers."""

import os
import sys
from pathlib import Path

import pytest
from pages import PATIENCE, Visit, wait_for

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
GALLERY = Path(__file__).resolve().parents[2] / "gallery"
CLASS, EXAMPLE = "course/class-2.html", "gallery/40_projector.html"
FIGURES = "document.querySelectorAll('.bokeh-figure')"
DRAWN = f"{FIGURES}.length > 0 && [...{FIGURES}].every((figure) => figure.dataset.drawn === 'true')"
DRAW = "window.dispatchEvent(new Event('beforeprint'))"  # what draws figures that are out of view
MOVED = "document.querySelector('audio').currentTime > 0.2"
DONE = "(localStorage.getItem('asrscope-progress') ?? '').includes('q-stages')"


@pytest.mark.parametrize("wide", [1280, 390])
def test_a_reader_lands_reads_plays_answers_and_takes_the_script_along(
    browser, server, tmp_path, wide, audit_record
):
    with Visit(browser, server, width=wide) as visit:
        page = visit.page
        page.goto(server)
        if wide < 500:  # the pages are behind a button
            page.locator(".mobile-header label[for='__navigation']").click()
        page.locator(f"nav a[href='{CLASS}'], .sidebar-tree a[href='{CLASS}']").first.click()
        page.wait_for_url(f"**/{CLASS}")
        assert page.locator("h1").inner_text().startswith("Class 2")
        page.evaluate(DRAW)
        wait_for(page, DRAWN)
        page.evaluate("document.querySelector('audio').play()")
        wait_for(page, MOVED)
        question = page.locator("#q-stages")
        question.get_by_label("C. Waveform").check()
        question.get_by_role("button", name="Check").click()
        assert question.locator("[data-state=wrong] .why").is_visible()
        question.get_by_label("B. Waveform").check()
        question.get_by_role("button", name="Check").click()
        assert question.locator("[data-state=right] .why").is_visible()
        assert page.evaluate(DONE)
        page.goto(server + EXAMPLE)
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Download Python").first.click()
        waiting.value.save_as(tmp_path / "taken.py")
        assert (tmp_path / "taken.py").read_bytes() == (GALLERY / "40_projector.py").read_bytes()
        assert visit.overflow() <= 0
        assert visit.complaints == []
    audit_record(f"journeys/chromium-{wide}", 1)


def test_a_reader_with_a_keyboard_alone_skips_the_menu_plays_and_answers(browser, server, audit_record):
    with Visit(browser, server) as visit:
        page = visit.page
        page.goto(server + CLASS)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Enter")
        wait_for(page, "location.hash === '#furo-main-content'")

        def tab_to(condition: str) -> None:
            for _ in range(400):
                page.keyboard.press("Tab")
                if page.evaluate(f"document.activeElement.matches({condition!r})"):
                    return
            pytest.fail(f"no way with the Tab key to {condition}")

        tab_to("audio")
        page.keyboard.press("Space")
        wait_for(page, MOVED)
        page.keyboard.press("Space")
        tab_to("#q-stages input")
        page.keyboard.press("ArrowDown")  # from A to B
        tab_to("#q-stages button")
        page.keyboard.press("Enter")
        wait_for(page, DONE)
        assert visit.complaints == []
    audit_record("journeys/keyboard", 1)


def test_for_a_reader_who_wants_little_motion_nothing_moves_by_itself(browser, server, audit_record):
    with Visit(browser, server) as visit:
        visit.page.emulate_media(reduced_motion="reduce")
        visit.open(CLASS)
        running = (
            "document.getAnimations().filter((each) => each.playState === 'running'"
            " && each.effect.getComputedTiming().duration > 10).length"
        )
        assert visit.page.evaluate(running) == 0
        assert visit.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        visit.page.evaluate(
            "document.querySelector('audio').play()"
        )  # the line still tells where the sound is
        wait_for(visit.page, MOVED)
        assert visit.complaints == []
    audit_record("journeys/reduced-motion", 1)


@pytest.mark.parametrize("path", [CLASS, EXAMPLE])
def test_without_scripts_a_reader_has_the_text_the_posters_the_sound_and_the_answers(
    browser, server, path, audit_record
):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(server + path)
    for fold in page.locator("details.answer > summary").all():  # behind a prediction
        fold.click()
    figures = page.locator(".bokeh-figure")
    posters = page.locator(".bokeh-figure noscript img, noscript img")
    assert posters.count() == figures.count() > 0
    for poster in posters.all():
        poster.scroll_into_view_if_needed()
        assert poster.is_visible()
        assert len(poster.get_attribute("alt")) > 20
    assert page.locator("audio[controls]").first.is_visible()
    assert len(page.locator("article").inner_text().split()) > 300
    for choice in page.locator("#q-stages details.choice").all():
        choice.locator("summary").click()
        assert choice.locator(".why").is_visible()
    context.close()
    audit_record(f"journeys/no-scripts-{Path(path).stem}", 1)


# Firefox tells listeners of this where a size changes again while it is looked at. It looks again in the next
# frame, and nothing is wrong.
HARMLESS = "ResizeObserver loop completed with undelivered notifications."
NOTE_ERRORS = f"""document.body.dataset.heard = ""
addEventListener("error", ({{ message }}) => {{
  if (message !== "{HARMLESS}") document.body.dataset.heard += `${{message}}; `
}})"""
PLAY = """const sound = document.querySelector("audio")
if (sound.paused && sound.currentTime === 0) Object.assign(sound, { muted: true }).play()"""


@pytest.mark.skipif(sys.platform != "linux", reason="Marionette's driver is at home on Linux")
def test_in_firefox_a_reader_reads_plays_answers_and_switches_the_light(firefox, server, audit_record):
    from marionette_driver import By, Wait, errors

    script = firefox.execute_script

    def wait(condition, *ignored):
        Wait(firefox, PATIENCE, ignored_exceptions=ignored).until(lambda _: condition())  # counts from now

    def press(selector, done):
        """Press until it is done: while the page is laid out, a press may land elsewhere, or on nothing."""

        def pressed():
            if not script(f"return {done}"):
                element = firefox.find_element(By.CSS_SELECTOR, selector)
                center = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })"
                script(center, script_args=(element,))
                element.click()
            return script(f"return {done}")

        wait(pressed, errors.ElementClickInterceptedException, errors.ElementNotInteractableException)

    firefox.navigate(server)
    assert "asrscope" in firefox.title
    script(f"document.querySelector(\".sidebar-tree a[href='{CLASS}']\").click()")
    # The page's scripts have run when it is complete. What is asked of a page that is being left fails.
    arrived = f"location.href.endsWith('{CLASS}') && document.readyState === 'complete'"
    wait(lambda: script(f"return {arrived}"), errors.JavascriptException)
    script(f"{NOTE_ERRORS}; {DRAW}")
    wait(lambda: script(f"return {DRAWN}"))
    wait(lambda: script(f"{PLAY}; return {MOVED}"))
    lines = "Bokeh.documents.flatMap((each) => each.roots()).flatMap((root) => root.select('playhead'))"
    wait(lambda: script(f"return {lines}.some((span) => span.location > 0.2)", sandbox=None))
    second = "#q-stages .choice:nth-child(2) input"
    press(second, f"document.querySelector('{second}').checked")
    press("#q-stages button[type=submit]", DONE)
    script("window.scrollTo({ top: 0, behavior: 'instant' })")
    for _ in range(3):  # light, dark, and as the system has it
        script("[...document.querySelectorAll('button.theme-toggle')].find((b) => b.offsetParent).click()")
        if script("return document.body.dataset.theme") == "dark":
            break
    assert script("return document.body.dataset.theme") == "dark"
    assert script("return document.documentElement.scrollWidth <= innerWidth")
    assert script("return document.body.dataset.heard") == ""
    audit_record("journeys/firefox", 1)
