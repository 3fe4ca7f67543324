"""Checkpoints as they lie on the disk: whole, in shards, and damaged in every way that was met."""

import json

import psutil
import pytest
import torch
from safetensors.torch import save_file

from asrscope.loading.checkpoints import INDEX, part_of, read_settings, read_tensors


@pytest.fixture
def sharded(tmp_path):
    """Two shards and their index."""
    save_file({"encoder.a": torch.ones(2), "encoder.b": torch.ones(3)}, tmp_path / "one.safetensors")
    save_file({"decoder.a": torch.zeros(4)}, tmp_path / "two.safetensors")
    places = {"encoder.a": "one", "encoder.b": "one", "decoder.a": "two"}
    index = {"weight_map": {name: f"{shard}.safetensors" for name, shard in places.items()}}
    (tmp_path / INDEX).write_text(json.dumps(index))
    return tmp_path


def test_a_file_a_folder_and_shards_hold_the_same_tensors(sharded, tmp_path):
    tensors = {"encoder.a": torch.ones(2), "encoder.b": torch.ones(3), "decoder.a": torch.zeros(4)}
    whole = tmp_path / "whole"
    whole.mkdir()
    save_file(tensors, whole / "model.safetensors")
    for place in (sharded, whole, whole / "model.safetensors"):
        stored = read_tensors(place)
        assert set(stored) == set(tensors)
        assert all(torch.equal(stored[name], tensor) for name, tensor in tensors.items())


def test_a_part_is_named_as_within_it(sharded):
    stored = read_tensors(sharded)
    assert set(part_of(stored, "model.encoder.", "encoder.")) == {"a", "b"}
    assert set(part_of(stored, "nothing.")) == set()
    assert torch.equal(part_of(stored, "decoder.")["a"], torch.zeros(4))


def test_a_shard_that_is_missing_is_an_error(sharded):
    (sharded / "two.safetensors").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"two\.safetensors is missing, which model\.safetensors\.index"
    ):
        read_tensors(sharded)


def test_what_is_not_looked_at_takes_no_memory(tmp_path):
    megabytes, process = 64, psutil.Process()
    tensors = {"encoder.a": torch.ones(2), "decoder.a": torch.zeros(megabytes, 2**18)}
    save_file(tensors, tmp_path / "model.safetensors")
    tensors.clear()

    def resident():
        return process.memory_info().rss / 2**20

    before = resident()
    stored = read_tensors(tmp_path)
    assert stored["encoder.a"].sum() == 2
    assert stored["decoder.a"].shape == (megabytes, 2**18)
    assert resident() - before < megabytes / 4
    assert stored["decoder.a"].sum() == 0  # and so this measures something
    assert resident() - before > megabytes * 3 / 4


def test_a_shard_without_what_the_index_promises_is_an_error(sharded):
    save_file({"encoder.a": torch.ones(2)}, sharded / "one.safetensors")
    with pytest.raises(
        ValueError, match=r"one\.safetensors lacks encoder\.b, which model\.safetensors\.index"
    ):
        read_tensors(sharded)


def test_what_an_earlier_model_left_in_a_shard_is_no_part_of_this_one(sharded):
    left = {"decoder.a": torch.zeros(4), "encoder.a": torch.full((2,), 9.0), "encoder.c": torch.ones(1)}
    save_file(left, sharded / "two.safetensors")
    stored = read_tensors(sharded)
    assert set(stored) == {"encoder.a", "encoder.b", "decoder.a"}
    assert torch.equal(stored["encoder.a"], torch.ones(2))


@pytest.mark.parametrize("content", ["{", "{}"])
def test_a_damaged_index_is_an_error(sharded, content):
    (sharded / INDEX).write_text(content)
    with pytest.raises(ValueError, match=r"index\.json: it is damaged: expected a weight_map"):
        read_tensors(sharded)


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_a_shard_that_is_cut_short_is_an_error_that_names_it(sharded, kept):
    shard = sharded / "two.safetensors"
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match=r"two\.safetensors: it is cut short, damaged or no safetensors file"
    ):
        read_tensors(sharded)


def test_pickled_weights_are_named_and_not_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"would run code")
    with pytest.raises(FileNotFoundError, match=r"only as pytorch_model\.bin, which can run code"):
        read_tensors(tmp_path)


def test_a_folder_without_weights_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \*\.safetensors file"):
        read_tensors(tmp_path)


def test_settings_that_are_missing_or_damaged_are_errors_that_name_the_file(tmp_path):
    file = tmp_path / "config.json"
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing\. Copy or download all files"):
        read_settings(file)
    for content in ("{", "[]"):
        file.write_text(content)
        with pytest.raises(ValueError, match=r"config\.json: it is damaged: expected"):
            read_settings(file)
