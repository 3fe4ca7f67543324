"""The command line: the one place that prints and exits.

Results go to standard output; progress, warnings and errors to standard error. Expected errors are one line,
and the exit status is then 2. What is large is imported inside the commands, so that ``--help`` is quick, and
``doctor`` has something to say where an import fails.
"""

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrscope.audio.samples import load_samples
from asrscope.cli.console import FAILED, complain, expected_errors, one_line, progress, start
from asrscope.cli.doctor import doctor
from asrscope.cli.info import info
from asrscope.cli.options import AsJson, Beams, DeviceMap, Model, Projector, Quantize, TracedModel, given
from asrscope.cli.publish import publish
from asrscope.cli.recordings import check_writable, find_recording, named
from asrscope.cli.train import app as train_app
from asrscope.cli.transcribe import transcribe

if TYPE_CHECKING:
    from transformers import PreTrainedModel, ProcessorMixin

__all__ = ["app", "main"]

app = typer.Typer(
    help="See one spoken sentence become text inside a real speech-language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback means a bug, and is wanted plain
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(train_app, name="train")
app.command()(doctor)
app.command()(info)
app.command()(transcribe)
app.command()(publish)

SMALL = 100_000_000  # parameters of a model that runs a second time for a control without being asked


class Color(StrEnum):
    """Noise that ``evaluate`` adds."""

    white = "white"
    pink = "pink"


def main() -> None:
    """Run the command line; ends the process."""
    start(app, quiet=bool({*sys.argv[1:2]} & {"trace", "transcribe", "evaluate"}))


def _show_version(wanted: bool) -> bool:
    if wanted:
        print(f"asrscope {version('asrscope')}")
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


@app.command()
def trace(
    clip: Annotated[str, typer.Argument(help="A recording, or the name of a shipped sample.")],
    html: Annotated[Path | None, typer.Option(help="Write an interactive page, all in one file.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the same data as JSON.")] = None,
    npz: Annotated[Path | None, typer.Option(help="Save the trace, for Trace.load.")] = None,
    model: TracedModel = "tiny",
    projector: Projector = None,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
    beams: Beams = 1,
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
            help="Show an untrained projector beside the model's in the page. Default: for a small model.",
        ),
    ] = None,
) -> None:
    """Run one clip through the model and keep every stage of it."""
    with expected_errors():
        for path in (html, json_path, npz):
            check_writable(path)
        source, sample = find_recording(clip)

        from asrscope.loading.native import is_native
        from asrscope.loading.presets import load, untrained
        from asrscope.scope.tracing import trace as run

        options: dict[str, Any] = {
            "name": sample.name if sample else source.name,
            "num_beams": beams,
            "max_new_tokens": max_new_tokens,
            "instruction": instruction,
            "reference": reference or (sample.text if sample else None),
            "reference_words": sample.words if sample and reference is None else None,
        }
        parts = given(projector=projector, quantize=quantize, device_map=device_map)
        native = is_native(model)
        if native and (random_projector or control):
            raise ValueError(f"an untrained projector is for models of this package, but {model} is none")
        if native:
            loaded, processor = _load_native(model, **parts)
        else:
            loaded, processor = load(model, random_projector=random_projector, **parts)
        traced = run(loaded, processor, source, **options)
        for warning in traced.warnings:
            complain(f"warning: {named(source, warning)}")
        print(traced.text)
        for field, shape in traced.shapes().items():
            print(f"  {field:24}{' x '.join(str(size) for size in shape)}")

        from asrscope.plots.report import write_html, write_json

        beside = None
        parameters = sum(part.parameters for part in traced.provenance)
        if html is not None and not native and (parameters < SMALL if control is None else control):
            # The other projector: random beside the model's own, or the other way round.
            other = load(model, **parts)[0] if random_projector else untrained(loaded)
            beside = run(other, processor, source, **options)

        writers: list[tuple[Path | None, Callable[[Path], object]]] = [
            (npz, traced.save),
            (html, lambda path: write_html(traced, path, control=beside)),
            (json_path, lambda path: write_json(traced, path)),
        ]
        for path, write in writers:
            if path is not None:
                write(path)
                complain(f"wrote {path}")


@app.command()
def record(
    path: Annotated[Path, typer.Argument(help="The WAV file to write.")],
    seconds: Annotated[float, typer.Option(help="Length of the recording.")] = 5.0,
) -> None:
    """Record a clip from the microphone, for ``trace`` and ``transcribe``."""
    with expected_errors():
        check_writable(path)
        if path.exists():
            raise FileExistsError(f"{path}: there is a file of this name: choose another")

        from asrscope.audio import wav_bytes
        from asrscope.audio.microphone import record as run
        from asrscope.files import write_bytes

        complain(f"speak now, for {seconds:g} s")
        try:
            waveform = run(seconds)
        except ImportError as error:
            raise OSError(str(error)) from error
        write_bytes(path, wav_bytes(waveform))
        complain(f"wrote {path}")


@app.command()
def evaluate(
    collection: Annotated[
        str, typer.Argument(help="A JSON-lines manifest, a folder of recordings with .txt, or 'samples'.")
    ] = "samples",
    model: Model = "tiny",
    projector: Projector = None,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
    beams: Beams = 1,
    as_json: AsJson = False,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst utterances to show.")] = 10,
    limit: Annotated[int | None, typer.Option(min=1, help="Only this many utterances, the first.")] = None,
    noise: Annotated[
        list[float] | None,
        typer.Option(
            metavar="DB",
            help="Measure also under noise of this signal-to-noise ratio in dB. May be given several times.",
        ),
    ] = None,
    color: Annotated[
        list[Color] | None,
        typer.Option(help="Of the noise: equal power a hertz or an octave. Default: both."),
    ] = None,
) -> None:
    """Measure the word error rate: its uncertainty, by voice, length and noise, and what went worst."""
    with expected_errors():
        from asrscope.recognition.evaluation import Noise, Utterance, read_utterances
        from asrscope.recognition.evaluation import evaluate as run

        noises = [Noise(one.value, snr) for one in dict.fromkeys(color or Color) for snr in noise or ()]

        if collection == "samples" and not Path(collection).exists():
            utterances = tuple(Utterance(s.path.name, s.path, s.text, s.voice) for s in load_samples())
        else:
            utterances = read_utterances(collection)
        utterances = utterances[:limit]

        from asrscope.loading.presets import load
        from asrscope.recognition.transcribe import transcribe as recognize

        loaded = load(model, **given(projector=projector, quantize=quantize, device_map=device_map))
        with progress(len(utterances) * (1 + len(noises))) as report:
            evaluation = run(
                utterances,
                lambda waveform: recognize(*loaded, waveform, num_beams=beams).text,
                noises=noises,
                on_result=lambda result: report(
                    None, *([f"error: {one_line(result.failure)}"] if result.failure else [])
                ),
            )
        record = {"model": model, "beams": beams, "collection": collection, **evaluation.to_dict()}
        print(json.dumps(record, indent=2) if as_json else evaluation.to_text(worst))
    if evaluation.failures:
        raise typer.Exit(FAILED)


def _load_native(model: str, **parts: str) -> "tuple[PreTrainedModel, ProcessorMixin]":
    """Load a model of transformers, onto the accelerators if there are any."""
    import torch

    from asrscope.loading.native import load_native

    if others := parts.keys() - {"device_map"}:
        raise ValueError(
            f"only the preset 'full' has a {' and a '.join(sorted(others))}, but {model} is none"
        )
    if not parts and torch.cuda.is_available():
        parts = {"device_map": "auto"}
    return load_native(model, **parts)
