"""The text of a recording with its times, and the forms in which others read it: JSON, SubRip, WebVTT."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Segment", "Transcript"]


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
        cues = enumerate((segment for segment in self.segments if segment.text), start=1)
        return "\n".join(f"{number}\n{_times(cue, ',')}\n{cue.text}\n" for number, cue in cues)

    def to_vtt(self) -> str:
        """Write the segments that have a text as WebVTT subtitles; what would be markup is escaped."""
        cues = (segment for segment in self.segments if segment.text)
        escaped = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
        return "WEBVTT\n\n" + "\n".join(
            f"{_times(cue, '.')}\n{cue.text.translate(escaped)}\n" for cue in cues
        )


def _times(segment: Segment, point: str) -> str:
    return f"{_clock(segment.start, point)} --> {_clock(segment.end, point)}"


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
