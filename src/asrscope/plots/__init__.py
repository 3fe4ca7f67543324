"""One Bokeh figure for each stage of a trace, with its content as text. Needs no torch.

Each function takes a `Trace` and returns a figure that fits its page from a phone to a wide screen. Figures
over time carry a range named ``"time"`` and a line named ``"playhead"``; glyphs that stand for a stretch of
the sound have the columns ``plays_from`` and ``plays_to``. The script ``clock/clock.js`` puts all of them and
the players of a page on one clock; the site, saved figures, reports and notebooks bring it.
"""

from collections.abc import Callable

from bokeh.plotting import figure

from asrscope.plots.charts import (
    Rate,
    draw,
    rates_by_name,
    rates_over,
    reach,
    similarity,
    stacked_bars,
    training_curves,
)
from asrscope.plots.page import Moment, Player, StepSlider, listen, player, show, step_slider
from asrscope.plots.sound import (
    audio_embeds,
    encoder_output,
    log_mel,
    spectrogram,
    time_chart,
    time_map,
    waveform,
)
from asrscope.plots.theme import COLORS, PALETTE, chart, legend, theme_css
from asrscope.plots.tokens import (
    decoder_tokens,
    decoder_words,
    distance_table,
    nearest_tokens,
    prompt,
    token_grid,
)
from asrscope.plots.words import (
    Statistics,
    Table,
    describe,
    prompt_length,
    statistics,
    table,
    token_times,
    word_times,
)
from asrscope.scope.traces import Trace

__all__ = [
    "COLORS",
    "PALETTE",
    "PLOTS",
    "Moment",
    "Player",
    "Rate",
    "Statistics",
    "StepSlider",
    "Table",
    "audio_embeds",
    "chart",
    "decoder_tokens",
    "decoder_words",
    "describe",
    "distance_table",
    "draw",
    "encoder_output",
    "legend",
    "listen",
    "log_mel",
    "nearest_tokens",
    "player",
    "prompt",
    "prompt_length",
    "rates_by_name",
    "rates_over",
    "reach",
    "show",
    "similarity",
    "spectrogram",
    "stacked_bars",
    "statistics",
    "step_slider",
    "table",
    "theme_css",
    "time_chart",
    "time_map",
    "token_grid",
    "token_times",
    "training_curves",
    "waveform",
    "word_times",
]

# In pipeline order: the key of each stage in STAGES, then the second view of the last one.
PLOTS: dict[str, Callable[[Trace], figure]] = {
    "waveform": waveform,
    "log_mel": log_mel,
    "encoder_output": encoder_output,
    "audio_embeds": audio_embeds,
    "nearest_tokens": nearest_tokens,
    "prompt": prompt,
    "decoder_words": decoder_words,
    "decoder_tokens": decoder_tokens,
}
