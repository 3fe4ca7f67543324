import numpy as np
import pytest
import torch

from asrscope.inside.decoder import Lens, forced_inputs, logit_lens, more_within
from asrscope.scope.traces import Word
from asrscope.scope.watching import hooked


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 17_777).astype(np.float32)


@pytest.fixture
def between(make_model, clip):
    """The model, its processor, and what goes into its first layer and comes out of each, by hooks."""
    model, processor = make_model()
    inputs, _ = forced_inputs(processor, clip, [7, 21])
    seen = []
    layers = model.language_model.model.layers
    before = [(layers[0], lambda _, given, __: seen.append(given[0]))]
    with (
        torch.no_grad(),
        hooked(before, [(layer, lambda _, __, made: seen.append(made)) for layer in layers]),
    ):
        model(**inputs)
    return model, processor, inputs, seen


def test_each_row_of_the_lens_is_what_a_layer_gave_normed_and_compared_with_the_table(between, clip):
    model, processor, _, seen = between
    lens = logit_lens(model, processor, clip, [7, 21])
    assert len(lens.entropy) == len(seen) == 1 + len(model.language_model.model.layers)
    for row, hidden in enumerate(seen):
        with torch.no_grad():
            scores = model.language_model.lm_head(model.language_model.model.norm(hidden))[0]
        best = scores.softmax(-1).topk(5)
        np.testing.assert_allclose(lens.top_probabilities[row], best.values, rtol=1e-4)
    assert not np.allclose(lens.of_transcript[-2], lens.of_transcript[-1], atol=0.1)


def test_layer_0_is_what_the_decoder_reads(between):
    model, processor, inputs, seen = between
    is_audio = inputs["input_ids"] == processor.audio_token_id
    with torch.no_grad():
        table = model.get_input_embeddings()(inputs["input_ids"])
        audio = model.get_audio_features(inputs["input_features"]).pooler_output
    torch.testing.assert_close(seen[0][~is_audio], table[~is_audio])
    torch.testing.assert_close(seen[0][is_audio], audio)


def test_the_lens_names_the_most_probable_tokens(make_model, clip):
    model, processor = make_model()
    lens = logit_lens(model, processor, clip, [7, 21], n_top=3)
    inputs, prompt = forced_inputs(processor, clip, [7, 21])
    with torch.no_grad():
        probabilities = model(**inputs).logits[0].softmax(dim=-1).numpy()
    assert lens.top_ids.shape == lens.top_probabilities.shape == (5, prompt + 2, 3)
    order = np.argsort(-probabilities, axis=1)[:, :3]
    np.testing.assert_array_equal(lens.top_ids[-1], order)
    best = np.take_along_axis(probabilities, order, axis=1)
    np.testing.assert_allclose(lens.top_probabilities[-1], best, rtol=1e-4)
    entropy = -(probabilities * np.log2(np.maximum(probabilities, 1e-30))).sum(axis=1)
    np.testing.assert_allclose(lens.entropy[-1], entropy, atol=1e-3)
    np.testing.assert_allclose(lens.of_transcript[-1], np.log(probabilities[:, [7, 21]]), atol=1e-3)
    expected = processor.tokenizer.decode([int(lens.top_ids[1, 4, 2])])
    assert lens.top_texts[1][4][2] == expected
    np.testing.assert_array_equal(lens.is_audio, (inputs["input_ids"][0] == processor.audio_token_id).numpy())


def test_without_a_transcript_the_lens_covers_the_prompt(make_model, clip):
    model, processor = make_model()
    prompt = processor(audio=clip)["input_ids"].shape[1]
    lens = logit_lens(model, processor, clip)
    assert lens.of_transcript.shape == (5, prompt, 0)
    longer = logit_lens(model, processor, clip, [7])
    assert lens.entropy.shape == (5, prompt)
    # The decoder reads from left to right: what follows changes nothing before it.
    np.testing.assert_allclose(longer.top_probabilities[:, :prompt], lens.top_probabilities, rtol=1e-3)


def test_words_are_more_readable_within_if_their_pieces_are_more_probable_there():
    of_transcript = np.zeros((2, 5, 3), np.float32)  # the first position is text
    of_transcript[0, 1:, 0] = [
        -1,
        -5,
        -2,
        -9,
    ]  # the first word: both within beat both outside, but for one pair
    of_transcript[0, 1:, 1] = [-1, -1, -1, -1]
    of_transcript[1, 1:, 1] = [-9, -9, -1, -1]
    of_transcript[0, 1:, 2] = [-4, -3, -2, -1]
    of_transcript[1, 1:, 2] = [-1, -2, -3, -4]
    is_audio = np.array([False, True, True, True, True])
    empty = np.zeros((2, 5, 0))
    lens = Lens(empty.astype(np.int64), empty.astype(np.float32), (), of_transcript,
                np.zeros((2, 5), np.float32), is_audio)  # fmt: skip
    words = [Word("ab", 1.0, 0, 1, 0.0, 0.2), Word("c", 1.0, 2, 2, 0.3, 0.4)]
    inside = np.array([[True, True, False, False], [False, False, False, True]])
    shares = more_within(lens, words, inside)
    np.testing.assert_allclose(shares, [[0.75, 0.5, 1.0], [0.5, 0.0, 0.0]])
    with pytest.raises(ValueError, match="within and outside of each word"):
        more_within(lens, words, np.ones_like(inside))
