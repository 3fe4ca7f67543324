"""``asrscope-recipe``: make the bundled model from zero, one command a stage, each of which can go on."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asrscope.cli.console import complain, expected_errors, progress, start
from asrscope.cli.following import counted, followed, say
from asrscope.cli.train import (
    DEFAULT_CACHE,
    Accumulate,
    Cache,
    CheckpointLayers,
    Compile,
    Precision,
    Settings,
    Threads,
    curves,
    processes,
)

if TYPE_CHECKING:
    from asrscope.training.options import Options
    from asrscope.training.projector import ProjectorRecipe
    from asrscope_recipe.decoder import DecoderRecipe
    from asrscope_recipe.encoder import EncoderRecipe
    from asrscope_recipe.plan import Plan

__all__ = ["app", "main"]

CORES = os.cpu_count() or 1

app = typer.Typer(
    help="Train the bundled model from zero. Stages go on where they were stopped. Needs espeak-ng, flite.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback means a bug, and is wanted plain
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(curves)

Workers = Annotated[int, typer.Option(min=1, help="Processes that synthesize.")]


def main() -> None:
    """Run the command line; ends the process."""
    start(app)


@app.command()
def data(
    cache: Cache = DEFAULT_CACHE,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Parts of the corpus; default: as planned.")
    ] = None,
    workers: Workers = CORES,
    utterances: Annotated[int | None, typer.Option(min=1, help="In each part; default: as planned.")] = None,
    test_utterances: Annotated[
        int | None, typer.Option(min=1, help="In each held-out set; default: as planned.")
    ] = None,
) -> None:
    """Write sentences, have them spoken, keep features and times of every phone; make the held-out sets."""
    with expected_errors():
        from asrscope_recipe.plan import PLAN, changed_plan

        sizes = {"shards": shards, "utterances": utterances, "test_utterances": test_utterances}
        plan = changed_plan(PLAN, [f"{name}={size}" for name, size in sizes.items() if size is not None])
        _make_data(cache, plan, workers)


@app.command()
def encoder(
    cache: Cache = DEFAULT_CACHE,
    settings: Settings = None,
    threads: Threads = None,
    precision: Precision = "bf16",
    accumulate: Accumulate = 1,
    checkpoint_layers: CheckpointLayers = False,
    compile_model: Compile = False,
) -> None:
    """Train the encoder on phones and letters."""
    with expected_errors(), processes(threads):
        from asrscope.training.options import Options, changed
        from asrscope_recipe.plan import PLAN

        options = Options(precision, accumulate, checkpoint_layers, compile_model)
        _train_encoder(cache, changed(PLAN.encoder, settings or []), options)


@app.command()
def decoder(
    cache: Cache = DEFAULT_CACHE,
    settings: Settings = None,
    threads: Threads = None,
    precision: Precision = "bf16",
    accumulate: Accumulate = 1,
    checkpoint_layers: CheckpointLayers = False,
    compile_model: Compile = False,
) -> None:
    """Train the decoder on text alone."""
    with expected_errors(), processes(threads):
        from asrscope.training.options import Options, changed
        from asrscope_recipe.plan import PLAN

        options = Options(precision, accumulate, checkpoint_layers, compile_model)
        _train_decoder(cache, changed(PLAN.decoder, settings or []), options)


@app.command()
def projector(
    cache: Cache = DEFAULT_CACHE,
    settings: Settings = None,
    threads: Threads = None,
    precision: Precision = "bf16",
    accumulate: Accumulate = 1,
    checkpoint_layers: CheckpointLayers = False,
    compile_model: Compile = False,
) -> None:
    """Train the projector between the finished encoder and decoder, which stay frozen."""
    with expected_errors(), processes(threads):
        from asrscope.training.options import Options, changed
        from asrscope_recipe.plan import PLAN

        options = Options(precision, accumulate, checkpoint_layers, compile_model)
        _train_projector(cache, changed(PLAN.projector, settings or []), options)


@app.command()
def bundle(cache: Cache = DEFAULT_CACHE) -> None:
    """Join the three finished parts in one checkpoint, in half precision."""
    with expected_errors():
        from asrscope_recipe.bundle import bundle as join

        parts = {part: _finished(cache, part) for part in ("encoder", "decoder", "projector")}
        complain(f"the model is in {join(**parts, target=cache / 'tiny')}")


@app.command()
def card(
    cache: Cache = DEFAULT_CACHE,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="The checkpoint; default: tiny in the cache.")
    ] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="NAME", help="Give the clips to this one, too: 'pocketsphinx'.")
    ] = None,
    compare_limit: Annotated[
        int | None, typer.Option(min=1, help="Compare on so many clips of each set, the first; default: all.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="Folder of digits spoken by people, named as 7_speaker_0.wav.")
    ] = None,
    corpus: Annotated[
        list[Path] | None, typer.Option(help="Folder of training shards, to count; default: of the cache.")
    ] = None,
    quick: Annotated[Path | None, typer.Option(help="Checkpoint of a quick run, to measure as well.")] = None,
    only_write: Annotated[
        bool, typer.Option("--only-write", help="Measure nothing: write the card from metrics.json.")
    ] = False,
) -> None:
    """Measure the checkpoint on the held-out sets and write the figures into its model card."""
    with expected_errors():
        from asrscope_recipe.card import write_model_card

        target = model or cache / "tiny"
        if only_write:
            metrics = json.loads((target / "metrics.json").read_text(encoding="utf-8"))
        else:
            from asrscope_recipe.comparison import load_peer
            from asrscope_recipe.measuring import measure

            try:
                peer = load_peer(compare) if compare else None
            except ImportError as error:
                raise ValueError(str(error)) from error
            with progress(1) as report:
                metrics = measure(
                    target,
                    cache / "test",
                    peer=peer,
                    limit=compare_limit,
                    recordings=recordings,
                    corpus=corpus or [cache / "shards"],
                    quick=quick,
                    report=report,
                )
        complain(f"wrote {write_model_card(target, metrics)}")


@app.command()
def clips(folder: Annotated[Path, typer.Argument(help="Gets the files and clips.json.")]) -> None:
    """Synthesize the clips that come with the package."""
    with expected_errors():
        from asrscope_recipe.clips import make_clips

        complain(f"wrote {make_clips(folder)}")


@app.command()
def studies(
    cache: Cache = DEFAULT_CACHE,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Takes encoder and decoder from here: 'tiny', or a folder.")
    ] = "tiny",
    out: Annotated[
        Path | None, typer.Option(help="Gets the results; default: beside the projectors, in the cache.")
    ] = None,
    settings: Settings = None,
    threads: Threads = None,
    precision: Precision = "bf16",
    compile_model: Compile = False,
) -> None:
    """Train variants of the projector, each from random weights, and measure them on the held-out sets.

    Writes ablations.json, one variant each, and milestones.json, the unchanged variant at some steps.
    """
    with expected_errors():
        import torch

        from asrscope.training.options import Options, changed
        from asrscope_recipe.studies import Study, StudyPlan

        if threads is not None:
            torch.set_num_threads(threads)
        study = Study(model, cache, changed(StudyPlan(), settings or []))
        options = Options(precision, compile=compile_model)
        with counted("encoding", None) as count:
            study.encode(progress=count)
        for variant in study.variants:
            complain(f"variant: {variant}")
            with followed(study.folder_of(variant)) as watch:
                study.train(variant, options=options, watch=watch)
        with counted("measuring", None) as count:
            for path in study.write(out or study.folder, progress=count):
                complain(f"wrote {path}")


@app.command()
def lesson(folder: Annotated[Path, typer.Argument(help="Gets two Ogg files and lesson.json.")]) -> None:
    """Synthesize the clips that come with the package to train a projector on in minutes."""
    with expected_errors():
        from asrscope_recipe.lesson import make_lesson

        complain(f"wrote {make_lesson(folder)}")


@app.command(name="all")
def all_stages(
    cache: Cache = DEFAULT_CACHE,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Less of everything, in a folder of its own: an hour on one core."),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[STAGE.]NAME=VALUE", help="Change a setting of the plan or a stage."),
    ] = None,
    threads: Threads = None,
    workers: Workers = CORES,
    precision: Precision = "bf16",
    compile_model: Compile = False,
) -> None:
    """Do all of it: data, encoder, decoder, projector, bundle, card, curves."""
    with expected_errors(), processes(threads):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError(
                "'all' runs in one process: make the data first, then launch the stages one by one"
            )
        from asrscope.training.machine import add_hours
        from asrscope.training.options import Options
        from asrscope_recipe.plan import PLAN, QUICK, changed_plan

        plan: Plan = changed_plan(QUICK if quick else PLAN, settings or [])
        cache = cache / "quick" if quick else cache
        options = Options(precision, compile=compile_model)
        with add_hours(cache):
            _make_data(cache, plan, workers)
            _train_encoder(cache, plan.encoder, options)
            _train_decoder(cache, plan.decoder, options)
            _train_projector(cache, plan.projector, options)
    bundle(cache)
    card(cache)
    curves(cache)


def _make_data(cache: Path, plan: "Plan", workers: int) -> None:
    from asrscope_recipe.corpus import make_shards, make_test_sets

    with counted("synthesizing", plan.shards) as count:
        make_shards(
            cache / "shards",
            plan.shards,
            workers,
            utterances=plan.utterances,
            clear=plan.clear,
            progress=count,
        )
    for split in ("dev", "test"):
        make_test_sets(cache / split, split, plan.test_utterances, workers)
    say(f"the corpus is in {cache}")


def _train_encoder(cache: Path, recipe: "EncoderRecipe", options: "Options") -> None:
    from asrscope_recipe.encoder import train_encoder

    with followed(cache / "encoder") as watch:
        train_encoder(cache, cache / "encoder", recipe, options=options, watch=watch)


def _train_decoder(cache: Path, recipe: "DecoderRecipe", options: "Options") -> None:
    from asrscope_recipe.decoder import train_decoder

    with followed(cache / "decoder") as watch:
        train_decoder(cache / "decoder", recipe, options=options, watch=watch)


def _train_projector(cache: Path, recipe: "ProjectorRecipe", options: "Options") -> None:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from asrscope.training.encodings import EncoderPass, cache_encodings, read_held_out
    from asrscope.training.projector import train_projector
    from asrscope_recipe.corpus import load_shards

    trained = WhisperEncoder.from_pretrained(_finished(cache, "encoder"))
    decoder_folder = _finished(cache, "decoder")
    work = EncoderPass(trained, load_shards(cache / "shards"), recipe.seed)
    with counted("encoding", None) as count:
        cache_encodings(work, cache / "encodings", recipe.copies, progress=count)
        if held_out := read_held_out(cache / "dev", trained.config.num_mel_bins):
            cache_encodings(EncoderPass(trained, held_out), cache / "encodings" / "dev", copies=1)
    with followed(cache / "projector") as watch:
        train_projector(
            cache / "encodings",
            decoder_folder,
            cache / "projector",
            recipe,
            work=work,
            options=options,
            watch=watch,
        )


def _finished(cache: Path, part: str) -> Path:
    """Find the folder of a finished part: its recipe is the last thing that training writes."""
    folder = cache / part / part
    if not (folder / "recipe.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no finished {part}: run 'asrscope-recipe {part}' to its end first"
        )
    return folder
