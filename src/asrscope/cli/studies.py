"""More of ``asrscope train``: what the gallery's pages about training a projector stand on."""

from pathlib import Path
from typing import Annotated

import typer

from asrscope.cli.console import complain, expected_errors
from asrscope.cli.following import counted, followed
from asrscope.cli.train import DEFAULT_CACHE, Cache, Compile, Precision, Settings, Threads, app

__all__ = ["app"]


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

        from asrscope.training.options import Options
        from asrscope.training.plan import changed
        from asrscope.training.studies import Study, StudyPlan

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
        from asrscope.data.lesson import make_lesson

        complain(f"wrote {make_lesson(folder)}")
