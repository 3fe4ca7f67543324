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
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.cli.console import followed
from asrscope.encoder import encode, position_mask
from asrscope.processing import pad_batch
from asrscope.recognition.metrics import WordErrors, total_errors, word_errors
from asrscope.saving import write_text
from asrscope.training.augment import Augmentation, augment, stretch
from asrscope.training.batches import IGNORE
from asrscope.training.run import Recipe, Run, even_batches
from asrscope_recipe.corpus import Shard, load_shards, read_held_out

__all__ = ["EncoderRecipe", "EncoderWithHeads", "train_encoder"]

LETTERS = " 'abcdefghijklmnopqrstuvwxyz"  # CTC label 0 is the blank, letter n is label n + 1
STRETCHED = 0.6  # of the batches


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe(Recipe):
    """Size of the encoder and how it is trained.

    Parameters
    ----------
    d_model, layers, heads, ffn, n_mels : int
        Architecture.
    frames_per_batch : int
        Mel frames in a batch, padding included.
    phone_steps : int
        Steps on phones alone before CTC joins.
    dropout : float
        In every layer.
    disturbance : float
        How far clips are disturbed and stretched, as a part of the usual.
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
    evaluate_every: int = 2_000


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


def train_encoder(cache: Path, folder: Path, recipe: EncoderRecipe) -> Path:
    """Train from the shards in ``cache/shards``, resuming where ``folder`` stands.

    Parameters
    ----------
    cache : Path
        Holds ``shards`` and, for the curve, ``dev`` (see `asrscope_recipe.corpus`).
    folder : Path
        Gets checkpoint, log, and at the end the encoder in ``encoder/``.
    recipe : EncoderRecipe
        What to train.

    Returns
    -------
    Path
        The folder of the finished encoder, for ``WhisperEncoder.from_pretrained``.
    """
    shards = load_shards(cache / "shards")
    folder.mkdir(parents=True, exist_ok=True)
    inventory = _phone_inventory(folder, shards)
    torch.manual_seed(recipe.seed)
    model = EncoderWithHeads(recipe, len(inventory))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    run = Run(folder, model, optimizer, recipe, watch=followed(folder))
    accelerator, device = run.accelerator, run.accelerator.device
    numbers = {name: number for number, name in enumerate(inventory)}
    items = []
    for shard in shards:
        number_of = np.array([numbers.get(name, IGNORE) for name in shard.phone_names], dtype=np.int64)
        items += [(shard, number_of, utterance) for utterance in shard.utterances]
    lengths = [utterance["frames"] for *_, utterance in items]
    run.begin(lengths)
    # Phones of the two synthesizers are different sets: a frame is scored within its own.
    flite = torch.tensor([name.startswith("flite") for name in inventory])
    how = Augmentation().scaled(recipe.disturbance)
    batches = even_batches(lengths, recipe.frames_per_batch, recipe.seed, run.step)
    for step, batch in zip(run.steps_left(), batches, strict=False):
        run.model.train()
        drawn = [items[item] for item in batch]
        mels = [shard.read(said).astype(np.float32) for shard, _, said in drawn]
        labels = [number_of[shard.read_phones(said)] for shard, number_of, said in drawn]
        rng = np.random.default_rng((recipe.seed, step))
        mels, labels = stretch(mels, labels, rng, STRETCHED * recipe.disturbance)
        named = max(1, sum(int((phones != IGNORE).sum()) for phones in labels))
        for places, weight in run.shares(range(len(batch))):
            said = [drawn[place][2] for place in places]
            features, mask = pad_batch([mels[place] for place in places], multiple=32)
            features = augment(features, mask, torch.default_generator, how)
            targets, _ = pad_batch([labels[place] for place in places], IGNORE, multiple=16)
            own = flite == torch.tensor([one["synthesizer"] == "flite" for one in said])[:, None]
            with accelerator.accumulate(run.model), accelerator.autocast():
                phones, letters = run.model(features.to(device), mask.to(device))
                # The mean over the batch's frames and over its sentences, whatever share of them is here.
                loss = phone_loss(phones, targets.to(device), own.to(device)) / named
                spelling = letter_loss(
                    letters, position_mask(mask).sum(1), [spell(one["text"]) for one in said]
                )
                if step >= recipe.phone_steps:
                    loss = 0.3 * loss + spelling / len(batch)
                else:
                    loss = loss + 0.0 * spelling  # every parameter has a gradient, as processes expect it
                run.backward(loss, weight)
        run.update(len(batch), lambda: evaluate_letters(model, cache / "dev"))

    def write(target: Path) -> None:
        model.encoder.save_pretrained(target)
        WhisperFeatureExtractor(feature_size=recipe.n_mels).save_pretrained(target)

    return run.finish("encoder", write)


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
    mean = nn.functional.ctc_loss(
        logits.float().log_softmax(-1).transpose(0, 1),
        torch.tensor([label for text in texts for label in text], device=logits.device),
        positions,
        torch.tensor([len(text) for text in texts]),
        zero_infinity=True,  # a fast voice may have fewer positions than letters
    )
    return len(texts) * mean


@torch.inference_mode()
def evaluate_letters(model: EncoderWithHeads, folder: Path, limit: int = 100) -> dict[str, float]:
    """Measure greedy CTC word error rates on development sets: what the encoder alone has understood."""
    if not any(folder.glob("*/manifest.jsonl")):
        return {}
    model.eval()
    device = model.letter_head.weight.device
    errors: dict[str, list[WordErrors]] = {}
    for name, text, read in read_held_out(folder, model.encoder.config.num_mel_bins, limit).clips:
        mel = torch.from_numpy(read())[None].to(device)
        _, letters = model(mel, torch.ones(mel.shape[:2], dtype=torch.bool, device=device))
        guess = read_letters(letters[0].argmax(-1))
        errors.setdefault(name.split("/")[0], []).append(word_errors(text, guess))
    model.train()
    return {f"wer_{name}": round(total_errors(each).rate, 4) for name, each in errors.items()}


def _phone_inventory(folder: Path, shards: list[Shard]) -> list[str]:
    """Fix the phone labels at the first start: later shards must not renumber them."""
    path = folder / "phones.json"
    if not path.exists():  # whichever process comes first, it writes the same
        write_text(path, json.dumps(sorted({name for shard in shards for name in shard.phone_names})) + "\n")
    names: list[str] = json.loads(path.read_text(encoding="utf-8"))
    return names
