"""Options that several commands have."""

from typing import Annotated

import typer

__all__ = ["AsJson", "Beams", "Model"]

Model = Annotated[
    str, typer.Option("--model", "-m", help="'tiny' (bundled), 'full', or a folder with a saved model.")
]
Beams = Annotated[int, typer.Option("--beams", min=1, help="Beams of the search; 1 is greedy.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON object.")]
