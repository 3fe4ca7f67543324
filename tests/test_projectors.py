"""Projectors as they are stored: against their formula, computed here, and against what is said of them."""

import pytest
import torch
from hub_kit import WIDTHS, projector_shapes, random_tensors, write_projector

from asrscope.loading.checkpoints import read_tensors
from asrscope.loading.pair import read_projector
from asrscope.projector import AudioProjector

POSITIONS = 23  # no multiple of any k below
SILU = torch.nn.functional.silu


def rms(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def stacked(hidden, k):
    """Positions side by side, by a loop; the rest is filled up with zeros."""
    rows = []
    for start in range(0, len(hidden), k):
        row = hidden[start : start + k].flatten()
        rows.append(torch.cat([row, torch.zeros(k * hidden.shape[1] - len(row))]))
    return torch.stack(rows)


def formula(t, x):
    x = rms(x, t["projector.norm_in.weight"])
    gate, value = x @ t["projector.gate.weight"].T, x @ t["projector.up.weight"].T
    return rms((SILU(gate) * value) @ t["projector.down.weight"].T, t["projector.norm_out.weight"])


WIDE = WIDTHS[0]
CASES = [
    (2, {"stack_factor": 2, "audio_config": {"d_model": WIDE}, "text_config": None}),
    (2, {"model_type": "asrscope-projector"}),
    (5, {}),  # no sizes in the configuration: the shapes tell
]


def read(folder, config=None):
    return read_projector(read_tensors(folder), config or {}, *WIDTHS, "the projector")


@pytest.mark.parametrize(("k", "config"), CASES)
def test_a_projector_computes_its_formula(tmp_path, k, config):
    tensors = random_tensors(projector_shapes(k, 12))
    found, _ = read(write_projector(tmp_path / "p", tensors), config | {"projector_remainder": "pad"})
    hidden = torch.randn(POSITIONS, WIDE, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        ours = found(hidden[None])[0]
    expected = formula(tensors, stacked(hidden, k))
    assert ours.shape == expected.shape == (-(-POSITIONS // k), WIDTHS[1])
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "multi_modal_projector."])
@pytest.mark.parametrize(
    "layers",
    [{}, {"norm": "none"}, {"mlp": "gelu"}, {"norm": "none", "mlp": "gelu"}],
)
def test_our_own_projectors_come_back_with_their_layers(tmp_path, prefix, layers):
    torch.manual_seed(0)
    made = AudioProjector(*WIDTHS, stack_factor=3, hidden_size=10, **layers)
    tensors = {prefix + name: tensor for name, tensor in made.state_dict().items()}
    found, _ = read(
        write_projector(
            tmp_path / "p", tensors | {"language_model.other": torch.zeros(1)} if prefix else tensors
        )
    )
    assert found.settings == made.settings
    hidden = torch.randn(1, 9, WIDTHS[0])
    assert torch.equal(found(hidden), made(hidden))


def test_a_padded_remainder_of_our_own_is_told_by_the_configuration(tmp_path):
    made = AudioProjector(*WIDTHS, stack_factor=3, hidden_size=10, remainder="pad")
    folder = write_projector(tmp_path / "p", dict(made.state_dict()))
    assert read(folder, {"projector_remainder": "pad"})[0].remainder == "pad"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"projector_hidden_size": 99}, "holds no projector .*'hidden_size': 99"),
        ({"projector_hidden_size": 2**40}, "holds no projector .*'hidden_size': 1099511627776"),
        ({"stack_factor": 3}, "holds no projector .*'stack_factor': 3"),
        ({"projector_norm": "none"}, "holds no projector .*'norm': 'none'"),
        ({"audio_config": {"d_model": 144}}, r"audio_config\.d_model: expected 144, but found 16"),
        ({"text_config": {"hidden_size": 3072}}, r"text_config\.hidden_size: expected 3072, but found 24"),
    ],
)
def test_a_configuration_that_says_otherwise_is_an_error(tmp_path, config, told):
    folder = write_projector(tmp_path / "p", random_tensors(projector_shapes(2, 12)))
    with pytest.raises(ValueError, match=rf"the projector.*{told}"):
        read(folder, config)


def test_a_projector_of_other_widths_is_an_error_that_shows_its_shapes(tmp_path):
    for widths in ((15, 24), (16, 25)):
        folder = write_projector(tmp_path / f"{widths[0]}", random_tensors(projector_shapes(2, 12, *widths)))
        with pytest.raises(ValueError, match=r"holds no projector from 16 to 24 dimensions .*; found {"):
            read(folder)


def test_an_unknown_layout_is_an_error_that_names_the_known_one(tmp_path):
    tensors = random_tensors({"projector.proj1.w1.weight": (12, 32), "projector.layer_scale": (24,)})
    with pytest.raises(ValueError, match=r"tensors of AudioProjector .*found .*proj1.*rename its"):
        read(write_projector(tmp_path / "p", tensors))


@pytest.mark.parametrize("whole", [True, False])
def test_a_layer_more_than_the_layout_has_is_not_dropped_in_silence(tmp_path, whole):
    shapes = projector_shapes(2, 12) | {"projector.more.weight": (24, 24)}
    other = random_tensors({"language_model.model.norm.weight": (4,)} if whole else {})
    with pytest.raises(ValueError, match=r"holds no projector from .*more\.weight"):
        read(write_projector(tmp_path / "p", random_tensors(shapes) | other))


def test_a_layer_less_than_it_has_is_an_error(tmp_path):
    shapes = projector_shapes(2, 12)
    del shapes["projector.norm_in.weight"]
    with pytest.raises(ValueError, match=r"holds no projector from 16 to 24"):
        read(write_projector(tmp_path / "p", random_tensors(shapes)))
