"""Training from the command line: a toy model goes through every stage, from synthesis to its card."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from asrscope.loading.checkpoints import CHECKPOINTS
from asrscope.training.batches import ProjectorRecipe
from asrscope_recipe import corpus, plan
from asrscope_recipe.cli import app
from asrscope_recipe.corpus import CorpusRecipe
from asrscope_recipe.decoder import DecoderRecipe
from asrscope_recipe.encoder import EncoderRecipe
from asrscope_recipe.plan import add_hours, hours

TOY = {
    "data": CorpusRecipe(shards=2, utterances=2, test_utterances=2, clear=True),
    "encoder": EncoderRecipe(layers=1, heads=2, d_model=32, ffn=32, steps=4, phone_steps=2, precision="fp32"),
    "decoder": DecoderRecipe(
        layers=1, heads=2, kv_heads=2, hidden_size=32, ffn=32, vocab_size=400, steps=3, precision="fp32"
    ),
    "projector": ProjectorRecipe(hidden_size=16, steps=3, copies=1, precision="fp32"),
}


def run(*arguments):
    result = CliRunner().invoke(app, [*(str(argument) for argument in arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def quick(tmp_path_factory, synthesizers):
    """What ``asrscope-recipe all --quick`` leaves, with toy sizes."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "TEST_SETS", dict(list(corpus.TEST_SETS.items())[:2]))
        # The synthesizer's library keeps one state a process, so one thread may use it.
        patch.setattr(corpus, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
        patch.setattr(plan, "QUICK", TOY)
        yield cache / "quick", run("all", "--quick", "--cache", cache, "--threads", 1), run


def test_all_stages_leave_a_model_that_loads_as_trained(quick):
    from asrscope.loading import load
    from asrscope.saving.provenance import provenance_of

    cache, result, _ = quick
    assert result.exit_code == 0, result.stderr
    model, _ = load(cache / "tiny")
    assert [part.trained for part in provenance_of(model)] == [True, True, True]
    assert model.config.audio_config.d_model == 32
    assert model.config.text_config.hidden_size == 32


def test_the_model_of_a_quick_run_transcribes(quick):
    from asrscope.audio.samples import load_sample
    from asrscope.loading import load
    from asrscope.recognition.transcribe import transcribe

    cache, _, _ = quick
    transcript = transcribe(*load(cache / "tiny"), load_sample("milk").path)
    assert isinstance(transcript.text, str)
    assert 0.0 <= transcript.confidence <= 1.0


def test_the_log_of_each_stage_is_shown_while_it_runs(quick):
    _, result, _ = quick
    for steps in (4, 3):  # of the encoder; of the others
        assert re.search(
            rf"asrscope: step {steps}/{steps}  seconds .*  loss .*  learning_rate ", result.stderr
        )
    assert re.search(r"asrscope: step 1/4 .* left$", result.stderr, re.MULTILINE) is None
    assert re.search(r"asrscope: step 2/4 .* left$", result.stderr, re.MULTILINE)
    assert result.stdout == ""


def test_the_curves_of_all_stages_come_with_the_model(quick):
    cache, _, _ = quick
    curves = json.loads((cache / "tiny" / "training.json").read_text(encoding="utf-8"))
    assert {stage: curve["steps"] for stage, curve in curves.items()} == {
        "encoder": 4,
        "decoder": 3,
        "projector": 3,
    }
    assert curves["encoder"]["curve"]["step"] == [1, 2, 3, 4]
    assert "wer_seen-voices" in curves["encoder"]["evaluations"][-1]
    assert {"dev_loss", "dev_accuracy"} <= set(curves["projector"]["evaluations"][-1])
    assert (cache / "curves.html").is_file()


def test_the_card_states_what_was_measured_on_every_held_out_set(quick):
    cache, _, _ = quick
    metrics = json.loads((cache / "tiny" / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["test_sets"]) == set(corpus.TEST_SETS)
    card = (cache / "tiny" / "README.md").read_text(encoding="utf-8")
    for name, figures in metrics["test_sets"].items():
        assert f"| {name} | {figures['tiny']['wer']:.1%} |" in card


def test_a_finished_stage_run_again_trains_no_further(quick):
    cache, _, again = quick
    log = (cache / "encoder" / "log.jsonl").read_text(encoding="utf-8")
    recipe = (cache / "encoder" / "encoder" / "recipe.json").read_text(encoding="utf-8")
    assert again("all", "--quick", "--cache", cache.parent).exit_code == 0
    assert (cache / "encoder" / "log.jsonl").read_text(encoding="utf-8") == log
    assert (cache / "encoder" / "encoder" / "recipe.json").read_text(encoding="utf-8") == recipe


def test_the_hours_of_a_run_are_those_of_all_its_turns(tmp_path):
    assert hours(tmp_path) is None
    with pytest.raises(KeyboardInterrupt), add_hours(tmp_path):
        raise KeyboardInterrupt
    (tmp_path / "hours.json").write_text('{"hours": 1.5}', encoding="utf-8")
    with add_hours(tmp_path):
        pass
    assert hours(tmp_path) == pytest.approx(1.5, abs=0.01)


def test_a_quick_run_tells_its_hours_with_its_data(quick):
    cache, _, _ = quick
    stages = [cache / stage / stage / "recipe.json" for stage in ("encoder", "decoder", "projector")]
    trained = sum(json.loads(path.read_text(encoding="utf-8"))["hours"] for path in stages)
    assert hours(cache) > trained


def test_a_stage_can_be_told_to_go_on(quick):
    cache, _, again = quick
    own = vars(TOY["decoder"]) | {"steps": 5}
    settings = [f"--set={name}={value}" for name, value in own.items()]
    assert again("decoder", "--cache", cache, *settings).exit_code == 0
    recipe = json.loads((cache / "decoder" / "decoder" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["steps"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encoder"], "asrscope-recipe data"),
        (["projector"], "run 'asrscope-recipe encoder' to its end first"),
        (["encoder", "--set", "width=3"], "expected one of .*d_model, .* but found 'width'"),
        (["decoder", "--set", "steps=many"], "expected int, but found 'many'"),
        (["data", "--set", "clear=perhaps"], "expected true or false, but found 'perhaps'"),
        (["data", "--set", "phones=3"], "expected one of .*shards, .* but found 'phones'"),
        (
            ["decoder", "--set", "precision=int8"],
            "expected a precision of auto, bf16, fp32, fp16, but found 'int8'",
        ),
        (["curves"], "no training has begun"),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_one_line(tmp_path, arguments, message):
    result = run(*arguments, "--cache", tmp_path)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert re.search(message, last)
    assert last.startswith("asrscope: error: ")


def test_all_stages_at_once_are_not_for_a_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = run("all", "--cache", tmp_path)
    assert result.exit_code != 0
    assert "'all' runs in one process" in result.stderr


def test_the_shipped_clips_can_be_made_again(synthesizers, tmp_path):
    from asrscope.audio.samples import load_samples

    assert run("clips", tmp_path).exit_code == 0
    manifest = json.loads((tmp_path / "clips.json").read_text(encoding="utf-8"))
    assert [clip["text"] for clip in manifest["clips"]] == [sample.text for sample in load_samples()]


def test_data_takes_from_the_plan_what_is_not_given(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(plan, "make_corpus", lambda *what: made.append(what))
    settings = ("--set", "shards=7", "--set", "test_utterances=9")
    for own in ((), settings):
        assert run("data", "--cache", tmp_path, "--threads", 1, *own).exit_code == 0
    recipe = plan.PLAN["data"]
    assert made == [
        (tmp_path, recipe, 1),
        (tmp_path, replace(recipe, shards=7, test_utterances=9), 1),
    ]


def test_the_plan_is_the_one_that_made_the_weights_in_the_package():
    metrics, provenance = (
        json.loads((CHECKPOINTS / "tiny" / f"{name}.json").read_text("utf-8"))
        for name in ("metrics", "provenance")
    )
    counted, recipe = metrics["corpus"], plan.PLAN["data"]
    assert (counted["shards"], counted["utterances"]) == (recipe.shards, recipe.shards * recipe.utterances)
    for stage, claim in provenance.items():
        made, own = claim["made_with"], vars(plan.PLAN[stage])
        same = (made.keys() & own.keys()) - {"precision", "accumulate"}  # on which the machine decides
        assert {name: made[name] for name in same} == {name: own[name] for name in same}
        assert {"steps", "learning_rate", "seed"} <= same
