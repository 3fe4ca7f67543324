"""Projectors of other shapes, and a projector kept on the way."""

from dataclasses import replace

import torch
from safetensors.torch import load_file
from training_kit import ENCODER, PROJECTOR
from transformers import SmolLM3ForCausalLM

from asrscope.loading.presets import load
from asrscope.training.projector import make_projector, train_projector
from asrscope_recipe.bundle import bundle


def test_the_projector_is_kept_as_it_was_after_the_steps_asked_for(trained, tmp_path):
    run = {"encodings": trained["encodings"], "decoder": trained["decoder"], "recipe": PROJECTOR}
    finished = train_projector(**run, folder=tmp_path, keep=(0, 2, PROJECTOR.steps))
    kept = {int(path.stem): load_file(path) for path in (tmp_path / "kept").iterdir()}
    assert sorted(kept) == [0, 2, PROJECTOR.steps]
    last = load_file(finished / "model.safetensors")
    assert all(torch.equal(last[name], kept[PROJECTOR.steps][name]) for name in last)
    torch.manual_seed(PROJECTOR.seed)
    decoder = SmolLM3ForCausalLM.from_pretrained(trained["decoder"])
    drawn = make_projector(ENCODER.d_model, decoder, PROJECTOR).state_dict()
    assert all(torch.equal(drawn[name], kept[0][name]) for name in drawn)
    assert not torch.equal(kept[2]["up.weight"], kept[0]["up.weight"])


def test_projectors_of_other_stack_factors_can_hear_the_same_clips(trained, tmp_path):
    heard = {}
    for k, batches_of in ((1, 0), (1, 2), (2, 0), (4, 2)):
        recipe = replace(PROJECTOR, stack_factor=k, batches_of=batches_of)
        folder = tmp_path / f"{k}-{batches_of}"
        counts = heard[k, batches_of] = []
        train_projector(
            trained["encodings"],
            trained["decoder"],
            folder,
            recipe,
            watch=lambda run, line, counts=counts: line or counts.append(run.utterances),
        )
    assert heard[1, 2] == heard[2, 0] == heard[4, 2]
    assert heard[1, 0] != heard[2, 0]


def test_a_bundle_keeps_the_layers_of_its_projector(trained, tmp_path):
    recipe = replace(PROJECTOR, norm="none", mlp="gelu", steps=1)
    projector = train_projector(trained["encodings"], trained["decoder"], tmp_path / "run", recipe)
    bundle(trained["encoder"], trained["decoder"], projector, tmp_path / "model")
    own = load(tmp_path / "model")[0].multi_modal_projector
    assert (own.norm, own.mlp) == ("none", "gelu")
    assert torch.equal(own.up.weight, load_file(projector / "model.safetensors")["up.weight"].half().float())
