"""The page of a long recording: its outline, what it holds, and how it behaves in a browser."""

import base64
import io
import json
import re
import zlib
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from pages import PATIENCE, RESTS, WATCH_SOUND, wait_for

from asrscope.audio import wav_bytes
from asrscope.long_audio.transcripts import Segment, Transcript
from asrscope.timeline import Peaks, measure_peaks, write_timeline

NASTY = '<script>alert(1)</script>" onload="x'


@pytest.fixture
def recording(tmp_path, rng):
    """Half a minute of sound as a file."""
    time = np.arange(30 * 16_000) / 16_000
    waveform = (0.5 * np.sin(np.pi * time / 30) * rng.uniform(-1, 1, time.size)).astype(np.float32)
    path = tmp_path / "meeting.wav"
    path.write_bytes(wav_bytes(waveform))
    return path


def make_transcript(seconds, each=2.5, text="we walked along the river", warnings=()):
    edges = np.append(np.arange(0, seconds, each), seconds)
    segments = tuple(
        Segment(float(start), float(end), f"{text} {n}", 0.9, ("odd",) if n % 10 == 3 else ())
        for n, (start, end) in enumerate(pairwise(edges))
    )
    own = [f"{s.start:.1f} to {s.end:.1f} s: {w}" for s in segments for w in s.warnings]
    return Transcript(" ".join(s.text for s in segments), 0.88, (*warnings, *own), segments)


def unpack(page):
    found = re.search(r'id="outline" data-step="([\d.e-]+)" data-count="(\d+)"[^>]*>([^<]+)<', page)
    step, count = float(found[1]), int(found[2])
    levels = np.frombuffer(zlib.decompress(base64.b64decode(found[3])), np.int8)
    return step, levels[:count], levels[count:]


# The outline ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 1_000, 999])
def test_no_sample_stands_out_of_the_outline(rng, size):
    waveform = (rng.uniform(-1, 1, 50_007) * np.linspace(0, 0.3, 50_007)).astype(np.float32)
    pieces = [waveform[start : start + size] for start in range(0, waveform.size, size)]
    peaks = measure_peaks(pieces, waveform.size)
    assert peaks.step == 16
    assert peaks.low.size == peaks.high.size == -(-waveform.size // 16)
    for i in (0, 17, peaks.low.size - 1):
        stretch = waveform[16 * i : 16 * (i + 1)]
        assert peaks.low[i] * peaks.top / 127 <= stretch.min() + 1e-6
        assert peaks.high[i] * peaks.top / 127 >= stretch.max() - 1e-6
        assert peaks.high[i] * peaks.top / 127 - stretch.max() < peaks.top / 100


def test_the_outline_of_a_longer_recording_is_coarser_and_of_silence_flat():
    silence = measure_peaks([np.zeros(100_000, np.float32)], 100_000, most=1_000)
    assert isinstance(silence, Peaks)
    assert (silence.step, silence.low.size) == (100, 1_000)
    assert not silence.low.any()
    assert not silence.high.any()


# What the page holds ----------------------------------------------------------------------------------------


def test_a_page_holds_text_times_confidence_warnings_and_the_outline(recording, tmp_path):
    page = tmp_path / "page.html"
    transcript = make_transcript(30.0, warnings=("the whole of it is odd",))
    write_timeline(transcript, recording, page, title="meeting", about={"model": "tiny"})
    text = page.read_text(encoding="utf-8")
    assert len(re.findall("<li[ >]", text)) == 1 + 12  # one warning of the whole, and the segments
    assert "<li>the whole of it is odd</li>" in text
    assert text.count('<p class="note">odd</p>') == 1
    assert "0:00:27.5" in text
    assert "90%" in text
    step, low, high = unpack(text)
    assert step == 0.001
    assert (low <= high).all()
    assert low.size == 30_000
    write_timeline(transcript, recording, tmp_path / "again.html", title="meeting", about={"model": "tiny"})
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_short_recordings_are_held_as_mp3_and_long_ones_linked(recording, tmp_path, monkeypatch):
    page = tmp_path / "pages" / "page.html"
    page.parent.mkdir()
    write_timeline(make_transcript(30.0), recording, page, title="meeting")
    sound = re.search(r'src="data:audio/mpeg;base64,([^"]+)"', page.read_text(encoding="utf-8"))
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound[1])))
    assert (samples.size / rate, rate) == (pytest.approx(30, abs=0.1), 16_000)
    monkeypatch.setattr("asrscope.timeline.page.EMBED_SECONDS", 10.0)
    odd = recording.rename(recording.with_name("a b#c.wav"))
    write_timeline(make_transcript(30.0), odd, page, title="meeting")
    assert 'src="../a%20b%23c.wav"' in page.read_text(encoding="utf-8")


def test_samples_without_a_file_can_be_held_or_left_out_but_not_linked(tmp_path):
    page, waveform = tmp_path / "page.html", np.zeros(16_000, np.float32)
    transcript = make_transcript(1.0)
    write_timeline(transcript, waveform, page, title="silence", sound="none")
    assert "audio/mpeg" not in page.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="expected a path of the recording to link"):
        write_timeline(transcript, waveform, page, title="silence", sound="link")


def test_a_page_that_cannot_be_written_leaves_nothing_behind(recording, tmp_path):
    with pytest.raises(OSError, match="no_folder"):
        write_timeline(make_transcript(30.0), recording, tmp_path / "no_folder" / "page.html", title="x")
    assert [path.name for path in tmp_path.iterdir()] == ["meeting.wav"]


# In a browser -----------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser):
    """Open a page as a file; fails if it says anything on the console or asks another host."""
    said, asked = [], []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))

    def open_page(path):
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    context.close()
    assert not said
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked)


def wait_for_span(page, text):
    """The page paints once in a frame, however often it is asked to: only the last span is waited for."""
    wait_for(page, f"document.getElementById('span').textContent === {text!r}")


def test_the_waveform_is_zoomed_moved_and_searched(opened, recording, tmp_path):
    path = tmp_path / "page.html"
    write_timeline(make_transcript(30.0), recording, path, title="meeting")
    page = opened(path)
    wait_for_span(page, "0:00:00.0 to 0:00:30.0")
    page.click("#in")
    page.click("#in")
    wait_for_span(page, "0:00:00.0 to 0:00:07.5")
    page.focus("#view")
    page.keyboard.press("End")
    wait_for_span(page, "0:00:22.5 to 0:00:30.0")
    assert page.get_attribute("#view", "aria-valuenow") == "30.0"
    page.click("#all")
    wait_for_span(page, "0:00:00.0 to 0:00:30.0")
    drawn = page.evaluate(
        "[...view.getContext('2d').getImageData(0, 0, view.width, view.height).data].some((each) => each > 0)"
    )
    assert drawn
    page.fill("#find", "river 7")
    assert page.text_content("#found") == "1 of 12 segments"
    page.fill("#find", "")
    page.check("#odd")
    assert page.text_content("#found") == "1 of 12 segments"


def test_a_press_on_a_segment_plays_its_stretch_and_stays_in_it(opened, recording, tmp_path):
    path = tmp_path / "page.html"
    write_timeline(make_transcript(30.0), recording, path, title="meeting")
    page = opened(path)
    wait_for(page, "audio.duration > 29")
    page.evaluate(WATCH_SOUND)
    segments = page.locator("#segments button")
    segments.nth(4).click()
    wait_for(page, RESTS)
    began, stopped = page.evaluate("[began, rests]")
    assert began == 10
    assert stopped == pytest.approx(12.5, abs=0.01)
    assert stopped < 12.5
    assert segments.nth(4).get_attribute("aria-current") == "true"
    assert page.locator("#segments button[aria-current]").count() == 1


def test_a_linked_recording_plays_and_one_that_is_gone_can_be_chosen(opened, recording, tmp_path):
    path = tmp_path / "page.html"
    write_timeline(make_transcript(30.0), recording, path, title="meeting", sound="link")
    page = opened(path)
    wait_for(page, "audio.duration > 29")
    page.set_input_files("#file", recording)
    wait_for(page, "audio.src.startsWith('blob:') && audio.duration > 29")


def paint_times(page):
    """Milliseconds of each picture while the page is zoomed in and out again."""
    times = page.evaluate(
        """async () => {
          const frame = () => new Promise(requestAnimationFrame);
          const press = (id) => document.getElementById(id).click();
          for (const id of [...Array(14).fill("in"), ...Array(14).fill("out")]) {
            press(id);
            await frame();
            await frame();
          }
          return performance.getEntriesByName("paint").map((each) => each.duration);
        }"""
    )
    assert len(times) > 20
    return times


def test_two_hours_are_drawn_as_fast_as_a_minute_at_every_zoom(opened, tmp_path, rng):
    path = tmp_path / "page.html"
    minute = (0.3 * rng.uniform(-1, 1, 60 * 16_000)).astype(np.float32)
    path.write_text(_page_of(make_transcript(60.0, each=3.5), [minute]), encoding="utf-8")
    short = np.median(paint_times(opened(path)))
    text = _page_of(make_transcript(7200.0, each=3.5), [minute] * 120)
    path.write_text(text, encoding="utf-8")
    assert len(text) < 6e6
    page = opened(path)
    # A machine at rest needs about a millisecond for either; the time of both grows with what else it does.
    assert np.median(paint_times(page)) < 10 * short + 5
    wait_for_span(page, "0:00:00.0 to 2:00:00.0")


def _page_of(transcript, blocks):
    from asrscope.timeline.page import _page

    peaks = measure_peaks(blocks, sum(block.size for block in blocks))
    return _page(transcript, peaks, title="two hours", sound="none", address="", about={})


def test_no_text_becomes_a_part_of_the_page(opened, recording, tmp_path):
    path = tmp_path / "page.html"
    transcript = make_transcript(30.0, text=NASTY, warnings=(NASTY,))
    write_timeline(transcript, recording, path, title=NASTY, about={NASTY: NASTY})
    page = opened(path)
    assert page.locator("script").count() == 2
    assert page.locator("[onload]").count() == 0
    assert page.locator("#segments .said").first.text_content() == f"{NASTY} 0"
    policy = page.get_attribute("meta[http-equiv]", "content")
    assert "unsafe" not in policy
    assert "img-src data:;" in policy
    assert json.loads(page.evaluate("JSON.stringify(document.title)")).startswith(NASTY)


def test_the_page_has_no_barriers_and_fits_a_phone(browser, recording, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    path = tmp_path / "page.html"
    write_timeline(make_transcript(30.0), recording, path, title="meeting", sound="link")
    for scheme in ("light", "dark"):
        phone = {"width": 390, "height": 844}
        context = browser.new_context(viewport=phone, color_scheme=scheme, bypass_csp=True)
        page = context.new_page()
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        found = Axe().run(page)
        assert not found.response["violations"], found.generate_report()
        context.close()


def test_the_text_can_be_read_without_scripts(browser, recording, tmp_path):
    path = tmp_path / "page.html"
    write_timeline(make_transcript(30.0), recording, path, title="meeting")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator("#poster").is_visible()
    assert page.get_by_text("we walked along the river 11").is_visible()
    context.close()
