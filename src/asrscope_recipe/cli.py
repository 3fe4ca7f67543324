"""``asrscope train``: make the bundled model from zero, one command a stage, each of which can be resumed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asrscope.cli.console import complain, expected_errors, progress
from asrscope.cli.following import counted, followed, is_first, say

if TYPE_CHECKING:
    from asrscope.training.decoder import DecoderRecipe
    from asrscope.training.encoder import EncoderRecipe
    from asrscope.training.options import Options
    from asrscope.training.plan import Plan
    from asrscope.training.projector import ProjectorRecipe

__all__ = ["app"]

# Where the synthesized speech and the checkpoints lie: gigabytes, so never in a repository.
DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "asrscope"

CORES = os.cpu_count() or 1

app = typer.Typer(
    help="Train the bundled model from zero. Stages go on where they were stopped. Needs espeak-ng, flite.",
    no_args_is_help=True,
)

Cache = Annotated[Path, typer.Option("--cache", help="Folder for data and checkpoints.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the recipe.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch; default: its own.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that synthesize.")]
Precision = Annotated[
    str, typer.Option(metavar="bf16|fp32|fp16", help="Numbers of the forward and backward passes.")
]
Accumulate = Annotated[
    int, typer.Option(min=1, help="Work through a batch in so many turns: the same gradient, less memory.")
]
CheckpointLayers = Annotated[
    bool, typer.Option("--checkpoint-layers", help="Compute layers again in the backward pass: less memory.")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the model: a slower start, faster steps. Needs a compiler.")
]


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
        from asrscope.training.plan import PLAN, changed_plan

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
    with expected_errors(), _processes(threads):
        from asrscope.training.options import Options
        from asrscope.training.plan import PLAN, changed

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
    with expected_errors(), _processes(threads):
        from asrscope.training.options import Options
        from asrscope.training.plan import PLAN, changed

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
    corpus: Annotated[
        str | None, typer.Option(help="Train on recordings: a dataset on the Hub, or a folder with one.")
    ] = None,
    corpus_config: Annotated[
        str | None, typer.Option("--config", help="Part of the corpus, 'clean' for example.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the corpus.")] = "train",
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Do not store the corpus on this machine first.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Rows of the corpus; default: all.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Where the transcripts stand.")] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Takes encoder and decoder from here: 'tiny', 'full', or a folder."
        ),
    ] = "tiny",
    encoder_part: Annotated[
        str | None, typer.Option("--encoder", help="With 'full': another encoder, name or folder.")
    ] = None,
    decoder_part: Annotated[
        str | None, typer.Option("--decoder", help="With 'full': another decoder, name or folder.")
    ] = None,
) -> None:
    """Train the projector between a finished encoder and decoder, which stay frozen.

    Without --corpus it is stage 3 of the bundled model. With it, encoder and decoder come from --model.
    """
    with expected_errors(), _processes(threads):
        from asrscope.training.options import Options
        from asrscope.training.plan import PLAN, changed

        options = Options(precision, accumulate, checkpoint_layers, compile_model)
        if corpus is None:
            _train_projector(cache, changed(PLAN.projector, settings or []), options)
            return

        from asrscope.data.speech_corpus import SpeechCorpus
        from asrscope.training import pair

        folder = cache / "pair"
        loaded, processor, recipe = pair.load_pair(model, encoder=encoder_part, decoder=decoder_part)
        both = (loaded, processor)
        recipe = changed(recipe, settings or [])
        reader = SpeechCorpus(
            corpus,
            config=corpus_config,
            split=split,
            streaming=streaming,
            limit=limit,
            text_column=text_column,
            max_seconds=loaded.config.window_seconds,
            on_bad=lambda name, reason: complain(f"left out: {name}: {reason}"),
        )
        with counted("reading the corpus", None) as count:
            shards, bad = pair.prepare_corpus(reader, folder / "shards", processor, progress=count)
        seconds = [utterance["seconds"] for shard in shards for utterance in shard.utterances]
        say(f"{len(seconds)} utterances, {sum(seconds) / 3600:.2f} h; rows that cannot be used: {len(bad)}")
        with counted("encoding", None) as count:
            work = pair.encode_corpus(both, shards, folder, recipe, progress=count)
        with followed(folder / "projector") as watch:
            trained = pair.train_on_corpus(both, work, folder, recipe, options=options, watch=watch)
        if not is_first():
            return
        if model == "full":
            say(f"the projector is {trained / 'model.safetensors'}: load('full', projector=...) takes it")
        else:
            say(f"the model is in {pair.write_model(model, trained, folder / 'model', max(seconds))}")


@app.command()
def bundle(cache: Cache = DEFAULT_CACHE) -> None:
    """Join the three finished parts in one checkpoint, in half precision."""
    with expected_errors():
        from asrscope.training.bundle import bundle as join

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
def curves(
    cache: Cache = DEFAULT_CACHE,
    html: Annotated[Path | None, typer.Option(help="The page; default: curves.html in the cache.")] = None,
) -> None:
    """Draw the curves of all stages so far, finished or not, on one page that works offline."""
    with expected_errors():
        from asrscope.training.curve_page import write_curves

        complain(f"wrote {write_curves(cache, html or cache / 'curves.html')}")


@app.command()
def clips(folder: Annotated[Path, typer.Argument(help="Gets the files and clips.json.")]) -> None:
    """Synthesize the clips that come with the package."""
    with expected_errors():
        from asrscope.data.clips import make_clips

        complain(f"wrote {make_clips(folder)}")


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
    with expected_errors(), _processes(threads):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError(
                "'train all' runs in one process: make the data first, then launch the stages one by one"
            )
        from asrscope.training.machine import add_hours
        from asrscope.training.options import Options
        from asrscope.training.plan import PLAN, QUICK, changed_plan

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
    from asrscope.data.corpus import make_shards, make_test_sets

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
    from asrscope.training.encoder import train_encoder

    with followed(cache / "encoder") as watch:
        train_encoder(cache, cache / "encoder", recipe, options=options, watch=watch)


def _train_decoder(cache: Path, recipe: "DecoderRecipe", options: "Options") -> None:
    from asrscope.training.decoder import train_decoder

    with followed(cache / "decoder") as watch:
        train_decoder(cache / "decoder", recipe, options=options, watch=watch)


def _train_projector(cache: Path, recipe: "ProjectorRecipe", options: "Options") -> None:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    from asrscope.data.corpus import load_shards
    from asrscope.training.encodings import EncoderPass, cache_encodings, read_held_out
    from asrscope.training.projector import train_projector

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
        raise FileNotFoundError(f"{folder}: no finished {part}: run 'asrscope train {part}' to its end first")
    return folder


@contextmanager
def _processes(threads: int | None) -> Iterator[None]:
    """Set the threads of this process; part from the other processes in the end."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    yield
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from asrscope.training.processes import part_processes

        part_processes()
