"""What a scope takes: other models of the same names, long clips, wrappings, types; and what it refuses."""

import json
from base64 import b64encode
from copy import deepcopy

import numpy as np
import pytest
import torch
from native_kit import other_models, save_tiny, tiny_random
from transformers import WhisperFeatureExtractor, WhisperProcessor

import asrscope
from asrscope.loading import is_native
from asrscope.scope.traces import STAGES


@pytest.fixture(scope="module")
def clip():
    return np.random.default_rng(5).normal(0, 0.1, 38_400).astype(np.float32)


@pytest.fixture(scope="module")
def long_clip():
    rng = np.random.default_rng(6)
    return (rng.normal(0, 0.1, 33 * 16_000) * np.linspace(0.1, 1, 33 * 16_000)).astype(np.float32)


@pytest.fixture(scope="module")
def tiny():
    made = {}

    def get(architecture):
        if architecture not in made:
            made[architecture] = tiny_random(architecture)
        return made[architecture]

    return get


# Of 2.4 s: mel bands, frames, positions, audio tokens, positions stacked, milliseconds of an audio token.
OTHERS = {
    "musicflamingo": (128, 240, 60, 60, None, 40),
    "moss_transcribe_diarize": (80, 240, 120, 30, 4, 80),
    "qwen3_asr": (128, 240, 31, 31, None, 2400 / 31),
    "granite_speech_plus": (80, 240, 120, 24, None, 100),
}


@pytest.fixture(scope="module")
def others():
    return other_models()


@pytest.mark.parametrize("kind", OTHERS)
def test_models_of_the_same_names_fall_out(kind, others, clip):
    model, processor = others[kind]
    trace = asrscope.attach(model, processor).trace(clip, max_new_tokens=3)
    n_mels, frames, positions, audio_tokens, stacked, milliseconds = OTHERS[kind]
    assert trace.log_mel.shape == (n_mels, frames)
    assert len(trace.encoder_hidden_states) == positions
    assert len(trace.audio_embeds) == audio_tokens
    assert trace.stack_factor == stacked
    assert trace.seconds_per_audio_token == pytest.approx(milliseconds / 1000)
    read = []
    decoder = model.model.language_model
    handle = decoder.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    asrscope.attach(model, processor).trace(clip, max_new_tokens=1)
    handle.remove()
    np.testing.assert_array_equal(read[0][0][trace.prompt_is_audio], trace.audio_embeds)


def test_of_an_unknown_kind_the_mel_scale_is_not_guessed(others, clip):
    trace = asrscope.trace(*others["qwen3_asr"], clip, max_new_tokens=1)
    assert trace.mel_scale == "unknown"
    from asrscope import plots

    assert "Hz" not in plots.describe(trace, "log_mel")
    assert plots.log_mel(trace).yaxis[0].axis_label == "mel band"
    assert all("Hz" not in row[-1] for row in plots.table(trace, "log_mel").rows)


@pytest.mark.parametrize("kind", ["glmasr", "audioflamingo3", "voxtral"])
def test_a_clip_of_several_windows_is_one_trace(kind, tiny, long_clip):
    model, processor = tiny(kind)
    scope = asrscope.attach(model, processor)
    trace = scope.trace(long_clip, max_new_tokens=2)
    features = processor.feature_extractor(
        [long_clip[: 30 * 16_000], long_clip[30 * 16_000 :]],
        sampling_rate=16_000,
        return_attention_mask=True,
        return_tensors="pt",
    )
    masked = {} if kind == "voxtral" else {"input_features_mask": features["attention_mask"]}
    if kind == "voxtral":  # its processor takes the spectrogram of the whole clip, then cuts it
        whole = processor.feature_extractor(
            np.pad(long_clip, (0, 27 * 16_000)),
            sampling_rate=16_000,
            truncation=False,
            padding=False,
            return_tensors="pt",
        )["input_features"][0]
        windows = torch.stack([whole[:, :3000], whole[:, 3000:]])
    else:
        windows = features["input_features"]
    with torch.inference_mode():
        outputs = model.get_audio_features(windows, **masked)
    embeds = outputs.pooler_output
    np.testing.assert_array_equal(trace.audio_embeds, embeds)
    assert trace.window_seconds == 60
    seconds = 60 if kind == "voxtral" else 33
    assert len(trace.audio_embeds) * trace.seconds_per_audio_token == pytest.approx(seconds, abs=0.08)
    assert len(trace.encoder_hidden_states) * trace.seconds_per_position == pytest.approx(seconds)
    with pytest.raises(ValueError, match=r"in 2 windows, which the beam search .* num_beams=2"):
        scope.trace(long_clip, num_beams=2)


def test_the_beam_search_of_transformers_does_mix_up_windows(tiny, long_clip):
    # The reason of the error above: when this fails, transformers has learned it, and the error can go.
    model, processor = tiny("glmasr")
    inputs = processor.apply_transcription_request(long_clip)
    read = []
    handle = model.model.language_model.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    for beams in (1, 2):
        model.generate(**inputs, num_beams=beams, max_new_tokens=1, do_sample=False)
    handle.remove()
    alone, first_beam = read[0][0], read[1][0]
    assert not torch.allclose(alone, first_beam, atol=1e-3)


def test_what_qwen2_audio_would_cut_is_an_error(tiny, long_clip):
    with pytest.raises(ValueError, match=r"clips of up to 30 s, but found 33\.00 s"):
        asrscope.trace(*tiny("qwen2_audio"), long_clip)


@pytest.mark.parametrize("kind", ["voxtral", "glmasr", "qwen2_audio", "granite_speech"])
def test_a_model_in_bfloat16_gives_float32_arrays_of_its_very_numbers(kind, tiny, clip):
    model, processor = deepcopy(tiny(kind)[0]).bfloat16(), tiny(kind)[1]
    trace = asrscope.trace(model, processor, clip, max_new_tokens=2)
    for array in (trace.encoder_hidden_states, trace.audio_embeds, trace.log_mel):
        assert array.dtype == np.float32
    rounded = torch.from_numpy(trace.audio_embeds).bfloat16().float().numpy()
    np.testing.assert_array_equal(trace.audio_embeds, rounded)
    assert {part.dtype for part in trace.provenance} <= {"bfloat16", "bfloat16, float32"}


def test_an_instruction_stands_in_the_prompt(tiny, clip):
    for kind in ("voxtral", "glmasr", "audioflamingo3", "qwen2_audio", "granite_speech"):
        trace = asrscope.trace(*tiny(kind), clip, instruction="Who speaks?", max_new_tokens=1)
        assert "Who speaks?" in "".join(trace.prompt_texts)


def test_voxtrals_prompt_is_that_of_mistrals_own_tokenizer(tiny, clip, tmp_path):
    pytest.importorskip("mistral_common")  # asks for an older NumPy than the other packages are tested with
    from transformers import MistralCommonBackend, VoxtralForConditionalGeneration, VoxtralProcessor

    model, plain = tiny("voxtral")
    names = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]"}
    names |= {17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]", 34: "[TRANSCRIBE]", 11: "<pad>", 10: "[IMG]"}
    names |= {5: "[AVAILABLE_TOOLS]", 6: "[/AVAILABLE_TOOLS]", 7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]"}
    names |= {9: "[TOOL_CALLS]", 12: "[IMG_BREAK]", 13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]"}
    names |= {16: "[SUFFIX]", 19: "[TOOL_CONTENT]", 32: "[ARGS]", 33: "[CALL_ID]"}
    tekken = {
        "config": {
            "pattern": r"\s+|\S+",
            "num_vocab_tokens": 256,
            "default_vocab_size": 296,
            "default_num_special_tokens": 40,
            "version": "v11",
        },
        "vocab": [
            {"rank": i, "token_bytes": b64encode(bytes([i])).decode(), "token_str": None} for i in range(256)
        ],
        "special_tokens": [
            {"rank": i, "token_str": names.get(i, f"<SPECIAL_{i}>"), "is_control": True} for i in range(40)
        ],
        "audio": {
            "sampling_rate": 16_000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
        },
    }
    (tmp_path / "tekken.json").write_text(json.dumps(tekken))
    tokenizer = MistralCommonBackend.from_pretrained(tmp_path)
    config = deepcopy(model.config)
    config.text_config.vocab_size = len(tokenizer)
    bytewise = VoxtralForConditionalGeneration(config).eval()
    theirs = VoxtralProcessor(plain.feature_extractor, tokenizer)
    for instruction in (None, "Who speaks?"):
        found = asrscope.trace(bytewise, theirs, clip, instruction=instruction, max_new_tokens=1)
        ours = asrscope.trace(model, plain, clip, instruction=instruction, max_new_tokens=1)
        assert "".join(found.prompt_texts) == "".join(ours.prompt_texts)
        assert found.prompt_is_audio.sum() == ours.prompt_is_audio.sum() == 375


def test_our_own_model_takes_an_instruction_too(make_model, clip):
    model, processor = make_model()
    trace = asrscope.attach(model, processor).trace(clip, instruction="hear: ", max_new_tokens=1)
    assert "".join(trace.prompt_texts).startswith("<|im_start|>user\nhear: <|audio|>")
    assert processor.instruction == "transcribe: "


# PEFT asks transformers for what it is about to rename.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_a_model_wrapped_by_peft_is_traced_with_its_adapters(tiny, clip):
    peft = pytest.importorskip("peft")
    model, processor = deepcopy(tiny("qwen2_audio")[0]), tiny("qwen2_audio")[1]
    plain = asrscope.trace(model, processor, clip, max_new_tokens=3)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=r".*language_model.*q_proj"))
    same = asrscope.trace(wrapped, processor, clip, max_new_tokens=3)  # fresh adapters change nothing
    np.testing.assert_array_equal(same.audio_embeds, plain.audio_embeds)
    assert same.text == plain.text
    decoders = [trace.provenance[2].parameters for trace in (plain, same)]
    assert decoders[1] > decoders[0]
    assert same.architecture == "Qwen2AudioForConditionalGeneration"


def test_a_model_that_accelerate_has_dispatched_is_traced(tiny, clip):
    from accelerate import cpu_offload

    plain = asrscope.trace(*tiny("glmasr"), clip, max_new_tokens=3)
    model, processor = deepcopy(tiny("glmasr")[0]), tiny("glmasr")[1]
    cpu_offload(model.model.audio_tower, execution_device=torch.device("cpu"))
    found = asrscope.trace(model, processor, clip, max_new_tokens=3)
    np.testing.assert_array_equal(found.audio_embeds, plain.audio_embeds)
    encoder, *others = found.provenance
    assert (encoder.sha256, encoder.trained) == ("", None)  # its weights are elsewhere until they are used
    assert all(len(part.sha256) == 64 for part in others)


def test_weights_changed_after_a_trace_are_said_to_be(clip):
    model, processor = tiny_random("granite_speech")
    scope = asrscope.attach(model, processor)
    assert scope.trace(clip, max_new_tokens=1).provenance[1].label == "random weights"
    with torch.no_grad():
        model.model.projector.linear.weight.add_(1)
    changed = scope.trace(clip, max_new_tokens=1).provenance
    assert changed[1].source == "changed in memory, once random initialization, seed 0"
    assert [part.trained for part in changed] == [False, None, False]


def test_hooks_are_gone_afterwards(tiny, clip):
    model, processor = tiny("granite_speech")
    asrscope.trace(model, processor, clip, max_new_tokens=1)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_stages_speak_of_the_model_at_hand(tiny, make_trace, clip):
    about = {stage.key: stage for stage in STAGES}
    granite = asrscope.trace(*tiny("granite_speech"), clip, max_new_tokens=1)
    assert "reads 2 frames as one column" in granite.about(about["log_mel"])
    assert granite.about(about["encoder_output"]) == "One vector every 20 ms."
    qwen = asrscope.trace(*tiny("qwen2_audio"), clip, max_new_tokens=1)
    assert qwen.about(about["encoder_output"]) == "One vector every 40 ms."
    assert "padded to 30 s" in qwen.about(about["log_mel"])
    assert [axis.seconds_per_step for axis in qwen.axes(about["encoder_output"])] == [0.04, None]
    ours = make_trace()
    assert all(ours.about(stage) == stage.description for stage in STAGES)


def test_something_else_than_a_model_is_an_error(tiny):
    with pytest.raises(TypeError, match="Expected a model of transformers, but found str"):
        asrscope.attach("mistralai/Voxtral-Mini-3B-2507", tiny("voxtral")[1])


def test_a_processor_of_another_kind_is_an_error(tiny):
    model, processor = tiny("voxtral")
    other = WhisperProcessor(WhisperFeatureExtractor(), processor.tokenizer)
    with pytest.raises(ValueError, match=r"must be given a VoxtralProcessor, but found a WhisperProcessor"):
        asrscope.attach(model, other)


@pytest.mark.parametrize("kind", ["glmasr", "granite_speech"])
def test_a_missing_chat_template_is_an_error(kind, tiny, clip):
    model, processor = tiny(kind)
    bare = deepcopy(processor)
    bare.chat_template = bare.tokenizer.chat_template = None
    with pytest.raises(
        ValueError, match=r"made with a chat template, but neither .* nor its tokenizer has one"
    ):
        asrscope.trace(model, bare, clip)


def test_a_prompt_without_placeholders_is_an_error(tiny, clip):
    model, processor = deepcopy(tiny("glmasr")[0]), tiny("glmasr")[1]
    model.config.audio_token_id = 1
    scope = asrscope.attach(model, processor)
    object.__setattr__(scope.anatomy, "audio_token_id", 299)
    with pytest.raises(ValueError, match=r"must hold audio placeholders \(token 299\)"):
        scope.trace(clip)


def test_directories_of_transformers_are_told_from_our_own(tmp_path, make_checkpoint):
    assert is_native(save_tiny("granite_speech", tmp_path))
    assert not is_native(make_checkpoint())
    assert not is_native("tiny")
    assert is_native("somebody/something")  # the Hub tells when it is loaded
    assert not is_native(tmp_path / "nothing" / "there" / "at" / "all")
    (tmp_path / "config.json").write_text("[]")
    assert not is_native(tmp_path)
