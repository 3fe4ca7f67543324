"""Training from the command line: a toy model goes through every stage, from synthesis to its card."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from typer.testing import CliRunner

from asrscope.cli import app
from asrscope.data import corpus
from asrscope.training import decoder, encoder, projector

LAYERS = {"layers": 1, "heads": 2}


def run(*arguments):
    result = CliRunner().invoke(app, ["train", *(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory, synthesizers):
    """What ``asrscope train all`` leaves, with recipes of toy size."""
    cache = tmp_path_factory.mktemp("cache")
    small = {
        (encoder, "EncoderRecipe"): {**LAYERS, "d_model": 32, "ffn": 32, "steps": 4, "phone_steps": 2},
        (decoder, "DecoderRecipe"): {**LAYERS, "hidden_size": 32, "ffn": 32, "vocab_size": 400, "steps": 3},
        (projector, "ProjectorRecipe"): {"hidden_size": 16, "steps": 3, "copies": 1},
    }
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), settings in small.items():
            patch.setattr(module, name, partial(getattr(module, name), **settings))
        shards = partial(corpus.make_shards, utterances=2)
        patch.setattr(
            corpus, "make_shards", lambda folder, _count, _workers, **rest: shards(folder, 2, **rest)
        )
        patch.setattr(corpus, "TEST_SETS", dict(list(corpus.TEST_SETS.items())[:2]))
        # The synthesizer's library keeps one state a process, so one thread may use it.
        patch.setattr(corpus, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
        original = corpus.make_test_sets
        patch.setattr(corpus, "make_test_sets", lambda folder, split, utterances: original(folder, split, 2))
        yield cache, run("all", "--cache", cache), run


def test_all_stages_leave_a_model_that_loads_as_trained(trained):
    from asrscope.presets import load
    from asrscope.provenance import provenance_of

    cache, result, _ = trained
    assert result.exit_code == 0, result.stderr
    model, _ = load(cache / "tiny")
    assert [part.trained for part in provenance_of(model)] == [True, True, True]
    assert model.config.audio_config.d_model == 32
    assert model.config.text_config.hidden_size == 32


def test_the_log_of_each_stage_is_shown_while_it_runs(trained):
    _, result, _ = trained
    assert "asrscope: step 4  seconds" in result.stderr
    assert result.stderr.count("loss ") >= 3
    assert result.stdout == ""


def test_the_card_states_what_was_measured_on_every_held_out_set(trained):
    cache, _, _ = trained
    metrics = json.loads((cache / "tiny" / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["test_sets"]) == set(corpus.TEST_SETS)
    card = (cache / "tiny" / "README.md").read_text(encoding="utf-8")
    for name, figures in metrics["test_sets"].items():
        assert f"| {name} | {figures['wer']:.1%} |" in card


def test_a_finished_stage_run_again_trains_no_further(trained):
    cache, _, again = trained
    log = (cache / "encoder" / "log.jsonl").read_text(encoding="utf-8")
    recipe = (cache / "encoder" / "encoder" / "recipe.json").read_text(encoding="utf-8")
    assert again("encoder", "--cache", cache).exit_code == 0
    assert (cache / "encoder" / "log.jsonl").read_text(encoding="utf-8") == log
    assert (cache / "encoder" / "encoder" / "recipe.json").read_text(encoding="utf-8") == recipe


def test_a_stage_can_be_told_to_go_on(trained):
    cache, _, again = trained
    assert again("decoder", "--cache", cache, "--set", "steps=5").exit_code == 0
    recipe = json.loads((cache / "decoder" / "decoder" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["steps"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encoder"], "asrscope train data"),
        (["projector"], "run 'asrscope train encoder' to its end first"),
        (["bundle"], "run 'asrscope train encoder' to its end first"),
        (["encoder", "--set", "width=3"], "expected one of d_model, .* but found 'width'"),
        (["decoder", "--set", "steps=many"], "expected int, but found 'many'"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(tmp_path, arguments, message):
    result = run(*arguments, "--cache", tmp_path)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert re.search(message, last)
    assert last.startswith("asrscope: error: ")


def test_the_shipped_clips_can_be_made_again(synthesizers, tmp_path):
    from asrscope.samples import load_samples

    assert run("clips", tmp_path).exit_code == 0
    manifest = json.loads((tmp_path / "clips.json").read_text(encoding="utf-8"))
    assert [clip["text"] for clip in manifest["clips"]] == [sample.text for sample in load_samples()]
