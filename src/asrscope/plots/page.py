"""What stands around figures: the player of their sound, a slider over steps, and pages of one file.

A page asks no host for anything. Only the scripts that it was made with may run in it: its content security
policy names them by their hashes, whatever text the page shows.
"""

import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from bokeh.embed import components
from bokeh.embed.bundle import bundle_for_objs_and_resources
from bokeh.io import output_notebook
from bokeh.io import show as bokeh_show
from bokeh.io.state import curstate
from bokeh.models import LayoutDOM
from bokeh.resources import INLINE
from jaxtyping import Float32
from jinja2 import Environment
from markupsafe import Markup

from asrscope.audio import SAMPLE_RATE, wav_bytes
from asrscope.plots.words import chance, missed_words, number, spelling, spoken_words, visible
from asrscope.saving import write_text
from asrscope.scope.traces import Trace

__all__ = ["Moment", "Player", "StepSlider", "listen", "player", "show", "step_slider"]

_templates = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
_templates.filters |= {"chance": chance, "number": number}
_sounds: WeakKeyDictionary[LayoutDOM, Callable[[], "Player"]] = WeakKeyDictionary()
_written: set[Path] = set()


@cache
def resource(name: str) -> str:
    """Read a template, style sheet or script of this package, ``"clock/clock.js"`` for example."""
    return (files("asrscope.plots") / name).read_text(encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; every text is escaped that is not `Markup`."""
    return _templates.from_string(resource(template)).render(**values)


def in_jupyter() -> bool:
    """Tell whether a notebook kernel runs this code, without importing IPython for the question."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class _Piece:
    """HTML with a style sheet and a script: a page brings these once, a notebook with every piece."""

    assets: ClassVar[str]

    def to_html(self) -> str:
        """Write it as one ``<figure>`` element."""
        raise NotImplementedError

    def _repr_html_(self) -> str:
        if not in_jupyter():
            return self.to_html()  # the page brings style and script
        css, js = resource(f"{self.assets}.css"), resource(f"{self.assets}.js")
        return f"<style>{css}</style>{self.to_html()}<script>{js}</script>"


@dataclass(frozen=True)
class Player(_Piece):
    """An ``<audio>`` element with the sound inside, shown where it is the last expression of a cell.

    The sound is the clock of its page: it moves the playheads of the figures over time, and each word is a
    button that plays its stretch.

    Attributes
    ----------
    name : str
        What the reader hears.
    seconds : float
        Length of the sound.
    wav : bytes
        A complete WAV file.
    words : tuple of (str, float, float)
        Words in it, with start and end in seconds.
    missed : tuple of bool
        Which of them were not written as they were said.
    spelled : tuple of str
        What the projector makes of each of them, to be read below it.
    """

    assets: ClassVar[str] = "clock/clock"

    name: str
    seconds: float
    wav: bytes = field(repr=False)  # thousands of characters in every notebook
    words: tuple[tuple[str, float, float], ...] = ()
    missed: tuple[bool, ...] = ()
    spelled: tuple[str, ...] = ()

    def to_html(self) -> str:
        """Write it as one ``<figure>`` element; its words are hidden until the clock's script comes."""
        data = base64.b64encode(self.wav).decode("ascii")
        nothing = ("",) * len(self.words)
        words = list(zip(self.words, self.missed or nothing, self.spelled or nothing, strict=True))
        return render("player.html", name=self.name, seconds=self.seconds, words=words, data=data)


def player(trace: Trace, *, spelled: bool = False) -> Player:
    """Make a player for the waveform of a trace, with its words where their times are known.

    Parameters
    ----------
    trace : Trace
        Its waveform is played, its name is shown.
    spelled : bool
        Show below each word the nearest text tokens of its sound.

    Returns
    -------
    Player
        Shows itself in a notebook and in the gallery; the sound is part of the page.
    """
    words = spoken_words(trace)
    letters = spelling(trace) if spelled and words else ()
    return replace(
        listen(trace.waveform, trace.name, words=words), missed=missed_words(trace), spelled=letters
    )


def listen(
    waveform: Float32[np.ndarray, " samples"],
    name: str,
    sampling_rate: int = SAMPLE_RATE,
    *,
    words: Sequence[tuple[str, float, float]] = (),
) -> Player:
    """Make a player for samples that belong to no trace.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio; values beyond [-1, 1] are clipped.
    name : str
        What the reader hears.
    sampling_rate : int
        Samples a second. Browsers play 8000 to 48000.
    words : sequence of (str, float, float)
        Words that can be heard one by one, with start and end in seconds.

    Returns
    -------
    Player
        Shows itself in a notebook and in the gallery; the sound is part of the page.

    Raises
    ------
    ValueError
        If there are no samples.
    """
    if waveform.size == 0:
        raise ValueError(f"There is nothing to play in {name!r}: its waveform has no samples.")
    wav = wav_bytes(waveform, sampling_rate)
    return Player(name=name, seconds=waveform.size / sampling_rate, wav=wav, words=tuple(words))


def give_sound(figure: LayoutDOM, make: Callable[[], Player]) -> None:
    """Note what a figure shows the sound of, for the page that `show` saves."""
    _sounds[figure] = make


def sound_of(figure: LayoutDOM) -> str:
    """Write the player for a figure, or for the first figure of a layout that has a sound, as HTML."""
    parts = [part for part in figure.references() if isinstance(part, LayoutDOM) and part in _sounds]
    return _sounds[min(parts, key=lambda part: (len(part.id), part.id))]().to_html() if parts else ""


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
class StepSlider(_Piece):
    """A slider over the steps of a training, shown where it is the last expression of a cell.

    `step_slider` says what its fields are.
    """

    assets: ClassVar[str] = "steps/steps"

    name: str
    title: str
    moments: tuple[Moment, ...]
    seconds_per_token: float

    def to_html(self) -> str:
        """Write it as one ``<figure>`` element; without a script it shows the last moment and a table."""
        # A letter shall look like a letter, and a space like something.
        steps = [
            {**asdict(moment), "tokens": [visible(token.strip() or token) for token in moment.tokens]}
            for moment in self.moments
        ]
        data = json.dumps(steps, ensure_ascii=False, separators=(",", ":"))
        return render("steps.html", title=self.title, data=data, steps=steps, seconds=self.seconds_per_token)


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


def show(figure: LayoutDOM | StepSlider, filename: str | Path | None = None) -> Path | StepSlider | None:
    """Show a figure in the notebook or gallery page that runs this code; else save it and say where.

    A saved page has the figure's sound, if it shows one, and its playhead follows it. Only the scripts that
    are written into it may run (a content security policy with their hashes). Callbacks that a figure holds
    as text may not: `bokeh.io.save` writes a page for those.

    Parameters
    ----------
    figure : LayoutDOM or StepSlider
        A figure, a layout of figures, or a slider over steps.
    filename : str or Path, optional
        Where a plain script saves the page; by default the figure's name in the working folder. A second
        figure of the same name gets a number, so that no figure of a script overwrites another.

    Returns
    -------
    Path, StepSlider or None
        The file written: one page that needs no network. None in a notebook or gallery, but a slider itself,
        which shows itself where it is the last expression of a cell.
    """
    if in_jupyter() and not curstate().notebook:
        output_notebook(resources=INLINE, hide_banner=True)
    if curstate().notebook:
        if isinstance(figure, StepSlider):
            return figure
        bokeh_show(figure)
        return None
    title = figure.name or "figure"
    path = _free_path(title) if filename is None else Path(filename)
    if isinstance(figure, StepSlider):
        css, content = resource("steps/steps.css"), figure.to_html()
        scripts = [resource("steps/steps.js")]
    else:
        script, plot = components(figure, wrap_script=False)
        css, content = resource("theme.css") + resource("clock/clock.css"), f"{sound_of(figure)}\n{plot}"
        bokeh = bundle_for_objs_and_resources([figure], INLINE).js_raw
        scripts = [*bokeh, script, resource("clock/clock.js")]
    body = f"<main>\n<h1>{escape(title)}</h1>\n{content}\n</main>"
    write_text(path, make_page(title, body, css=resource("page.css") + css, scripts=scripts))
    _written.add(path.resolve())
    sys.stdout.write(f"wrote {path}\n")
    return path


def _free_path(name: str) -> Path:
    path, count = Path(f"{name}.html"), 1
    while path.resolve() in _written:
        count += 1
        path = Path(f"{name}-{count}.html")
    return path


def make_page(title: str, body: str, *, css: str, scripts: Iterable[str], added: Iterable[str] = ()) -> str:
    """Write a page of one file: every page that this package makes.

    Parameters
    ----------
    title : str
        Any text.
    body : str
        HTML.
    css : str
        Its style sheet.
    scripts : iterable of str
        Its scripts, which run after the body is read.
    added : iterable of str
        Scripts that these add to the page, to the letter.

    Returns
    -------
    str
        HTML.
    """
    # Inside a script element these would end it, or hide its end.
    safe = [script.replace("</script", "<\\/script").replace("<!--", "<\\!--") for script in scripts]
    return render(
        "page.html",
        title=title,
        policy=content_policy([*safe, *added]),
        css=Markup(css),
        body=Markup(body),
        scripts=[Markup(script) for script in safe],
    )


def content_policy(scripts: Iterable[str] = ()) -> str:
    """Write the content security policy of a page that holds all its data itself.

    Parameters
    ----------
    scripts : iterable of str
        The scripts that may run, to the letter: as they stand in the page, or as the page itself adds them.

    Returns
    -------
    str
        The content of the ``meta`` element.
    """
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(map(source_of, scripts)) or "'none'",
        "style-src": "'unsafe-inline'",  # BokehJS writes style elements, and a style cannot run a program
        "img-src": "data: blob:",  # BokehJS makes some itself
        "media-src": "data:",
        "base-uri": "'none'",  # no page can turn its own addresses elsewhere
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def source_of(script: str) -> str:
    """Name a script in a policy by its SHA-256, as ``'sha256-...'`` with the quotation marks."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"
