"""How a run computes changes nothing in what it learns; what it leaves behind can be trusted."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training_kit import DECODER, ENCODER, FP32, PROJECTOR, broken_off, encoder_pass, losses

from asrscope.training import options as options_module
from asrscope.training.batches import even_batches, fill_batches
from asrscope.training.encodings import cache_encodings, load_encodings
from asrscope.training.options import Options, working_copy
from asrscope.training.projector import load_decoder, make_projector, train_projector
from asrscope.training.run import Run
from asrscope.training.spelling import Examples
from asrscope_recipe import decoder as decoder_stage
from asrscope_recipe.corpus import TEST_SETS, TRAIN_VOICES, load_shards
from asrscope_recipe.decoder import draw_batches, train_decoder
from asrscope_recipe.encoder import train_encoder
from asrscope_recipe.sentences import sentences, split_of
from asrscope_recipe.synthesis import HELD_OUT_VOICES


def lend_tokenizer(trained, folder):
    """Spare a run the making of the same tokenizer."""
    if not folder.joinpath("tokenizer").exists():
        shutil.copytree(trained["decoder"].parent / "tokenizer", folder / "tokenizer")
    return folder


STAGES = {
    "encoder": lambda trained, folder, **more: train_encoder(
        trained["shards"].parent, folder, ENCODER, evaluate_every=100, **more
    ),
    "decoder": lambda trained, folder, **more: train_decoder(
        lend_tokenizer(trained, folder), DECODER, evaluate_every=100, **more
    ),
    "projector": lambda trained, folder, **more: train_projector(
        trained["encodings"], trained["decoder"], folder, PROJECTOR, **more
    ),
}


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """Losses and weights of each stage in 32 bits, every batch in one piece."""
    found = {}
    for stage, train in STAGES.items():
        folder = tmp_path_factory.mktemp(stage)
        weights = load_file(train(trained, folder, options=FP32) / "model.safetensors")
        found[stage] = losses(folder), weights
    return found


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("options", [{"accumulate": 3}, {"checkpoint_layers": True}])
def test_turns_and_checkpointed_layers_change_nothing_but_rounding(trained, plain, tmp_path, stage, options):
    STAGES[stage](trained, tmp_path, options=Options(precision="fp32", **options))
    expected, _ = plain[stage]
    found = losses(tmp_path)
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), abs=3e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_turns_draw_the_same_random_numbers(trained, tmp_path, monkeypatch, stage):
    drawn = []
    whole = Run.generator

    def generator(self, item):
        drawn.append((self.step, item))
        return whole(self, item)

    monkeypatch.setattr(Run, "generator", generator)
    found = []
    for accumulate in (1, 3):
        drawn.clear()
        STAGES[stage](trained, tmp_path / str(accumulate), options=Options(accumulate=accumulate))
        found.append(list(drawn))
    assert found[0] == found[1]
    assert len(set(found[0])) == len(found[0])
    assert bool(found[0]) == (stage != "projector")  # which draws nothing


@pytest.mark.parametrize("stage", STAGES)
def test_the_loss_is_a_mean_over_what_is_to_be_predicted(trained, plain, stage):
    """Before anything is learned every class is about as likely as any other."""
    phones = json.loads((trained["encoder"].parent / "phones.json").read_text("utf-8"))
    classes = {"encoder": len(phones), "decoder": 400, "projector": 400}[stage]
    first = plain[stage][0][1]
    # The frozen decoder has learned a little; the encoder's phone head starts with small random logits.
    assert first == pytest.approx(math.log(classes), rel=0.25)


@pytest.mark.parametrize("stage", STAGES)
def test_turns_in_bfloat16_add_up(trained, tmp_path, stage):
    found = []
    for accumulate in (1, 3):
        folder = tmp_path / str(accumulate)
        STAGES[stage](trained, folder, options=Options(accumulate=accumulate))
        found.append([json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()])
    for key, closeness in (("loss", 0.02), ("gradient_norm", 0.1)):
        one, three = ([line[key] for line in lines if key in line] for lines in found)
        assert three == pytest.approx(one, rel=closeness)


@pytest.mark.parametrize("stage", STAGES)
def test_bfloat16_learns_about_the_same_with_full_precision_weights(trained, plain, tmp_path, stage):
    weights = load_file(STAGES[stage](trained, tmp_path) / "model.safetensors")
    expected, full = plain[stage]
    assert list(losses(tmp_path).values()) == pytest.approx(list(expected.values()), rel=0.05)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert any(not torch.equal(weights[name], full[name]) for name in full)


def test_checkpointed_layers_run_twice(trained, tmp_path, monkeypatch):
    from transformers.models.smollm3.modeling_smollm3 import SmolLM3MLP

    calls = []
    whole = SmolLM3MLP.forward
    monkeypatch.setattr(SmolLM3MLP, "forward", lambda self, x: calls.append(1) or whole(self, x))
    counts = []
    for checkpoint_layers in (False, True):
        calls.clear()
        options = Options(precision="fp32", checkpoint_layers=checkpoint_layers)
        recipe = replace(PROJECTOR, steps=1)
        train_projector(
            trained["encodings"],
            trained["decoder"],
            tmp_path / str(checkpoint_layers),
            recipe,
            options=options,
        )
        counts.append(len(calls))
    assert counts[1] == 2 * counts[0] > 0


def test_every_turn_gets_whole_groups_and_every_item_comes_once(tmp_path):
    for accumulate in (1, 2, 5):
        options = Options(precision="fp32", accumulate=accumulate)
        run = Run(tmp_path / str(accumulate), nn.Linear(2, 1), 10, 0.1, 0, options=options)
        for items in range(1, 30):
            parts = run.parts(items, 4)
            assert [n for part in parts for n in range(items)[part]] == list(range(items))
            assert all(part.start % 4 == 0 and part.start < part.stop for part in parts)
            assert len(parts) <= accumulate


def one_step(run, x, shares):
    """Take a step on the mean of squares, in so many shares."""
    run.begin_step()
    for part in x.chunk(shares):
        run.backward(run.compute(part).pow(2).sum() / len(x))
    run.end_step(len(x))


def test_a_scaled_loss_gives_the_same_steps_and_an_overflow_is_skipped(tmp_path):
    """What fp16 does on a GPU, with the same scaler on this machine."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    runs = []
    for name in ("plain", "scaled"):
        torch.manual_seed(0)
        run = Run(tmp_path / name, nn.Linear(4, 2), 10, 0.05, 0, options=FP32)
        if name == "scaled":
            run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        for _ in range(3):
            one_step(run, x, 2)
        runs.append(run)
    plain, scaled = runs
    for one, two in zip(plain.parameters, scaled.parameters, strict=True):
        torch.testing.assert_close(one, two)
    assert plain.loss == pytest.approx(scaled.loss)
    before = [parameter.clone() for parameter in scaled.parameters]
    one_step(scaled, x * 1e30, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, scaled.parameters, strict=True))
    assert scaled.scaler.get_scale() == 2.0**9
    scaled.save()
    torch.manual_seed(0)
    again = Run(tmp_path / "scaled", nn.Linear(4, 2), 10, 0.05, 0, options=FP32)
    assert again.step == 4
    assert torch.load(again.checkpoint)["scaler"]["scale"] == 2.0**9


def test_a_broken_batch_is_skipped_and_counted(tmp_path):
    run = Run(tmp_path, nn.Linear(4, 2), 2, 0.05, 0, options=FP32)
    before = [parameter.clone() for parameter in run.parameters]
    one_step(run, torch.full((2, 4), math.nan), 1)
    assert all(torch.equal(a, b) for a, b in zip(before, run.parameters, strict=True))
    one_step(run, torch.ones(2, 4), 1)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert lines[0]["skipped"] == 1
    assert "loss" not in lines[0]
    assert "skipped" not in lines[1]
    assert math.isfinite(lines[1]["loss"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"precision": "tf32"}, "expected a precision of bf16, fp32, fp16, but found 'tf32'"),
        ({"accumulate": 0}, "1 turn or more, but found 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Options(**values)


def test_half_precision_is_for_gpus(tmp_path):
    with pytest.raises(ValueError, match="precision fp16 needs a CUDA GPU, but this process runs on cpu"):
        Run(tmp_path, nn.Linear(2, 1), 10, 0.1, 0, options=Options(precision="fp16"))


def test_compiling_needs_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"torch.compile needs a C\+\+ compiler"):
        Run(tmp_path, nn.Linear(2, 1), 10, 0.1, 0, options=Options(compile=True))


def test_what_takes_the_time_is_compiled(trained, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **how: compiled.append((type(self).__name__, how)))
    monkeypatch.setattr(options_module, "_compiler", lambda: "g++")
    for stage, train in STAGES.items():
        train(trained, tmp_path / stage, options=Options(compile=True))
    layers = [("WhisperEncoderLayer", {"dynamic": True})] * ENCODER.layers
    assert compiled == [*layers, *[("SmolLM3Model", {"dynamic": True})] * 2]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_compiled_decoder_learns_the_same(tmp_path):
    recipe = replace(DECODER, layers=1, steps=2)
    for compile_model in (False, True):
        options = Options(precision="fp32", compile=compile_model)
        train_decoder(tmp_path / str(compile_model), recipe, options=options)
    plain, compiled = (list(losses(tmp_path / name).values()) for name in ("False", "True"))
    assert compiled == pytest.approx(plain, abs=3e-4)


def test_a_working_copy_keeps_rotary_angles_and_shares_frozen_weights(trained):
    frozen = load_decoder(trained["decoder"]).model.requires_grad_(False).bfloat16()
    frozen.model.rotary_emb.inv_freq = frozen.model.rotary_emb.original_inv_freq = torch.rand(8)
    copied = working_copy(frozen, torch.bfloat16)
    assert copied.model.rotary_emb.inv_freq.dtype == torch.float32
    assert copied.lm_head.weight is frozen.lm_head.weight
    trainable = make_projector(16, frozen, PROJECTOR)
    copied = working_copy(trainable, torch.bfloat16)
    assert copied.gate.weight.dtype == torch.bfloat16
    assert trainable.gate.weight.dtype == torch.float32


def test_an_interrupted_save_leaves_the_last_checkpoint_whole(trained, tmp_path, monkeypatch):
    stage = STAGES["projector"]
    broken_off(lambda: stage(trained, tmp_path, save_every=2), after=3)
    kept = (tmp_path / "checkpoint.pt").read_bytes()

    def torn(state, file):
        file.write(kept[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", torn)
        with pytest.raises(KeyboardInterrupt):
            stage(trained, tmp_path, save_every=2)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    resumed = load_file(stage(trained, tmp_path) / "model.safetensors")
    unbroken = load_file(trained["projector"] / "model.safetensors")
    assert all(torch.equal(resumed[name], unbroken[name]) for name in unbroken)


def test_a_checkpoint_holds_what_earlier_versions_wrote_and_read(trained):
    state = torch.load(trained["decoder"].parent / "checkpoint.pt")
    assert list(state) == ["model", "optimizer", "step", "seconds", "utterances"]


def test_a_checkpoint_of_another_size_is_refused(trained, tmp_path):
    folder = tmp_path / "decoder"
    shutil.copytree(trained["decoder"].parent, folder)
    with pytest.raises(ValueError, match=r"other parts or sizes \(.*: expected .*, but found"):
        train_decoder(folder, replace(DECODER, ffn=64))


def test_the_tokenizer_of_a_run_stays_whatever_sentences_come(trained, tmp_path, monkeypatch):
    broken_off(lambda: train_decoder(tmp_path, DECODER, save_every=2), after=3)
    kept = (tmp_path / "tokenizer" / "tokenizer.json").read_bytes()
    monkeypatch.setattr(decoder_stage, "make_tokenizer", lambda *_: pytest.fail("a second tokenizer"))
    finished = train_decoder(tmp_path, DECODER)
    assert (finished / "tokenizer.json").read_bytes() == kept


def test_a_run_without_its_tokenizer_takes_that_of_its_finished_part(trained, tmp_path, monkeypatch):
    folder = tmp_path / "decoder"
    shutil.copytree(trained["decoder"].parent, folder)
    shutil.rmtree(folder / "tokenizer")
    monkeypatch.setattr(decoder_stage, "make_tokenizer", lambda *_: pytest.fail("a second tokenizer"))
    train_decoder(folder, DECODER)
    one, two = (path / "tokenizer.json" for path in (folder / "tokenizer", trained["decoder"]))
    assert one.read_bytes() == two.read_bytes()


def test_a_checkpoint_without_any_tokenizer_is_refused(trained, tmp_path):
    folder = tmp_path / "decoder"
    folder.mkdir()
    shutil.copy(trained["decoder"].parent / "checkpoint.pt", folder)
    with pytest.raises(ValueError, match="not the tokenizer it was trained with"):
        train_decoder(folder, DECODER)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_projector_does_not_go_on_between_other_parts(trained, tmp_path, part):
    encodings, decoder = tmp_path / "encodings", tmp_path / "decoder"
    shutil.copytree(trained["encodings"], encodings)
    shutil.copytree(trained["decoder"], decoder)
    train_projector(encodings, decoder, tmp_path / "run", replace(PROJECTOR, steps=1))
    if part == "encoder":
        (encodings / "encoder.sha256").write_text("another")
    else:
        model = load_decoder(decoder).model
        with torch.no_grad():
            model.lm_head.weight[0] += 1
        model.save_pretrained(decoder)
    with pytest.raises(ValueError, match=f"trained with another {part}"):
        train_projector(encodings, decoder, tmp_path / "run", PROJECTOR)


def test_encodings_of_clips_made_anew_are_refused(trained, tmp_path):
    work = encoder_pass(trained["encoder"], trained["shards"])
    shutil.copytree(trained["encodings"], tmp_path / "encodings")
    work.shards[0].utterances[0]["text"] = "something else"
    with pytest.raises(ValueError, match="holds the output for other clips"):
        cache_encodings(work, tmp_path / "encodings", copies=2)


def test_what_is_encoded_again_is_what_the_cache_holds(trained):
    cache = load_encodings(trained["encodings"])
    work = encoder_pass(trained["encoder"], trained["shards"])
    assert {clip.copy for clip in cache.clips} == {0, 1}
    clips = [clip for clip in cache.clips if clip.shard == 1][::5]
    for clip, again in zip(clips, work.encode_again(clips), strict=True):
        kept = cache.read(clip)
        assert again.shape == kept.shape
        # Neighbors in a batch differ, and with them the rounding of bfloat16.
        assert abs(torch.from_numpy(again).float() - torch.from_numpy(kept)).max() < 0.1


def test_the_encoder_does_not_change_while_it_fills_the_cache(trained, tmp_path):
    work = encoder_pass(trained["encoder"], trained["shards"])
    before = {name: tensor.clone() for name, tensor in work.encoder.state_dict().items()}
    cache_encodings(work, tmp_path / "encodings", copies=1)
    train_projector(
        tmp_path / "encodings", trained["decoder"], tmp_path / "run", replace(PROJECTOR, steps=2), work=work
    )
    after = work.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in work.encoder.parameters())


@pytest.mark.parametrize("budget", [200, 300, 1000])
def test_a_batch_of_sentences_keeps_to_its_budget(trained, budget):
    examples = Examples(load_decoder(trained["decoder"]).tokenizer)
    recipe = replace(DECODER, tokens_per_batch=budget)
    fullest = 0
    for pool in range(6):
        for batch in draw_batches(pool, recipe, examples):
            longest = max(len(labels) for _, labels in batch)
            assert len(batch) * longest <= budget or len(batch) == 1
            fullest = max(fullest, len(batch) * longest)
    assert fullest > 0.8 * budget


def test_batches_keep_to_their_budget_and_leave_nothing_out():
    lengths = [length for length in range(1, 60) for _ in range(3)]
    batches = fill_batches(list(range(len(lengths))), lengths, 100)
    assert [index for batch in batches for index in batch] == list(range(len(lengths)))
    assert all(max(lengths[index] for index in batch) * len(batch) <= 100 for batch in batches)
    drawn = even_batches(lengths, 100, seed=3)
    first = [index for _ in range(len(batches)) for index in next(drawn)]
    assert sorted(first) == list(range(len(lengths)))


def test_no_items_are_an_error_and_no_endless_loop():
    with pytest.raises(ValueError, match="found none"):
        next(even_batches([], 100, seed=0))


def test_held_out_sentences_and_voices_are_not_trained_on(trained):
    for shard in load_shards(trained["shards"]):
        assert all(split_of(utterance["text"]) == "train" for utterance in shard.utterances)
    drawn = sentences("train", seed=11)
    assert all(split_of(next(drawn)) == "train" for _ in range(2000))
    for kind in TRAIN_VOICES:
        assert set(TRAIN_VOICES[kind]).isdisjoint(HELD_OUT_VOICES[kind])
    held_out = [name for name, (_, _, voices) in TEST_SETS.items() if voices is HELD_OUT_VOICES]
    assert {"new-espeak-voices", "new-flite-voice", "hand-written"} <= set(held_out)
