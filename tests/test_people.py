"""A pair measured on recordings with their sources, beside others that hear the same."""

import itertools
import json
import re
import shutil
from collections import Counter

import pytest
import torch
from corpus_kit import good_rows, write_parquet
from training_kit import join_parts
from typer.testing import CliRunner

from asrscope.audio import load_audio
from asrscope.audio.samples import load_samples
from asrscope.loading import load
from asrscope.loading.checkpoints import CHECKPOINTS
from asrscope.recognition.metrics import normalize, total_errors, word_errors
from asrscope.recognition.transcribe import transcribe
from asrscope.saving.provenance import write_provenance
from asrscope.training import finished
from asrscope.training.finished import read_weights, write_model
from asrscope_recipe import cli, comparison
from asrscope_recipe.card import write_model_card
from asrscope_recipe.cli import app
from asrscope_recipe.comparison import systems_beside
from asrscope_recipe.measuring import measure_people, read_sources

TINY = CHECKPOINTS / "tiny"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The first four of the shipped clips, from two sources."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"audio": row["audio"], "text": row["text"], "source": f"room {number % 2}"}
        for number, row in enumerate(good_rows()[:4])
    ]
    path = tmp_path_factory.mktemp("people") / "test.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two held-out sets, of the fifth and the sixth of the shipped clips."""
    folder = tmp_path_factory.mktemp("sets")
    for number, sample in enumerate(load_samples()[4:6]):
        target = folder / f"set {number}"
        target.mkdir()
        shutil.copy(sample.path, target / "000.flac")
        (target / "manifest.jsonl").write_text(json.dumps({"file": "000.flac", "text": sample.text}) + "\n")
    return folder


@pytest.fixture(scope="module")
def measured(file, sets):
    loaded = load("tiny")
    systems = systems_beside("own", loaded)
    said = [load_samples()[0].text.upper()] * 5
    all_systems = {**systems, "silent": lambda _: ""}
    return measure_people(TINY, loaded, all_systems, file, synthetic=sets, transcripts=said)


def measure_silence(file, **options):
    return measure_people(TINY, load("tiny"), {"silent": lambda _: ""}, file, **options)


def test_rows_come_in_order_by_their_sources(file):
    sources = read_sources(file)
    texts = [sample.text for sample in load_samples()[:4]]
    found = {name: [row.text.lower().strip(".") for row in rows] for name, rows in sources.items()}
    assert found == {"room 0": texts[::2], "room 1": texts[1::2]}
    first, fourth = sources["room 0"][:1], sources["room 1"][1:]
    assert read_sources(file, every=3) == {"room 0": first, "room 1": fourth}


def test_a_model_keeps_its_name_beside_another_of_that_name(bundled, monkeypatch):
    monkeypatch.setattr(comparison, "transcriber", lambda loaded: lambda _: loaded)
    others = {"tiny": TINY, "another": TINY}
    systems = systems_beside("tiny", bundled, others=others)
    assert list(systems) == ["tiny", "another", "a random projector"]
    assert systems["tiny"](None) is bundled
    systems = systems_beside("own", bundled, others=others)
    assert list(systems) == ["own", "tiny", "another", "a random projector"]
    assert systems["own"](None) is bundled


def test_rates_are_those_of_each_source_and_of_all(measured, file, bundled):
    metrics = measured
    each = [word_errors(sample.text, transcribe(*bundled, sample.path).text) for sample in load_samples()[:4]]
    assert set(metrics["sources"]) == {"room 0", "room 1", "together"}
    for source, errors in (("room 0", each[::2]), ("room 1", each[1::2]), ("together", each)):
        rates = metrics["sources"][source]
        assert rates["own"]["wer"] == total_errors(errors).rate
        assert rates["own"]["utterances"] == len(errors)
        assert rates["silent"]["wer"] == 1.0
    assert metrics["sources"]["together"]["a random projector"]["wer"] > 0.5
    for number, sample in enumerate(load_samples()[4:6]):
        own = word_errors(sample.text, transcribe(*bundled, sample.path).text)
        assert metrics["synthetic"][f"set {number}"]["own"]["wer"] == own.rate
    assert metrics["synthetic"]["together"]["own"]["utterances"] == 2
    samples = sum(len(load_audio(row.audio)) for rows in read_sources(file).values() for row in rows)
    assert metrics["audio_seconds"] == pytest.approx(samples / 16_000)
    assert metrics["digits"] is None
    assert metrics["seconds"]["own"] > metrics["seconds"]["silent"]


def test_words_are_counted_by_how_often_training_said_them(measured):
    metrics = measured
    texts = [normalize(sample.text).split() for sample in load_samples()[:4]]
    known = Counter(texts[0])
    wanted = {0: 0, 1: 0, 5: 0, 20: 0, 100: 0}
    for word in itertools.chain(*texts):
        times = 5 * known[word]
        wanted[max(least for least in wanted if least <= times)] += 1
    assert {part["said"]: part["words"] for part in metrics["familiar"]} == wanted
    assert wanted[0] > 0 < wanted[5]
    for part in metrics["familiar"]:
        assert part["wrong"]["silent"] == part["words"]
    own = metrics["sources"]["together"]["own"]
    wrong = sum(part["wrong"]["own"] for part in metrics["familiar"])
    assert wrong == own["substitutions"] + own["deletions"]


def describe(folder):
    """Say that a projector was trained in three stages."""
    made = {
        "stage": "joint",
        "steps": 4321,
        "utterances": 99_000,
        "hours": 1.25,
        "machine": "Abacus",
        "processes": 2,
        "threads": 3,
        "trained_on": {"clips": 17, "hours": 0.5},
    }
    made["started_from"] = {**made, "steps": 765, "started_from": {**made, "stage": "warm"}}
    write_provenance(folder, {"projector": {"trained": True, "made_with": made}})


def test_the_card_has_a_row_for_each_system_and_a_cell_for_each_source_of_a_whole_one(measured, tmp_path):
    metrics = measured
    describe(tmp_path)
    card = write_model_card(tmp_path, metrics).read_text(encoding="utf-8")
    assert json.loads((tmp_path / "metrics.json").read_text("utf-8")) == metrics
    for source, rates in [*metrics["sources"].items(), *metrics["synthetic"].items()]:
        if source == "together":  # once in each of the two tables
            continue
        (row,) = re.findall(rf"^\| {source} \|.*$", card, re.MULTILINE)
        cells = [f"{100 * rates[system]['wer']:.1f}" for system in ("own", "silent")]
        assert [cell.strip() for cell in row.split("|")[3:-1]] == cells
    for system in metrics["systems"]:
        people, synthetic = (metrics[what]["together"][system] for what in ("sources", "synthetic"))
        (row,) = re.findall(rf"^\| {system} \| (.*) \|$", card, re.MULTILINE)
        found, spoken, seconds = row.split(" | ")
        assert found.startswith(f"{100 * people['wer']:.1f}")
        assert spoken.startswith(f"{100 * synthetic['wer']:.1f}")
        assert seconds == f"{metrics['seconds'][system]:.1f}"
    assert "Digits spoken by people: not measured." in card
    assert f"A projector of {(TINY / 'model.safetensors').stat().st_size / 1e6:.1f} MB" in card
    assert f"| encoder | {metrics['parameters']['encoder']:,} | no | {metrics['from']['encoder']} |" in card
    assert f"| projector | {metrics['parameters']['projector']:,} | yes |" in card
    for stage in ("warm | 4,321", "joint | 765", "joint | 4,321"):
        assert f"| {stage} | 99,000 | 1.25 | Abacus | 2 | 3 |" in card
    parts = [part for part in metrics["familiar"] if part["words"]]
    for part, when in zip(parts, ("never", "5 to 19 times"), strict=True):
        rates = [f"{100 * wrong / part['words']:.1f}" for wrong in part["wrong"].values()]
        assert f"| {when} | {part['words']} | {' | '.join(rates)} |" in card
    for block in re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE):
        head, rule, *rows = block.splitlines()
        assert set(rule) <= set("|- ")
        assert rows
        assert {line.count("|") for line in (rule, *rows)} == {head.count("|")}


def test_the_command_measures_and_its_card_is_written_again_without(file, tmp_path):
    folder = tmp_path / "tiny"  # which is not the one that comes with the package
    shutil.copytree(TINY, folder)
    describe(folder)
    digits = tmp_path / "digits"
    digits.mkdir()
    for number, sample in enumerate(load_samples()[:2]):
        shutil.copy(sample.path, digits / f"{number}_anna_0.flac")
    options = ("--model", folder, "--every", 3, "--recordings", digits, "--compare", "pocketsphinx")
    result = CliRunner().invoke(app, ["people", *map(str, (file, *options))])
    assert result.exit_code == 0, result.output
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    systems = ["tiny", "a random projector", "pocketsphinx"]
    assert metrics["systems"] == list(metrics["seconds"]) == list(metrics["digits"]["right"]) == systems
    assert {name: by["tiny"]["utterances"] for name, by in metrics["sources"].items()} == {
        "room 0": 1,
        "room 1": 1,
        "together": 2,
    }
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Every system heard the same recordings, one in 3 of the" in card
    (folder / "README.md").unlink()
    assert CliRunner().invoke(app, ["card", "-m", str(folder), "--only-write"]).exit_code == 0
    assert (folder / "README.md").read_text(encoding="utf-8") == card


def test_a_folder_without_held_out_sets_is_an_error(file, tmp_path):
    with pytest.raises(FileNotFoundError, match="no held-out sets: make them with 'asrscope-recipe data'"):
        measure_silence(file, synthetic=tmp_path)


def test_a_mean_needs_the_projector_to_take_it_with():
    result = CliRunner().invoke(app, ["small", "--average", "0.5"])
    assert result.exit_code == 2
    assert "--average needs the projector that is to be averaged with: --start FOLDER" in result.stderr


def test_the_projector_of_small_is_the_mean_of_its_beginning_and_its_end(trained, tmp_path, monkeypatch):
    pair = join_parts(trained["encoder"].parent.parent)
    monkeypatch.setattr(cli, "small_parts", lambda: pair)
    made = []
    monkeypatch.setattr(finished, "write_model", lambda *a, **k: made.append(write_model(*a, **k)))
    settings = {"steps": 2, "stack_factor": 2, "hidden_size": 24, "prompt_vectors": 4, "precision": "fp32"}
    result = CliRunner().invoke(
        app,
        [
            *("small", "--speech", str(write_parquet(tmp_path / "speech", good_rows())), "--sentences", "0"),
            *("--cache", str(tmp_path), "--start", str(trained["warm"]), "--average", "0.25"),
            *("--spell-steps", "2"),
            *(f"--set={name}={value}" for name, value in settings.items()),
        ],
    )
    assert result.exit_code == 0, result.output
    assert made == [tmp_path / "small" / "model"]  # written once
    mean, ended = (read_weights(folder) for folder in (made[0], tmp_path / "small" / "speller" / "projector"))
    began = read_weights(trained["warm"])
    for name, value in mean.items():
        if value.is_floating_point() and name in began:
            wanted = 0.25 * began[name] + 0.75 * ended[name]
            torch.testing.assert_close(value.float(), wanted, atol=1e-3, rtol=1e-3)
        else:  # lists of tokens, and the speller, which the beginning had not
            assert torch.equal(value, ended[name].to(value.dtype))
    assert {name.partition(".")[0] for name in mean.keys() - began.keys()} == {"speller"}
    assert not torch.equal(began["up.weight"], ended["up.weight"])
    claims = json.loads((made[0] / "provenance.json").read_text("utf-8"))
    assert claims["projector"]["made_with"]["averaged_with_start"] == 0.25


def test_an_empty_file_is_an_error(file, tmp_path):
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(file).slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match="expected rows with a recording, but found none"):
        measure_silence(tmp_path / "empty.parquet")
