"""The model card says what was measured, of the files it lies beside, and misses no miss."""

import hashlib
import json
import re
import shutil
import sys

import pytest
from typer.testing import CliRunner

from asrscope.audio import load_audio, wav_bytes
from asrscope.audio.samples import load_samples
from asrscope.loading.checkpoints import CHECKPOINTS
from asrscope.recognition.metrics import FEWEST
from asrscope_recipe import measuring
from asrscope_recipe.card import aims, model_card, write_model_card
from asrscope_recipe.cli import app
from asrscope_recipe.comparison import Peer

TINY, SMALL = CHECKPOINTS / "tiny", CHECKPOINTS / "small"
SETS = ("hand-written", "new-espeak-voices", "new-flite-voice", "seen-voices")


def sha256(*paths):
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


# A card from made-up measurements ---------------------------------------------------------------------------


def rates(wer, cer=0.01):
    counts = {"words": 100, "substitutions": 1, "insertions": 1, "deletions": 1, "utterances": 10}
    return {"wer": wer, "wer_low": wer / 2, "wer_high": wer * 2, "cer": cer, **counts}


@pytest.fixture
def metrics():
    """Measurements that meet every aim."""
    described = {
        "source": "grammar",
        "new_voices": True,
        "voices": 3,
        "voices_in_corpus": 0,
        "sentences_in_corpus": 0,
        "words_in_corpus": 0.875,
    }
    wer = {"tiny": 0.031, "a quick run": 0.6, "a random projector": 0.99, "pocketsphinx": 0.5}
    return {
        "test_sets": {name: {"tiny": rates(0.031), "beam search": rates(0.0291)} for name in SETS},
        "beams": 4,
        "compared": {
            name: {system: rates(wrong) for system, wrong in wer.items()} for name in (*SETS, "together")
        },
        "limit": None,
        "seed": 0,
        "sets": {name: {**described, "manifest_sha256": name * 2, "audio_sha256": name * 3} for name in SETS},
        "systems": list(wer),
        "audio_seconds": 100.0,
        "seconds": {"tiny": 4.0, "a quick run": 4.5, "a random projector": 3.5, "pocketsphinx": 80.0},
        "peer": {"name": "pocketsphinx", "version": "9.8", "model": "xx", "model_bytes": 12_000_000},
        "quick": {"hours": 0.5, "known_words": 0.8},
        "digits": {"clips": 40, "sha256": "f" * 64, "right": {"tiny": 21, "pocketsphinx": 20}},
        "speed": {"clip": "piano", "audio_seconds": 3.0, "seconds": 0.1, "repeats": 5, "threads": 1},
        "corpus": {
            "shards": 2,
            "utterances": 1234,
            "hours": 5.67,
            "vocabulary": 432,
            "voices": {"flite": 3},
            "sha256": "e" * 64,
        },
        "weights": {"bytes": 15_000_000, "sha256": "d" * 64},
        "held_out_voices": {"flite": ["rms"]},
        "parameters": {"encoder": 1_000, "projector": 20, "decoder": 300},
        "stack_factor": 2,
        "trained_seconds": 8.0,
        "normalizer": "Lowercase",
        "machine": {
            "processor": "Abacus",
            "cores": 2,
            "threads": 1,
            "load": 0.5,
            "torch": "2.0",
            "python": "3.11",
        },
    }


@pytest.fixture
def provenance():
    part = {"trained": True, "sha256": "c" * 64}
    made = {"steps": 4_321, "utterances": 99_000, "hours": 1.25}
    return {
        "encoder": {**part, "made_with": {**made, "notes": "Began twice."}},
        "decoder": {**part, "made_with": {**made, "machine": "Abacus", "processes": 2, "threads": 3}},
        "projector": {**part, "made_with": made},
    }


def verdicts(card):
    """Read the first table back: what -> (measured, verdict)."""
    table = card.split("| | aim | measured | verdict |\n")[1].split("\n\n")[0].splitlines()[1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {what: (measured, verdict) for what, _, measured, verdict in rows}


# what is spoiled, how, and the start of the row that must change
SPOILED = [
    (("test_sets", "seen-voices", "tiny", "wer"), 0.05, "WER, voices heard in training"),
    (("test_sets", "new-espeak-voices", "tiny", "wer"), 0.1, "WER, new espeak-ng voices"),
    (("test_sets", "new-flite-voice", "tiny", "wer"), 0.45, "WER, a new flite voice"),
    (("test_sets", "hand-written", "tiny", "wer"), 0.15, "WER, hand-written sentences"),
    (("test_sets", "hand-written", "tiny", "cer"), 0.07, "CER, hand-written sentences"),
    (("compared", "together", "a random projector", "wer"), 0.9, "WER with a random projector"),
    (("compared", "hand-written", "pocketsphinx", "wer"), 0.031, "WER beside pocketsphinx"),
    (("seconds", "pocketsphinx"), 39.6, "Speed beside pocketsphinx"),
    (("digits", "right", "tiny"), 20, "Digits spoken by people"),
    (("weights", "bytes"), 20_000_001, "Weights"),
    (("speed", "seconds"), 0.5, "A clip of 3.0 s"),
    (("quick", "hours"), 1.0, "A quick training run"),
    (("quick", "known_words"), 0.4, "A quick training run"),
]


def test_every_aim_that_is_reached_is_met(metrics, provenance):
    card = model_card(metrics, provenance)
    found = {what: verdict for what, (_, verdict) in verdicts(card).items()}
    assert found.pop("Training, all three stages") == "reported"
    assert set(found.values()) == {"met"}
    assert f"\n{len(found)} of {len(found)} aims are met.\n" in card
    assert "Missed" not in card
    assert "not measured" not in card


@pytest.mark.parametrize(("where", "value", "row"), SPOILED)
def test_one_measurement_changes_one_verdict(metrics, provenance, where, value, row):
    before = verdicts(model_card(metrics, provenance))
    *path, last = where
    part = metrics
    for key in path:
        part = part[key]
    part[last] = value
    card = model_card(metrics, provenance)
    after = verdicts(card)
    changed = [what for what in before if before[what][1] != after[what][1]]
    assert len(changed) == 1
    assert changed[0].startswith(row)
    assert after[changed[0]][1] == "**missed**"
    assert f"**Missed:** {changed[0]}.\n" in card
    assert f"\n{len(before) - 2} of {len(before) - 1} aims are met.\n" in card


def test_the_set_on_which_the_peer_is_better_is_named(metrics, provenance):
    metrics["compared"]["new-flite-voice"]["pocketsphinx"]["wer"] = 0.02
    measured, verdict = verdicts(model_card(metrics, provenance))["WER beside pocketsphinx"]
    assert verdict == "**missed**"
    assert measured == "lower on 3 of 4, not on new-flite-voice"


def leave_out_peer(metrics):
    metrics["peer"] = None
    metrics["systems"].remove("pocketsphinx")
    for by_system in (*metrics["compared"].values(), metrics["seconds"], metrics["digits"]["right"]):
        del by_system["pocketsphinx"]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("peer", ["WER beside pocketsphinx", "Speed beside pocketsphinx"]),
        ("digits", ["Digits spoken by people, beside pocketsphinx"]),
        ("quick", ["A quick training run"]),
    ],
)
def test_what_was_left_out_is_said_to_be_not_measured(metrics, provenance, key, rows):
    metrics[key] = None
    if key == "peer":
        leave_out_peer(metrics)
    card = model_card(metrics, provenance)
    found = verdicts(card)
    for row in rows:
        assert found[row] == ("not measured", "not measured")
        assert row in card.split("**Not measured:** ")[1].split("\n")[0]
    assert "None" not in card


def test_digits_without_a_peer_are_counted_and_not_judged(metrics, provenance):
    leave_out_peer(metrics)
    (row,) = [row for row in aims(metrics, provenance) if row.what.startswith("Digits")]
    assert row.measured == "21 of 40, other not measured"
    assert row.met is None
    assert row.verdict == "not measured"


def test_a_missing_set_and_an_uncounted_corpus_are_said_to_be_not_measured(metrics, provenance):
    del metrics["test_sets"]["seen-voices"]
    metrics["corpus"] = None
    for result in metrics["sets"].values():
        result.update(voices_in_corpus=None, sentences_in_corpus=None, words_in_corpus=None)
    card = model_card(metrics, provenance)
    assert verdicts(card)["WER, voices heard in training"] == ("not measured", "not measured")
    assert "Size of the spoken corpus: not measured." in card
    assert "| hand-written | from the grammar | 3, not heard in training | not measured | not" in card


def test_the_card_states_data_machine_commands_and_hashes(metrics, provenance):
    card = model_card(metrics, provenance, "minute")
    assert card.startswith("# The `minute` model\n")
    for text in (
        "1,320 parameters (15.0 MB",
        "| utterances | 1,234 |",
        "| hours of speech | 5.7 |",
        "| different words | 432 |",
        "| held out, flite | rms |",
        "Abacus, 1 thread on 2 cores, load average 0.5",
        "| encoder | 1,000 | 4,321 | 99,000 | 1.25 | not recorded | not recorded | not recorded |",
        "| decoder | 300 | 4,321 | 99,000 | 1.25 | Abacus | 2 | 3 |",
        "`asrscope-recipe all` makes such a model again",
        "- encoder: Began twice.\n",
        "3.75 h (encoder 1.25, decoder 1.25, projector 1.25)",
        "| seen-voices | 10 | 3.1% (1.6% to 6.2%) | 50.0% (25.0% to 100.0%) | 1.0% | 1.0% |",
        "pocketsphinx 9.8",
        "Lowercase",
        *(f"`{letter * 64}`" for letter in "cdef"),
    ):
        assert text in card


def test_the_tables_are_whole(metrics, provenance):
    for block in re.findall(r"(?:^\|.*\n)+", model_card(metrics, provenance), re.MULTILINE):
        head, rule, *rows = block.splitlines()
        assert set(rule) <= set("|- ")
        assert rows
        assert {line.count("|") for line in (rule, *rows)} == {head.count("|")}
        assert "||" not in block
        assert all(line.endswith("|") for line in rows)


# A card of real measurements --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Two small sets of the shipped clips, two digits, and one shard's manifest."""
    root = tmp_path_factory.mktemp("cache")
    samples = load_samples()
    for name, chosen in (("first", samples[:3]), ("seen-voices", samples[3:5])):
        folder = root / "test" / name
        folder.mkdir(parents=True)
        lines = []
        for sample in chosen:
            shutil.copy(sample.path, folder)
            lines.append(json.dumps({"file": sample.path.name, "text": sample.text, "voice": sample.voice}))
        (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "people").mkdir()
    for number, sample in enumerate(samples[:2]):
        wave = wav_bytes(load_audio(sample.path)[: 4_000 * (1 + number)])
        (root / "people" / f"{number}_anna.wav").write_bytes(wave)
    (root / "shards").mkdir()
    spoken = [
        {"text": "the old sea", "synthesizer": "flite", "voice": "rms", "frames": 360},
        {"text": "the sea", "synthesizer": "espeak-ng", "voice": "en+f1", "frames": 1800},
        {"text": samples[0].text, "synthesizer": "espeak-ng", "voice": "en-gb-x-rp+Andy", "frames": 1440},
    ]
    lines = [json.dumps(line) for line in ({"phone_names": []}, *spoken)]
    (root / "shards" / "00000.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copytree(TINY, root / "tiny")
    return root


@pytest.fixture(scope="module")
def heard():
    return []


@pytest.fixture(scope="module")
def measured(cache, heard):
    """Measurements of the bundled weights, with a peer that says "one" to whatever it hears."""

    def recognize(waveform):
        heard.append(len(waveform))
        return "one"

    return measuring.measure(
        cache / "tiny",
        cache / "test",
        peer=Peer("echo", "1.2", "none", 5, recognize),
        limit=2,
        recordings=cache / "people",
        corpus=cache / "shards",
        quick=cache / "tiny",
    )


def test_hashes_and_sizes_are_those_of_the_files(measured, cache):
    metrics = measured
    weights = cache / "tiny" / "model.safetensors"
    assert metrics["weights"] == {"bytes": weights.stat().st_size, "sha256": sha256(weights)}
    for name, result in metrics["sets"].items():
        folder = cache / "test" / name
        manifest = (folder / "manifest.jsonl").read_text(encoding="utf-8")
        listed = [json.loads(line)["file"] for line in manifest.splitlines()]
        assert result["manifest_sha256"] == sha256(folder / "manifest.jsonl")
        assert result["audio_sha256"] == sha256(*(folder / file for file in listed))
    assert metrics["digits"]["sha256"] == sha256(*sorted((cache / "people").iterdir()))
    assert metrics["corpus"]["sha256"] == sha256(cache / "shards" / "00000.jsonl")


def test_the_rates_are_those_of_the_checkpoint(measured, bundled):
    from asrscope.recognition.metrics import total_errors, word_errors
    from asrscope.recognition.transcribe import transcribe

    metrics = measured
    chosen = load_samples()[:3]
    errors = total_errors(
        [word_errors(sample.text, transcribe(*bundled, sample.path).text) for sample in chosen]
    )
    result = metrics["test_sets"]["first"]["tiny"]
    assert result["wer"] == errors.rate
    assert (result["words"], result["utterances"]) == (errors.words, 3)


def test_a_comparison_is_made_on_the_same_first_clips(measured):
    metrics = measured
    systems = ["tiny", "a quick run", "a random projector", "echo"]
    assert metrics["systems"] == list(metrics["seconds"]) == systems
    assert metrics["limit"] == 2
    assert set(metrics["compared"]) == {*metrics["test_sets"], "together"}
    for name, by_system in metrics["compared"].items():
        assert list(by_system) == systems
        heard = {(each["utterances"], each["words"]) for each in by_system.values()}
        assert heard == {(4 if name == "together" else 2, by_system["tiny"]["words"])}
    samples = [load_audio(sample.path) for sample in load_samples()[:5]]
    seconds = sum(len(samples[place]) for place in (0, 1, 3, 4)) / 16_000
    assert metrics["audio_seconds"] == pytest.approx(seconds)
    assert metrics["peer"] == {"name": "echo", "version": "1.2", "model": "none", "model_bytes": 5}
    assert metrics["compared"]["together"]["echo"]["wer"] == 1.0  # "one" is in no sentence
    assert metrics["seconds"]["echo"] < metrics["seconds"]["tiny"]  # saying one word takes no time


def test_the_peer_hears_every_clip_once_in_order(measured, heard):
    samples = [len(load_audio(sample.path)) for sample in load_samples()]
    shown = [samples[0], samples[1], samples[3], samples[4], 4_000, 8_000]
    assert heard[-len(shown) :] == shown  # before that, the clip that everything is warmed up with


def test_every_clip_is_heard_with_beams_too(measured):
    clips = {"first": 3, "seen-voices": 2}  # every clip, whatever the limit
    assert {name: by["beam search"]["utterances"] for name, by in measured["test_sets"].items()} == clips
    assert {name: by["tiny"]["utterances"] for name, by in measured["test_sets"].items()} == clips


def test_the_bundled_model_gains_by_beams(shipped):
    sets = shipped[0]["test_sets"]
    assert all(by["beam search"]["wer"] < by["tiny"]["wer"] for by in sets.values())


def test_a_random_projector_differs_and_the_trained_one_is_better(measured):
    together = measured["compared"]["together"]
    assert together["tiny"]["wer"] < together["a random projector"]["wer"]


def test_a_quick_checkpoint_is_measured_on_the_same_clips(measured, cache):
    quick = measured["quick"]
    for by_system in measured["compared"].values():
        assert by_system["a quick run"] == by_system["tiny"]  # it is the same one here
    made = read_json(cache / "tiny" / "provenance.json")
    assert quick["hours"] == pytest.approx(sum(part["made_with"]["hours"] for part in made.values()))
    assert 0 < quick["known_words"] <= 1


def test_spoken_digits_are_counted_for_all(measured):
    digits = measured["digits"]
    assert digits["clips"] == 2
    assert list(digits["right"]) == measured["systems"]
    assert digits["right"]["echo"] == 1  # of 0 and 1
    assert digits["right"]["tiny"] == 0  # the beginnings of sentences


def test_the_corpus_is_counted(measured):
    corpus = measured["corpus"]
    assert (corpus["shards"], corpus["utterances"]) == (1, 3)
    assert corpus["hours"] == pytest.approx(0.01)  # 3,600 frames of 10 ms
    assert corpus["voices"] == {"espeak-ng": 2, "flite": 1}
    first = load_samples()[0].text
    assert corpus["vocabulary"] == len({*first.split(), "the", "old", "sea"})


def test_what_the_corpus_has_of_a_test_set_is_told(measured):
    first = measured["sets"]["first"]
    samples = load_samples()[:3]
    assert first["sentences_in_corpus"] == 1
    known = {*samples[0].text.split(), "the", "old", "sea"}
    words = [word for sample in samples for word in sample.text.split()]
    assert first["words_in_corpus"] == sum(word in known for word in words) / len(words)
    # rms is in the shard, and Andy with another accent.
    heard = [sample.voice for sample in samples if sample.voice.endswith((" rms", "+Andy"))]
    assert first["voices_in_corpus"] == len(heard) == 2
    assert (first["source"], first["new_voices"]) == (None, None)
    assert measured["sets"]["seen-voices"]["new_voices"] is False


def test_measurements_survive_their_file(measured, cache, tmp_path):
    shutil.copytree(cache / "tiny", tmp_path / "tiny")
    metrics = measured
    path = write_model_card(tmp_path / "tiny", metrics)
    stored = read_json(tmp_path / "tiny" / "metrics.json")
    assert stored == metrics
    provenance = read_json(tmp_path / "tiny" / "provenance.json")
    assert path.read_text(encoding="utf-8") == model_card(stored, provenance)


def test_a_clip_that_cannot_be_read_ends_the_measurement(cache, tmp_path):
    shutil.copytree(cache / "test", tmp_path / "test")
    bad = next((tmp_path / "test" / "first").glob("*.flac"))
    bad.write_bytes(b"no sound")
    with pytest.raises(ValueError, match=bad.name):
        measuring.measure(cache / "tiny", tmp_path / "test")


# From the command line --------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, ["card", *map(str, arguments)])


def test_the_command_measures_and_writes(cache, tmp_path):
    shutil.copytree(cache / "tiny", tmp_path / "small")
    options = ("--compare", "pocketsphinx", "--compare-limit", 1, "--recordings", cache / "people")
    result = run("--cache", cache, "-m", tmp_path / "small", *options)
    assert result.exit_code == 0, result.output
    assert "wrote " in result.stderr
    metrics = read_json(tmp_path / "small" / "metrics.json")
    assert metrics["peer"]["name"] == "pocketsphinx"
    assert metrics["corpus"]["utterances"] == 3
    card = (tmp_path / "small" / "README.md").read_text(encoding="utf-8")
    assert "The first 1 clips of each set count." in card
    assert str(cache) not in card


def test_a_card_can_be_written_again_without_measuring(cache, tmp_path, monkeypatch):
    shutil.copytree(TINY, tmp_path / "tiny")
    (tmp_path / "tiny" / "README.md").unlink()
    monkeypatch.setitem(sys.modules, "asrscope_recipe.measuring", None)
    assert run("-m", tmp_path / "tiny", "--only-write").exit_code == 0
    written = (tmp_path / "tiny" / "README.md").read_text(encoding="utf-8")
    assert written == (TINY / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "kaldi"], "expected a recognizer out of pocketsphinx, but found 'kaldi'"),
        (["--recordings", "/nowhere"], "/nowhere: this folder cannot be read (No such file or directory)"),
        (["--cache", "/nowhere"], "no held-out sets: make them with 'asrscope-recipe data'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(cache, options, message):
    result = run("--cache", cache, *options)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert message in line


def test_a_missing_pocketsphinx_is_said_in_one_line(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    result = run("--cache", cache, "--compare", "pocketsphinx")
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "install it with 'pip install pocketsphinx'" in line


# The card in the package ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    return read_json(TINY / "metrics.json"), read_json(TINY / "provenance.json")


@pytest.mark.parametrize("folder", [TINY, SMALL], ids=lambda folder: folder.name)
def test_a_bundled_card_follows_from_its_metrics(folder):
    metrics, provenance = (read_json(folder / f"{name}.json") for name in ("metrics", "provenance"))
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card == model_card(metrics, provenance, folder.name)


@pytest.mark.parametrize("folder", [TINY, SMALL], ids=lambda folder: folder.name)
def test_bundled_metrics_are_of_the_weights_beside_them(folder):
    weights = folder / "model.safetensors"
    found = {"bytes": weights.stat().st_size, "sha256": sha256(weights)}
    assert read_json(folder / "metrics.json")["weights"] == found


def test_the_bundled_metrics_are_of_the_bundled_weights(shipped, bundled):
    metrics, _ = shipped
    model, _ = bundled
    assert metrics["parameters"] == {
        "encoder": sum(p.numel() for p in model.audio_tower.parameters()),
        "projector": sum(p.numel() for p in model.multi_modal_projector.parameters()),
        "decoder": sum(p.numel() for p in model.language_model.parameters()),
    }
    assert metrics["stack_factor"] == model.config.stack_factor
    assert metrics["trained_seconds"] == model.config.trained_seconds


def test_the_bundled_provenance_is_of_the_bundled_weights(shipped, bundled):
    from asrscope.saving.provenance import provenance_of

    _, provenance = shipped
    found = {part.part: (part.sha256, part.trained) for part in provenance_of(bundled[0])}
    assert found == {part: (claim["sha256"], True) for part, claim in provenance.items()}


@pytest.mark.parametrize(
    ("folder", "tables"),
    [(TINY, ("test_sets", "compared")), (SMALL, ("sources", "synthetic"))],
    ids=["tiny", "small"],
)
def test_the_bundled_rates_are_their_counts(folder, tables):
    metrics = read_json(folder / "metrics.json")
    for by_system in (results for table in tables for results in metrics[table].values()):
        for result in by_system.values():
            errors = sum(result[kind] for kind in ("substitutions", "insertions", "deletions"))
            assert result["wer"] == errors / result["words"]
            if folder == SMALL and result["utterances"] < FEWEST:
                assert result["wer_low"] is result["wer_high"] is None
            else:
                assert result["wer_low"] <= result["wer"] <= result["wer_high"]


def test_the_bundled_model_has_heard_no_test_sentence_and_no_held_out_voice(shipped):
    metrics, _ = shipped
    for name, result in metrics["sets"].items():
        assert result["sentences_in_corpus"] == 0, name
        if result["new_voices"]:
            assert result["voices_in_corpus"] == 0, name
    assert any(result["new_voices"] for result in metrics["sets"].values())


def test_the_bundled_random_projector_fails_as_it_should(shipped):
    metrics, _ = shipped
    together = metrics["compared"]["together"]
    assert together["a random projector"]["wer"] > 0.9 > together["tiny"]["wer"]


def test_names_and_notes_become_no_markup(metrics, provenance):
    from hostile import CORPUS, HOSTILE
    from markdown_it import MarkdownIt

    before = MarkdownIt("commonmark").enable("table").render(model_card(metrics, provenance))
    metrics = json.loads(json.dumps(metrics).replace(json.dumps("pocketsphinx"), json.dumps(HOSTILE)))
    provenance["encoder"]["made_with"]["notes"] = HOSTILE
    metrics["held_out_voices"] = {HOSTILE: CORPUS}
    assert metrics["peer"]["name"] == metrics["systems"][-1] == HOSTILE
    after = MarkdownIt("commonmark").enable("table").render(model_card(metrics, provenance, HOSTILE))
    pattern = re.compile(r"<[a-z!/][^>]*>")
    assert set(pattern.findall(after)) <= set(pattern.findall(before)) | {"<em>", "</em>"}


def test_systems_and_sources_become_no_markup_either():
    from hostile import HOSTILE
    from markdown_it import MarkdownIt

    metrics, provenance = (read_json(SMALL / f"{name}.json") for name in ("metrics", "provenance"))
    before = MarkdownIt("commonmark").enable("table").render(model_card(metrics, provenance, "small"))
    text = json.dumps(metrics)
    for name in ("tiny", "vctk_few", "AMD EPYC", metrics["from"]["encoder"], metrics["note"]):
        assert json.dumps(name) in text
        text = text.replace(json.dumps(name), json.dumps(HOSTILE))
    card = model_card(json.loads(text), provenance, HOSTILE)
    after = MarkdownIt("commonmark").enable("table").render(card)
    pattern = re.compile(r"<[a-z!/][^>]*>")
    assert set(pattern.findall(after)) <= set(pattern.findall(before)) | {"<em>", "</em>"}
