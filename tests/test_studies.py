"""The studies of the projector: the shipped ones belong to the shipped weights, and can be made again."""

import json
from dataclasses import replace
from functools import partial

import pytest
from safetensors.torch import load_file
from training_kit import JOINT, broken_off
from typer.testing import CliRunner

from asrscope.audio import load_audio
from asrscope.audio.samples import load_samples
from asrscope.loading import load
from asrscope.loading.checkpoints import CHECKPOINTS
from asrscope.projector import AudioProjector
from asrscope.recognition.metrics import WordErrors, total_errors, word_errors
from asrscope.saving.provenance import provenance_of
from asrscope.training.batches import ProjectorRecipe, recipe_for
from asrscope_recipe import studies
from asrscope_recipe.bundle import bundle
from asrscope_recipe.cli import app
from asrscope_recipe.studies import BRIDGES, compare_bridges, load_study, make_studies, variants

SETTINGS = {"steps": 4, "positions_per_batch": 400, "precision": "fp32"}


def held_out_set(folder):
    """Make a held-out set of two of the shipped clips."""
    folder.mkdir(parents=True)
    lines = [json.dumps({"file": str(sample.path), "text": sample.text}) for sample in load_samples()[:3]]
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def cache(trained, tmp_path_factory):
    """A cache with shards, a held-out set and a very small model."""
    cache = tmp_path_factory.mktemp("studies")
    (cache / "shards").symlink_to(trained["shards"])
    held_out_set(cache / "test" / "hand")
    bundle(trained["encoder"], trained["decoder"], trained["projector"], cache / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "HELD_OUT", 2)
        yield cache


def recipe(loaded, **changes):
    return replace(recipe_for("", loaded), copies=1, **SETTINGS | changes)


def run(cache, *arguments):
    command = ["studies", "--cache", str(cache), "--model", str(cache / "model")]
    command += [f"--set={name}={value}" for name, value in SETTINGS.items()]
    return CliRunner().invoke(app, [*command, *map(str, arguments)])


@pytest.fixture(scope="module")
def made(cache, tmp_path_factory):
    """What the command writes."""
    out = tmp_path_factory.mktemp("out")
    result = run(cache, "--out", out)
    assert result.exit_code == 0, result.stderr
    return out


@pytest.mark.parametrize("name", ["ablations", "milestones"])
def test_a_shipped_study_belongs_to_the_shipped_encoder_and_decoder(name):
    shipped = {part.part: part.sha256 for part in provenance_of(load("tiny")[0])}
    assert load_study(name)["parts"] == {part: shipped[part] for part in ("encoder", "decoder")}


def test_the_shipped_bridges_stand_between_the_parts_of_small_and_cost_what_a_reader_may_compare():
    config = json.loads((CHECKPOINTS / "small" / "config.json").read_text("utf-8"))
    study = load_study("bridges")
    wanted = {"encoder": config["audio_model_sha256"], "decoder": config["text_model_sha256"]}
    assert study["parts"] == wanted
    assert set(study["variants"]) == set(BRIDGES)
    steps = {tuple(way["held_out"]["step"]) for way in study["variants"].values()}
    assert steps == {(study["plan"]["steps"],)}


@pytest.mark.parametrize("name", ["ablations", "milestones"])
def test_a_shipped_study_says_how_it_was_made(name):
    study = load_study(name)
    assert set(study["made_with"]) >= {"command", "date", "machine", "asrscope", "torch", "transformers"}
    assert study["corpus"]["clips"] > 1_000
    assert sum(study["held_out"].values()) >= 100


def test_the_shipped_ablations_change_one_thing_each_and_hear_the_same():
    study = load_study("ablations")
    found, unchanged = study["variants"], study["variants"][study["unchanged"]]
    names = ("stack_factor", "norm", "mlp")
    changed = {name: [key for key in names if found[name][key] != unchanged[key]] for name in found}
    assert {name: len(keys) for name, keys in changed.items()} == {
        name: int(name != study["unchanged"]) for name in found
    }
    assert {variant["stack_factor"] for variant in found.values()} == {1, 2, 4, 5, 8}
    assert len({variant["utterances"] for variant in found.values()}) == 1
    assert len({tuple(variant["curve"]["step"]) for variant in found.values()}) == 1
    words = {tuple(clip[0] for clip in variant["counts"]) for variant in found.values()}
    assert [len(each) for each in words] == [sum(study["held_out"].values())]


def test_the_shipped_ablations_state_sizes_that_can_be_counted_again():
    model, _ = load("tiny")
    dims = model.config.audio_config.d_model, model.config.text_config.hidden_size
    for variant in load_study("ablations")["variants"].values():
        keys = ("stack_factor", "hidden_size", "norm", "mlp")
        projector = AudioProjector(*dims, **{key: variant[key] for key in keys})
        assert sum(parameter.numel() for parameter in projector.parameters()) == variant["parameters"]
        assert variant["audio_tokens_per_second"] == pytest.approx(50 / variant["stack_factor"])


def test_the_shipped_milestones_look_at_every_audio_token_of_every_clip():
    study = load_study("milestones")
    _, processor = load("tiny")
    assert study["clips"] == {sample.name: sample.text for sample in load_samples()}
    assert [each["step"] for each in study["milestones"]][:: len(study["milestones"]) - 1] == [
        0,
        study["plan"]["steps"],
    ]
    for sample in load_samples():
        frames = processor.features(load_audio(sample.path)).shape[1]
        for each in study["milestones"]:
            seen = each["clips"][sample.name]
            assert len(seen["nearest"]) == len(seen["cosines"]) == processor.count_audio_tokens(frames)
            assert all(-1 <= cosine <= 1 for cosine in seen["cosines"])


def test_training_brings_the_errors_down_and_the_audio_tokens_nearer_to_text():
    first, *_, last = load_study("milestones")["milestones"]
    assert last["interval"][1] < first["interval"][0]
    mean = {
        each["step"]: sum(sum(clip["cosines"]) for clip in each["clips"].values()) for each in (first, last)
    }
    assert mean[last["step"]] > mean[0]


def test_an_mlp_without_a_gate_is_as_large_and_every_variant_gets_the_same_batches():
    base = ProjectorRecipe(hidden_size=768)
    found = variants(base, 256, 256)
    assert list(found) == ["k = 1", "k = 2", "k = 4", "k = 5", "k = 8", "no norm", "no SwiGLU"]
    sizes = [
        sum(
            parameter.numel()
            for parameter in AudioProjector(
                256, 256, recipe.stack_factor, recipe.hidden_size, norm=recipe.norm, mlp=recipe.mlp
            ).parameters()
        )
        for recipe in (found["k = 2"], found["no SwiGLU"])
    ]
    assert sizes[0] == sizes[1]
    assert {recipe.batches_of for recipe in found.values()} == {2}
    assert "k = 3" in variants(replace(base, stack_factor=3), 256, 256)


def test_the_command_measures_every_variant_and_every_kept_step(made, cache):
    ablations, milestones = (load_study(name, made) for name in ("ablations", "milestones"))
    shards = [
        json.loads(line)
        for path in sorted((cache / "shards").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()[1:]
    ]
    assert ablations["corpus"]["clips"] == len(shards)
    assert ablations["held_out"] == {"hand": 2}
    words = sum(word_errors(sample.text, "").words for sample in load_samples()[:2])
    assert {variant["words"] for variant in ablations["variants"].values()} == {words}
    assert [each["step"] for each in milestones["milestones"]] == [0, 4]
    for variant in ablations["variants"].values():  # what a paired comparison needs: the counts of each clip
        each = [WordErrors(*counts) for counts in variant["counts"]]
        assert [one.words for one in each] == [word_errors(s.text, "").words for s in load_samples()[:2]]
        assert round(total_errors(each).rate, 4) == variant["wer"]
    last = milestones["milestones"][-1]
    assert last["wer"] == ablations["variants"][ablations["unchanged"]]["wer"]
    assert ablations["parts"] == {
        part.part: part.sha256
        for part in provenance_of(load(cache / "model")[0])
        if part.part in {"encoder", "decoder"}
    }


def test_a_study_again_trains_nothing_twice_and_finds_the_same(made, cache, tmp_path):
    logs = sorted(cache.glob("studies/*/*/log.jsonl"))
    before = [log.read_text(encoding="utf-8") for log in logs]
    assert len(logs) == 7
    assert run(cache, "--out", tmp_path).exit_code == 0
    assert [log.read_text(encoding="utf-8") for log in logs] == before
    for name in ("ablations", "milestones"):
        assert json.loads((tmp_path / f"{name}.json").read_text("utf-8")) == load_study(name, made)


def test_a_study_that_was_stopped_ends_with_the_same_projectors(made, cache, tmp_path, monkeypatch):
    (tmp_path / "shards").symlink_to(cache / "shards")
    (tmp_path / "test").symlink_to(cache / "test")
    monkeypatch.setattr(studies, "STACK_FACTORS", ())  # the unchanged variant first
    loaded = load(cache / "model")
    study = partial(make_studies, loaded, tmp_path, recipe(loaded, save_every=2))
    broken_off(study, after=3)
    study()
    own, first = (
        load_file(next(root.glob("studies/*/k-2/kept/000004.safetensors"))) for root in (tmp_path, cache)
    )
    assert all((own[name] == first[name]).all() for name in own)


def test_another_plan_and_other_weights_have_a_folder_of_their_own(made, cache, monkeypatch):
    def stop(_encoder, _clips, folder, **_):
        raise InterruptedError(folder.parent)

    monkeypatch.setattr(studies, "cache_encodings", stop)
    folders = []
    own, tiny, changes = load(cache / "model"), load("tiny"), {"save_every": 50}
    for loaded, more in ((own, changes), (own, changes | {"steps": 5}), (tiny, changes)):
        with pytest.raises(InterruptedError, match="studies") as stopped:
            make_studies(loaded, cache, recipe(loaded, **more))
        folders.append(stopped.value.args[0])
    assert len(set(folders)) == 3
    assert folders[0].is_dir()


def test_without_held_out_sets_the_command_says_what_makes_them(cache, tmp_path):
    (tmp_path / "shards").symlink_to(cache / "shards")
    (tmp_path / "model").symlink_to(cache / "model")
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "no held-out sets: make them with 'asrscope-recipe data'" in result.stderr


def test_the_unchanged_variant_is_built_as_the_projector_of_the_model(cache):
    result = run(cache, "--set", "hidden_size=25", "--set", "norm=none")
    assert result.exit_code == 2
    assert "expected the model's own hidden_size, norm" in result.stderr


def test_a_study_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a study 'depth', but found none"):
        load_study("depth", tmp_path)


def test_bridges_begin_with_one_projector_and_differ_in_what_the_decoder_reads(trained, tmp_path):
    joint = replace(JOINT, held_out=3, evaluate_every=3)
    where = (trained["loaded"], [trained["encodings"]], tmp_path)
    study = json.loads(compare_bridges(*where, joint, trained["warm"]).read_text(encoding="utf-8"))
    assert set(study["variants"]) == set(BRIDGES)
    assert len({way["utterances"] for way in study["variants"].values()}) == 1
    assert len({way["curve"]["loss"][0] for way in study["variants"].values()}) == 4
    start = load_file(trained["warm"] / "model.safetensors")
    for name, way in study["variants"].items():
        assert way["curve"]["step"][-1] == way["held_out"]["step"][-1] == joint.steps
        weights = load_file(
            tmp_path / name.replace(", ", "-").replace(" ", "-") / "projector/model.safetensors"
        )
        assert any(key.startswith("binding.") for key in weights) == name.startswith("bound")
        assert ("prompt" in weights) == name.endswith("learned prompt")
        # A few steps away from where it began, not drawn at random once more.
        assert (weights["up.weight"] - start["up.weight"]).abs().max() < start["up.weight"].std()
