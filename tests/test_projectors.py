"""Projectors of tiny-audio against their formula, computed here from the stored tensors; and our own."""

import pytest
import torch
from hub_kit import WIDTHS, projector_shapes, random_tensors, write_projector

from asrscope.loading.checkpoints import read_tensors
from asrscope.loading.projectors import read_projector
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


def tiny_audio(t, x):
    x = rms(x, t["projector.ln_pre.weight"])
    gate, value = x @ t["projector.proj.w1.weight"].T, x @ t["projector.proj.w2.weight"].T
    return rms((SILU(gate) * value) @ t["projector.proj.w3.weight"].T, t["projector.ln_post.weight"])


WIDE = WIDTHS[0]
CASES = [
    (2, {"projector_pool_stride": 2, "encoder_dim": WIDE, "llm_dim": WIDTHS[1]}),
    (2, {"model_type": "asr_model"}),
    (5, {}),  # no configuration: the shapes tell
]


def read(folder, config=None):
    return read_projector(read_tensors(folder), config or {}, *WIDTHS, "the projector")


@pytest.mark.parametrize(("k", "config"), CASES)
def test_a_projector_of_tiny_audio_computes_its_published_formula(tmp_path, k, config):
    tensors = random_tensors(projector_shapes(k, 12))
    found, _, _ = read(write_projector(tmp_path / "p", tensors), config)
    hidden = torch.randn(POSITIONS, WIDE, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        ours = found(hidden[None])[0]
    expected = tiny_audio(tensors, stacked(hidden, k))
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
    found, _, _ = read(
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


def test_prompts_are_those_of_the_configuration_or_of_the_system(tmp_path):
    def prompts(config):
        said = read(folder, config)[2]
        return said.get("user_prompt"), said.get("system_prompt")

    folder = write_projector(tmp_path / "a", random_tensors(projector_shapes(2, 12)))
    assert prompts({}) == ("Transcribe: <audio>", "/no_think /system_override")
    own = {"user_prompt": "Write <audio> down", "system_prompt": ""}
    assert prompts(own) == ("Write <audio> down", "")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"projector_pool_stride": 3}, "projector_pool_stride = 3, but .* have 2"),
        ({"projector_hidden_dim": 99}, "projector_hidden_dim = 99, but .* have 12"),
        ({"encoder_dim": 1280}, "encoder_dim = 1280, but .* have 16"),
        ({"llm_dim": 1024}, "llm_dim = 1024, but .* have 24"),
        ({"stack_factor": 3}, "stack_factor = 3, but .* have 2"),
        ({"projector_norm": "none"}, "projector_norm = none, but .* have rms"),
        ({"audio_config": {"d_model": 144}}, r"audio_config\.d_model = 144, but .* have 16"),
        ({"text_config": {"hidden_size": 3072}}, r"text_config\.hidden_size = 3072, but .* have 24"),
    ],
)
def test_a_configuration_that_says_otherwise_is_an_error(tmp_path, config, told):
    folder = write_projector(tmp_path / "p", random_tensors(projector_shapes(2, 12)))
    with pytest.raises(ValueError, match=rf"the projector: its config\.json says .*{told}"):
        read(folder, config)


def test_a_projector_of_other_widths_is_an_error_that_shows_its_shapes(tmp_path):
    for widths in ((15, 24), (16, 25)):
        folder = write_projector(tmp_path / f"{widths[0]}", random_tensors(projector_shapes(2, 12, *widths)))
        with pytest.raises(ValueError, match=r"holds no projector from 16 to 24 dimensions; found {"):
            read(folder)


def test_an_unknown_layout_is_an_error_that_names_the_known_ones(tmp_path):
    tensors = random_tensors({"projector.proj1.w1.weight": (12, 32), "projector.layer_scale": (24,)})
    with pytest.raises(ValueError, match=r"tiny-audio of 2025 \(projector\.ln_pre\.weight, .*found proj"):
        read(write_projector(tmp_path / "p", tensors))


@pytest.mark.parametrize("whole", [True, False])
def test_a_layer_more_than_the_layout_has_is_not_dropped_in_silence(tmp_path, whole):
    shapes = projector_shapes(2, 12) | {"projector.proj.w4.weight": (24, 24)}
    other = random_tensors({"language_model.model.norm.weight": (4,)} if whole else {})
    with pytest.raises(ValueError, match=r"no projector of a known layout.*projector\.proj\.w4\.weight"):
        read(write_projector(tmp_path / "p", random_tensors(shapes) | other))
