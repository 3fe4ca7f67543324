import json

import numpy as np
import pytest
import torch

from asrscope.loading import load, untrained
from asrscope.saving.provenance import provenance_of


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
    monkeypatch.setattr("asrscope.loading.checkpoints.CHECKPOINTS", path.parent)
    model, _ = load(path)
    assert {part.source for part in provenance_of(model)} == {f"asrscope/data/checkpoints/{path.name}"}


@pytest.mark.parametrize("what", ["missing", "empty", "other", "broken"])
def test_what_is_no_model_is_one_clear_error(tmp_path, what):
    path = tmp_path / what
    if what != "missing":
        path.mkdir()
    if what == "other":
        (path / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    if what == "broken":
        (path / "config.json").write_text("{")
    with pytest.raises(
        ValueError, match=f"{what} is no model of this package: expected 'tiny', 'small', 'full' or"
    ):
        load(path)


def test_a_model_without_weights_is_one_clear_error(make_checkpoint):
    path = make_checkpoint()
    (path / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors"):
        load(path)


def test_pickled_weights_are_not_read(make_checkpoint):
    path = make_checkpoint()
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match=r"holds weights only as pytorch_model\.bin, which can run code"
    ):
        load(path)


def test_options_of_the_full_preset_do_not_pass_unnoticed(make_checkpoint):
    with pytest.raises(
        ValueError, match="Only a model that is put together has options, but found projector"
    ):
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


def test_an_untrained_control_shares_encoder_and_decoder_and_leaves_the_model_alone(make_checkpoint, clip):
    model, processor = load(make_checkpoint())
    before = model.multi_modal_projector
    control = untrained(model, seed=3)
    assert control.audio_tower is model.audio_tower
    assert control.language_model is model.language_model
    assert model.multi_modal_projector is before
    assert not any(parameter.is_meta for parameter in control.parameters())
    said = provenance_of(control)
    assert [part.source for part in said][1] == "random initialization, seed 3"
    assert said[0] == provenance_of(model)[0]
    assert [part.trained for part in provenance_of(model)] == [None, None, None]
    inputs = processor(audio=clip)
    assert control.generate(**inputs, max_new_tokens=3).shape[0] == 1


class TestEnvironment:
    """Which model is meant where none is named."""

    def test_without_a_name_the_environment_decides(self, make_checkpoint, monkeypatch):
        path = make_checkpoint()
        monkeypatch.setenv("ASRSCOPE_MODEL", str(path))
        assert {part.source for part in provenance_of(load()[0])} == {str(path)}
        monkeypatch.delenv("ASRSCOPE_MODEL")
        assert {part.source for part in provenance_of(load()[0])} == {"asrscope/data/checkpoints/tiny"}

    def test_a_name_goes_before_the_environment(self, monkeypatch):
        monkeypatch.setenv("ASRSCOPE_MODEL", "full")
        assert {part.source for part in provenance_of(load("tiny")[0])} == {"asrscope/data/checkpoints/tiny"}

    def test_the_environment_names_the_parts_of_the_full_pair(self, full_parts, tmp_path, monkeypatch):
        from hub_kit import write_own_projector

        write_own_projector(tmp_path / "p.safetensors")
        monkeypatch.setenv("ASRSCOPE_MODEL", "full")
        monkeypatch.setenv("ASRSCOPE_PROJECTOR", str(tmp_path / "p.safetensors"))
        monkeypatch.setenv("ASRSCOPE_ENCODER", str(full_parts["encoder"]))
        monkeypatch.setenv("ASRSCOPE_DECODER", str(full_parts["decoder"]))
        assert [part.source for part in provenance_of(load()[0])] == [
            str(full_parts["encoder"]),
            str(tmp_path / "p.safetensors"),
            str(full_parts["decoder"]),
        ]

    def test_the_full_pair_without_a_projector_is_one_clear_error(self):
        with pytest.raises(ValueError, match=r"needs a projector: .* or set ASRSCOPE_PROJECTOR"):
            load("full")


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
