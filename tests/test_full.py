"""The large pair from folders of the Hub's layout, with very small random models in its parts' places."""

import json
import shutil

import numpy as np
import pytest
import torch
from hub_kit import (
    DECODER,
    ENCODER,
    WIDTHS,
    projector_shapes,
    random_tensors,
    write_own_projector,
    write_projector,
)
from safetensors.torch import load_file, save_file

from asrscope.loading import PAIRS, load, pair, room
from asrscope.loading.pair import PINNED
from asrscope.saving.provenance import provenance_of
from asrscope.scope.tracing import trace


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 16_000).astype(np.float32)


@pytest.fixture
def parts(tmp_path, full_parts):
    write_own_projector(tmp_path / "projector.safetensors")
    return {"projector": tmp_path / "projector.safetensors", **full_parts}


def test_the_trace_holds_what_the_published_classes_compute(parts, clip):
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    model, processor = load("full", **parts, dtype=torch.float32)
    result = trace(model, processor, clip, max_new_tokens=4)
    whisper = WhisperForConditionalGeneration.from_pretrained(parts["encoder"], dtype=torch.float32)
    features = WhisperFeatureExtractor.from_pretrained(parts["encoder"])(
        clip, sampling_rate=16_000, return_tensors="pt"
    )
    with torch.no_grad():
        expected = whisper.model.encoder(features["input_features"]).last_hidden_state[0]
    assert result.encoder_hidden_states.shape == (100, WIDTHS[0])  # padded, as the encoder was trained
    np.testing.assert_allclose(result.encoder_hidden_states, expected.numpy(), atol=2e-4)
    assert result.audio_embeds.shape == (25, WIDTHS[1])
    assert "".join(result.prompt_texts).count("<|audio|>") == 25


def test_weights_are_those_of_the_parts_in_the_type_asked_for(parts, clip):
    from transformers import SmolLM3ForCausalLM, WhisperForConditionalGeneration

    model, processor = load("full", **parts)
    encoder = WhisperForConditionalGeneration.from_pretrained(
        parts["encoder"], dtype=torch.bfloat16
    ).model.encoder
    decoder = SmolLM3ForCausalLM.from_pretrained(parts["decoder"], dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    for name, weight in encoder.state_dict().items():
        assert torch.equal(model.audio_tower.state_dict()[name], weight)
    for name, weight in decoder.model.layers.state_dict().items():
        assert torch.equal(model.language_model.model.layers.state_dict()[name], weight)
    assert np.isfinite(trace(model, processor, clip, max_new_tokens=2).audio_embeds).all()
    stored = {part.part: part.dtype for part in provenance_of(model)}
    assert stored == {"encoder": "float16", "projector": "float32", "decoder": "bfloat16"}


def test_folders_are_unverified_and_counted_as_stored(parts):
    found = provenance_of(load("full", **parts)[0])
    assert [part.trained for part in found] == [None, None, None]
    assert [part.revision for part in found] == [None, None, None]
    whisper = load_file(parts["encoder"] / "model.safetensors")
    encoder = [tensor.numel() for name, tensor in whisper.items() if name.startswith("model.encoder.")]
    assert found[0].parameters == sum(encoder)
    decoder = {}
    for shard in parts["decoder"].glob("*.safetensors"):
        decoder |= load_file(shard)
    assert found[2].parameters == sum(tensor.numel() for tensor in decoder.values())


def test_the_decoder_of_whisper_is_never_read(parts, clip, monkeypatch):
    from asrscope.loading import checkpoints

    def without_its_decoder(file):
        whole = load_file(file)
        aside = [name for name in whole if name.startswith(("model.decoder", "proj_out"))]
        return whole | {name: whole[name].to("meta") for name in aside}

    expected = provenance_of(load("full", **parts)[0])
    monkeypatch.setattr(checkpoints, "load_file", without_its_decoder)
    model, processor = load("full", **parts)
    assert provenance_of(model) == expected
    assert not any(weight.is_meta for weight in model.parameters())
    assert np.isfinite(trace(model, processor, clip, max_new_tokens=1).audio_embeds).all()


def test_an_encoder_in_shards_is_the_same(parts, tmp_path):
    from transformers import WhisperForConditionalGeneration

    sharded = shutil.copytree(parts["encoder"], tmp_path / "sharded")
    (sharded / "model.safetensors").unlink()
    WhisperForConditionalGeneration.from_pretrained(parts["encoder"]).save_pretrained(
        sharded, max_shard_size="20KB"
    )
    assert len(list(sharded.glob("*.safetensors"))) > 2
    whole, parted = (load("full", **parts | {"encoder": folder})[0] for folder in (parts["encoder"], sharded))
    weights = parted.audio_tower.state_dict()
    assert all(torch.equal(weights[name], own) for name, own in whole.audio_tower.state_dict().items())


def test_the_prompt_lets_nothing_think_aloud_and_has_no_date(parts):
    prompt = load("full", **parts)[1].prompt()
    assert prompt.endswith(
        "<|im_start|>user\nTranscribe: <|audio|><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n"
    )
    assert "Date" not in prompt


def test_a_projector_of_a_folder_runs_with_its_prompt_and_remainder(parts, clip, tmp_path):
    tensors = random_tensors(projector_shapes(3, 12))
    folder = write_projector(
        tmp_path / "published", tensors, {"stack_factor": 3, "projector_remainder": "pad"}
    )
    model, processor = load("full", **parts | {"projector": folder})
    assert "Transcribe: <|audio|>" in processor.prompt()
    result = trace(model, processor, clip, max_new_tokens=2)
    assert len(result.audio_embeds) == int(result.prompt_is_audio.sum()) == 34
    projector = provenance_of(model)[1]
    assert (projector.source, projector.trained) == (str(folder), None)
    batch = processor(audio=[clip, clip[:8000]])
    with torch.inference_mode():
        assert (
            model.get_audio_features(batch["input_features"], batch["frame_mask"]).pooler_output.shape[0]
            == 2 * 34
        )


def test_a_projector_that_was_made_for_other_parts_says_so(parts, tmp_path):
    config = {
        "audio_model_id": "openai/whisper-small",
        "text_model_id": "Qwen/Qwen3-0.6B",
        "user_prompt": "Write <audio> down",
        "system_prompt": "",
    }
    folder = write_projector(tmp_path / "published", load_file(parts["projector"]), config)
    model, processor = load("full", **parts | {"projector": folder})
    assert provenance_of(model)[1].source.endswith("(made for openai/whisper-small and Qwen/Qwen3-0.6B)")
    assert "Write <|audio|> down" in processor.prompt()


def test_a_model_that_was_saved_comes_back_the_same(parts, clip, tmp_path):
    tensors = random_tensors(projector_shapes(3, 12))
    folder = write_projector(
        tmp_path / "published", tensors, {"stack_factor": 3, "projector_remainder": "pad"}
    )
    model, processor = load("full", **parts | {"projector": folder}, dtype=torch.float32)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again, its_processor = load(tmp_path / "saved")
    assert its_processor.prompt() == processor.prompt()
    assert its_processor.count_audio_tokens(200) == 34
    inputs, its_inputs = processor(audio=clip), its_processor(audio=clip)
    assert torch.equal(inputs["input_ids"], its_inputs["input_ids"])
    assert torch.equal(again(**its_inputs).logits, model(**inputs).logits)
    # And its projector, in our own format now, serves between the parts again.
    once_more, third = load("full", **parts | {"projector": tmp_path / "saved"}, dtype=torch.float32)
    assert third.prompt() == processor.prompt()
    assert once_more.multi_modal_projector.settings == model.multi_modal_projector.settings


def test_without_a_projector_a_random_one_is_put_in_and_says_so(parts):
    model, _ = load("full", random_projector=True, encoder=parts["encoder"], decoder=parts["decoder"])
    projector = provenance_of(model)[1]
    assert (projector.trained, projector.source) == (False, "random initialization, seed 0")
    assert model.multi_modal_projector.up.weight.dtype == torch.bfloat16


def test_the_placeholder_gets_a_row_that_no_text_comes_from(parts):
    model, processor = load("full", **parts)
    row = model.get_input_embeddings().weight[processor.audio_token_id]
    assert (
        processor.audio_token_id
        == len(processor.tokenizer) - 1
        == len(model.get_input_embeddings().weight) - 1
    )
    assert not row.any()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_device_or_all_of_them_are_taken(parts, clip):
    for device_map in ("auto", "cpu", torch.device("cpu")):
        model, processor = load("full", **parts, device_map=device_map)
        assert trace(model, processor, clip, max_new_tokens=1).audio_embeds.shape == (25, 24)


class TestMemory:
    """What is said of memory, and that nothing is loaded where there is too little."""

    def test_it_is_said_before_anything_is_loaded(self, parts, monkeypatch, capfd):
        monkeypatch.setattr(pair, "LARGE", 0)
        monkeypatch.setattr(pair, "fetch_weights", lambda *_: pytest.fail(capfd.readouterr().err))
        with pytest.raises(pytest.fail.Exception, match=r"full: weights 0\.00 GB .*GB on cpu, .* GB free"):
            load("full", **parts)

    def test_it_goes_to_standard_error_unless_bars_are_switched_off(self, parts, capfd, monkeypatch):
        monkeypatch.setattr(pair, "LARGE", 0)
        load("full", **parts)
        said = capfd.readouterr()
        assert "full: weights" in said.err
        assert said.out == ""
        monkeypatch.setattr(pair, "are_progress_bars_disabled", lambda: True)
        load("full", **parts)
        assert "full: weights" not in capfd.readouterr().err

    def test_a_machine_that_is_too_small_is_told_of_before_weights_are_opened(self, parts, monkeypatch):
        for file in (*parts["encoder"].glob("*.safetensors"), *parts["decoder"].glob("*.safetensors")):
            file.unlink()
        monkeypatch.setattr(room, "free_bytes", lambda _: 1000)
        with pytest.raises(
            MemoryError, match=r"needs 0\.0 GB of memory on cpu, but 0\.0 GB are free\. Quantize"
        ):
            load("full", **parts)


class TestQuantized:
    """Decoders in fewer bits, by the libraries themselves."""

    @pytest.mark.parametrize(("wanted", "bits"), pair.BITS.items())
    def test_the_decoder_computes_nearly_the_same_in_fewer_bits(self, parts, tmp_path, wanted, bits):
        pytest.importorskip("bitsandbytes")
        from hub_kit import write_decoder

        decoder = write_decoder(tmp_path / "wider", width=64)
        tensors = random_tensors(projector_shapes(4, 12, 16, 64))
        parts |= {"decoder": decoder, "projector": write_projector(tmp_path / "p", tensors)}
        plain, processor = load("full", **parts)
        fewer, _ = load("full", **parts, quantize=wanted)
        layer = fewer.language_model.model.layers[0].mlp.up_proj
        assert type(layer.weight) is not torch.nn.Parameter
        assert type(fewer.get_input_embeddings().weight) is torch.nn.Parameter
        assert fewer.audio_tower.conv1.weight.dtype == torch.bfloat16
        ids = torch.tensor([[1, 50, 60, 70, 80]])
        with torch.inference_mode():
            expected, found = (model(input_ids=ids).logits.float() for model in (plain, fewer))
        error = float((found - expected).std() / expected.std())
        assert 0 < error < {8: 0.05, 4: 0.5}[bits]
        decoder_part = provenance_of(fewer)[2]
        assert decoder_part.dtype == f"bfloat16, loaded as {wanted} by bitsandbytes"
        assert decoder_part.sha256 == provenance_of(plain)[2].sha256  # of what is stored
        clip = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
        assert np.isfinite(trace(fewer, processor, clip, max_new_tokens=2).audio_embeds).all()

    def test_a_configuration_of_ones_own_is_passed_on(self, parts):
        pytest.importorskip("bitsandbytes")
        from transformers import BitsAndBytesConfig

        model, _ = load("full", **parts, quantize=BitsAndBytesConfig(load_in_8bit=True))
        assert provenance_of(model)[2].dtype.endswith("loaded as BitsAndBytesConfig")

    def test_what_cannot_be_is_one_clear_error(self, parts, monkeypatch):
        with pytest.raises(ValueError, match=r"one of int8, int4, but found 'int3'"):
            load("full", **parts, quantize="int3")
        monkeypatch.setattr(pair, "find_spec", lambda name: None)
        with pytest.raises(OSError, match="quantize='int4' needs bitsandbytes: pip install bitsandbytes"):
            load("full", **parts, quantize="int4")


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT asks transformers so
def test_an_adapter_that_transformers_puts_into_the_decoder_is_seen(parts, clip, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import SmolLM3ForCausalLM

    decoder = SmolLM3ForCausalLM.from_pretrained(parts["decoder"], dtype=torch.float32)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    peft.get_peft_model(decoder, config).save_pretrained(tmp_path / "lora")
    model, processor = load("full", **parts, dtype=torch.float32)
    ids = torch.tensor([[1, 50, 60, 70]])
    with torch.inference_mode():
        without = model(input_ids=ids).logits
        model.language_model.load_adapter(str(tmp_path / "lora"))
        assert float((model(input_ids=ids).logits - without).abs().max()) > 0.01
    assert provenance_of(model)[2].source == f"changed in memory, once {parts['decoder']}"
    assert trace(model, processor, clip, max_new_tokens=2).audio_embeds.shape == (25, 24)


def change(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


class TestErrors:
    """Each thing that may be wrong: one error that names the file and what to do."""

    @pytest.mark.parametrize(
        ("part", "file", "told"),
        [
            ("encoder", "config.json", r"encoder/config\.json is missing\. Copy or download all files"),
            ("encoder", "preprocessor_config.json", r"preprocessor_config\.json is missing"),
            ("encoder", "model.safetensors", r"encoder holds no \*\.safetensors file"),
            ("decoder", "config.json", r"decoder/config\.json is missing"),
            ("decoder", "tokenizer.json", r"tokenizer\.json is missing"),
            ("decoder", "tokenizer_config.json", r"tokenizer_config\.json is missing"),
            ("decoder", "model-00001-of-00002.safetensors", r"00001-of-00002\.safetensors is missing, which"),
        ],
    )
    def test_a_missing_file_is_named(self, parts, part, file, told):
        (parts[part] / file).unlink()
        with pytest.raises(FileNotFoundError, match=told):
            load("full", **parts)

    def test_a_missing_chat_template_is_told_of(self, parts):
        (parts["decoder"] / "chat_template.jinja").unlink()
        with pytest.raises(ValueError, match=r"no chat template, .* download chat_template\.jinja too"):
            load("full", **parts)

    @pytest.mark.parametrize("part", ["encoder", "decoder"])
    def test_a_file_that_is_cut_short_is_named(self, parts, part):
        file = sorted(parts[part].glob("*.safetensors"))[-1]
        file.write_bytes(file.read_bytes()[:-10])
        with pytest.raises(ValueError, match=rf"{file.name}: it is cut short"):
            load("full", **parts)

    @pytest.mark.parametrize("part", ["encoder", "decoder"])
    def test_pickled_weights_are_not_read(self, parts, part):
        for file in (*parts[part].glob("*.safetensors"), *parts[part].glob("*.index.json")):
            file.unlink()
        (parts[part] / "pytorch_model.bin").write_bytes(b"")
        with pytest.raises(FileNotFoundError, match=r"only as pytorch_model\.bin, which can run code"):
            load("full", **parts)

    def test_weights_of_another_size_than_the_configuration_are_told_of(self, parts):
        change(parts["encoder"] / "config.json", encoder_ffn_dim=48)
        with pytest.raises(
            ValueError,
            match=r"encoder: its files .*layers\.0\.fc1\.bias: expected \(48,\), but found \(32,\)",
        ):
            load("full", **parts)
        change(parts["encoder"] / "config.json", encoder_ffn_dim=32)
        change(
            parts["decoder"] / "config.json", num_hidden_layers=5, no_rope_layers=[1] * 5, layer_types=None
        )
        with pytest.raises(ValueError, match=r"decoder: its files .*layers\.4\..* but found no such tensor"):
            load("full", **parts)

    def test_a_model_of_another_kind_is_told_of(self, parts):
        with pytest.raises(
            ValueError, match=r"expected model_type 'whisper' for the encoder, but found 'smollm3'"
        ):
            load("full", **parts | {"encoder": parts["decoder"]})
        with pytest.raises(
            ValueError, match=r"expected a causal language model of .* but found model_type 'whisper'"
        ):
            load("full", **parts | {"decoder": parts["encoder"]})

    def test_mel_bands_that_differ_are_told_of(self, parts):
        change(parts["encoder"] / "preprocessor_config.json", feature_size=80)
        with pytest.raises(
            ValueError, match=r"preprocessor_config\.json: .*mel bands: expected 128, but found 80"
        ):
            load("full", **parts)

    def test_a_tokenizer_with_more_tokens_than_the_decoder_is_told_of(self, parts):
        change(parts["decoder"] / "config.json", vocab_size=200)
        with pytest.raises(
            ValueError, match=r"tokenizer\.json: .*tokens: expected at most 200, but found 300"
        ):
            load("full", **parts)

    def test_a_projector_that_does_not_fit_shows_its_shapes(self, parts):
        tensors = load_file(parts["projector"])
        save_file(tensors | {"down.weight": torch.zeros(25, 20)}, parts["projector"])
        with pytest.raises(ValueError, match=r"no projector from 16 to 24 dimensions .*; found .*\(25, 20\)"):
            load("full", **parts)

    def test_a_folder_that_is_not_there_is_told_of(self, parts, tmp_path):
        for part in ("encoder", "decoder", "projector"):
            with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder\. Give the path"):
                load("full", **parts | {part: tmp_path / "nowhere"})


def test_revisions_are_commits():
    for revision in PINNED.values():
        assert len(revision) == 40
        assert set(revision) <= set("0123456789abcdef")
    assert {PAIRS["full"]["encoder"], PAIRS["full"]["decoder"]} == {ENCODER, DECODER} <= set(PINNED)


def test_the_other_looks_into_a_model_work_in_bfloat16(parts, clip):
    from asrscope.inside.context import layer_states
    from asrscope.inside.decoder import attend, force, logit_lens

    model, processor = load("full", **parts)
    ids = [50, 60, 70]
    assert np.isfinite(attend(model, processor, clip, ids).weights).all()
    assert np.isfinite(logit_lens(model, processor, clip, ids).entropy).all()
    assert np.isfinite(layer_states(model.audio_tower, processor.features(clip))).all()
    written = force(model, processor, clip, ids)
    assert np.isfinite(written.probabilities.numpy()).all()
