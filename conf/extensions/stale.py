"""What a build may keep from the one before it, and what it must make again.

sphinx-gallery runs a script again only if the script itself has changed. Figures and numbers also depend on
the package, its weights, the extensions that capture them, the libraries that compute and draw, and what the
environment asks for. When the files below ``stale_sources``, the versions of ``stale_packages`` or variables
of the environment whose names begin as ``stale_variables`` says change, the checksums of the gallery are
dropped, so that every script runs again, and every page is read again.

What the gallery made of a script that is gone, or has another name now, is deleted: it would stay in the site
and in its archives.
"""

import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sphinx.util import logging

logger = logging.getLogger(__name__)

IGNORED_PARTS = {"__pycache__", ".ipynb_checkpoints"}
RECORD = ".sources.sha256"  # beside the generated gallery pages


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
    """Drop the gallery's checksums if the sources are not those of the last build."""
    confdir = Path(app.confdir)
    versions = "".join(f"{name} {version(name)}\n" for name in sorted(app.config.stale_packages))
    files = hash_of([(confdir / folder).resolve() for folder in app.config.stale_sources])
    prefixes = tuple(app.config.stale_variables)
    wanted = "".join(
        f"{name}={os.environ[name]}\n" for name in sorted(os.environ) if name.startswith(prefixes)
    )
    now = hashlib.sha256((files + versions + wanted).encode()).hexdigest()
    app.config.stale_state = now  # in the environment: another value means that all pages are read again
    for gallery in galleries(app).values():
        record = gallery / RECORD
        if record.is_file() and record.read_text(encoding="ascii") == now:
            continue
        checksums = list(gallery.rglob("*.md5"))
        for path in checksums:
            path.unlink()
        if checksums:
            logger.info("stale: the package has changed; %d gallery pages run again", len(checksums))
        gallery.mkdir(parents=True, exist_ok=True)
        record.write_text(now, encoding="ascii")


def setup(app: Any) -> dict[str, Any]:
    """Look at the sources before sphinx-gallery does its work."""
    app.add_config_value("stale_sources", [], "", list)
    app.add_config_value("stale_packages", [], "", list)
    app.add_config_value("stale_variables", [], "", list)
    app.add_config_value("stale_state", "", "env", str)
    app.connect("config-inited", lambda app, _config: delete_orphans(app), priority=100)
    app.connect("config-inited", lambda app, _config: drop_stale_results(app), priority=100)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
