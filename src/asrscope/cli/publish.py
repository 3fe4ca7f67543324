"""``asrscope publish``: put a model on the Hugging Face Hub, or look first at what would be put there."""

from pathlib import Path
from typing import Annotated, Any

import typer

from asrscope.cli.console import complain, expected_errors
from asrscope.cli.options import Model, Projector, given

__all__ = ["publish"]


def publish(
    repository: Annotated[str, typer.Argument(help="Where to publish: OWNER/NAME.")],
    model: Model = "tiny",
    projector: Projector = None,
    only_projector: Annotated[
        bool,
        typer.Option("--only-projector", help="Without encoder and decoder, which are named instead."),
    ] = False,
    license_name: Annotated[
        str | None, typer.Option("--license", help="As the Hub names it: mit, apache-2.0, ...")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="en, for example. May be given several times.")
    ] = None,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a new repository.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Only write what would be published into this folder.")
    ] = None,
) -> None:
    """Publish a model on the Hugging Face Hub, with a card written from it; first: hf auth login."""
    with expected_errors():
        if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"{folder}: expected a new or empty folder, but found files in it")

        from asrscope.loading.presets import load

        loaded, processor = load(model, **given(projector=projector))
        options: dict[str, Any] = {
            "processor": processor,
            "only_projector": only_projector,
            "license": license_name,
            "language": language,
        }
        if folder is not None:
            from asrscope.loading.publishing import write_folder

            write_folder(loaded, folder, repository=repository, **options)
            complain(f"wrote {folder}")
        else:
            print(loaded.push_to_hub(repository, private=private, **options))
