"""A sound as an HTML player, for notebooks and for pages of the gallery."""

import base64
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float32

from asrscope.audio import SAMPLE_RATE, wav_bytes
from asrscope.traces import Trace

__all__ = ["Player", "listen", "player"]


@dataclass(frozen=True)
class Player:
    """An ``<audio>`` element with the sound inside, shown where it is the last expression of a cell.

    Attributes
    ----------
    name : str
        What the reader hears.
    seconds : float
        Length of the sound.
    wav : bytes
        A complete WAV file.
    """

    name: str
    seconds: float
    wav: bytes

    def _repr_html_(self) -> str:
        name = escape(self.name)
        data = base64.b64encode(self.wav).decode("ascii")
        return (
            '<figure class="asrscope-player" style="margin: 1rem 0">'
            f'<audio controls preload="metadata" aria-label="{name}" style="display: block; max-width: 100%"'
            f' src="data:audio/wav;base64,{data}"></audio>'
            f"<figcaption>{name}, {self.seconds:.2f} s</figcaption></figure>"
        )


def player(trace: Trace) -> Player:
    """Make a player for the waveform of a trace.

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
    return listen(trace.waveform, trace.name)


def listen(waveform: Float32[np.ndarray, " samples"], name: str, sampling_rate: int = SAMPLE_RATE) -> Player:
    """Make a player for samples that belong to no trace.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio; values beyond [-1, 1] are clipped.
    name : str
        What the reader hears.
    sampling_rate : int
        Samples a second. Browsers play 8000 to 48000.

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
    return Player(name=name, seconds=waveform.size / sampling_rate, wav=wav_bytes(waveform, sampling_rate))
