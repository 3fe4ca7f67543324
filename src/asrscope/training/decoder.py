"""Stage 2: pre-train the decoder on text alone, then freeze it.

It learns two things that a large instruct model brings along: to continue English, and to write out what its
context says. The context is a sentence spelled letter by letter with pauses between, smeared, mistaken and
noisy, given as mixtures of the decoder's own letter embeddings. No audio is involved; but whoever can map
sound to something like such a spelling will be understood.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, SmolLM3Config, SmolLM3ForCausalLM

from asrscope.data.sentences import sentences, vocabulary
from asrscope.training.encoder import made_with
from asrscope.training.run import Run

__all__ = ["DecoderRecipe", "make_tokenizer", "train_decoder"]

PAUSE = "-"  # the ordinary token that stands for a stretch without a new letter
SPECIALS = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|audio|>")
INSTRUCTION = "transcribe: "
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MIXED = 3  # at most so many embeddings make up one context position
POOL = 80  # sentences drawn for a batch
# Letters that are taken for each other: they share sounds.
CONFUSED = (
    "aeiou",
    "ckqx",
    "sczx",
    "dt",
    "bpv",
    "fvw",
    "gj",
    "mn",
    "lr",
    "iy",
    "uw",
    "gk",
    "ht",
    "ea",
    "ou",
    "ie",
)


@dataclass(frozen=True)
class DecoderRecipe:
    """Size of the decoder and how it is trained.

    Parameters
    ----------
    hidden_size, layers, heads, kv_heads, ffn, vocab_size : int
        Architecture.
    steps, tokens_per_batch : int
        Optimizer steps, and positions in a batch with padding.
    learning_rate : float
        Highest learning rate.
    text_share : float
        Part of the batches that is plain language modeling.
    seed : int
        Of everything.
    """

    hidden_size: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 768
    vocab_size: int = 1024
    steps: int = 3_900
    tokens_per_batch: int = 3_000
    learning_rate: float = 1.5e-3
    text_share: float = 0.1
    seed: int = 0


def make_tokenizer(vocab_size: int, seed: int = 0) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on generated sentences, with the chat template of the prompt.

    Parameters
    ----------
    vocab_size : int
        Tokens, specials included.
    seed : int
        Of the sentences.

    Returns
    -------
    PreTrainedTokenizerFast
        With ``<|im_end|>`` as end of sequence; pads on the left, so that a batch ends where writing begins.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    frame = [f"user\n{INSTRUCTION}", "assistant\n"] * 2000  # what the chat template adds
    text = [
        *itertools.islice(sentences("train", seed), 20_000),
        *frame,
        *(f" {word}" for word in vocabulary()),
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<|audio|>"],
        padding_side="left",
        chat_template=TEMPLATE,
    )


def make_decoder(recipe: DecoderRecipe, tokenizer: PreTrainedTokenizerFast) -> SmolLM3ForCausalLM:
    """Build the decoder with random weights."""
    config = SmolLM3Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.kv_heads,
        intermediate_size=recipe.ffn,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    return SmolLM3ForCausalLM(config)


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


class Examples:
    """Turns sentences into batches of mixed embeddings and labels.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
        The decoder's tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": f"{INSTRUCTION}<|audio|>"}],
            tokenize=False,
            add_generation_prompt=True,
        )
        before, after = prompt.split("<|audio|>")
        self.before = tokenizer.encode(before, add_special_tokens=False)
        self.after = tokenizer.encode(after, add_special_tokens=False)
        self.letter = {
            letter: tokenizer.encode(letter, add_special_tokens=False)[0]
            for letter in f"{PAUSE} 'abcdefghijklmnopqrstuvwxyz"
        }

    def answer(self, text: str) -> list[int]:
        """Token ids of a transcript with its end."""
        return [*self.tokenizer.encode(text, add_special_tokens=False), self.tokenizer.eos_token_id]

    def spelled(self, text: str, rng: np.random.Generator) -> Example:
        """Make prompt and answer of one sentence: (token, weight) pairs per position, and labels."""
        context = [[(self.letter[a], w) for a, w in position] for position in spelled_context(text, rng)]
        answer = self.answer(text)
        ids = [[(token, 1.0)] for token in self.before]
        ids += context
        ids += [[(token, 1.0)] for token in self.after]
        labels = [-100] * len(ids) + answer
        return ids + [[(token, 1.0)] for token in answer], labels

    def plain(self, texts: list[str]) -> Example:
        """Make one example of plain text: every token is to be predicted."""
        ids = [token for text in texts for token in self.answer(text)]
        return [[(token, 1.0)] for token in ids], ids

    def batch(
        self, examples: list[Example]
    ) -> tuple[
        Int[Tensor, "batch positions mixed"],
        Float[Tensor, "batch positions mixed"],
        Int[Tensor, "batch positions"],
    ]:
        """Stack examples: token ids and weights of every position, and labels; padding is on the right."""
        longest = -(-max(len(labels) for _, labels in examples) // 8) * 8
        ids = np.full((len(examples), longest, MIXED), self.tokenizer.pad_token_id)
        weights = np.zeros((len(examples), longest, MIXED), dtype=np.float32)
        targets = np.full((len(examples), longest), -100)
        for row, (positions, labels) in enumerate(examples):
            targets[row, : len(labels)] = labels
            for column, parts in enumerate(positions):
                for place, (token, weight) in enumerate(parts):
                    ids[row, column, place] = token
                    weights[row, column, place] = weight
        return torch.from_numpy(ids), torch.from_numpy(weights), torch.from_numpy(targets)


def mixed_embeddings(
    table: nn.Embedding,
    ids: Int[Tensor, "batch positions mixed"],
    weights: Float[Tensor, "batch positions mixed"],
    generator: torch.Generator,
) -> Float[Tensor, "batch positions decoder_dim"]:
    """Mix embeddings, and disturb the mixtures of context positions with noise and a change of length."""
    embeds = (table(ids) * weights[..., None]).sum(2)
    batch, positions, dim = embeds.shape
    is_text = (weights[..., 0] == 1.0) & (weights[..., 1] == 0.0)
    size = table.weight.detach().pow(2).mean().sqrt()
    noise = torch.rand(batch, 1, 1, generator=generator) * 0.7 * size
    length = 1 + 0.3 * torch.randn(batch, positions, 1, generator=generator).clamp(-2, 2)
    disturbed = embeds * length + torch.randn(batch, positions, dim, generator=generator) * noise
    return torch.where(is_text[..., None], embeds, disturbed)


def _sentence_batches(run: Run, recipe: DecoderRecipe, examples: Examples) -> Iterator[list[Example]]:
    """Draw the batch of every step from the step's own seed, so that any step can be repeated."""
    while run.step < run.steps:
        rng = np.random.default_rng((recipe.seed, run.step))
        source = sentences("train", seed=int(rng.integers(2**62)))
        if rng.random() < recipe.text_share:
            pool = [examples.plain(list(itertools.islice(source, 5))) for _ in range(POOL // 2)]
        else:
            pool = [examples.spelled(text, rng) for text in itertools.islice(source, POOL)]
        # Neighbors in a sorted pool are of similar length, so little of the batch is padding.
        pool.sort(key=lambda example: len(example[1]))
        last = int(rng.integers(1, len(pool) + 1))
        size = max(1, recipe.tokens_per_batch // len(pool[last - 1][1]))
        found = pool[max(0, last - size) : max(last, min(size, len(pool)))]
        yield found


def train_decoder(
    folder: Path, recipe: DecoderRecipe, save_every: int = 500, evaluate_every: int = 2000
) -> Path:
    """Train on generated sentences, resuming where ``folder`` stands.

    Parameters
    ----------
    folder : Path
        Gets checkpoint, log, and at the end decoder and tokenizer in ``decoder/``.
    recipe : DecoderRecipe
        What to train.
    save_every, evaluate_every : int
        Steps between checkpoints, and between measurements on held-out sentences.

    Returns
    -------
    Path
        The folder of the finished decoder, for ``SmolLM3ForCausalLM.from_pretrained``.
    """
    tokenizer = make_tokenizer(recipe.vocab_size, recipe.seed)
    examples = Examples(tokenizer)
    torch.manual_seed(recipe.seed)
    model = make_decoder(recipe, tokenizer)
    run = Run(folder, model, recipe.steps, recipe.learning_rate, recipe.seed)
    model.train()
    for found in _sentence_batches(run, recipe, examples):
        generator = run.begin_step()
        loss = example_loss(run.compute, *examples.batch(found), generator)
        run.end_step(loss, len(found))
        if run.step % save_every == 0:
            run.save()
        if run.step % evaluate_every == 0 or run.step == run.steps:
            run.log(**evaluate_spelling(model, examples))
    run.save()
    target = folder / "decoder"
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    (target / "recipe.json").write_text(json.dumps(made_with(run, recipe), indent=2) + "\n", encoding="utf-8")
    return target


def example_loss(
    model: SmolLM3ForCausalLM,
    ids: Int[Tensor, "batch positions mixed"],
    weights: Float[Tensor, "batch positions mixed"],
    labels: Int[Tensor, "batch positions"],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Cross-entropy of the labels, each predicted from the positions before it."""
    embeds = mixed_embeddings(model.get_input_embeddings(), ids, weights, generator)
    hidden = model.model(inputs_embeds=embeds.to(model.dtype), use_cache=False).last_hidden_state
    wanted = labels[:, 1:] != -100  # the vocabulary is only scored where something is to be predicted
    logits = model.lm_head(hidden[:, :-1][wanted])
    return nn.functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


@torch.inference_mode()
def evaluate_spelling(model: SmolLM3ForCausalLM, examples: Examples, count: int = 200) -> dict[str, float]:
    """Measure how well answers to disturbed spellings of unseen sentences are predicted, token by token."""
    model.eval()
    rng = np.random.default_rng(1)
    texts = list(itertools.islice(sentences("dev", seed=0), count))
    ids, weights, labels = examples.batch([examples.spelled(text, rng) for text in texts])
    generator = torch.Generator().manual_seed(0)
    embeds = mixed_embeddings(model.get_input_embeddings(), ids, weights, generator)
    logits = model(inputs_embeds=embeds, use_cache=False).logits[:, :-1]
    wanted = labels[:, 1:] != -100
    right = (logits.argmax(-1) == labels[:, 1:])[wanted]
    loss = nn.functional.cross_entropy(logits[wanted], labels[:, 1:][wanted])
    model.train()
    return {"dev_loss": round(float(loss), 4), "dev_accuracy": round(float(right.float().mean()), 4)}
