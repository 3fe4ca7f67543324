"""Write the page of a long recording."""

import base64
import io
import os
import zlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import soundfile
from jinja2 import Environment
from markupsafe import Markup

from asrscope.audio import SAMPLE_RATE
from asrscope.files import write_text
from asrscope.long_audio.streaming import AudioStream
from asrscope.long_audio.transcripts import Transcript
from asrscope.policy import content_policy
from asrscope.timeline.peaks import Peaks, measure_peaks

__all__ = ["EMBED_SECONDS", "Sound", "write_timeline"]

Sound = Literal["auto", "embed", "link", "none"]

EMBED_SECONDS = 600.0  # ten minutes of MP3 make a page of some 6 MB; an hour would be slow to open
MP3_LEVEL = 0.7  # of soundfile's scale: about 56 kbit/s, constant, so that browsers find each moment exactly
POSTER_COLUMNS = 480  # of the still picture that stands where there is no JavaScript


def write_timeline(
    transcript: Transcript,
    source: str | Path | np.ndarray | AudioStream,
    path: str | Path,
    *,
    title: str,
    sound: Sound = "auto",
    about: Mapping[str, str] | None = None,
) -> None:
    """Write a recording and its transcript as one HTML page: waveform, text, times, confidence and warnings.

    The waveform can be moved in and zoomed however long the recording is, and a press on a segment plays it.
    The page works offline; only its own script may run in it (a content security policy with hashes), and all
    text is escaped.

    Parameters
    ----------
    transcript : Transcript
        What `asrscope.transcribe` returned.
    source : str, Path, np.ndarray [shape=(samples,)] or AudioStream
        The recording; it is read piece by piece.
    path : str or Path
        File to write. It is replaced only once the new page is complete.
    title : str
        Name of the recording.
    sound : {"auto", "embed", "link", "none"}
        Whether the page holds the sound (as MP3), names the file beside it, or does without; a reader can
        open the recording in the page all the same. By default recordings of up to ten minutes are held and
        longer ones named.
    about : mapping of str to str, optional
        What else is to be known, each with its label: the model, say.

    Raises
    ------
    OSError
        If the recording cannot be read, or the page cannot be written.
    ValueError
        If it is no audio, or a waveform without a file is to be linked.
    """
    path = Path(path)
    stream = source if isinstance(source, AudioStream) else AudioStream(source)
    file = Path(source) if isinstance(source, (str, Path)) else None
    if sound == "auto":
        short = stream.seconds <= EMBED_SECONDS
        sound = "embed" if short else "none" if file is None else "link"
    if sound == "link" and file is None:
        raise ValueError(
            "expected a path of the recording to link, but found samples: embed them, or leave them out"
        )
    address = ""
    if sound == "embed":
        address = "data:audio/mpeg;base64," + base64.b64encode(_mp3(stream)).decode("ascii")
    elif sound == "link" and file is not None:
        address = _address(file, path)
    peaks = measure_peaks(stream, stream.size)
    text = _page(transcript, peaks, title=title, sound=sound, address=address, about=about or {})
    write_text(path, text)


def _page(
    transcript: Transcript,
    peaks: Peaks,
    *,
    title: str,
    sound: Sound,
    address: str,
    about: Mapping[str, str],
) -> str:
    """Render the template."""
    segments = transcript.segments
    css = _resource("asrscope", "report.css") + _resource("asrscope.timeline", "page.css")
    script = _resource("asrscope.timeline", "page.js")
    # A recording beside the page, and one that the reader opens.
    media = "data: blob:" + (" 'self' file:" if sound == "link" else "")
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"clock": clock, "chance": lambda value: f"{100 * value:.0f}%"}
    outline = zlib.compress(peaks.low.tobytes() + peaks.high.tobytes(), 9)
    return environment.from_string(_resource("asrscope.timeline", "page.html")).render(
        policy=content_policy([script], styles=css, images="data:", media=media),
        # Our own text, nothing of the recording in it.
        css=Markup(css),
        script=Markup(script),
        title=title,
        transcript=transcript,
        # Those of the segments come last, and stand beside their text.
        general=transcript.warnings[: len(transcript.warnings) - sum(len(s.warnings) for s in segments)],
        odd=sum(bool(segment.warnings) for segment in segments),
        about=about,
        sound=sound,
        address=address,
        outline=base64.b64encode(outline).decode("ascii"),
        step=peaks.step / SAMPLE_RATE,
        count=peaks.low.size,
        poster=_poster(peaks),
        columns=POSTER_COLUMNS,
    )


def clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds, to the tenth."""
    tenths = round(10 * seconds)
    minutes, tenths = divmod(tenths, 600)
    return f"{minutes // 60}:{minutes % 60:02}:{tenths // 10:02}.{tenths % 10}"


def _poster(peaks: Peaks) -> str:
    """Path of an SVG outline of the whole recording, 100 high."""
    edges = np.linspace(0, peaks.low.size, min(POSTER_COLUMNS, peaks.low.size) + 1).astype(int)
    low = np.minimum.reduceat(peaks.low.astype(int), edges[:-1])
    high = np.maximum.reduceat(peaks.high.astype(int), edges[:-1])
    width = POSTER_COLUMNS / low.size
    return "".join(
        f"M{column * width:.1f} {50 - 50 * top / 127:.1f}V{50 - 50 * bottom / 127:.1f}"
        for column, (bottom, top) in enumerate(zip(low.tolist(), high.tolist(), strict=True))
    )


def _mp3(stream: AudioStream) -> bytes:
    """Encode a recording, piece by piece."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", SAMPLE_RATE, 1, format="MP3", bitrate_mode="CONSTANT", compression_level=MP3_LEVEL
    ) as file:
        for block in stream:
            file.write(block)
    return buffer.getvalue()


def _address(file: Path, page: Path) -> str:
    """Address of the recording as seen from the page."""
    file, folder = file.expanduser().resolve(), page.expanduser().resolve().parent
    try:
        return quote(Path(os.path.relpath(file, folder)).as_posix())
    except ValueError:  # on another drive
        return file.as_uri()


def _resource(package: str, name: str) -> str:
    return (files(package) / name).read_text(encoding="utf-8")
