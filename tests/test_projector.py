import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrscope.projector import AudioProjector, count_audio_tokens, stack_frames


def test_stacking_lays_neighbors_side_by_side():
    hidden = torch.arange(12.0).reshape(1, 6, 2)
    assert stack_frames(hidden, 3).tolist() == [[[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]]


def test_a_remainder_is_cut():
    hidden = torch.arange(14.0).reshape(1, 7, 2)
    assert torch.equal(stack_frames(hidden, 3), stack_frames(hidden[:, :6], 3))


@given(positions=st.integers(1, 60), k=st.integers(1, 12))
def test_the_length_formula_counts_the_stacked_vectors(positions, k):
    hidden = torch.zeros(1, positions, 2)
    if positions < k:
        with pytest.raises(ValueError, match=rf"k={k} .* found {positions}"):
            stack_frames(hidden, k)
    else:
        assert stack_frames(hidden, k).shape == (1, count_audio_tokens(positions, k), 2 * k)
        assert count_audio_tokens(positions, k) == positions // k


@pytest.fixture
def projector():
    torch.manual_seed(0)
    return AudioProjector(encoder_dim=6, decoder_dim=10, stack_factor=4, hidden_size=16)


def test_the_projector_has_the_parameters_of_three_matrices_and_two_norms(projector):
    stacked = 4 * 6
    expected = stacked + 2 * stacked * 16 + 16 * 10 + 10
    assert sum(parameter.numel() for parameter in projector.parameters()) == expected


def test_an_audio_token_sees_its_own_positions_only(projector):
    hidden = torch.randn(1, 12, 6)
    changed = hidden.clone()
    changed[0, 5] += 1.0  # in the second of three audio tokens
    difference = (projector(changed) - projector(hidden)).abs().amax(dim=2)[0]
    assert difference[1] > 0
    assert difference[[0, 2]].tolist() == [0, 0]


def test_the_norms_take_the_scale_of_the_input_out_and_put_their_own_in(projector):
    hidden = torch.randn(2, 8, 6)
    output = projector(hidden)
    torch.testing.assert_close(projector(100 * hidden), output, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(output.square().mean(dim=2).sqrt(), torch.ones(2, 2), rtol=1e-2, atol=0)
    with torch.no_grad():
        projector.norm_out.weight.mul_(0.05)
    torch.testing.assert_close(projector(hidden), 0.05 * output)


def test_the_middle_is_a_swiglu(projector):
    hidden = torch.randn(1, 4, 6)
    x = torch.nn.functional.rms_norm(hidden.reshape(1, 1, 24), (24,), eps=1e-6)
    gate, up = x @ projector.gate.weight.T, x @ projector.up.weight.T
    expected = (gate * torch.sigmoid(gate) * up) @ projector.down.weight.T
    expected = expected / (expected.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(projector(hidden), expected)


def test_without_norms_the_scale_of_the_input_stays_and_no_weight_is_left_behind():
    projector = AudioProjector(6, 10, stack_factor=4, hidden_size=16, norm="none", mlp="gelu")
    hidden = torch.randn(1, 8, 6)
    expected = torch.nn.functional.gelu(hidden.reshape(1, 2, 24) @ projector.up.weight.T)
    torch.testing.assert_close(projector(hidden), expected @ projector.down.weight.T)
    assert [name for name, _ in projector.named_parameters()] == ["up.weight", "down.weight"]


def test_an_mlp_without_a_gate_has_two_matrices_between_the_norms():
    projector = AudioProjector(6, 10, stack_factor=4, hidden_size=16, mlp="gelu")
    assert sum(parameter.numel() for parameter in projector.parameters()) == 24 + 24 * 16 + 16 * 10 + 10


@pytest.mark.parametrize("options", [{"norm": "batch"}, {"mlp": "relu"}])
def test_layers_that_are_not_there_are_refused(options):
    (found,) = options.values()
    with pytest.raises(ValueError, match=f"expected a projector with .* but found '{found}'"):
        AudioProjector(6, 10, stack_factor=4, hidden_size=16, **options)


@pytest.mark.parametrize("norm", ["rms", "none"])
def test_a_new_projectors_vectors_are_made_as_long_as_embeddings_where_a_norm_can_do_it(projector, norm):
    projector = AudioProjector(6, 10, stack_factor=4, hidden_size=16, norm=norm)
    hidden, table = torch.randn(1, 40, 6), 0.02 * torch.randn(50, 10)
    before = projector(hidden).detach()
    projector.fit_length(table)
    lengths = [float(vectors.square().mean().sqrt()) for vectors in (projector(hidden).detach(), table)]
    if norm == "rms":
        assert lengths[0] == pytest.approx(lengths[1], rel=0.01)
    else:
        assert torch.equal(projector(hidden), before)
