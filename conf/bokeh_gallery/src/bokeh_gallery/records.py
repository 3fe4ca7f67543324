"""A figure as a plain record: what a page needs to draw and to describe it.

Nothing here imports Bokeh's models, which takes a second: a build without figures to make does without it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RECORD_SUFFIX = ".bokeh.json"


@dataclass(frozen=True)
class FigureRecord:
    """One shown Bokeh model, ready to be embedded.

    Parameters
    ----------
    title : str
        Name of the figure, for people who do not see it and for its poster.
    description : str
        Text alternative, a sentence or more.
    height : int
        Height that the page keeps free until the figure is drawn, in pixels.
    bundles : tuple of str
        Parts of BokehJS that the figure needs beside its core, such as ``"bokeh-widgets"``.
    item : dict
        What ``bokeh.embed.json_item`` gives, with renumbered models.
    """

    title: str
    description: str
    height: int
    bundles: tuple[str, ...]
    item: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the record as JSON; keys keep their order, because Bokeh's format depends on it."""
        path.write_text(json.dumps(asdict(self), separators=(",", ":")), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "FigureRecord":
        """Read a record that `save` wrote."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**fields, "bundles": tuple(fields["bundles"])})
