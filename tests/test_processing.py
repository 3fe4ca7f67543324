import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoProcessor, AutoTokenizer, WhisperFeatureExtractor

from asrscope.features import log_mel
from asrscope.processing import AsrScopeProcessor


@pytest.fixture
def processor(make_model):
    return make_model()[1]


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 16_000).astype(np.float32)


def test_a_call_returns_prompt_and_features_of_matching_length(processor, clip):
    inputs = processor(audio=clip)
    assert inputs.keys() == {"input_ids", "attention_mask", "input_features", "frame_mask"}
    assert inputs["input_features"].shape == (1, 80, 100)
    assert inputs["frame_mask"].shape == (1, 100)
    # 100 frames are 50 positions, 5 in an audio token
    assert (inputs["input_ids"] == processor.audio_token_id).sum() == 10
    assert set(inputs.keys()) == set(processor.model_input_names)


def test_features_are_those_of_the_clip_at_its_true_length(processor, clip):
    features = processor(audio=clip)["input_features"][0].numpy()
    np.testing.assert_array_equal(features, log_mel(clip, 80))


def test_the_prompt_is_the_chat_template_with_the_placeholder_repeated(processor, clip):
    text = processor.tokenizer.decode(processor(audio=clip)["input_ids"][0])
    assert text == (
        "<|im_start|>user\ntranscribe: " + "<|audio|>" * 10 + "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_special_tokens_of_the_prompt_are_single_ids(processor, clip, tokenizer):
    ids = processor(audio=clip)["input_ids"][0].tolist()
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert ids[0] == start
    assert ids.count(start) == 2
    assert ids.count(end) == 1


def test_prompts_of_a_batch_are_padded_on_the_left_and_features_on_the_right(processor, clip):
    short, long = clip[:8_000], clip
    inputs = processor(audio=[short, long])
    assert inputs["attention_mask"].sum(1).tolist() == [
        processor(audio=short)["input_ids"].shape[1],
        processor(audio=long)["input_ids"].shape[1],
    ]
    assert inputs["attention_mask"][0].diff().min() >= 0  # zeros, then ones
    assert inputs["input_ids"][0, 0] == processor.tokenizer.pad_token_id
    assert inputs["frame_mask"].sum(1).tolist() == [50, 100]
    assert inputs["frame_mask"][0, :50].all()
    torch.testing.assert_close(
        inputs["input_features"][0, :, :50], processor(audio=short)["input_features"][0]
    )


@pytest.mark.parametrize("samples", [1, 160, 1_599, 1_600])
def test_a_very_short_clip_still_has_one_audio_token(processor, clip, samples):
    inputs = processor(audio=clip[:samples])
    assert (inputs["input_ids"] == processor.audio_token_id).sum() == 1
    assert inputs["input_features"].shape[2] == 10


def test_a_padded_model_gets_what_whispers_extractor_gives(make_model, clip):
    _, processor = make_model(pad_audio=True)
    inputs = processor(audio=clip)
    expected = WhisperFeatureExtractor(feature_size=80, chunk_length=4)(
        clip, sampling_rate=16_000, return_tensors="pt"
    )
    torch.testing.assert_close(inputs["input_features"], expected["input_features"], rtol=0, atol=1e-4)
    assert inputs["frame_mask"].all()
    assert (inputs["input_ids"] == processor.audio_token_id).sum() == 40


def test_a_clip_longer_than_the_window_is_an_error(processor, rng):
    with pytest.raises(ValueError, match=r"up to 4 s, but found 4\.01 s"):
        processor(audio=rng.normal(0, 0.1, 64_160).astype(np.float32))
    assert processor(audio=np.zeros(64_000, np.float32))["input_features"].shape == (1, 80, 400)


def test_an_empty_clip_is_an_error(processor):
    with pytest.raises(ValueError, match="at least one sample"):
        processor(audio=np.zeros(0, np.float32))


def test_no_clips_are_an_error(processor):
    with pytest.raises(ValueError, match="0 clips"):
        processor(audio=[])


def test_a_call_as_of_other_processors_gives_the_same(processor, clip):
    expected = processor(audio=clip)
    for audio in (clip, torch.from_numpy(clip), clip.tolist(), clip.astype(np.float64), [clip], (clip,)):
        found = processor(audio, sampling_rate=16_000, return_tensors="pt")
        assert all(torch.equal(found[name], expected[name]) for name in processor.model_input_names)
    pair = processor([torch.from_numpy(clip), clip[:8_000].tolist()])
    assert torch.equal(pair["input_features"][0], expected["input_features"][0])


def test_another_rate_is_resampled_and_integers_are_scaled(processor):
    def tone(rate):
        return (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.float32)

    expected = processor(audio=tone(16_000))["input_features"]
    for rate in (8_000, 44_100):
        found = processor(tone(rate), sampling_rate=rate)["input_features"]
        assert found.shape == expected.shape
        assert (
            found[0].max(dim=1).values.argmax() == expected[0].max(dim=1).values.argmax()
        )  # the band of 440 Hz
    whole = processor((tone(16_000) * 32_768).astype(np.int16))["input_features"]
    assert (
        float((whole - expected).abs()[expected > expected.max() - 1].max()) < 0.01
    )  # 40 dB below the loudest


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_beyond_full_scale_are_scaled_down_and_said(processor, clip, kind):
    """Integers that were cast but not scaled, for example: taken as they are, they are nonsense."""
    loud = clip.astype(kind) * (30_000 / np.abs(clip).max())
    with pytest.warns(UserWarning, match=r"samples reach 3e\+04, beyond full scale"):
        found = processor(loud)["input_features"]
    expected = processor(clip / np.abs(clip).max())["input_features"]
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("audio", "options", "message"),
    [
        (np.zeros((2, 8000), np.float32), {}, r"expected shape \(samples,\), but found \(2, 8000\)"),
        (np.zeros((8000, 2), np.float32), {}, r"expected shape \(samples,\), but found \(8000, 2\)"),
        (torch.zeros(2, 8000), {}, r"expected shape \(samples,\), but found \(2, 8000\)"),
        ([np.zeros((2, 8000), np.float32)], {}, r"expected shape \(samples,\), but found \(2, 8000\)"),
        (np.ones(8000, bool), {}, "expected float samples"),
        (np.full(8000, np.nan), {}, "not finite|NaN"),
        ("clip.wav", {}, r"Expected samples, but found 'clip.wav'.*load_audio"),
        (["a.wav", "b.wav"], {}, "expected float samples"),
        (np.ones(8000, np.float32), {"sampling_rate": -1}, "rate"),
        (np.ones(8000, np.float32), {"return_tensors": "np"}, "return_tensors='pt', but found 'np'"),
        (np.ones(16_000, np.float32), {"max_length": 12, "truncation": True}, "leave out truncation"),
    ],
)
def test_what_is_no_clip_is_refused_in_words(processor, audio, options, message):
    with pytest.raises(ValueError, match=message):
        processor(audio, **options)


def test_prompts_may_be_given_and_are_checked(processor, clip):
    inputs = processor(audio=clip, text="the clock <|audio|>")
    assert processor.tokenizer.decode(inputs["input_ids"][0]) == "the clock " + "<|audio|>" * 10
    with pytest.raises(ValueError, match=r"once, .* found it 0 times in 'the clock'"):
        processor(audio=clip, text="the clock")
    with pytest.raises(ValueError, match="found it 2 times"):
        processor(audio=clip, text="<|audio|><|audio|>")
    with pytest.raises(ValueError, match="2 prompts and 1 clips"):
        processor(audio=clip, text=["<|audio|>", "<|audio|>"])


def test_a_saved_processor_gives_the_same_inputs(make_model, clip, tmp_path):
    _, processor = make_model(pad_audio=True, stack_factor=3)
    processor.instruction = "write: "
    processor.save_pretrained(tmp_path)
    again = AsrScopeProcessor.from_pretrained(tmp_path)
    first, second = processor(audio=clip), again(audio=clip)
    assert all(torch.equal(first[name], second[name]) for name in processor.model_input_names)
    assert again.prompt() == processor.prompt()
    assert (again.stack_factor, again.pad_audio) == (3, True)


def test_auto_classes_find_processor_tokenizer_and_feature_extractor(make_checkpoint):
    path = make_checkpoint()
    assert isinstance(AutoProcessor.from_pretrained(path), AsrScopeProcessor)
    assert isinstance(AutoFeatureExtractor.from_pretrained(path), WhisperFeatureExtractor)
    assert AutoTokenizer.from_pretrained(path).eos_token == "<|im_end|>"


def test_decoding_is_the_tokenizers(processor, tokenizer):
    ids = tokenizer.encode("the old clock")
    assert processor.decode(ids) == "the old clock"
    assert processor.batch_decode([ids, ids]) == ["the old clock"] * 2
