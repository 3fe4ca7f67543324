"""The report: one file that works offline, plays, and runs no foreign code; and its data as JSON."""

import base64
import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from bokeh.resources import Resources
from pages import COLORS, PATIENCE, Visit, barriers, wait_for, work_for_one_line, worked

from asrscope import plots
from asrscope.audio import wav_bytes
from asrscope.plots.report import write_html, write_json
from asrscope.scope.traces import (
    ARRAY_AXES,
    ARRAY_TYPES,
    DECIMALS,
    PROBABILITY_DECIMALS,
    Token,
    Trace,
    trace_schema,
)

HOSTILE = (
    "</script><script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"
    '"><svg onload="window.harmed = 1">$$\\alpha$$ <!-- &lt; @token{safe} \u2028'
)
TIME_FIGURES = ["waveform", "log_mel", "encoder_output", "audio_embeds", "nearest_tokens"]


@pytest.fixture(scope="module")
def trace(make_trace):
    return make_trace(warnings=("the clip is shorter than a breath",))


@pytest.fixture(scope="module")
def control(make_trace, trace):
    """The same clip, through a random projector."""
    parts = tuple(replace(part, trained=part.part != "projector") for part in trace.provenance)
    other = make_trace(seed=8, text="ixpe the potatoes", confidence=0.125, provenance=parts)
    return replace(other, waveform=trace.waveform)


@pytest.fixture(scope="module")
def page_text(trace, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "trace.html"
    write_html(trace, path)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def record(trace, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "trace.json"
    write_json(trace, path)
    return path.read_text(encoding="utf-8")


class Elements(html.parser.HTMLParser):
    """Every element with its attributes and the text directly inside it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        self.found.append(("", {}, []))  # what follows is not inside the element

    def handle_data(self, data):
        if self.found:
            self.found[-1][2].append(data)

    def all(self, tag):
        return [(attrs, "".join(text)) for name, attrs, text in self.found if name == tag]


# --- the file ---


def test_the_same_trace_gives_the_same_bytes_in_any_process(trace, page_text, tmp_path):
    trace.save(tmp_path / "trace.npz")
    code = (
        "from asrscope import plots\n"
        "from asrscope.plots.report import write_html\n"
        "from asrscope.scope.traces import Trace\n"
        "trace = Trace.load('trace.npz'); plots.log_mel(trace)\n"  # so that Bokeh's own ids have moved on
        "write_html(trace, 'again.html')"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4242"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    again = (tmp_path / "again.html").read_text(encoding="utf-8")
    assert hashlib.sha256(again.encode()).digest() == hashlib.sha256(page_text.encode()).digest()


def test_three_seconds_with_a_control_are_a_page_of_at_most_a_megabyte_and_a_half(trace, control, tmp_path):
    write_html(trace, tmp_path / "both.html", control=control)
    assert (tmp_path / "both.html").stat().st_size <= 1_500_000


def test_a_long_clip_stays_a_page_one_can_send(make_trace, tmp_path):
    write_html(make_trace(30.0), tmp_path / "long.html")
    assert (tmp_path / "long.html").stat().st_size < 4_000_000


def test_the_page_refers_to_nothing_outside_itself(page_text):
    for tag, attrs, _ in Elements(page_text).found:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            target = attrs.get(name)
            assert target is None or target.startswith(("data:", "#")), (tag, name)
    assert "url(" not in "".join(text for _, text in Elements(page_text).all("style"))


def test_the_policy_allows_exactly_the_scripts_of_the_page(page_text):
    elements = Elements(page_text)
    (policy,) = [
        a["content"] for a, _ in elements.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    scripts = [text for attrs, text in elements.all("script") if "type" not in attrs]
    assert len(scripts) == 2
    (bokeh,) = [text for attrs, text in elements.all("script") if attrs.get("id") == "bokeh"]
    scripts.append(zlib.decompress(base64.b64decode(bokeh)).decode())
    assert scripts[2] == "\n".join(
        Resources(mode="inline", components=["bokeh"], minified=True, log_level="warn").js_raw
    )
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert rules["default-src"] == "'none'"
    assert "unsafe-eval" not in policy
    assert "connect-src" not in rules  # default-src 'none' holds for every kind that is not named
    assert set(rules) == {
        "default-src",
        "script-src",
        "style-src",
        "img-src",
        "media-src",
        "base-uri",
        "form-action",
    }


def test_the_sound_inside_is_the_waveform(page_text, trace):
    ((attrs, _),) = Elements(page_text).all("audio")
    head, data = attrs["src"].split(",")
    assert head == "data:audio/wav;base64"
    assert base64.b64decode(data) == wav_bytes(trace.waveform)


def test_the_page_states_text_confidence_warnings_provenance_and_times(page_text, trace):
    text = re.sub(r"<script.*?</script>|<style>.*?</style>|<[^>]+>", " ", page_text, flags=re.DOTALL)
    text = " ".join(text.split())
    assert f"“{trace.text}”" in text
    assert f"{trace.confidence:.2f} confidence" in text
    assert trace.warnings[0] in text
    for part in trace.provenance:
        assert (
            f"{part.part} trained {part.parameters:,} {part.dtype} {part.source} none {part.sha256}" in text
        )
    for step, seconds in trace.timings.items():
        assert f"{step} {seconds * 1000:.1f} ms" in text
    for field, names in ARRAY_AXES.items():
        shape = " × ".join(str(size) for size in getattr(trace, field).shape)
        assert f"{field} {' × '.join(names)} {shape}" in text
    for name, version in trace.versions.items():
        assert f"{name} {version}" in text


def test_every_figure_has_a_description_and_a_table(page_text, trace):
    elements = Elements(page_text)
    ids = {attrs.get("id") for _, attrs, _ in elements.found}
    captions = "\n".join(text for _, text in elements.all("figcaption"))
    for key in plots.PLOTS:
        assert {f"plot-{key}", f"d-{key}", f"h-{key}"} <= ids
        assert plots.describe(trace, key) in captions
    rows = sum(len(plots.table(trace, key).rows) for key in plots.PLOTS)
    headers = [attrs for attrs, _ in elements.all("th") if attrs.get("scope") == "row"]
    assert len(elements.all("tr")) >= rows + len(headers)
    assert len(elements.all("details")) == len(plots.PLOTS) - 1  # the table of tokens is open


def test_random_weights_are_named_in_headings_and_table(trace, tmp_path):
    parts = tuple(replace(part, trained=part.part != "projector") for part in trace.provenance)
    write_html(replace(trace, provenance=parts), tmp_path / "random.html")
    text = (tmp_path / "random.html").read_text(encoding="utf-8")
    headings = {attrs["id"]: text for attrs, text in Elements(text).all("h2")}
    assert "random weights" in headings["h-audio_embeds"]
    assert "random weights" not in headings["h-encoder_output"]
    assert '<span class="badge random">random</span>' in text
    assert "random weights: projector" in text  # in the picture


@pytest.mark.parametrize("write", [write_html, write_json])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(trace, tmp_path, monkeypatch, write):
    target = tmp_path / "trace.out"
    target.write_text("old")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(trace, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("write", [write_html, write_json])
def test_writing_into_a_missing_folder_fails_clearly(trace, tmp_path, write):
    with pytest.raises(FileNotFoundError, match="missing"):
        write(trace, tmp_path / "missing" / "trace.out")


# --- JSON ---


def test_the_json_is_valid_and_holds_the_trace_at_its_precision(record, trace):
    loaded = json.loads(record)
    jsonschema.validate(loaded, trace_schema())
    for field in ARRAY_AXES:
        values = np.array(loaded[field])
        assert values.shape == getattr(trace, field).shape
        precision = 0.51 * 10.0**-DECIMALS
        assert np.abs(values.astype(float) - getattr(trace, field).astype(float)).max() <= precision
    assert loaded["text"] == trace.text
    assert len(loaded["tokens"]) == len(trace.tokens)


def test_the_json_of_an_untrained_unfinished_trace_is_valid(trace):
    parts = tuple(replace(part, trained=None, revision="abc") for part in trace.provenance)
    changed = replace(
        trace,
        provenance=parts,
        finished=False,
        eos_probability=None,
        reference=None,
        reference_words=None,
        words=tuple(replace(word, start=None, end=None) for word in trace.words),
    )
    jsonschema.validate(changed.to_dict(), trace_schema())


def test_the_schema_is_a_schema_that_describes_every_field():
    schema = trace_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["description"].startswith("Every stage")
    assert schema["$defs"].keys() == {"Provenance", "Shapes", "Token", "Word"}
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is False
        assert set(part["required"]) == set(part["properties"])
        for name, field in part["properties"].items():
            assert len(field["description"]) > 10, f"{part['title']}.{name}"


def test_the_schema_states_axes_shapes_and_precision_as_the_trace_has_them():
    schema = trace_schema()
    properties = schema["properties"]
    for field, names in ARRAY_AXES.items():
        assert tuple(properties[field]["x-axes"]) == names
        shape = schema["$defs"]["Shapes"]["properties"][field]
        assert shape["minItems"] == shape["maxItems"] == len(names)
        rounded = DECIMALS if ARRAY_TYPES[field].kind == "f" else None
        assert properties[field].get("x-decimals") == rounded
    assert properties["confidence"]["x-decimals"] == PROBABILITY_DECIMALS
    assert set(properties) == {"format", "version", "shapes", *Trace.__dataclass_fields__}
    assert properties["tokens"]["items"] == {"$ref": "#/$defs/Token"}
    token = schema["$defs"]["Token"]
    assert token["required"] == [*Token.__dataclass_fields__]
    assert token["properties"]["runners_up"]["items"]["prefixItems"] == [
        {"type": "string"},
        {"type": "number"},
    ]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda r: r.pop("text"), "'text' is a required property"),
        (lambda r: r.update(extra=1), "'extra' was unexpected"),
        (lambda r: r.update(version=1), "2 was expected"),
        (lambda r: r.update(confidence=1.5), "1.5 is greater"),
        (lambda r: r["tokens"][0].update(probability="high"), "'high' is not of type 'number'"),
        (lambda r: r["audio_embeds"].append(0.5), "0.5 is not of type 'array'"),
    ],
)
def test_the_schema_refuses_what_is_no_trace(record, change, what):
    loaded = json.loads(record)
    change(loaded)
    with pytest.raises(jsonschema.ValidationError, match=what):
        jsonschema.validate(loaded, trace_schema())


# --- in a browser ---

# Colors on the canvases of each figure: a blank canvas shows one.
COLORS_BY_PLOT = f"""() => Object.fromEntries([...document.querySelectorAll(".plot")].map((plot) =>
  [plot.id.slice(5), ({COLORS})(plot)]))"""
# Place of each figure's frame on the page, and what its range and playhead say.
FRAMES = """() => Object.fromEntries([...Bokeh.index].filter((view) => view.frame).map((view) => {
  const box = view.canvas_view.el.getBoundingClientRect()
  const frame = view.frame.bbox
  const playhead = view.model.center.find((model) => model.name === "playhead")
  return [view.model.name, {
    left: box.left + frame.left, top: box.top + frame.top, width: frame.width, height: frame.height,
    right: box.left + frame.right, canvas: box.right,
    start: view.model.x_range.start, end: view.model.x_range.end,
    playhead: playhead ? playhead.location : null,
  }]
}))"""
# Glyphs that are lit because they are heard, and the values of the pictures.
LIT = """() => Object.fromEntries([...Bokeh.index].filter((view) => view.frame).map((view) =>
  [view.model.name, view.model.renderers.flatMap((each) => each.data_source?.selected.indices ?? [])]
).map(([name, lit]) => [name, [...new Set(lit)]]))"""
PICTURES = """() => Object.fromEntries([...Bokeh.index].filter((view) => view.frame).map((view) =>
  [view.model.name, Array.from(view.model.renderers[0].data_source.get_column("image")?.[0] ?? [])]))"""
TOOLTIPS = """() => {
  const all = (node) =>
    [...node.querySelectorAll("*")].flatMap((e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])])
  return all(document).filter((e) => e.className === "bk-tooltip-row-value").map((e) => e.innerText)
}"""


@contextmanager
def reports(browser, folder, page_text):
    """Give what opens a report, by default that of `trace`; complaints are collected in what it returns."""
    opened = []

    def open_report(text=page_text, draw_all=True, **options):
        (folder / "report.html").write_text(text, encoding="utf-8")
        seen = Visit(browser, f"{folder.as_uri()}/", **options)
        opened.append(seen)
        seen.page.goto(f"{seen.base}report.html")
        seen.page.wait_for_selector("html[data-ready]", state="attached")
        if draw_all:
            seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
            wait_for(seen.page, "[...document.querySelectorAll('.plot')].every((plot) => plot.dataset.drawn)")
        seen.watch_sound()
        return seen

    yield open_report
    for seen in opened:
        seen.context.close()


@pytest.fixture
def visit(browser, page_text, tmp_path):
    """Open reports of this test's own."""
    with reports(browser, tmp_path, page_text) as open_report:
        yield open_report


@pytest.fixture(scope="module")
def open_report(browser, page_text, tmp_path_factory):
    """The report of `trace`, opened once for all tests that leave it as it is."""
    with reports(browser, tmp_path_factory.mktemp("report"), page_text) as open_one:
        yield open_one()


@pytest.fixture
def seen(open_report):
    """That report, as if it had just been opened."""
    open_report.page.evaluate(
        """() => {
          const sound = document.getElementById("audio")
          sound.pause()
          sound.currentTime = 0
          scrollTo(0, 0)
          window.began = 0
        }"""
    )
    wait_for(open_report.page, "!document.getElementById('audio').seeking")
    return open_report


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_every_figure_is_drawn_and_fits(visit, width, theme):
    seen = visit(width=width, theme=theme)
    assert set(seen.page.evaluate(COLORS_BY_PLOT)) == set(plots.PLOTS)
    # A figure is painted in a frame after it is drawn.
    wait_for(seen.page, f"Object.values(({COLORS_BY_PLOT})()).every((colors) => colors > 10)")
    assert seen.overflow() == 0
    frames = seen.page.evaluate(FRAMES)
    assert all(frame["width"] > 0.6 * min(width, 1000) for frame in frames.values()), frames
    assert all(frame["canvas"] <= width for frame in frames.values())
    edges = {(round(frames[key]["left"]), round(frames[key]["right"])) for key in TIME_FIGURES}
    assert len(edges) == 1  # one above the other, so that the playheads form one line
    assert seen.complaints == []


def test_the_sound_plays_and_moves_every_playhead(seen, trace):
    page = seen.page
    wait_for(page, "document.getElementById('audio').duration > 0")
    assert page.evaluate("document.getElementById('audio').duration") == pytest.approx(
        trace.duration, abs=0.01
    )
    word, start, end = trace.reference_words[0]
    spoken = page.locator("ul[aria-labelledby=spoken] button").first
    assert spoken.inner_text().split()[0] == word
    spoken.click()
    assert seen.began() == pytest.approx(start, abs=0.01)
    stopped = seen.hear_out()
    assert stopped == pytest.approx(end, abs=0.01)
    assert stopped < end  # within the word, not yet in the next
    assert spoken.get_attribute("aria-current") == "true"
    assert page.locator("ul[aria-labelledby=spoken] button[aria-current]").count() == 1
    frames = page.evaluate(FRAMES)
    assert [frames[key]["playhead"] for key in TIME_FIGURES] == pytest.approx([stopped] * 5, abs=0.02)
    assert page.locator("#clock").inner_text() == f"{stopped:.2f} s"
    assert seen.complaints == []


def test_a_click_in_a_figure_plays_from_there_to_the_end(seen, trace):
    page = seen.page
    page.locator("#plot-log_mel").scroll_into_view_if_needed()
    frame = page.evaluate(FRAMES)["log_mel"]
    page.mouse.click(frame["left"] + 0.8 * frame["width"], frame["top"] + 0.5 * frame["height"])
    wait_for(page, "document.getElementById('audio').ended")
    assert seen.began() == pytest.approx(0.8 * trace.duration, abs=0.02)


def test_a_click_on_a_word_or_token_plays_that_word(seen, trace):
    page = seen.page
    row = 4
    owner = next(i for i, word in enumerate(trace.words) if word.first_token <= row <= word.last_token)
    assert owner != row
    for key, rows, word in [
        ("decoder_words", len(trace.words), row),
        ("decoder_tokens", len(trace.tokens), owner),
    ]:
        page.locator(f"#plot-{key}").scroll_into_view_if_needed()
        frame = page.evaluate(FRAMES)[key]
        page.evaluate("() => { document.getElementById('audio').pause(); window.began = 0 }")
        page.mouse.click(frame["left"] + 20, frame["top"] + (row + 0.5) / rows * frame["height"])
        assert seen.began() == pytest.approx(trace.words[word].start, abs=0.02)


def test_a_click_on_an_audio_position_of_the_prompt_plays_its_stretch(seen, trace):
    page = seen.page
    page.locator("#plot-prompt").scroll_into_view_if_needed()
    frame = page.evaluate(FRAMES)["prompt"]
    cells = plots.prompt(trace).renderers[0].data_source.data
    place = cells["shown"].index("a12")
    lines = max(cells["line"]) + 1
    x = frame["left"] + cells["center"][place] / frame["end"] * frame["width"]
    y = frame["top"] + (cells["line"][place] + 0.5) / lines * frame["height"]
    page.mouse.click(x, y)
    assert seen.began() == pytest.approx(12 * trace.seconds_per_audio_token, abs=0.02)
    seen.hear_out()
    assert page.evaluate(LIT)["prompt"] == [place]


def test_a_moment_lights_its_word_its_tokens_and_its_audio_token(seen, trace):
    page = seen.page
    number = 4
    word = trace.words[number]
    page.locator("ul[aria-labelledby=written] button").nth(number).focus()
    page.keyboard.press("Enter")
    seen.hear_out()
    lit = page.evaluate(LIT)
    cells = plots.decoder_tokens(trace).renderers[0].data_source.data
    written = [i for i, place in enumerate(cells["column_name"]) if place == "written"]
    assert lit["decoder_words"] == [number]
    assert lit["decoder_tokens"] == written[word.first_token : word.last_token + 1]
    heard = int((word.end - 0.001) / trace.seconds_per_audio_token)
    assert lit["prompt"] == [int(np.flatnonzero(trace.prompt_is_audio)[heard])]


def test_every_written_token_stands_in_a_table_and_plays_its_word(seen, trace):
    page = seen.page
    rows = page.locator("table.tokens tbody tr")
    assert rows.count() == len(trace.tokens)
    number = trace.words[3].first_token
    token, row = trace.tokens[number], rows.nth(number)
    text = row.inner_text()
    for part in (
        str(token.id),
        token.text.strip(),
        f"{token.probability:.4f}",
        token.runners_up[0][0].strip(),
    ):
        assert part in text
    row.get_by_role("button").press("Enter")
    assert seen.began() == pytest.approx(trace.words[3].start, abs=0.001)
    assert seen.hear_out() < trace.words[3].end


def test_the_values_of_every_picture_are_those_of_the_trace_to_three_decimals(seen, trace):
    page = seen.page
    pictures = page.evaluate(PICTURES)
    for key, values in (
        ("log_mel", trace.log_mel),
        ("encoder_output", trace.encoder_hidden_states.T),
        ("audio_embeds", trace.audio_embeds.T),
    ):
        drawn = np.array(pictures[key]).reshape(values.shape)
        assert np.abs(drawn - values).max() <= 0.0005 + 1e-6
        thousandths = drawn * 1000
        assert np.abs(thousandths - thousandths.round()).max() < 1e-2  # so that a hover rounds nothing again


def test_values_too_large_for_two_bytes_arrive_as_well(visit, trace, tmp_path):
    large = replace(trace, encoder_hidden_states=trace.encoder_hidden_states * 1000)
    write_html(large, tmp_path / "large.html")
    page = visit((tmp_path / "large.html").read_text(encoding="utf-8")).page
    drawn = np.array(page.evaluate(PICTURES)["encoder_output"])
    expected = large.encoder_hidden_states.T.ravel()
    assert np.abs(expected).max() > 32.767
    np.testing.assert_allclose(drawn, expected, atol=0.0006, rtol=1e-6)


def test_a_control_stands_beside_the_trace_and_is_named(visit, trace, control, tmp_path):
    write_html(trace, tmp_path / "both.html", control=control)
    seen = visit((tmp_path / "both.html").read_text(encoding="utf-8"))
    page = seen.page
    rows = page.locator("#control tbody tr")
    assert [rows.nth(i).locator("th").inner_text() for i in range(2)] == ["trained", "random"]
    for row, each in zip((rows.nth(0), rows.nth(1)), (trace, control), strict=True):
        assert each.text in row.inner_text()
        assert f"{each.confidence:.2f}" in row.inner_text()
    for key in ("audio_embeds", "nearest_tokens"):
        boxes = {name: page.locator(f"#plot-{key}{name}").bounding_box() for name in ("", "-control")}
        assert boxes[""]["y"] == pytest.approx(boxes["-control"]["y"], abs=2)
        assert boxes[""]["x"] + boxes[""]["width"] <= boxes["-control"]["x"]
        assert page.locator(f"#h-{key}-control").inner_text().endswith("random projector")
    titles = page.evaluate(
        "[...Bokeh.index].filter((v) => v.frame).map((v) => [v.model.name, v.model.title.text])"
    )
    assert ["audio_embeds", "random weights: projector"] in titles
    assert ["audio_embeds", "trained weights: projector"] in titles
    ends = page.evaluate(
        "[...Bokeh.index].filter((v) => v.model.name === 'nearest_tokens').map((v) => v.model.y_range.end)"
    )
    assert ends[0] == ends[1]
    assert seen.complaints == []


def test_a_control_of_another_clip_is_refused(trace, make_trace, tmp_path):
    with pytest.raises(ValueError, match="control of the same clip as 'clock-flite-slt'"):
        write_html(trace, tmp_path / "wrong.html", control=make_trace(2.0))
    assert list(tmp_path.iterdir()) == []


def work_until_the_first_figure(browser, path):
    with Visit(browser, path.parent.as_uri()) as visit:
        seconds = worked(visit.page, "ProcessTime")
        visit.page.goto(path.as_uri())
        visit.page.wait_for_selector(".plot[data-drawn]", state="attached")
        found = seconds()
        first = visit.page.evaluate("performance.getEntriesByName('first-figure')[0].startTime")
        assert 0 < first < 1000 * PATIENCE
        assert visit.page.locator(".plot[data-drawn]").count() < len(plots.PLOTS)  # the others wait
        return found


def test_the_first_figure_takes_little_more_work_than_bokeh_needs_for_a_line(browser, page_text, tmp_path):
    # Side by side, since machines differ: some 2 times as much, and what shares the processor may add to it.
    (tmp_path / "report.html").write_text(page_text, encoding="utf-8")
    pairs = (
        (
            work_for_one_line(browser, tmp_path, "ProcessTime"),
            work_until_the_first_figure(browser, tmp_path / "report.html"),
        )
        for _ in range(3)
    )
    assert any(0.01 < of_report < 3 * of_bokeh for of_bokeh, of_report in pairs)


def test_a_browser_that_cannot_unpack_the_figures_says_so(browser, page_text, tmp_path):
    (tmp_path / "report.html").write_text(page_text, encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_selector("#failed:not([hidden])")
    assert "DecompressionStream" in page.locator("#failed").inner_text()
    context.close()


def test_the_length_of_the_prompt_is_worked_out_from_the_clip(make_trace):
    trace = make_trace(2.99, k=4)
    lines = plots.prompt_length(trace)
    assert lines[0] == "47840 samples / 320 a position, rounded up: 150 encoder positions."
    assert lines[1] == "(150 positions − k) // k + 1, with k = 4: 37 audio tokens."
    assert (
        lines[2]
        == f"37 audio + {len(trace.prompt_ids) - 37} text = {len(trace.prompt_ids)} positions of prompt."
    )
    padded = replace(trace, waveform=trace.waveform[:16_000])
    assert "given 150 positions" in plots.prompt_length(padded)[1]


def test_hovering_shows_the_real_value_at_its_time(seen, trace):
    page = seen.page
    page.locator("#plot-log_mel").scroll_into_view_if_needed()
    frame = page.evaluate(FRAMES)["log_mel"]
    band, column = 20, 150
    n_mels, frames = trace.log_mel.shape
    x = frame["left"] + (column + 0.5) / frames * frame["width"]
    y = frame["top"] + (1 - (band + 0.5) / n_mels) * frame["height"]
    page.mouse.move(x - 30, y - 30)
    page.mouse.move(x, y)
    # That of the place on the way there may be shown first.
    wait_for(page, f"({TOOLTIPS})().length === 3 && ({TOOLTIPS})()[1] === '{band}'")
    moment, row, value = page.evaluate(TOOLTIPS)
    assert float(moment.removesuffix(" s")) == pytest.approx((column + 0.5) * 0.01, abs=0.01)
    assert int(row) == band
    near = trace.log_mel[band, column - 1 : column + 2]  # a pixel may fall into the neighboring column
    assert np.abs(near - float(value.replace("−", "-"))).min() < 0.0006


def test_zooming_one_figure_zooms_all(visit, trace):
    page = visit().page
    page.locator("#plot-waveform").scroll_into_view_if_needed()
    frame = page.evaluate(FRAMES)["waveform"]
    y = frame["top"] + frame["height"] / 2
    page.mouse.move(frame["left"] + 0.25 * frame["width"], y)
    page.mouse.down()
    page.mouse.move(frame["left"] + 0.5 * frame["width"], y, steps=4)
    page.mouse.up()
    wait_for(page, f"(({FRAMES})().waveform.start > 0)")
    frames = page.evaluate(FRAMES)
    ranges = {(frames[key]["start"], frames[key]["end"]) for key in TIME_FIGURES}
    assert len(ranges) == 1
    start, end = ranges.pop()
    assert (start, end) == pytest.approx((0.25 * trace.duration, 0.5 * trace.duration), abs=0.03)
    assert page.evaluate("window.began") is None  # a drag is no click


def test_the_theme_button_recolors_page_and_figures(visit):
    page = visit(theme="light").page
    ink = """() => {
      const view = [...Bokeh.index].find((candidate) => candidate.model.name === "waveform")
      const { ctx, canvas } = view.canvas_view.primary
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
      let light = 0, dark = 0
      for (let i = 0; i < pixels.length; i += 4) {
        if (pixels[i + 3] < 200) continue
        if (Math.max(pixels[i], pixels[i + 1], pixels[i + 2]) < 90) dark++
        if (Math.min(pixels[i], pixels[i + 1], pixels[i + 2]) > 200) light++
      }
      return { light, dark }
    }"""
    ground = "getComputedStyle(document.body).backgroundColor"
    ground_before = page.evaluate(ground)
    wait_for(page, f"(({{ light, dark }}) => dark > 100 && light < 100)(({ink})())")
    page.locator("#theme").click()
    wait_for(page, f"(({{ light, dark }}) => light > 100 && dark < 100)(({ink})())")
    assert page.evaluate(ground) != ground_before
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"


def test_text_of_the_trace_stays_text(visit, trace, tmp_path):
    hostile = replace(
        trace,
        name=HOSTILE,
        text=HOSTILE,
        reference=HOSTILE,
        warnings=(HOSTILE,),
        reference_words=tuple((HOSTILE, start, end) for _, start, end in trace.reference_words),
        words=tuple(replace(word, text=HOSTILE) for word in trace.words),
        tokens=tuple(replace(t, text=HOSTILE, runners_up=((HOSTILE, 0.01),)) for t in trace.tokens),
        nearest_texts=tuple(tuple(HOSTILE for _ in texts) for texts in trace.nearest_texts),
        prompt_texts=tuple(HOSTILE for _ in trace.prompt_texts),
        provenance=tuple(
            replace(p, source=HOSTILE, revision=HOSTILE, sha256=HOSTILE) for p in trace.provenance
        ),
        versions={HOSTILE: HOSTILE},
    )
    write_html(hostile, tmp_path / "hostile.html")
    seen = visit((tmp_path / "hostile.html").read_text(encoding="utf-8"))
    page = seen.page
    # Under the pointer, where Bokeh builds HTML.
    for key in ("nearest_tokens", "prompt", "decoder_words", "decoder_tokens"):
        page.locator(f"#plot-{key}").scroll_into_view_if_needed()
        frame = page.evaluate(FRAMES)[key]
        page.mouse.move(frame["left"] + 20, frame["top"] + frame["height"] - 10)
        page.mouse.move(frame["left"] + 24, frame["top"] + frame["height"] - 14)
        wait_for(page, f"({TOOLTIPS})().some((text) => text.includes('<img src=x'))")
    page.wait_for_timeout(300)  # for what would come late
    assert page.evaluate("window.harmed") is None
    assert page.locator("img, svg, script[src]").count() == 0
    assert page.title().startswith("</script>")
    assert page.locator("h1").inner_text().startswith("</script><script>window.harmed = 1</script>")
    assert seen.complaints == []  # neither a policy violation nor a request for MathJax


def test_foreign_script_and_requests_are_refused(visit):
    page = visit().page
    page.evaluate(
        """() => {
          window.refused = []
          const note = (event) => window.refused.push(event.effectiveDirective)
          document.addEventListener("securitypolicyviolation", note)
          const script = document.createElement("script")
          script.textContent = "window.harmed = 1"
          document.body.append(script)
          const image = document.createElement("img")
          image.src = "https://example.com/pixel.png"
          document.body.append(image)
          fetch("https://example.com/").catch(() => {})
        }"""
    )
    wait_for(page, "window.refused.length >= 3")
    assert sorted(page.evaluate("window.refused")) == ["connect-src", "img-src", "script-src-elem"]
    assert page.evaluate("window.harmed") is None


def test_tool_buttons_have_a_role_and_a_name(seen):
    page = seen.page
    names = (
        page.locator("#plot-waveform")
        .get_by_role("button")
        .evaluate_all("(buttons) => buttons.map((button) => button.getAttribute('aria-label'))")
    )
    assert len(names) == 4
    assert "Reset" in names


@pytest.mark.parametrize("look", [{"width": 1280, "theme": "light"}, {"width": 390, "theme": "dark"}])
def test_axe_finds_no_serious_barrier(visit, trace, control, tmp_path, look):
    write_html(trace, tmp_path / "both.html", control=control)
    seen = visit((tmp_path / "both.html").read_text(encoding="utf-8"), **look)
    assert seen.overflow() == 0
    assert barriers(seen) == []


def test_without_scripts_the_page_still_tells_everything(browser, trace, page_text, tmp_path):
    (tmp_path / "report.html").write_text(page_text, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("noscript").inner_text().startswith("The figures need JavaScript")
    for key in plots.PLOTS:
        assert plots.describe(trace, key) in page.locator(f"#d-{key}").inner_text()
    context.close()
