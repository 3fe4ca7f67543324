"""``asrscope train``: a projector of one's own between a finished encoder and decoder, and its curves."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from asrscope.cli.console import complain, expected_errors
from asrscope.cli.following import counted, followed, is_first, say

__all__ = ["DEFAULT_CACHE", "Cache", "Settings", "Threads", "app", "curves", "processes"]

# Where speech, encodings and checkpoints lie: gigabytes, so never in a repository.
DEFAULT_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "asrscope"

app = typer.Typer(help="Train a projector. Training goes on where it was stopped.", no_args_is_help=True)

Cache = Annotated[Path, typer.Option("--cache", help="Folder for data and checkpoints.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the recipe.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch; default: its own.")]


@app.command()
def projector(
    corpus: Annotated[
        list[str],
        typer.Option(help="Train on recordings: a dataset on the Hub, a folder or a file. Several: again."),
    ],
    cache: Cache = DEFAULT_CACHE,
    settings: Settings = None,
    threads: Threads = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="Takes encoder and decoder from here: a preset's name, or a folder."),
    ] = "tiny",
    warm_steps: Annotated[
        int | None,
        typer.Option(min=0, help="Steps without the decoder, ahead of the others; default: as the pair has it."),
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
    style: Annotated[
        str | None,
        typer.Option(
            metavar="plain|written|as-is",
            help="How transcripts are to be written; default: plain words for tiny, else as people write.",
        ),
    ] = None,
    encoder_part: Annotated[
        str | None, typer.Option("--encoder", help="With 'full': another encoder, name or folder.")
    ] = None,
    decoder_part: Annotated[
        str | None, typer.Option("--decoder", help="With 'full': another decoder, name or folder.")
    ] = None,
) -> None:
    """Train the projector between the encoder and the decoder of a model, which stay frozen."""
    with expected_errors(), processes(threads):
        from asrscope.loading.presets import load
        from asrscope.training.corpus import Corpus
        from asrscope.training.encodings import cache_encodings, count_bad, load_encodings
        from asrscope.training.projector import WARM, recipe_for, train_projector, write_model
        from asrscope.training.run import changed

        parts = {name: part for name, part in (("encoder", encoder_part), ("decoder", decoder_part)) if part}
        loaded = load(model, random_projector=True, **parts)
        recipe = changed(recipe_for(model, loaded), settings or [])
        folder = cache / "pair"
        encodings = []
        for number, source in enumerate(corpus):
            reader = Corpus(
                source,
                loaded[1].features,
                config=corpus_config,
                split=split,
                streaming=streaming,
                limit=limit,
                text_column=text_column,
                style=style or ("plain" if model == "tiny" else "written"),
                max_seconds=loaded[0].config.window_seconds,
            )
            encodings.append(folder / "encodings" / f"{number}")
            with counted(f"encoding {source}", None) as count:
                cache_encodings(
                    loaded[0].audio_tower,
                    reader,
                    encodings[-1],
                    copies=recipe.copies,
                    seed=recipe.seed,
                    fixed_length=loaded[1].pad_audio,
                    on_bad=lambda name, reason: complain(f"left out: {name}: {reason}"),
                    progress=count,
                )
            if reader.dropped:
                marks = ", ".join(f"{mark} ({count})" for mark, count in reader.dropped.most_common(9))
                say(f"left out of the transcripts: {marks}")
        clips = [clip for clip in load_encodings(*encodings) if clip.copy == 0]
        seconds = [clip.seconds for clip in clips]
        say(f"{len(clips)} utterances, {sum(seconds) / 3600:.2f} h")
        say(f"rows that cannot be used: {sum(map(count_bad, encodings))}")
        start = None
        if recipe.output == "bound" and warm_steps != 0:
            warm = replace(recipe, **WARM | ({"steps": warm_steps} if warm_steps else {}))
            with followed(folder / "warm") as watch:
                start = train_projector(loaded, encodings, folder / "warm", warm, watch=watch)
        with followed(folder / "projector") as watch:
            trained = train_projector(
                loaded, encodings, folder / "projector", recipe, start=start, watch=watch
            )
        if not is_first():
            return
        if model in {"small", "full"}:
            say(f"the projector is {trained / 'model.safetensors'}: load('{model}', projector=...) takes it")
        else:
            say(f"the model is in {write_model(loaded, trained, folder / 'model', max(seconds))}")


@app.command()
def curves(
    cache: Cache = DEFAULT_CACHE,
    html: Annotated[Path | None, typer.Option(help="The page; default: curves.html in the cache.")] = None,
) -> None:
    """Draw the curves of all stages so far, finished or not, on one page that works offline."""
    with expected_errors():
        from asrscope.training.curve_page import write_curves

        complain(f"wrote {write_curves(cache, html or cache / 'curves.html')}")


@contextmanager
def processes(threads: int | None) -> Iterator[None]:
    """Set the threads of this process; part from the other processes in the end."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    yield
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
