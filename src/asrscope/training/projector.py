"""Stage 3: train the projector, and nothing else, to join the frozen encoder to the frozen decoder.

The encoder's output never changes, so it is computed once, for a few disturbed copies of every clip, and kept
in half precision. The loss is the decoder's own: how improbable it finds the transcript after reading the
audio tokens. Gradients flow through the decoder's frozen layers into the projector.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, SmolLM3ForCausalLM
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.data.augment import Augmentation, augment, stretch
from asrscope.data.corpus import load_shards
from asrscope.encoder import encode, position_mask
from asrscope.projector import AudioProjector, count_audio_tokens
from asrscope.training.decoder import Examples
from asrscope.training.encoder import made_with
from asrscope.training.run import Run, keep_memory, pad_batch

__all__ = ["Joined", "ProjectorRecipe", "cache_encodings", "train_projector"]


@dataclass(frozen=True)
class ProjectorRecipe:
    """Size of the projector and how it is trained.

    Parameters
    ----------
    stack_factor, hidden_size : int
        Architecture.
    steps, positions_per_batch : int
        Optimizer steps, and decoder positions in a batch with padding.
    learning_rate : float
        Highest learning rate.
    copies : int
        Differently disturbed copies of every clip in the cache.
    seed : int
        Of everything.
    """

    stack_factor: int = 2
    hidden_size: int = 768
    steps: int = 2_000
    positions_per_batch: int = 3_500
    learning_rate: float = 1.5e-3
    copies: int = 2
    seed: int = 0


class Joined(nn.Module):
    """The projector and a frozen decoder, from encoder output to the loss of the transcript."""

    def __init__(self, projector: AudioProjector, decoder: SmolLM3ForCausalLM, audio_token_id: int) -> None:
        super().__init__()
        self.projector = projector
        self.decoder = decoder.requires_grad_(False)
        self.audio_token_id = audio_token_id

    def forward(
        self,
        hidden: Float[Tensor, "batch positions encoder_dim"],
        ids: Int[Tensor, "batch length"],
        labels: Int[Tensor, "batch length"],
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy of the labels, -100 where there is none; padding is on the right."""
        audio = self.projector(hidden)  # (batch, audio_tokens, decoder_dim)
        is_audio = ids == self.audio_token_id
        is_clip = torch.arange(audio.shape[1]) < is_audio.sum(1, keepdim=True)
        embeds = self.decoder.get_input_embeddings()(ids)
        embeds = embeds.masked_scatter(is_audio[..., None], audio[is_clip])
        states = self.decoder.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        wanted = labels[:, 1:] != -100
        logits = self.decoder.lm_head(states[:, :-1][wanted])
        return nn.functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


@torch.inference_mode()
def cache_encodings(
    encoder: WhisperEncoder,
    shards_folder: Path,
    folder: Path,
    copies: int,
    seed: int = 0,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Encode disturbed copies of every training clip once; finished files are kept.

    Parameters
    ----------
    encoder : WhisperEncoder
        The frozen encoder.
    shards_folder : Path
        Where the shards are.
    folder : Path
        Gets, for each copy of each shard, ``.npy`` with all positions in float16 and ``.json`` with the
        clips.
    copies : int
        How many; copy 0 is undisturbed.
    seed : int
        Of the disturbances.
    progress : callable, optional
        Called with (done, total).

    Raises
    ------
    ValueError
        If the folder holds encodings of another encoder.
    """
    keep_memory()
    folder.mkdir(parents=True, exist_ok=True)
    shards = load_shards(shards_folder)
    mark, digest = folder / "encoder.sha256", _digest(encoder)
    if mark.exists() and mark.read_text(encoding="utf-8") != digest:
        raise ValueError(
            f"{folder} holds the output of another encoder. Make sure to delete that folder first"
        )
    mark.write_text(digest, encoding="utf-8")
    # As in training: half the memory to move, and matrix instructions where the CPU has them.
    encoder = encoder.eval().bfloat16()
    total = copies * len(shards)
    for job in range(total):
        copy, number = divmod(job, len(shards))
        stem = folder / f"{copy}-{number:05d}"
        if stem.with_suffix(".json").exists():
            continue
        shard = shards[number]
        rng = np.random.default_rng((seed, copy, number))
        generator = torch.Generator().manual_seed(seed * 7919 + job)
        order = sorted(range(len(shard.utterances)), key=lambda index: shard.utterances[index]["frames"])
        rows, clips, start = [], [], 0
        for first in range(0, len(order), 32):
            batch = [shard.utterances[index] for index in order[first : first + 32]]
            mels = [shard.log_mel[u["start"] : u["start"] + u["frames"]].astype(np.float32) for u in batch]
            if copy:
                mels, _ = stretch(mels, [np.zeros(len(mel) // 2, np.int64) for mel in mels], rng)
            features, mask = pad_batch(mels, multiple=32)
            if copy:
                features = augment(features, mask, generator, Augmentation(mask_bands=4.0, mask_frames=4.0))
            hidden = encode(encoder, features.bfloat16().transpose(1, 2), mask)
            for row, (utterance, positions) in enumerate(
                zip(batch, position_mask(mask).sum(1).tolist(), strict=True)
            ):
                rows.append(hidden[row, :positions].to(torch.float16).numpy())
                clips.append({"text": utterance["text"], "start": start, "positions": positions})
                start += positions
        temporary = stem.with_suffix(".part")
        with temporary.open("wb") as file:
            np.save(file, np.concatenate(rows))
        temporary.replace(stem.with_suffix(".npy"))
        stem.with_suffix(".json").write_text(json.dumps(clips), encoding="utf-8")
        if progress:
            progress(job + 1, total)


def _digest(encoder: WhisperEncoder) -> str:
    found = hashlib.sha256()
    for parameter in encoder.state_dict().values():
        found.update(parameter.float().numpy().tobytes())
    return found.hexdigest()


def make_projector(encoder_dim: int, decoder: SmolLM3ForCausalLM, recipe: ProjectorRecipe) -> AudioProjector:
    """Build the projector with random weights and outputs as long as the decoder's embeddings."""
    projector = AudioProjector(
        encoder_dim, decoder.config.hidden_size, recipe.stack_factor, recipe.hidden_size
    )
    table = decoder.get_input_embeddings().weight.detach()
    nn.init.constant_(projector.norm_out.weight, float(table.pow(2).mean().sqrt()))
    return projector


def train_projector(
    encodings: Path,
    decoder_folder: Path,
    folder: Path,
    recipe: ProjectorRecipe,
    save_every: int = 500,
) -> Path:
    """Train from cached encodings, resuming where ``folder`` stands.

    Parameters
    ----------
    encodings : Path
        What `cache_encodings` wrote.
    decoder_folder : Path
        The finished decoder with its tokenizer.
    folder : Path
        Gets checkpoint, log, and at the end ``projector/model.safetensors``.
    recipe : ProjectorRecipe
        What to train.
    save_every : int
        Steps between checkpoints.

    Returns
    -------
    Path
        The folder of the finished projector.
    """
    decoder = SmolLM3ForCausalLM.from_pretrained(decoder_folder, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(decoder_folder)
    examples = Examples(tokenizer)
    audio_token_id = tokenizer.convert_tokens_to_ids("<|audio|>")
    files = sorted(encodings.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"no encodings in {encodings}. Make sure to cache the encoder's output first")
    arrays = [np.load(file.with_suffix(".npy"), mmap_mode="r") for file in files]
    clips: list[tuple[int, dict[str, Any]]] = []
    for number, file in enumerate(files):
        clips += [(number, clip) for clip in json.loads(file.read_text(encoding="utf-8"))]
    torch.manual_seed(recipe.seed)
    projector = make_projector(arrays[0].shape[1], decoder, recipe)
    model = Joined(projector, decoder, audio_token_id)
    run = Run(folder, model, recipe.steps, recipe.learning_rate, recipe.seed)
    answers = [examples.answer(clip["text"]) for _, clip in clips]
    around = len(examples.before) + len(examples.after)
    lengths = [
        clip["positions"] // recipe.stack_factor + around + len(answer)
        for (_, clip), answer in zip(clips, answers, strict=True)
    ]
    model.train()
    for batch in run.batches(lengths, recipe.positions_per_batch):
        run.begin_step()
        hidden, ids, labels = [], [], []
        for item in batch:
            number, clip = clips[item]
            states = arrays[number][clip["start"] : clip["start"] + clip["positions"]]
            hidden.append(states.astype(np.float32))
            audio_tokens = count_audio_tokens(len(states), recipe.stack_factor)
            prompt = [*examples.before, *([audio_token_id] * audio_tokens), *examples.after]
            ids.append(np.array(prompt + answers[item]))
            labels.append(np.array([-100] * len(prompt) + answers[item]))
        states, _ = pad_batch(hidden, multiple=16)
        tokens, _ = pad_batch(ids, tokenizer.pad_token_id, multiple=8)
        targets, _ = pad_batch(labels, -100, multiple=8)
        loss = run.compute(states.bfloat16(), tokens, targets)
        run.end_step(loss, len(batch))
        if run.step % save_every == 0:
            run.save()
    run.save()
    target = folder / "projector"
    target.mkdir(exist_ok=True)
    save_file(projector.state_dict(), target / "model.safetensors")
    (target / "recipe.json").write_text(json.dumps(made_with(run, recipe), indent=2) + "\n", encoding="utf-8")
    return target
