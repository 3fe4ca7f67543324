"""Facts of the last audit, from the record of ``nox -s audit``: what was tried, found and weighed."""

import json
from pathlib import Path

from facts import Fact

RECORD = Path(__file__).resolve().parents[2] / "docs" / "audit.json"
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


def audited(record: Path = RECORD) -> dict[str, Fact]:
    """Return a fact for every entry of the record."""
    found = json.loads(record.read_text(encoding="utf-8"))
    machine = found["machine"]
    facts = {f"audit.{name}": Fact(value, _source(name)) for name, value in sorted(found["entries"].items())}
    told = f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"
    source = "the version that was looked with, or at"
    return {
        **facts,
        **{f"audit.versions.{name}": Fact(each, source) for name, each in sorted(found["versions"].items())},
        "audit.machine": Fact(told, "the machine of the record"),
        "audit.made_by": Fact(found["made_by"], "what made the record"),
    }


def _source(name: str) -> str:
    start = next(
        (start for start in SOURCES if name == start or name.startswith((f"{start}.", f"{start}_"))), None
    )
    return "counted by a test" if start is None else SOURCES[start]
