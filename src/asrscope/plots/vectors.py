"""The two stages that are sequences of vectors: encoder output and projector output."""

import numpy as np
from bokeh.plotting import figure
from jaxtyping import Float32

from asrscope.plots.figures import add_boundaries, add_image, time_figure, title_height
from asrscope.plots.measures import stage_named, statistics, summary
from asrscope.plots.wording import title_lines
from asrscope.scope.traces import Trace

__all__ = ["audio_embeds", "encoder_output"]


def encoder_output(trace: Trace) -> figure:
    """Draw the encoder's output, one column for each position.

    Parameters
    ----------
    trace : Trace
        The trace to draw.

    Returns
    -------
    figure
        Dimensions over seconds.
    """
    positions, encoder_dim = trace.encoder_hidden_states.shape
    seconds = trace.seconds_per_position
    shape = f"{positions} positions of {seconds * 1000:g} ms × {encoder_dim} dimensions"
    return _vectors(trace, "encoder_output", trace.encoder_hidden_states, seconds, shape)


def audio_embeds(trace: Trace) -> figure:
    """Draw the projector's output, one column for each audio token.

    Parameters
    ----------
    trace : Trace
        The trace to draw.

    Returns
    -------
    figure
        Dimensions over seconds.
    """
    tokens, decoder_dim = trace.audio_embeds.shape
    seconds = trace.seconds_per_audio_token
    shape = f"{tokens} audio tokens of {seconds * 1000:g} ms × {decoder_dim} dimensions"
    return _vectors(trace, "audio_embeds", trace.audio_embeds, seconds, shape)


def _vectors(
    trace: Trace, key: str, vectors: Float32[np.ndarray, "count dim"], seconds: float, shape: str
) -> figure:
    stage = stage_named(key)
    title = title_lines(trace, stage.title, stage.parts)
    subtitles = [shape, summary(statistics(trace, stage.field))]
    height = 300 + title_height(title, subtitles)
    fig = time_figure(trace, title, subtitles, stage.key, height, y_label="dimension")
    # Transposed: (dimensions, positions), so that time runs to the right.
    if note := add_image(fig, vectors.T, seconds, row="dimension", value="activation"):
        fig.xaxis.axis_label = f"time (s) · {note}"
    add_boundaries(fig, trace)
    return fig
