"""What sphinx-gallery calls: between scripts, and after each block of code."""

import random
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.io import output_notebook, reset_output
from bokeh.io.doc import set_curdoc
from bokeh.io.notebook import install_notebook_hook

from .figures import record
from .posters import draw_poster
from .records import RECORD_SUFFIX

NOTEBOOK_TYPE = "sphinx-gallery"

_shown: list[Any] = []  # what the running script has given to show() since the last block


def _load(*_args: Any) -> None:
    """Load nothing: the page brings BokehJS itself."""


def _show_doc(shown: Any, _state: Any, _notebook_handle: Any) -> None:
    _shown.extend(shown if isinstance(shown, Sequence) else [shown])


def _show_app(*_args: Any, **_kwargs: Any) -> None:
    raise ValueError("A Bokeh application needs a running server; a built page can only hold figures.")


def capture() -> None:
    """Make ``bokeh.io.show`` collect what it is given, in a document of its own."""
    _shown.clear()
    set_curdoc(Document())
    install_notebook_hook(NOTEBOOK_TYPE, _load, _show_doc, _show_app, overwrite=True)
    reset_output()
    output_notebook(hide_banner=True, notebook_type=NOTEBOOK_TYPE)


def release() -> None:
    """Give ``bokeh.io.show`` its usual meaning back."""
    reset_output()
    _shown.clear()


def take_shown() -> list[Any]:
    """Return what was shown since the last call, in order."""
    taken = list(_shown)
    _shown.clear()
    return taken


def reset(_gallery_conf: dict[str, Any], _fname: str | None, when: str) -> None:
    """Start every script with an empty document and the same random numbers (``reset_modules``)."""
    if when == "before":
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - scripts may use the global generator
        capture()
    else:
        release()


def scrape(_block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Write the figures of one block of code beside its images and return the rST that embeds them.

    Parameters
    ----------
    _block : tuple
        The block of code; not needed.
    block_vars : dict
        Holds ``image_path_iterator``, which says where pictures go.
    gallery_conf : dict
        The configuration of sphinx-gallery; ``src_dir`` is read.

    Returns
    -------
    str
        One ``bokeh-figure`` directive a figure, or the empty string.
    """
    rst = []
    for model, image_path in zip(take_shown(), block_vars["image_path_iterator"], strict=False):
        poster = Path(image_path)
        figure = record(model)
        path = poster.with_name(poster.stem + RECORD_SUFFIX)
        figure.save(path)
        draw_poster(figure, model, poster)
        source = PurePosixPath(path.relative_to(gallery_conf["src_dir"]).as_posix())
        rst.append(f"\n.. bokeh-figure:: /{source}\n")
    return "\n".join(rst)
