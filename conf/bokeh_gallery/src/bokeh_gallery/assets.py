"""Files that pages need beside themselves: the page script with its style sheet, and BokehJS."""

import hashlib
import shutil
from pathlib import Path

import bokeh
from bokeh.util.paths import bokehjs_path

STATIC = Path(__file__).parent / "static"  # joins the site's _static
STATIC_FOLDER = "bokeh-gallery"  # in it, and below _static


def bokehjs_file(name: str) -> Path:
    """Return the path of a part of BokehJS in the installed package, for example ``bokeh-widgets``."""
    path = Path(bokehjs_path(), "js", f"{name}.min.js")
    if not path.is_file():
        raise FileNotFoundError(f"Bokeh {bokeh.__version__} has no file {path.name} in {path.parent}.")
    return path


def install_bokehjs(static_folder: Path, bundles: set[str]) -> None:
    """Copy the needed parts of BokehJS to the site; a new version of Bokeh gives them new names.

    Parameters
    ----------
    static_folder : pathlib.Path
        The site's ``_static``.
    bundles : set of str
        Parts of BokehJS beside the core.
    """
    target = static_folder / STATIC_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for name in ("bokeh", *sorted(bundles)):
        shutil.copyfile(bokehjs_file(name), target / f"{name}-{bokeh.__version__}.min.js")


def content_name(stem: str, data: bytes, suffix: str) -> str:
    """Return a file name that changes with the content, so that no browser shows an outdated figure."""
    return f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}{suffix}"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in one step: whoever finds it after a build that was stopped finds all of it."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(data)
    partial.replace(path)
