"""Make two builds of the same sources the same bytes.

Archives that sphinx-gallery packs hold the times of their files; they are packed again with one fixed time.
"""

import os
import time
import zipfile
from pathlib import Path
from typing import Any

EARLIEST = "315532800"  # 1980, the first year that an archive can state


def repack(path: Path, moment: tuple[int, int, int, int, int, int]) -> None:
    """Write an archive again, with its files in order of name and with one time.

    Parameters
    ----------
    path : pathlib.Path
        A zip file; it is replaced.
    moment : tuple of int
        Year, month, day, hour, minute, second.
    """
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in sorted(archive.namelist())}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            info = zipfile.ZipInfo(name, moment)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def repack_gallery(app: Any) -> None:
    """Repack all archives of the gallery, when sphinx-gallery has written them."""
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", EARLIEST)))[:6]
    gallery_dirs = app.config.sphinx_gallery_conf["gallery_dirs"]
    for name in [gallery_dirs] if isinstance(gallery_dirs, str) else gallery_dirs:
        for path in (Path(app.srcdir) / name).rglob("*.zip"):
            repack(path, moment)


def setup(app: Any) -> dict[str, Any]:
    """Run after sphinx-gallery."""
    app.connect("builder-inited", repack_gallery, priority=900)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
