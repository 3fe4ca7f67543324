"""``asrscope train``: a projector of one's own between a finished encoder and decoder, and its curves."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asrscope.cli.console import complain, expected_errors, followed, is_first, say
from asrscope.saving import cache_folder

if TYPE_CHECKING:
    from asrscope.loading import Loaded
    from asrscope.training.batches import ProjectorRecipe
    from asrscope.training.corpus import Source

__all__ = ["DEFAULT_CACHE", "Cache", "Settings", "Threads", "app", "curves", "processes", "train_pair"]

DEFAULT_CACHE = cache_folder()  # speech, encodings and checkpoints: gigabytes, so never in a repository

app = typer.Typer(help="Train a projector. Training goes on where it was stopped.", no_args_is_help=True)

Cache = Annotated[Path, typer.Option("--cache", help="Folder for data and checkpoints.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Change a setting of the recipe.")
]
SpellSteps = Annotated[
    int | None, typer.Option(min=0, help="Steps of the speller, after the others, where the pair has one.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch; default: its own.")]


@app.command()
def projector(
    corpus: Annotated[
        list[str],
        typer.Option(help="Recordings: a dataset on the Hub, a folder, a parquet file. May be repeated."),
    ],
    cache: Cache = DEFAULT_CACHE,
    settings: Settings = None,
    threads: Threads = None,
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="Takes encoder and decoder from here: a name, or a folder."),
    ] = "tiny",
    warm_steps: Annotated[
        int | None,
        typer.Option(
            min=0, help="Steps without the decoder, ahead of the others, where the pair needs them."
        ),
    ] = None,
    spell_steps: SpellSteps = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Folder of a finished projector of the same sizes to begin with; no warm start."),
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
        str | None, typer.Option("--encoder", help="Of a pair: another encoder, name or folder.")
    ] = None,
    decoder_part: Annotated[
        str | None, typer.Option("--decoder", help="Of a pair: another decoder, name or folder.")
    ] = None,
) -> None:
    """Train the projector between the encoder and the decoder of a model, which stay frozen."""
    with expected_errors(), processes(threads):
        from asrscope.loading import PAIRS, load
        from asrscope.training.batches import recipe_for
        from asrscope.training.corpus import Corpus
        from asrscope.training.finished import write_model
        from asrscope.training.run import changed

        loaded = load(model, random_projector=True, encoder=encoder_part, decoder=decoder_part)
        recipe = changed(recipe_for(model, loaded), settings or [])
        sources = {
            source: Corpus(
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
            for source in corpus
        }
        done, seconds = train_pair(
            loaded, sources, cache / "pair", recipe, warm_steps, spell_steps, start=start
        )
        made = cache / "pair" / "model"
        if is_first():
            write_model(loaded, done, made, seconds=seconds, whole=model not in PAIRS)
        say(f"what was made is in {made}: asrscope.load('{made}')")


def train_pair(
    loaded: "Loaded",
    sources: Mapping[str, "Source"],
    folder: Path,
    recipe: "ProjectorRecipe",
    warm_steps: int | None,
    spell_steps: int | None = None,
    *,
    start: Path | None,
) -> tuple[Path, float]:
    """Encode each source and train the stages that the recipe asks for; say all of it.

    Returns the folder of the finished projector, and the length of the longest clip in seconds.
    """
    from asrscope.training.batches import SPELL, WARM
    from asrscope.training.encodings import cache_encodings, count_bad, load_encodings
    from asrscope.training.projector import train_projector

    encodings = [folder / "encodings" / f"{number}" for number in range(len(sources))]
    for (name, source), place in zip(sources.items(), encodings, strict=True):
        say(f"encoding {name} ...")
        cache_encodings(
            loaded[0].audio_tower,
            source,
            place,
            copies=recipe.copies,
            seed=recipe.seed,
            fixed_length=loaded[1].pad_audio,
            on_bad=lambda row, reason: complain(f"left out: {row}: {reason}"),
        )
        if dropped := getattr(source, "dropped", None):
            say("left out of the texts: " + ", ".join(f"{mark} ({n})" for mark, n in dropped.most_common(9)))
    anew = start is None
    seconds = [clip.seconds for clip in load_encodings(*encodings) if clip.copy == 0]
    bad = sum(map(count_bad, encodings))
    say(f"{len(seconds)} utterances, {sum(seconds) / 3600:.2f} h; rows that cannot be used: {bad}")
    if recipe.output == "bound" and (warm_steps or (warm_steps is None and anew)):
        changes = WARM | ({"steps": warm_steps} if warm_steps else {})
        warm = replace(recipe, **changes)
        place = folder / "warm"
        start = train_projector(loaded, encodings, place, warm, start=start, watch=followed(place))
    place = folder / "projector"
    done = train_projector(loaded, encodings, place, recipe, start=start, watch=followed(place))
    if recipe.speller_width and (spell_steps or (spell_steps is None and anew)):
        changes = SPELL | ({"steps": spell_steps} if spell_steps else {})
        spell, place = replace(recipe, **changes), folder / "speller"
        done = train_projector(loaded, encodings, place, spell, start=done, watch=followed(place))
    return done, max(seconds)


@app.command()
def curves(
    cache: Cache = DEFAULT_CACHE,
    html: Annotated[Path | None, typer.Option(help="The page; default: curves.html in the cache.")] = None,
) -> None:
    """Draw the curves of all stages so far, finished or not, on one page that works offline."""
    with expected_errors():
        from asrscope import plots
        from asrscope.training.curves import read_runs

        with redirect_stdout(sys.stderr):  # where commands say what they did
            plots.show(plots.training_curves(read_runs(cache)), html or cache / "curves.html")


@contextmanager
def processes(threads: int | None) -> Iterator[None]:
    """Set the threads of this process; part from the other processes in the end."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    yield
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
