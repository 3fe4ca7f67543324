"""A slider over the steps of a training, as HTML: what audio tokens are near, and what is written."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.resources import files

from asrscope.plots.player import in_jupyter
from asrscope.plots.wording import visible

__all__ = ["Moment", "StepSlider", "step_slider", "steps_css", "steps_js"]


@dataclass(frozen=True)
class Moment:
    """What a projector does at one step of its training.

    Attributes
    ----------
    label : str
        Which step it is.
    text : str
        What the decoder writes.
    tokens : tuple of str
        The nearest text token of each audio token.
    cosines : tuple of float
        And its cosine.
    note : str
        More about this step, its error rate for example.
    """

    label: str
    text: str
    tokens: tuple[str, ...]
    cosines: tuple[float, ...]
    note: str = ""


@dataclass(frozen=True)
class StepSlider:
    """A slider from the first to the last moment, shown where it is the last expression of a cell.

    Attributes
    ----------
    name : str
        Of the file where a script saves it.
    title : str
        What is shown.
    moments : tuple of Moment
        In the order of the steps.
    seconds_per_token : float
        Seconds of sound in one audio token.
    """

    name: str
    title: str
    moments: tuple[Moment, ...]
    seconds_per_token: float

    def to_html(self) -> str:
        """Write the slider as HTML; its page needs `steps_css` and `steps_js`.

        Returns
        -------
        str
            One ``<figure>`` element. Without the script it shows its last moment and the table of all.
        """
        first, last = self.moments[0], self.moments[-1]
        steps = [
            {**asdict(moment), "tokens": [_short(token) for token in moment.tokens]}
            for moment in self.moments
        ]
        data = escape(json.dumps(steps, ensure_ascii=False, separators=(",", ":")), quote=True)
        count = len(self.moments) - 1
        columns = "".join(
            f"<li>{_cell(first, index)}{_cell(last, index, ' data-token')}{_cell(last, index)}"
            f"<span data-cosine>{last.cosines[index]:.2f}</span></li>"
            for index in range(len(last.tokens))
        )
        rows = "".join(
            f"<tr><td>{escape(moment.label)}</td><td>{escape(moment.note)}</td>"
            f"<td>{escape(moment.text)}</td></tr>"
            for moment in self.moments
        )
        title = escape(self.title)
        return (
            f'<figure class="asrscope-steps" data-steps="{data}"><figcaption>{title}</figcaption>'
            f'<label hidden>Training <input type="range" min="0" max="{count}" value="{count}" step="1">'
            f"</label><output>{escape(last.label)}</output>"
            f"<dl><dt>{escape(first.label)}</dt><dd>{escape(first.text)}</dd>"
            f"<dt>this step</dt><dd data-written>{escape(last.text)}</dd>"
            f"<dt>{escape(last.label)}</dt><dd>{escape(last.text)}</dd></dl>"
            f"<p>Nearest text token of each audio token, {1000 * self.seconds_per_token:.0f} ms a column. "
            f"Above: {escape(first.label)}; framed: this step, with its cosine at the foot; "
            f"below it: {escape(last.label)}. The bluer, the nearer.</p>"
            f'<ol class="asrscope-steps-columns">{columns}</ol>'
            "<details><summary>What is written at each step</summary><table><thead><tr>"
            "<th>step</th><th>errors</th><th>written</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></details></figure>"
        )

    def _repr_html_(self) -> str:
        if not in_jupyter():
            return self.to_html()  # the page brings style and script
        return f"<style>{steps_css()}</style>{self.to_html()}<script>{steps_js()}</script>"


def step_slider(moments: Sequence[Moment], name: str, title: str, *, seconds_per_token: float) -> StepSlider:
    """Make a slider over the steps of a training.

    Parameters
    ----------
    moments : sequence of Moment
        In the order of the steps, all of the same clip; the first and the last stay in view, to compare with.
    name : str
        Of the file where a script saves it.
    title : str
        What is shown.
    seconds_per_token : float
        Seconds of sound in one audio token.

    Returns
    -------
    StepSlider
        Shows itself in a notebook and in the gallery.

    Raises
    ------
    ValueError
        If there are fewer than two moments, or they differ in the number of their tokens.
    """
    counts = {(len(moment.tokens), len(moment.cosines)) for moment in moments}
    if len(moments) < 2 or len(counts) != 1 or len(set(*counts)) != 1:
        raise ValueError(
            "expected two moments or more with equally many tokens and cosines, but found "
            f"{len(moments)} with {sorted(counts)}"
        )
    return StepSlider(name, title, tuple(moments), seconds_per_token)


def steps_css() -> str:
    """Read the style sheet of sliders, for pages that stand alone."""
    return _resource("steps.css")


def steps_js() -> str:
    """Read the script that moves them."""
    return _resource("steps.js")


def _resource(name: str) -> str:
    return (files("asrscope.plots") / "steps" / name).read_text(encoding="utf-8")


def _short(token: str) -> str:
    """Write a token so that a letter looks like a letter, and a space like something."""
    return visible(token.strip() or token)


def _cell(moment: Moment, index: int, mark: str = "") -> str:
    cosine = max(0.0, moment.cosines[index])
    return f'<span{mark} style="--cosine: {cosine:g}">{escape(_short(moment.tokens[index]))}</span>'
