import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrscope.decoder import (
    COMPRESSION_LIMIT,
    FEW,
    LOW_CONFIDENCE,
    FewRows,
    LoopStop,
    compression_ratio,
    confidence,
    decoding_warnings,
    max_new_tokens,
    text_of,
    write,
)


@given(seconds=st.floats(0.01, 60), more=st.floats(0.1, 60))
def test_the_cap_grows_with_the_clip(seconds, more):
    assert max_new_tokens(seconds) >= 1 + 5 * 1.66 * seconds  # fast speech in the bundled model's tokens
    assert max_new_tokens(seconds + more) >= max_new_tokens(seconds)


def test_a_second_more_is_a_dozen_tokens_more():
    assert max_new_tokens(10.0) - max_new_tokens(9.0) == 12


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_length_that_is_none_is_an_error(seconds):
    with pytest.raises(ValueError, match="positive length"):
        max_new_tokens(seconds)


def test_the_compression_ratio_tells_loops_from_sentences():
    sentence = "the old clock in the hall stops every night at two and nobody knows the reason why"
    assert compression_ratio(sentence) < COMPRESSION_LIMIT
    assert compression_ratio("the old clock " * 12) > COMPRESSION_LIMIT
    assert compression_ratio("") == 0


def test_a_good_text_has_no_warnings():
    assert decoding_warnings("the old clock", finished=True, limit=40, confidence=0.9) == []
    assert decoding_warnings("the old clock", finished=True, limit=40, confidence=LOW_CONFIDENCE) == []


def test_each_oddity_has_its_warning():
    assert decoding_warnings("the old", finished=False, limit=7, confidence=0.9) == [
        "the decoder was stopped after 7 tokens without having ended the text"
    ]
    loop = "on and on " * 30
    (ended,) = decoding_warnings(loop, finished=True, limit=99, confidence=0.9)
    (stopped,) = decoding_warnings(loop, finished=False, limit=99, confidence=0.9)
    assert "repeats itself" in ended
    assert "repeats itself" in stopped
    assert "was stopped" not in ended
    assert "was stopped" in stopped
    (unsure,) = decoding_warnings("the old", finished=True, limit=9, confidence=0.25)
    assert "unsure (confidence 0.25, below 0.5)" in unsure
    assert decoding_warnings("", finished=True, limit=9, confidence=0.0) == ["nothing was recognized"]


def test_a_loop_ends_the_text_it_is_in_and_no_other(tokenizer):
    prompt = tokenizer.encode("on and on " * 30, add_special_tokens=False)
    stop = LoopStop(tokenizer, len(prompt))

    def stops(*texts):
        rows = [prompt + tokenizer.encode(text, add_special_tokens=False) for text in texts]
        length = max(map(len, rows))
        padded = [row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows]
        return stop(torch.tensor(padded), None).tolist()

    assert stops("the old clock in the hall", "on and " * 20, "") == [False, True, False]
    repeats = [stops("on and " * count)[0] for count in range(1, 30)]
    assert repeats == sorted(repeats)  # once in a loop, always in a loop
    assert 3 < repeats.index(True) < 15


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generate_ends_a_loop_long_before_the_limit(make_model, rng, num_beams):
    model, processor = make_model()
    word = processor.tokenizer.encode(" the", add_special_tokens=False)[0]
    bias = torch.nn.functional.one_hot(torch.tensor(word), len(processor.tokenizer)) * 100.0
    model.language_model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits + bias)
    inputs = processor(audio=rng.normal(0, 0.1, 20_000).astype("float32"))
    with torch.inference_mode():
        endless = write(model, inputs, num_beams=num_beams, limit=60)
        ended = write(model, inputs, num_beams=num_beams, limit=60, tokenizer=processor.tokenizer)
    assert endless.ids == [word] * 60
    assert set(ended.ids) == {word}
    assert len(ended.ids) < 20
    assert not ended.finished
    text = text_of(processor.tokenizer, ended.ids)
    found = decoding_warnings(text, finished=ended.finished, limit=60, confidence=0.9)
    assert any("in a loop, and was stopped" in warning for warning in found)


def test_confidence_is_the_geometric_mean():
    assert confidence([0.5, 0.125]) == pytest.approx(0.25)
    assert confidence([]) == 0
    assert confidence([1.0, 0.0]) == 0


@pytest.mark.parametrize("num_beams", [1, 3])
def test_probabilities_are_those_of_one_forward_pass_over_the_text(make_model, rng, num_beams):
    model, processor = make_model()
    clip = rng.normal(0, 0.1, 20_000).astype("float32")
    inputs = processor(audio=clip)
    with torch.inference_mode():
        written = write(model, inputs, num_beams=num_beams, limit=9)
        ids = torch.cat([inputs["input_ids"], torch.tensor([written.ids])], dim=1)
        logits = model(input_ids=ids, input_features=inputs["input_features"]).logits
    steps = logits[0, inputs["input_ids"].shape[1] - 1 : -1].softmax(-1)
    torch.testing.assert_close(written.probabilities, steps, rtol=1e-3, atol=1e-5)
    expected = [float(steps[step, token]) for step, token in enumerate(written.ids)]
    assert written.token_probabilities == pytest.approx(expected, rel=1e-3)
    assert not written.finished
    assert written.eos_probability is None


@pytest.mark.parametrize("num_beams", [1, 3])
def test_the_end_token_is_kept_apart(make_model, rng, num_beams):
    model, processor = make_model()
    clip = rng.normal(0, 0.1, 20_000).astype("float32")
    with torch.inference_mode():
        open_end = write(model, processor(audio=clip), num_beams=num_beams, limit=9)
        ending = next(token for token in open_end.ids[2:] if token not in open_end.ids[:2])
        model.generation_config.eos_token_id = [ending]
        written = write(model, processor(audio=clip), num_beams=1, limit=9)
    assert written.finished
    assert written.eos_id == ending
    assert ending not in written.ids
    assert written.probabilities.shape[0] == len(written.ids) + 1
    assert written.eos_probability == pytest.approx(float(written.probabilities[-1, ending]))


@pytest.mark.parametrize("shape", [(1,), (3,), (3, 1), (FEW,), (FEW + 1,), (2, 40), (0,)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_few_rows_are_multiplied_as_many_are(shape, bias, dtype):
    torch.manual_seed(1)
    layer = FewRows(24, 40, bias=bias, dtype=dtype)
    x = torch.randn(*shape, 24, dtype=dtype)
    expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
    assert layer(x).shape == expected.shape
    torch.testing.assert_close(layer(x), expected)


def test_whoever_generates_has_layers_that_are_quick_with_beams(make_model, rng):
    class Quantized(torch.Tensor):
        pass

    model, processor = make_model()
    decoder = model.language_model
    decoder.other, decoder.fewer = torch.nn.LazyLinear(4), torch.nn.Linear(4, 4)
    decoder.fewer.weight = torch.nn.Parameter(decoder.fewer.weight.data.as_subclass(Quantized))
    write(model, processor(audio=rng.normal(0, 0.1, 16_000).astype("float32")), num_beams=1, limit=2)
    kinds = {type(layer) for layer in decoder.model.modules() if isinstance(layer, torch.nn.Linear)}
    assert kinds == {FewRows}
    assert (type(decoder.other), type(decoder.fewer)) == (torch.nn.LazyLinear, torch.nn.Linear)
