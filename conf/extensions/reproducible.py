"""Make two builds of the same sources the same bytes: archives of sphinx-gallery hold the times of files."""

import io
import os
import time
import zipfile
from pathlib import Path
from typing import Any

EARLIEST = "315532800"  # 1980, the first year that an archive can state


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
    """Run after sphinx-gallery."""
    app.connect("builder-inited", repack_gallery, priority=900)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
