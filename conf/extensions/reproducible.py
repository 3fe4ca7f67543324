"""Make two builds of the same sources the same bytes, and say where two builds differ.

    python conf/extensions/reproducible.py FIRST SECOND

lists the differences of two folders. Archives that sphinx-gallery packs hold the times of their files; they
are packed again with one fixed time.
"""

import io
import os
import sys
import time
import zipfile
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

EARLIEST = "315532800"  # 1980, the first year that an archive can state
SHOWN = 60  # characters of a line, around the place where it differs


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


def differences(first: Path, second: Path) -> list[str]:
    """Compare two folders byte by byte.

    Parameters
    ----------
    first, second : pathlib.Path
        Two builds of a site.

    Returns
    -------
    list of str
        One line for each file that is in one of them only or differs, with the first difference in it; empty
        if the folders are equal.
    """
    names = [
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        for folder in (first, second)
    ]
    found = [f"{name}: only in {first}" for name in sorted(names[0] - names[1])]
    found += [f"{name}: only in {second}" for name in sorted(names[1] - names[0])]
    for name in sorted(names[0] & names[1]):
        contents = [(folder / name).read_bytes() for folder in (first, second)]
        if contents[0] != contents[1]:
            found.append(f"{name}: {_difference(name, *contents)}")
    return found


def _difference(name: str, first: bytes, second: bytes) -> str:
    """Describe the first difference of two files of one name."""
    if name.endswith(".zip"):
        archives = [zipfile.ZipFile(io.BytesIO(data)) for data in (first, second)]
        members = [{info.filename: archive.read(info) for info in archive.infolist()} for archive in archives]
        differing = sorted(
            key for key in members[0].keys() | members[1] if members[0].get(key) != members[1].get(key)
        )
        return f"differs in {', '.join(differing) or 'its own times or order'}"
    try:
        lines = [data.decode().splitlines() for data in (first, second)]
    except UnicodeDecodeError:
        return f"{len(first)} and {len(second)} bytes, equal up to byte {_alike(first, second)}"
    for number, (one, other) in enumerate(zip_longest(*lines, fillvalue=""), start=1):
        if one != other:
            start = max(0, _alike(one, other) - SHOWN // 2)
            return f"line {number}, {one[start : start + SHOWN]!r} and {other[start : start + SHOWN]!r}"
    return "only the ends of lines differ"


def _alike(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Return how many entries are equal before the first that is not."""
    different = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(different, min(len(first), len(second)))


def main(first: str, second: str) -> int:
    """Print the differences of two folders; the status is 1 if there are any."""
    count = sum(path.is_file() for path in Path(first).rglob("*"))
    if count == 0:
        raise FileNotFoundError(f"Expected a built site in {first}, but found no files. Build it first.")
    found = differences(Path(first), Path(second))
    print(*found, sep="\n", end="\n" if found else "")
    print(
        f"{len(found)} of {count} files differ." if found else f"All {count} files are equal, byte for byte."
    )
    return 1 if found else 0


def setup(app: Any) -> dict[str, Any]:
    """Run after sphinx-gallery."""
    app.connect("builder-inited", repack_gallery, priority=900)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
