"""``asrscope train``: make the bundled model from zero, one command a stage, each of which can be resumed."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from asrscope.cli.console import complain, expected_errors, progress

__all__ = ["app"]

# Where the synthesized speech and the checkpoints lie: gigabytes, so never in a repository.
DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "asrscope"
LOG_SECONDS = 1.0  # between two looks at a stage's log

app = typer.Typer(
    help="Train the bundled model from zero. Stages go on where they were stopped. Needs espeak-ng, flite.",
    no_args_is_help=True,
)

Cache = Annotated[Path, typer.Option("--cache", help="Folder for data and checkpoints.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the recipe.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch; default: its own.")]

Recipe = TypeVar("Recipe")


@app.command()
def data(
    cache: Cache = DEFAULT_CACHE,
    shards: Annotated[int, typer.Option(min=1, help="Parts of the corpus, 1,000 utterances each.")] = 40,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    test_utterances: Annotated[int, typer.Option(min=1, help="In each held-out set.")] = 200,
) -> None:
    """Write sentences, have them spoken, keep features and times of every phone; make the held-out sets."""
    with expected_errors():
        from asrscope.data.corpus import make_shards, make_test_sets

        with _counted("synthesizing", shards) as count:
            make_shards(cache / "shards", shards, workers, progress=count)
        for split in ("dev", "test"):
            make_test_sets(cache / split, split, test_utterances)
        complain(f"the corpus is in {cache}")


@app.command()
def encoder(cache: Cache = DEFAULT_CACHE, settings: Settings = None, threads: Threads = None) -> None:
    """Train the encoder on phones and letters."""
    with expected_errors():
        _use_threads(threads)
        from asrscope.training.encoder import EncoderRecipe, train_encoder

        recipe = _changed(EncoderRecipe(), settings)
        with _followed(cache / "encoder"):
            train_encoder(cache, cache / "encoder", recipe)


@app.command()
def decoder(cache: Cache = DEFAULT_CACHE, settings: Settings = None, threads: Threads = None) -> None:
    """Train the decoder on text alone."""
    with expected_errors():
        _use_threads(threads)
        from asrscope.training.decoder import DecoderRecipe, train_decoder

        recipe = _changed(DecoderRecipe(), settings)
        with _followed(cache / "decoder"):
            train_decoder(cache / "decoder", recipe)


@app.command()
def projector(cache: Cache = DEFAULT_CACHE, settings: Settings = None, threads: Threads = None) -> None:
    """Train the projector between the finished encoder and decoder, which stay frozen."""
    with expected_errors():
        _use_threads(threads)
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        from asrscope.training.projector import ProjectorRecipe, cache_encodings, train_projector

        recipe = _changed(ProjectorRecipe(), settings)
        encodings = cache / "encodings"
        trained = WhisperEncoder.from_pretrained(_finished(cache, "encoder"))
        decoder_folder = _finished(cache, "decoder")
        with _counted("encoding", 1) as count:
            cache_encodings(trained, cache / "shards", encodings, recipe.copies, recipe.seed, progress=count)
        with _followed(cache / "projector"):
            train_projector(encodings, decoder_folder, cache / "projector", recipe)


@app.command()
def bundle(cache: Cache = DEFAULT_CACHE) -> None:
    """Join the three finished parts in one checkpoint, in half precision."""
    with expected_errors():
        from asrscope.training.bundle import bundle as join

        target = join(
            _finished(cache, "encoder"),
            _finished(cache, "decoder"),
            _finished(cache, "projector"),
            cache / "tiny",
        )
        complain(f"the model is in {target}")


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
        from asrscope.training.card import write_model_card

        target = model or cache / "tiny"
        if only_write:
            metrics = json.loads((target / "metrics.json").read_text(encoding="utf-8"))
        else:
            from asrscope.training.comparison import load_peer
            from asrscope.training.measuring import measure

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
        from asrscope.data.clips import make_clips

        complain(f"wrote {make_clips(folder)}")


@app.command(name="all")
def all_stages(cache: Cache = DEFAULT_CACHE, threads: Threads = None) -> None:
    """Do all of it: data, encoder, decoder, projector, bundle, card."""
    data(cache)
    encoder(cache, threads=threads)
    decoder(cache, threads=threads)
    projector(cache, threads=threads)
    bundle(cache)
    card(cache)


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _finished(cache: Path, part: str) -> Path:
    """Find the folder of a finished part: its recipe is the last thing that training writes."""
    folder = cache / part / part
    if not (folder / "recipe.json").is_file():
        raise FileNotFoundError(f"{folder}: no finished {part}: run 'asrscope train {part}' to its end first")
    return folder


def _changed(recipe: Recipe, settings: list[str] | None) -> Recipe:
    """Replace settings of a recipe, each given as ``name=value``."""
    known = {field.name: type(getattr(recipe, field.name)) for field in fields(recipe)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for setting in settings or []:
        name, _, value = setting.partition("=")
        if name not in known:
            raise ValueError(f"--set {setting}: expected one of {', '.join(known)}, but found {name!r}")
        try:
            changes[name] = known[name](value)
        except ValueError as error:
            raise ValueError(
                f"--set {setting}: expected {known[name].__name__}, but found {value!r}"
            ) from error
    return type(recipe)(**{**vars(recipe), **changes})


@contextmanager
def _counted(what: str, total: int) -> Iterator[Any]:
    """Show a bar for a function that reports how many of how many are done."""
    complain(f"{what} ...")
    seen = 0
    with progress(total) as report:

        def count(done: int, total: int) -> None:
            nonlocal seen
            report(None, advance=done - seen, total=total)
            seen = done

        yield count


@contextmanager
def _followed(folder: Path) -> Iterator[None]:
    """Print what a stage writes into its log while it runs."""
    log = folder / "log.jsonl"
    complain(f"checkpoint and log are in {folder}; press Ctrl+C to stop, run the command again to go on")
    seen = log.stat().st_size if log.exists() else 0
    stop = threading.Event()

    def follow() -> None:
        nonlocal seen
        last = False
        while not last:
            last = stop.wait(LOG_SECONDS)
            new = log.read_bytes()[seen:] if log.exists() else b""
            whole = new[: new.rfind(b"\n") + 1]  # a line may be half written
            seen += len(whole)
            for line in whole.splitlines():
                complain("  ".join(f"{key} {value}" for key, value in json.loads(line).items()))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
