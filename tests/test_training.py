"""The three stages of training on very small models: exact resuming, frozen parts, a bundle that loads."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_kit import DECODER, ENCODER, PROJECTOR, broken_off
from transformers import SmolLM3ForCausalLM
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.loading.presets import load
from asrscope.loading.provenance import provenance_of
from asrscope.training.encodings import EncoderPass, cache_encodings
from asrscope.training.projector import train_projector
from asrscope.training.run import Run, learning_rate_factor
from asrscope.training.spelling import Examples, spelled_context
from asrscope_recipe import corpus
from asrscope_recipe.bundle import bundle
from asrscope_recipe.decoder import draw_batches, make_tokenizer, train_decoder
from asrscope_recipe.encoder import read_letters, spell, train_encoder
from asrscope_recipe.sentences import sentences, written

STAGES = {
    "encoder": lambda trained, folder: train_encoder(
        trained["shards"].parent, folder, ENCODER, save_every=3, evaluate_every=100
    ),
    "decoder": lambda trained, folder: train_decoder(folder, DECODER, save_every=3, evaluate_every=100),
    "projector": lambda trained, folder: train_projector(
        trained["encodings"], trained["decoder"], folder, PROJECTOR, save_every=3
    ),
}


def same(one, two):
    """Whether two finished parts have the same weights, to the bit."""
    one, two = (load_file(folder / "model.safetensors") for folder in (one, two))
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("stage", STAGES)
def test_a_resumed_run_equals_an_unbroken_one(trained, tmp_path, stage):
    broken_off(lambda: STAGES[stage](trained, tmp_path), after=5)
    assert torch.load(tmp_path / "checkpoint.pt")["step"] == 3
    assert same(STAGES[stage](trained, tmp_path), trained[stage])


def test_only_the_projector_changes_while_it_trains(trained, tmp_path):
    before = {part: (trained[part] / "model.safetensors").read_bytes() for part in ("encoder", "decoder")}
    one, more = (
        load_file(
            train_projector(
                trained["encodings"],
                trained["decoder"],
                tmp_path / str(steps),
                replace(PROJECTOR, steps=steps),
            )
            / "model.safetensors"
        )
        for steps in (1, 4)
    )
    assert any(not torch.equal(one[name], more[name]) for name in one)
    assert before == {part: (trained[part] / "model.safetensors").read_bytes() for part in before}


def test_the_decoder_inside_the_projector_run_stays_frozen_to_the_bit(trained, tmp_path, monkeypatch):
    seen = []
    whole = Run.save

    def save(self):
        seen.append(self)
        whole(self)

    monkeypatch.setattr(Run, "save", save)
    train_projector(trained["encodings"], trained["decoder"], tmp_path, PROJECTOR)
    stored = SmolLM3ForCausalLM.from_pretrained(trained["decoder"]).state_dict()
    own = seen[-1].model.decoder.state_dict()
    assert all(torch.equal(own[name], stored[name]) for name in stored)
    assert all(parameter.grad is None for parameter in seen[-1].compute.decoder.parameters())


def test_a_bundle_loads_and_claims_its_training(trained, tmp_path, rng):
    target = bundle(trained["encoder"], trained["decoder"], trained["projector"], tmp_path / "model")
    model, processor = load(target)
    assert {part.part: part.trained for part in provenance_of(model)} == {
        "encoder": True,
        "projector": True,
        "decoder": True,
    }
    inputs = processor(rng.normal(0, 0.1, 16_000).astype(np.float32))
    written = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert written.shape[1] > 0
    assert str(trained["encoder"].parent) not in (target / "config.json").read_text(encoding="utf-8")
    stored = load_file(trained["encoder"] / "model.safetensors")
    kept = model.audio_tower.state_dict()
    assert all(torch.equal(kept[name], stored[name].half().float()) for name in stored)


def test_the_log_tells_loss_norm_rate_and_throughput(trained):
    line = json.loads((trained["encoder"].parent / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert {"step", "loss", "gradient_norm", "learning_rate", "utterances_per_second", "seconds"} <= set(line)
    assert line["step"] == ENCODER.steps


def test_the_learning_rate_warms_up_holds_and_falls_to_zero():
    factors = [learning_rate_factor(step, 1000, warmup=100, flat=0.4) for step in range(1001)]
    assert factors[0] == pytest.approx(0.01)
    assert set(factors[100:400]) == {1.0}
    assert factors[700] == pytest.approx(0.5)
    assert factors[1000] == 0.0


def test_letters_are_read_as_ctc_defines_it():
    labels = [0, *spell("see")]  # a blank between the two e is what keeps them apart
    assert read_letters(torch.tensor(labels)) == "se"
    labels.insert(-1, 0)
    assert read_letters(torch.tensor([labels[1], *labels[1:]])) == "see"


def test_an_undisturbed_spelling_holds_every_letter_in_order():
    for seed in range(10):
        stream = spelled_context("old captain", np.random.default_rng(seed), harm=0.0)
        letters = iter(letter for position in stream for letter, _ in position)
        assert all(letter in letters for letter in "old captain"), "a letter is missing or out of order"


def test_a_disturbed_spelling_differs():
    clean, wrong = (spelled_context("old captain", np.random.default_rng(2), harm) for harm in (0.0, 1.0))
    assert clean != wrong


def test_simple_lessons_have_no_slips_no_loose_sentences_and_more_short_ones():
    tokenizer = make_tokenizer(1024)

    def lessons(simple):
        recipe = replace(DECODER, tokens_per_batch=3_000, text_share=0.0)
        examples = Examples(tokenizer)
        return [
            example
            for pool in range(12)
            for batch in draw_batches(pool, recipe, examples, simple=simple)
            for example in batch
        ]

    def wrong(lesson):  # of the answer, what stands in the context against what is asked for
        ids, labels = lesson
        return any(label not in (-100, parts[0][0]) for parts, label in zip(ids, labels, strict=True))

    simple, usual = lessons(True), lessons(False)
    assert not any(wrong(lesson) for lesson in simple)
    assert any(wrong(lesson) for lesson in usual)
    assert np.mean([len(labels) for _, labels in simple]) < 0.9 * np.mean(
        [len(labels) for _, labels in usual]
    )
    plain = set(itertools.islice(sentences("train", 5, loose=False), 300))
    written_starts = {line.split(" {")[0] for line in written() if line.startswith("before the rain")}
    assert not any(sentence.startswith(tuple(written_starts)) for sentence in plain)


def test_the_prompt_of_training_is_the_prompt_of_the_processor(trained, tmp_path, rng):
    target = bundle(trained["encoder"], trained["decoder"], trained["projector"], tmp_path / "model")
    _, processor = load(target)
    ids = processor(rng.normal(0, 0.1, 16_000).astype(np.float32))["input_ids"][0].tolist()
    examples = Examples(make_tokenizer(DECODER.vocab_size))
    assert ids[: len(examples.before)] == examples.before
    assert ids[-len(examples.after) :] == examples.after
    assert set(ids[len(examples.before) : -len(examples.after)]) == {processor.audio_token_id}


def test_missing_shards_are_reported_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="asrscope-recipe data"):
        corpus.load_shards(tmp_path)


def test_encodings_of_another_encoder_are_refused(trained):
    other = WhisperEncoder(WhisperEncoder.from_pretrained(trained["encoder"]).config)
    with pytest.raises(ValueError, match="another encoder"):
        cache_encodings(
            EncoderPass(other, corpus.load_shards(trained["shards"])), trained["encodings"], copies=2
        )
