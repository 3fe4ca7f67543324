"""``asrscope train``: a projector of one's own between a finished encoder and decoder, and its curves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from asrscope.cli.console import complain, expected_errors
from asrscope.cli.following import counted, followed, is_first, say

__all__ = [
    "DEFAULT_CACHE",
    "Accumulate",
    "Cache",
    "CheckpointLayers",
    "Compile",
    "Precision",
    "Settings",
    "Threads",
    "app",
    "curves",
    "processes",
]

# Where the synthesized speech and the checkpoints lie: gigabytes, so never in a repository.
DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "asrscope"

app = typer.Typer(help="Train a projector. Training goes on where it was stopped.", no_args_is_help=True)

Cache = Annotated[Path, typer.Option("--cache", help="Folder for data and checkpoints.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the recipe.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch; default: its own.")]
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
def projector(
    corpus: Annotated[
        str, typer.Option(help="Train on recordings: a dataset on the Hub, or a folder with one.")
    ],
    cache: Cache = DEFAULT_CACHE,
    settings: Settings = None,
    threads: Threads = None,
    precision: Precision = "bf16",
    accumulate: Accumulate = 1,
    checkpoint_layers: CheckpointLayers = False,
    compile_model: Compile = False,
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
    """Train the projector between the encoder and the decoder of a model, which stay frozen."""
    with expected_errors(), processes(threads):
        from asrscope.training import pair
        from asrscope.training.options import Options, changed
        from asrscope.training.speech_corpus import SpeechCorpus

        options = Options(precision, accumulate, checkpoint_layers, compile_model)
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
def curves(
    cache: Cache = DEFAULT_CACHE,
    html: Annotated[Path | None, typer.Option(help="The page; default: curves.html in the cache.")] = None,
) -> None:
    """Draw the curves of all stages so far, finished or not, on one page that works offline."""
    with expected_errors():
        from asrscope import plots
        from asrscope.training.curves import read_runs

        plots.show(plots.training_curves(read_runs(cache)), html or cache / "curves.html")


@contextmanager
def processes(threads: int | None) -> Iterator[None]:
    """Set the threads of this process; part from the other processes in the end."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    yield
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from asrscope.training.processes import part_processes

        part_processes()
