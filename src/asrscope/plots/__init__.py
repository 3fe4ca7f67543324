"""One Bokeh figure for each stage of a trace, with its content as text. Needs no torch.

Each function takes a `Trace` and returns a figure that fits its page from a phone to a wide screen. Figures
over time carry a range named ``"time"`` and a line named ``"playhead"``; glyphs that stand for a stretch of
the sound have the columns ``plays_from`` and ``plays_to``. The script ``clock/clock.js`` puts all of them and
the players of a page on one clock; the site, saved figures, reports and notebooks bring it.
"""

from collections.abc import Callable

from bokeh.plotting import figure

from asrscope.plots import charts, page, sound, theme, tokens, words
from asrscope.plots.charts import *
from asrscope.plots.page import *
from asrscope.plots.sound import *
from asrscope.plots.theme import *
from asrscope.plots.tokens import *
from asrscope.plots.words import *
from asrscope.scope.traces import Trace

__all__ = ["PLOTS"]
__all__ += charts.__all__ + page.__all__ + sound.__all__ + theme.__all__ + tokens.__all__ + words.__all__

# In pipeline order: the key of each stage in STAGES, then the second view of the last one.
PLOTS: dict[str, Callable[[Trace], figure]] = {
    "waveform": sound.waveform,
    "log_mel": sound.log_mel,
    "encoder_output": sound.encoder_output,
    "audio_embeds": sound.audio_embeds,
    "nearest_tokens": tokens.nearest_tokens,
    "prompt": tokens.prompt,
    "decoder_words": tokens.decoder_words,
    "decoder_tokens": tokens.decoder_tokens,
}
