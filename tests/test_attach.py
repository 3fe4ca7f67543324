"""The scope on each architecture of transformers, against the model's own calls, bit for bit in float32."""

import json
import re
import zlib
from base64 import b64decode

import jsonschema
import numpy as np
import pytest
import torch
from native_kit import ARCHITECTURES, NEEDS_TORCHAUDIO, save_tiny
from typer.testing import CliRunner

import asrscope
from asrscope import plots
from asrscope.cli import app
from asrscope.loading import load_native
from asrscope.plots.report import write_html, write_json
from asrscope.scope.traces import ARRAY_AXES, STAGES, Trace, trace_schema
from asrscope_course.architectures import tiny_random

SECONDS = 2.4
TOKENS = 6
# Of the published models: milliseconds of a position and of an audio token, and positions stacked.
STEPS = {
    "voxtral": (20, 80, 4),
    "glmasr": (20, 80, 4),
    "audioflamingo3": (40, 40, None),
    "qwen2_audio": (40, 40, None),
    "granite_speech": (20, 100, None),
}
# Of a clip of 2.4 s: frames, positions and audio tokens. Voxtral's decoder reads the padding to 30 s as well.
LENGTHS = {
    "voxtral": (3000, 1500, 375),
    "glmasr": (240, 120, 30),
    "audioflamingo3": (240, 60, 60),
    "qwen2_audio": (240, 60, 60),
    "granite_speech": (240, 120, 24),  # eight windows of 15 positions, three queries each
}


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(5)
    time = np.arange(int(SECONDS * 16_000)) / 16_000
    voice = sum(np.sin(2 * np.pi * 120 * n * time) / n for n in range(1, 20))
    return (0.1 * voice * np.sin(np.pi * 3 * time) ** 2 + rng.normal(0, 0.003, time.size)).astype(np.float32)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Each architecture, from a directory in the Hub's layout."""
    folder = tmp_path_factory.mktemp("native")
    return {
        name: tiny_random(name) if name == NEEDS_TORCHAUDIO else load_native(save_tiny(name, folder))
        for name in ARCHITECTURES
    }


@pytest.fixture(scope="module")
def scopes(loaded):
    return {name: asrscope.attach(*pair) for name, pair in loaded.items()}


@pytest.fixture(scope="module")
def traces(scopes, clip):
    words = (("hum", 0.2, 0.9), ("hum", 1.1, 2.0))
    return {
        name: scope.trace(clip, max_new_tokens=TOKENS, reference="hum hum", reference_words=words)
        for name, scope in scopes.items()
    }


def own_inputs(scope, clip):
    """What the model's own processor makes of the clip, by the call that its documentation shows."""
    processor, name = scope.processor, scope.model.config.model_type
    if name in ("glmasr", "audioflamingo3"):
        return processor.apply_transcription_request(clip)
    if name == "granite_speech":
        chat = [
            {
                "role": "user",
                "content": "<|audio|>can you transcribe the speech into a written format?",
            }
        ]
        text = processor.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return processor(text, torch.from_numpy(clip)[None], return_tensors="pt")
    if name == "qwen2_audio":
        content = [{"type": "audio"}, {"type": "text", "text": "Transcribe the speech into text."}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return processor(text=text, audio=[clip], sampling_rate=16_000, return_tensors="pt")
    features = processor.feature_extractor(
        clip, sampling_rate=16_000, padding="max_length", return_tensors="pt"
    )
    prompt = "<s>[INST][BEGIN_AUDIO]" + 375 * "[AUDIO]" + "[/INST][TRANSCRIBE]"
    tokens = processor.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    return {
        "input_ids": tokens["input_ids"],
        "attention_mask": tokens["attention_mask"],
        "input_features": features["input_features"],
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_prompt_and_the_features_are_those_of_the_models_own_processor(
    architecture, scopes, traces, clip
):
    scope, trace = scopes[architecture], traces[architecture]
    inputs = own_inputs(scope, clip)
    np.testing.assert_array_equal(trace.prompt_ids, inputs["input_ids"][0])
    features = inputs["input_features"][0].numpy()
    frames = LENGTHS[architecture][0]
    if architecture == "granite_speech":  # two frames of 80 bands stand side by side in a column of 160
        np.testing.assert_array_equal(trace.log_mel[:, 0::2], features[:, :80].T)
        np.testing.assert_array_equal(trace.log_mel[:, 1::2], features[:, 80:].T)
    else:
        np.testing.assert_array_equal(trace.log_mel, features[:, :frames])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_arrays_are_those_of_the_models_own_forward_pass(architecture, scopes, traces, clip):
    scope, trace = scopes[architecture], traces[architecture]
    model, inputs = scope.model, own_inputs(scope, clip)
    with torch.inference_mode():
        if (
            architecture == "qwen2_audio"
        ):  # has no get_audio_features; its mask has nothing to hide in a tower
            mask = torch.zeros(1, 1, 1, 1500).masked_fill(torch.arange(1500) >= 120, -torch.inf)
            hidden = model.model.audio_tower(
                inputs["input_features"], attention_mask=mask.expand(1, 1, 1500, 1500)
            ).last_hidden_state
            embeds = model.model.multi_modal_projector(hidden)[0, :60]
        else:
            masked = architecture in ("glmasr", "audioflamingo3")
            further = {"input_features_mask": inputs["input_features_mask"]} if masked else {}
            outputs = model.get_audio_features(inputs["input_features"], **further)
            hidden, embeds = outputs.last_hidden_state, outputs.pooler_output
            embeds = embeds[0] if embeds.ndim == 3 else embeds
    positions = LENGTHS[architecture][1]
    if architecture == "qwen2_audio":
        np.testing.assert_allclose(trace.encoder_hidden_states, hidden[0, :positions], atol=1e-5)
        np.testing.assert_allclose(trace.audio_embeds, embeds, atol=1e-5)
    else:
        np.testing.assert_array_equal(trace.encoder_hidden_states, hidden[0, :positions])
        np.testing.assert_array_equal(trace.audio_embeds, embeds)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_decoder_read_the_audio_tokens_that_are_shown(architecture, scopes, traces, clip):
    scope, trace = scopes[architecture], traces[architecture]
    inputs = own_inputs(scope, clip)
    decoder = scope.model.model.language_model
    read = []
    handle = decoder.register_forward_pre_hook(
        lambda _, __, kwargs: read.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with torch.inference_mode():
        logits = scope.model(**inputs).logits[0, -1]
    handle.remove()
    np.testing.assert_array_equal(read[0][0][trace.prompt_is_audio], trace.audio_embeds)
    probabilities = logits.softmax(-1)
    first = trace.tokens[0]
    assert first.id == int(probabilities.argmax())
    assert first.probability == pytest.approx(float(probabilities.max()), rel=1e-5)


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_text_is_that_of_the_models_own_generate(architecture, num_beams, scopes, traces, clip):
    scope = scopes[architecture]
    inputs = own_inputs(scope, clip)
    ids = scope.model.generate(**inputs, do_sample=False, num_beams=num_beams, max_new_tokens=TOKENS)
    written = ids[0, inputs["input_ids"].shape[1] :].tolist()
    trace = (
        traces[architecture]
        if num_beams == 1
        else scope.trace(clip, num_beams=num_beams, max_new_tokens=TOKENS)
    )
    end = [scope.model.generation_config.eos_token_id] if trace.finished else []
    assert [token.id for token in trace.tokens] + end == written
    expected = scope.processor.tokenizer.decode(written, skip_special_tokens=True).strip()
    assert trace.text == expected
    # Every beam read the same clip.
    np.testing.assert_allclose(trace.audio_embeds, traces[architecture].audio_embeds, atol=1e-5)
    assert trace.shapes() == traces[architecture].shapes()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lengths_and_times_are_those_of_the_architecture(architecture, traces):
    trace = traces[architecture]
    position, token, stacked = STEPS[architecture]
    assert trace.seconds_per_frame == 0.01
    assert trace.seconds_per_position == pytest.approx(position / 1000)
    assert trace.seconds_per_audio_token == pytest.approx(token / 1000)
    assert trace.stack_factor == stacked
    lengths = trace.log_mel.shape[1], len(trace.encoder_hidden_states), len(trace.audio_embeds)
    assert lengths == LENGTHS[architecture]
    assert trace.window_seconds == (None if architecture == "granite_speech" else 30)
    assert trace.padding_tokens == (345 if architecture == "voxtral" else 0)
    assert trace.frames_per_column == (2 if architecture == "granite_speech" else 1)
    assert trace.mel_scale == ("htk" if architecture == "granite_speech" else "slaney")
    assert trace.prompt_is_audio.sum() == len(trace.audio_embeds)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_a_model_does_not_have_is_not_pretended(architecture, traces):
    trace = traces[architecture]
    told = trace.projection + " ".join(plots.prompt_length(trace))
    assert ("stacked" in told.replace("nothing is stacked", "")) == (STEPS[architecture][2] is not None)
    assert ("Q-Former" in told) == (architecture == "granite_speech")
    assert ("averages pairs" in told) == (architecture in ("audioflamingo3", "qwen2_audio"))
    audio = next(stage for stage in STAGES if stage.key == "audio_embeds")
    assert trace.about(audio) == f"{trace.projection}."


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_report_plots_and_files_are_written_of_it(architecture, traces, tmp_path):
    trace = traces[architecture]
    write_html(trace, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert trace.architecture in page
    assert "unverified" in page
    for key in ("waveform", "log_mel"):
        packed = re.search(rf'id="packed-plot-{key}">([^<]+)', page)[1]
        figure = zlib.decompress(b64decode(packed))
        # Where the decoder reads padding, a figure begins at the clip alone, and says so once.
        assert figure.count(b"padding follows: zoom out") == (architecture == "voxtral")
    write_json(trace, tmp_path / "trace.json")
    record = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    jsonschema.validate(record, trace_schema())
    assert record["stack_factor"] == trace.stack_factor
    trace.save(tmp_path / "trace.npz")
    again = Trace.load(tmp_path / "trace.npz")
    for field in ARRAY_AXES:
        np.testing.assert_array_equal(getattr(again, field), getattr(trace, field))
    assert again.to_dict() == trace.to_dict()


def test_a_random_model_says_so(clip):
    trace = asrscope.trace(*tiny_random("glmasr", seed=3), clip, max_new_tokens=2)
    assert {part.label for part in trace.provenance} == {"random weights"}
    assert {part.source for part in trace.provenance} == {"random initialization, seed 3"}


def test_a_loaded_model_is_named_but_not_taken_for_trained(loaded, traces):
    model, _ = loaded["qwen2_audio"]
    for part in traces["qwen2_audio"].provenance:
        assert part.source == model.name_or_path
        assert part.trained is None
    parameters = {part.part: part.parameters for part in traces["qwen2_audio"].provenance}
    assert parameters["encoder"] == sum(p.numel() for p in model.model.audio_tower.parameters())


def test_the_command_line_takes_a_directory_of_transformers(tmp_path):
    path = save_tiny("glmasr", tmp_path)
    command = [
        "trace",
        "captain",
        "--model",
        str(path),
        "--max-new-tokens",
        "3",
        "--instruction",
        "Repeat it.",
    ]
    done = CliRunner().invoke(
        app, [*command, "--json", str(tmp_path / "t.json"), "--html", str(tmp_path / "t.html")]
    )
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    jsonschema.validate(record, trace_schema())
    assert record["architecture"] == "GlmAsrForConditionalGeneration"
    assert "Repeat it." in "".join(record["prompt_texts"])
    assert "GlmAsrForConditionalGeneration" in (tmp_path / "t.html").read_text(encoding="utf-8")
    refused = CliRunner().invoke(app, [*command, "--random-projector"])
    assert refused.exit_code == 2
    assert "random projector: only for models of this package" in refused.stderr


def test_a_repository_in_the_cache_is_traced_without_the_hub(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--someone--tiny-voxtral"
    (cached / "snapshots").mkdir(parents=True)
    save_tiny("voxtral", tmp_path).rename(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    command = ["trace", "captain", "--model", "someone/tiny-voxtral", "--max-new-tokens", "2"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = CliRunner().invoke(app, [*command, "--json", str(tmp_path / "trace.json")])
    assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
    assert record["architecture"] == "VoxtralForConditionalGeneration"
    assert {(part["source"], part["revision"]) for part in record["provenance"]} == {
        ("someone/tiny-voxtral", commit)
    }
    assert {part["trained"] for part in record["provenance"]} == {None}
