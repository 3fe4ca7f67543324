import copy
import hashlib
import json
import pickle
import struct
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from safetensors.torch import load_file, save_file

from asrscope.loading import load
from asrscope.saving.provenance import describe_weights, provenance_of, write_provenance

ALL_TRAINED = {
    part: {"trained": True, "made_with": {"steps": 3}} for part in ("encoder", "projector", "decoder")
}


def trained(model):
    return {p.part: p.trained for p in provenance_of(model)}


@pytest.fixture
def checkpoint(make_checkpoint):
    path = make_checkpoint()
    write_provenance(path, ALL_TRAINED)
    return path


def test_claims_count_for_the_weights_they_were_made_of(checkpoint):
    model, _ = load(checkpoint)
    assert trained(model) == {"encoder": True, "projector": True, "decoder": True}
    assert all(p.source == str(checkpoint) for p in provenance_of(model))


def test_without_claims_weights_are_unverified(make_checkpoint):
    model, _ = load(make_checkpoint())
    assert trained(model) == {"encoder": None, "projector": None, "decoder": None}


def test_claims_may_say_that_weights_are_random(make_checkpoint):
    path = make_checkpoint()
    write_provenance(path, {"projector": {"trained": False, "made_with": {}}})
    assert trained(load(path)[0]) == {"encoder": None, "projector": False, "decoder": None}


def test_claims_do_not_count_for_other_weights(checkpoint, make_model):
    other, _ = make_model(seed=1)
    model, _ = load(checkpoint)
    model.multi_modal_projector = other.multi_modal_projector
    model.save_pretrained(checkpoint)  # the claims of the old weights still lie beside them
    assert trained(load(checkpoint)[0]) == {"encoder": True, "projector": None, "decoder": True}


def test_a_claim_without_a_hash_does_not_count(checkpoint):
    (checkpoint / "provenance.json").write_text(json.dumps(ALL_TRAINED))
    assert set(trained(load(checkpoint)[0]).values()) == {None}


def test_a_part_missing_in_the_file_is_random(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    kept = {name: t for name, t in tensors.items() if name != "multi_modal_projector.down.weight"}
    save_file(kept, checkpoint / "model.safetensors", metadata={"format": "pt"})
    model, _ = load(checkpoint)
    assert trained(model) == {"encoder": True, "projector": False, "decoder": True}
    projector = provenance_of(model)[1]
    assert projector.source == "random initialization"
    assert projector.parameters == sum(p.numel() for p in model.multi_modal_projector.parameters())


@pytest.mark.parametrize("change", ["replace", "in place", "load"])
def test_weights_changed_after_loading_are_unverified(checkpoint, make_model, change):
    other, _ = make_model(seed=1)
    model, _ = load(checkpoint)
    before, old = provenance_of(model)[1], model.multi_modal_projector
    if change == "replace":
        model.multi_modal_projector = other.multi_modal_projector
    elif change == "in place":
        torch.nn.init.normal_(model.multi_modal_projector.gate.weight)
    else:
        model.multi_modal_projector.load_state_dict(other.multi_modal_projector.state_dict())
    assert trained(model) == {"encoder": True, "projector": None, "decoder": True}
    after = provenance_of(model)[1]
    assert after.sha256 != before.sha256
    assert after.source == f"changed in memory, once {checkpoint}"
    assert (old is model.multi_modal_projector) == (change != "replace")


def test_running_and_moving_a_model_changes_nothing(checkpoint, rng):
    model, processor = load(checkpoint)
    before = provenance_of(model)
    model.generate(**processor(audio=rng.normal(0, 0.1, 8_000).astype("float32")), max_new_tokens=3)
    model.to("cpu", torch.float64)
    assert provenance_of(model) == before


def test_weights_are_known_in_the_type_they_were_stored_in_and_in_wider_ones_alone(make_model, tmp_path):
    model, processor = make_model()
    model.half().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    write_provenance(tmp_path, ALL_TRAINED)
    model, _ = load(tmp_path)
    before = provenance_of(model)
    for loses_nothing in (torch.float16, torch.float32, torch.float64):
        assert provenance_of(model.to(loses_nothing)) == before
    for rounds in (torch.bfloat16, torch.float8_e4m3fn):
        assert set(trained(model.to(rounds)).values()) == {None}


def test_a_model_built_in_memory_is_unverified(make_model):
    model, _ = make_model()
    assert set(trained(model).values()) == {None}
    assert {p.source for p in provenance_of(model)} == {"built in memory"}


def test_the_hash_is_over_names_types_shapes_and_stored_bytes():
    weights = {
        "b": torch.tensor([1.0, 2.0], dtype=torch.float16),
        "a": torch.tensor([[3]], dtype=torch.int32),
    }
    expected = hashlib.sha256(
        b"a torch.int32 (1, 1)\n"
        + struct.pack("<i", 3)
        + b"b torch.float16 (2,)\n"
        + struct.pack("<2e", 1, 2)
    ).hexdigest()
    described = describe_weights("encoder", weights, "here")
    assert described.sha256 == expected
    assert described.parameters == 2  # a list of token ids is no weight
    assert described.dtype == "float16"


def test_stored_and_loaded_precision_are_told_apart(make_model, tmp_path):
    model, processor = make_model()
    model.half().save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, _ = load(tmp_path)
    assert loaded.dtype == torch.float32
    assert {p.dtype for p in provenance_of(loaded)} == {"float16"}


def test_tied_weights_count_once(make_checkpoint, make_model):
    model, _ = make_model()
    decoder = provenance_of(load(make_checkpoint())[0])[2]
    assert decoder.parameters == sum(p.numel() for p in model.language_model.parameters())


def copies(model, tmp_path):
    """Give a model by all ways on which it leaves a process, and by a copy."""
    torch.save(model, tmp_path / "model.pt")
    return (
        pickle.loads(pickle.dumps(model)),
        torch.load(tmp_path / "model.pt", weights_only=False),
        copy.deepcopy(model),
    )


def test_a_pickled_model_keeps_its_weights_and_what_is_known_of_them(checkpoint, tmp_path):
    model, _ = load(checkpoint)
    for other in copies(model, tmp_path):
        assert provenance_of(other) == provenance_of(model)
        assert all(map(torch.equal, other.parameters(), model.parameters()))
        with torch.no_grad():
            other.multi_modal_projector.up.weight.add_(1)
        assert trained(other) == {"encoder": True, "projector": None, "decoder": True}
    assert trained(model) == {"encoder": True, "projector": True, "decoder": True}


def test_a_process_that_is_spawned_gets_the_model(checkpoint):
    model, _ = load(checkpoint)
    sent = ForkingPickler.loads(ForkingPickler.dumps(model))
    assert sent.num_parameters() == model.num_parameters()
    assert provenance_of(sent) == provenance_of(model)


def test_weights_changed_before_they_are_pickled_stay_doubtful(checkpoint, tmp_path):
    model, _ = load(checkpoint)
    with torch.no_grad():
        model.multi_modal_projector.up.weight.add_(1)
    for other in copies(model, tmp_path):
        assert trained(other) == {"encoder": True, "projector": None, "decoder": True}
