"""What the decoder reads in its training: sentences spelled out with mistakes, as mixtures of embeddings."""

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, WhisperFeatureExtractor

from asrscope.processing import AsrScopeProcessor, pad_batch
from asrscope.training.batches import IGNORE, Prompt

__all__ = ["INSTRUCTION", "SPECIALS", "Example", "Examples", "mixed_embeddings", "spelled_context"]

PAUSE = "-"  # the ordinary token that stands for a stretch without a new letter
SPECIALS = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|audio|>")
INSTRUCTION = "transcribe: "
MIXED = 3  # at most so many embeddings make up one context position
SLIPS = 0.1  # share of the tokens already written that are wrong, in half of the examples
# Letters that are taken for each other: they share sounds.
CONFUSED = (
    "aeiou", "ckqx", "sczx", "dt", "bpv", "fvw", "gj", "mn", "lr", "iy", "uw", "gk", "ht", "ea", "ou", "ie",
)  # fmt: skip


def spelled_context(
    text: str, rng: np.random.Generator, harm: float | None = None
) -> list[list[tuple[str, float]]]:
    """Spell a sentence as a stream of positions, each a mixture of letters, with mistakes and pauses.

    Parameters
    ----------
    text : str
        The sentence.
    rng : np.random.Generator
        The generator.
    harm : float, optional
        How many mistakes, from 0 for none to 1; drawn if not given.

    Returns
    -------
    list of list of (str, float)
        For every position the letters in it, first the one that sounds first, and their weights.
    """
    if harm is None:
        harm = float(rng.choice([0.0, 0.3, 1.0], p=[0.15, 0.35, 0.5])) * rng.random()
    wrong, lost, added, doubted = 0.25 * harm, 0.12 * harm, 0.08 * harm, 0.3 * harm
    pace = rng.uniform(1.0, 2.4)  # positions a letter
    letters: list[list[tuple[str, float]]] = []
    for right in text:
        draw = rng.random(4)
        if draw[0] < lost:
            continue
        letter = _mistake(right, rng) if draw[1] < wrong else right
        parts = [(letter, 1.0)]
        if draw[2] < doubted:
            weight = rng.uniform(0.2, 0.6)
            parts = [(letter, 1.0 - weight), (_mistake(letter, rng), weight)]
        letters.append(parts)
        if draw[3] < added:
            letters.append([(_mistake(letter, rng), 1.0)])
    times = np.cumsum(rng.gamma(2.5, pace / 2.5, len(letters) + 1)) + rng.integers(0, 12)
    stream: list[list[tuple[str, float]]] = [[] for _ in range(int(times[-1]) + 2 + int(rng.integers(0, 12)))]
    for parts, time in zip(letters, times, strict=False):
        # A second letter in one position weighs less: that tells the order.
        later = 0.6 if stream[int(time)] else 1.0
        stream[int(time)] += [(letter, weight * later) for letter, weight in parts]
        if rng.random() < 0.2:  # a long letter fills two positions
            stream[int(time) + 1] += [(letter, 0.8 * weight) for letter, weight in parts]
    return [position[:MIXED] or [(PAUSE, 1.0)] for position in stream]


def _mistake(letter: str, rng: np.random.Generator) -> str:
    groups = [group for group in CONFUSED if letter in group]
    if groups and rng.random() < 0.7:
        group = groups[rng.integers(len(groups))]
        return group[rng.integers(len(group))]
    return " abcdefghijklmnopqrstuvwxyz"[rng.integers(27)]


Example = tuple[list[list[tuple[int, float]]], list[int]]  # (token, weight) pairs per position, and labels


class Examples(Prompt):
    """Turns sentences into batches of mixed embeddings and labels.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        The decoder's tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(AsrScopeProcessor(WhisperFeatureExtractor(), tokenizer, instruction=INSTRUCTION))
        self.letter = {
            letter: tokenizer.encode(letter, add_special_tokens=False)[0]
            for letter in f"{PAUSE} 'abcdefghijklmnopqrstuvwxyz"
        }

    def spelled(self, text: str, rng: np.random.Generator, *, slips: bool = True) -> Example:
        """Make prompt and answer of one sentence, with a context between that spells it."""
        context = [[(self.letter[a], w) for a, w in position] for position in spelled_context(text, rng)]
        answer = self.answer(text)
        # Some words already written are wrong, as they will be when it reads for itself: it must find its
        # place in the context again instead of going on from the mistake.
        wrong = rng.random(len(answer)) < (SLIPS if slips and rng.random() < 0.5 else 0.0)
        others = rng.integers(len(SPECIALS), len(self.tokenizer), len(answer))
        written = np.where(wrong, others, answer).tolist()
        asked = [*_alone(self.before), *context, *_alone(self.after)]
        return asked + _alone(written), [IGNORE] * len(asked) + answer

    def plain(self, texts: list[str]) -> Example:
        """Make one example of plain text: every token is to be predicted."""
        ids = [token for text in texts for token in self.answer(text)]
        return _alone(ids), ids

    def batch(
        self, examples: list[Example]
    ) -> tuple[
        Int[Tensor, "batch positions mixed"],
        Float[Tensor, "batch positions mixed"],
        Int[Tensor, "batch positions"],
    ]:
        """Stack examples: token ids and weights of every position, and labels; padding is on the right."""
        mixed, _ = pad_batch([_filled_up(positions) for positions, _ in examples], multiple=8)
        labels, _ = pad_batch([np.array(labels) for _, labels in examples], IGNORE, multiple=8)
        return mixed[..., 0].long(), mixed[..., 1], labels


def _alone(tokens: list[int]) -> list[list[tuple[int, float]]]:
    return [[(token, 1.0)] for token in tokens]


def _filled_up(positions: list[list[tuple[int, float]]]) -> Float[ndarray, "positions mixed 2"]:
    return np.array([[*parts, *[(0, 0.0)] * (MIXED - len(parts))] for parts in positions], np.float32)


def mixed_embeddings(
    table: nn.Embedding,
    ids: Int[Tensor, "batch positions mixed"],
    weights: Float[Tensor, "batch positions mixed"],
    generators: list[torch.Generator],
) -> Float[Tensor, "batch positions decoder_dim"]:
    """Mix embeddings, and disturb the mixtures of context positions with noise and a change of length.

    Every example has a generator, so that it is disturbed alike whatever it is batched with.
    """
    embeds = (table(ids) * weights[..., None]).sum(2)
    batch, positions, dim = embeds.shape
    is_text = (weights[..., 0] == 1.0) & (weights[..., 1] == 0.0)
    loudness = torch.zeros(batch, 1, 1)
    length = torch.ones(batch, positions, 1)
    noise = torch.zeros(batch, positions, dim)
    for row, (count, generator) in enumerate(
        zip((weights[..., 0] > 0).sum(1).tolist(), generators, strict=True)
    ):
        loudness[row] = 0.7 * torch.rand(1, generator=generator)
        length[row, :count] += 0.3 * torch.randn(count, 1, generator=generator).clamp(-2, 2)
        noise[row, :count] = torch.randn(count, dim, generator=generator)
    size = table.weight.detach().pow(2).mean().sqrt()
    length, noise, loudness = (drawn.to(embeds.device) for drawn in (length, noise, loudness))
    disturbed = embeds * length + noise * loudness * size
    return torch.where(is_text[..., None], embeds, disturbed)
