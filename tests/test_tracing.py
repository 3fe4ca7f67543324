import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrscope.decoder import Written, max_new_tokens, text_of
from asrscope.encoder import encode
from asrscope.features import log_mel
from asrscope.inside.decoder import attend, logit_lens
from asrscope.recognition.transcribe import transcribe
from asrscope.scope.traces import Token, Trace
from asrscope.scope.tracing import attach, describe_tokens, join_words, nearest_tokens, trace


@pytest.fixture
def clip(rng):
    return rng.normal(0, 0.1, 32_123).astype(np.float32)


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("pad_audio", [False, True])
def test_the_text_is_that_of_generate(make_model, clip, num_beams, pad_audio):
    model, processor = make_model(pad_audio=pad_audio)
    inputs = processor(audio=clip)
    ids = model.generate(
        **inputs, do_sample=False, num_beams=num_beams, max_new_tokens=max_new_tokens(32_123 / 16_000)
    )
    written = ids[:, inputs["input_ids"].shape[1] :]
    expected = processor.batch_decode(written, skip_special_tokens=True)[0].strip()
    found = trace(model, processor, clip, num_beams=num_beams)
    assert found.text == expected
    end = [processor.tokenizer.eos_token_id] if found.finished else []
    assert [token.id for token in found.tokens] + end == written[0].tolist()
    assert transcribe(model, processor, clip, num_beams=num_beams).text == expected


@pytest.mark.parametrize("num_beams", [1, 2])
def test_arrays_are_those_of_the_stages(make_model, clip, num_beams):
    model, processor = make_model()
    found = trace(model, processor, clip, num_beams=num_beams, max_new_tokens=3)
    mel = log_mel(clip, 80)
    with torch.no_grad():
        hidden = encode(model.audio_tower, torch.from_numpy(mel)[None])
        embeds = model.multi_modal_projector(hidden)[0]
    np.testing.assert_array_equal(found.waveform, clip)
    np.testing.assert_array_equal(found.log_mel, mel)
    np.testing.assert_allclose(found.encoder_hidden_states, hidden[0], atol=1e-5)
    np.testing.assert_allclose(found.audio_embeds, embeds, atol=1e-5)
    np.testing.assert_array_equal(found.prompt_ids, processor(audio=clip)["input_ids"][0])
    assert found.shapes() == {
        "waveform": (32_123,),
        "log_mel": (80, 202),
        "encoder_hidden_states": (101, 32),
        "audio_embeds": (20, 48),
        "nearest_ids": (20, 5),
        "nearest_cosines": (20, 5),
        "prompt_ids": (len(found.prompt_ids),),
        "prompt_is_audio": (len(found.prompt_ids),),
    }


def test_the_prompt_is_labelled(make_model, clip):
    model, processor = make_model()
    found = trace(model, processor, clip, max_new_tokens=2)
    assert "".join(found.prompt_texts) == (
        "<|im_start|>user\ntranscribe: " + 20 * "<|audio|>" + "<|im_end|>\n<|im_start|>assistant\n"
    )
    audio = {
        text for text, is_audio in zip(found.prompt_texts, found.prompt_is_audio, strict=True) if is_audio
    }
    assert audio == {"<|audio|>"}
    assert found.prompt_is_audio.sum() == 20


def test_hooks_are_gone_afterwards(make_model, clip):
    model, processor = make_model()
    trace(model, processor, clip, max_new_tokens=2)
    assert not any(
        module._forward_hooks or module._forward_pre_hooks
        for module in (model.audio_tower.conv1, model.multi_modal_projector)
    )


def test_stages_are_timed(make_model, clip):
    model, processor = make_model()
    timings = trace(model, processor, clip, max_new_tokens=2).timings
    assert list(timings) == ["features", "encoder", "projector", "decoder"]
    assert all(0 < seconds < 60 for seconds in timings.values())


def test_tokens_and_words_tell_the_same_text(make_model, clip):
    model, processor = make_model()
    found = trace(model, processor, clip)
    assert " ".join(word.text for word in found.words) == " ".join(found.text.split())
    probabilities = [token.probability for token in found.tokens]
    assert found.confidence == pytest.approx(np.exp(np.mean(np.log(probabilities))))
    for word in found.words:
        assert word.probability == pytest.approx(
            np.prod(probabilities[word.first_token : word.last_token + 1])
        )
    for token in found.tokens:
        assert token.probability >= token.runners_up[0][1]  # greedy takes the best
        assert len(token.runners_up) == 5


def test_a_finished_text_has_its_end_token_apart(make_model, clip):
    model, processor = make_model()
    ids = [token.id for token in trace(model, processor, clip, max_new_tokens=9).tokens]
    model.generation_config.eos_token_id = ids[3]
    found = trace(model, processor, clip, max_new_tokens=9)
    assert found.finished
    assert [token.id for token in found.tokens] == ids[: ids.index(ids[3])]
    assert 0 < found.eos_probability < 1


def test_a_text_that_was_cut_off_has_a_warning(make_model, clip):
    model, processor = make_model()
    found = trace(model, processor, clip, max_new_tokens=4)
    assert not found.finished
    assert found.eos_probability is None
    assert "the decoder was stopped after 4 tokens without having ended the text" in found.warnings


def test_silence_is_flagged_and_still_traced(make_model):
    model, processor = make_model()
    silence = np.zeros(16_000, np.float32)
    assert any("silent" in warning for warning in trace(model, processor, silence).warnings)
    assert any("silent" in warning for warning in transcribe(model, processor, silence).warnings)


def test_a_loop_is_flagged(make_model, clip, monkeypatch):
    model, processor = make_model()
    monkeypatch.setattr("asrscope.scope.tracing.text_of", lambda *_: "on and on " * 30)
    assert any("repeats itself" in warning for warning in trace(model, processor, clip).warnings)


def test_the_reference_gives_words_their_times(make_model, clip):
    model, processor = make_model()
    plain = trace(model, processor, clip)
    target = plain.words[2]
    spoken = (("before", 0.0, 0.25), (target.text, 0.25, 0.75))
    found = trace(model, processor, clip, reference="r", reference_words=spoken)
    assert (found.words[2].start, found.words[2].end) == (0.25, 0.75)
    assert found.words[0].start is None
    assert (found.reference, found.reference_words) == ("r", spoken)
    assert (plain.reference, plain.reference_words) == (None, None)


def test_a_file_is_read_and_gives_the_trace_its_name(make_model, clip, tmp_path):
    model, processor = make_model()
    soundfile.write(tmp_path / "my clip.wav", clip, 16_000, subtype="FLOAT")
    for path in (tmp_path / "my clip.wav", str(tmp_path / "my clip.wav")):
        found = trace(model, processor, path, max_new_tokens=2)
        assert found.name == "my clip"
        np.testing.assert_array_equal(found.waveform, clip)
    assert trace(model, processor, clip, name="other", max_new_tokens=2).name == "other"


def test_warnings_of_the_loader_are_kept(make_model, clip, tmp_path):
    model, processor = make_model()
    soundfile.write(tmp_path / "loud.wav", np.clip(50 * clip, -1, 1), 16_000)
    for run in (trace, transcribe):
        assert any("clipped" in warning for warning in run(model, processor, tmp_path / "loud.wav").warnings)


def test_versions_and_provenance_are_recorded(make_model, clip):
    model, processor = make_model()
    found = trace(model, processor, clip, max_new_tokens=2)
    assert found.versions["torch"] == torch.__version__
    assert set(found.versions) == {"python", "asrscope", "numpy", "torch", "transformers"}
    assert [p.part for p in found.provenance] == ["encoder", "projector", "decoder"]
    assert {p.label for p in found.provenance} == {"unverified weights"}


def test_the_trace_of_a_run_is_saved_and_loaded(make_model, clip, tmp_path):
    model, processor = make_model()
    found = trace(model, processor, clip, reference_words=(("a", 0.0, 1.0),))
    found.save(tmp_path / "trace.npz")
    assert Trace.load(tmp_path / "trace.npz").to_dict() == found.to_dict()


def test_a_clip_beyond_training_has_a_warning_and_beyond_the_window_an_error(make_model, rng):
    model, processor = make_model()
    long = rng.normal(0, 0.1, 16_000 * 7 // 2).astype(np.float32)
    found = trace(model, processor, long, max_new_tokens=2)
    assert any("3.5 s, but the model was trained on at most 3 s" in w for w in found.warnings)
    with pytest.raises(ValueError, match=r"up to 4 s, but found 7\.00 s"):
        trace(model, processor, np.tile(long, 2))


def test_nearest_tokens_are_those_of_the_smallest_angle():
    table = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [-1.0, 0.0], [0.0, 0.0]])
    ids, cosines = nearest_tokens(torch.tensor([[5.0, 0.0], [0.1, 0.2]]), table, n_nearest=3)
    assert ids[:, :2].tolist() == [[0, 2], [2, 1]]
    np.testing.assert_allclose(cosines[:, :2], [[1, 0.5**0.5], [0.9487, 0.8944]], atol=1e-4)
    assert nearest_tokens(torch.tensor([[5.0, 0.0]]), table, [0], 1)[0].tolist() == [[2]]


def test_a_large_table_is_searched_piece_by_piece_and_whole(monkeypatch):
    torch.manual_seed(0)
    audio, table = torch.randn(7, 12), torch.randn(1003, 12)
    whole = torch.nn.functional.cosine_similarity(audio[:, None], table[None], dim=-1)
    whole[:, [5, 1002]] = -2.0
    expected = whole.topk(4, dim=1)
    monkeypatch.setattr("asrscope.decoder.TABLE_ROWS", 250)  # the last piece has 3 rows, fewer than 4
    ids, cosines = nearest_tokens(audio, table, excluded=[5, 1002], n_nearest=4)
    np.testing.assert_array_equal(ids, expected.indices.numpy())
    np.testing.assert_allclose(cosines, expected.values.numpy(), atol=1e-6)


def test_special_tokens_are_not_nearest_text(make_model, clip):
    model, processor = make_model()
    found = trace(model, processor, clip, max_new_tokens=2)
    assert not set(found.nearest_ids.ravel()) & set(processor.tokenizer.all_special_ids)
    assert (np.diff(found.nearest_cosines, axis=1) <= 0).all()
    assert found.nearest_texts[0][0] == processor.tokenizer.decode([found.nearest_ids[0, 0]])


# Threads and processes --------------------------------------------------------------------------------------


@pytest.fixture
def often():
    """Let threads take turns so often that what they share is seen."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


def test_threads_that_share_a_model_trace_their_own_clips(make_model, rng, often):
    model, processor = make_model()
    clips = [rng.normal(0, 0.1, samples).astype(np.float32) for samples in (8_000, 16_000, 24_000)]
    alone = [trace(model, processor, clip, max_new_tokens=3) for clip in clips]

    def run(turn):
        if turn % 4 == 3:  # whatever else runs the model is not heard
            transcribe(model, processor, clips[turn % 3])
            return None
        return turn % 3, trace(model, processor, clips[turn % 3], max_new_tokens=3)

    with ThreadPoolExecutor(4) as pool:
        found = [each for each in pool.map(run, range(48)) if each is not None]
    assert len(found) == 36
    for which, other in found:
        np.testing.assert_array_equal(other.log_mel, alone[which].log_mel)
        np.testing.assert_allclose(other.encoder_hidden_states, alone[which].encoder_hidden_states, atol=1e-5)
        np.testing.assert_allclose(other.audio_embeds, alone[which].audio_embeds, atol=1e-5)
        assert other.tokens[0].id == alone[which].tokens[0].id
        assert other.warnings == alone[which].warnings


def test_threads_may_look_inside_while_others_trace(make_model, clip, often):
    model, processor = make_model()
    ids = [5, 6, 7]
    alone = trace(model, processor, clip, max_new_tokens=2)
    seen = logit_lens(model, processor, clip, ids)
    weights = attend(model, processor, clip, ids).weights

    def run(turn):
        if turn % 3 == 0:
            np.testing.assert_allclose(attend(model, processor, clip, ids).weights, weights, atol=1e-5)
        elif turn % 3 == 1:
            other = logit_lens(model, processor, clip, ids)
            np.testing.assert_allclose(other.of_transcript, seen.of_transcript, atol=1e-4)
        else:
            found = trace(model, processor, clip, max_new_tokens=2)
            np.testing.assert_allclose(found.audio_embeds, alone.audio_embeds, atol=1e-5)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(24)))


def test_a_compiled_model_is_traced_as_the_model_that_it_is(make_model, clip):
    model, processor = make_model()
    compiled = torch.compile(model, backend="eager")
    found = attach(compiled, processor)
    assert found.model is model
    assert found.trace(clip, max_new_tokens=3).text == trace(model, processor, clip, max_new_tokens=3).text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_is_forked_traces_with_one_thread():
    """Torch of two threads, which a forked process does not have: it waited for them forever."""
    code = """if True:
        import os, sys
        import torch
        import asrscope
        torch.set_num_threads(2)
        model, processor = asrscope.load("tiny")
        path = asrscope.load_sample("captain").path
        text = asrscope.trace(model, processor, path).text
        child = os.fork()
        if not child:
            os._exit(0 if asrscope.trace(model, processor, path).text == text else 3)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        try:
            assert process.wait(timeout=300) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the child as well, where it waits


# Tokens and words -------------------------------------------------------------------------------------------


def tokens_of(tokenizer, text, probability=0.5):
    ids = tokenizer.encode(text, add_special_tokens=False)
    return [Token(i, tokenizer.decode([i]), probability, ()) for i in ids]


def test_tokens_join_to_words_at_spaces(tokenizer):
    tokens = tokens_of(tokenizer, "the old xylophone stops")
    words = join_words(tokenizer, tokens)
    assert [word.text for word in words] == ["the", "old", "xylophone", "stops"]
    for word in words:
        count = word.last_token - word.first_token + 1
        assert word.probability == pytest.approx(0.5**count)
    assert len(tokens) > len(words)
    assert [word.first_token for word in words[1:]] == [word.last_token + 1 for word in words[:-1]]


@given(st.text(alphabet="abcdé'ß 語\n", max_size=40))
def test_words_are_those_of_the_text(tokenizer, text):
    tokens = tokens_of(tokenizer, text)
    words = join_words(tokenizer, tokens)
    assert [word.text for word in words] == text.split()
    assert " ".join(word.text for word in words) == " ".join(
        text_of(tokenizer, [token.id for token in tokens]).split()
    )


def test_special_tokens_are_no_words(tokenizer):
    tokens = tokens_of(tokenizer, "the<|audio|> old<|im_start|>")
    assert [word.text for word in join_words(tokenizer, tokens)] == ["the", "old"]


def test_words_written_as_spoken_get_their_times(tokenizer):
    spoken = [("The", 0.1, 0.2), ("old", 0.2, 0.5), ("clock.", 0.5, 0.9), ("stops", 1.0, 2.0)]
    words = join_words(tokenizer, tokens_of(tokenizer, "the cold clock really stops"), spoken)
    assert [(word.text, word.start, word.end) for word in words] == [
        ("the", 0.1, 0.2),
        ("cold", None, None),
        ("clock", 0.5, 0.9),
        ("really", None, None),
        ("stops", 1.0, 2.0),
    ]


def test_runners_up_are_the_most_probable_other_tokens(tokenizer):
    probabilities = torch.zeros(2, len(tokenizer))
    first, second = tokenizer.encode(" the clock", add_special_tokens=False)[:2]
    probabilities[0, first], probabilities[0, second], probabilities[0, 7] = 0.6, 0.3, 0.1
    probabilities[1, second], probabilities[1, first] = 0.2, 0.8  # the search chose the second best
    one, two = describe_tokens(tokenizer, Written([first, second], None, probabilities))
    assert (one.text, one.probability) == (" the", pytest.approx(0.6))
    assert one.runners_up[:2] == (
        (tokenizer.decode([second]), pytest.approx(0.3)),
        (tokenizer.decode([7]), pytest.approx(0.1)),
    )
    assert two.probability == pytest.approx(0.2)
    assert two.runners_up[0] == (" the", pytest.approx(0.8))
    assert len(one.runners_up) == len(two.runners_up) == 5


@pytest.fixture(scope="module")
def traces(bundled):
    """Traces of the shipped clips by what is said in them."""
    from asrscope.audio.samples import load_samples

    return {
        sample.text: trace(*bundled, sample.path, reference=sample.text, reference_words=sample.words)
        for sample in load_samples()
    }


class TestBundled:
    """The model in the package, on its own samples."""

    def test_most_words_are_right(self, traces):
        from asrscope.recognition.metrics import total_errors, word_errors

        errors = total_errors([word_errors(said, found.text) for said, found in traces.items()])
        assert errors.words > 30
        assert errors.rate < 0.5

    def test_texts_end_by_themselves_without_a_warning(self, traces):
        ended = [found.finished and not found.warnings for found in traces.values()]
        assert sum(ended) > len(ended) / 2

    def test_right_words_have_the_synthesizers_times(self, traces):
        timed = [word for found in traces.values() for word in found.words if word.start is not None]
        assert len(timed) > 15
        assert all(word.start < word.end for word in timed)

    def test_a_random_projector_leaves_nothing_of_the_sentence(self, traces):
        from asrscope.audio.samples import load_samples
        from asrscope.loading import load
        from asrscope.recognition.metrics import total_errors, word_errors

        model, processor = load("tiny", random_projector=True)
        texts = [transcribe(model, processor, sample.path).text for sample in load_samples()]
        errors = total_errors([word_errors(said, text) for said, text in zip(traces, texts, strict=True)])
        assert errors.rate > 0.8
