"""A long recording on one page: its waveform, whatever its length, and what was said when.

The page works offline and asks no host for anything. Hours stay quick to move in, because the browser draws
from a pyramid: the lowest and highest sample of each few milliseconds, of four times that, and so on.
"""

from asrscope.timeline.page import EMBED_SECONDS, write_timeline
from asrscope.timeline.peaks import Peaks, measure_peaks

__all__ = ["EMBED_SECONDS", "Peaks", "measure_peaks", "write_timeline"]
