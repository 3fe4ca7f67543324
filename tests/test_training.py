"""The three stages of training on very small models: exact resuming, frozen parts, a bundle that loads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import SmolLM3ForCausalLM
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.data import corpus
from asrscope.data.synthesis import Speech, Voice
from asrscope.presets import load
from asrscope.provenance import provenance_of
from asrscope.training.bundle import bundle
from asrscope.training.decoder import DecoderRecipe, Examples, make_tokenizer, spelled_context, train_decoder
from asrscope.training.encoder import EncoderRecipe, read_letters, spell, train_encoder
from asrscope.training.encodings import EncoderPass, cache_encodings
from asrscope.training.projector import ProjectorRecipe, train_projector
from asrscope.training.run import Run, learning_rate_factor

ENCODER = EncoderRecipe(d_model=32, layers=2, heads=2, ffn=48, steps=6, frames_per_batch=600, phone_steps=2)
DECODER = DecoderRecipe(
    hidden_size=32, layers=2, heads=2, kv_heads=1, ffn=48, vocab_size=400, steps=6, tokens_per_batch=300
)
PROJECTOR = ProjectorRecipe(stack_factor=2, hidden_size=24, steps=6, positions_per_batch=400, copies=2)


def buzz(rng, text, voices, **_how):
    """Speak in tones: quick, and there on every machine."""
    generator = np.random.default_rng(rng.getrandbits(32))
    seconds = 0.15 * len(text.split())
    waveform = generator.normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)
    words = tuple((word, 0.15 * n, 0.15 * (n + 1)) for n, word in enumerate(text.split()))
    phones = tuple((word[0], start, end) for word, start, end in words)
    return Voice("flite", "slt"), Speech(waveform, phones, words)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two shards of twelve buzzing utterances."""
    folder = tmp_path_factory.mktemp("cache") / "shards"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "draw_utterance", buzz)
        for number in range(2):
            corpus.make_shard(str(folder), number, n_mels=80, utterances=12)
    return folder


@pytest.fixture(scope="module")
def trained(shards, tmp_path_factory):
    """All three parts after six steps each."""
    root = tmp_path_factory.mktemp("trained")
    encoder = train_encoder(shards.parent, root / "encoder", ENCODER, evaluate_every=100)
    decoder = train_decoder(root / "decoder", DECODER, evaluate_every=100)
    work = EncoderPass(WhisperEncoder.from_pretrained(encoder), corpus.load_shards(shards))
    cache_encodings(work, root / "encodings", copies=2)
    projector = train_projector(root / "encodings", decoder, root / "projector", PROJECTOR)
    return {"encoder": encoder, "decoder": decoder, "projector": projector, "encodings": root / "encodings"}


@pytest.fixture
def interrupt(monkeypatch):
    """Make a run break off after some steps, as if its process had been killed."""

    def after(steps):
        whole = Run.end_step

        def end_step(self, utterances):
            if self.step == steps:
                raise KeyboardInterrupt
            whole(self, utterances)

        monkeypatch.setattr(Run, "end_step", end_step)
        return lambda: monkeypatch.setattr(Run, "end_step", whole)

    return after


def test_a_resumed_encoder_equals_an_unbroken_one(shards, trained, tmp_path, interrupt):
    mend = interrupt(5)
    with pytest.raises(KeyboardInterrupt):
        train_encoder(shards.parent, tmp_path, ENCODER, save_every=3, evaluate_every=100)
    mend()
    resumed = load_file(
        train_encoder(shards.parent, tmp_path, ENCODER, evaluate_every=100) / "model.safetensors"
    )
    whole = load_file(trained["encoder"] / "model.safetensors")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_resumed_decoder_equals_an_unbroken_one(trained, tmp_path, interrupt):
    mend = interrupt(5)
    with pytest.raises(KeyboardInterrupt):
        train_decoder(tmp_path, DECODER, save_every=3, evaluate_every=100)
    mend()
    resumed = load_file(train_decoder(tmp_path, DECODER, evaluate_every=100) / "model.safetensors")
    whole = load_file(trained["decoder"] / "model.safetensors")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_resumed_projector_equals_an_unbroken_one(trained, tmp_path, interrupt):
    mend = interrupt(5)
    with pytest.raises(KeyboardInterrupt):
        train_projector(trained["encodings"], trained["decoder"], tmp_path, PROJECTOR, save_every=3)
    mend()
    resumed = load_file(
        train_projector(trained["encodings"], trained["decoder"], tmp_path, PROJECTOR) / "model.safetensors"
    )
    whole = load_file(trained["projector"] / "model.safetensors")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


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


def test_the_prompt_of_training_is_the_prompt_of_the_processor(trained, tmp_path, rng):
    target = bundle(trained["encoder"], trained["decoder"], trained["projector"], tmp_path / "model")
    _, processor = load(target)
    ids = processor(rng.normal(0, 0.1, 16_000).astype(np.float32))["input_ids"][0].tolist()
    examples = Examples(make_tokenizer(DECODER.vocab_size))
    assert ids[: len(examples.before)] == examples.before
    assert ids[-len(examples.after) :] == examples.after
    assert set(ids[len(examples.before) : -len(examples.after)]) == {processor.audio_token_id}


def test_missing_shards_are_reported_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="asrscope train data"):
        corpus.load_shards(tmp_path)


def test_encodings_of_another_encoder_are_refused(shards, trained):
    other = WhisperEncoder(WhisperEncoder.from_pretrained(trained["encoder"]).config)
    with pytest.raises(ValueError, match="another encoder"):
        cache_encodings(EncoderPass(other, corpus.load_shards(shards)), trained["encodings"], copies=2)
