import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import WhisperModel

from asrscope.presets import FULL_DECODER_REVISION, FULL_ENCODER_REVISION, load
from asrscope.projector import AudioProjector
from asrscope.provenance import provenance_of
from asrscope.tracing import trace


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 16_000).astype(np.float32)


def test_a_saved_model_is_loaded_in_float32_and_ready_to_run(make_model, make_checkpoint, clip):
    original, _ = make_model()
    model, processor = load(make_checkpoint())
    assert model.dtype == torch.float32
    assert not model.training
    inputs = processor(audio=clip)
    assert torch.equal(
        model.generate(**inputs, max_new_tokens=5), original.generate(**inputs, max_new_tokens=5)
    )


def test_the_bundled_weights_are_named_the_same_on_every_machine(make_checkpoint, monkeypatch):
    path = make_checkpoint()
    monkeypatch.setattr("asrscope.presets.CHECKPOINTS", path.parent)
    model, _ = load(path)
    assert {part.source for part in provenance_of(model)} == {f"asrscope/checkpoints/{path.name}"}


@pytest.mark.parametrize("what", ["missing", "empty", "other", "broken"])
def test_what_is_no_model_is_one_clear_error(tmp_path, what):
    path = tmp_path / what
    if what != "missing":
        path.mkdir()
    if what == "other":
        (path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    if what == "broken":
        (path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=f"{what} is no model of this package: expected 'tiny', 'full' or"):
        load(path)


def test_a_model_without_weights_is_one_clear_error(make_checkpoint):
    path = make_checkpoint()
    (path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors"):
        load(path)


def test_pickled_weights_are_not_read(make_checkpoint):
    path = make_checkpoint()
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors"):
        load(path)


def test_options_of_the_full_preset_do_not_pass_unnoticed(make_checkpoint):
    with pytest.raises(ValueError, match="Only the preset 'full' has further options, but found projector"):
        load(make_checkpoint(), projector="somewhere")


def test_loading_draws_no_progress_bars(make_checkpoint, capfd):
    path = make_checkpoint()
    capfd.readouterr()
    load(path)
    assert capfd.readouterr() == ("", "")


def test_a_random_projector_is_asked_for_and_says_so(make_checkpoint):
    path = make_checkpoint()
    trained, _ = load(path)
    first, _ = load(path, random_projector=True, seed=0)
    again, _ = load(path, random_projector=True, seed=0)
    other, _ = load(path, random_projector=True, seed=1)
    gates = [model.multi_modal_projector.gate.weight for model in (first, again, other, trained)]
    assert torch.equal(gates[0], gates[1])
    assert not torch.equal(gates[0], gates[2])
    assert not torch.equal(gates[0], gates[3])
    projector = provenance_of(other)[1]
    assert projector.trained is False
    assert projector.source == "random initialization, seed 1"
    assert provenance_of(other)[0] == provenance_of(trained)[0]


def test_a_random_projector_leaves_the_random_state_alone(make_checkpoint):
    path = make_checkpoint()
    load(path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load(path, random_projector=True)
    assert torch.equal(torch.rand(3), expected)


def test_random_audio_tokens_are_as_long_as_text_embeddings(make_checkpoint, clip):
    model, processor = load(make_checkpoint(), random_projector=True)
    with torch.no_grad():
        audio = model.get_audio_features(processor(audio=clip)["input_features"]).pooler_output
        table = model.get_input_embeddings().weight
        lengths = [float(vectors.square().mean().sqrt()) for vectors in (audio, table)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.05)


def test_a_projector_of_other_layers_comes_back_from_disk_trained_and_random(make_checkpoint):
    path = make_checkpoint(projector_norm="none", projector_mlp="gelu")
    for random_projector in (False, True):
        model, _ = load(path, random_projector=random_projector)
        names = [name for name, _ in model.multi_modal_projector.named_parameters()]
        assert names == ["up.weight", "down.weight"]


class TestFull:
    """The full preset, with very small random models in the places of the published ones."""

    @pytest.fixture
    def parts(self, tmp_path, full_parts):
        projector = AudioProjector(encoder_dim=16, decoder_dim=24, stack_factor=4, hidden_size=20)
        save_file(projector.state_dict(), tmp_path / "projector.safetensors")
        return {"projector": tmp_path / "projector.safetensors", **full_parts}

    def test_parts_of_any_size_are_put_together_and_run(self, parts, clip):
        model, processor = load("full", **parts, dtype=torch.float32)
        assert model.config.stack_factor == 4
        result = trace(model, processor, clip, max_new_tokens=4)
        assert result.encoder_hidden_states.shape == (100, 16)  # padded, as the published encoder was trained
        assert result.audio_embeds.shape == (25, 24)
        assert "Transcribe:" in "".join(result.prompt_texts)

    @pytest.mark.parametrize(("norm", "mlp"), [("none", "swiglu"), ("rms", "gelu")])
    def test_the_weights_of_a_projector_tell_its_layers(self, parts, norm, mlp):
        other = AudioProjector(16, 24, stack_factor=4, hidden_size=20, norm=norm, mlp=mlp)
        save_file(other.state_dict(), parts["projector"])
        model, _ = load("full", **parts, dtype=torch.float32)
        own = model.multi_modal_projector
        assert (own.norm, own.mlp) == (norm, mlp)
        assert (model.config.projector_norm, model.config.projector_mlp) == (norm, mlp)
        assert torch.equal(own.down.weight, other.down.weight)

    def test_weights_are_those_of_the_parts(self, parts, clip):
        model, processor = load("full", **parts)
        whisper = WhisperModel.from_pretrained(parts["encoder"])
        assert model.dtype == torch.bfloat16
        assert np.isfinite(trace(model, processor, clip, max_new_tokens=2).audio_embeds).all()
        assert torch.equal(
            model.audio_tower.layers[0].fc1.weight, whisper.encoder.layers[0].fc1.weight.bfloat16()
        )
        assert {p.part: p.dtype for p in provenance_of(model)} == {
            "encoder": "float16",
            "projector": "float32",
            "decoder": "bfloat16",
        }

    def test_directories_are_unverified(self, parts):
        model, _ = load("full", **parts)
        assert [p.trained for p in provenance_of(model)] == [None, None, None]

    def test_a_projector_that_does_not_fit_is_an_error_that_shows_its_shapes(self, parts):
        wrong = AudioProjector(encoder_dim=16, decoder_dim=25, stack_factor=4, hidden_size=20)
        save_file(wrong.state_dict(), parts["projector"])
        with pytest.raises(ValueError, match=r"no projector from 16 to 24 dimensions; found .*\(25, 20\)"):
            load("full", **parts)

    def test_an_encoder_with_missing_weights_is_an_error(self, parts):
        (file,) = parts["encoder"].glob("*.safetensors")
        from safetensors.torch import load_file

        kept = {name: tensor for name, tensor in load_file(file).items() if "encoder.layers" not in name}
        save_file(kept, file, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"lacks weights of WhisperModel: encoder\.layers"):
            load("full", **parts)

    def test_without_the_hub_there_is_one_clear_error(self, parts, monkeypatch, tmp_path):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        with pytest.raises(OSError, match="needs openai/whisper-large-v3-turbo and HuggingFaceTB/SmolLM3-3B"):
            load("full", projector=parts["projector"])

    def test_revisions_are_commits(self):
        for revision in (FULL_ENCODER_REVISION, FULL_DECODER_REVISION):
            assert len(revision) == 40
            assert set(revision) <= set("0123456789abcdef")


class TestBundled:
    """The model in the package."""

    def test_every_part_is_trained_and_says_so(self, bundled):
        model, _ = bundled
        assert [p.trained for p in provenance_of(model)] == [True, True, True]
        assert {p.dtype for p in provenance_of(model)} == {"float16"}

    def test_the_weights_are_small(self, bundled):
        parameters = sum(p.parameters for p in provenance_of(bundled[0]))
        assert 2 * parameters < 20e6  # bytes in float16

    def test_model_and_processor_agree(self, bundled):
        model, processor = bundled
        config = model.config
        assert processor.audio_token_id == config.audio_token_id
        assert (processor.stack_factor, processor.pad_audio) == (config.stack_factor, config.pad_audio)
        window = processor.feature_extractor.n_samples / processor.feature_extractor.sampling_rate
        assert window == pytest.approx(config.window_seconds)
        assert len(processor.tokenizer) <= config.text_config.vocab_size
        assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
