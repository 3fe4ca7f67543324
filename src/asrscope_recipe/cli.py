"""``asrscope-recipe``: make the bundled model from zero, one command a stage, each of which can go on."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asrscope.cli.console import complain, expected_errors, is_first, say, start
from asrscope.cli.train import (
    DEFAULT_CACHE,
    Cache,
    Settings,
    SpellSteps,
    Threads,
    curves,
    processes,
    train_pair,
)

if TYPE_CHECKING:
    from asrscope.loading import Loaded

__all__ = ["app", "main"]

SMALL_LEAD = 15  # positions of silence that the encoder of 'small' hears first: 0.3 s
SMALL_SECONDS = 17.5  # of people's recordings for 'small'; longer ones are left out
STAGES = {
    "data": "Have sentences spoken, in as many processes as there are threads; some are held out.",
    "encoder": "Train the encoder on phones and letters.",
    "decoder": "Train the decoder on text alone.",
    "projector": "Train the projector between encoder and decoder, which stay frozen; put all in one model.",
}

app = typer.Typer(
    help="Train the bundled model from zero. Stages go on where they were stopped. Needs espeak-ng, flite.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback means a bug, and is wanted plain
    context_settings={"help_option_names": ["-h", "--help"]},
)

Compare = Annotated[
    str | None, typer.Option(metavar="NAME", help="Give the clips to this one, too: 'pocketsphinx'.")
]
Digits = Annotated[
    Path | None, typer.Option(help="Folder of digits spoken by people, named as 7_speaker_0.wav.")
]
Speech = Annotated[
    list[str] | None,
    typer.Option(
        help="Recordings of people: a dataset on the Hub, a folder, a parquet file; may be repeated."
    ),
]


def main() -> None:
    """Run the command line; ends the process."""
    start(app)


def _stage(name: str) -> Callable[..., None]:
    def command(cache: Cache = DEFAULT_CACHE, settings: Settings = None, threads: Threads = None) -> None:
        with expected_errors(), processes(threads):
            from asrscope.training.run import changed
            from asrscope_recipe.plan import PLAN, do

            do(name, cache, changed(PLAN[name], settings or []))

    return command


for stage, what in STAGES.items():
    app.command(stage, help=what)(_stage(stage))


@app.command()
def card(
    cache: Cache = DEFAULT_CACHE,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="The checkpoint; default: tiny in the cache.")
    ] = None,
    compare: Compare = None,
    compare_limit: Annotated[
        int | None, typer.Option(min=1, help="Compare on so many clips of each set, the first; default: all.")
    ] = None,
    recordings: Digits = None,
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

            metrics = measure(
                target,
                cache / "test",
                peer=load_peer(compare) if compare else None,
                limit=compare_limit,
                recordings=recordings,
                corpus=cache / "shards",
                quick=quick,
            )
        complain(f"wrote {write_model_card(target, metrics)}")


@app.command()
def clips(folder: Annotated[Path, typer.Argument(help="Gets the files and clips.json.")]) -> None:
    """Synthesize the clips that come with the package."""
    with expected_errors():
        from asrscope_recipe.clips import make_clips

        complain(f"wrote {make_clips(folder)}")


@app.command()
def lesson(folder: Annotated[Path, typer.Argument(help="Gets two Ogg files and lesson.json.")]) -> None:
    """Synthesize the clips that come with the package to train a projector on in minutes."""
    with expected_errors():
        from asrscope_recipe.lesson import make_lesson

        complain(f"wrote {make_lesson(folder)}")


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
) -> None:
    """Train variants of the projector, each from random weights, and measure them on the held-out sets.

    Writes ablations.json, one variant each, and milestones.json, the unchanged variant at some steps.
    """
    with expected_errors(), processes(threads):
        from asrscope.loading import load
        from asrscope.training.batches import recipe_for
        from asrscope.training.run import changed
        from asrscope_recipe.studies import make_studies

        loaded, few = load(model), ["steps=200", "positions_per_batch=1500", "copies=1", "save_every=50"]
        recipe = changed(recipe_for("", loaded), [*few, *(settings or [])])
        for path in make_studies(loaded, cache, recipe, out):
            complain(f"wrote {path}")


@app.command(name="all")
def all_stages(
    cache: Cache = DEFAULT_CACHE,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Less of everything, in a folder of its own: an hour on one core."),
    ] = False,
    threads: Threads = None,
) -> None:
    """Do all of it: data, encoder, decoder, projector, card, curves."""
    with expected_errors(), processes(threads):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError(
                "'all' runs in one process: make the data first, then launch the stages one by one"
            )
        from asrscope_recipe.plan import PLAN, QUICK, add_hours, do

        cache = cache / "quick" if quick else cache
        with add_hours(cache):
            for name, recipe in (QUICK if quick else PLAN).items():
                do(name, cache, recipe)
    card(cache)
    curves(cache)


def small_parts() -> "Loaded":
    """Load encoder and decoder of 'small' as its projector is trained between them."""
    from asrscope.loading import load
    from asrscope_recipe.decoder import TEMPLATE

    model, processor = load("small", random_projector=True, projector=None)
    # The decoder's own template begins with advice to an assistant, which a transcript does not need.
    processor.chat_template = TEMPLATE
    # What the encoder makes of a clip at its true length is as good, and takes a tenth of the time.
    model.config.pad_audio = processor.pad_audio = False
    model.config.audio_config.lead_positions = SMALL_LEAD
    model.config.trained_seconds = 0.0
    return model, processor


@app.command()
def small(
    speech: Speech = None,
    cache: Cache = DEFAULT_CACHE,
    sentences: Annotated[int, typer.Option(min=0, help="So many are synthesized, of WordNet's.")] = 100_000,
    warm_steps: Annotated[int | None, typer.Option(min=0, help="Steps without the decoder.")] = None,
    spell_steps: SpellSteps = None,
    start: Annotated[
        Path | None,
        typer.Option(help="Folder of a projector to begin with; no warm start without --warm-steps."),
    ] = None,
    average: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of that projector in the finished one.")
    ] = 0.0,
    settings: Settings = None,
    threads: Threads = None,
) -> None:
    """Train the projector of the model 'small', from people's speech and from synthesized sentences."""
    with expected_errors(), processes(threads):
        if average and start is None:
            raise ValueError("--average needs the projector that is to be averaged with: --start FOLDER")
        from asrscope.training.batches import RECIPES
        from asrscope.training.corpus import Corpus
        from asrscope.training.finished import write_model
        from asrscope.training.run import changed
        from asrscope_recipe.bundle import average_with
        from asrscope_recipe.wordnet import Spoken, example_sentences

        model, processor = small_parts()
        how: dict[str, Any] = {"style": "written", "max_seconds": SMALL_SECONDS}
        sources: dict[str, Any] = {name: Corpus(name, processor.features, **how) for name in speech or []}
        if sentences:
            sources["WordNet"] = Spoken(example_sentences()[:sentences], processor.features)
        recipe = changed(RECIPES["small"], settings or [])
        pair, folder = (model, processor), cache / "small"
        done, seconds = train_pair(pair, sources, folder, recipe, warm_steps, spell_steps, start=start)
        made = folder / "model"
        if is_first():
            if average and start:
                done = average_with(start, done, average, folder / "averaged")
            write_model(pair, done, made, seconds=seconds, whole=False)
        say(f"the projector is in {made}: asrscope.load('{made}')")


@app.command()
def bridges(cache: Cache = DEFAULT_CACHE, settings: Settings = None, threads: Threads = None) -> None:
    """Train the projector of 'small' on in four ways, on what 'small' encoded; writes bridges.json."""
    with expected_errors(), processes(threads):
        from asrscope.training.batches import RECIPES
        from asrscope.training.run import changed
        from asrscope_recipe.studies import compare_bridges

        folder = cache / "small"
        recipe = changed(RECIPES["small"], ["steps=60", "evaluate_every=20", *(settings or [])])
        encodings, begin = sorted((folder / "encodings").iterdir()), folder / "warm" / "projector"
        made = compare_bridges(small_parts(), encodings, folder / "bridges", recipe, begin)
        complain(f"wrote {made}")


@app.command()
def people(
    test: Annotated[Path, typer.Argument(help="Parquet with the columns audio, text and source.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="What is measured: a name, or a folder.")
    ] = "small",
    warm: Annotated[Path | None, typer.Option(help="Folder of the projector after the warm start.")] = None,
    whisper: Annotated[
        Path | None, typer.Option(help="Folder of the whole Whisper model, with its own decoder.")
    ] = None,
    compare: Compare = None,
    recordings: Digits = None,
    synthetic: Annotated[
        Path | None, typer.Option(help="Folder of held-out sets, as 'asrscope-recipe data' makes them.")
    ] = None,
    speech: Annotated[
        list[str] | None,
        typer.Option(help="What it was trained on, as for 'small': rates by how often a word was said."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Read one row in so many.")] = 1,
    threads: Threads = None,
) -> None:
    """Measure a pair on recordings of people, beside others that hear the same, and write its model card."""
    with expected_errors(), processes(threads):
        from asrscope.loading import load
        from asrscope.loading.checkpoints import CHECKPOINTS
        from asrscope.training.corpus import Corpus
        from asrscope_recipe.card import write_model_card
        from asrscope_recipe.comparison import load_peer, systems_beside
        from asrscope_recipe.measuring import measure_people

        loaded = load(model)
        target = Path(model) if Path(model).is_dir() else CHECKPOINTS / model
        beside: dict[str, Any] = {"others": {"tiny": "tiny"}, "warm": warm, "whisper": whisper}
        peer = load_peer(compare) if compare else None
        systems = systems_beside(target.resolve().name, loaded, peer=peer, **beside)
        corpora = [Corpus(name, loaded[1].features, style="written") for name in speech or []]
        said = (corpus.text(row) for corpus in corpora for _, row in corpus.rows())
        where: dict[str, Any] = {"synthetic": synthetic, "recordings": recordings, "transcripts": said}
        metrics = measure_people(target, loaded, systems, test, every=every, **where)
        complain(f"wrote {write_model_card(target, metrics)}")


app.command()(curves)
