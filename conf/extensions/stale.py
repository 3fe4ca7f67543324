"""What a build may keep from the one before it, and what it must make again.

sphinx-gallery runs a script again only if the script itself has changed. Figures and numbers also depend on
the package, its weights, the extensions that capture them, the libraries that compute and draw, and what the
environment asks for. When the files below ``stale_sources``, the versions of ``stale_packages`` or variables
of the environment whose names begin as ``stale_variables`` says change, the checksums of the gallery are
dropped, so that every script runs again, and every page is read again. A script also runs again if the last
build saw another one under its name, whatever came of it, or if something that was made of it is gone.

What the gallery made of a script that is gone, or has another name now, is deleted: it would stay in the site
and in its archives.
"""

import hashlib
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sphinx.errors import ConfigError
from sphinx.util import logging

logger = logging.getLogger(__name__)

IGNORED_PARTS = {"__pycache__", ".ipynb_checkpoints"}
RECORD = ".sources.sha256"  # beside the generated gallery pages
PICTURE = re.compile(r"(?<=/)images/sphx_glr_[^\s,]+")  # in a generated page: what a script drew


def hash_of(folders: list[Path]) -> str:
    """Return one hash over the names and contents of all files below some folders.

    Parameters
    ----------
    folders : list of pathlib.Path
        Where to look; a folder that does not exist counts as empty.

    Returns
    -------
    str
        SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not IGNORED_PARTS & set(path.parts):
                digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def galleries(app: Any) -> dict[Path, Path]:
    """Return the folders of scripts, and for each of them the folder of generated pages."""
    conf = app.config.sphinx_gallery_conf
    folders = [
        [conf[key]] if isinstance(conf[key], str) else conf[key] for key in ("examples_dirs", "gallery_dirs")
    ]
    return {Path(app.srcdir, one): Path(app.srcdir, other) for one, other in zip(*folders, strict=True)}


def kept(script: Path, gallery: Path) -> bool:
    """Say whether the last build ran this very script, and all that it made of it is still there."""
    copy, page = gallery / script.name, gallery / f"{script.stem}.rst"
    if not (copy.is_file() and page.is_file() and copy.read_text("utf-8") == script.read_text("utf-8")):
        return False
    pictures = [gallery / name for name in PICTURE.findall(page.read_text("utf-8"))]
    stills = [path.with_name(path.name.replace(".bokeh.json", ".png")) for path in pictures]
    thumbs = [*gallery.glob(f"images/thumb/sphx_glr_{script.stem}_thumb.*")]
    downloads = [page.with_suffix(suffix) for suffix in (".ipynb", ".zip")]
    return bool(thumbs) and all(path.is_file() for path in (*pictures, *stills, *downloads))


def delete_orphans(app: Any) -> None:
    """Delete what the gallery made of scripts that are gone."""
    for scripts, gallery in galleries(app).items():
        for copy in gallery.glob("*.py"):
            if not (scripts / copy.name).is_file():
                logger.info("stale: %s is gone; its pages are deleted", copy.name)
                made = [*gallery.glob(f"{copy.stem}.*"), *gallery.glob(f"images/**/sphx_glr_{copy.stem}_*")]
                for path in made:
                    path.unlink()


def drop_stale_results(app: Any) -> None:
    """Drop checksums: all if the sources are not those of the last build, or those of single scripts.

    A script that fails is left without a checksum of its own, but one from an earlier build would count again
    as soon as the script is what it was then. So the checksum goes before a changed script runs.
    """
    confdir = Path(app.confdir)
    versions = "".join(f"{name} {version(name)}\n" for name in sorted(app.config.stale_packages))
    files = hash_of([(confdir / folder).resolve() for folder in app.config.stale_sources])
    prefixes = tuple(app.config.stale_variables)
    wanted = "".join(
        f"{name}={os.environ[name]}\n" for name in sorted(os.environ) if name.startswith(prefixes)
    )
    now = hashlib.sha256((files + versions + wanted).encode()).hexdigest()
    app.config.stale_state = now  # in the environment: another value means that all pages are read again
    for scripts, gallery in galleries(app).items():
        record = gallery / RECORD
        fresh = record.is_file() and record.read_text(encoding="ascii") == now
        checksums = [
            path
            for path in gallery.glob("*.md5")
            if not (fresh and kept(scripts / path.stem, gallery))  # "10_one.py.md5" without its last ending
        ]
        for path in checksums:
            path.unlink()
        if checksums:
            logger.info("stale: %d gallery pages run again", len(checksums))
        gallery.mkdir(parents=True, exist_ok=True)
        if not fresh:
            record.write_text(now, encoding="ascii")


def clean(app: Any, _config: Any) -> None:
    """Prepare the folders of generated pages for sphinx-gallery."""
    try:
        delete_orphans(app)
        drop_stale_results(app)
    except OSError as error:
        places = ", ".join(map(str, galleries(app).values()))
        raise ConfigError(
            f"The gallery's pages are made beside its sources, in {places}, which cannot be written: {error}."
            " Build in a copy that belongs to you."
        ) from error


def setup(app: Any) -> dict[str, Any]:
    """Look at the sources before sphinx-gallery does its work."""
    app.add_config_value("stale_sources", [], "", list)
    app.add_config_value("stale_packages", [], "", list)
    app.add_config_value("stale_variables", [], "", list)
    app.add_config_value("stale_state", "", "env", str)
    app.connect("config-inited", clean, priority=100)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
