"""How long each page takes to build, written beside the doctrees and never into the site.

    python conf/extensions/page_times.py build/doctrees

prints the table. A page of the gallery takes the time of its script and of reading what that wrote; any other
page takes the time of its reading, in which the code of lectures runs.
"""

import json
import sys
import time
from pathlib import Path, PurePath
from typing import Any
from xml.etree import ElementTree as ET

RECORD = "page-times.json"
SCRIPTS = "gallery-times.xml"  # written by sphinx-gallery
AIM = 600.0  # seconds, for all pages together on two cores
LISTED = 1.0  # seconds: pages that take less share a line

Times = dict[str, dict[str, Any]]


def table(pages: Times) -> str:
    """Return the pages with their seconds, the slowest first, and the sum beside the aim.

    Parameters
    ----------
    pages : dict
        For each page the seconds of its ``script`` and of its ``reading``, and ``now``: whether the last
        build measured them.

    Returns
    -------
    str
        Lines for a terminal.
    """
    seconds = {name: page["script"] + page["reading"] for name, page in pages.items()}
    slowest = sorted(seconds, key=lambda name: (-seconds[name], name))
    listed = [name for name in slowest if seconds[name] >= LISTED]
    short = [seconds[name] for name in slowest[len(listed) :]]
    lines = ["Seconds that each page took to build:"]
    lines += [f"{seconds[name]:8.1f}  {name}{'' if pages[name]['now'] else ' *'}" for name in listed]
    lines.append(f"{sum(short):8.1f}  {len(short)} pages of less than {LISTED:g} s each")
    total = sum(seconds.values())
    lines.append(f"{total:8.1f}  in all, {'within' if total <= AIM else 'ABOVE'} the aim of {AIM:.0f} s")
    if not all(pages[name]["now"] for name in listed):
        lines.append("       *  not built this time: what it took when it was")
    return "\n".join(lines)


def script_times(path: Path, folder: str) -> dict[str, float]:
    """Return the seconds of each script that ran, by its page, from what sphinx-gallery wrote."""
    if not path.is_file():
        return {}
    cases = ET.parse(path).getroot().iter("testcase")
    return {f"{folder}/{PurePath(case.attrib['file']).stem}": float(case.attrib["time"]) for case in cases}


def ask_for_script_times(app: Any) -> None:
    """Let sphinx-gallery write down the time of each script, beside the doctrees.

    This is late enough: the builder has hashed the configuration, so the path does not get into the site.
    """
    path = Path(app.doctreedir) / SCRIPTS
    path.unlink(missing_ok=True)
    app.config.sphinx_gallery_conf["junit"] = str(path)
    app.env.page_times = {}


def begin(app: Any, docname: str, _content: list[str]) -> None:
    """Note when the reading of a page begins."""
    app.env.page_times[docname] = -time.perf_counter()


def end(app: Any, _doctree: Any) -> None:
    """Note how long it took."""
    app.env.page_times[app.env.docname] += time.perf_counter()


def merge(_app: Any, env: Any, docnames: set[str], other: Any) -> None:
    """Take over what another process read."""
    env.page_times.update({name: other.page_times[name] for name in docnames})


def write(app: Any, error: Exception | None) -> None:
    """Write down what this build measured, and keep what earlier ones did of pages that have not changed."""
    if error:
        return
    record = Path(app.doctreedir) / RECORD
    earlier: Times = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    gallery_dirs = app.config.sphinx_gallery_conf["gallery_dirs"]
    folder = gallery_dirs if isinstance(gallery_dirs, str) else gallery_dirs[0]
    scripts = script_times(Path(app.doctreedir) / SCRIPTS, folder)
    pages: Times = {}
    for name in sorted(app.env.found_docs):
        page = earlier.get(name, {"script": 0.0, "reading": 0.0})
        pages[name] = {
            "script": scripts.get(name, page["script"]),
            "reading": app.env.page_times.get(name, page["reading"]),
            "now": name in scripts or name in app.env.page_times,
        }
    record.write_text(json.dumps(pages, indent=1), encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Measure before and after everything else that reads."""
    app.connect("builder-inited", ask_for_script_times, priority=50)
    app.connect("source-read", begin, priority=1)
    app.connect("doctree-read", end, priority=999)
    app.connect("env-merge-info", merge)
    app.connect("build-finished", write)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1], RECORD).read_text(encoding="utf-8"))))
