"""Shape and statistics of the arrays of a trace, as the titles, descriptions and tables state them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from asrscope.scope.stages import STAGES, Stage
from asrscope.scope.traces import Trace

__all__ = ["Statistics", "stage_named", "statistics"]

VECTORS = ("encoder_hidden_states", "audio_embeds")  # each row is one vector, so that it has a length


@dataclass(frozen=True)
class Statistics:
    """Shape and spread of one array.

    Attributes
    ----------
    shape : tuple of int
        As in the trace.
    mean, std, minimum, maximum : float or None
        Over all values; None for an empty array.
    norms : tuple of (float, float) or None
        Smallest and largest Euclidean length of the row vectors, for arrays that consist of vectors.
    """

    shape: tuple[int, ...]
    mean: float | None
    std: float | None
    minimum: float | None
    maximum: float | None
    norms: tuple[float, float] | None


def statistics(trace: Trace, field: str) -> Statistics:
    """Compute the statistics of one numeric field of a trace.

    Parameters
    ----------
    trace : Trace
        The trace.
    field : str
        Name of the array, ``"log_mel"`` for example.

    Returns
    -------
    Statistics
        Computed in double precision.
    """
    values = np.asarray(getattr(trace, field), dtype=np.float64)
    if values.size == 0:
        return Statistics(values.shape, None, None, None, None, None)
    norms = None
    if field in VECTORS:
        lengths = np.linalg.norm(values, axis=1)
        norms = (float(lengths.min()), float(lengths.max()))
    return Statistics(
        values.shape,
        float(values.mean()),
        float(values.std()),
        float(values.min()),
        float(values.max()),
        norms,
    )


def stage_named(key: str) -> Stage:
    """Look up a stage by its key.

    Parameters
    ----------
    key : str
        ``"log_mel"`` for example.

    Returns
    -------
    Stage
        The entry of `STAGES`.

    Raises
    ------
    KeyError
        If there is no such stage.
    """
    for stage in STAGES:
        if stage.key == key:
            return stage
    raise KeyError(f"there is no stage {key!r}. Make sure to use one of {[stage.key for stage in STAGES]}")


def number(value: float) -> str:
    """Three significant digits without an exponent where that stays short: ``0.0123``, ``1.23``, ``1234``."""
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.2e}".replace("-", "−")
    magnitude = 0 if value == 0 else int(np.floor(np.log10(abs(value))))
    return f"{value:.{max(0, 2 - magnitude)}f}".replace("-", "−")


def summary(stats: Statistics) -> str:
    """One line such as ``mean 0.01 · std 0.98 · norm 12.1 to 15.9``."""
    if stats.mean is None or stats.std is None:
        return "no values"
    line = f"mean {number(stats.mean)} · std {number(stats.std)}"
    if stats.norms:
        line += f" · norm {number(stats.norms[0])} to {number(stats.norms[1])}"
    return line


def mel_centers(n_mels: int, scale: str = "slaney") -> Float64[np.ndarray, " n_mels"] | None:
    """Center frequency of each mel band in Hz.

    Parameters
    ----------
    n_mels : int
        Number of bands between 0 and 8000 Hz.
    scale : str
        ``"slaney"``, which Whisper uses, or ``"htk"``.

    Returns
    -------
    np.ndarray or None, shape (n_mels,)
        Rising; None for any other scale.

    References
    ----------
    M. Slaney, Auditory Toolbox: linear below 1 kHz (3 mel for 200 Hz), above it 27 mel for a factor of 6.4.
    The HTK Book: 2595 log10(1 + f / 700).
    """
    if scale == "htk":
        mel = np.linspace(0.0, 2595 * np.log10(1 + 8000 / 700), n_mels + 2)[1:-1]
        return 700 * (10 ** (mel / 2595) - 1)
    if scale != "slaney":
        return None
    top = 15.0 + np.log(8000 / 1000) * 27 / np.log(6.4)
    mel = np.linspace(0.0, top, n_mels + 2)[1:-1]
    return np.where(mel < 15.0, mel * 200 / 3, 1000 * np.exp((mel - 15.0) * np.log(6.4) / 27))
