"""``asrscope transcribe``: what is said in recordings of any length."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrscope.cli.console import FAILED, expected_errors, one_line, progress
from asrscope.cli.options import Beams, DeviceMap, Model, Projector, Quantize, given
from asrscope.cli.recordings import find_recordings, named
from asrscope.recognition.transcripts import srt_cue, vtt_cue

if TYPE_CHECKING:
    from asrscope.recognition.transcripts import Segment, Transcript

__all__ = ["transcribe"]

MOST_WARNINGS = 10  # of one recording, on standard error


class Format(StrEnum):
    """What ``transcribe`` writes."""

    text = "text"
    json = "json"
    jsonl = "jsonl"
    srt = "srt"
    vtt = "vtt"


def transcribe(
    clips: Annotated[
        list[str],
        typer.Argument(help="Recordings, folders of recordings, shipped samples by name, or 'samples'."),
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="json: an object a recording; jsonl: an object a segment, as soon as it is recognized; "
            "srt, vtt: subtitles, those of several recordings timed one after another.",
        ),
    ] = Format.text,
    model: Model = "tiny",
    projector: Projector = None,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
    beams: Beams = 1,
    batch: Annotated[
        int, typer.Option(min=1, help="Stretches of a long recording that are recognized together.")
    ] = 8,
) -> None:
    """Write what is said in recordings of any length: as text, JSON or subtitles."""
    with expected_errors():
        recordings, failed = find_recordings(clips)
    if not recordings:
        raise typer.Exit(FAILED)
    with expected_errors():
        from asrscope.loading.presets import load
        from asrscope.recognition.transcribe import transcribe as run

        loaded = load(model, **given(projector=projector, quantize=quantize, device_map=device_map))
    writer = _Writer(form, several=len(recordings) > 1)
    with progress(len(recordings)) as report:
        for path in recordings:
            done = 0.0

            def move(seconds: float, of: float) -> None:
                nonlocal done
                report(None, advance=seconds / of - done)
                done = seconds / of

            try:
                transcript = run(
                    *(*loaded, path),
                    num_beams=beams,
                    batch_size=batch,
                    on_segment=writer.on_segment(path, report),
                    on_progress=move,
                )
            except (OSError, ValueError) as error:
                failed = True
                report(None, f"error: {one_line(error)}", advance=1.0 - done)
                continue
            report(*writer.on_transcript(path, transcript), advance=1.0 - done)
    if failed:
        raise typer.Exit(FAILED)


class _Writer:
    """Writes transcripts of one recording after the other in one form.

    Parameters
    ----------
    form : Format
        What to write.
    several : bool
        Whether there is more than one recording, so that a text needs the file's name.
    """

    def __init__(self, form: Format, *, several: bool) -> None:
        self.form, self.several = form, several
        self.cues, self.elapsed = 0, 0.0  # of the recordings before

    def on_segment(self, path: Path, report: Callable[..., None]) -> "Callable[[Segment], None] | None":
        """Return what writes a segment at once, where the form has lines of segments."""
        if self.form not in {Format.jsonl, Format.srt, Format.vtt}:
            return None

        def write(segment: "Segment") -> None:
            if self.form is Format.jsonl:
                report(json.dumps({"file": str(path), **segment.to_dict()}), advance=0.0)
            elif segment.text:
                self.cues += 1
                head = "WEBVTT\n\n" if self.form is Format.vtt and self.cues == 1 else ""
                cue = (
                    srt_cue(segment, self.cues, offset=self.elapsed)
                    if self.form is Format.srt
                    else vtt_cue(segment, offset=self.elapsed)
                )
                report(head + cue, advance=0.0)

        return write

    def on_transcript(self, path: Path, transcript: "Transcript") -> list[Any]:
        """Return what is left for standard output, or None, and then the lines for standard error."""
        self.elapsed += transcript.seconds
        if self.form is Format.json:
            return [json.dumps({"file": str(path), **transcript.to_dict()})]
        if self.form is Format.jsonl:
            return [None]
        warnings = [f"warning: {named(path, warning)}" for warning in transcript.warnings[:MOST_WARNINGS]]
        if (more := len(transcript.warnings) - MOST_WARNINGS) > 0:
            warnings.append(f"warning: {path}: {more} more warnings, which --format json shows")
        if self.form is Format.text:
            return [f"{path}: {transcript.text}" if self.several else transcript.text, *warnings]
        return [None, *warnings]
