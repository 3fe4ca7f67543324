"""Published projectors: each layout against its formula, computed here from the stored tensors alone."""

import pytest
import torch
from hub_kit import WIDTHS, projector_shapes, random_tensors, write_projector

from asrscope.loading.checkpoints import StoredTensors
from asrscope.loading.projectors import read_projector
from asrscope.projector import AudioProjector

POSITIONS = 23  # no multiple of any k below
GELU, SILU = torch.nn.functional.gelu, torch.nn.functional.silu


def rms(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def stacked(hidden, k, *, pad):
    """Positions side by side, by a loop: filled up with zeros, or without the remainder."""
    rows = []
    for start in range(0, len(hidden), k):
        row = hidden[start : start + k].flatten()
        if len(row) < k * hidden.shape[1]:
            if not pad:
                continue
            row = torch.cat([row, torch.zeros(k * hidden.shape[1] - len(row))])
        rows.append(row)
    return torch.stack(rows)


def tiny_audio_2025(t, x):
    x = rms(x, t["projector.ln_pre.weight"])
    gate, value = x @ t["projector.proj.w1.weight"].T, x @ t["projector.proj.w2.weight"].T
    return rms((SILU(gate) * value) @ t["projector.proj.w3.weight"].T, t["projector.ln_post.weight"])


def tiny_audio_2026(t, x):
    x = rms(x @ t["projector.linear_1.weight"].T, t["projector.norm.weight"])
    return rms(GELU(x) @ t["projector.linear_2.weight"].T, t["projector.norm_2.weight"])


def two_linears(t, x):
    part = "multi_modal_projector."
    x = x @ t[part + "linear_1.weight"].T + t.get(part + "linear_1.bias", 0.0)
    return GELU(x) @ t[part + "linear_2.weight"].T + t.get(part + "linear_2.bias", 0.0)


WIDE = WIDTHS[0]
CASES = [
    ("tiny-audio 2025", 2, {"projector_pool_stride": 2, "encoder_dim": WIDE}, tiny_audio_2025, True),
    ("tiny-audio 2025", 2, {"model_type": "asr_model"}, tiny_audio_2025, True),  # its default stride
    ("tiny-audio 2025", 5, {}, tiny_audio_2025, True),  # no configuration: the shapes tell
    ("tiny-audio 2026", 4, {"model_type": "asr_model"}, tiny_audio_2026, False),
    ("tiny-audio 2026", 5, {"projector_pool_stride": 5, "llm_dim": WIDTHS[1]}, tiny_audio_2026, False),
    ("Voxtral", 4, {"model_type": "voxtral", "projector_hidden_act": "gelu"}, two_linears, False),
    ("GLM-ASR", 4, {"audio_config": {"hidden_size": WIDE, "intermediate_size": 64}}, two_linears, False),
]


def read(folder, config=None):
    return read_projector(StoredTensors.of(folder), config or {}, *WIDTHS, "the projector")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, k = {case[1]}")
def test_each_layout_computes_its_published_formula(tmp_path, case):
    layout, k, config, formula, pad = case
    tensors = random_tensors(projector_shapes(layout, k, 12, bias=layout == "GLM-ASR"))
    found = read(write_projector(tmp_path / "p", tensors), config)
    hidden = torch.randn(POSITIONS, WIDE, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        ours = found.module(hidden[None])[0]
    expected = formula(tensors, stacked(hidden, k, pad=pad))
    assert ours.shape == expected.shape == (-(-POSITIONS // k) if pad else POSITIONS // k, WIDTHS[1])
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "multi_modal_projector."])
@pytest.mark.parametrize(
    "layers",
    [{}, {"norm": "none"}, {"mlp": "gelu"}, {"norm": "hidden", "mlp": "gelu", "bias": True}],
)
def test_our_own_projectors_come_back_with_their_layers(tmp_path, prefix, layers):
    torch.manual_seed(0)
    made = AudioProjector(*WIDTHS, stack_factor=3, hidden_size=10, **layers)
    tensors = {prefix + name: tensor for name, tensor in made.state_dict().items()}
    found = read(
        write_projector(
            tmp_path / "p", tensors | {"language_model.other": torch.zeros(1)} if prefix else tensors
        )
    )
    assert found.module.settings == made.settings
    hidden = torch.randn(1, 9, WIDTHS[0])
    assert torch.equal(found.module(hidden), made(hidden))


def test_a_padded_remainder_of_our_own_is_told_by_the_configuration(tmp_path):
    made = AudioProjector(*WIDTHS, stack_factor=3, hidden_size=10, remainder="pad")
    folder = write_projector(tmp_path / "p", dict(made.state_dict()))
    assert read(folder, {"projector_remainder": "pad"}).module.remainder == "pad"


def test_prompts_are_those_of_the_configuration_or_of_the_system(tmp_path):
    older = write_projector(tmp_path / "a", random_tensors(projector_shapes("tiny-audio 2025", 2, 12)))
    newer = write_projector(tmp_path / "b", random_tensors(projector_shapes("tiny-audio 2026", 4, 12)))
    plain = write_projector(tmp_path / "c", random_tensors(projector_shapes("Voxtral", 4, 12)))
    said = [(p.user_prompt, p.system_prompt) for p in map(read, (older, newer, plain))]
    assert said == [
        ("Transcribe: <audio>", "/no_think /system_override"),
        ("<audio> Transcribe the speech to text", ""),
        (None, None),
    ]
    own = read(older, {"user_prompt": "Write <audio> down", "system_prompt": ""})
    assert (own.user_prompt, own.system_prompt) == ("Write <audio> down", "")


def test_what_it_was_trained_between_is_told(tmp_path):
    folder = write_projector(tmp_path / "p", random_tensors(projector_shapes("tiny-audio 2026", 4, 12)))
    config = {"audio_model_id": "zai-org/GLM-ASR-Nano-2512", "text_model_id": "Qwen/Qwen3-0.6B"}
    assert read(folder, config).trained_between == ("zai-org/GLM-ASR-Nano-2512", "Qwen/Qwen3-0.6B")


@pytest.mark.parametrize(
    ("layout", "config", "told"),
    [
        ("tiny-audio 2025", {"projector_pool_stride": 3}, "projector_pool_stride = 3, but .* have 2"),
        ("tiny-audio 2025", {"projector_hidden_dim": 99}, "projector_hidden_dim = 99, but .* have 12"),
        ("tiny-audio 2025", {"encoder_dim": 1280}, "encoder_dim = 1280, but .* have 16"),
        ("tiny-audio 2026", {"llm_dim": 1024, "projector_pool_stride": 2}, "llm_dim = 1024, but .* have 24"),
        ("tiny-audio 2026", {"model_type": "asr_model"}, "projector_pool_stride = 4, but .* have 2"),
        ("Voxtral", {"projector_hidden_act": "relu"}, "projector_hidden_act = relu, but .* have gelu"),
        ("Voxtral", {"audio_config": {"intermediate_size": 5120}}, "intermediate_size = 5120, but .* 32"),
        ("Voxtral", {"text_config": {"hidden_size": 3072}}, "hidden_size = 3072, but .* 24"),
    ],
)
def test_a_configuration_that_says_otherwise_is_an_error(tmp_path, layout, config, told):
    folder = write_projector(tmp_path / "p", random_tensors(projector_shapes(layout, 2, 12)))
    with pytest.raises(ValueError, match=rf"the projector: its config\.json says .*{told}"):
        read(folder, config)


@pytest.mark.parametrize("layout", ["tiny-audio 2025", "tiny-audio 2026", "Voxtral"])
def test_a_projector_of_other_widths_is_an_error_that_shows_its_shapes(tmp_path, layout):
    for widths in ((15, 24), (16, 25)):
        shapes = projector_shapes(layout, 2, 12, *widths)
        folder = write_projector(tmp_path / f"{widths[0]}", random_tensors(shapes))
        with pytest.raises(ValueError, match=r"holds no projector from 16 to 24 dimensions; found {"):
            read(folder)


def test_an_unknown_layout_is_an_error_that_names_the_known_ones(tmp_path):
    tensors = random_tensors({"projector.proj1.w1.weight": (12, 32), "projector.layer_scale": (24,)})
    with pytest.raises(ValueError, match=r"tiny-audio of 2025: projector\.ln_pre\.weight, .*found projector"):
        read(write_projector(tmp_path / "p", tensors))


def test_a_layer_more_than_the_layout_has_is_not_dropped_in_silence(tmp_path):
    shapes = projector_shapes("tiny-audio 2026", 4, 12) | {"projector.linear_3.weight": (24, 24)}
    with pytest.raises(ValueError, match=r"no projector of a known layout.*projector\.linear_3\.weight"):
        read(write_projector(tmp_path / "p", random_tensors(shapes)))
