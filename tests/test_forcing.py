import numpy as np
import pytest
import torch

from asrscope.inside.decoder import force, forced_inputs, transcript_ids, word_log_probabilities
from asrscope.scope.tracing import trace


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 24_321).astype(np.float32)


@pytest.mark.parametrize("pad_audio", [False, True])
def test_forced_tokens_have_the_probabilities_they_were_written_with(make_model, clip, pad_audio):
    model, processor = make_model(pad_audio=pad_audio)
    written = trace(model, processor, clip, max_new_tokens=9)
    found = force(model, processor, clip, [token.id for token in written.tokens])
    assert len(written.tokens) >= 8
    np.testing.assert_allclose(
        found.token_probabilities, [token.probability for token in written.tokens], rtol=1e-3, atol=1e-7
    )


def test_the_end_has_the_probability_it_was_written_with(bundled):
    from asrscope.audio.samples import load_samples

    written = trace(*bundled, load_samples()[0].path)
    assert written.finished
    found = force(*bundled, written.waveform, [token.id for token in written.tokens])
    assert found.eos_probability == pytest.approx(written.eos_probability, rel=1e-3)


def test_a_token_does_not_depend_on_what_follows_it(make_model, clip):
    model, processor = make_model()
    first, second = force(model, processor, clip, [7, 8, 9]), force(model, processor, clip, [7, 8, 200, 5])
    np.testing.assert_allclose(first.probabilities[:3], second.probabilities[:3], rtol=1e-4)


def test_very_small_probabilities_have_a_logarithm(make_model, clip):
    model, processor = make_model()
    with torch.no_grad():
        model.language_model.model.norm.weight.mul_(200)
    found = force(model, processor, clip, list(range(5, 40)))
    least = min(found.token_probabilities)
    assert 0 < least < 1e-45  # what single precision rounds to 0
    assert np.isfinite(np.log(least))


def test_the_transcript_stands_right_behind_the_prompt(make_model, clip):
    _, processor = make_model()
    alone = processor(audio=clip)
    inputs, prompt = forced_inputs(processor, clip, [11, 12])
    assert prompt == alone["input_ids"].shape[1]
    assert torch.equal(inputs["input_ids"][:, :prompt], alone["input_ids"])
    assert inputs["input_ids"][0, prompt:].tolist() == [11, 12]
    assert inputs["attention_mask"].shape == inputs["input_ids"].shape


def test_tokens_of_a_transcript_are_those_the_decoder_writes(bundled):
    from asrscope.audio.samples import load_samples

    _, processor = bundled
    written = trace(*bundled, load_samples()[0].path)
    assert transcript_ids(processor, written.text) == [token.id for token in written.tokens]


def test_an_empty_transcript_is_refused(bundled):
    with pytest.raises(ValueError, match="at least one token, but found ''"):
        transcript_ids(bundled[1], "")


def test_words_have_the_probabilities_of_their_trace(bundled):
    from asrscope.audio.samples import load_samples

    written = trace(*bundled, load_samples()[1].path)
    forced = force(*bundled, written.waveform, [token.id for token in written.tokens])
    assert any(word.last_token > word.first_token for word in written.words)
    found = np.exp(word_log_probabilities(forced, written.words))
    np.testing.assert_allclose(found, [word.probability for word in written.words], rtol=1e-3)
    assert word_log_probabilities(forced, []).shape == (0,)
