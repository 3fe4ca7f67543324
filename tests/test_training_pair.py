"""Only a projector is trained, on recordings, between the encoder and the decoder of any checkpoint."""

import csv
import io
import json
import re
import shutil

import pytest
import soundfile
import torch
from corpus_kit import good_rows, write_parquet
from safetensors.torch import load_file
from typer.testing import CliRunner

from asrscope.audio.samples import load_sample, load_samples
from asrscope.cli import app
from asrscope.loading import load
from asrscope.loading.checkpoints import part_of, read_tensors
from asrscope.recognition.transcribe import transcribe
from asrscope.saving.provenance import provenance_of
from asrscope.training.encodings import load_encodings

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",  # pandas, in the reader of tables
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
)
STEPS = [f"--set={one}" for one in ("steps=3", "copies=2", "hidden_size=24", "precision=fp32")]


def train(cache, *arguments):
    command = ["train", "projector", "--cache", cache, *arguments]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rows = good_rows()
    rows.insert(2, {**rows[0], "id": "mute", "text": ""})
    return write_parquet(tmp_path_factory.mktemp("corpus") / "speech", rows)


@pytest.fixture(scope="module")
def done(corpus, tmp_path_factory):
    """What the command leaves and says, on the bundled model."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, train(cache, "--corpus", corpus, "--streaming", "--model", "tiny", *STEPS)


def test_parts_of_another_pair_are_for_the_large_one(tmp_path):
    result = train(tmp_path, "--corpus", "c", "--encoder", "e")
    assert result.exit_code == 2
    assert result.stderr.startswith("asrscope: error: Only a model that is put together has options")


def test_the_new_model_loads_and_transcribes(done):
    cache, result = done
    assert result.exit_code == 0, result.stderr
    assert f"what was made is in {cache / 'pair' / 'model'}" in result.stderr
    loaded = load(cache / "pair" / "model")
    assert loaded[0].config.projector_hidden_size == 24
    assert isinstance(transcribe(*loaded, load_sample("milk").path).text, str)


def test_encoder_and_decoder_are_those_of_the_checkpoint_to_the_bit(done, bundled):
    cache, _ = done
    target = cache / "pair" / "model"
    old = {part.part: part.sha256 for part in provenance_of(bundled[0])}
    new = {part.part: part for part in provenance_of(load(target)[0])}
    assert {part: new[part].sha256 == old[part] for part in new} == {
        "encoder": True,
        "projector": False,
        "decoder": True,
    }
    assert all(part.trained for part in new.values())


def test_the_trained_projector_is_the_one_in_the_model(done):
    cache, _ = done
    trained = load_file(cache / "pair" / "projector" / "projector" / "model.safetensors")
    stored = part_of(read_tensors(cache / "pair" / "model"), "multi_modal_projector.")
    assert all(torch.equal(trained[name].half(), stored[name]) for name in stored)


def test_rows_that_cannot_be_used_are_said_and_counted(done):
    _, result = done
    assert "left out: mute: no words in its text ''" in result.stderr
    assert f"{len(load_samples())} utterances" in result.stderr
    assert "rows that cannot be used: 1" in result.stderr


def test_the_command_run_again_does_nothing_new(done, corpus):
    cache, _ = done
    log = (cache / "pair" / "projector" / "log.jsonl").read_bytes()
    assert train(cache, "--corpus", corpus, "--streaming", *STEPS).exit_code == 0
    assert (cache / "pair" / "projector" / "log.jsonl").read_bytes() == log


def beginning(sound):
    """The first second of a recording."""
    samples, rate = soundfile.read(io.BytesIO(sound["bytes"]))
    file = io.BytesIO()
    soundfile.write(file, samples[:rate], rate, format="FLAC")
    return {"bytes": file.getvalue(), "path": sound["path"]}


def test_a_full_pair_gets_a_projector_that_its_preset_takes(full_parts, tmp_path):
    rows = good_rows()  # of more than 2 s, which is all that this encoder takes
    rows[1:] = [{**row, "audio": beginning(row["audio"])} for row in rows[1:]]
    corpus = write_parquet(tmp_path / "short", rows)
    result = train(
        tmp_path,
        *("--corpus", corpus, "--streaming", "--model", "full", "--set", "steps=2"),
        *("--encoder", full_parts["encoder"], "--decoder", full_parts["decoder"]),
        *("--set", "hidden_size=24", "--set", "precision=fp32"),
    )
    assert result.exit_code == 0, result.stderr
    assert re.search(rf"left out: {rows[0]['id']}: .* s long, at most 2 s can be used", result.stderr)
    encodings = load_encodings(tmp_path / "pair" / "encodings" / "0")
    assert {len(clip.hidden) for clip in encodings} == {100}  # padded, as the model pads
    model, _ = load("full", projector=tmp_path / "pair" / "model", **full_parts)
    assert model.config.projector_hidden_size == 24
    assert not list((tmp_path / "pair" / "model").glob("tokenizer*"))  # the projector alone


def test_going_on_between_other_parts_is_refused(done, corpus, make_checkpoint):
    cache, _ = done
    other = make_checkpoint()
    result = train(cache, "--corpus", corpus, "--streaming", "--model", other, *STEPS)
    assert result.exit_code == 2
    assert "made with another encoder" in result.stderr


def recordings(folder, text, corrected=None):
    """Write a folder of recordings with a table that has two columns of text."""
    folder.mkdir(exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text", "corrected"])
        table.writerows((sample.path.name, text, corrected or text) for sample in load_samples()[:2])
    return folder


def test_what_was_changed_since_is_noticed(tmp_path):
    corpus, cache = recordings(tmp_path / "talk", "old words", "right words"), tmp_path / "cache"
    for sample in load_samples()[:2]:
        shutil.copy(sample.path, corpus)
    arguments = ("--corpus", corpus, *STEPS)
    assert train(cache, *arguments).exit_code == 0
    for change in (lambda: ("--text-column", "corrected"), lambda: recordings(corpus, "new words") and ()):
        result = train(cache, *arguments, *change())
        assert result.exit_code == 2
        assert re.search("made with another (text_column|files) .* Make sure to delete", result.stderr)


def test_a_run_without_a_usable_row_leaves_nothing_that_stands_in_the_way(tmp_path):
    corpus, cache = recordings(tmp_path / "later", "some words"), tmp_path / "cache"
    result = train(cache, "--corpus", corpus, *STEPS)
    assert result.exit_code == 2
    assert "no row of the corpus can be used; 2 cannot" in result.stderr
    for sample in load_samples()[:2]:
        shutil.copy(sample.path, corpus)
    assert train(cache, "--corpus", corpus, *STEPS).exit_code == 0


def test_a_bound_projector_starts_without_the_decoder(tmp_path, corpus):
    bound = [f"--set={one}" for one in ("output=bound", "ctc=0.2", "held_out=3")]
    result = train(tmp_path, "--corpus", corpus, *STEPS, *bound, "--warm-steps", 3)
    assert result.exit_code == 0, result.stderr
    assert "dev_wer" in (tmp_path / "pair" / "warm" / "log.jsonl").read_text("utf-8")
    assert "dev_loss" in (tmp_path / "pair" / "projector" / "log.jsonl").read_text("utf-8")
    loaded = load(tmp_path / "pair" / "model")
    assert loaded[0].config.projector_output == "bound"
    assert isinstance(transcribe(*loaded, load_sample("milk").path).text, str)
    again = tmp_path / "again"
    result = train(again, "--corpus", corpus, *STEPS, *bound, "--start", tmp_path / "pair" / "model")
    assert result.exit_code == 0, result.stderr
    assert not (again / "pair" / "warm").exists()
    made = json.loads((again / "pair" / "projector" / "projector" / "recipe.json").read_text("utf-8"))
    assert made["started_from"]["started_from"]["stage"] == "warm"


def test_when_all_is_held_out_there_is_nothing_to_train_on(tmp_path, corpus):
    result = train(tmp_path, "--corpus", corpus, *STEPS, "--set", "held_out=2")
    assert result.exit_code == 2
    assert "is left to train on: the others are held out (held_out=2)" in result.stderr
