import numpy as np
import pytest
import torch
from transformers.models.smollm3.modeling_smollm3 import apply_rotary_pos_emb

from asrscope.inside.decoder import AudioAttention, attend, clockwork, share_inside, word_mask
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.scope.traces import Word

IDS = [260, 7, 31, 99]


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 19_999).astype(np.float32)


def test_weights_are_those_that_transformers_returns(make_model, clip, tmp_path):
    model, processor = make_model()
    found = attend(model, processor, clip, IDS)
    model.save_pretrained(tmp_path)
    eager = AsrScopeForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager")
    inputs = processor(audio=clip)
    prompt = inputs["input_ids"].shape[1]
    ids = torch.cat([inputs["input_ids"], torch.tensor([IDS])], dim=1)
    with torch.no_grad():
        output = eager(input_ids=ids, input_features=inputs["input_features"], output_attentions=True)
    assert found.weights.shape[0] == len(output.attentions) == 4
    for mine, layer in zip(found.weights, output.attentions, strict=True):
        for token in range(len(IDS)):
            row = layer[0, :, prompt - 1 + token].numpy()
            np.testing.assert_allclose(mine[:, token], row[:, :prompt], atol=1e-6)
            # What a row lacks to 1 went to the transcript before the token.
            behind = row[:, prompt : prompt + token].sum(axis=1)
            np.testing.assert_allclose(mine[:, token].sum(axis=1) + behind, 1, atol=1e-5)
    is_audio = inputs["input_ids"][0].numpy() == processor.audio_token_id
    np.testing.assert_array_equal(found.prompt_is_audio, is_audio)
    assert found.audio.shape[-1] == is_audio.sum() == processor.count_audio_tokens(124)
    assert found.seconds_per_audio_token == pytest.approx(0.1)


def test_weights_are_the_softmax_of_queries_and_keys(make_model, clip):
    model, processor = make_model()
    layer, seen = model.language_model.model.layers[1].self_attn, {}
    handles = [
        layer.q_proj.register_forward_hook(lambda *args: seen.__setitem__("q", args[2])),
        layer.k_proj.register_forward_hook(lambda *args: seen.__setitem__("k", args[2])),
        model.language_model.model.rotary_emb.register_forward_hook(
            lambda *args: seen.__setitem__("rope", args[2])
        ),
    ]
    found = attend(model, processor, clip, IDS)
    for handle in handles:
        handle.remove()
    positions = seen["q"].shape[1]
    q = seen["q"].view(1, positions, 2, 24).transpose(1, 2)
    k = seen["k"].view(1, positions, 1, 24).transpose(1, 2)
    q, k = apply_rotary_pos_emb(q, k, *seen["rope"])
    scores = (q @ k.transpose(2, 3))[0] / 24**0.5  # (heads, positions, positions); both heads share the keys
    future = torch.ones(positions, positions, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
    prompt = found.prompt_is_audio.size
    np.testing.assert_allclose(found.weights[1], weights[:, prompt - 1 : -1, :prompt], atol=1e-5)


def test_the_model_is_left_as_it_was(make_model, clip):
    model, processor = make_model()
    inputs = processor(audio=clip)
    before = model(**inputs).logits
    usual = model.language_model.config._attn_implementation
    attend(model, processor, clip, IDS)
    assert model.language_model.config._attn_implementation == usual != "eager"
    assert torch.equal(model(**inputs).logits, before)
    with pytest.raises(ValueError, match="at least one token"):
        attend(model, processor, clip, [])


@pytest.fixture
def attention():
    weights = np.zeros((1, 1, 3, 6), np.float32)  # two positions of text, then four of audio
    weights[0, 0, 0] = [0.5, 0.0, 0.3, 0.1, 0.1, 0.0]
    weights[0, 0, 1] = [0.2, 0.2, 0.0, 0.0, 0.4, 0.0]
    weights[0, 0, 2] = [0.0, 0.0, 0.0, 0.0, 0.2, 0.6]
    return AudioAttention(weights, np.array([False, False, True, True, True, True]), 0.1)


def test_words_get_the_mean_of_their_tokens_over_the_sound_alone(attention):
    words = [Word("one", 0.9, 0, 0, None, None), Word("two", 0.9, 1, 2, None, None)]
    rows = attention.of_words(words)
    assert rows.shape == (1, 1, 2, 4)
    np.testing.assert_allclose(rows[0, 0, 0], [0.6, 0.2, 0.2, 0.0], atol=1e-6)
    np.testing.assert_allclose(rows[0, 0, 1], np.array([0, 0, 0.3, 0.3]) / 0.6, atol=1e-6)
    assert attention.on_audio == pytest.approx(np.array([[(0.5 + 0.4 + 0.8) / 3]]))
    with pytest.raises(ValueError, match="at least one word"):
        attention.of_words([])


def test_audio_tokens_lie_within_a_word_by_their_middle():
    words = [("a", 0.0, 0.14), ("b", 0.14, 0.16), ("c", 0.3, 0.5)]
    mask = word_mask(words, 5, 0.1)
    assert mask.tolist() == [
        [True, False, False, False, False],
        [False, True, False, False, False],
        [False, False, False, True, True],
    ]
    # A word between two middles has the token that its own middle lies in.
    assert word_mask([("d", 0.16, 0.18)], 5, 0.1).tolist() == [[False, True, False, False, False]]


@pytest.mark.parametrize("times", [(0.3, 0.2), (0.6, 0.7), (-0.4, -0.2)])
def test_a_word_outside_of_the_clip_is_refused(times):
    with pytest.raises(ValueError, match=r"within the clip's 0\.50 s, but found 'x' from"):
        word_mask([("x", *times)], 5, 0.1)


def test_the_share_inside_is_what_falls_within_the_word(rng):
    inside = np.array([[True, True, False, False], [False, False, False, True]])
    attention = np.array([[0.1, 0.6, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1]])
    np.testing.assert_allclose(share_inside(attention, inside), [0.7, 0.1])
    np.testing.assert_allclose(share_inside(np.full((2, 4), 0.25), inside), [0.5, 0.25])
    heads = rng.dirichlet(np.ones(4), size=(3, 2, 2))
    shifted = [share_inside(np.roll(heads, by, axis=-1), inside) for by in range(4)]
    np.testing.assert_allclose(np.mean(shifted, axis=0), np.broadcast_to([0.5, 0.25], (3, 2, 2)))


def test_clockwork_gives_each_word_its_equal_share_in_order():
    np.testing.assert_allclose(clockwork(2, 4), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    uneven = clockwork(3, 7)
    np.testing.assert_allclose(uneven.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(uneven.sum(axis=0), 3 / 7, rtol=1e-6)
    assert (np.diff(uneven.argmax(axis=1)) > 0).all()
