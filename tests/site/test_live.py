"""The page "Live" in browsers: the model runs in it, and answers to what is done to the sound."""

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote_plus

import numpy as np
import pytest
import soundfile
import soxr
from pages import PATIENCE, Visit, barriers, find_chromium, wait_for

from asrscope.audio import load_audio
from asrscope.audio.samples import load_samples

SITE = Path(os.environ["ASRSCOPE_SITE"]).resolve()
DISK = SITE.as_uri() + "/"
CLIP = next(clip for clip in load_samples() if clip.name == "spring")  # tiny writes it without an error
SECONDS = soundfile.info(CLIP.path).duration
WORD, START, END = next(word for word in CLIP.words if word[0] == "garden")
LINK = f"live.html#clip=spring&edit={quote_plus(f'silence {START:.2f} {END:.2f}')}"
LAB = "document.getElementById('live')"
READY = "document.querySelector('#live.live-ready') !== null"
MESSAGE = "document.querySelector('.live-message').textContent"
ENOUGH = 2  # sentences a second, while a stretch is dragged
BUSY = 0.5  # or this share of the time is the model's


def text(page):
    return page.evaluate(f"{LAB}.dataset.text ?? ''")


def runs(page):
    return int(page.evaluate(f"{LAB}.dataset.runs ?? 0"))


def writes(page, condition):
    wait_for(page, lambda: condition(text(page)))


def says(page, words):
    wait_for(page, f"{MESSAGE}.includes({json.dumps(words)})")


def opened(visit, address, *, load=True):
    """The page at an address, with the model loaded."""
    page = visit.page
    page.goto(visit.base + address)
    wait_for(page, READY)
    if load:
        page.get_by_role("button", name="Load the model").click()
        wait_for(page, f"{LAB}.dataset.text !== undefined")
    return page


def place(page, seconds, height=0.4):
    """Where on the screen a moment of the clip is drawn."""
    page.locator(".live-canvas").scroll_into_view_if_needed()
    box = page.locator(".live-canvas").bounding_box()
    return box["x"] + box["width"] * seconds / SECONDS, box["y"] + box["height"] * height


def drag(page, start, end):
    page.mouse.move(*place(page, start))
    page.mouse.down()
    page.mouse.move(*place(page, (start + end) / 2), steps=3)
    page.mouse.move(*place(page, end), steps=3)
    page.mouse.up()


@pytest.mark.parametrize(("where", "wide"), [("server", 1280), ("disk", 390)])
def test_a_silence_that_is_dragged_over_a_word_takes_the_word_away(browser, server, where, wide):
    with Visit(browser, server if where == "server" else DISK, width=wide) as visit:
        page = opened(visit, "live.html#clip=spring")
        writes(page, lambda written: written == CLIP.text)
        assert page.locator("#live .live-changed").count() == 0
        drag(page, START, END)
        writes(page, lambda written: WORD not in written and "spring" in written)
        assert page.locator(".live-sentence .live-changed").count() > 0
        assert page.locator(".live-in-words").inner_text().startswith(f"{SECONDS:.2f} s of sound. Changed")
        assert page.evaluate(f"{LAB}.dataset.kernel") == "WasmKernel"
        page.get_by_role("button", name="Undo").click()
        writes(page, lambda written: written == CLIP.text)
        assert page.locator("#live .live-changed").count() == 0
        assert visit.overflow() <= 0
        assert visit.complaints == []  # among them: a request of another host, and what the policy stops


def test_a_link_carries_what_was_done(browser, server):
    with Visit(browser, server) as visit:
        page = opened(visit, LINK)
        writes(page, lambda written: written and WORD not in written)
        written = text(page)
        page.locator(".live-sentence button").nth(1).click()
        page.locator(".live-runners button").first.click()
        writes(page, lambda now: now != written)
        address, changed = page.url, text(page)
        assert "begin=" in address
        page.get_by_role("button", name="Back to the untouched clip").click()
        writes(page, lambda now: now == CLIP.text)
    with Visit(browser, server) as visit:
        page = opened(visit, address.removeprefix(server))
        writes(page, lambda now: now == changed)
        page.evaluate("location.hash = 'clip=spring&edit=nonsense+1+2&edit=gain+0+1+oops'")
        says(page, "not understood")
        writes(page, lambda now: now == CLIP.text)
        assert visit.complaints == []


def test_every_edit_can_be_made_with_the_keyboard_alone(browser, server):
    with Visit(browser, server) as visit:
        page = opened(visit, "live.html#clip=spring", load=False)

        def tab_to(name):
            for _ in range(400):
                page.keyboard.press("Tab")
                focused = page.evaluate(
                    "document.activeElement.ariaLabel || document.activeElement.textContent"
                )
                if focused.startswith(name):
                    return
            raise AssertionError(f"the Tab key does not lead to {name!r}")

        tab_to("Load the model")
        page.keyboard.press("Enter")
        writes(page, lambda written: written == CLIP.text)
        tab_to(WORD)
        page.keyboard.press("Enter")
        writes(page, lambda written: WORD not in written)
        focused = page.evaluate("document.activeElement.textContent")
        assert focused == WORD  # what was pressed keeps the focus
        before = page.url
        for _ in range(400):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name") == "end":
                break
        page.keyboard.press("ArrowLeft")
        wait_for(page, f"location.href !== {json.dumps(before)}")
        tab_to("audio token 1 ")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        wait_for(page, "document.activeElement.getAttribute('aria-pressed') === 'true'")
        assert page.evaluate("document.activeElement.ariaLabel").startswith("audio token 4 ")
        assert visit.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_barrier_while_the_model_runs(browser, server, theme):
    with Visit(browser, server, width=1280 if theme == "light" else 390, theme=theme) as visit:
        page = opened(visit, LINK + "&without=3&token=5+9+text+milk&off=decoder+1")
        writes(page, lambda written: written)
        page.locator("#live details summary").click()
        page.locator(".live-sentence button").first.click()
        page.get_by_role("button", name="Set to text").click()
        # Where one has scrolled upwards, the theme shows a link of its own.
        for place in (1500, 1000):
            page.evaluate(f"scrollTo({{ top: {place}, behavior: 'instant' }})")
            wait_for(page, f"scrollY === {place}")
        wait_for(page, "document.documentElement.matches('.show-back-to-top')")
        assert barriers(visit) == []
        assert visit.overflow() <= 0


def test_the_sentence_follows_the_hand(browser, server, audit_record):
    with Visit(browser, server) as visit:
        page = opened(visit, "live.html#clip=spring")
        page.mouse.move(*place(page, 0.5))
        page.mouse.down()

        def follows():
            first = runs(page)
            for step in range(40):
                page.mouse.move(*place(page, 0.8 + 0.05 * (step % 30)))
                page.wait_for_timeout(20)
            given = page.evaluate(f"({{ ...{LAB}.dataset }})")
            rate, seconds = float(given["rate"]), float(given["milliseconds"]) / 1000
            # On a machine that does ten other things, at least nothing but the model is waited for.
            return runs(page) > first and (rate >= ENOUGH or rate * seconds > BUSY)

        wait_for(page, follows)
        page.mouse.up()
        rate = float(page.evaluate(f"{LAB}.dataset.rate"))
    audit_record("live/sentences_per_second", {"at_least": rate})


def test_other_parts_of_the_machine_answer_too(browser, server):
    with Visit(browser, server) as visit:
        page = opened(visit, "live.html#clip=spring")
        page.get_by_label("Projector").select_option("random")
        writes(page, lambda written: written != CLIP.text)
        page.get_by_label("Projector").select_option("trained")
        writes(page, lambda written: written == CLIP.text)
        page.locator("#live details summary").click()
        page.get_by_role("group", name="Decoder, layer 1").get_by_label("layer 1").uncheck()
        writes(page, lambda written: written != CLIP.text)
        page.get_by_role("button", name="Undo").click()
        writes(page, lambda written: written == CLIP.text)
        begin = page.get_by_label("The sentence begins with")
        begin.fill("we walked")
        begin.press("Enter")
        writes(page, lambda written: written.startswith("we walked"))
        begin.fill("é")
        begin.press("Enter")
        says(page, "no token")
        assert visit.complaints == []


def test_audio_tokens_are_swapped_and_set_to_text(browser, server):
    with Visit(browser, server) as visit:
        page = opened(visit, "live.html#clip=museum")
        writes(page, lambda written: written.endswith("museum"))
        page.get_by_role("button", name="Swap", exact=True).click()
        page.get_by_label("With those of").select_option(label="“garden” of spring")
        of_word = page.get_by_role("group", name="Audio tokens of a word")
        of_word.get_by_role("button", name="museum").click()
        writes(page, lambda written: written.endswith("garden"))  # as docs/live.md quotes it
        assert page.locator(".live-given").count() > 10
        assert page.locator("#live .live-tokens .live-changed").count() > 0
        address = page.url
        page.get_by_role("button", name="Undo").click()
        writes(page, lambda written: written.endswith("museum"))
        assert page.locator(".live-given").count() == 0

        page.get_by_role("button", name="Set to text").click()
        page.get_by_label("Text", exact=True).fill("é")
        of_word.get_by_role("button", name="museum").click()
        says(page, "no token")
        page.get_by_label("Text", exact=True).fill("milk")
        before = runs(page)
        page.get_by_role("button", name="audio token 1 at").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        wait_for(page, lambda: runs(page) > before)
        wait_for(page, "document.activeElement.ariaLabel.includes('set to “milk”')")
        assert "token=1+3+text+milk" in page.url  # three tokens of text: m, il, k
        page.get_by_role("button", name="Remove: Audio tokens 2 to 4").click()
        wait_for(page, "document.querySelectorAll('.live-given').length === 0")
        assert visit.complaints == []
    with Visit(browser, server) as visit:
        page = opened(visit, address.removeprefix(server))
        writes(page, lambda written: written.endswith("garden"))
        page.evaluate(
            "location.hash = 'clip=museum&token=5+2+text+milk&token=1+2+spring+99&token=1+2+text+é'"
        )
        says(page, "not understood")
        writes(page, lambda written: written.endswith("museum"))


def test_a_sentence_is_stepped_through_and_goes_on_from_a_runner_up(browser, server):
    with Visit(browser, server) as visit:
        page = opened(visit, "live.html#clip=spring")
        visible = page.locator(".live-sentence button:visible")
        whole = visible.count()
        page.get_by_role("button", name="First").focus()
        page.keyboard.press("Enter")
        assert visible.count() == 1
        assert page.locator(".live-runners button").count() == 5
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        assert visible.count() == 3
        assert "Token 3 of" in page.locator("#live").inner_text()
        before = text(page)
        page.locator(".live-runners button").nth(1).focus()
        page.keyboard.press("Enter")
        writes(page, lambda written: written != before and written.split()[0] == before.split()[0])
        wait_for(page, "document.activeElement.closest('.live-sentence') !== null")
        page.get_by_role("button", name="Undo").click()
        writes(page, lambda written: written == before)
        page.get_by_role("button", name="Whole sentence").click()
        assert visible.count() == whole
        assert visit.complaints == []


def test_a_file_of_the_readers_is_heard_and_oddities_are_said(browser, server, tmp_path):
    sound = load_audio(CLIP.path)
    rate = 16000
    soundfile.write(tmp_path / "mine.wav", np.stack([sound, sound], axis=1), rate)
    soundfile.write(tmp_path / "long.wav", np.resize(sound, 20 * rate), rate)
    soundfile.write(tmp_path / "still.wav", np.zeros(rate), rate)
    soundfile.write(tmp_path / "short.wav", sound[4000:4100], rate)
    (tmp_path / "text.wav").write_text("no sound")
    with Visit(browser, server) as visit:
        page = opened(visit, "live.html")
        said = {
            "mine": "never heard a person",
            "long": "20.00 s",
            "still": "next to no sound",
            "short": "0.01 s",
        }
        for name, words in (said | {"text": "could not read"}).items():
            page.get_by_label("or a file of yours").set_input_files(tmp_path / f"{name}.wav")
            says(page, words)
            if name == "mine":
                writes(page, lambda written: written == CLIP.text)
        assert visit.complaints == []


REFUSES = """
navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("no", "NotAllowedError") }
"""


def test_a_microphone_is_heard_and_one_that_is_refused_is_said(browser, server, tmp_path):
    with Visit(browser, server) as visit:
        visit.context.add_init_script(REFUSES)
        page = opened(visit, "live.html", load=False)
        page.get_by_role("button", name="Record").click()
        says(page, "did not let this page use the microphone")
    # A microphone that somebody speaks into: Chromium plays the file over and over.
    rate = 48000
    spoken = soxr.resample(load_audio(CLIP.path), 16000, rate)
    soundfile.write(tmp_path / "spoken.wav", spoken, rate, subtype="PCM_16")
    args = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    args.append(f"--use-file-for-fake-audio-capture={tmp_path / 'spoken.wav'}")
    speaking = browser.browser_type.launch(executable_path=find_chromium(), args=args)
    with Visit(speaking, server) as visit:
        page = opened(visit, "live.html")

        def is_understood():
            page.get_by_role("button", name="Record").click()
            says(page, "Recording")
            page.wait_for_timeout(1000 * SECONDS)
            before = runs(page)
            page.get_by_role("button", name="Stop recording").click()
            says(page, "your recording")
            wait_for(page, lambda: runs(page) > before)
            return len(set(text(page).split()) & set(CLIP.text.split())) > len(set(CLIP.text.split())) / 2

        wait_for(page, is_understood)  # a busy machine may drop some of the sound
        assert visit.complaints == []
    speaking.close()


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_download_that_breaks_is_said_and_can_be_tried_again(browser, server, damage):
    def answer(route):
        if damage == "gone":
            route.abort()
        else:
            route.fulfill(body="asrscopeLive.parts[2] = 'AAAA", content_type="text/javascript")

    with Visit(browser, server) as visit:
        page = opened(visit, "live.html#clip=spring", load=False)
        page.route("**/weights-2.js", answer)
        page.get_by_role("button", name="Load the model").click()
        says(page, "could not be loaded")
        page.unroute("**/weights-2.js")
        page.get_by_role("button", name="Try again").click()
        writes(page, lambda written: written == CLIP.text)


def test_without_webassembly_the_plain_kernel_takes_over(browser, server):
    with Visit(browser, server) as visit:
        text = (SITE / "live.html").read_text(encoding="utf-8")
        page = visit.page
        assert "'wasm-unsafe-eval'" in text
        bare = text.replace("'wasm-unsafe-eval'", "")
        page.route("**/live.html", lambda route: route.fulfill(body=bare, content_type="text/html"))
        opened(visit, "live.html#clip=spring")
        assert page.evaluate(f"{LAB}.dataset.kernel") == "PlainKernel"
        writes(page, lambda written: written == CLIP.text)


def test_without_scripts_a_sentence_leads_to_the_figures(browser, server):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server + "live.html")
    assert "needs scripts" in page.locator("#live").inner_text()
    page.locator("#live a").first.click()
    assert page.locator("h1").inner_text().startswith("What if?")
    context.close()


@pytest.mark.skipif(sys.platform != "linux", reason="Marionette's driver is at home on Linux")
def test_in_firefox_a_silence_takes_the_word_away_from_a_server_and_from_the_disk(firefox, server):
    from marionette_driver import Wait
    from marionette_driver.marionette import ActionSequence

    def wait(condition):
        Wait(firefox, PATIENCE).until(lambda _: firefox.execute_script(f"return {condition}"))

    def at(seconds):
        canvas = "document.querySelector('.live-canvas')"
        firefox.execute_script(f"{canvas}.scrollIntoView({{ block: 'center', behavior: 'instant' }})")
        box = firefox.execute_script(f"return {canvas}.getBoundingClientRect().toJSON()")
        return round(box["x"] + box["width"] * seconds / SECONDS), round(box["y"] + 0.4 * box["height"])

    def drag():
        mouse = ActionSequence(firefox, "pointer", "mouse", {"pointerType": "mouse"})
        mouse.pointer_move(*at(START)).pointer_down()
        mouse.pointer_move(*at((START + END) / 2), duration=100).pointer_move(*at(END), duration=100)
        mouse.pointer_up().perform()

    def press():
        buttons = "[...document.querySelectorAll('.live-words button')]"
        firefox.execute_script(f"{buttons}.find((each) => each.textContent === '{WORD}').focus()")
        enter = "\ue007"
        ActionSequence(firefox, "key", "keyboard").key_down(enter).key_up(enter).perform()

    for base, takes in ((server, drag), (DISK, press)):
        firefox.navigate("about:blank")
        firefox.navigate(base + "live.html#clip=spring")
        wait(READY)
        firefox.execute_script("document.querySelector('.live-start button').click()")
        wait(f"{LAB}.dataset.text === {json.dumps(CLIP.text)}")
        assert firefox.execute_script(f"return {LAB}.dataset.kernel") == "WasmKernel"
        takes()
        wait(f"!{LAB}.dataset.text.includes('{WORD}')")
        asked = firefox.execute_script(
            "return performance.getEntriesByType('resource').map((each) => each.name)"
        )
        assert [address for address in asked if not address.startswith((base, "blob:", "data:"))] == []
