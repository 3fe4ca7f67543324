"""Options that several commands have."""

from typing import Annotated, Any

import typer

__all__ = ["AsJson", "Beams", "DeviceMap", "Model", "Projector", "Quantize", "TracedModel", "given"]

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="ASRSCOPE_MODEL",
        help="'tiny' (bundled), 'full', or a folder with a saved model.",
    ),
]
# The environment names these too; asrscope.loading.presets reads it, for programs as well as for commands.
Projector = Annotated[
    str | None,
    typer.Option(help="With 'full': file, folder or repository of a projector. Or ASRSCOPE_PROJECTOR."),
]
Quantize = Annotated[
    str | None,
    typer.Option(help="With 'full': the decoder in fewer bits, 'int8' or 'int4'. Or ASRSCOPE_QUANTIZE."),
]
DeviceMap = Annotated[
    str | None,
    typer.Option(help="Where a large model goes, 'cuda' or 'auto'. Or, of 'full', ASRSCOPE_DEVICE_MAP."),
]
TracedModel = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="ASRSCOPE_MODEL",
        help="'tiny' (bundled), 'full', a folder with a saved model, or a folder or Hub repository with a "
        "speech-language model of transformers (Voxtral, GLM-ASR, Audio Flamingo 3, Qwen2-Audio, Granite).",
    ),
]
Beams = Annotated[int, typer.Option("--beams", min=1, help="Beams of the search; 1 is greedy.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]


def given(**options: str | None) -> dict[str, Any]:
    """Keep the options that were given."""
    return {name: value for name, value in options.items() if value is not None}
