"""Bring together what the tests counted and what other programs say of the site: a table, and a record of it.

``python tests/audit/collect.py COUNTS SITE DIST RECORD [NODE_MODULES] [SECONDS]``
"""

import csv
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from markup import check  # noqa: E402
from pages import find_chromium, find_firefox  # noqa: E402
from scores import WANTED, scores  # noqa: E402

WEIGHTS = ROOT / "src" / "asrscope" / "data" / "checkpoints" / "tiny" / "model.safetensors"

NUMBER = re.compile(r"[\d,]+(\.\d+)?")

# By the beginning of a name, the longest first: what it counts.
SOURCES = {
    "bad_audio_kinds": "kinds of bad or odd audio, and how they ended",
    "bad_audio_memory": "loads whose memory was watched; times: most of it, divided by the samples'",
    "bad_audio_mutations": "audio files damaged with a seed, and how loading them ended",
    "bad_checkpoints": "ways in which a saved model was damaged",
    "bad_configurations": "configurations with one value out of place, and how loading ended",
    "bad_traces": "saved traces damaged with a seed, and how reading them ended",
    "killed_trainings": "training runs killed at any moment and taken up again",
    "axe": "pages and views that axe-core looked at, and the barriers it found",
    "journeys": "whole visits in a browser, each in circumstances of its own",
    "csp": "pages attacked in a browser, from a server and the disk, and attacks that their policy stopped",
    "live": "measures of the page Live; at_least: sentences a second while a sound is changed",
    "search": "questions that learners type, and how many led to the right page",
    "xss": "hostile texts that were put into a report, and what they did in a browser",
    "site.build_seconds": "seconds that a build of the site took on the machine of the record",
    "site": "the built site",
    "downloads.sha256": "SHA-256 of the list of SHA-256 sums of all downloads, by name",
    "downloads": "scripts, notebooks and archives on the site",
    "weights": "the bundled weights",
    "wheel": "the wheel, which holds the weights",
    "sdist": "the source distribution",
    "lighthouse.desktop": "lowest of Lighthouse's scores, out of 100, on a desktop",
    "lighthouse.mobile": "lowest of Lighthouse's scores, out of 100, on a simulated phone",
    "vnu.own": "complaints of the Nu HTML checker about this project's markup",
    "vnu.upstream": "complaints about markup of Sphinx, its theme and extensions",
    "vnu": "messages of the Nu HTML checker over all pages",
}


def source_of(name: str) -> str:
    """Return what an entry counts."""
    starts = (start for start in SOURCES if name == start or name.startswith((f"{start}.", f"{start}_")))
    return SOURCES[next(starts)]


def read(record: Path) -> dict[str, Any]:
    """Return what the record says was found, by name; numbers are numbers again."""
    with record.open(encoding="utf-8", newline="") as file:
        found = {row["name"]: row["found"] for row in csv.DictReader(file)}
    numbers = {name: text.replace(",", "") for name, text in found.items() if NUMBER.fullmatch(text)}
    return found | {name: float(text) for name, text in numbers.items()}


def counted(folder: Path) -> dict[str, Any]:
    """Return what tests recorded: of a name with cases, their number, sums, and the largest measure."""
    entries: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        value = json.loads(path.read_text(encoding="utf-8"))
        values = value if isinstance(value, dict) else {"": value}
        for key, each in values.items():
            if not isinstance(each, int | float):
                continue
            # "bad_audio_kinds" with "kinds" is named once.
            entries[path.stem if not key or path.stem.endswith(f"_{key}") else f"{path.stem}.{key}"] = each
    for cases in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(cases.glob("*.json"))]
        entries[cases.name] = len(found)
        for key in sorted({key for each in found if isinstance(each, dict) for key in each}):
            numbers = [each[key] for each in found if key in each]
            whole = all(isinstance(number, int) for number in numbers)
            entries[f"{cases.name}.{key}"] = sum(numbers) if whole else max(numbers)
    return {name.replace(" ", "_"): value for name, value in entries.items()}


def text(value: Any) -> str:
    """Write a count as a page does: ``20,154,537``."""
    return f"{value:,}" if isinstance(value, int) else str(value)


def size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_site(site: Path, dist: Path) -> dict[str, Any]:
    """Return sizes and hashes of what is given away."""
    entries: dict[str, Any] = {
        "site.pages": len(list(site.rglob("*.html"))),
        "site.files": sum(path.is_file() for path in site.rglob("*")),
        "site.bytes": size(site, "*"),
        "weights.bytes": WEIGHTS.stat().st_size,
        "weights.sha256": sha256(WEIGHTS),
    }
    downloads = sorted(path for path in (site / "_downloads").rglob("*") if path.is_file())
    together = "".join(f"{sha256(path)}  {path.relative_to(site).as_posix()}\n" for path in downloads)
    entries["downloads.files"] = len(downloads)
    entries["downloads.sha256"] = hashlib.sha256(together.encode()).hexdigest()
    for name, pattern in (("wheel", "*.whl"), ("sdist", "*.tar.gz")):
        entries |= {f"{name}.bytes": path.stat().st_size for path in dist.glob(pattern)}
    return entries


def told(program: str) -> str:
    """Return the version that a browser tells."""
    lines = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return next(word for word in lines if word[0].isdigit())


def main(counts: Path, site: Path, dist: Path, record: Path, modules: Path | None, seconds: str) -> int:
    """Write the record, print the table, and return how much is not as it should be."""
    entries = {**counted(counts), **of_site(site, dist)}
    wrong: list[str] = []
    chromium, firefox = find_chromium(), find_firefox()
    versions = {"python": platform.python_version(), "axe": "in axe-playwright-python "}
    versions |= {name: importlib.metadata.version(name) for name in ("sphinx", "torch", "transformers")}
    versions["axe"] += importlib.metadata.version("axe-playwright-python")
    versions |= {name: told(path) for name, path in (("chromium", chromium), ("firefox", firefox)) if path}
    if seconds:
        entries["site.build_seconds"] = round(float(seconds))
    if modules is not None and chromium is not None:
        versions["lighthouse"], seen = scores(modules / ".bin" / "lighthouse", chromium, site)
        for form, pages in seen.items():
            for name in next(iter(pages.values())):
                lowest = min(page[name] for page in pages.values())
                entries[f"lighthouse.{form}.{name}"] = lowest
                if form == "desktop" and lowest < WANTED:
                    wrong.append(f"Lighthouse, {form}: {name} is {lowest} on a page, not {WANTED}: {pages}")
            entries[f"lighthouse.{form}.pages"] = len(pages)
    if modules is not None and shutil.which("java"):
        found = check(modules / "vnu-jar" / "build" / "dist" / "vnu.jar", site)
        package = json.loads((modules / "vnu-jar" / "package.json").read_text(encoding="utf-8"))
        versions["vnu"] = package["version"]
        entries |= {f"vnu.{kind}": number for kind, number in sorted(found["kinds"].items())}
        entries["vnu.own"] = len(found["own"])
        entries["vnu.upstream"] = sum(found["upstream"].values())
        wrong += found["own"]
        for reason, number in found["upstream"].items():
            print(f"{number:6}  markup of others: {reason}")
    machine = f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores"
    rows = [(name, text(entries[name]), source_of(name)) for name in sorted(entries)]
    looked = "the version that was looked with, or at"
    rows += [(f"versions.{name}", versions[name], looked) for name in sorted(versions)]
    rows += [
        ("machine", machine, "the machine of the record"),
        ("made_by", "nox -s audit", "what made the record"),
    ]
    with record.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("name", "found", "what it counts"), *rows])
    width = max(map(len, entries))
    for name, value in sorted(entries.items()):
        print(f"{name:{width}}  {text(value)}")
    print(*wrong, sep="\n")
    return min(len(wrong), 1)


if __name__ == "__main__":
    places = [Path(argument) for argument in sys.argv[1:5]]
    node = Path(sys.argv[5]) if len(sys.argv) > 5 and sys.argv[5] else None
    raise SystemExit(main(*places, node, sys.argv[6] if len(sys.argv) > 6 else ""))
