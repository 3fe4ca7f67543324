import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoModelForSpeechSeq2Seq

from asrscope.encoder import encode
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration


@pytest.fixture
def clips(rng):
    """Three clips of different lengths, in samples that fill whole frames, half frames and neither."""
    return [rng.normal(0, 0.1, samples).astype(np.float32) for samples in (16_000, 41_111, 25_680)]


def generate(model, processor, clips, **options):
    inputs = processor(audio=clips)
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=12, **options)
    return ids[:, inputs["input_ids"].shape[1] :]


def test_a_saved_model_loads_bit_for_bit(make_model, tmp_path):
    model, _ = make_model()
    model.save_pretrained(tmp_path / "first")
    again = AsrScopeForConditionalGeneration.from_pretrained(tmp_path / "first")
    weights, loaded = model.state_dict(), again.state_dict()
    assert weights.keys() == loaded.keys()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)
    again.save_pretrained(tmp_path / "second")
    for file in ("generation_config.json", "model.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


@pytest.mark.parametrize("auto_class", [AutoModelForSpeechSeq2Seq, AutoModelForMultimodalLM])
def test_auto_classes_find_the_model(make_checkpoint, auto_class):
    path = make_checkpoint()
    assert isinstance(AutoConfig.from_pretrained(path), AsrScopeConfig)
    assert isinstance(auto_class.from_pretrained(path), AsrScopeForConditionalGeneration)


def test_the_tied_output_layer_is_stored_once_and_tied_again(make_checkpoint):
    from safetensors.torch import load_file

    path = make_checkpoint()
    names = load_file(path / "model.safetensors").keys()
    assert "language_model.model.embed_tokens.weight" in names
    assert "language_model.lm_head.weight" not in names
    model = AsrScopeForConditionalGeneration.from_pretrained(path)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_half_precision_weights_keep_their_values(make_model, tmp_path):
    model, _ = make_model()
    model.half().save_pretrained(tmp_path)
    again = AsrScopeForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight.float(), again.state_dict()[name])


def test_audio_features_are_the_projected_encoder_output(make_model, clips):
    model, processor = make_model()
    inputs = processor(audio=clips[0])
    with torch.no_grad():
        output = model.get_audio_features(inputs["input_features"], inputs["frame_mask"])
        hidden = encode(model.audio_tower, inputs["input_features"])
        expected = model.multi_modal_projector(hidden)[0]
    assert torch.equal(output.last_hidden_state, hidden)
    assert torch.equal(output.pooler_output, expected)
    assert torch.equal(model.get_audio_features(inputs["input_features"]).pooler_output, expected)


def test_audio_tokens_of_a_batch_stand_in_a_row_without_padding(make_model, clips):
    model, processor = make_model()
    inputs = processor(audio=clips)
    with torch.no_grad():
        together = model.get_audio_features(inputs["input_features"], inputs["frame_mask"]).pooler_output
        alone = [model.get_audio_features(processor(audio=clip)["input_features"]) for clip in clips]
    # 1 s, 2.58 s and 1.61 s: 50, 129 and 81 positions (of an even number of frames), 5 in an audio token
    assert [len(one.pooler_output) for one in alone] == [10, 25, 16]
    torch.testing.assert_close(together, torch.cat([one.pooler_output for one in alone]), rtol=0, atol=1e-4)


def test_the_loss_is_that_of_the_labels_after_the_prompt(make_model, clips, tokenizer):
    model, processor = make_model()
    inputs = processor(audio=clips[0])
    answer = torch.tensor([tokenizer.encode("the clock<|im_end|>")])
    prompt = inputs["input_ids"]
    ids = torch.cat([prompt, answer], dim=1)
    labels = torch.cat([torch.full_like(prompt, -100), answer], dim=1)
    with torch.no_grad():
        output = model(input_ids=ids, input_features=inputs["input_features"], labels=labels)
    predictions = output.logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
    expected = -predictions.gather(1, answer.T).mean()
    torch.testing.assert_close(output.loss, expected)


def test_gradients_reach_the_projector_through_frozen_parts(make_model, clips):
    model, processor = make_model()
    model.audio_tower.requires_grad_(False)
    model.language_model.requires_grad_(False)
    inputs = processor(audio=clips)
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    for name, parameter in model.multi_modal_projector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_number_of_placeholders_is_an_error_that_says_both_counts(make_model, clips, change):
    model, processor = make_model()
    inputs = processor(audio=clips[0])
    text = processor.prompt().replace("<|audio|>", "<|audio|>" * (10 + change))
    ids = processor.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with pytest.raises(ValueError, match=rf"found {10 + change} placeholders .* and 10 audio tokens"):
        model(input_ids=ids, input_features=inputs["input_features"])


def test_either_ids_or_embeddings_must_be_given(make_model):
    model, _ = make_model()
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_gives_the_texts_of_its_clips(make_model, clips, num_beams):
    model, processor = make_model()
    together = generate(model, processor, clips, num_beams=num_beams)
    alone = [generate(model, processor, [clip], num_beams=num_beams)[0] for clip in clips]
    assert len({tuple(ids.tolist()) for ids in alone}) == len(clips)  # the clips are told apart
    for ids, expected in zip(together, alone, strict=True):
        assert ids.tolist()[: len(expected)] == expected.tolist()


def test_the_clip_changes_the_text(make_model, clips):
    model, processor = make_model()
    louder = [clips[0], -clips[0][::-1].copy()]
    first, second = generate(model, processor, louder)
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("num_beams", [1, 2])
def test_generate_embeds_the_clip_once(make_model, clips, num_beams):
    model, processor = make_model()
    calls = []
    model.multi_modal_projector.register_forward_hook(lambda *_: calls.append(1))
    generate(model, processor, clips[:1], num_beams=num_beams)
    assert len(calls) == 1


def test_greedy_generation_follows_the_logits_of_one_forward_pass(make_model, clips):
    model, processor = make_model()
    inputs = processor(audio=clips[0])
    with torch.no_grad():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=6)
        logits = model(input_ids=ids, input_features=inputs["input_features"]).logits[0]
    start = inputs["input_ids"].shape[1]
    assert logits[start - 1 : -1].argmax(-1).tolist() == ids[0, start:].tolist()


def test_a_padded_model_reads_its_whole_window(make_model, clips):
    model, processor = make_model(pad_audio=True)
    inputs = processor(audio=clips)
    assert inputs["frame_mask"].all()
    with torch.no_grad():
        output = model.get_audio_features(inputs["input_features"], inputs["frame_mask"])
    assert output.last_hidden_state.shape == (3, 200, 32)
    assert len(output.pooler_output) == 3 * 40
    assert generate(model, processor, clips).shape == (3, 12)


def test_the_window_follows_from_the_positions(make_model):
    model, _ = make_model()
    assert model.config.window_seconds == pytest.approx(4.0)


def test_the_vocabulary_can_be_resized(make_model, clips):
    model, processor = make_model()
    inputs = processor(audio=clips[0])
    with torch.no_grad():
        before = model(**inputs).logits
        size = before.shape[-1]
        model.resize_token_embeddings(size + 7)
        after = model(**inputs).logits
    assert after.shape[-1] == model.config.text_config.vocab_size == size + 7
    torch.testing.assert_close(after[..., :size], before)
    assert model.get_output_embeddings().weight.shape[0] == size + 7
