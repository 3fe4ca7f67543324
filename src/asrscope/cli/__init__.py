"""The command line: the one place that prints and exits.

Results go to standard output; progress, warnings and errors to standard error. Expected errors are one line,
and the exit status is then 2. What is large is imported inside the commands, so that ``--help`` is quick, and
``doctor`` has something to say where an import fails.
"""

import json
import os
import sys
from dataclasses import asdict
from enum import StrEnum
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrscope.cli.console import FAILED, complain, expected_errors, one_line, progress, put, start
from asrscope.cli.train import app as train_app

if TYPE_CHECKING:
    from asrscope.audio.samples import Sample
    from asrscope.loading import Loaded
    from asrscope.recognition.transcribe import Segment
    from asrscope.scope.traces import Provenance

__all__ = ["app", "main"]

app = typer.Typer(
    help="See one spoken sentence become text inside a real speech-language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback means a bug, and is wanted plain
    rich_markup_mode=None,  # plain help: rich takes longer to import than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train_app, name="train")

SMALL = 100_000_000  # parameters of a model that runs a second time for a control without being asked
MOST_WARNINGS = 10  # of one recording, on standard error


Format = StrEnum("Format", "text json jsonl srt vtt")  # of transcripts
Channel = StrEnum("Channel", "left right")  # of a recording with two

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="ASRSCOPE_MODEL",
        help="'tiny' (bundled), 'small', 'full', or a folder with a saved model. For a trace also a folder "
        "or Hub repository with a speech-language model of transformers (Voxtral, Granite Speech, ...).",
    ),
]
# The environment names these too; asrscope.loading reads it, for programs as well as for commands.
Projector = Annotated[
    str | None,
    typer.Option(help="Of a pair: file, folder or repository of a projector. Or ASRSCOPE_PROJECTOR."),
]
Quantize = Annotated[
    str | None,
    typer.Option(help="With 'full': the decoder in fewer bits, 'int8' or 'int4'. Or ASRSCOPE_QUANTIZE."),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(help="Where a large model goes, 'cuda' or 'auto'. Or, of 'full', ASRSCOPE_DEVICE_MAP."),
]
Beams = Annotated[
    int | None,
    typer.Option("--beams", min=1, help="Beams of the search; 1 is greedy. Default: the model's own number."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]


def main() -> None:
    """Run the command line; ends the process."""
    start(app, quiet=bool({*sys.argv[1:2]} & {"trace", "transcribe", "evaluate"}))


def _show_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        put(f"asrscope {version('asrscope')}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """See one spoken sentence become text inside a real speech-language model."""


# Commands ---------------------------------------------------------------------------------------------------


@app.command()
def trace(
    clip: Annotated[str, typer.Argument(help="A recording, the name of a shipped sample, or '-'.")],
    html: Annotated[Path | None, typer.Option(help="Write an interactive page, all in one file.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the same data as JSON.")] = None,
    npz: Annotated[Path | None, typer.Option(help="Save the trace, for Trace.load.")] = None,
    model: Model = "tiny",
    projector: Projector = None,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
    beams: Beams = None,
    instruction: Annotated[
        str | None, typer.Option(help="What to ask of the model. Default: its own words for a transcript.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Default: by the clip's length.")] = None,
    reference: Annotated[str | None, typer.Option(help="What is said, if known.")] = None,
    random_projector: Annotated[
        bool, typer.Option("--random-projector", help="Use an untrained projector, to compare with.")
    ] = False,
    control: Annotated[
        bool | None,
        typer.Option(
            "--control/--no-control",
            help="Show an untrained projector beside the model's in the page. Default: if as small as tiny.",
        ),
    ] = None,
) -> None:
    """Run one clip through the model and keep every stage of it."""
    with expected_errors():
        for path in (html, json_path, npz):
            _check_writable(path)

        from asrscope.audio.recordings import name_of
        from asrscope.loading import is_native, untrained
        from asrscope.scope.tracing import trace as run

        source, sample = _find_recording(clip)
        options: dict[str, Any] = {
            "name": sample.name if sample else str(source.name),
            "num_beams": beams,
            "max_new_tokens": max_new_tokens,
            "instruction": instruction,
            "reference": reference or (sample.text if sample else None),
            "reference_words": sample.words if sample and reference is None else None,
        }
        parts: dict[str, Any] = {"projector": projector, "quantize": quantize}
        native = is_native(model)
        if native:
            others = parts | {"random projector": random_projector, "control": control}
            loaded, processor = _load_native(model, device_map, others)
        else:
            parts["device_map"] = device_map
            loaded, processor = _load(model, random_projector=random_projector, **parts)
        traced = run(loaded, processor, source, **options)
        for warning in traced.warnings:
            complain(f"warning: {_named(name_of(source), warning)}")
        put(traced.text)
        for field, shape in traced.shapes().items():
            put(f"  {field:24}{' x '.join(str(size) for size in shape)}")

        from asrscope.plots.report import write_html, write_json

        beside = None
        parameters = sum(part.parameters for part in traced.provenance)
        if html is not None and not native and (parameters < SMALL if control is None else control):
            # The other projector: random beside the model's own, or the other way round.
            other = _load(model, **parts)[0] if random_projector else untrained(loaded)
            beside = run(other, processor, traced.waveform, **options)
        writers = (
            (npz, traced.save),
            (html, lambda path: write_html(traced, path, control=beside)),
            (json_path, lambda path: write_json(traced, path)),
        )
        for path, write in writers:
            if path is not None:
                write(path)
                complain(f"wrote {path}")


@app.command()
def transcribe(
    clips: Annotated[
        list[str],
        typer.Argument(
            help="Recordings, folders of recordings, shipped samples by name, 'samples', or '-' for a "
            "recording on standard input."
        ),
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            "-f",
            help="json: an object a recording; jsonl: an object a segment, as soon as it is recognized; "
            "srt, vtt: subtitles of one recording.",
        ),
    ] = Format.text,
    channel: Annotated[
        Channel | None,
        typer.Option(help="Of two people on two channels: one of them. Default: a mean."),
    ] = None,
    model: Model = "tiny",
    projector: Projector = None,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
    beams: Beams = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Stretches of a long recording that are recognized together.")
    ] = 8,
) -> None:
    """Write what is said in recordings of any length: as text, JSON or subtitles."""
    with expected_errors():
        recordings, failed = _find_recordings(clips)
        if not recordings:
            raise typer.Exit(FAILED)
        if form in {Format.srt, Format.vtt} and len(recordings) > 1:
            raise ValueError(
                f"{form}: expected one recording, since subtitles have its times, but found {len(recordings)}"
                ": give one at a time"
            )

        from asrscope.audio import AudioStream
        from asrscope.audio.recordings import name_of
        from asrscope.recognition.transcribe import transcribe as run

        loaded = _load(model, projector=projector, quantize=quantize, device_map=device_map)
    several = len(recordings) > 1

    def recognize(number: int, source: Path | BytesIO) -> None:
        name = name_of(source)
        stream = AudioStream(source, channel=None if channel is None else list(Channel).index(channel))

        def tell(segment: "Segment") -> None:
            line = json.dumps({"file": name, **segment.to_dict()}) if form is Format.jsonl else None
            report(line, completed=number + segment.end / stream.seconds)

        transcript = run(*loaded, stream, num_beams=beams, batch_size=batch, on_segment=tell)
        whole, warnings = None, []
        if form is Format.json:
            whole = json.dumps({"file": name, **transcript.to_dict()})
        elif form is not Format.jsonl:
            named = f"{name}: {transcript.text}" if several else transcript.text
            whole = {"text": named, "srt": transcript.to_srt(), "vtt": transcript.to_vtt()}[form]
            warnings = [f"warning: {_named(name, one)}" for one in transcript.warnings[:MOST_WARNINGS]]
            if (more := len(transcript.warnings) - MOST_WARNINGS) > 0:
                warnings.append(f"warning: {name}: {more} more warnings, which --format json shows")
        report(whole if whole or form is Format.text else None, *warnings, completed=number + 1)

    with progress(len(recordings)) as report:
        for number, source in enumerate(recordings):
            try:
                recognize(number, source)
            except (OSError, ValueError) as error:
                failed = True
                report(None, f"error: {one_line(error)}", completed=number + 1)
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def evaluate(
    collection: Annotated[
        str, typer.Argument(help="A JSON-lines manifest, a folder of recordings with .txt, or 'samples'.")
    ] = "samples",
    model: Model = "tiny",
    projector: Projector = None,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
    beams: Beams = None,
    as_json: AsJson = False,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst utterances to show.")] = 10,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many utterances, the first.")] = None,
    noise: Annotated[
        float | None,
        typer.Option(metavar="DB", help="Under pink noise of this signal-to-noise ratio in dB."),
    ] = None,
) -> None:
    """Measure the word error rate: its uncertainty, by voice, and what went worst."""
    with expected_errors():
        from asrscope.audio.samples import load_samples
        from asrscope.inside.counterfactual import add_noise
        from asrscope.recognition.metrics import Utterance, read_utterances
        from asrscope.recognition.metrics import evaluate as run

        if noise is not None and not -100 <= noise <= 100:
            raise ValueError(f"--noise: expected a ratio from -100 to 100 dB, but found {noise:g}")
        if collection == "samples" and not Path(collection).exists():
            utterances = tuple(Utterance(s.path.name, s.path, s.text, s.voice) for s in load_samples())
        else:
            utterances = read_utterances(collection)
        utterances = utterances[:limit]

        from asrscope.recognition.transcribe import transcribe as recognize

        loaded = _load(model, projector=projector, quantize=quantize, device_map=device_map)

        def hear(waveform: Any) -> str:
            heard = waveform if noise is None else add_noise(waveform, noise, "pink")
            return recognize(*loaded, heard, num_beams=beams).text

        with progress(len(utterances)) as report:
            evaluation = run(
                utterances,
                hear,
                on_result=lambda result: report(
                    None, *([f"error: {one_line(result.failure)}"] if result.failure else [])
                ),
            )
        how = {"model": model, "beams": beams or loaded[0].beams, "noise_db": noise, "collection": collection}
        record = {**how, **evaluation.to_dict()}
        put(json.dumps(record, indent=2) if as_json else evaluation.to_text(worst))
    if evaluation.failures:
        raise typer.Exit(FAILED)


@app.command()
def info(
    model: Model = "tiny",
    as_json: AsJson = False,
    projector: Projector = None,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
) -> None:
    """Say what a model is made of, how large it is and where its weights come from."""
    with expected_errors():
        from asrscope.saving.provenance import provenance_of

        loaded, _ = _load(model, projector=projector, quantize=quantize, device_map=device_map)
        record = _describe(model, loaded.config, {part.part: part for part in provenance_of(loaded)})
    if as_json:
        put(json.dumps(record, indent=2))
        return
    for group, values in record.items():
        if isinstance(values, dict):
            put("\n".join([group, *(f"  {key:20}{value}" for key, value in values.items())]))
        else:
            put(f"{group:22}{values}")


@app.command()
def record(
    path: Annotated[Path, typer.Argument(help="The WAV file to write.")],
    seconds: Annotated[float, typer.Option(help="Length of the recording.")] = 5.0,
) -> None:
    """Record a clip from the microphone, for ``trace`` and ``transcribe``."""
    with expected_errors():
        _check_writable(path)
        if path.exists():
            raise FileExistsError(f"{path}: there is a file of this name: choose another")

        from asrscope.audio import record as run
        from asrscope.audio import wav_bytes
        from asrscope.saving import write_bytes

        complain(f"speak now, for {seconds:g} s")
        write_bytes(path, wav_bytes(run(seconds)))
        complain(f"wrote {path}")


@app.command()
def doctor(
    as_json: AsJson = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask whether the Hub answers.")] = False,
) -> None:
    """Say what works on this machine, what is missing, and the command that mends it.

    The exit status is 0 if the bundled model can transcribe a clip here, whatever else is missing.
    """
    from asrscope.cli.checkup import examine

    findings = examine(hub=not offline)
    works = all(one.ok for one in findings if one.needed)
    if as_json:
        put(json.dumps({"works": works, "findings": [asdict(one) for one in findings]}, indent=2))
    else:
        for one in findings:
            mark = "ok" if one.ok else "MISSING" if one.needed else "-"
            put(f"{mark:8}{one.name:10} {one.found}")
            if one.remedy:
                put(f"{'':19}mend: {one.remedy}")
        put("Everything for the course works." if works else "Mend what is marked MISSING, from the top.")
    if not works:
        raise typer.Exit(FAILED)


# Models -----------------------------------------------------------------------------------------------------


def _load(model: str, *, random_projector: bool = False, **options: Any) -> "Loaded":
    """Load a model of this package; torch is imported only now."""
    from asrscope.loading import load

    return load(model, random_projector=random_projector, **options)


def _load_native(model: str, device_map: str | None, others: dict[str, Any]) -> Any:
    """Load a model of transformers, onto the accelerators if there are any."""
    import torch

    from asrscope.loading import load_native

    if given := [name for name, value in others.items() if value]:
        raise ValueError(f"{' and '.join(given)}: only for models of this package, but {model} is none")
    return load_native(model, device_map=device_map or ("auto" if torch.cuda.is_available() else None))


SIZES = {  # of each part that info tells, and where its configuration has them
    "encoder": {
        "dimension": "audio_config.d_model",
        "layers": "audio_config.encoder_layers",
        "heads": "audio_config.encoder_attention_heads",
        "mel_bands": "audio_config.num_mel_bins",
    },
    "projector": {"stack_factor": "stack_factor", "hidden_dimension": "projector_hidden_size"},
    "decoder": {
        "dimension": "text_config.hidden_size",
        "layers": "text_config.num_hidden_layers",
        "heads": "text_config.num_attention_heads",
        "kv_heads": "text_config.num_key_value_heads",
        "vocabulary": "text_config.vocab_size",
    },
}


def _describe(name: str, config: Any, parts: "dict[str, Provenance]") -> dict[str, Any]:
    """Collect what ``info`` shows, in the order in which it shows it."""
    from importlib.metadata import version

    record: dict[str, Any] = {
        "model": name,
        "version": version("asrscope"),
        "parameters": sum(part.parameters for part in parts.values()),
        "window_seconds": config.trained_seconds,
        "padded_to_30_s": config.pad_audio,
    }
    for part, found in parts.items():
        record[part] = {size: attrgetter(where)(config) for size, where in SIZES[part].items()}
        record[part] |= {"parameters": found.parameters, "weights": found.label, "stored_as": found.dtype}
        record[part] |= {"source": found.source, "revision": found.revision, "sha256": found.sha256}
    return record


# Recordings and files ---------------------------------------------------------------------------------------


def _find_recording(clip: str) -> "tuple[Path | BytesIO, Sample | None]":
    """Find one clip: standard input, a path, or else a shipped sample of that name."""
    from asrscope.audio.samples import load_samples

    if clip == "-":
        return _standard_input(), None
    # Of links in a circle and of a name too long, a Path would raise; the loader will say what they are.
    there, real = os.path.exists(clip), os.path.realpath(clip)  # noqa: PTH110
    for sample in load_samples():
        if real == str(sample.path) or (clip == sample.name and not there):
            return sample.path, sample
    return Path(clip), None


def _standard_input() -> BytesIO:
    """Read a recording from a pipe; it has to be gone through more than once."""
    from asrscope.audio.recordings import read_stream

    if sys.stdin.isatty():
        raise ValueError("expected a recording on standard input, but found a keyboard: use '<' or '|'")
    content = BytesIO(read_stream(sys.stdin.buffer, "standard input"))
    content.name = "standard input"  # what messages call it
    return content


def _find_recordings(clips: list[str]) -> tuple[list[Path | BytesIO], bool]:
    """List the recordings asked for; the flag says whether one of the arguments held none."""
    from asrscope.audio import find_audio
    from asrscope.audio.samples import load_samples

    found: list[Path | BytesIO] = []
    failed = False
    for clip in clips:
        if clip == "samples" and not Path(clip).exists():
            found += [sample.path for sample in load_samples()]
        elif os.path.isdir(clip):  # noqa: PTH112 - of a name too long, Path.is_dir raises
            inside = find_audio(clip)
            if not inside:
                complain(f"error: {clip}: expected recordings in this folder, but found none")
                failed = True
            found += inside
        else:
            found.append(_find_recording(clip)[0])
    return found, failed


def _check_writable(path: Path | None) -> None:
    """Find out before the work, not after it, that a result has nowhere to go."""
    if path is not None and not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}: create it first")
    if path is not None and path.is_dir():
        raise IsADirectoryError(f"{path}: this is a folder: give the name of a file")
    if path is not None and not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise PermissionError(f"{path}: no permission to write this file: choose another place")


def _named(name: str, warning: str) -> str:
    """Put a recording's name before a warning that does not begin with it."""
    return one_line(warning if warning.startswith(name) else f"{name}: {warning}")
