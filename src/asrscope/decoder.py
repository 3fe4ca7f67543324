"""Let the decoder write, within limits, and with the projector's say.

A language model that hears silence or noise goes on writing, often the same words over and over. The text is
capped by the clip's length and ends where it has become a loop; what looks wrong is said in a warning. Where
the sound can be spelled, `SpellingVote` weighs what the decoder would like to write by what was heard.
"""

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import BatchFeature, LogitsProcessor, StoppingCriteria, StoppingCriteriaList
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

__all__ = [
    "COMPRESSION_LIMIT",
    "LOW_CONFIDENCE",
    "LoopStop",
    "SpellingVote",
    "Written",
    "compression_ratio",
    "confidence",
    "decoding_warnings",
    "max_new_tokens",
    "split_pieces",
    "text_of",
    "write",
]

TOKENS_PER_SECOND = 12.0  # fast speech has 5 words a second, rare words take several tokens
SPARE_TOKENS = 8  # for the end token, and for one long word in a very short clip
COMPRESSION_LIMIT = 2.4  # above it openai/whisper takes a text for a loop (compression_ratio_threshold)
LOW_CONFIDENCE = 0.5  # below it the decoder held what it wrote for less likely than not, token by token
CANDIDATES = 32  # tokens that the letters vote on
SPACE = 1  # its place among the letters
IN_LETTERS = -1  # beside the readings, which are counted from 0
SHARE = 0.3  # of the letters in the sound's vote
NEVER = -1e30  # a logarithm that can be added to itself
FEW = 16  # vectors that a weight is multiplied by from the left
TABLE_ROWS = 16_384  # of the embedding table, compared with audio tokens at a time


if hasattr(os, "register_at_fork"):
    # Torch waits forever for threads that a forked process does not have. Its DataLoader does the same.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class FewRows(nn.Linear):
    """A linear layer that is quick with a few vectors at once, which is what a beam search gives it.

    Torch multiplies them by the weight from the right, which MKL, on an AMD processor, was more than twice as
    slow with as from the left. Both are the same sums.
    """

    bias: nn.Parameter | None  # type: ignore[assignment]  # torch says that there always is one

    @classmethod
    def within(cls, decoder: nn.Module) -> None:
        """Let the decoder's linear layers be such; others (quantized, adapted) stay."""
        for layer in decoder.modules():
            if type(layer) is nn.Linear and type(layer.weight.data) is Tensor:
                layer.__class__ = cls

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows out"]:
        """Multiply by the weight, and add the bias."""
        rows = x.shape[:-1].numel()
        if self.bias is not None or x.dtype != torch.float32 or not 1 < rows <= FEW:
            return super().forward(x)
        return (self.weight @ x.flatten(0, -2).T).T.reshape(*x.shape[:-1], -1)


@dataclass(frozen=True)
class Written:
    """What one call of ``generate`` wrote.

    Attributes
    ----------
    ids : list of int
        Tokens, without the end token.
    eos_id : int or None
        The end token, if it was written.
    probabilities : torch.Tensor [shape=(steps, vocabulary)]
        Softmax of the scores that each token was chosen by, those of the last step at the end token, if it
        was written. They are the decoder's logits, unless `SpellingVote` has weighed them.
    """

    ids: list[int]
    eos_id: int | None
    probabilities: Tensor

    @property
    def finished(self) -> bool:
        """Whether the decoder wrote its end token."""
        return self.eos_id is not None

    @property
    def eos_probability(self) -> float | None:
        """Probability of the end token, if it was written."""
        return None if self.eos_id is None else float(self.probabilities[-1, self.eos_id])

    @property
    def token_probabilities(self) -> list[float]:
        """Probability of each token."""
        return [float(self.probabilities[step, token]) for step, token in enumerate(self.ids)]


class LoopStop(StoppingCriteria):
    """Ends a text once it repeats itself so much that it compresses more than `COMPRESSION_LIMIT` times.

    In a beam search, a looping text ends by itself and the others go on.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        The decoder's tokenizer.
    prompt_tokens : int
        Length of the prompt, which does not count.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._prompt_tokens = prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:  # noqa: ARG002
        """Tell of each text, a row of `input_ids`, whether it has become a loop; shape (texts,)."""
        written = input_ids[:, self._prompt_tokens :].tolist()
        looping = [compression_ratio(text_of(self._tokenizer, ids)) > COMPRESSION_LIMIT for ids in written]
        return torch.tensor(looping, device=input_ids.device)


class Spelling(NamedTuple):
    """How probably the sound up to each place spells a text; of each of several texts.

    A text is a row of choices of CTC, tokens or letters, counted from 1: 0 is the blank.

    Attributes
    ----------
    said, blank : torch.Tensor [shape=(texts, places)]
        Logarithms: the text's last choice is there, or a blank after it.
    begun : torch.Tensor [shape=(texts,)]
        How probably what is said begins so.
    last : torch.Tensor [shape=(texts,)]
        The last choice; 0 before the first.
    """

    said: Float[Tensor, "texts places"]
    blank: Float[Tensor, "texts places"]
    begun: Float[Tensor, " texts"]
    last: Int[Tensor, " texts"]

    @property
    def whole(self) -> Float[Tensor, " texts"]:
        """How probably a text is all that is said."""
        return torch.logaddexp(self.said[:, -1], self.blank[:, -1])

    @classmethod
    def nothing(cls, heard: Float[Tensor, "choices places"]) -> "Spelling":
        """Begin a text."""
        blank = heard[:1].double().cumsum(-1)
        return cls(torch.full_like(blank, NEVER), blank, blank.new_zeros(1), torch.zeros(1, dtype=torch.long))

    def take(self, texts: Int[Tensor, " taken"]) -> "Spelling":
        """Take some of the texts."""
        return Spelling(*(part[texts] for part in self))

    def ahead(self, choice: Int[Tensor, " texts"] | None = None) -> Float[Tensor, "texts places"]:
        """Give each text's probability ahead of each place; a choice follows itself only after a blank."""
        either = torch.logaddexp(self.said, self.blank)
        if choice is not None:
            either = torch.where((choice == self.last)[:, None], self.blank, either)
        before = nn.functional.pad(either, (1, -1))
        before[:, 0] = torch.where(self.last == 0, 0.0, NEVER)
        return before

    def go_on(self, heard: Float[Tensor, "choices places"], choice: Int[Tensor, " texts"]) -> "Spelling":
        """Write a choice behind each text."""
        silent, spoken, before = heard[:1].double(), heard[choice].double(), self.ahead(choice)
        stays, waits = spoken.cumsum(-1), silent.cumsum(-1)
        said = stays + (before - nn.functional.pad(stays, (1, -1))).logcumsumexp(-1)
        after = nn.functional.pad(said, (1, -1), value=NEVER)
        blank = waits + (after - nn.functional.pad(waits, (1, -1))).logcumsumexp(-1)
        return Spelling(said, blank, (before + spoken).logsumexp(-1), choice)

    def begins(
        self, heard: Float[Tensor, "choices places"], letters: Int[Tensor, "tokens longest"]
    ) -> Float[Tensor, " tokens"]:
        """Tell how probably one text goes on with the letters of each token.

        Tokens that begin alike go the same way until they part. One that says nothing is never heard.
        """
        found = self.begun.new_full((len(letters),), NEVER)
        texts, tokens = self, letters[:, 0].nonzero()[:, 0]
        way = torch.zeros_like(tokens)  # which of the texts each token has come to
        for choice, following in pairwise(nn.functional.pad(letters, (0, 1)).T):
            steps, way = torch.unique(torch.stack([way, choice[tokens]], 1), dim=0, return_inverse=True)
            texts = texts.take(steps[:, 0]).go_on(heard, steps[:, 1])
            found[tokens] = texts.begun[way]
            goes_on = following[tokens] > 0
            way, tokens = way[goes_on], tokens[goes_on]
            if not len(tokens):
                break
        return found - self.begun


class SpellingVote(LogitsProcessor):
    """Weighs each token by how probably the sound spells a text that goes on with it.

    A language model that reads a long clip leaves words out or repeats them; CTC cannot do either, but knows
    no language. The choice is made by ``(1 - weight) * decoder + weight * CTC``, both logarithms. That of CTC
    is the mean of several readings of the audio tokens, which stack the same positions in other ways; where
    there is a speller, its letters have a part in it, between the tokens that are likely without it.

    Parameters
    ----------
    weight : float
        Share of CTC, between 0 and 1.
    projector : AudioProjector
        Knows the tokens that can be spelled, and their letters; no others are written.
    ends : int or list of int
        The decoder's end tokens.

    References
    ----------
    Watanabe et al., "Hybrid CTC/Attention Architecture for End-to-End Speech Recognition", 2017: the prefix
    scores of its section II.C, each sum over time as one cumulative sum of logarithms.
    """

    def __init__(self, weight: float, projector: Any, ends: int | list[int]) -> None:
        self._weight, binding = weight, projector.binding
        self._ends = ends if isinstance(ends, list) else [ends]
        if projector.speller is not None:
            self._letters = projector.speller.tokens.long().cpu()
            if (found := int(self._letters.max())) >= projector.speller.choices:
                last = projector.speller.choices - 1
                raise ValueError(f"expected letters up to {last} of a speller, but found {found}")
        # Where a text begins, and after that: the tokens that can stand there, each with its place.
        self._places = [
            {token: place for place, token in enumerate(ids.tolist()) if token >= 0}
            for ids in (binding.openings, binding.vocabulary)
        ]
        self._choices = [
            (torch.tensor([*ids.values()] + [-1] * len(self._ends)), torch.tensor([*ids, *self._ends]))
            for ids in self._places
        ]
        # What was heard in each clip: by each reading, shape (1 + tokens, audio_tokens), and in letters.
        self._heard: list[list[Tensor]] = []
        self._letters_heard: list[Tensor] = []  # shape (choices, positions)
        self._likely: list[list[Tensor]] = []  # the readings without blanks, as probabilities
        self._known: dict[tuple[int, int, tuple[int, ...]], Spelling] = {}
        self._prompt_tokens: int | None = None

    def hear(
        self,
        spelled: Float[Tensor, "batch readings audio_tokens choices"],
        counts: Int[Tensor, " batch"],
    ) -> None:
        """Take what `asrscope.projector.AudioProjector.read` found in each clip, and its audio tokens."""
        rows = zip(spelled.mT.cpu(), counts.tolist(), strict=True)
        self._heard = [list(readings[..., :count]) for readings, count in rows]
        self._likely = [[reading[1:].exp() for reading in row] for row in self._heard]

    def hear_letters(
        self, spelled: Float[Tensor, "batch positions choices"], counts: Int[Tensor, " batch"]
    ) -> None:
        """Take what `asrscope.projector.Speller` found in each clip, and its positions."""
        rows = zip(spelled.double().cpu(), counts.tolist(), strict=True)
        self._letters_heard = [log_probs[:count].T for log_probs, count in rows]

    def __call__(
        self, input_ids: Int[Tensor, "batch positions"], scores: Float[Tensor, "batch vocabulary"]
    ) -> Float[Tensor, "batch vocabulary"]:
        """Vote on the next token of each text; tokens that cannot be spelled are ruled out."""
        if self._prompt_tokens is None:
            self._prompt_tokens = input_ids.shape[1]
        found = torch.full_like(scores, -math.inf, dtype=torch.float32)
        own = scores.float().log_softmax(-1)
        for row, written in enumerate(input_ids[:, self._prompt_tokens :].tolist()):
            known = (token in self._places[at > 0] for at, token in enumerate(written))
            if not all(known):  # it has ended and is filled up, or others wrote what cannot be spelled
                found[row] = own[row]
                continue
            places, choices = self._choices[bool(written)]
            text, clip = tuple(written), row * len(self._heard) // len(input_ids)  # beams share a clip
            readings = [self._votes(clip, reading, text) for reading in range(len(self._heard[clip]))]
            votes = torch.stack(readings).mean(0)[places].to(own)
            both = (1 - self._weight) * own[row, choices] + self._weight * votes
            if self._letters_heard:
                likely = both.topk(min(CANDIDATES, len(both))).indices.cpu()  # as places are
                heard = self._votes_of_letters(clip, text, places[likely]).to(own)
                choices, both = choices[likely], both[likely] + self._weight * SHARE * (heard - votes[likely])
            found[row, choices] = both
        return found

    def _votes_of_letters(
        self, clip: int, written: tuple[int, ...], places: Int[Tensor, " tokens"]
    ) -> Float[Tensor, " tokens"]:
        """Give the probability of some tokens after a text, -1 for its end, as logarithms."""
        text = self._follow(clip, IN_LETTERS, written)
        votes = text.begins(self._letters_heard[clip], self._letters_of(places, text))
        return torch.where(places < 0, text.whole - text.begun, votes)

    def _votes(self, clip: int, reading: int, written: tuple[int, ...]) -> Float[Tensor, " choices"]:
        """Give each token's probability after a text, and the end's, as logarithms; shape (tokens + 1,)."""
        heard, text = self._heard[clip][reading], self._follow(clip, reading, written)
        before = text.ahead()[0]
        highest = before.max()
        votes = highest + (self._likely[clip][reading] @ (before - highest).exp().float()).log()
        if written:
            again = text.ahead(text.last) + heard[text.last]
            votes[text.last - 1] = again.logsumexp(-1).float()
        votes = torch.cat([votes, text.whole])
        return votes - votes.logsumexp(0)  # given the text so far: beams add up what each token costs

    def _follow(self, clip: int, source: int, written: tuple[int, ...]) -> Spelling:
        """Follow a text through a reading of a clip, or its letters; what was followed before is known."""
        heard = self._letters_heard[clip] if source == IN_LETTERS else self._heard[clip][source]
        if (text := self._known.get((clip, source, written))) is None:
            if not written:
                text = Spelling.nothing(heard)
            else:
                text, place = self._follow(clip, source, written[:-1]), self._place(written)
                choices = torch.tensor([1 + place])
                if source == IN_LETTERS:
                    choices = self._letters_of(torch.tensor([place]), text)[0]
                for choice in choices[choices > 0]:
                    text = text.go_on(heard, choice[None])
            self._known[clip, source, written] = text
        return text

    def _letters_of(self, places: Int[Tensor, " tokens"], text: Spelling) -> Int[Tensor, "tokens longest"]:
        """Look the letters of tokens up; where a text begins, a space is not heard."""
        letters = self._letters[places]
        spaced = (letters[:, :1] == SPACE) & (text.last == 0)
        return torch.where(spaced, nn.functional.pad(letters[:, 1:], (0, 1)), letters)

    def _place(self, written: tuple[int, ...]) -> int:
        """Find the place of a text's last token among those that can be spelled."""
        return self._places[len(written) > 1][written[-1]]


def write(
    model: Any,
    inputs: BatchFeature,
    *,
    num_beams: int,
    limit: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Written:
    """Let the decoder write its answer to one prompt.

    Parameters
    ----------
    model : PreTrainedModel
        A model that generates; it may be wrapped by PEFT.
    inputs : BatchFeature
        One prompt and its clip, from the processor.
    num_beams : int
        Beams of the search; 1 is greedy.
    limit : int
        Most tokens to write, the end token included.
    tokenizer : PreTrainedTokenizerBase, optional
        The decoder's tokenizer; with it, a text that has become a loop ends there.

    Returns
    -------
    Written
        Tokens and their probabilities.
    """
    prompt_tokens = inputs["input_ids"].shape[1]
    stops = [] if tokenizer is None else [LoopStop(tokenizer, prompt_tokens)]
    output = model.generate(
        **inputs.to(model.get_input_embeddings().weight.device),  # a model may be spread over several
        do_sample=False,
        num_beams=num_beams,
        max_new_tokens=limit,
        stopping_criteria=StoppingCriteriaList(stops),
        return_dict_in_generate=True,
        output_scores=True,
    )
    ids = output.sequences[0, prompt_tokens:].tolist()
    # With several beams, each token of the best text was chosen from the scores of some beam.
    beams = output.beam_indices[0].tolist() if num_beams > 1 else [0] * len(ids)
    scores = torch.stack([output.scores[step][beams[step]] for step in range(len(ids))])
    ends = model.generation_config.eos_token_id
    finished = bool(ids) and ids[-1] in (ends if isinstance(ends, list) else [ends])
    return Written(
        ids=ids[:-1] if finished else ids,
        eos_id=ids[-1] if finished else None,
        probabilities=scores.float().softmax(dim=-1).cpu(),
    )


def max_new_tokens(seconds: float) -> int:
    """Bound the number of tokens that a clip can need.

    Parameters
    ----------
    seconds : float
        Length of the clip.

    Returns
    -------
    int
        The cap for ``generate(max_new_tokens=...)``.

    Raises
    ------
    ValueError
        If the length is not a positive, finite number.
    """
    if not 0 < seconds < math.inf:
        raise ValueError(f"Expected a clip of positive length, but found {seconds} s.")
    return math.ceil(seconds * TOKENS_PER_SECOND) + SPARE_TOKENS


def compression_ratio(text: str) -> float:
    """Tell how much shorter zlib makes a text: repetition compresses well.

    Parameters
    ----------
    text : str
        The transcript.

    Returns
    -------
    float
        Bytes of the text divided by bytes compressed: about 1 for a sentence, 0 for an empty text.

    References
    ----------
    ``compression_ratio`` in openai/whisper.
    """
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


def decoding_warnings(text: str, *, finished: bool, limit: int, confidence: float) -> list[str]:
    """Say what looks wrong with a transcript.

    Parameters
    ----------
    text : str
        The transcript.
    finished : bool
        Whether the decoder wrote its end token.
    limit : int
        Tokens it was allowed.
    confidence : float
        Geometric mean of the token probabilities.

    Returns
    -------
    list of str
        One sentence for each oddity; empty if there is none.
    """
    found = []
    if (ratio := compression_ratio(text)) > COMPRESSION_LIMIT:
        end = "probably in a loop" if finished else "in a loop, and was stopped"
        found.append(
            f"the text repeats itself (it compresses {ratio:.1f} times, above {COMPRESSION_LIMIT}): "
            f"the decoder is {end}"
        )
    elif not finished:
        found.append(f"the decoder was stopped after {limit} tokens without having ended the text")
    if not text:
        found.append("nothing was recognized")
    elif confidence < LOW_CONFIDENCE:
        found.append(
            f"the decoder was unsure (confidence {confidence:.2f}, below {LOW_CONFIDENCE}): "
            "most of the text is probably wrong"
        )
    return found


def confidence(probabilities: Sequence[float]) -> float:
    """Average probabilities geometrically.

    Parameters
    ----------
    probabilities : sequence of float
        Probabilities of tokens.

    Returns
    -------
    float
        Their geometric mean; 0 if there are none.
    """
    if not probabilities or min(probabilities) <= 0:
        return 0.0
    return math.exp(sum(math.log(p) for p in probabilities) / len(probabilities))


def text_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Decode tokens to text, without special tokens and surrounding spaces."""
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def split_pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    """Decode each token by itself, with its spaces, special tokens included."""
    return tuple(str(tokenizer.decode([int(token)])) for token in ids)
