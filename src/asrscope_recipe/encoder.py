"""Stage 1: pre-train the encoder on speech, to name phones frame by frame and to spell words by CTC.

The synthesizers tell when each phone sounds, so the lower half of the encoder learns phones from exact labels
while the top learns letters from the sentence alone (connectionist temporal classification). Both heads are
thrown away afterwards; the encoder is frozen.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.audio import load_audio
from asrscope.encoder import encode, position_mask
from asrscope.features import log_mel
from asrscope.files import write_text
from asrscope.recognition.metrics import total_errors, word_errors
from asrscope.training.augment import Augmentation, augment, stretch
from asrscope.training.batches import pad_batch
from asrscope.training.options import Options
from asrscope.training.processes import agree
from asrscope.training.run import Run, Watch
from asrscope_recipe.corpus import Shard, load_shards

__all__ = ["EncoderRecipe", "EncoderWithHeads", "train_encoder"]

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"  # CTC label 0 is the blank, letter n is label n + 1
IGNORE = -100
STRETCHED = 0.6  # of the batches
TOGETHER = 4  # neighbors of a batch that are disturbed together


@dataclass(frozen=True)
class EncoderRecipe:
    """Size of the encoder and how it is trained.

    Parameters
    ----------
    d_model, layers, heads, ffn, n_mels : int
        Architecture.
    steps : int
        Optimizer steps.
    frames_per_batch : int
        Mel frames in a batch, padding included.
    learning_rate : float
        Highest learning rate.
    phone_steps : int
        Steps on phones alone before CTC joins.
    dropout : float
        In every layer.
    disturbance : float
        How far clips are disturbed and stretched, as a part of the usual.
    seed : int
        Of everything.
    """

    d_model: int = 256
    layers: int = 4
    heads: int = 4
    ffn: int = 768
    n_mels: int = 80
    steps: int = 28_000
    frames_per_batch: int = 5_000
    learning_rate: float = 1.2e-3
    phone_steps: int = 1_000
    dropout: float = 0.0
    disturbance: float = 1.0
    seed: int = 0


class EncoderWithHeads(nn.Module):
    """A Whisper encoder with a phone classifier at half its depth and a CTC letter classifier on top."""

    def __init__(self, recipe: EncoderRecipe, phones: int) -> None:
        super().__init__()
        config = WhisperConfig(
            d_model=recipe.d_model,
            encoder_layers=recipe.layers,
            encoder_attention_heads=recipe.heads,
            encoder_ffn_dim=recipe.ffn,
            num_mel_bins=recipe.n_mels,
            max_source_positions=1500,
            dropout=recipe.dropout,
            attn_implementation="eager",  # on CPU its backward pass is the faster one
        )
        self.encoder = WhisperEncoder(config)
        self.phone_layer = recipe.layers // 2
        self.phone_norm = nn.LayerNorm(recipe.d_model)
        self.phone_head = nn.Linear(recipe.d_model, phones)
        self.letter_head = nn.Linear(recipe.d_model, len(LETTERS) + 1)

    def forward(
        self, features: Float[Tensor, "batch frames n_mels"], mask: Bool[Tensor, "batch frames"]
    ) -> tuple[Float[Tensor, "batch positions phones"], Float[Tensor, "batch positions letters"]]:
        """Return phone and letter logits, one row each 20 ms."""
        middle: list[Tensor] = []

        def collect(layer: int, hidden: Tensor) -> None:
            if layer == self.phone_layer:
                middle.append(hidden)

        top = encode(self.encoder, features.transpose(1, 2), mask, collect)
        return self.phone_head(self.phone_norm(middle[0])), self.letter_head(top)


def spell(text: str) -> list[int]:
    """Turn a sentence into CTC labels."""
    return [LETTERS.index(letter) + 1 for letter in text]


def read_letters(labels: Int[Tensor, " positions"]) -> str:
    """Turn the best label of every position into text: merge repeats, drop blanks."""
    merged = torch.unique_consecutive(labels).tolist()
    return " ".join("".join(LETTERS[label - 1] for label in merged if label).split())


def train_encoder(
    cache: Path,
    folder: Path,
    recipe: EncoderRecipe,
    save_every: int = 500,
    evaluate_every: int = 2000,
    *,
    options: Options | None = None,
    watch: Watch | None = None,
) -> Path:
    """Train from the shards in ``cache/shards``, resuming where ``folder`` stands.

    Parameters
    ----------
    cache : Path
        Holds ``shards`` and, for the curve, ``dev`` (see `asrscope_recipe.corpus`).
    folder : Path
        Gets checkpoint, log, and at the end the encoder in ``encoder/``.
    recipe : EncoderRecipe
        What to train.
    save_every, evaluate_every : int
        Steps between checkpoints, and between evaluations on the development sets.
    options : Options, optional
        How to compute it.
    watch : callable, optional
        See `asrscope.training.run.Run`.

    Returns
    -------
    Path
        The folder of the finished encoder, for ``WhisperEncoder.from_pretrained``.
    """
    shards = load_shards(cache / "shards")
    folder.mkdir(parents=True, exist_ok=True)
    inventory = agree(lambda: _phone_inventory(folder, shards))
    torch.manual_seed(recipe.seed)
    model = EncoderWithHeads(recipe, len(inventory))
    run = Run(folder, model, recipe.steps, recipe.learning_rate, recipe.seed, options=options, watch=watch)
    items = [(number, place) for number, shard in enumerate(shards) for place in range(len(shard.utterances))]
    lengths = [shards[number].utterances[place]["frames"] for number, place in items]
    index = [_phone_index(shard, inventory) for shard in shards]
    # Phones of the two synthesizers are different sets: a frame is scored within its own.
    flite = torch.tensor([name.startswith("flite") for name in inventory])
    how = Augmentation().scaled(recipe.disturbance)
    stretched = STRETCHED * recipe.disturbance
    model.train()
    run.compute.train()
    for batch in run.batches(lengths, recipe.frames_per_batch):
        run.begin_step()
        mels, labels, texts, is_flite = [], [], [], []
        for number, place in (items[item] for item in batch):
            shard = shards[number]
            utterance = shard.utterances[place]
            start, frames = utterance["start"], utterance["frames"]
            mels.append(shard.log_mel[start : start + frames].astype(np.float32))
            labels.append(index[number][shard.phones[start // 2 : (start + frames) // 2]])
            texts.append(spell(utterance["text"]))
            is_flite.append(utterance["synthesizer"] == "flite")
        mels, labels = stretch(mels, labels, np.random.default_rng((recipe.seed, run.step)), stretched)
        named = max(1, sum(int((phones != IGNORE).sum()) for phones in labels))
        own = flite == torch.tensor(is_flite)[:, None]  # (batch, phones)
        for part in run.parts(len(batch), TOGETHER):
            features, mask = _disturbed(run, mels, part, how)
            targets, _ = pad_batch(labels[part], IGNORE, multiple=16)
            targets = nn.functional.pad(targets, (0, mask.shape[1] // 2 - targets.shape[1]), value=IGNORE)
            positions = position_mask(mask).sum(1)
            with run.autocast():
                phones, letters = run.compute(features.to(run.device, run.dtype), mask.to(run.device))
            # The mean over the batch's frames and over its sentences, whatever share of them is here.
            share = phone_loss(phones, targets.to(run.device), own[part].to(run.device)) / named
            if run.step >= recipe.phone_steps:
                share = 0.3 * share + letter_loss(letters, positions, texts[part]) / len(batch)
            run.backward(share)
        run.end_step(len(batch))
        if run.step % save_every == 0:
            run.save()
        if run.step % evaluate_every == 0 or run.step == run.steps:
            run.evaluate(lambda: evaluate_letters(model, cache / "dev"))
    return run.finish("encoder", recipe, model.encoder.save_pretrained)


def _disturbed(
    run: Run, mels: list[np.ndarray], part: slice, how: Augmentation
) -> tuple[Float[Tensor, "batch frames n_mels"], Bool[Tensor, "batch frames"]]:
    """Disturb a part of a batch, a few clips at a time, as they would be in any other part."""
    found: list[np.ndarray] = []
    for first in range(part.start, part.stop, TOGETHER):
        few = mels[first : first + TOGETHER]
        features, mask = pad_batch(few)
        features = augment(features, mask, run.generator(first), how)
        found += [row[: len(mel)].numpy() for row, mel in zip(features, few, strict=True)]
    return pad_batch(found, multiple=32)


def phone_loss(
    logits: Float[Tensor, "batch positions phones"],
    targets: Int[Tensor, "batch positions"],
    own: Bool[Tensor, "batch phones"],
) -> Float[Tensor, ""]:
    """Sum the cross-entropies of all named positions, each over the phones of its own synthesizer."""
    logits = logits.float().masked_fill(~own[:, None, :], -1e4)
    return nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )


def letter_loss(
    logits: Float[Tensor, "batch positions letters"],
    positions: Int[Tensor, " batch"],
    texts: list[list[int]],
) -> Float[Tensor, ""]:
    """Sum over the sentences the CTC loss for each letter of them."""
    sizes = torch.tensor([len(text) for text in texts])
    losses = nn.functional.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        torch.tensor([label for text in texts for label in text], device=logits.device),
        positions,
        sizes,
        reduction="none",
        zero_infinity=True,  # a fast voice may have fewer positions than letters
    )
    return (losses / sizes.to(logits.device)).sum()


@torch.inference_mode()
def evaluate_letters(model: EncoderWithHeads, folder: Path, limit: int = 100) -> dict[str, float]:
    """Measure greedy CTC word error rates on development sets: what the encoder alone has understood."""
    model.eval()
    device = model.letter_head.weight.device
    rates = {}
    for manifest in sorted(folder.glob("*/manifest.jsonl")):
        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()[:limit]]
        guesses = []
        for line in lines:
            mel = torch.from_numpy(log_mel(load_audio(manifest.parent / line["file"])).T)[None]
            mask = torch.ones(mel.shape[:2], dtype=torch.bool)
            _, letters = model(mel.to(device), mask.to(device))
            guesses.append(read_letters(letters[0].argmax(-1)))
        errors = [word_errors(line["text"], guess) for line, guess in zip(lines, guesses, strict=True)]
        rates[f"wer_{manifest.parent.name}"] = round(total_errors(errors).rate, 4)
    model.train()
    return rates


def _phone_inventory(folder: Path, shards: list[Shard]) -> list[str]:
    """Fix the phone labels at the first start: later shards must not renumber them."""
    path = folder / "phones.json"
    if not path.exists():
        names = sorted({name for shard in shards for name in shard.phone_names})
        write_text(path, json.dumps(names) + "\n")
    names = json.loads(path.read_text(encoding="utf-8"))
    return [str(name) for name in names]


def _phone_index(shard: Shard, inventory: list[str]) -> np.ndarray:
    """Translate a shard's own phone numbers to the inventory's."""
    known = {name: number for number, name in enumerate(inventory)}
    return np.array([known.get(name, IGNORE) for name in shard.phone_names], dtype=np.int64)
