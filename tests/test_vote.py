"""What the sound spells, in tokens and in letters, has its say in what the decoder writes."""

import copy
import itertools
import math
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch

import asrscope.model
from asrscope.audio import load_audio
from asrscope.audio.samples import load_person, load_sample, load_samples
from asrscope.decoder import SHARE, SpellingVote, write
from asrscope.encoder import encode
from asrscope.loading import load, untrained
from asrscope.projector import LETTERS, LONGEST, AudioProjector, Speller, letters_of
from asrscope.recognition.metrics import total_errors, word_errors
from asrscope.recognition.transcribe import transcribe
from asrscope.scope.tracing import trace
from asrscope.training.batches import Prompt
from asrscope.training.projector import read_letters, read_nearest
from asrscope_recipe import comparison

TOKENS, OPENINGS, END = (5, 7, 9), (4, 6, -1), 2  # the last stands only within words
VOCABULARY = 12


def vote_on(log_probs, weight=0.999_999):
    binding = SimpleNamespace(vocabulary=torch.tensor(TOKENS), openings=torch.tensor(OPENINGS))
    vote = SpellingVote(weight, SimpleNamespace(binding=binding, speller=None), END)
    readings = log_probs if log_probs.ndim == 4 else log_probs[:, None]
    vote.hear(readings, torch.tensor([row.shape[1] for row in readings]))
    return vote


def spelled_by(path):
    """Merge repeats and drop blanks, as CTC does."""
    return tuple(label for label, _ in itertools.groupby(path) if label)


def by_hand(log_probs):
    """Sum the probability of every path through the audio tokens, by what it spells."""
    found = {}
    for path in itertools.product(range(len(TOKENS) + 1), repeat=len(log_probs)):
        text = spelled_by(path)
        found[text] = found.get(text, 0.0) + math.exp(sum(log_probs[t][at] for t, at in enumerate(path)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_vote_is_the_sum_over_all_paths(seed):
    torch.manual_seed(seed)
    log_probs = (2 * torch.randn(1, 5, 1 + len(TOKENS))).log_softmax(-1)
    texts = by_hand(log_probs[0].tolist())
    assert sum(texts.values()) == pytest.approx(1)
    for written in [(), (1,), (1, 1), (1, 2), (2, 1, 3), (2, 3, 3)]:
        vote = vote_on(log_probs)
        prompt = torch.zeros(1, 3, dtype=torch.long)
        vote(prompt, torch.zeros(1, VOCABULARY))  # it reads the prompt's length off the first call
        ids = [(TOKENS if at else OPENINGS)[label - 1] for at, label in enumerate(written)]
        scores = vote(
            torch.cat([prompt, torch.tensor([ids], dtype=torch.long)], 1), torch.zeros(1, VOCABULARY)
        )
        so_far = sum(p for said, p in texts.items() if said[: len(written)] == written)
        for label, token in enumerate(TOKENS if written else OPENINGS, 1):
            goes_on = sum(p for said, p in texts.items() if said[: len(written) + 1] == (*written, label))
            if token >= 0:
                assert math.exp(scores[0, token]) == pytest.approx(goes_on / so_far, rel=1e-3, abs=1e-12)
        ends = texts.get(written, 0.0) / so_far
        assert math.exp(scores[0, END]) == pytest.approx(ends, rel=1e-3, abs=1e-12)
        others = set(range(VOCABULARY)) - {END, *(TOKENS if written else OPENINGS)}
        assert all(scores[0, other] == -math.inf for other in others)


def test_a_share_of_the_choice_stays_with_the_decoder():
    log_probs = torch.randn(1, 4, 1 + len(TOKENS)).log_softmax(-1)
    own, prompt = torch.randn(1, VOCABULARY), torch.zeros(1, 3, dtype=torch.long)
    all_ctc, half = (vote_on(log_probs, weight)(prompt, own) for weight in (0.999_999, 0.5))
    spelled = [*OPENINGS[:2], END]
    expected = (own.log_softmax(-1)[0, spelled] + all_ctc[0, spelled]) / 2
    torch.testing.assert_close(half[0, spelled], expected, rtol=1e-4, atol=1e-4)


def test_two_readings_have_half_a_vote_each():
    both = torch.randn(1, 2, 5, 1 + len(TOKENS)).log_softmax(-1)
    start = torch.zeros(1, 3, dtype=torch.long)
    later = torch.cat([start, torch.tensor([[OPENINGS[1], TOKENS[0]]])], 1)
    for text, known in ((start, OPENINGS[:2]), (later, TOKENS)):
        votes = []
        for log_probs in (both, both[:, 0], both[:, 1]):
            vote = vote_on(log_probs)
            vote(start, torch.zeros(1, VOCABULARY))
            votes.append(vote(text, torch.zeros(1, VOCABULARY))[0, [*known, END]])
        torch.testing.assert_close(votes[0], (votes[1] + votes[2]) / 2, rtol=1e-4, atol=1e-4)


def test_the_second_reading_stacks_what_the_first_divides():
    projector = AudioProjector(8, 8, 5, 8, output="bound", vocabulary=9, ctc_weight=0.5)
    table, hidden = torch.randn(9, 8), torch.randn(2, 33, 8)
    projector.fit_length(table)
    first, second = projector.read(hidden, table).unbind(1)
    torch.testing.assert_close(first, projector.spell(hidden, table))
    torch.testing.assert_close(second[:, 1:], projector.spell(hidden[:, 3:], table)[:, : first.shape[1] - 1])
    padded = torch.cat([hidden, torch.randn(2, 20, 8)], 1)  # what lies behind a clip of a batch is not heard
    torch.testing.assert_close(projector.read(padded, table)[:, 1, : first.shape[1]], second)


def test_each_row_hears_its_own_clip_and_one_that_has_ended_is_left_alone():
    log_probs = torch.randn(2, 4, 1 + len(TOKENS)).log_softmax(-1)
    prompt, own = torch.zeros(2, 3, dtype=torch.long), torch.randn(2, VOCABULARY)
    both = vote_on(log_probs)
    torch.testing.assert_close(both(prompt, own)[1:], vote_on(log_probs[1:])(prompt[1:], own[1:]))
    later = both(torch.cat([prompt, torch.tensor([[END], [OPENINGS[0]]])], 1), own)
    torch.testing.assert_close(later[0], own.log_softmax(-1)[0])
    assert int(later[1].argmax()) in {*TOKENS, END}


@pytest.mark.parametrize(
    ("ctc_weight", "output", "vocabulary"),
    [(0.5, "free", 0), (0.5, "bound", 0), (1.0, "bound", 9), (-0.5, "free", 0)],
)
def test_a_share_needs_tokens_to_spell_with(ctc_weight, output, vocabulary):
    with pytest.raises(ValueError, match=r"expected a ctc_weight of 0 or more and below 1.*but found"):
        AudioProjector(8, 8, 2, 8, output=output, vocabulary=vocabulary, ctc_weight=ctc_weight)


# Letters ----------------------------------------------------------------------------------------------------

# What each token says, and how a text begins with it.
SAID = {3: "a", 4: "b", 5: " a", 6: "ab", 7: "-", 8: "ba", 9: "aa", 10: "a b", 11: "(no letters)"}
BEGIN = {token: token for token in SAID} | {7: -1}
PATHS = [0, *sorted(set(letters_of(" ab")))]  # the blank, and the letters that may be heard


def letters_on(log_probs, weight=0.999_999):
    """A vote of letters, to which the audio tokens add nothing: each is as likely as the others."""
    tokens = torch.zeros(len(SAID), LONGEST, dtype=torch.uint8)
    for row, text in enumerate(SAID.values()):
        places = letters_of(text) if "(" not in text else []
        tokens[row, : len(places)] = torch.tensor(places)
    binding = SimpleNamespace(vocabulary=torch.tensor([*SAID]), openings=torch.tensor([*BEGIN.values()]))
    vote = SpellingVote(
        weight,
        SimpleNamespace(binding=binding, speller=SimpleNamespace(tokens=tokens, choices=1 + len(LETTERS))),
        END,
    )
    vote.hear(
        torch.zeros(len(log_probs), 1, 9, 1 + len(SAID)).log_softmax(-1), torch.full((len(log_probs),), 9)
    )
    vote.hear_letters(log_probs, torch.tensor([len(row) for row in log_probs]))
    return vote


def random_log_probs(rows, positions):
    only = torch.full((1 + len(LETTERS),), -30.0)
    only[PATHS] = 0.0
    return (2 * torch.randn(rows, positions, 1 + len(LETTERS)) + only).log_softmax(-1)


def letters_by_hand(log_probs):
    """Sum the probability of every path through the positions, by what it spells."""
    found = {}
    for path in itertools.product(PATHS, repeat=len(log_probs)):
        text = spelled_by(path)
        found[text] = found.get(text, 0.0) + math.exp(sum(log_probs[t][at] for t, at in enumerate(path)))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_vote_of_letters_is_the_sum_over_all_paths(seed):
    torch.manual_seed(seed)
    log_probs = random_log_probs(1, 5)
    texts = letters_by_hand(log_probs[0].tolist())
    assert sum(texts.values()) == pytest.approx(1)

    def begins(text):
        return sum(p for said, p in texts.items() if said[: len(text)] == text)

    def spelled(tokens):  # a text does not begin with a space
        return tuple(letters_of("".join(SAID[token] for token in tokens).lstrip(" ")))

    vote = letters_on(log_probs)
    for written in [(), (3,), (4,), (3, 3), (3, 4), (9,), (5, 8), (5, 4), (6, 3), (10,)]:
        letters = vote._votes_of_letters(0, written, torch.arange(-1, len(SAID)))
        so_far = begins(spelled(written))
        assert math.exp(letters[0]) == pytest.approx(texts.get(spelled(written), 0.0) / so_far, rel=1e-3)
        for token, log_prob in zip(SAID, letters[1:], strict=True):
            if token == 11 or (token == 7 and not written):  # it would say nothing
                assert log_prob < -1e20
            else:
                expected = begins(spelled((*written, token))) / so_far
                assert math.exp(log_prob) == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_letters_have_a_share_of_the_sounds_vote(monkeypatch):
    log_probs, own = random_log_probs(1, 5), torch.randn(1, VOCABULARY)
    prompt = torch.zeros(1, 3, dtype=torch.long)
    vote = letters_on(log_probs, 0.6)
    both = vote(prompt, own)[0]
    letters = dict(zip(SAID, vote._votes_of_letters(0, (), torch.arange(len(SAID))).tolist(), strict=True))
    vote._letters_heard = []
    tokens = vote(prompt, own)[0]
    for token in (3, 4, 6, 8):
        heard = float((tokens[token] - 0.4 * own.log_softmax(-1)[0, token]) / 0.6)
        sound = (1 - SHARE) * heard + SHARE * letters[token]
        expected = 0.4 * own.log_softmax(-1)[0, token] + 0.6 * sound
        assert float(both[token]) == pytest.approx(float(expected), rel=1e-4)
    monkeypatch.setattr("asrscope.decoder.CANDIDATES", 3)
    likely = letters_on(log_probs, 0.6)(prompt, own)[0] > -math.inf
    assert set(likely.nonzero()[:, 0].tolist()) == set(tokens.topk(3).indices.tolist())


def test_each_row_hears_its_own_letters_and_one_that_has_ended_is_left_alone():
    log_probs = random_log_probs(2, 4)
    prompt, own = torch.zeros(2, 3, dtype=torch.long), torch.randn(2, VOCABULARY)
    both = letters_on(log_probs)
    torch.testing.assert_close(both(prompt, own)[1:], letters_on(log_probs[1:])(prompt[1:], own[1:]))
    later = both(torch.cat([prompt, torch.tensor([[END], [3]])], 1), own)
    torch.testing.assert_close(later[0], own.log_softmax(-1)[0])


def test_letters_of_a_token_that_there_are_not_are_refused():
    tokens = torch.full((3, LONGEST), 99, dtype=torch.uint8)
    speller = SimpleNamespace(tokens=tokens, choices=1 + len(LETTERS))
    binding = SimpleNamespace(vocabulary=torch.tensor(TOKENS), openings=torch.tensor(OPENINGS))
    with pytest.raises(ValueError, match=f"letters up to {len(LETTERS)} of a speller, but found 99"):
        SpellingVote(0.5, SimpleNamespace(binding=binding, speller=speller), END)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 12, Zo\u00eb!", "it's 12, zoe!"),
        ("well-known \u2014 a \u201cword\u201d", "well known a word"),
        (" \u2019s", " 's"),
        ("\u0434\u0430", ""),
    ],
)
def test_a_text_has_letters(text, expected):
    assert "".join(LETTERS[place - 1] for place in letters_of(text)) == expected


def test_a_clip_of_a_batch_is_spelled_as_it_is_alone():
    torch.manual_seed(0)
    speller = Speller(8, 16)
    hidden = torch.randn(3, 41, 8)
    counts = torch.tensor([41, 20, 9])
    together = speller(hidden, counts)
    assert together.shape == (3, 41, 1 + len(LETTERS))
    torch.testing.assert_close(together.exp().sum(-1), torch.ones(3, 41))
    for row, count in enumerate(counts):
        torch.testing.assert_close(speller(hidden[row : row + 1, :count]), together[row : row + 1, :count])


def test_a_speller_looks_around_and_not_everywhere():
    torch.manual_seed(0)
    speller = Speller(8, 16)
    hidden = torch.randn(1, 200, 8)
    changed = hidden.clone()
    changed[0, 100] += 1
    heard = (speller(hidden) - speller(changed)).abs().amax(-1)[0] > 0
    # Four layers that each reach four steps of two positions.
    assert heard.nonzero()[:, 0].tolist() == list(range(100 - 32, 102 + 32))


# The real pair ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(specialist_packages):
    return load("small")


@pytest.fixture(scope="module")
def clip():
    return load_audio(load_sample("train").path)


def ask(small, waveform, weight, beams=1):
    model, processor = small
    model.multi_modal_projector.ctc_weight = weight
    try:
        return write(
            model, processor(audio=waveform), num_beams=beams, limit=40, tokenizer=processor.tokenizer
        )
    finally:
        model.multi_modal_projector.ctc_weight = model.config.projector_ctc_weight


def test_the_letters_of_a_token_are_those_of_its_text(small):
    model, processor = small
    tokens = model.multi_modal_projector.speller.tokens
    vocabulary = model.multi_modal_projector.binding.vocabulary.tolist()
    prompt = Prompt(processor)
    assert tokens.tolist() == [prompt.letters(token) for token in vocabulary]
    encode_one = processor.tokenizer.encode
    for text, expected in ((" The", " the"), ("'t", "'t"), (".", "."), (" well", " well")):
        (token,) = encode_one(text)
        places = [place for place in tokens[vocabulary.index(token)].tolist() if place]
        assert "".join(LETTERS[place - 1] for place in places) == expected
    assert (tokens[:, 0] > 0).float().mean() > 0.99


def test_the_model_writes_nearly_what_its_projector_spells_when_that_alone_counts(small):
    model, processor = small
    projector = model.multi_modal_projector
    table = model.get_input_embeddings().weight
    voted, alone = [], []
    # Two readings differ; what is read without the decoder is the first. And the letters are not asked.
    once = {"read": lambda *heard: type(projector).read(projector, *heard)[:, :1], "speller": None}
    for sample in load_samples()[:4]:
        clip = load_audio(sample.path)
        with torch.inference_mode():
            hidden = encode(model.audio_tower, torch.from_numpy(processor.features(clip))[None])[0].numpy()
        nearest = read_nearest(projector, table, hidden, processor.tokenizer)
        for weight, errors in ((0.999, voted), (0.0, alone)):
            with patch.multiple(projector, **once):
                text = processor.tokenizer.decode(ask(small, clip, weight).ids)
            errors.append(word_errors(nearest, text))
    # Not the same: it sums over paths, and looks no token ahead.
    assert total_errors(voted).rate < min(0.4, total_errors(alone).rate)


def test_a_trace_says_what_a_transcript_says(small):
    milk = load_sample("milk").path
    found = {beams: trace(*small, milk, num_beams=beams).text for beams in (None, 1)}
    assert found == {beams: transcribe(*small, milk, num_beams=beams).text for beams in (None, 1)}
    assert found[None] != found[1]  # or the clip tells nothing


def test_without_a_part_of_it_the_pair_is_searched_as_it_is_with_it(small, monkeypatch):
    searched, said = [], SimpleNamespace(text="")
    monkeypatch.setattr(comparison, "transcribe", lambda *_, num_beams: searched.append(num_beams) or said)
    systems = comparison.systems_beside("small", small)
    for name in ("without letters", "the decoder alone", "no silence ahead"):
        systems[name](torch.zeros(9).numpy())
    assert searched == [3, 3, 3]


def test_of_a_persons_letters_most_are_heard(small):
    model, processor = small
    person = load_person("gregson")
    features = torch.from_numpy(processor.features(load_audio(person.path)))[None]
    with torch.inference_mode():
        heard = read_letters(model.multi_modal_projector, encode(model.audio_tower, features)[0].numpy())
    said = "".join(LETTERS[place - 1] for place in letters_of(person.text))
    errors = word_errors(*(" ".join(text.replace(" ", "_")) for text in (said, heard)))
    assert errors.rate < 0.25


def test_options_of_transformers_count_with_a_vote_too(small, clip):
    model, processor = small
    inputs, (end,) = processor(audio=clip), processor.tokenizer.encode("<|endoftext|>")
    assert end not in {
        model.generation_config.eos_token_id,
        *model.multi_modal_projector.binding.vocabulary.tolist(),
    }
    settings = copy.deepcopy(model.generation_config)
    settings.update(eos_token_id=end, max_new_tokens=60)
    written = model.generate(**inputs, generation_config=settings, logits_processor=None, do_sample=False)
    assert written[0, -1] == end


def test_a_random_projector_can_point_to_the_same_tokens(small):
    new, old = (each.multi_modal_projector for each in (untrained(small[0]), small[0]))
    for name, tokens in old.named_buffers():
        assert torch.equal(new.get_buffer(name), tokens)
    assert not torch.equal(new.binding.blank, old.binding.blank)
    assert not torch.equal(new.speller.down.weight, old.speller.down.weight)


def test_the_decoder_alone_and_both_together_write_other_probabilities(small, clip):
    alone, together = ask(small, clip, 0.0), ask(small, clip, 0.5)
    assert together.finished
    assert not torch.allclose(alone.probabilities[0], together.probabilities[0])
    # A greedy search takes the most probable of what it is shown.
    for step, token in enumerate(together.ids):
        assert token == int(together.probabilities[step].argmax())
    assert ask(small, clip, 0.5, beams=2).ids


def test_the_texts_of_a_beam_search_read_their_prompt_once_and_are_the_same(small, clip):
    model, processor = small
    inputs, found, rows = processor(audio=clip), {}, {}
    for how, copies in (("once", asrscope.model._copies), ("each", lambda *_: 0)):
        read = rows[how] = []

        def keep(_, __, given, read=read):
            read.append(len(given["inputs_embeds"]))

        handle = model.language_model.register_forward_pre_hook(keep, with_kwargs=True)
        with patch.object(asrscope.model, "_copies", copies):
            found[how] = model.generate(**inputs, num_beams=3, do_sample=False, max_new_tokens=12)
        handle.remove()
    assert rows["once"][0] == 1
    assert rows["each"][0] == 3
    assert set(rows["once"][1:]) == {3}
    assert torch.equal(found["once"], found["each"])
