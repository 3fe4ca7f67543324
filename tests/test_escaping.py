"""Nothing that a recording, a file name or a model brings along becomes a part of a page.

Every text of a trace, of an evaluation and of a training run is hostile here, and each page that shows it is
opened in a browser that ignores the page's content security policy: the escaping is tested by itself.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bokeh.layouts import column
from hostile import CORPUS, FOREIGN, HOSTILE, attacks, hostile
from pages import DRAWN, IDLE

from asrscope import plots
from asrscope.plots import report

pytestmark = pytest.mark.filterwarnings("ignore::bokeh.util.warnings.BokehUserWarning")


@pytest.fixture(scope="module")
def hostile_trace(make_trace):
    """A trace whose every text is hostile."""
    calm = make_trace()
    tokens = tuple(
        dataclasses.replace(
            token,
            text=CORPUS[index % len(CORPUS)],
            runners_up=tuple((hostile("other", place), p) for place, (_, p) in enumerate(token.runners_up)),
        )
        for index, token in enumerate(calm.tokens)
    )
    return dataclasses.replace(
        calm,
        name=hostile("name"),
        text=hostile("text"),
        tokens=tokens,
        words=tuple(
            dataclasses.replace(word, text=CORPUS[index % len(CORPUS)])
            for index, word in enumerate(calm.words)
        ),
        nearest_texts=tuple(
            tuple(CORPUS[(row + place) % len(CORPUS)] for place in range(len(texts)))
            for row, texts in enumerate(calm.nearest_texts)
        ),
        prompt_texts=tuple(
            text if audio else CORPUS[index % len(CORPUS)]
            for index, (text, audio) in enumerate(zip(calm.prompt_texts, calm.prompt_is_audio, strict=True))
        ),
        provenance=tuple(
            dataclasses.replace(origin, source=hostile("source"), revision=hostile("revision"))
            for origin in calm.provenance
        ),
        warnings=(hostile("warning"), *CORPUS),
        reference=hostile("reference"),
        reference_words=tuple(
            (CORPUS[index % len(CORPUS)], start, end)
            for index, (_, start, end) in enumerate(calm.reference_words)
        ),
        versions={**calm.versions, hostile("package"): hostile("version")},
    )


def test_the_corpus_does_attack_a_page_that_does_not_escape(browser, tmp_path):
    """So that the tests below could fail."""
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><title>x</title><p>{HOSTILE}</p>", encoding="utf-8")
    found = attacks(browser, page.as_uri())
    assert any(each.endswith("calls") for each in found)
    assert any("attack" in each and each.startswith("<") for each in found)
    assert any(each.startswith(FOREIGN) for each in found)


def test_a_report_of_a_hostile_trace_beside_a_hostile_control_is_harmless(
    browser, hostile_trace, tmp_path, audit_record
):
    page = tmp_path / "report.html"
    control = dataclasses.replace(hostile_trace, audio_embeds=hostile_trace.audio_embeds[:, ::-1].copy())
    report.write_html(hostile_trace, page, control=control)
    drawn = (
        "document.querySelectorAll('.plot').length > 5 && !document.querySelector('.plot:not([data-drawn])')"
    )
    harm = attacks(browser, page.as_uri(), until=drawn)
    audit_record("xss", {"texts": len(CORPUS), "harm": len(harm)})
    assert harm == []
    assert "</script><script>attacked()" not in page.read_text(encoding="utf-8")


def test_saved_figures_of_a_hostile_trace_are_harmless(browser, hostile_trace, tmp_path):
    figures = column([make(hostile_trace) for make in plots.PLOTS.values()], sizing_mode="stretch_width")
    figures.name = HOSTILE
    page = plots.show(figures, tmp_path / "figures.html")
    assert attacks(browser, page.as_uri(), until=IDLE) == []


def test_players_in_a_notebook_are_harmless(browser, hostile_trace, tmp_path):
    page = tmp_path / "cells.html"
    cells = [
        plots.player(hostile_trace)._repr_html_(),
        plots.listen(hostile_trace.waveform, hostile("title")).to_html(),
    ]
    page.write_text('<!doctype html><meta charset="utf-8">' + "\n".join(cells), encoding="utf-8")
    assert attacks(browser, page.as_uri()) == []


def test_a_slider_over_hostile_steps_is_harmless_saved_and_in_a_notebook(browser, tmp_path):
    moments = [
        plots.Moment(
            hostile("label", step), hostile("text", step), tuple(CORPUS), (0.5,) * len(CORPUS), HOSTILE
        )
        for step in range(2)
    ]
    slider = plots.step_slider(moments, HOSTILE, hostile("title"), seconds_per_token=0.04)
    page = plots.show(slider, tmp_path / "steps.html")
    assert attacks(browser, page.as_uri()) == []
    page.write_text('<!doctype html><meta charset="utf-8">' + slider._repr_html_(), encoding="utf-8")
    assert attacks(browser, page.as_uri()) == []


def test_training_curves_with_hostile_names_are_harmless(browser, tmp_path):
    columns = ("step", "hours", "loss", "gradient_norm", "learning_rate", "utterances_per_second")
    run = {
        "steps": 3,
        "hours": 0.1,
        "utterances": 3,
        "curve": {column: [1, 2, 3] for column in columns},
        "evaluations": [
            {"step": 3, "hours": 0.1, **{hostile("wer_", index): 0.5 for index in range(2)}, HOSTILE: 0.25}
        ],
    }
    curves = plots.training_curves({hostile("run"): run})
    curves.name = HOSTILE
    page = plots.show(curves, tmp_path / "curves.html")
    assert attacks(browser, page.as_uri(), until=IDLE) == []


def test_hostile_titles_of_figures_are_harmless_in_the_gallery(browser, tmp_path):
    """A site of one page, with a figure whose title, name, axes and description are hostile."""
    extension = Path(__file__).resolve().parents[1] / "conf" / "bokeh_gallery" / "src"
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(extension)!r})\n"
        'extensions = ["bokeh_gallery", "myst_parser"]\nhtml_theme = "furo"\nhtml_title = "x"\n',
        encoding="utf-8",
    )
    (tmp_path / "hostile_figure.py").write_text(
        # Two dollars would begin a formula, for which a part of Bokeh is needed that the site does not have.
        f"TEXT = {HOSTILE.replace('$$', '')!r}\n"
        "from bokeh.plotting import figure\n"
        "def make():\n"
        "    plot = figure(title=TEXT, x_axis_label=TEXT, y_axis_label=TEXT, name='attack', height=200,\n"
        "                  tooltips=[('x', '@x')])\n"
        "    plot.line([1, 2], [3, 4], legend_label=TEXT)\n"
        "    plot.tags = [{'description': TEXT}]\n"
        "    return plot\n",
        encoding="utf-8",
    )
    (tmp_path / "index.md").write_text(
        "# Page\n\n```{bokeh-figure} hostile_figure.make\n```\n", encoding="utf-8"
    )
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(tmp_path), str(tmp_path / "site")],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "BOKEH_GALLERY_CHROMIUM": "none"},
        check=True,
    )
    address = (tmp_path / "site" / "index.html").as_uri()
    assert attacks(browser, address, until=f"({DRAWN})()", files=((tmp_path / "site").as_uri(),)) == []
