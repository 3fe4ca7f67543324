"""A sound as an HTML player with its words, for notebooks, pages of the gallery and saved figures."""

import base64
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from weakref import WeakKeyDictionary

import numpy as np
from bokeh.models import LayoutDOM
from jaxtyping import Float32

from asrscope.audio import SAMPLE_RATE, wav_bytes
from asrscope.plots.wording import spoken_words
from asrscope.scope.traces import Trace

__all__ = ["Player", "clock_css", "clock_js", "give_sound", "in_jupyter", "listen", "player", "sound_of"]


@dataclass(frozen=True)
class Player:
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
    """

    name: str
    seconds: float
    wav: bytes = field(repr=False)  # thousands of characters in every notebook
    words: tuple[tuple[str, float, float], ...] = ()

    def to_html(self) -> str:
        """Write the player as HTML; to play words, its page needs `clock_js`.

        Returns
        -------
        str
            One ``<figure>`` element.
        """
        name = escape(self.name)
        data = base64.b64encode(self.wav).decode("ascii")
        return (
            '<figure class="asrscope-player">'
            f'<audio controls preload="auto" aria-label="{name}" style="max-width: 100%"'
            f' src="data:audio/wav;base64,{data}"></audio>'
            f"{self._word_list()}<figcaption>{name}, {self.seconds:.2f} s</figcaption></figure>"
        )

    def _word_list(self) -> str:
        """Buttons for the words; hidden until the script comes that makes them do something."""
        items = "".join(
            f'<li><button type="button" data-start="{start}" data-end="{end}">{escape(text)}</button></li>'
            for text, start, end in self.words
        )
        label = f"Words of {escape(self.name)}: press one to hear it"
        return f'<ul class="asrscope-words" aria-label="{label}" hidden>{items}</ul>' if items else ""

    def _repr_html_(self) -> str:
        if not in_jupyter():
            return self.to_html()  # the page brings style and script
        return f"<style>{clock_css()}</style>{self.to_html()}<script>{clock_js()}</script>"


def player(trace: Trace) -> Player:
    """Make a player for the waveform of a trace, with its words where their times are known.

    Parameters
    ----------
    trace : Trace
        Its waveform is played, its name is shown.

    Returns
    -------
    Player
        Shows itself in a notebook and in the gallery; the sound is part of the page.

    Raises
    ------
    ValueError
        If the trace has no samples.
    """
    return listen(trace.waveform, trace.name, words=spoken_words(trace))


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


_sounds: WeakKeyDictionary[LayoutDOM, Callable[[], Player]] = WeakKeyDictionary()


def give_sound(figure: LayoutDOM, make: Callable[[], Player]) -> None:
    """Note what a figure shows the sound of, for the page that `show` saves."""
    _sounds[figure] = make


def sound_of(figure: LayoutDOM) -> Player | None:
    """Make the player for a figure, or for the first figure of a layout that has a sound."""
    parts = [part for part in figure.references() if isinstance(part, LayoutDOM) and part in _sounds]
    return _sounds[min(parts, key=lambda part: (len(part.id), part.id))]() if parts else None


def clock_css() -> str:
    """Read the style sheet of players, for pages that stand alone."""
    return _resource("clock.css")


def clock_js() -> str:
    """Read the script by which sounds, words and figures of a page move together."""
    return _resource("clock.js")


def in_jupyter() -> bool:
    """Tell whether a notebook kernel runs this code, without importing IPython for the question."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _resource(name: str) -> str:
    return (files("asrscope.plots") / "clock" / name).read_text(encoding="utf-8")
