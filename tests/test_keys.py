"""What the questions of the classes key as right is computed here, or is an argument without a number."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import asrscope
from asrscope.features import log_mel
from asrscope.inside.decoder import force, transcript_ids
from asrscope.loading import untrained
from asrscope.projector import AudioProjector, count_audio_tokens
from asrscope.recognition.metrics import (
    WordErrors,
    bootstrap_interval,
    paired_difference,
    total_errors,
    word_errors,
)
from asrscope.saving.provenance import provenance_of
from asrscope.scope.traces import STAGES
from asrscope_course import flops, sizes
from asrscope_course.gap import centroid_distance

COURSE = Path(__file__).parents[1] / "docs" / "course"
PARTS = ("audio_tower", "multi_modal_projector", "language_model")


def questions() -> dict[str, dict[str, tuple[bool, str]]]:
    """Every question by its name: each choice, whether it is keyed as right, and what is said of it."""
    found: dict[str, dict[str, tuple[bool, str]]] = {}
    for page in sorted(COURSE.glob("class-*.md")):
        text = page.read_text(encoding="utf-8")
        for name, body in re.findall(r"^:::\{question\} (\S+)\n(.*?)^:::$", text, re.MULTILINE | re.DOTALL):
            choices = re.findall(r"^- \[([ x])\] (.*)\n((?:  .*\n)+)", body, re.MULTILINE)
            assert name not in found
            found[name] = {choice: (mark == "x", " ".join(why.split())) for mark, choice, why in choices}
    return found


QUESTIONS = questions()
COMPUTED: dict[str, object] = {}

# What is keyed here follows from what words mean, or advises what to ask: there is no number to compute.
ARGUED = {
    *("q1-task", "q1-hard", "q1-inside", "q1-limits", "q-gap", "q3-mask", "q3-stages", "q4-limits"),
    *("q4-same-kind", "q4-errors", "q4-card", "q-clockwork", "q-unreadable", "q-silence", "q-knockout"),
    *("q-seeds", "q-compare", "q-trained", "q-seams", "q-reach"),
}


def computes(name: str):
    """Enter a function that is given the keyed choice and holds it against what it computes."""

    def enter(function):
        COMPUTED[name] = function
        return function

    return enter


def keyed(name: str) -> str:
    """Return the choice that is keyed as right, with its explanation."""
    return next(f"{choice}. {why}" for choice, (right, why) in QUESTIONS[name].items() if right)


@pytest.fixture(scope="module")
def tiny():
    return asrscope.load("tiny")


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_a_keyed_answer_is_what_comes_out(name, tiny, tmp_path):
    assert (name in COMPUTED) != (name in ARGUED), "compute what is keyed, or say that it is an argument"
    if name in COMPUTED:
        COMPUTED[name](keyed(name), *tiny, tmp_path)


def test_only_questions_that_are_asked_are_computed():
    assert set(COMPUTED) | ARGUED == set(QUESTIONS)
    assert len(COMPUTED) > len(QUESTIONS) / 2


def test_every_wrong_choice_is_met_with_the_idea_that_leads_to_it():
    for page in sorted(COURSE.glob("class-*.md")):
        text = page.read_text(encoding="utf-8")
        asked = [QUESTIONS[name].values() for name in re.findall(r"\{question\} (\S+)", text)]
        wrong = [why for choices in asked for right, why in choices if not right]
        ideas = [re.match(r"\*\*([^*]{8,60})\.\*\* \S", why) for why in wrong]
        assert all(ideas), page.name
        assert len({idea[1] for idea in ideas}) == len(wrong), page.name  # no two alike


# Class 1 --------------------------------------------------------------------------------------------------


@computes("q1-parts")
def _(told, model, _processor, _folder):
    counts = {part: sizes.count_parameters(getattr(model, part)) for part in PARTS}
    assert min(counts, key=counts.get) == "multi_modal_projector"
    assert told.startswith("The projector. It is the smallest")


@computes("q1-numbers")
def _(told, *_):
    sound = np.sin(np.arange(1000))
    errors = {
        bits: np.abs(np.round(sound * 2 ** (bits - 1)) / 2 ** (bits - 1) - sound).max() for bits in (8, 16)
    }
    assert errors[8] / errors[16] == pytest.approx(2**8, rel=0.1)
    assert "The bytes are halved" in told
    assert "2⁸" in told


@computes("q1-run")
def _(told, model, processor, folder):
    from asrscope.plots.report import write_html

    trace = asrscope.trace(model, processor, asrscope.load_sample("captain").path)
    write_html(trace, folder / "data_trace.html")
    page = (folder / "data_trace.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["']?https?:""", page)
    assert "works offline" in told


@computes("q1-provenance")
@computes("q-provenance")
def _(told, model, *_):
    random = untrained(model)
    trained = [[part.trained for part in provenance_of(one)] for one in (model, random)]
    assert trained == [[True, True, True], [True, False, True]]
    counts = [sizes.count_parameters(one.multi_modal_projector) for one in (model, random)]
    assert counts[0] == counts[1]  # so their number tells nothing
    assert "trained" in told


# Class 2 --------------------------------------------------------------------------------------------------


@computes("q-stages")
def _(told, *_):
    names = [stage.field for stage in STAGES]
    places = [names.index(name) for name in ("waveform", "log_mel", "encoder_hidden_states", "audio_embeds")]
    assert places == sorted(places)
    assert told.startswith("Waveform, log-mel, encoder, projector, decoder")


@computes("q-lengths")
def _(told, *_):
    assert told.startswith(f"{count_audio_tokens(301, 5)}. ")


@computes("q-nyquist")
def _(told, model, *_):
    import soxr

    n_mels = model.config.audio_config.num_mel_bins
    shares = []
    for sample in asrscope.load_samples():
        low = soxr.resample(asrscope.load_audio(sample.path), 16_000, 8_000)
        bands = log_mel(soxr.resample(low, 8_000, 16_000), n_mels).max(axis=1)
        floor = bands.min()
        empty = np.flatnonzero(bands <= floor + 0.05)
        assert empty.tolist() == list(range(n_mels - len(empty), n_mels))  # the highest, and no others
        shares.append(len(empty) / n_mels)
    assert 0.17 < min(shares) <= max(shares) < 0.25
    assert "about a fifth of all" in told


@computes("q-mel")
def _(told, model, *_):
    n_mels = model.config.audio_config.num_mel_bins
    sound = asrscope.load_audio(asrscope.load_sample("captain").path)
    np.testing.assert_allclose(log_mel(-sound, n_mels), log_mel(sound, n_mels), atol=1e-5)  # another phase
    assert log_mel(sound, n_mels).size >= 0.5 * sound.size  # not most of the numbers are gone
    assert told.startswith("Phase")


@computes("q-projector")
def _(told, model, *_):
    hidden = torch.randn(1, 40, model.config.audio_config.d_model, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        changed = hidden.clone()
        changed[:, :20] = 0
        projector = model.multi_modal_projector
        same = (projector(hidden) == projector(changed)).all(-1)[0]
    assert same.tolist() == [False] * (len(same) // 2) + [True] * (len(same) // 2)  # no context
    assert told.startswith("Context, in the encoder's attention and above all in the decoder")


@computes("q-decoder")
def _(told, model, processor, _folder):
    runs = []
    hooks = [
        getattr(model, part).register_forward_hook(lambda *_, part=part: runs.append(part))
        for part in PARTS[1:]
    ]
    asrscope.transcribe(model, processor, asrscope.load_audio(asrscope.load_sample("captain").path))
    for hook in hooks:
        hook.remove()
    assert runs.count("multi_modal_projector") == 1
    assert runs.count("language_model") > 10
    assert told.startswith("Once")


# Class 3 --------------------------------------------------------------------------------------------------


@computes("q3-gradient")
@computes("q3-cache")
def _(told, model, *_):
    import copy

    own = copy.deepcopy(model).requires_grad_(False)
    projector = own.multi_modal_projector.requires_grad_(True)
    hidden = torch.randn(1, 20, own.config.audio_config.d_model, generator=torch.Generator().manual_seed(0))
    before = projector(hidden)
    own.language_model(inputs_embeds=before).logits.logsumexp(-1).mean().backward()
    assert all(weight.grad is None for weight in own.language_model.parameters())
    torch.optim.SGD(projector.parameters(), lr=1).step()
    assert not torch.equal(projector(hidden), before)  # it has learned, so what was stored would be wrong
    for one, other in zip(own.audio_tower.parameters(), model.audio_tower.parameters(), strict=True):
        assert torch.equal(one, other)
    assert "whose weights are left as they are" in told or "the projector changes at every step" in told


@computes("q3-swiglu")
def _(told, model, *_):
    width, out = model.config.audio_config.d_model, model.config.text_config.hidden_size
    projectors = [AudioProjector(width, out, k, model.config.projector_hidden_size) for k in (4, 8)]
    counts = [sizes.count_parameters(projector) for projector in projectors]
    assert 1.6 < counts[1] / counts[0] < 2
    assert count_audio_tokens(400, 8) == count_audio_tokens(400, 4) / 2
    assert "nearly double, and it makes half as many audio tokens" in told


@computes("q3-loss")
def _(told, model, *_):
    vocabulary = model.config.text_config.vocab_size
    label = torch.tensor([3])

    def loss(logits):
        return float(torch.nn.functional.cross_entropy(logits[None], label))

    sure = torch.zeros(vocabulary)
    assert loss(sure) == pytest.approx(math.log(vocabulary))
    sure[5] = 20
    assert loss(sure) > math.log(vocabulary)
    assert told.startswith("It is sure of wrong tokens")


@computes("q3-cliff")
def _(told, model, processor, _folder):
    def loss(network, sound, said):
        forced = force(network, processor, sound, transcript_ids(processor, said))
        return -np.mean(np.log(forced.token_probabilities))

    samples = asrscope.load_samples()[:4]
    sounds = [asrscope.load_audio(sample.path) for sample in samples]
    rise = {}
    for label, network in (("trained", model), ("random", untrained(model))):
        own = [loss(network, sound, sample.text) for sound, sample in zip(sounds, samples, strict=True)]
        others = [loss(network, sounds[index - 1], sample.text) for index, sample in enumerate(samples)]
        rise[label] = np.mean(others) - np.mean(own)
    assert rise["trained"] > 1
    assert abs(rise["random"]) < 0.2 * rise["trained"]
    assert told.startswith("Give each clip the sound of another clip")


@computes("q3-scale")
def _(told, *_):
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(8, 5, generator=generator), torch.arange(8) % 3
    weight = torch.randn(5, 3, generator=generator, requires_grad=True)

    def gradient(rows):
        loss = torch.nn.functional.cross_entropy(inputs[rows] @ weight, labels[rows], reduction="sum") / 8
        return torch.autograd.grad(loss, weight)[0]

    shares = sum(gradient(slice(first, first + 2)) for first in range(0, 8, 2))
    torch.testing.assert_close(shares, gradient(slice(None)))
    assert "the gradient is the same up to rounding" in told


@computes("q3-cost")
def _(told, *_):
    pair = sizes.full_pair()
    clip = sizes.lengths(30.0, pair.config)
    encoder = flops.encoder_flops(pair.audio_tower, clip.positions)
    projector = flops.projector_flops(pair.multi_modal_projector, clip.audio_tokens)
    decoder = flops.decoder_flops(pair.language_model, clip.audio_tokens, 100)
    work = (encoder + 3 * projector + 2 * decoder) / (3 * (encoder + projector + decoder))
    trained, every = sizes.count_parameters(pair.multi_modal_projector), sizes.count_parameters(pair)
    memory = (2 * (every - trained) + 16 * trained) / (16 * every)
    assert memory < 0.2
    assert work > 2 * memory
    assert projector < 0.1 * min(encoder, decoder)
    assert "the decoder still has to be run forward, and the gradient back through it" in told


# Class 4 --------------------------------------------------------------------------------------------------


@computes("q4-wer")
def _(told, *_):
    errors = word_errors("the birds come back", "birds come back again")
    assert (errors.deletions, errors.insertions) == (1, 1)
    assert told.startswith(f"{errors.errors} / {errors.words}.")


@computes("q4-mean")
def _(told, *_):
    short, long = WordErrors(2, substitutions=1), WordErrors(20, substitutions=1)
    one, other = [short, long], [WordErrors(2), WordErrors(20, substitutions=10)]
    above = [np.mean([each.rate for each in rates]) > total_errors(rates).rate for rates in (one, other)]
    assert above == [True, False]  # the mean may be higher or lower
    assert told.startswith("In a mean, a word of a short utterance would weigh more")


@computes("q4-interval")
def _(told, *_):
    rng = np.random.default_rng(0)
    hard = rng.binomial(7, rng.uniform(0, 0.5, 150))
    first = [WordErrors(8, substitutions=int(wrong) + 1) for wrong in hard]
    second = [WordErrors(8, substitutions=int(wrong + (rng.random() < 0.8))) for wrong in hard]
    one, two = bootstrap_interval(first), bootstrap_interval(second)
    assert one[0] < two[1]  # they overlap
    _, low, high = paired_difference(first, second)
    assert high < 0  # and yet it is decided
    assert high - low < min(one[1] - one[0], two[1] - two[0])
    assert "far narrower than both intervals" in told


@computes("q4-push")
def _(told, model, processor, folder):
    model.save_pretrained(folder / "pushed")
    with pytest.raises(ValueError, match="its tokenizer or processor cannot be read"):
        asrscope.load(str(folder / "pushed"))
    processor.save_pretrained(folder / "pushed")
    assert asrscope.load(str(folder / "pushed"))
    assert "the processor is missing" in told


@computes("q4-serve")
def _(told, model, processor, _folder):
    import time

    def seconds(call):
        start = time.process_time()
        call()
        return time.process_time() - start

    sound = asrscope.load_audio(asrscope.load_sample("captain").path)
    loading = min(seconds(lambda: asrscope.load("tiny")) for _ in range(3))
    writing = min(seconds(lambda: asrscope.transcribe(model, processor, sound)) for _ in range(3))
    assert 0.2 < loading / writing < 5
    assert "Loading tiny takes about as long as recognizing a short clip" in told


# Class 5 --------------------------------------------------------------------------------------------------


@computes("q-rotation")
def _(told, model, *_):
    rng = np.random.default_rng(0)
    table = model.get_input_embeddings().weight.detach().numpy()
    vectors = rng.standard_normal((50, table.shape[1]))
    turn, _ = np.linalg.qr(rng.standard_normal((table.shape[1], table.shape[1])))
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    before, after = ((one @ unit.T).argmax(axis=1) for one in (vectors, vectors @ turn))
    assert (before != after).mean() > 0.8  # another list
    np.testing.assert_allclose(vectors @ turn @ turn.T, vectors)  # and nothing is lost
    assert told.startswith("Nothing about the sound")


@computes("q-closed")
def _(told, model, processor, _folder):
    sample = asrscope.load_sample("captain")
    usual = asrscope.trace(model, processor, sample.path)
    ids = processor.tokenizer(sample.text)["input_ids"]
    text = model.get_input_embeddings().weight.detach()[sorted(set(ids))]
    shift = 0.5 * (text.mean(dim=0) - torch.from_numpy(usual.audio_embeds).mean(dim=0))
    hook = model.multi_modal_projector.register_forward_hook(lambda _, __, audio: audio + shift)
    moved = asrscope.trace(model, processor, sample.path)
    hook.remove()
    far, near = (centroid_distance(trace.audio_embeds, text.numpy()) for trace in (usual, moved))
    assert near == pytest.approx(far / 2, rel=1e-3)
    errors = [word_errors(sample.text, trace.text).errors for trace in (usual, moved)]
    assert errors[1] >= errors[0]  # half the distance, and no error fewer
    assert told.startswith("Nothing; that has to be measured")


@computes("q-weights")
def _(told, model, *_):
    from asrscope_course.arrays import softmax

    ids = torch.tensor([[1, 5, 9, 3], [1, 2, 2, 2]])
    with torch.inference_mode():
        hidden = model.language_model(ids, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(hidden[0, 0], hidden[1, 0])  # the first has seen only itself
    np.testing.assert_allclose(softmax(np.random.default_rng(0).normal(0, 9, (3, 7))).sum(axis=1), 1)
    assert "the weights must add up to one" in told


# Class 6 --------------------------------------------------------------------------------------------------


@computes("q-commands")
def _(told, *_):
    pair = sizes.full_pair()
    padded, true = (sizes.lengths(2.0, pair.config, pad=pad) for pad in (True, False))
    assert padded.audio_tokens > 10 * true.audio_tokens
    assert padded == sizes.lengths(30.0, pair.config)
    assert "as much as a full window" in told


@computes("q-cache")
def _(told, *_):
    pair = sizes.full_pair()
    one, two = (sizes.lengths(seconds, pair.config, pad=False).audio_tokens for seconds in (10.0, 20.0))
    assert two == 2 * one
    assert told.startswith("The weights stay, the part of the cache for audio doubles")


@computes("q-bound")
def _(told, *_):
    assert sizes.weight_bytes(1000, 16) == 4 * sizes.weight_bytes(1000, 4)
    assert "a quarter of the bytes" in told
    assert "by up to four times" in told


@computes("q-policy")
def _(told, _model, _processor, _folder):
    model, processor = asrscope.load("tiny")  # one of its own: it is changed
    samples = asrscope.load_samples()[:3]
    wrong = {}
    for padded in (False, True):
        processor.pad_audio = padded
        texts = [asrscope.transcribe(model, processor, asrscope.load_audio(one.path)).text for one in samples]
        errors = [word_errors(one.text, text) for one, text in zip(samples, texts, strict=True)]
        wrong[padded] = total_errors(errors).rate
    assert wrong[True] > 2 * wrong[False]
    assert told.startswith("Worse text")


@computes("q-outlier")
def _(told, *_):
    row = np.array([1.0, 0.01, -0.008, 0.003, 0.0])
    steps = np.round(row / (np.abs(row).max() / 127)).astype(int)
    assert steps.tolist() == [127, 1, -1, 0, 0]
    assert told.startswith("Most of them become zero or one step")
