"""The first screen: a projector that learns one sentence, and a person who is understood.

Beside it the clips of the package, for the page that lists them.

Everything on it is computed: texts by step from the study of the projector's training, the last step and the
person's sentence from traces that are made when the page is read.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment
from markupsafe import Markup

import asrscope
from asrscope import plots
from asrscope.audio.samples import load_person, load_samples
from asrscope.plots.words import unmatched
from asrscope_recipe.studies import load_study

TEMPLATE = Path(__file__).parents[1] / "templates" / "opening.html"
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


def steps() -> list[Step]:
    """Return the steps of the study on the first clip, from random weights to the bundled ones."""
    sample = load_samples()[0]
    found = []
    for each in load_study("milestones")["milestones"]:
        clip = each["clips"][sample.name]
        label = f"step {each['step']}" if each["step"] else "random weights"
        found.append(Step(label, reading(clip["nearest"]), clip["text"]))
    trace = asrscope.trace(*asrscope.load("tiny"), sample.path)
    found.append(Step("the bundled model", reading([texts[0] for texts in trace.nearest_texts]), trace.text))
    return found


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
