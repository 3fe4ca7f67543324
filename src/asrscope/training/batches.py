"""What a projector is trained on: its recipe, the prompt around a clip, and batches of both.

A batch holds the encoder's output of some clips, the prompts around them, and what is to be written.
"""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from asrscope.loading import Loaded
from asrscope.model import put_in_place
from asrscope.processing import PROMPT_TOKEN, AsrScopeProcessor, pad_batch
from asrscope.projector import LETTERS, LONGEST, count_audio_tokens, letters_of
from asrscope.training.encodings import Clip
from asrscope.training.run import Recipe

__all__ = [
    "RECIPES",
    "WARM",
    "Batches",
    "ProjectorRecipe",
    "Prompt",
    "answer_logits",
    "hold_out",
    "put_together",
    "recipe_for",
]

STAGES = ("warm", "joint", "spell")
SPELLABLE = re.compile(r" ?(['\u2019]?[A-Za-z0-9]+|[.,!?'\u2019])")  # a word, a part of one, or a sign
IGNORE = -100  # the label of what is not to be predicted


@dataclass(frozen=True, kw_only=True)
class ProjectorRecipe(Recipe):
    """Size of the projector and how it is trained.

    Parameters
    ----------
    stage : {"warm", "joint", "spell"}
        By CTC over the decoder's embeddings, or through the frozen decoder; or the speller alone, by CTC over
        letters.
    stack_factor, hidden_size, prompt_vectors, speller_width : int
        Architecture, see `asrscope.projector.AudioProjector`.
    norm, mlp, output, ctc_weight : str or float
        The rest of it; bound, it is to the tokens of the transcripts.
    positions_per_batch : int
        Decoder positions (``warm``: audio tokens) in a batch, padding included.
    prompt_rate : float
        Highest learning rate of the learned prompt.
    ctc : float
        Weight of the CTC loss that ``joint`` keeps beside the decoder's.
    negatives : int
        Tokens that CTC scores beside those of the batch, drawn at random: all would take long.
    dropout, masked : float
        Part of the hidden layer, and of the encoder's output, that is left out at random.
    copies : int
        Differently disturbed copies of every clip in the cache.
    held_out : int
        One speaker in so many is kept to measure on, see `hold_out`; 0 for none.
    batches_of : int
        Put together the batches that a projector of this stack factor gets; 0: of the own one. So projectors
        of different ones see the same clips in the same steps.
    """

    stage: str = "joint"
    stack_factor: int = 2
    hidden_size: int = 768
    norm: str = "rms"
    mlp: str = "swiglu"
    output: str = "free"
    prompt_vectors: int = 0
    speller_width: int = 0
    ctc_weight: float = 0.0
    positions_per_batch: int = 3_500
    learning_rate: float = 1.5e-3
    prompt_rate: float = 8e-3
    ctc: float = 0.0
    negatives: int = 1_500
    dropout: float = 0.0
    masked: float = 0.0
    copies: int = 2
    held_out: int = 0
    batches_of: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.stage not in STAGES:
            raise ValueError(f"expected a stage of {', '.join(STAGES)}, but found {self.stage!r}")
        if self.output != "bound" and (self.stage == "warm" or self.ctc or self.ctc_weight):
            raise ValueError("CTC needs an output that points to tokens: set output=bound")
        if self.stage == "spell" and not self.speller_width:
            raise ValueError("letters need a speller: set speller_width")


# What the warm start does in another way than the stage after it.
WARM: dict[str, Any] = {
    "stage": "warm",
    "steps": 20_000,
    "learning_rate": 2e-3,
    "positions_per_batch": 1_100,
}
SPELL = WARM | {"stage": "spell"}
# Pairs whose projector is not made as the one they come with.
RECIPES = {
    # An audio token for each 80 ms of the padded window.
    "full": ProjectorRecipe(stack_factor=4, hidden_size=2048, learning_rate=5e-4, copies=1),
    "small": ProjectorRecipe(
        stack_factor=5,
        hidden_size=1024,
        output="bound",
        prompt_vectors=16,
        speller_width=256,
        ctc_weight=0.5,
        learning_rate=3e-4,
        ctc=0.2,
        dropout=0.1,
        masked=0.04,
        held_out=50,
    ),
}


def recipe_for(name: str, loaded: Loaded) -> ProjectorRecipe:
    """Give the recipe of a pair: its own, or one for a projector of the sizes that it comes with."""
    settings = loaded[0].config.projector_settings
    own = {field.name: settings[field.name] for field in fields(ProjectorRecipe) if field.name in settings}
    return RECIPES.get(name) or ProjectorRecipe(**own)


class Prompt:
    """The tokens around a clip, and those of its transcript.

    Parameters
    ----------
    processor : AsrScopeProcessor
        Knows the tokenizer and the prompt.
    learned : int
        Vectors of a learned prompt that the written one does not have yet: half before the clip, half after.
    """

    def __init__(self, processor: AsrScopeProcessor, learned: int = 0) -> None:
        self.tokenizer: PreTrainedTokenizerBase = processor.tokenizer
        self.audio_id: int = processor.audio_token_id
        self.learned_id: int | None = self.tokenizer.get_vocab().get(PROMPT_TOKEN)
        if learned and self.learned_id is None:
            raise ValueError(
                f"a learned prompt needs a placeholder, but the tokenizer has no {PROMPT_TOKEN}. Make sure "
                "to add it, with a row for it (resize_token_embeddings), or to set prompt_vectors=0"
            )
        audio, asked = processor.audio_token, processor.instruction
        self.instruction = asked
        text = processor.prompt()
        if learned and PROMPT_TOKEN not in text:
            around = PROMPT_TOKEN * (learned // 2) + audio + PROMPT_TOKEN * (learned - learned // 2)
            self.instruction = (asked if audio in asked else asked + audio).replace(audio, around)
            text = text.replace(audio, around)
        self.before, self.after = (
            self.tokenizer.encode(part, add_special_tokens=False) for part in text.split(audio)
        )
        own, self.end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        self.padding: int = self.end if own is None else own

    def around(self, audio_tokens: int) -> list[int]:
        """Token ids of the whole prompt, with a placeholder for each audio token."""
        return [*self.before, *([self.audio_id] * audio_tokens), *self.after]

    def answer(self, text: str) -> list[int]:
        """Token ids of a transcript with its end."""
        return [*self.tokenizer.encode(text, add_special_tokens=False), self.end]

    def opening(self, token: int) -> int:
        """Give the token that says the same at the beginning of a text, without a space; -1 within a word."""
        text = str(self.tokenizer.decode([token]))
        if not text.startswith(" "):
            return -1
        bare = self.tokenizer.encode(text[1:], add_special_tokens=False)
        return int(bare[0]) if len(bare) == 1 else token

    def letters(self, token: int) -> list[int]:
        """Give a token's letters, a row of `asrscope.projector.Speller`; none if it is long, or says more."""
        text = str(self.tokenizer.decode([token]))
        spelled = letters_of(text) if SPELLABLE.fullmatch(text) else []
        found = spelled if len(spelled) <= LONGEST else []
        return found + [0] * (LONGEST - len(found))

    def spelling(self, text: str) -> list[int]:
        """Token ids of a transcript as CTC is to spell it: each word as it stands within a sentence."""
        spelled: list[int] = self.tokenizer.encode(f" {text}", add_special_tokens=False)
        return spelled


class Batches:
    """Turns clips of the cache into tensors.

    Parameters
    ----------
    clips : sequence of Clip
        The clips.
    prompt : Prompt
        What stands around each.
    recipe : ProjectorRecipe
        Says how many positions make an audio token, and what the stage needs.
    """

    def __init__(self, clips: Sequence[Clip], prompt: Prompt, recipe: ProjectorRecipe) -> None:
        self.prompt, self.recipe = prompt, recipe
        self.clips = list(clips)
        self.answers = [prompt.answer(clip.text) for clip in self.clips]
        self.spellings: list[list[int]] = []
        if recipe.output == "bound" or recipe.stage == "spell":
            spell = letters_of if recipe.stage == "spell" else prompt.spelling
            self.spellings = [spell(clip.text) for clip in self.clips]
            # CTC needs a place for each token, and for a blank between two that are equal.
            fits = [
                len(ids) + sum(a == b for a, b in pairwise(ids)) <= self.places(clip)
                for ids, clip in zip(self.spellings, self.clips, strict=True)
            ]
            for kept in ("clips", "answers", "spellings"):
                setattr(self, kept, [one for one, fit in zip(getattr(self, kept), fits, strict=True) if fit])

    def audio_tokens(self, clip: Clip, stack_factor: int = 0) -> int:
        """Count the audio tokens of a clip."""
        return count_audio_tokens(len(clip.hidden), stack_factor or self.recipe.stack_factor)

    def places(self, clip: Clip) -> int:
        """Count what CTC may put a token or a letter at."""
        return len(clip.hidden) if self.recipe.stage == "spell" else self.audio_tokens(clip)

    def lengths(self) -> list[int]:
        """Count the positions that each clip takes in a batch."""
        counts = [self.audio_tokens(clip, self.recipe.batches_of) for clip in self.clips]
        if self.recipe.stage != "joint":
            return counts
        around = len(self.prompt.around(0))
        return [count + around + len(answer) for count, answer in zip(counts, self.answers, strict=True)]

    def hidden(
        self, items: Sequence[int], rng: np.random.Generator | None = None
    ) -> Float[Tensor, "batch positions encoder_dim"]:
        """Stack the encoder's output for some clips; with a generator, a part of it is left out."""
        found = [self.clips[item].hidden.astype(np.float32) for item in items]
        if rng is not None and self.recipe.masked:
            k = self.recipe.stack_factor
            for states in found:
                for first in np.flatnonzero(rng.random(len(states) // k + 1) < self.recipe.masked) * k:
                    states[first : first + k] = 0
        return pad_batch(found, multiple=16)[0]

    def counts(self, items: Sequence[int]) -> Int[Tensor, " batch"]:
        """Count the encoder's positions of some clips."""
        return torch.tensor([len(self.clips[item].hidden) for item in items])

    def texts(self, items: Sequence[int]) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
        """Stack prompts with answers, and labels; padding is on the right."""
        ids, labels = [], []
        for item in items:
            prompt = self.prompt.around(self.audio_tokens(self.clips[item]))
            ids.append(np.array(prompt + self.answers[item]))
            labels.append(np.array([IGNORE] * len(prompt) + self.answers[item]))
        return pad_batch(ids, self.prompt.padding, multiple=8)[0], pad_batch(labels, IGNORE, multiple=8)[0]

    def candidates(
        self, batch: Sequence[int], frequencies: Counter[int], rng: np.random.Generator
    ) -> Int[Tensor, " choices"] | None:
        """Draw the tokens that CTC scores: all that a batch spells, and others, frequent ones more often."""
        if self.recipe.stage == "spell":
            return torch.arange(1, 1 + len(LETTERS))
        if self.recipe.stage != "warm" and not self.recipe.ctc:
            return None
        tokens, counts = np.array(list(frequencies)), np.sqrt(list(frequencies.values()))
        size = min(self.recipe.negatives, len(tokens))
        drawn = rng.choice(tokens, size, replace=False, p=counts / counts.sum())
        return torch.from_numpy(np.union1d(drawn, [id for item in batch for id in self.spellings[item]]))

    def ctc(
        self,
        scores: Float[Tensor, "batch audio_tokens blank_and_choices"],
        candidates: Int[Tensor, " choices"],
        items: Sequence[int],
    ) -> Float[Tensor, ""]:
        """Sum what each token costs of some clips' spelling."""
        place = {int(token): number + 1 for number, token in enumerate(candidates)}
        spellings = [self.spellings[item] for item in items]
        return nn.functional.ctc_loss(
            scores.float().log_softmax(-1).transpose(0, 1),
            torch.tensor([place[token] for ids in spellings for token in ids], device=scores.device),
            torch.tensor([self.places(self.clips[item]) for item in items]),
            torch.tensor([len(ids) for ids in spellings]),
            reduction="sum",
            zero_infinity=True,
        )


def put_together(
    decoder: PreTrainedModel,
    ids: Int[Tensor, "batch length"],
    audio: Float[Tensor, "batch audio_tokens decoder_dim"],
    learned: Float[Tensor, "vectors decoder_dim"] | None,
    prompt: Prompt,
) -> Float[Tensor, "batch length decoder_dim"]:
    """Embed prompts, with audio tokens and learned vectors in the places of their placeholders."""
    embeds: Tensor = decoder.get_input_embeddings()(ids)
    is_audio = torch.eq(ids, prompt.audio_id)
    is_clip: Bool[Tensor, "batch audio_tokens"] = torch.arange(
        audio.shape[1], device=ids.device
    ) < is_audio.sum(1, keepdim=True)
    embeds = put_in_place(embeds, is_audio, audio[is_clip])
    if learned is None:
        return embeds
    return put_in_place(embeds, torch.eq(ids, int(prompt.learned_id or 0)), learned.repeat(len(ids), 1))


def answer_logits(
    decoder: nn.Module, embeds: Tensor, labels: Int[Tensor, "batch length"]
) -> tuple[Float[Tensor, "answers vocabulary"], Int[Tensor, " answers"]]:
    """Let the decoder predict the labels: the logits ahead of each, and the labels in a row."""
    wanted = labels[:, 1:] != IGNORE
    columns = wanted.any(0).nonzero()[:, 0]  # only there is the vocabulary scored
    logits = decoder(inputs_embeds=embeds, use_cache=False, logits_to_keep=columns).logits
    wanted = wanted[:, columns]
    return logits[wanted].float(), labels[:, 1:][:, columns][wanted]


def hold_out(clips: Sequence[Clip], one_in: int) -> list[bool]:
    """Tell of each clip whether it is to be measured on: its speaker decides, or else its sentence.

    A name that stands for more clips than are to be held out is that of a crowd, as "unknown" is; or of
    somebody without whom there would be little to learn from.
    """
    if not one_in:
        return [False] * len(clips)
    clips_of = Counter(clip.speaker for clip in clips)
    keys = [
        clip.speaker if clip.speaker and clips_of[clip.speaker] * one_in <= len(clips) else clip.text
        for clip in clips
    ]
    return [zlib.crc32(key.encode()) % one_in == 0 for key in keys]
