"""The record of the audit: what it says is still so, as far as that can be found out at once."""

import csv
import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "audit"))

import bad_audio_kit  # noqa: E402
import collect  # noqa: E402
import hostile  # noqa: E402

RECORD = ROOT / "docs" / "audit.csv"
ENTRIES = collect.read(RECORD)
WEIGHTS = ROOT / "src" / "asrscope" / "data" / "checkpoints" / "tiny" / "model.safetensors"


def test_the_weights_and_the_kinds_of_input_are_those_of_the_record():
    assert ENTRIES["weights.sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert ENTRIES["weights.bytes"] == WEIGHTS.stat().st_size
    assert 0 < ENTRIES["bad_audio_kinds"] <= len(bad_audio_kit.KINDS)  # some were added since the record
    assert ENTRIES["xss.texts"] == len(hostile.CORPUS)


def test_the_record_holds_what_the_site_promises():
    assert ENTRIES["axe.violations"] == ENTRIES["vnu.own"] == ENTRIES["xss.harm"] == 0
    assert ENTRIES["search.right"] == ENTRIES["search"] >= 20
    assert ENTRIES["bad_audio_mutations"] >= 20_000
    assert ENTRIES["bad_audio_memory.times"] <= 4
    scores = [
        ENTRIES[f"lighthouse.desktop.{name}"]
        for name in ("performance", "accessibility", "best_practices", "seo")
    ]
    assert min(scores) >= 95


def test_every_entry_says_what_it_counts():
    with RECORD.open(encoding="utf-8", newline="") as file:
        told = {row["name"]: row["what it counts"] for row in csv.DictReader(file)}
    besides = {"machine", "made_by", *(name for name in told if name.startswith("versions."))}
    assert len(besides) > 4
    for name in told.keys() - besides:
        assert told[name] == collect.source_of(name)
    assert all(told.values())


def test_whatever_tests_count_has_words_for_the_record():
    programs = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("*.py"))
    names = set(re.findall(r"audit_record\(\s*f?\"(\w+)", programs))
    assert {"live", "axe", "bad_traces"} <= names
    assert all(map(collect.source_of, names))


def test_cases_are_counted_summed_and_the_largest_measure_is_kept(tmp_path):
    for name, value in {
        "damaged_files": {"files": 7, "read with care": 2},
        "visits/wide": 1,
        "visits/narrow": 1,
        "loads/short": {"times": 1.5, "files": 2},
        "loads/long": {"times": 2.5, "files": 3},
    }.items():
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value), encoding="utf-8")
    assert collect.counted(tmp_path) == {
        "damaged_files": 7,
        "damaged_files.read_with_care": 2,
        "visits": 2,
        "loads": 2,
        "loads.times": 2.5,
        "loads.files": 5,
    }


@pytest.mark.parametrize(
    ("path", "status"), [("page.html", 200), ("folder/", 200), ("nowhere", 404), ("../secret", 404)]
)
def test_the_server_answers_as_the_host_of_the_site_does(tmp_path, path, status):
    import gzip
    from http.client import HTTPConnection
    from urllib.parse import urlsplit

    from pages_host import hosted

    (tmp_path / "secret").write_text("not to be seen", encoding="utf-8")
    site = tmp_path / "site"
    (site / "folder").mkdir(parents=True)
    for name in ("page.html", "folder/index.html"):
        (site / name).write_text("here", encoding="utf-8")
    (site / "404.html").write_text("nothing", encoding="utf-8")
    with hosted(site) as address:
        connection = HTTPConnection(urlsplit(address).netloc, timeout=20)
        connection.request("GET", f"/{path}", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert answer.status == status
        assert gzip.decompress(answer.read()) == (b"here" if status == 200 else b"nothing")
        connection.close()
