"""Figures: what they draw is what the trace holds, and nothing in them can run or fetch anything."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from bokeh.embed import json_item
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    CustomJS,
    Div,
    HoverTool,
    LinearColorMapper,
    PlainText,
    Range1d,
    Span,
    Title,
)

import asrscope
from asrscope import plots
from asrscope.features import mel_filters
from asrscope.plots.page import resource
from asrscope.plots.sound import MAX_CELLS, envelope, merge_rows
from asrscope.plots.words import VIEWS, chance, mel_centers, number, visible
from asrscope.scope.traces import STAGES

TIME_FIGURES = ["waveform", "log_mel", "encoder_output", "audio_embeds", "nearest_tokens"]
MATRICES = {
    "log_mel": lambda trace: trace.log_mel,
    "encoder_output": lambda trace: trace.encoder_hidden_states.T,
    "audio_embeds": lambda trace: trace.audio_embeds.T,
}
# Text that would do harm as HTML, as TeX, or as a template.
HOSTILE = "</script><img src=x onerror=alert(1)>$$\\alpha$$ @token{safe} \\(x\\)"


@pytest.fixture(scope="module")
def trace(make_trace):
    return make_trace()


@pytest.fixture(scope="module")
def figures(trace):
    return {key: draw(trace) for key, draw in plots.PLOTS.items()}


def source_of(figure, column) -> ColumnDataSource:
    return next(s for s in figure.select(ColumnDataSource) if column in s.data)


def lines_above(figure) -> str:
    return "\n".join([figure.title.text, *(line.text for line in figure.above if isinstance(line, Title))])


def test_every_stage_has_a_figure_in_pipeline_order():
    assert [key for key in plots.PLOTS if key != "decoder_tokens"] == [stage.key for stage in STAGES]
    assert all(getattr(plots, key) is draw for key, draw in plots.PLOTS.items())


@pytest.mark.parametrize("key", plots.PLOTS)
def test_a_figure_fits_its_page_and_paints_no_ground(figures, key):
    figure = figures[key]
    assert figure.name == key
    assert figure.sizing_mode == "stretch_width"
    assert figure.height > 0
    assert figure.toolbar.logo is None
    assert figure.background_fill_color is figure.border_fill_color is None


@pytest.mark.parametrize("key", plots.PLOTS)
def test_a_figure_carries_its_text_alternative(figures, trace, key):
    assert figures[key].tags == [{"description": plots.describe(trace, key)}]


@pytest.mark.parametrize("key", plots.PLOTS)
def test_a_figure_has_a_title_and_lines_that_a_phone_can_show(figures, key):
    lines = lines_above(figures[key]).split("\n")
    title = VIEWS[key].title
    assert lines[0] == title
    assert max(map(len, lines)) <= 60  # at 11 px in 350 px


def test_titles_state_shapes_and_statistics(figures, trace):
    norms = np.linalg.norm(trace.encoder_hidden_states.astype(np.float64), axis=1)
    text = lines_above(figures["encoder_output"])
    assert f"{len(norms)} positions of 20 ms × {trace.encoder_hidden_states.shape[1]} dimensions" in text
    assert f"norm {norms.min():.1f} to {norms.max():.1f}" in text
    mel = lines_above(figures["log_mel"])
    assert f"{trace.log_mel.shape[0]} mel bands × {trace.log_mel.shape[1]} frames" in mel
    assert f"mean {trace.log_mel.mean():.3f} · std {trace.log_mel.std():.3f}" in mel
    assert f"{len(trace.waveform)} samples" in lines_above(figures["waveform"])
    assert f"confidence {trace.confidence:.2f}" in lines_above(figures["decoder_words"])


@pytest.mark.parametrize(
    ("key", "note"),
    [
        ("waveform", None),
        ("log_mel", None),
        ("encoder_output", None),
        ("audio_embeds", "random weights: projector"),
        ("nearest_tokens", "random weights: projector"),
        ("prompt", None),
        ("decoder_words", "random weights: projector"),
        ("decoder_tokens", "random weights: projector"),
    ],
)
def test_a_picture_of_an_untrained_part_says_so(trace, key, note):
    parts = tuple(replace(part, trained=part.part != "projector") for part in trace.provenance)
    untrained = replace(trace, provenance=parts)
    assert ("random weights" in plots.PLOTS[key](untrained).title.text) is (note is not None)
    if note:
        assert note in plots.PLOTS[key](untrained).title.text
        assert note in plots.describe(untrained, key)


def test_weights_of_unknown_origin_are_called_unverified(trace):
    parts = tuple(replace(part, trained=None) for part in trace.provenance)
    title = plots.nearest_tokens(replace(trace, provenance=parts)).title.text
    assert "unverified weights: encoder, projector, decoder" in title


@pytest.mark.parametrize("key", TIME_FIGURES)
def test_figures_over_time_share_a_clock(figures, trace, key):
    figure = figures[key]
    assert isinstance(figure.x_range, Range1d)
    assert figure.x_range.name == "time"
    assert (figure.x_range.start, figure.x_range.end) == (0, trace.duration)
    (playhead,) = figure.select({"name": "playhead"})
    assert isinstance(playhead, Span)
    assert playhead.level == "overlay"
    assert figure.toolbar.active_scroll is None  # the wheel scrolls the page
    assert "(s)" in figure.xaxis[-1].axis_label


def test_time_axes_cover_what_a_padded_encoder_saw(trace):
    padded = replace(trace, log_mel=np.zeros((80, 1000), np.float32))
    assert plots.waveform(padded).x_range.end == 10.0


def test_figures_over_time_have_equal_margins(figures):
    margins = {(figures[key].min_border_left, figures[key].min_border_right) for key in TIME_FIGURES}
    assert len(margins) == 1


@pytest.mark.parametrize("key", MATRICES)
def test_images_hold_the_values_themselves(figures, trace, key):
    values = MATRICES[key](trace)
    source = source_of(figures[key], "image")
    np.testing.assert_array_equal(source.data["image"][0], values)
    (mapper,) = figures[key].select(LinearColorMapper)
    (bar,) = figures[key].select(ColorBar)
    assert bar.color_mapper is mapper
    assert values.min() <= mapper.low < mapper.high <= values.max()
    assert (
        np.mean((values < mapper.low) | (values > mapper.high)) <= 0.011
    )  # at most 1 % clipped, and a rounding
    assert tuple(mapper.palette) == plots.PALETTE


@pytest.mark.parametrize(
    ("key", "seconds"), [("log_mel", 0.01), ("encoder_output", 0.02), ("audio_embeds", 0.08)]
)
def test_images_lie_at_their_seconds(figures, trace, key, seconds):
    (renderer,) = (r for r in figures[key].renderers if "image" in r.data_source.data)
    columns = MATRICES[key](trace).shape[1]
    assert renderer.glyph.x == 0
    assert renderer.glyph.dw == pytest.approx(columns * seconds)


def test_large_images_keep_the_value_of_largest_size(trace, rng):
    wide = rng.standard_normal((1500, 1280)).astype(np.float32)
    large = replace(trace, encoder_hidden_states=wide)
    figure = plots.encoder_output(large)
    picture = source_of(figure, "image").data["image"][0]
    assert picture.size <= MAX_CELLS < wide.size
    merged = -(-wide.shape[1] // picture.shape[0])
    column = wide[7]
    assert picture[3, 7] == max(column[3 * merged : 4 * merged], key=abs)
    assert f"largest size among {merged} dimensions" in figure.xaxis.axis_label
    first = source_of(figure, "image").data["first"][0]
    assert first[3, 7] == 3 * merged


def test_merging_handles_a_remainder():
    merged = merge_rows(np.array([[1.0], [-2.0], [0.5]], np.float32), 2)
    np.testing.assert_array_equal(merged, [[-2.0], [0.5]])


def test_constant_values_can_be_drawn(trace):
    silent = replace(trace, log_mel=np.full_like(trace.log_mel, -1.5), waveform=np.zeros_like(trace.waveform))
    (mapper,) = plots.log_mel(silent).select(LinearColorMapper)
    assert mapper.low < -1.5 < mapper.high
    assert plots.waveform(silent).y_range.end > 0


@pytest.mark.parametrize("samples", [1, 5, 1600, 1601, 48_000, 480_017])
def test_the_envelope_bounds_every_sample_tightly(rng, samples):
    wave = rng.uniform(-1, 1, samples).astype(np.float32)
    low, high, seconds = envelope(wave)
    step = round(seconds * 16_000)
    assert len(low) <= 1600
    for index in range(len(low)):
        part = wave[index * step : (index + 1) * step]
        assert (low[index], high[index]) == (part.min(), part.max())
    assert len(low) * step >= samples > (len(low) - 1) * step


@pytest.mark.parametrize("n_mels", [80, 128])
def test_mel_centers_agree_with_the_filters(n_mels):
    peaks = mel_filters(n_mels).argmax(axis=1) * 40  # Hz: 16000 / 400 a bin
    assert np.abs(mel_centers(n_mels) - peaks).max() <= 40


def test_mel_centers_of_htk_are_those_of_its_formula_and_of_other_scales_unknown():
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 82)[1:-1]
    np.testing.assert_allclose(mel_centers(80, "htk"), 700 * (10 ** (mel / 2595) - 1))
    assert mel_centers(80, "unknown") is None


def test_frequency_ticks_name_the_band_they_stand_at(figures):
    axis = figures["log_mel"].yaxis[0]
    centers = mel_centers(80)
    for band, text in axis.major_label_overrides.items():
        assert abs(centers[band] - float(text)) == np.abs(centers - float(text)).min()


def names_beside(figure, side) -> dict[float, str]:
    return {
        place: name.text
        for axis in getattr(figure, side)
        if hasattr(axis, "major_label_overrides")
        for place, name in axis.major_label_overrides.items()
        if isinstance(name, PlainText)
    }


def test_the_waveform_names_the_spoken_words_at_their_centers(figures, trace):
    names = names_beside(figures["waveform"], "above")
    assert names == {(start + end) / 2: word for word, start, end in trace.reference_words}


def test_words_of_speech_that_nobody_timed_are_found_where_the_audio_tokens_spell_them():
    model, processor = asrscope.load("tiny")
    late, said = [], 0
    for sample in asrscope.load_samples():
        timed = asrscope.trace(model, processor, sample.path, reference_words=sample.words)
        bare = tuple(replace(word, start=None, end=None) for word in timed.words)
        unknown = replace(timed, words=bare, reference_words=None)
        for word, time in zip(timed.words, plots.word_times(unknown), strict=True):
            said += word.start is not None
            if word.start is not None and time is not None:
                late.append(time[0] - word.start)
                assert time[0] < time[1] <= timed.duration
    assert len(late) > 0.9 * said
    assert max(np.abs(late)) < 0.25
    assert np.median(np.abs(late)) < 0.05


def test_a_word_that_was_not_said_is_marked_where_it_can_be_pressed(trace):
    words = tuple(replace(word, start=None, end=None) for word in trace.words)
    spelled = "".join(word.text for word in words)[: len(trace.nearest_texts)]
    nearest = tuple((letter,) * 5 for letter in spelled.ljust(len(trace.nearest_texts), "-"))
    changes = {"reference": " ".join(["no", *(word.text for word in words[1:])]), "reference_words": None}
    html = plots.player(replace(trace, words=words, nearest_texts=nearest, **changes)).to_html()
    assert html.count("<button") > len(words) / 2
    assert html.count("data-missed") == 1


@pytest.mark.parametrize("key", TIME_FIGURES)
def test_word_boundaries_stand_where_the_reference_has_them(figures, trace, key):
    (boundaries,) = figures[key].select({"name": "boundaries"})
    edges = {edge for _, start, end in trace.reference_words for edge in (start, end)}
    assert sorted(boundaries.data_source.data["x"]) == sorted(edges)


def test_without_a_reference_the_times_of_the_written_words_are_used(trace):
    written = replace(trace, reference=None, reference_words=None)
    names = names_beside(plots.waveform(written), "above")
    assert list(names.values()).count("clock") == 1
    unknown = tuple(replace(word, start=None, end=None) for word in trace.words)
    nothing = replace(written, words=unknown, nearest_texts=(("z",) * 5,) * len(trace.nearest_texts))
    assert names_beside(plots.waveform(nothing), "above") == {}
    assert not plots.waveform(nothing).select({"name": "boundaries"})


def test_each_audio_token_shows_its_nearest_text_token(figures, trace):
    data = source_of(figures["nearest_tokens"], "cosine").data
    np.testing.assert_array_equal(data["cosine"], trace.nearest_cosines[:, 0])
    assert data["token"] == [visible(texts[0]) for texts in trace.nearest_texts]
    for others, texts in zip(data["others"], trace.nearest_texts, strict=True):
        assert all(visible(text) in others for text in texts[1:])
    np.testing.assert_allclose(np.diff(data["center"]), trace.seconds_per_audio_token)


def test_a_run_of_equal_nearest_tokens_is_named_once(figures, trace):
    names = list(names_beside(figures["nearest_tokens"], "above").values())
    best = [visible(texts[0]) for texts in trace.nearest_texts]
    assert names == [name for i, name in enumerate(best) if i == 0 or best[i - 1] != name]
    assert len(names) < len(best)


def test_every_prompt_position_is_labelled_text_or_audio(figures, trace):
    data = source_of(figures["prompt"], "kind").data
    assert len(data["kind"]) == len(trace.prompt_ids)
    kinds = [kind == "audio token" for kind in data["kind"]]
    assert kinds == trace.prompt_is_audio.tolist()
    assert len({fill for fill, audio in zip(data["fill"], kinds, strict=True) if audio}) == 1
    audio_labels = [shown for shown, audio in zip(data["shown"], kinds, strict=True) if audio]
    assert audio_labels == [f"a{index}" for index in range(len(trace.audio_embeds))]


def test_prompt_cells_follow_each_other_without_overlap(figures):
    figure = figures["prompt"]
    data = source_of(figure, "kind").data
    right, line = 0.0, 0
    for center, width, row in zip(data["center"], data["width"], data["line"], strict=True):
        if row != line:
            assert row == line + 1
            right, line = 0.0, row
        assert center - width / 2 >= right
        right = center + width / 2
        assert right <= figure.x_range.end


def test_words_are_bars_in_reading_order(figures, trace):
    figure = figures["decoder_words"]
    data = source_of(figure, "probability").data
    assert data["word"] == [word.text for word in trace.words]
    assert data["probability"] == [word.probability for word in trace.words]
    assert figure.y_range.start > figure.y_range.end  # the first word on top
    assert list(names_beside(figure, "left").values()) == [word.text for word in trace.words]
    assert list(names_beside(figure, "right").values()) == [chance(word.probability) for word in trace.words]


def test_hovering_a_word_shows_the_runners_up_of_each_of_its_tokens(figures, trace):
    instead = source_of(figures["decoder_words"], "instead").data["instead"]
    for word, text in zip(trace.words, instead, strict=True):
        for token in trace.tokens[word.first_token : word.last_token + 1]:
            best, probability = token.runners_up[0]
            assert f"{visible(token.text)}: {visible(best)} {probability:.2f}" in text


def test_tokens_stand_beside_their_alternatives(figures, trace):
    data = source_of(figures["decoder_tokens"], "column_name").data
    cells = {
        (row, column): i for i, (row, column) in enumerate(zip(data["row"], data["column"], strict=True))
    }
    for row, token in enumerate(trace.tokens):
        expected = [(token.text, token.probability), *token.runners_up[:4]]
        assert len(expected) == 5
        for column, (text, probability) in enumerate(expected):
            index = cells[row, column]
            assert data["token"][index] == visible(text)
            assert data["probability"][index] == probability


def test_a_trace_in_which_nothing_was_written_can_be_drawn(trace):
    nothing = {"tokens": (), "words": (), "text": "", "confidence": 0.0}
    empty = replace(trace, **nothing, finished=False, eos_probability=None)
    for key, draw in plots.PLOTS.items():
        assert json_item(draw(empty))
        assert plots.describe(empty, key)
        assert plots.table(empty, key).header
    assert "nothing was written" in lines_above(plots.decoder_words(empty))
    assert "cut off" in lines_above(plots.decoder_tokens(empty))


def hostile(trace):
    return replace(
        trace,
        name=HOSTILE,
        text=HOSTILE,
        reference=HOSTILE,
        reference_words=tuple((HOSTILE, start, end) for _, start, end in trace.reference_words),
        words=tuple(replace(word, text=HOSTILE) for word in trace.words),
        tokens=tuple(replace(t, text=HOSTILE, runners_up=((HOSTILE, 0.01),)) for t in trace.tokens),
        nearest_texts=tuple(tuple(HOSTILE for _ in texts) for texts in trace.nearest_texts),
        prompt_texts=tuple(HOSTILE for _ in trace.prompt_texts),
    )


@pytest.mark.parametrize("key", plots.PLOTS)
def test_nothing_in_a_figure_runs_code_or_is_read_as_html_or_tex(trace, key):
    figure = plots.PLOTS[key](hostile(trace))
    assert not figure.select(CustomJS)
    assert not figure.select(Div)
    for tool in figure.select(HoverTool):
        assert all("safe" not in template for _, template in tool.tooltips)
        assert tool.formatters == {}
    # Where Bokeh looks for TeX (strings of titles and axes) there is none of the trace's text.
    for line in [figure.title, *(item for item in figure.above if isinstance(item, Title))]:
        assert "$$" not in line.text
    for axis in figure.axis:
        assert "$$" not in (axis.axis_label or "")
        overrides = axis.major_label_overrides.values()
        assert all(isinstance(name, PlainText) or "$$" not in name for name in overrides)


@pytest.mark.parametrize("key", plots.PLOTS)
def test_hover_templates_name_columns_that_exist(figures, key):
    for tool in figures[key].select(HoverTool):
        for renderer in tool.renderers:
            for _, template in tool.tooltips:
                assert template.startswith("$") or template[1:].split("{")[0] in renderer.data_source.data


def test_three_seconds_travel_light(figures):
    total = sum(len(json.dumps(json_item(figure))) for figure in figures.values())
    assert total < 800_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (1.234, "1.23"),
        (-12.34, "−12.3"),
        (1234.5, "1234"),
        (0.012345, "0.0123"),
        (2e-7, "2.00e−07"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" the", "␣the"),
        ("ing", "ing"),
        (" ", "␣"),
        ("\n", "⏎"),
        ("a b", "a b"),
        ("", ""),
        ("x\x16\x7f", "x\\x16\\x7f"),
    ],
)
def test_blanks_of_a_token_are_shown(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "0.00"), (1e-9, "<0.01"), (0.0049, "<0.01"), (0.006, "0.01"), (0.999, "1.00")],
)
def test_a_small_probability_is_not_rounded_to_nothing(probability, text):
    assert chance(probability) == text


def test_statistics_are_those_of_the_array(trace):
    stats = plots.statistics(trace, "audio_embeds")
    values = trace.audio_embeds.astype(np.float64)
    assert stats.shape == values.shape
    assert stats.mean == pytest.approx(values.mean())
    assert stats.std == pytest.approx(values.std())
    assert (stats.minimum, stats.maximum) == (values.min(), values.max())
    lengths = np.sqrt((values**2).sum(axis=1))
    assert stats.norms == pytest.approx((lengths.min(), lengths.max()))
    assert plots.statistics(trace, "log_mel").norms is None


def test_descriptions_state_what_the_trace_holds(trace):
    words = plots.describe(trace, "decoder_words")
    least = min(trace.words, key=lambda word: word.probability)
    assert f"“{least.text}” with {least.probability:.2f}" in words
    assert trace.text in words
    prompt = plots.describe(trace, "prompt")
    first, last = np.flatnonzero(trace.prompt_is_audio)[[0, -1]]
    assert f"between {first} and {last}" in prompt
    assert f"{len(trace.audio_embeds)} audio" in prompt
    loudest = np.abs(trace.waveform).argmax() / 16_000
    assert f"loudest at {loudest:.2f} s" in plots.describe(trace, "waveform")
    for key in plots.PLOTS:
        assert plots.describe(trace, key).endswith(".")
        assert plots.describe(trace, key).count(". ") <= 1  # one or two sentences


def test_unknown_figures_are_named_in_the_error(trace):
    with pytest.raises(KeyError, match=r"there is no figure 'mel'\. Make sure"):
        plots.describe(trace, "mel")
    with pytest.raises(KeyError, match=r"there is no figure 'mel'\. Make sure"):
        plots.table(trace, "mel")


@pytest.mark.parametrize("key", plots.PLOTS)
@pytest.mark.parametrize("seconds", [0.3, 3.0, 30.0])
def test_tables_are_complete_and_not_too_long(make_trace, key, seconds):
    trace = make_trace(seconds)
    table = plots.table(trace, key)
    assert all(len(row) == len(table.header) for row in table.rows)
    listed = {"nearest_tokens": len(trace.audio_embeds), "prompt": len(trace.prompt_ids)}
    listed |= {"decoder_words": len(trace.words), "decoder_tokens": len(trace.tokens)}
    if key in listed:
        assert len(table.rows) == listed[key]
    else:
        assert 1 <= len(table.rows) <= 120


def test_tables_sum_up_their_stretch(trace):
    row = plots.table(trace, "waveform").rows[10]
    part = trace.waveform[16_000:17_600].astype(np.float64)
    assert row == ("1.00", number(part.min()), number(part.max()), number(np.sqrt(np.mean(part**2))))
    row = plots.table(trace, "audio_embeds").rows[5]
    vector = trace.audio_embeds[5].astype(np.float64)
    expected = (number(vector.mean()), number(vector.std()), number(np.linalg.norm(vector)))
    assert row == ("5", "0.40", *expected)


def test_the_theme_colors_the_same_in_light_and_in_dark():
    rules = re.findall(r"([^{}]*)\{([^{}]*)\}", resource("theme.css").partition("*/")[2])
    (root, light), (by_system, dark), (asked, same) = ((who.strip(), how.split()) for who, how in rules)
    assert (root, by_system, asked) == (
        ":root",
        ':root:not([data-theme="light"])',
        ':root[data-theme="dark"]',
    )
    assert "prefers-color-scheme: dark" in resource("theme.css")
    assert dark == same != light
    assert len(light) > 10
    assert light[::2] == dark[::2]  # the names of the variables


def test_drawing_needs_no_torch():
    code = "import sys, asrscope.plots, asrscope.plots.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("token", "orientation"), [(" clock", "vertical"), ("t", "horizontal")])
def test_long_names_of_audio_tokens_stand_on_their_side(trace, token, orientation):
    figure = plots.nearest_tokens(replace(trace, nearest_texts=((token,) * 5,) * len(trace.nearest_texts)))
    (axis,) = (item for item in figure.above if hasattr(item, "major_label_overrides"))
    assert axis.major_label_orientation == orientation
