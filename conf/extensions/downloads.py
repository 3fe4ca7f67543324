"""What readers download from the gallery: notebooks in plain words, and archives that are the same each time.

Nothing resolves roles in a notebook. Archives of sphinx-gallery hold the times of files, and so would differ
in two builds of the same sources.
"""

import io
import os
import re
import time
import zipfile
from pathlib import Path
from typing import Any

from sphinx_gallery import notebook

convert = notebook.rst2md
EARLIEST = "315532800"  # 1980, the first year that an archive can state
ROLE = re.compile(r":(?:ref|doc|term|class|func):`([^`<]+?)(?:\s*<[^`>]*>)?`")


def plain(text: str) -> str:
    """Replace each role by its title, set in italics.

    Parameters
    ----------
    text : str
        Text of a gallery script, in reStructuredText.

    Returns
    -------
    str
        The same without roles.
    """
    return ROLE.sub(r"*\1*", text)


def rst2md(text: str, *rest: Any) -> str:
    """Convert text without roles to Markdown."""
    return convert(plain(text), *rest)


def repack(path: Path) -> None:
    """Write an archive again, with its files in order of name and with the time that the build states.

    It is as old as the newest file in it: sphinx-gallery makes it in each build, and Sphinx would read the
    pages again that give it away.
    """
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", EARLIEST)))[:6]
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in sorted(archive.namelist())}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            info = zipfile.ZipInfo(name, moment)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    path.write_bytes(packed.getvalue())
    if times := [file.stat().st_mtime_ns for name in contents if (file := path.parent / name).is_file()]:
        os.utime(path, ns=(max(times), max(times)))


def repack_gallery(app: Any) -> None:
    """Repack all archives of the gallery, when sphinx-gallery has written them."""
    for folder in app.config.sphinx_gallery_conf["gallery_dirs"]:
        for path in (Path(app.srcdir) / folder).rglob("*.zip"):
            repack(path)


def setup(app: Any) -> dict[str, Any]:
    """Put `plain` in front of the conversion to Markdown, which has no hook, and repack what was written."""
    notebook.rst2md = rst2md
    app.connect("builder-inited", repack_gallery, priority=900)  # after sphinx-gallery
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
