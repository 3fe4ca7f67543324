"""The first screen: a projector that learns one sentence, a person who is understood, and a picture of both.

Beside it the clips of the package, for the page that lists them.

Everything on it is computed: texts by step from the study of the projector's training, the last step and the
person's sentence from traces that are made when the page is read. The picture is what links to the site show.
"""

from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont
from stale import written

import asrscope
from asrscope import plots
from asrscope.audio.samples import load_person, load_samples
from asrscope.plots.words import unmatched

TEMPLATE = Path(__file__).parents[1] / "templates" / "opening.html"
CARD = "card.png"
WIDTH, HEIGHT, MARGIN = 1200, 630, 70  # pixels; the size that pages state
PAPER, INK, SOFT, BLUE, RED = "#0f1720", "#f2f5f8", "#93a1b3", "#5aa2e0", "#ff8a80"
LONGEST = 64  # characters of a reading


class Step(NamedTuple):
    """A moment of a projector's training: what it says by itself, and what the decoder writes."""

    label: str
    read: str
    written: str


class Html(str):
    """Text that a page takes as HTML."""

    def _repr_html_(self) -> str:
        return str(self)


def reading(tokens: list[str]) -> str:
    """Read nearest text tokens: those that stay count once, and pauses not at all."""
    said = (token for token, _ in groupby(tokens) if token != "-")
    text = " ".join("".join(token if len(token) == 1 else f" {token.strip()} " for token in said).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rstrip()} …"


@cache
def steps() -> tuple[Step, ...]:
    """Return the steps of the study on the first clip, from random weights to the bundled ones."""
    from asrscope_recipe.studies import load_study  # noqa: PLC0415 - a build with nothing to do needs no torch

    sample = load_samples()[0]
    found = []
    for each in load_study("milestones")["milestones"]:
        clip = each["clips"][sample.name]
        label = f"step {each['step']}" if each["step"] else "random weights"
        found.append(Step(label, reading(clip["nearest"]), clip["text"]))
    trace = asrscope.trace(*asrscope.load("tiny"), sample.path)
    found.append(Step("the bundled model", reading([texts[0] for texts in trace.nearest_texts]), trace.text))
    return tuple(found)


def marked(said: str, written: str) -> Iterator[tuple[str, bool]]:
    """Yield each word that was written, and whether it is wrong."""
    yield from zip(written.split(), unmatched(written.split(), said.split()), strict=True)


def opening() -> Html:
    """Write the first screen: on one side a projector learns, on the other a person is understood."""
    sample, person = load_samples()[0], load_person()
    trace = asrscope.trace(*asrscope.load("small"), person.path)
    page = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    sound = plots.listen(asrscope.load_audio(sample.path), "a synthetic voice")
    voice = plots.listen(trace.waveform, "a person")
    players = {"sound": Markup(sound.to_html()), "voice": Markup(voice.to_html())}
    told = {"sample": sample, "steps": steps(), "person": person, "written": trace.text}
    return Html(page.render(marked=marked, **players, **told))


def clips() -> Html:
    """Let all clips of the package be heard, each with the words that tiny writes of it."""
    model, processor = asrscope.load("tiny")
    players = []
    for clip in load_samples():
        known = {"name": clip.name, "reference": clip.text, "reference_words": clip.words}
        players.append(plots.player(asrscope.trace(model, processor, clip.path, **known)).to_html())
    return Html("".join(players))


def draw_card() -> Image.Image:
    """Draw the picture that links to the site show: the sound, and what was written before and after."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(picture)
    sample = load_samples()[0]
    sound = asrscope.load_audio(sample.path)
    columns = np.array_split(sound / np.abs(sound).max(), (WIDTH - 2 * MARGIN) // 6)
    for number, column in enumerate(columns):
        x, middle = MARGIN + 6 * number, 215
        draw.line([(x, middle - 75 * column.max()), (x, middle - 75 * column.min())], fill=BLUE, width=4)
    draw.text((MARGIN, 62), "See one spoken sentence become text", fill=INK, font=ImageFont.load_default(50))
    for y, step in ((330, steps()[0]), (445, steps()[-1])):
        draw.text((MARGIN, y), step.label, fill=SOFT, font=ImageFont.load_default(28))
        x, font = float(MARGIN), ImageFont.load_default(44)
        for word, wrong in marked(sample.text, step.written):
            draw.text((x, y + 36), word, fill=RED if wrong else INK, font=font)
            x += draw.textlength(f"{word} ", font=font)
    draw.text((MARGIN, 566), "asrscope", fill=BLUE, font=ImageFont.load_default(28))
    return picture


def write_card(app: Any, error: Exception | None) -> None:
    """Put the picture beside the other files of the site."""
    card = Path(app.outdir, "_static", CARD)
    if error is None and app.builder.format == "html" and not written(app, card):
        draw_card().save(card)


def add_script(app: Any, pagename: str, _template: str, _context: dict[str, Any], _doctree: Any) -> None:
    """Load the script of the slider where the slider is."""
    if pagename == app.config.root_doc:
        app.add_js_file("landing.js", loading_method="defer")


def setup(app: Any) -> dict[str, Any]:
    """Register what writes the picture and what brings the script."""
    app.connect("html-page-context", add_script)
    app.connect("build-finished", write_card)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
