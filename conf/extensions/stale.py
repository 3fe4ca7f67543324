"""What a build may keep from the one before it, and what it must make again.

sphinx-gallery runs a script again only if the script itself has changed. Figures and numbers also depend on
the package, its weights, the extensions that capture them, the libraries that compute and draw, and what the
environment asks for. When the files below ``stale_sources``, the versions of ``stale_packages`` or variables
of the environment whose names begin as ``stale_variables`` says change, every script runs again, and every
page is read again. A script also runs again if the last build saw another one under its name, whatever came
of it, or if something that was made of it is gone.

What the gallery made of a script is deleted before the script runs again, and when it is gone or has another
name: it would stay in the site and in its archives. The pages that autosummary writes into the folder
``stale_reference`` are kept, so that nothing is imported, until one of the sources or the page ``index``
there changes; then all are written anew.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sphinx.errors import ConfigError
from sphinx.util import logging

logger = logging.getLogger(__name__)

IGNORED_PARTS = {"__pycache__", ".ipynb_checkpoints"}
RECORD = ".sources.sha256"  # beside generated pages
PICTURE = re.compile(r"(?<=/)images/sphx_glr_[^\s,]+")  # in a generated page: what a script drew


def hash_of(places: Sequence[Path]) -> str:
    """Return one hash over the names and contents of some files, and of all files below some folders."""
    digest = hashlib.sha256()
    for folder in places:
        for path in sorted(folder.rglob("*")) or [folder]:
            if path.is_file() and not IGNORED_PARTS & set(path.parts):
                digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def state_of(app: Any) -> str:
    """Return a hash over all that results depend on."""
    prefixes = tuple(app.config.stale_variables)
    parts = [hash_of([Path(app.confdir, folder).resolve() for folder in app.config.stale_sources])]
    parts += [f"{name} {version(name)}" for name in sorted(app.config.stale_packages)]
    parts += [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(prefixes)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def computed(
    site: Any, name: str, compute: Callable[[], Any], *, files: Sequence[Path] = (), also: Sequence[Path] = ()
) -> Any:
    """Return what is computed, in terms of JSON, or what an earlier build made of the same sources.

    The site is Sphinx, or its environment. Files and folders of ``also`` are sources too, and ``files`` are
    written by the way: what was made is kept only while they are there. Without a state, nothing is kept.
    """
    state = getattr(site.config, "stale_state", "")
    record, key = Path(site.doctreedir, f"{name}.json"), f"{state} {hash_of(also)}"
    if state and record.is_file() and all(file.is_file() for file in files):
        kept = json.loads(record.read_text(encoding="utf-8"))
        if kept["state"] == key:
            return kept["value"]
    value = compute()
    record.write_text(json.dumps({"state": key, "value": value}), encoding="utf-8")
    return value


def galleries(app: Any) -> dict[Path, Path]:
    """Return the folders of scripts, and for each of them the folder of generated pages."""
    conf = app.config.sphinx_gallery_conf
    pairs = zip(conf["examples_dirs"], conf["gallery_dirs"], strict=True)
    return {Path(app.srcdir, scripts): Path(app.srcdir, gallery) for scripts, gallery in pairs}


def renew(folder: Path, state: str) -> bool:
    """Note the state beside generated pages, and return whether it is another one than theirs."""
    record = folder / RECORD
    if record.is_file() and record.read_text(encoding="ascii") == state:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    record.write_text(state, encoding="ascii")
    return True


def kept(script: Path, copy: Path) -> bool:
    """Say whether the last build ran this very script, and all that it made of it is still there."""
    page, thumbs = copy.with_suffix(".rst"), copy.parent.glob(f"images/thumb/sphx_glr_{copy.stem}_thumb.*")
    if not (script.is_file() and page.is_file() and script.read_bytes() == copy.read_bytes() and any(thumbs)):
        return False
    pictures = [copy.parent / name for name in PICTURE.findall(page.read_text(encoding="utf-8"))]
    stills = [path.with_name(path.name.replace(".bokeh.json", ".png")) for path in pictures]
    downloads = [page.with_suffix(suffix) for suffix in (".ipynb", ".zip")]
    return all(path.is_file() for path in (*pictures, *stills, *downloads))


def clean(app: Any, _config: Any) -> None:
    """Prepare the folders of generated pages for sphinx-gallery and autosummary."""
    # In the environment: another value means that all pages are read again.
    app.config.stale_state = app.config.bokeh_gallery_state = state = state_of(app)
    try:
        for scripts, gallery in galleries(app).items():
            everything = renew(gallery, state)
            for copy in gallery.glob("*.py"):
                if everything or not kept(scripts / copy.name, copy):
                    logger.info("stale: what was made of %s is deleted", copy.name)
                    pictures = gallery.glob(f"images/**/sphx_glr_{copy.stem}_[0-9t]*")
                    for path in (*gallery.glob(f"{copy.stem}.*"), *pictures):
                        path.unlink()
        if app.config.stale_reference:
            folder = Path(app.srcdir, app.config.stale_reference)
            if renew(folder, f"{state} {hash_of([folder / 'index.md'])}"):
                for page in folder.glob("*.rst"):
                    page.unlink()
            else:  # only while autosummary asks: as a changed setting, it would have all pages read again
                app.connect("builder-inited", partial(generate, whether=False), priority=400)
                app.connect("builder-inited", partial(generate, whether=True), priority=600)
    except OSError as error:
        places = ", ".join(map(str, galleries(app).values()))
        raise ConfigError(
            f"The gallery's pages are made beside its sources, in {places}, which cannot be written: {error}."
            " Build in a copy that belongs to you."
        ) from error


def generate(app: Any, whether: bool) -> None:
    """Let autosummary write pages, or not."""
    app.config.autosummary_generate = whether


def setup(app: Any) -> dict[str, Any]:
    """Look at the sources before sphinx-gallery does its work."""
    for name in ("stale_sources", "stale_packages", "stale_variables"):
        app.add_config_value(name, [], "", list)
    app.add_config_value("stale_reference", "", "", str)
    app.add_config_value("stale_state", "", "env", str)
    app.connect("config-inited", clean, priority=100)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
