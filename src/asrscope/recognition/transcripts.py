"""The text of a recording with its times, and the forms in which others read it: JSON, SubRip, WebVTT."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Segment", "Transcript", "srt_cue", "vtt_cue"]


@dataclass(frozen=True)
class Segment:
    """The text of one stretch of the audio.

    Attributes
    ----------
    start, end : float
        Seconds from the start of the audio. Where two windows overlap, the border is in the quietest place of
        what they share, and a word next to it may have been spoken on the other side.
    text : str
        What was recognized.
    confidence : float
        Geometric mean of the token probabilities of the window; 0 if no token was written.
    warnings : tuple of str
        What is odd about this stretch.
    """

    start: float
    end: float
    text: str
    confidence: float
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them; times in seconds, to the millisecond."""
        return {
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "text": self.text,
            "confidence": round(self.confidence, 4),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Transcript:
    """The text of a whole recording.

    Attributes
    ----------
    text : str
        What was recognized.
    confidence : float
        Geometric mean of the token probabilities; 0 if no token was written.
    warnings : tuple of str
        What the reader should know before trusting the text.
    segments : tuple of Segment
        The stretches that the audio was cut into, in order; together they cover all of it.
    """

    text: str
    confidence: float
    warnings: tuple[str, ...]
    segments: tuple[Segment, ...]

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.segments[-1].end

    def to_dict(self) -> dict[str, Any]:
        """Return the transcript as JSON holds it."""
        return {
            "text": self.text,
            "confidence": self.confidence,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "segments": [segment.to_dict() for segment in self.segments],
        }

    def to_srt(self) -> str:
        """Write the segments that have a text as SubRip subtitles."""
        return "\n".join(srt_cue(segment, number) for number, segment in enumerate(self._spoken(), start=1))

    def to_vtt(self) -> str:
        """Write the segments that have a text as WebVTT subtitles."""
        return "WEBVTT\n\n" + "\n".join(map(vtt_cue, self._spoken()))

    def _spoken(self) -> Iterable[Segment]:
        return (segment for segment in self.segments if segment.text)


def srt_cue(segment: Segment, number: int, offset: float = 0.0) -> str:
    """Write one segment as a SubRip cue.

    Parameters
    ----------
    segment : Segment
        What to show.
    number : int
        Number of the cue, from 1.
    offset : float
        Seconds to add to its times.

    Returns
    -------
    str
        Three lines; an empty line goes between cues.
    """
    start, end = _clock(segment.start + offset, ","), _clock(segment.end + offset, ",")
    return f"{number}\n{start} --> {end}\n{segment.text}\n"


def vtt_cue(segment: Segment, offset: float = 0.0) -> str:
    """Write one segment as a WebVTT cue.

    Parameters
    ----------
    segment : Segment
        What to show; what WebVTT would read as markup is escaped.
    offset : float
        Seconds to add to its times.

    Returns
    -------
    str
        Two lines; an empty line goes between cues.
    """
    text = segment.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"{_clock(segment.start + offset, '.')} --> {_clock(segment.end + offset, '.')}\n{text}\n"


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
