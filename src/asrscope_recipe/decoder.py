"""Stage 2: pre-train the decoder on text alone, then freeze it.

It learns two things that a large instruct model brings along: to continue English, and to write out what its
context says. The context is a sentence spelled letter by letter with pauses between, smeared, mistaken and
noisy, given as mixtures of the decoder's own letter embeddings. No audio is involved; but whoever can map
sound to something like such a spelling will be understood.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast, SmolLM3Config, SmolLM3ForCausalLM

from asrscope.cli.console import followed
from asrscope.training.batches import IGNORE, answer_logits
from asrscope.training.run import Recipe, Run, fill_batches, join_processes
from asrscope_recipe.sentences import sentences, vocabulary
from asrscope_recipe.spelling import INSTRUCTION, SPECIALS, Example, Examples, mixed_embeddings

__all__ = ["DecoderRecipe", "make_tokenizer", "train_decoder"]

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
POOL = 80  # sentences drawn together
STEPS_PER_POOL = 4  # which is about as many batches as they make


@dataclass(frozen=True, kw_only=True)
class DecoderRecipe(Recipe):
    """Size of the decoder and how it is trained.

    Parameters
    ----------
    hidden_size, layers, heads, kv_heads, ffn, vocab_size : int
        Architecture.
    tokens_per_batch : int
        Positions in a batch with padding.
    text_share : float
        Part of the batches that is plain language modeling.
    simple_steps : int
        Steps at the beginning with simple lessons: the grammar's sentences and strings of words alone, short
        ones more often than long ones, since to find one's place is learned on them, and no slips.
    """

    hidden_size: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 768
    vocab_size: int = 1024
    steps: int = 12_400
    tokens_per_batch: int = 3_000
    learning_rate: float = 1.5e-3
    text_share: float = 0.1
    simple_steps: int = 4_800
    evaluate_every: int = 2_000


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


def draw_batches(
    pool: int, recipe: DecoderRecipe, examples: Examples, *, simple: bool = False
) -> list[list[Example]]:
    """Draw a pool of sentences from its own seed, so that it can be repeated, and cut it into batches.

    Neighbors in a sorted pool are of similar length, so little of a batch is padding. The batches come in
    random order; of a pool of simple lessons there is one.
    """
    rng = np.random.default_rng((recipe.seed, pool))
    source = sentences("train", seed=int(rng.integers(2**62)), loose=not simple)
    if rng.random() < recipe.text_share:
        drawn = [examples.plain(list(itertools.islice(source, 5))) for _ in range(POOL // 2)]
    else:
        drawn = [examples.spelled(text, rng, slips=not simple) for text in itertools.islice(source, POOL)]
    lengths = [len(labels) for _, labels in drawn]
    order = sorted(range(len(drawn)), key=lengths.__getitem__)
    if simple:
        batch = _around(int(rng.integers(len(order))), order, lengths, recipe)
        return [[drawn[index] for index in batch]]
    batches = fill_batches(lengths, recipe.tokens_per_batch)
    # The last batch is what the others left over: it takes in shorter neighbors until it is as full as they.
    room = recipe.tokens_per_batch // lengths[order[-1]]
    batches[-1] = order[-max(1, room) :]
    return [[drawn[index] for index in batches[number]] for number in rng.permutation(len(batches))]


def _around(last: int, order: list[int], lengths: list[int], recipe: DecoderRecipe) -> list[int]:
    """Take as many neighbors as a batch has room for, among them the one at a place of the sorted pool.

    Every place is as likely, but around a short sentence there is room for more. The shortest have too few
    shorter ones beside them: longer ones fill up their batch, beyond the usual number of positions.
    """
    size = max(1, recipe.tokens_per_batch // lengths[order[last]])
    end = max(last + 1, min(size, len(order)))
    return order[max(0, end - size) : end]


def train_decoder(folder: Path, recipe: DecoderRecipe) -> Path:
    """Train on generated sentences, resuming where ``folder`` stands.

    Parameters
    ----------
    folder : Path
        Gets checkpoint, log, tokenizer, and at the end decoder and tokenizer in ``decoder/``.
    recipe : DecoderRecipe
        What to train.

    Returns
    -------
    Path
        The folder of the finished decoder, for ``SmolLM3ForCausalLM.from_pretrained``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "tokenizer"  # from the first start on: later sentences must not renumber tokens
    with join_processes().main_process_first():
        if not kept.exists():
            if any(folder.glob("step-*")):
                raise ValueError(
                    f"{folder} holds a checkpoint, but not the tokenizer it was trained with. Make sure to "
                    f"put its files into {kept}, or give another folder"
                )
            part = kept.with_suffix(".part")
            make_tokenizer(recipe.vocab_size, recipe.seed).save_pretrained(part)
            part.rename(kept)
    tokenizer = AutoTokenizer.from_pretrained(kept)
    examples = Examples(tokenizer)
    torch.manual_seed(recipe.seed)
    model = make_decoder(recipe, tokenizer)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    run = Run(folder, model, optimizer, recipe, watch=followed(folder))
    accelerator, device = run.accelerator, run.accelerator.device
    drawn: tuple[int, bool] | None = None
    for step in run.steps_left():
        run.model.train()
        simple = step < recipe.simple_steps
        # Drawing a pool takes a quarter of a step; one of simple lessons is not used up, and not used again.
        pool, number = (step, 0) if simple else divmod(step, STEPS_PER_POOL)
        if drawn != (pool, simple):
            drawn, batches = (pool, simple), draw_batches(pool, recipe, examples, simple=simple)
        batch = batches[number % len(batches)]
        wanted = sum(label != IGNORE for _, labels in batch for label in labels[1:])  # the loss is their mean
        for items, weight in run.shares(range(len(batch))):
            ids, weights, labels = (t.to(device) for t in examples.batch([batch[item] for item in items]))
            generators = [seeded_generator(recipe.seed, step, item) for item in items]
            with accelerator.accumulate(run.model), accelerator.autocast():
                embeds = mixed_embeddings(model.get_input_embeddings(), ids, weights, generators)
                predicted = answer_logits(run.model, embeds, labels)
                loss = nn.functional.cross_entropy(*predicted, reduction="sum")
                run.backward(loss / wanted, weight)
        run.update(len(batch), lambda: evaluate_spelling(model, examples))

    def write(target: Path) -> None:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)

    return run.finish("decoder", write)


def seeded_generator(*numbers: int) -> torch.Generator:
    """Make a generator whose stream belongs to these numbers."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


@torch.inference_mode()
def evaluate_spelling(model: SmolLM3ForCausalLM, examples: Examples, count: int = 200) -> dict[str, float]:
    """Measure how well answers to disturbed spellings of unseen sentences are predicted, token by token."""
    model.eval()
    rng = np.random.default_rng(1)
    texts = list(itertools.islice(sentences("dev", seed=0), count))
    batch = examples.batch([examples.spelled(text, rng) for text in texts])
    ids, weights, labels = (tensor.to(model.device) for tensor in batch)
    generators = [seeded_generator(0, number) for number in range(count)]
    embeds = mixed_embeddings(model.get_input_embeddings(), ids, weights, generators)
    logits, wanted = answer_logits(model, embeds, labels)
    loss, right = nn.functional.cross_entropy(logits, wanted), logits.argmax(-1) == wanted
    model.train()
    return {"dev_loss": round(float(loss), 4), "dev_accuracy": round(float(right.float().mean()), 4)}
