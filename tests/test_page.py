"""What stands around figures: players on one clock, the slider over steps, saved pages and their policy."""

import base64
import hashlib
import html
import io
import json
import re
import sys
from dataclasses import replace
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from bokeh.layouts import column
from bokeh.models import CustomJS
from bokeh.plotting import figure
from pages import IDLE, Visit, barriers, wait_for

from asrscope import plots
from asrscope.plots import Moment, listen, page, player, step_slider
from asrscope.plots.page import content_policy, source_of
from asrscope.plots.theme import NEUTRAL_TEXT


@pytest.fixture(scope="module")
def figures(make_trace):
    trace = make_trace()
    return {key: draw(trace) for key, draw in plots.PLOTS.items()}


# --- what a page may do ---


def rules(policy):
    return dict(rule.split(" ", 1) for rule in policy.split("; "))


def test_without_scripts_nothing_runs_and_nothing_is_fetched():
    found = rules(content_policy())
    assert (
        found["default-src"] == found["script-src"] == found["base-uri"] == found["form-action"] == "'none'"
    )
    assert "connect-src" not in found  # default-src holds for all that is not named


def test_a_script_is_allowed_by_its_hash():
    script = "let a = '</b>' && 1;\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert source_of(script) == f"'sha256-{digest}'"
    assert rules(content_policy([script]))["script-src"] == f"'sha256-{digest}'"


def test_a_page_allows_the_scripts_that_it_was_made_with_and_none_that_its_texts_bring():
    made = ["let a = '</script>'; // <!--", "let b = 2;"]
    hostile = "<script>attacked()</script>"
    text = page.make_page(hostile, hostile, css="", scripts=made, added=["let c = 3;"])
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', text)
    scripts = re.findall(r"<script>(.*?)</script>", text[text.index("<body>") :], flags=re.DOTALL)
    assert scripts == ["attacked()", "let a = '<\\/script>'; // <\\!--", "let b = 2;"]
    allowed = rules(unescape(policy))["script-src"]
    assert allowed == " ".join(map(source_of, [*scripts[1:], "let c = 3;"]))
    assert "<title>&lt;script&gt;" in text


# --- players ---


def test_the_page_holds_the_sound_itself(make_trace):
    trace = make_trace(seconds=1.0)
    source = re.search(r'src="data:audio/wav;base64,([^"]+)"', player(trace)._repr_html_())
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(source[1])), dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(heard, trace.waveform, atol=1 / 32_000)


def test_a_name_cannot_become_markup(make_trace):
    html = player(make_trace(seconds=0.5, name='<img src=x onerror="alert(1)">'))._repr_html_()
    assert "<img" not in html
    assert 'onerror="' not in html


def test_samples_of_any_rate_can_be_heard(rng):
    samples = rng.uniform(-1, 1, 4_800).astype(np.float32)
    shown = listen(samples, "a hiss", 48_000)
    heard, rate = soundfile.read(io.BytesIO(shown.wav), dtype="float32")
    assert rate == 48_000
    np.testing.assert_allclose(heard, samples, atol=2 / 32_768)
    assert "a hiss, 0.10 s" in shown._repr_html_()


def test_no_samples_cannot_be_heard():
    with pytest.raises(ValueError, match="nothing to play in 'a hiss'"):
        listen(np.zeros(0, np.float32), "a hiss")


# --- one clock, in a browser ---

# What a strict host would send with a page: no eval, no other host.
POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline';"
    " style-src 'unsafe-inline'; img-src data: blob:; media-src data:\">"
)
STATE = """() => ({
  time: document.querySelector("audio").currentTime,
  paused: document.querySelector("audio").paused,
  lines: asrscopeClock.figures.flatMap((figure) => figure.lines.map((line) => line.location)),
  lit: Object.fromEntries(asrscopeClock.figures.map((figure) => [figure.plot.name, figure.lit])),
  bars: asrscopeClock.figures.flatMap((figure) => figure.plot.below)
    .filter((model) => model.type === "ColorBar").map((bar) => bar.major_label_text_color),
})"""
# The clock may meet a figure before it has its place.
DRAWN = IDLE + " && (window.asrscopeClock?.figures.length ?? 0) >= {}"


@pytest.fixture
def visit(browser, tmp_path):
    """Open pages in the folder of the test; their complaints are collected."""
    from pages import Visit

    opened = []

    def open_page(path, figures=1, **options):
        page = path.read_text(encoding="utf-8").replace("<head>", "<head>" + POLICY)
        path.write_text(page, encoding="utf-8")
        seen = Visit(browser, f"{tmp_path.as_uri()}/", **options)
        opened.append(seen)
        seen.page.goto(f"{seen.base}{path.name}")
        wait_for(seen.page, DRAWN.format(figures))
        seen.watch_sound()
        return seen

    yield open_page
    for seen in opened:
        seen.context.close()


def save(figure, path):
    plots.show(figure, path)
    return path


def finish(seen):
    """Wait until the sound has stopped, and tell how things stand then."""
    seen.hear_out()
    return seen.page.evaluate(STATE)


TIME_PLOTS = ("waveform", "log_mel", "encoder_output", "audio_embeds", "nearest_tokens")


def test_in_saved_figures_a_word_plays_its_stretch_and_moves_every_line(visit, make_trace, tmp_path):
    trace = make_trace()
    figures = [plots.PLOTS[name](trace) for name in TIME_PLOTS]
    values = np.linspace(0, 1, 2 * len(trace.audio_embeds)).reshape(2, -1)
    options = {"title": "a map", "value": "share", "description": "A map."}
    figures.append(plots.time_map(trace, values, ["one", "two"], name="time_map", **options))
    seen = visit(save(below_each_other(figures), tmp_path / "figures.html"), figures=len(figures))
    text, start, end = trace.reference_words[1]
    button = seen.page.get_by_role("button", name=text).first
    button.press("Enter")
    state = finish(seen)
    assert start < state["time"] < end
    assert state["time"] == pytest.approx(end, abs=0.01)
    assert state["lines"] == [state["time"]] * len(figures)
    assert barriers(seen) == []
    assert button.get_attribute("aria-current") == "true"
    assert seen.complaints == []


def below_each_other(figures):
    together = column(figures, sizing_mode="stretch_width")
    together.name = "figures"
    return together


def test_figures_without_a_time_axis_light_what_is_heard(visit, make_trace, tmp_path):
    trace = make_trace()
    figures = {name: plots.PLOTS[name](trace) for name in ("decoder_words", "decoder_tokens", "prompt")}
    seen = visit(save(below_each_other([*figures.values()]), tmp_path / "figures.html"), figures=3)
    seen.page.locator(".asrscope-words button").nth(1).click()
    state = finish(seen)
    word, cells = trace.words[1], figures["decoder_tokens"].renderers[0].data_source.data
    expected = {
        "decoder_words": [1],
        "decoder_tokens": [
            index
            for index, (row, place) in enumerate(zip(cells["row"], cells["column_name"], strict=True))
            if place == "written" and word.first_token <= row <= word.last_token
        ],
        "prompt": [
            int(np.flatnonzero(trace.prompt_is_audio)[int(state["time"] / trace.seconds_per_audio_token)])
        ],
    }
    assert state["lit"] == {name: ",".join(map(str, lit)) for name, lit in expected.items()}
    assert seen.complaints == []


def test_a_click_on_a_cell_plays_its_stretch_and_one_beside_it_from_there(visit, make_trace, tmp_path):
    trace = make_trace()
    values = np.zeros((2, len(trace.audio_embeds)))
    options = {"title": "a map", "value": "share", "description": "A map.", "spans": [(0, 0.5, 1.0)]}
    path = save(plots.time_map(trace, values, ["one", "two"], name="map", **options), tmp_path / "map.html")
    seen = visit(path)
    page = seen.page
    place = page.evaluate(
        """() => {
          const [{ view }] = asrscopeClock.figures
          const box = view.canvas_view.el.getBoundingClientRect()
          const { left, top, width, height } = view.frame.bbox
          return { left: box.left + left, top: box.top + top, width, height }
        }"""
    )

    def click(seconds, row):
        page.evaluate("() => { document.querySelector('audio').pause(); window.began = 0 }")
        x = place["left"] + seconds / trace.duration * place["width"]
        page.mouse.click(x, place["top"] + (row + 0.5) / 2 * place["height"])
        return seen.began()

    click(0.75, 0)
    assert finish(seen)["time"] == pytest.approx(1.0, abs=0.01)
    assert click(0.75, 1) == pytest.approx(0.75, abs=0.02)
    assert finish(seen)["time"] == pytest.approx(trace.duration, abs=0.01)


def test_a_sound_of_another_length_does_not_move_the_line(visit, make_trace, tmp_path, rng):
    path = save(plots.waveform(make_trace()), tmp_path / "figure.html")
    hiss = listen(rng.uniform(-0.1, 0.1, 4_800).astype(np.float32), "a hiss").to_html()
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", hiss + "</body>"), encoding="utf-8")
    page = visit(path).page
    page.evaluate("document.querySelectorAll('audio')[1].play()")
    wait_for(page, "document.querySelectorAll('audio')[1].ended")
    assert page.evaluate(STATE)["lines"] == [0]
    page.evaluate("document.querySelector('audio').currentTime = 1")
    wait_for(page, f"({STATE})().lines[0] === 1")


def test_where_the_player_is_out_of_sight_a_button_stops_the_sound(visit, make_trace, tmp_path):
    path = save(plots.waveform(make_trace()), tmp_path / "figure.html")
    tall = path.read_text(encoding="utf-8").replace("</figure>", '</figure><p style="height: 3000px"></p>')
    path.write_text(tall, encoding="utf-8")
    page = visit(path).page
    stop = page.locator(".asrscope-pause")
    assert not stop.is_visible()
    page.locator(".asrscope-words button").first.focus()
    # In a loop: it shall not come to its end before the button is pressed.
    page.evaluate(
        "() => { scrollTo(0, 3000); Object.assign(document.querySelector('audio'), { loop: true }).play() }"
    )
    stop.wait_for(state="visible")
    assert stop.inner_text().startswith("Pause")
    stop.press("Enter")
    assert page.evaluate(STATE)["paused"]
    stop.wait_for(state="hidden")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_numbers_of_a_color_bar_stand_out_from_the_page(visit, make_trace, tmp_path, theme):
    page = visit(save(plots.log_mel(make_trace()), tmp_path / "figure.html"), theme=theme).page
    (color,) = page.evaluate(STATE)["bars"]
    ground = {"light": "#ffffff", "dark": "#121212"}[theme]  # Chromium's own
    assert contrast(color, ground) >= 4.5
    assert contrast(NEUTRAL_TEXT, "#ffffff") >= 4.5  # where no script has set it


def contrast(one, other):
    """Contrast of two colors as WCAG 2.2 defines it."""

    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("width", "columns"), [(390, 1), (1280, 2)])
def test_two_panels_stand_below_each_other_on_a_phone(visit, make_trace, tmp_path, width, columns):
    trace = make_trace()
    panels = dict.fromkeys(("first", "second", "third"), trace.encoder_hidden_states)
    picture = plots.similarity(panels, 0.02, name="alike", trace=trace)
    seen = visit(save(picture, tmp_path / "alike.html"), figures=3, width=width)
    page = seen.page
    boxes = page.evaluate(
        "asrscopeClock.figures.map((f) => f.view.el.getBoundingClientRect()).map((b) => [b.left, b.width])"
    )
    assert len({round(left) for left, _ in boxes}) == columns
    assert all(across > 0.8 * width / columns for _, across in boxes)
    page.locator(".asrscope-words button").first.click()
    state = finish(seen)
    assert len(state["lines"]) == 6
    assert set(state["lines"]) == {state["time"]}


def test_in_a_notebook_every_player_brings_the_clock_and_there_is_one(
    browser, make_trace, tmp_path, monkeypatch
):
    from pages import Visit

    monkeypatch.setattr(page, "in_jupyter", lambda: True)
    trace = make_trace()
    cells = [player(trace)._repr_html_(), player(replace(trace, name="again"))._repr_html_()]
    (tmp_path / "notebook.html").write_text(f"<head></head><body>{''.join(cells)}</body>", encoding="utf-8")
    with Visit(browser, f"{tmp_path.as_uri()}/") as seen:
        seen.page.goto(f"{seen.base}notebook.html")
        seen.watch_sound()
        assert seen.page.locator(".asrscope-pause").count() == 1
        words = seen.page.locator(".asrscope-words").nth(1).get_by_role("button")
        words.nth(2).click()
        seen.hear_out()
        _, start, end = trace.reference_words[2]
        assert start < seen.page.evaluate("document.querySelectorAll('audio')[1].currentTime") < end
        assert seen.page.evaluate("document.querySelectorAll('audio')[0].currentTime") == 0
        assert seen.complaints == []


def test_outside_of_notebooks_a_player_brings_no_script(make_trace):
    html = player(make_trace(seconds=0.5))._repr_html_()
    assert "<script" not in html
    assert "<style" not in html
    assert html.count("<button") == len(make_trace(seconds=0.5).reference_words)


# --- the slider over the steps of a training ---

MOMENTS = (
    Moment("random", "years years", (" the", "ul", "<b>"), (0.21, -0.1, 0.3), "WER 108 %"),
    Moment("step 40", "old train", ("-", " o", "l"), (0.5, 0.75, 0.625), "WER 37 %"),
    Moment("bundled", "old", ("-", "o", " "), (0.875, 0.95, 1.0)),
)


@pytest.fixture
def slider():
    return step_slider(MOMENTS, "steps", "A clip <heard>", seconds_per_token=0.04)


@pytest.fixture
def slider_page(slider, tmp_path, capsys):
    """The slider as a plain script saves it."""
    plots.show(slider, tmp_path / "steps.html")
    assert capsys.readouterr().out == f"wrote {tmp_path / 'steps.html'}\n"
    return tmp_path / "steps.html"


def test_the_data_of_all_steps_and_no_markup_of_theirs_is_in_the_page(slider):
    html = slider.to_html()
    stored = json.loads(unescape(re.search(r'data-steps="([^"]+)"', html)[1]))
    assert [step["text"] for step in stored] == ["years years", "old train", "old"]
    assert [step["tokens"] for step in stored] == [["the", "ul", "<b>"], ["-", "o", "l"], ["-", "o", "␣"]]
    assert stored[0]["cosines"] == [0.21, -0.1, 0.3]
    assert "<b>" not in html
    assert "<heard>" not in html


def test_a_player_marks_the_word_that_was_not_written_and_spells_all_of_them(make_trace):
    trace = make_trace()
    written = list(trace.words)
    written[2] = replace(written[2], text="cloak", start=None, end=None)
    shown = player(replace(trace, words=tuple(written)), spelled=True).to_html()
    assert re.findall(r"data-missed[^>]*>([^<]+)<", shown) == [trace.reference_words[2][0]]
    spelled = re.findall(r"<code>([^<]*)</code>", shown)
    assert len(spelled) == len(trace.reference_words)
    assert unescape(" ".join(spelled)) == " ".join(texts[0].strip() for texts in trace.nearest_texts)
    assert "data-missed" not in player(trace).to_html()


def test_without_a_script_it_tells_the_last_step_and_what_is_written_at_each(slider):
    html = slider.to_html()
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", html)
    assert rows == [(moment.label, moment.note, moment.text) for moment in MOMENTS]
    assert "<label hidden>" in html
    assert re.findall(r"<span data-cosine>([^<]+)<", html) == ["0.88", "0.95", "1.00"]


def test_the_arrow_keys_move_it_through_the_steps(browser, slider_page):
    with Visit(browser, slider_page.parent.as_uri() + "/", width=390) as visit:
        visit.page.goto(slider_page.as_uri())
        tokens = visit.page.locator("[data-token]")
        control = visit.page.get_by_role("slider", name="Training")
        assert control.input_value() == "0"
        assert tokens.all_text_contents() == ["the", "ul", "<b>"]
        control.press("ArrowRight")
        assert tokens.all_text_contents() == ["-", "o", "l"]
        assert visit.page.locator("[data-cosine]").all_text_contents() == ["0.50", "0.75", "0.63"]
        assert visit.page.locator("[data-written]").text_content() == "old train"
        assert visit.page.get_by_role("status").text_content() == "step 40: WER 37 %"
        assert control.get_attribute("aria-valuetext") == "step 40"
        control.press("Home")
        assert tokens.all_text_contents() == ["the", "ul", "<b>"]
        assert visit.page.get_by_role("status").text_content() == "random: WER 108 %"
        control.press("End")
        assert visit.page.get_by_role("status").text_content() == "bundled"
        assert visit.overflow() <= 0
        assert visit.complaints == []


def test_it_needs_no_evaluation_of_text(browser, slider_page):
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; "
    policy += "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">"
    slider_page.write_text(
        slider_page.read_text("utf-8").replace("<head>", f"<head>{policy}"), encoding="utf-8"
    )
    with Visit(browser, slider_page.parent.as_uri() + "/") as visit:
        visit.page.goto(slider_page.as_uri())
        visit.page.get_by_role("slider").press("Home")
        assert visit.page.locator("[data-written]").text_content() == "years years"
        assert visit.complaints == []


def test_in_a_notebook_it_brings_style_and_script(slider, monkeypatch):
    assert "<script>" not in slider._repr_html_()
    monkeypatch.setattr(page, "in_jupyter", lambda: True)
    shown = slider._repr_html_()
    assert ".asrscope-steps-columns" in shown
    assert "addEventListener" in shown


@pytest.mark.parametrize(
    "moments",
    [
        MOMENTS[:1],
        (MOMENTS[0], Moment("step 9", "", ("a",), (0.5,))),
        (Moment("x", "", ("a", "b"), (0.5,)),) * 2,
    ],
)
def test_steps_that_cannot_be_compared_are_refused(moments):
    with pytest.raises(ValueError, match="expected two moments or more with equally many tokens and cosines"):
        step_slider(moments, "steps", "A clip", seconds_per_token=0.04)


# --- saved pages ---


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_saves_one_offline_page_for_each_figure(figures, in_tmp, capsys):
    first = plots.show(figures["waveform"])
    second = plots.show(figures["waveform"])
    named = plots.show(figures["prompt"], "my prompt.html")
    assert [path.name for path in (first, second, named)] == [
        "waveform.html",
        "waveform-2.html",
        "my prompt.html",
    ]
    assert capsys.readouterr().out.split("\n")[0] == "wrote waveform.html"
    html = first.read_text(encoding="utf-8")
    assert "--bk-axis-line-color" in html
    assert "<script src=" not in html.replace("'", '"')
    assert re.findall("<link[^>]*>", html) == ['<link rel="icon" href="data:,">']


def test_a_saved_page_runs_its_own_scripts_and_makes_none_of_text(figures, tmp_path):
    called = figure()
    called.line([0, 1], [0, 1])
    called.js_on_event("tap", CustomJS(code="console.log(1)"))
    for shown in (figures["waveform"], called):
        page = plots.show(shown, tmp_path / "page.html").read_text(encoding="utf-8")
        (content,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
        assert page.index("Content-Security-Policy") < page.index("<title>")
        rules = dict(rule.split(" ", 1) for rule in html.unescape(content).split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"].count("'sha256-") == len(rules["script-src"].split()) > 1


def test_a_saved_page_lives_with_its_policy(browser, figures, tmp_path):
    saved = plots.show(figures["waveform"], tmp_path / "page.html")
    hurt = tmp_path / "hurt.html"
    hurt.write_text(
        saved.read_text(encoding="utf-8").replace("<main>", "<main><script>document.title = 'hurt'</script>"),
        encoding="utf-8",
    )
    for path, stopped in ((saved, []), (hurt, ["script-src-elem"])):
        page = browser.new_page()
        said = []
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.add_init_script(
            "window.stopped = []; document.addEventListener('securitypolicyviolation',"
            " (event) => window.stopped.push(event.effectiveDirective))"
        )
        page.goto(path.as_uri())
        page.wait_for_selector(".bk-Canvas >> nth=0", state="attached")
        assert page.evaluate("window.stopped") == stopped
        assert page.title() == "waveform"
        assert said == []
        page.close()


def test_show_uses_the_hook_of_a_notebook_or_gallery(figures, in_tmp):
    from bokeh.io import output_notebook, reset_output
    from bokeh.io.notebook import install_notebook_hook

    shown = []
    install_notebook_hook(
        "test",
        lambda *_args, **_options: None,
        lambda model, *_args: shown.append(model),
        None,
        overwrite=True,
    )
    try:
        output_notebook(notebook_type="test")
        assert plots.show(figures["waveform"]) is None
    finally:
        reset_output()
    assert shown == [figures["waveform"]]
    assert list(in_tmp.iterdir()) == []


def test_show_in_a_kernel_that_loaded_nothing_loads_bokeh_into_the_notebook(figures, in_tmp, monkeypatch):
    happened = []
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    state = SimpleNamespace(notebook=False)
    monkeypatch.setattr(page, "curstate", lambda: state)

    def load(resources, hide_banner):
        happened.append((resources.mode, hide_banner))
        state.notebook = True

    monkeypatch.setattr(page, "output_notebook", load)
    monkeypatch.setattr(page, "bokeh_show", happened.append)
    assert plots.show(figures["waveform"]) is None
    assert happened == [("inline", True), figures["waveform"]]
    assert list(in_tmp.iterdir()) == []
