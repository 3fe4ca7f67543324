"""The stages of training on very small models: exact resuming, frozen parts, results that load."""

import itertools
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_kit import (
    DECODER,
    ENCODER,
    JOINT,
    LOOPS,
    PROJECTOR,
    PROJECTORS,
    SPELL,
    WARM,
    broken_off,
    join_parts,
    losses,
    train_stage,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.loading import load
from asrscope.saving.provenance import describe_weights, provenance_of
from asrscope.training import encodings as encodings_module
from asrscope.training.batches import Batches, ProjectorRecipe, Prompt, hold_out
from asrscope.training.corpus import Utterance
from asrscope.training.encodings import Clip, cache_encodings, count_bad, load_encodings
from asrscope.training.finished import read_projector, write_model
from asrscope.training.projector import (
    evaluate,
    make_projector,
    read_letters,
    read_nearest,
    train_projector,
)
from asrscope_recipe import corpus
from asrscope_recipe.bundle import average_with, bundle, join
from asrscope_recipe.corpus import Clips, load_shards
from asrscope_recipe.decoder import draw_batches, make_tokenizer, train_decoder
from asrscope_recipe.encoder import read_letters as read_labels
from asrscope_recipe.encoder import spell
from asrscope_recipe.sentences import WRITTEN, sentences, split_of
from asrscope_recipe.spelling import Examples, spelled_context


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, two):
    """Whether two finished parts have the same weights, to the bit."""
    one, two = weights(one), weights(two)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("stage", LOOPS)
def test_a_resumed_run_equals_an_unbroken_one(trained, tmp_path, stage):
    broken_off(lambda: train_stage(stage, trained, tmp_path), after=5)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000003"]
    assert same(train_stage(stage, trained, tmp_path), trained[stage])
    assert losses(tmp_path) == losses(trained[stage].parent)


@pytest.mark.parametrize("stage", LOOPS)
def test_turns_of_accumulation_change_nothing_but_rounding(trained, tmp_path, stage):
    # What is drawn at random for a whole layer is drawn for each turn by itself.
    quiet = {"dropout": 0.0, "masked": 0.0} if stage in PROJECTORS else {}
    start = {"steps": 3, **quiet}
    for turns in (1, 3):
        train_stage(stage, trained, tmp_path / str(turns), accumulate=turns, **start)
    one, three = (list(losses(tmp_path / turns).values()) for turns in ("1", "3"))
    assert len(one) == 3
    assert three == pytest.approx(one, abs=3e-4)


@pytest.mark.parametrize("stage", ["encoder", "decoder", "projector"])
def test_the_loss_is_a_mean_over_what_is_to_be_predicted(trained, stage):
    """Before anything is learned every class is about as likely as any other."""
    phones = json.loads((trained["encoder"].parent / "phones.json").read_text("utf-8"))
    classes = {"encoder": len(phones), "decoder": 400, "projector": 400}[stage]
    # The frozen decoder has learned a little; the encoder's phone head starts with small random logits.
    assert losses(trained[stage].parent)[1] == pytest.approx(math.log(classes), rel=0.25)


@pytest.mark.parametrize("stage", PROJECTORS)
def test_encoder_and_decoder_do_not_change_by_a_bit(trained, tmp_path, stage):
    model = trained["loaded"][0]
    parts = {"encoder": model.audio_tower, "decoder": model.language_model}
    before = {part: describe_weights(part, module, "").sha256 for part, module in parts.items()}
    finished = train_stage(stage, trained, tmp_path, steps=4)
    assert before == {part: describe_weights(part, module, "").sha256 for part, module in parts.items()}
    assert all(p.grad is None for module in parts.values() for p in module.parameters())
    shorter = train_stage(stage, trained, tmp_path / "shorter", steps=1)
    assert not same(finished, shorter)


def test_what_a_stage_does_not_use_stays_as_it_was(trained):
    warm, joint = weights(trained["warm"]), weights(trained["joint"])
    torch.manual_seed(WARM.seed)
    vocabulary = warm["binding.vocabulary"].tolist()
    model, processor = trained["loaded"]
    table = model.get_input_embeddings().weight
    space = processor.tokenizer.encode(" ", add_special_tokens=False)[0]
    openings = {token: Prompt(processor).opening(token) for token in vocabulary}
    drawn = make_projector(ENCODER.d_model, table, WARM, openings, space).state_dict()
    changed = {name for name in drawn if not torch.equal(drawn[name], warm[name])}
    assert changed == set(drawn) - {"binding.filler", "prompt", "binding.vocabulary", "binding.openings"}
    assert all(not torch.equal(warm[name], joint[name]) for name in ("binding.filler", "prompt", "up.weight"))
    spelled = weights(trained["spell"])
    assert all(torch.equal(warm[name], spelled[name]) for name in warm)
    assert {name.partition(".")[0] for name in spelled.keys() - warm.keys()} == {"speller"}


def test_both_stages_learn_a_clip_by_heart(trained, tmp_path):
    model, processor = trained["loaded"]
    table = model.get_input_embeddings().weight
    clips = Clips.of_shards(load_shards(trained["shards"]))
    cache_encodings(model.audio_tower, Clips(clips.clips[:1]), tmp_path / "one")
    finished, curves = {}, {}
    for stage, steps, start in ((WARM, 60, None), (JOINT, 20, trained["warm"]), (SPELL, 80, trained["warm"])):
        recipe = replace(stage, steps=steps, learning_rate=1e-2, dropout=0.0, masked=0.0)
        folder = tmp_path / recipe.stage
        where = (trained["loaded"], tmp_path / "one", folder, recipe)
        finished[recipe.stage] = train_projector(*where, start=start)
        curves[recipe.stage] = list(losses(folder).values())
    assert curves["warm"][-1] < curves["warm"][0] / 2
    assert curves["joint"][-1] < curves["joint"][0] - 0.3  # a decoder of six steps predicts little
    projector = read_projector(finished["warm"], model)
    (clip,) = load_encodings(tmp_path / "one")
    with torch.inference_mode():
        assert read_letters(read_projector(finished["spell"], model), clip.hidden) == clip.text
        assert read_nearest(projector, table, clip.hidden, processor.tokenizer) == clip.text
        assert read_nearest(projector, table, clip.hidden[:1], processor.tokenizer) == ""


def test_a_projector_of_another_corpus_can_be_the_beginning(trained, tmp_path):
    loaded = join_parts(trained["encoder"].parent.parent)
    saved = write_model(loaded, trained["joint"], tmp_path / "saved")
    clips = Clips.of_shards(load_shards(trained["shards"])).clips[:2]
    cache_encodings(loaded[0].audio_tower, Clips(clips), tmp_path / "encodings")
    recipe = replace(JOINT, steps=1)
    where = (trained["loaded"], tmp_path / "encodings")
    for start in (saved, trained["joint"]):  # in half precision, in its model; and as training left it
        folder = tmp_path / start.name
        finished = train_projector(*where, folder, recipe, start=start, keep=(0,))
        stored, begun = weights(trained["joint"]), load_file(folder / "kept" / "000000.safetensors")
        said = {token for _, text, _ in clips for token in Prompt(trained["loaded"][1]).spelling(text)}
        assert begun.pop("binding.vocabulary").tolist() == sorted(said)
        assert len(stored.pop("binding.vocabulary")) > len(said)
        openings = begun.pop("binding.openings").tolist()
        assert len(openings) == len(said) < len(stored.pop("binding.openings"))
        for name, value in begun.items():
            torch.testing.assert_close(value, stored[name], atol=1e-3, rtol=1e-3)
        made = json.loads((finished / "recipe.json").read_text("utf-8"))
        assert made["started_from"]["stage"] == "joint"
        assert made["started_from"]["steps"] == JOINT.steps
    with pytest.raises(ValueError, match="expected a projector of the sizes that are to be trained"):
        train_projector(*where, tmp_path / "wider", replace(recipe, hidden_size=32), start=saved)


def test_a_finished_projector_is_averaged_with_the_one_it_began_with(trained, tmp_path):
    done = average_with(trained["warm"], trained["joint"], 0.25, tmp_path / "mean")
    mean, began, ended = map(weights, (done, trained["warm"], trained["joint"]))
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.25 * began[name] + 0.75 * ended[name])
        else:
            assert torch.equal(value, ended[name])
    model, _ = trained["loaded"]
    assert read_projector(done, model).settings == read_projector(trained["joint"], model).settings
    assert json.loads((done / "recipe.json").read_text("utf-8"))["averaged_with_start"] == 0.25


def test_a_name_for_a_crowd_is_held_out_by_sentence_and_a_person_as_a_whole():
    def clip(number, speaker):
        return Clip(str(number), f"sentence {number}", speaker, 0, np.zeros((1, 1), np.float16))

    people = [clip(number, f"person {number % 60}") for number in range(180)]
    crowd = [clip(number, "unknown") for number in range(180, 580)]
    nameless = [clip(number, None) for number in range(580, 600)]
    apart = hold_out([*people, *crowd, *nameless], 10)
    assert sum(apart[180:580]) in range(10, 80)
    assert apart[:60] == apart[60:120] == apart[120:180]
    assert sum(apart[:60]) in range(1, 15)
    assert not any(hold_out(people, 0))


def test_what_is_held_out_is_measured_and_not_trained_on(trained, tmp_path):
    clips = load_encodings(trained["encodings"])
    scores_of = {"warm": {"dev_wer"}, "spell": {"dev_wer"}, "projector": {"dev_loss", "dev_accuracy"}}
    for stage, scores in scores_of.items():
        finished = train_stage(stage, trained, tmp_path / stage, held_out=3)
        lines = map(json.loads, (tmp_path / stage / "log.jsonl").read_text("utf-8").splitlines())
        assert scores <= set(list(lines)[-1])
        made = json.loads((finished / "recipe.json").read_text("utf-8"))
        assert 0 < made["trained_on"]["clips"] < len(clips)


def test_what_is_left_out_at_random_in_training_is_there_when_it_is_measured(trained, tmp_path):
    finished = train_stage("joint", trained, tmp_path, held_out=3, dropout=0.5)
    last = json.loads((tmp_path / "log.jsonl").read_text("utf-8").splitlines()[-1])
    model, processor = trained["loaded"]
    clips = load_encodings(trained["encodings"])
    kept = [clip for clip, apart in zip(clips, hold_out(clips, 3), strict=True) if apart and not clip.copy]
    test = Batches(kept, Prompt(processor, JOINT.prompt_vectors), JOINT)
    assert (
        evaluate(read_projector(finished, model), model.language_model, test)["dev_loss"] == last["dev_loss"]
    )


def test_the_projector_is_kept_as_it_was_after_the_steps_asked_for(trained, tmp_path):
    where = (trained["loaded"], trained["encodings"], tmp_path)
    finished = train_projector(*where, PROJECTOR, keep=(0, 2, PROJECTOR.steps))
    kept = {int(path.stem): load_file(path) for path in (tmp_path / "kept").iterdir()}
    assert sorted(kept) == [0, 2, PROJECTOR.steps]
    last = weights(finished)
    assert all(torch.equal(last[name], kept[PROJECTOR.steps][name]) for name in last)
    torch.manual_seed(PROJECTOR.seed)
    table = trained["loaded"][0].get_input_embeddings().weight
    drawn = make_projector(ENCODER.d_model, table, PROJECTOR).state_dict()
    assert all(torch.equal(drawn[name], kept[0][name]) for name in drawn)
    assert not torch.equal(kept[2]["up.weight"], kept[0]["up.weight"])


def test_a_run_does_not_go_on_with_other_clips_than_it_began_with(trained, tmp_path):
    """Nor is it finished already: its encodings were made anew, or those of another corpus came to them."""
    loaded, encodings, folder = trained["loaded"], trained["encodings"], tmp_path / "run"
    train_projector(loaded, encodings, folder, PROJECTOR)
    anew = tmp_path / "anew"
    shutil.copytree(encodings, anew)
    made_of = json.loads((anew / "made_of.json").read_text("utf-8"))
    (anew / "made_of.json").write_text(json.dumps(made_of | {"text_column": "corrected"}), "utf-8")
    for others in (anew, [encodings, anew]):
        with pytest.raises(ValueError, match="holds what was made with another encodings"):
            train_projector(loaded, others, folder, PROJECTOR)
    train_projector(loaded, [encodings], folder, PROJECTOR)


def test_projectors_of_other_stack_factors_can_hear_the_same_clips(trained, tmp_path):
    heard = {}
    for k, batches_of in ((1, 0), (1, 2), (2, 0), (4, 2)):
        counts = heard[k, batches_of] = []
        train_projector(
            trained["loaded"],
            trained["encodings"],
            tmp_path / f"{k}-{batches_of}",
            replace(PROJECTOR, stack_factor=k, batches_of=batches_of),
            watch=lambda run, line, counts=counts: line or counts.append(run.utterances),
        )
    assert heard[1, 2] == heard[2, 0] == heard[4, 2]
    assert heard[1, 0] != heard[2, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "cold"}, "expected a stage of warm, joint, spell, but found 'cold'"),
        ({"stage": "warm"}, "CTC needs an output that points to tokens: set output=bound"),
        ({"ctc": 0.2}, "CTC needs an output that points to tokens"),
        ({"ctc_weight": 0.5}, "CTC needs an output that points to tokens"),
        ({"stage": "spell"}, "letters need a speller: set speller_width"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ProjectorRecipe(**changes)


def test_a_text_opens_without_the_space_of_its_first_word(trained):
    prompt = Prompt(trained["loaded"][1])
    for text in ("the old clock", "a b"):
        first, written = prompt.spelling(text)[0], prompt.answer(text)[0]
        assert first != written
        assert prompt.opening(first) == written
        assert prompt.opening(written) == -1


def test_a_learned_prompt_needs_a_token_in_its_place(trained):
    _, processor = join(trained["encoder"], trained["decoder"])
    with pytest.raises(ValueError, match=r"the tokenizer has no <\|prompt\|>"):
        Prompt(processor, learned=4)


# What comes of it -------------------------------------------------------------------------------------------


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
    said = (target / "config.json").read_text(encoding="utf-8")
    assert str(trained["encoder"]) not in said
    assert str(trained["decoder"]) not in said
    stored = weights(trained["encoder"])
    kept = model.audio_tower.state_dict()
    assert all(torch.equal(kept[name], stored[name].half().float()) for name in stored)
    # The prompt of training is the prompt of the processor.
    ids = inputs["input_ids"][0].tolist()
    examples = Examples(make_tokenizer(DECODER.vocab_size))
    assert ids[: len(examples.before)] == examples.before
    assert ids[-len(examples.after) :] == examples.after
    assert set(ids[len(examples.before) : -len(examples.after)]) == {processor.audio_token_id}


def test_a_bundle_keeps_the_layers_of_its_projector(trained, tmp_path):
    projector = train_stage("projector", trained, tmp_path / "run", norm="none", mlp="gelu", steps=1)
    bundle(trained["encoder"], trained["decoder"], projector, tmp_path / "model")
    own = load(tmp_path / "model")[0].multi_modal_projector
    assert (own.norm, own.mlp) == ("none", "gelu")
    assert torch.equal(own.up.weight, weights(projector)["up.weight"].half().float())


def test_a_model_with_a_learned_prompt_reads_it_where_training_had_it(trained, tmp_path, rng):
    write_model(
        join_parts(trained["encoder"].parent.parent), trained["joint"], tmp_path / "model", seconds=9.0
    )
    model, processor = load(tmp_path / "model")
    assert model.config.trained_seconds == 9.0
    ids = processor(rng.normal(0, 0.1, 16_000).astype(np.float32))["input_ids"][0].tolist()
    learned, audio = model.config.prompt_token_id, processor.audio_token_id
    places = [n for n, token in enumerate(ids) if token in (learned, audio)]
    assert places == list(range(places[0], places[-1] + 1))
    half = JOINT.prompt_vectors // 2
    assert [ids[n] == learned for n in places] == [
        n < half or n >= len(places) - half for n in range(len(places))
    ]
    stored = weights(trained["joint"])
    own = model.multi_modal_projector.state_dict()
    assert all(torch.equal(own[name], stored[name].half().to(own[name].dtype)) for name in own)


def test_the_log_tells_loss_norm_rate_and_throughput(trained):
    line = json.loads((trained["encoder"].parent / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert {"step", "loss", "gradient_norm", "learning_rate", "utterances_per_second", "seconds"} <= set(line)
    assert line["step"] == ENCODER.steps


# Encodings --------------------------------------------------------------------------------------------------


class Rows:
    """A source of a few clips, some of which cannot be read."""

    def __init__(self, rng, good=5, bad=2):
        self.mels = [rng.normal(0, 0.3, (20 + 2 * n, 80)).astype(np.float32) for n in range(good)]
        self.bad, self.identity = bad, {"rows": good + bad}

    def __len__(self):
        return len(self.mels) + self.bad

    def rows(self, start=0):
        return ((f"row {n}", n) for n in range(start, len(self)))

    def read(self, number):
        if number >= len(self.mels):
            raise ValueError("not\na recording")
        return Utterance(f"text {number}", self.mels[number], speaker=f"speaker {number % 2}")


@pytest.fixture
def encoder(trained):
    return WhisperEncoder.from_pretrained(trained["encoder"])


@pytest.fixture
def few_rows(monkeypatch):
    monkeypatch.setattr(encodings_module, "ROWS_PER_SHARD", 3)


def test_every_clip_is_encoded_at_its_length_and_bad_rows_are_said(encoder, rng, tmp_path, few_rows):
    source, told = Rows(rng), []
    cache_encodings(encoder, source, tmp_path, on_bad=lambda *row: told.append(row))
    clips = load_encodings(tmp_path)
    assert [(clip.text, clip.speaker, clip.copy) for clip in clips] == [
        (f"text {n}", f"speaker {n % 2}", 0) for n in range(5)
    ]
    assert [len(clip.hidden) for clip in clips] == [10 + n for n in range(5)]
    assert {clip.hidden.dtype for clip in clips} == {np.dtype(np.float16)}
    assert told == [("row 5", "not a recording"), ("row 6", "not a recording")]
    assert count_bad(tmp_path) == 2
    whole = encoder(torch.from_numpy(np.pad(source.mels[0], ((0, 2980), (0, 0))).T[None]))
    assert whole.last_hidden_state.shape[1] == 1500  # which a clip at its true length does not need


def test_copies_differ_and_are_the_same_again(encoder, rng, tmp_path, few_rows):
    source = Rows(rng)
    for name in "ab":
        cache_encodings(encoder, source, tmp_path / name, copies=3, seed=7)
    cache_encodings(encoder, source, tmp_path / "other", copies=3, seed=8)
    one, two, other = (load_encodings(tmp_path / name) for name in ("a", "b", "other"))
    assert [clip.copy for clip in one] == [0, 1, 2] * 5
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.hidden, b.hidden)
    assert not np.array_equal(one[1].hidden[:8], one[0].hidden[:8])
    assert any(len(a.hidden) != len(b.hidden) for a, b in zip(one, other, strict=True))
    cache_encodings(encoder, source, tmp_path / "fixed", copies=3, fixed_length=True)
    assert [len(clip.hidden) for clip in load_encodings(tmp_path / "fixed")[::3]] == [
        10 + n for n in range(5)
    ]


def test_encoding_goes_on_where_it_stopped(encoder, rng, tmp_path, few_rows):
    source = Rows(rng)

    def stop(number):
        if number == 4:
            raise KeyboardInterrupt
        return Rows.read(source, number)

    source.read = stop
    with pytest.raises(KeyboardInterrupt):
        cache_encodings(encoder, source, tmp_path)
    del source.read
    kept = (tmp_path / "00000.npy").stat().st_mtime_ns
    cache_encodings(encoder, source, tmp_path)
    assert (tmp_path / "00000.npy").stat().st_mtime_ns == kept
    assert len(load_encodings(tmp_path)) == 5


@pytest.mark.parametrize("what", ["encoder", "copies", "rows"])
def test_encodings_of_something_else_are_refused(encoder, rng, tmp_path, what):
    cache_encodings(encoder, Rows(rng), tmp_path)
    other = {
        "encoder": (WhisperEncoder(encoder.config), Rows(rng), 1),
        "copies": (encoder, Rows(rng), 2),
        "rows": (encoder, Rows(rng, good=6), 1),
    }[what]
    with pytest.raises(ValueError, match=f"made with another {what} .* Make sure to delete"):
        cache_encodings(other[0], other[1], tmp_path, copies=other[2])


def test_a_source_without_a_usable_row_leaves_nothing_behind(encoder, rng, tmp_path):
    with pytest.raises(ValueError, match="no row of the corpus can be used; 2 cannot"):
        cache_encodings(encoder, Rows(rng, good=0), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    cache_encodings(encoder, Rows(rng, good=2, bad=0), tmp_path / "cache")
    assert len(load_encodings(tmp_path / "cache")) == 2


def test_encodings_that_are_not_there_are_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="cache the encoder's output first"):
        load_encodings(tmp_path)


def test_missing_shards_are_reported_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="asrscope-recipe data"):
        corpus.load_shards(tmp_path)


# What encoder and decoder are trained on --------------------------------------------------------------------


def test_letters_are_read_as_ctc_defines_it():
    labels = [0, *spell("see")]  # a blank between the two e is what keeps them apart
    assert read_labels(torch.tensor(labels)) == "se"
    labels.insert(-1, 0)
    assert read_labels(torch.tensor([labels[1], *labels[1:]])) == "see"


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
    written_starts = {line.split(" {")[0] for line in WRITTEN if line.startswith("before the rain")}
    assert not any(sentence.startswith(tuple(written_starts)) for sentence in plain)


@pytest.mark.parametrize("budget", [200, 300, 1000])
def test_a_batch_of_sentences_keeps_to_its_budget(trained, budget):
    examples = Examples(trained["loaded"][1].tokenizer)
    recipe = replace(DECODER, tokens_per_batch=budget)
    fullest = 0
    for pool in range(6):
        for batch in draw_batches(pool, recipe, examples):
            longest = max(len(labels) for _, labels in batch)
            assert len(batch) * longest <= budget or len(batch) == 1
            fullest = max(fullest, len(batch) * longest)
    assert fullest > 0.8 * budget


def test_held_out_sentences_and_voices_are_not_trained_on(trained):
    for shard in load_shards(trained["shards"]):
        assert all(split_of(utterance["text"]) == "train" for utterance in shard.utterances)
    drawn = sentences("train", seed=11)
    assert all(split_of(next(drawn)) == "train" for _ in range(2000))
    for kind in corpus.TRAIN_VOICES:
        assert set(corpus.TRAIN_VOICES[kind]).isdisjoint(corpus.HELD_OUT_VOICES[kind])
    held_out = [name for name, (_, _, voices) in corpus.TEST_SETS.items() if voices is corpus.HELD_OUT_VOICES]
    assert {"new-espeak-voices", "new-flite-voice", "hand-written"} <= set(held_out)


def test_the_tokenizer_of_a_run_stays_whatever_sentences_come(trained, tmp_path, monkeypatch):
    from asrscope_recipe import decoder as stage

    broken_off(lambda: train_decoder(tmp_path, DECODER), after=4)
    kept = (tmp_path / "tokenizer" / "tokenizer.json").read_bytes()
    monkeypatch.setattr(stage, "make_tokenizer", lambda *_: pytest.fail("a second tokenizer"))
    assert (train_decoder(tmp_path, DECODER) / "tokenizer.json").read_bytes() == kept
    (tmp_path / "tokenizer").rename(tmp_path / "gone")
    with pytest.raises(ValueError, match="not the tokenizer it was trained with"):
        train_decoder(tmp_path, DECODER)
