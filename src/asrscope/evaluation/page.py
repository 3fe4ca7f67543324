"""An evaluation as one self-contained HTML page: no script, and nothing asked of any host."""

import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from asrscope.evaluation.results import CONFIDENCE, Evaluation, Group, length_name
from asrscope.files import write_text
from asrscope.metrics import NORMALIZER, RESAMPLES

__all__ = ["write_html"]

MOST_VOICES = 20  # in view; the others are one click away
CAPTIONS = {
    "length": "Word error rate by length of the recording",
    "noise": "Word error rate by added noise and its signal-to-noise ratio",
    "voice": "Word error rate by voice, that with most words first",
}
KINDS = {"substitute": "replaced", "delete": "left out", "insert": "put in"}


def write_html(
    evaluation: Evaluation,
    path: str | Path,
    *,
    title: str,
    about: Mapping[str, str] | None = None,
    worst: int = 10,
) -> None:
    """Write an evaluation as one HTML page that works offline and without scripts.

    Everything that comes from the collection (names, voices, texts) is escaped.

    Parameters
    ----------
    evaluation : Evaluation
        What to show.
    path : str or Path
        File to write.
    title : str
        Name of the collection.
    about : mapping of str to str, optional
        What else is to be known, each with its label: the model, say.
    worst : int, default: 10
        How many of the worst utterances to show with their alignment.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If the evaluation has no rates.
    """
    write_text(path, _page(evaluation, title, about or {}, worst))


def _page(evaluation: Evaluation, title: str, about: Mapping[str, str], worst: int) -> str:
    lengths = {length_name(*bounds): group for bounds, group in evaluation.by_length.items()}
    noises: dict[str, Group] = {}
    if evaluation.by_noise:
        noises = {"none": Group(evaluation.scored)}
        noises |= {str(noise): group for noise, group in evaluation.by_noise.items()}
    every = [*lengths.values(), *noises.values(), *evaluation.by_voice.values()]
    highest = max(
        [evaluation.interval[1], *((group.interval or (0, group.errors.rate))[1] for group in every)]
    )
    # Right end of the bars. One hopeless recording must not make all others short: a longer bar is cut.
    top = min(1.0, max(0.1, math.ceil(10 * highest) / 10))

    def rows(groups: Mapping[str, Group]) -> list[dict[str, Any]]:
        return [_row(name, group, top) for name, group in groups.items()]

    voices = rows(evaluation.by_voice)
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["percent"] = lambda rate: f"{rate:.1%}"
    # Our own text, nothing of the evaluation in it.
    css = (files("asrscope") / "report.css").read_text(encoding="utf-8")
    css += (files("asrscope.evaluation") / "page.css").read_text(encoding="utf-8")
    return environment.from_string(
        (files("asrscope.evaluation") / "page.html").read_text(encoding="utf-8")
    ).render(
        css=Markup(css),
        title=title,
        about=about,
        evaluation=evaluation,
        confidence=f"{CONFIDENCE:.0%}",
        normalizer=NORMALIZER,
        resamples=RESAMPLES,
        audio_seconds=sum(result.audio_seconds for result in evaluation.scored),
        seconds=sum(result.seconds for result in evaluation.scored),
        top=top,
        mean=_row("", Group(evaluation.scored), top)["bar"],
        tables=[
            ("length", "By length", "length", rows(lengths) if len(lengths) > 1 else [], []),
            ("noise", "By added noise", "noise", rows(noises), []),
            ("voice", "By voice", "voice", voices[:MOST_VOICES], voices[MOST_VOICES:]),
        ],
        confusions=[(kind, label, evaluation.commonest(kind, least=2)) for kind, label in KINDS.items()],
        kinds=KINDS,
        captions=CAPTIONS,
        worst=evaluation.worst(worst),
    )


def _row(name: str, group: Group, top: float) -> dict[str, Any]:
    """One line of a table; positions on the bar in percent of its length."""

    def place(rate: float) -> float:
        return round(min(100.0, 100 * rate / top), 2)

    return {
        "name": name,
        "rate": group.errors.rate,
        "words": group.errors.words,
        "utterances": len(group.results),
        "interval": group.interval,
        "bar": place(group.errors.rate),
        "whisker": [place(bound) for bound in group.interval or ()],
    }
