"""The frozen encoder's output, computed once: it never changes, so a projector is trained on a copy of it.

Of every clip there are a few disturbed copies, each a function of the seed and its number, so that any of
them can be computed again. They are kept at their true length and in half precision.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.audio import load_audio
from asrscope.encoder import encode, position_mask
from asrscope.features import log_mel
from asrscope.files import write_text, written
from asrscope.training.augment import Augmentation, augment, stretch
from asrscope.training.batches import pad_batch, seeded_generator
from asrscope.training.processes import agree, join_processes
from asrscope.training.run import keep_memory

__all__ = [
    "Clip",
    "EncoderPass",
    "Encodings",
    "Spectrograms",
    "cache_encodings",
    "load_encodings",
    "read_held_out",
]

CLIPS_AT_ONCE = 32
FRAMES_AT_ONCE = 24_000  # mel frames that are encoded together
HOW = Augmentation(mask_bands=4.0, mask_frames=4.0)


@runtime_checkable
class Spectrograms(Protocol):
    """What is encoded: a shard of `asrscope_recipe.corpus`, or anything else with these two.

    Attributes
    ----------
    log_mel : np.ndarray, shape (frames, n_mels)
        Log-mel spectrograms of some clips, end to end.
    utterances : list of dict
        ``text``, ``start`` (first frame) and ``frames`` of each clip.
    """

    @property
    def log_mel(self) -> ndarray:
        """Log-mel spectrograms of all clips, end to end."""

    @property
    def utterances(self) -> list[dict[str, Any]]:
        """Text and place of each clip."""


@dataclass(frozen=True)
class Clip:
    """One copy of one clip in the cache.

    Parameters
    ----------
    copy, shard, utterance : int
        Number of the copy, 0 for the undisturbed one; of the shard; of the clip in it.
    text : str
        What is said.
    start, positions : int
        First row and number of rows in the file of the shard's copy.
    """

    copy: int
    shard: int
    utterance: int
    text: str
    start: int
    positions: int


@dataclass(frozen=True)
class Encodings:
    """Memory-mapped encoder output.

    Parameters
    ----------
    clips : list of Clip
        What there is.
    arrays : dict of (int, int) to np.ndarray, shape (positions, encoder_dim)
        The files, by number of copy and shard.
    """

    clips: list[Clip]
    arrays: dict[tuple[int, int], ndarray]

    @property
    def encoder_dim(self) -> int:
        """Width of one position."""
        return int(next(iter(self.arrays.values())).shape[1])

    def read(self, clip: Clip) -> Float[np.ndarray, "positions encoder_dim"]:
        """Read the encoder's output for one clip."""
        rows = self.arrays[clip.copy, clip.shard][clip.start : clip.start + clip.positions]
        return rows.astype(np.float32)


class EncoderPass:
    """The frozen encoder at work on disturbed copies of clips.

    Parameters
    ----------
    encoder : WhisperEncoder
        The encoder; a copy in bfloat16 is used, as in training.
    shards : sequence of Spectrograms
        The clips.
    seed : int
        Of the disturbances.
    fixed_length : bool
        Whether clips fill a window whose length must not change: then speed stays as it is.
    """

    def __init__(
        self,
        encoder: WhisperEncoder,
        shards: Sequence[Spectrograms],
        seed: int = 0,
        *,
        fixed_length: bool = False,
    ) -> None:
        self.device: torch.device = join_processes().device
        self.sha256 = _digest(encoder)
        shared: dict[int, object] = {id(p): p for p in encoder.parameters() if p.dtype == torch.bfloat16}
        self.encoder = copy.deepcopy(encoder, shared).eval().bfloat16().to(self.device)
        self.shards, self.seed, self.fixed_length = shards, seed, fixed_length

    def spectrogram(self, number: int, shard: int, utterance: int) -> Float[np.ndarray, "frames n_mels"]:
        """Disturb one clip as copy ``number`` of it has it."""
        source = self.shards[shard]
        place = source.utterances[utterance]
        mel: ndarray = source.log_mel[place["start"] : place["start"] + place["frames"]].astype(np.float32)
        if number == 0:
            return mel
        if not self.fixed_length:
            rng = np.random.default_rng((self.seed, number, shard, utterance))
            [longer], _ = stretch([mel], [np.zeros(len(mel) // 2, np.int64)], rng)
            if len(longer) <= 2 * self.encoder.config.max_source_positions:
                mel = longer
        generator = seeded_generator(self.seed, number, shard, utterance)
        features, mask = pad_batch([mel])
        found: ndarray = augment(features, mask, generator, HOW)[0].numpy()
        return found

    @torch.inference_mode()
    def encode(self, mels: list[ndarray]) -> list[ndarray]:
        """Encode spectrograms of similar length together; each result has its true length, in float16."""
        window = 2 * self.encoder.config.max_source_positions
        features, mask = (padded[:, :window] for padded in pad_batch(mels, multiple=32))
        positions = position_mask(mask).sum(1).tolist()
        hidden = encode(
            self.encoder, features.to(self.device, torch.bfloat16).transpose(1, 2), mask.to(self.device)
        )
        rows = hidden.to(torch.float16).cpu().numpy()
        return [row[:count] for row, count in zip(rows, positions, strict=True)]

    def encode_again(self, clips: Sequence[Clip]) -> list[ndarray]:
        """Compute what the cache holds of some clips once more."""
        return self.encode([self.spectrogram(clip.copy, clip.shard, clip.utterance) for clip in clips])


def cache_encodings(
    work: EncoderPass, folder: Path, copies: int, *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Encode copies of every clip once; finished files are kept. Processes share the shards.

    Parameters
    ----------
    work : EncoderPass
        Encoder and clips.
    folder : Path
        Gets, for each copy of each shard, ``.npy`` with all positions in float16 and ``.json`` with the
        clips.
    copies : int
        How many; copy 0 is undisturbed.
    progress : callable, optional
        Called with (done, total).

    Raises
    ------
    ValueError
        If the folder holds encodings of another encoder or of other clips.
    """
    keep_memory()
    folder.mkdir(parents=True, exist_ok=True)
    agree(lambda: _mark(folder, work.sha256))
    accelerator = join_processes()
    jobs = [(number, shard) for shard in range(len(work.shards)) for number in range(copies)]
    for done, (number, shard) in enumerate(jobs):
        stem = folder / f"{number}-{shard:05d}"
        if stem.with_suffix(".json").exists():
            _check_texts(stem.with_suffix(".json"), work.shards[shard])
        elif done % accelerator.num_processes == accelerator.process_index:
            rows, clips = _encode_shard(work, number, shard)
            with written(stem.with_suffix(".npy")) as file:
                np.save(file, rows)
            write_text(stem.with_suffix(".json"), json.dumps(clips))
        if progress:
            progress(done + 1, len(jobs))
    accelerator.wait_for_everyone()


def _encode_shard(work: EncoderPass, number: int, shard: int) -> tuple[ndarray, list[dict[str, Any]]]:
    """Encode one copy of one shard, neighbors in length together."""
    utterances = work.shards[shard].utterances
    mels = [work.spectrogram(number, shard, index) for index in range(len(utterances))]
    order = sorted(range(len(mels)), key=lambda index: len(mels[index]))
    rows: list[ndarray] = []
    clips: list[dict[str, Any]] = []
    start = 0
    while order:
        at_once = max(1, min(CLIPS_AT_ONCE, FRAMES_AT_ONCE // len(mels[order[-1]])))
        batch, order = order[-at_once:], order[:-at_once]
        for index, row in zip(batch, work.encode([mels[index] for index in batch]), strict=True):
            rows.append(row)
            clips.append(
                {
                    "utterance": index,
                    "text": utterances[index]["text"],
                    "start": start,
                    "positions": len(row),
                }
            )
            start += len(row)
    return np.concatenate(rows), clips


def load_encodings(folder: Path) -> Encodings:
    """Open what `cache_encodings` wrote.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    """
    files = sorted(folder.glob("*-*.json"))
    if not files:
        raise FileNotFoundError(f"no encodings in {folder}. Make sure to cache the encoder's output first")
    clips, arrays = [], {}
    for file in files:
        number, shard = map(int, file.stem.split("-"))
        arrays[number, shard] = np.load(file.with_suffix(".npy"), mmap_mode="r")
        for index, clip in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            clips.append(
                Clip(
                    number,
                    shard,
                    clip.get("utterance", index),
                    clip["text"],
                    clip["start"],
                    clip["positions"],
                )
            )
    return Encodings(clips, arrays)


@dataclass(frozen=True)
class HeldOut:
    """A held-out set in memory, see `Spectrograms`."""

    log_mel: ndarray
    utterances: list[dict[str, Any]]


def read_held_out(folder: Path, n_mels: int, limit: int = 100) -> list[HeldOut]:
    """Read the first clips of the held-out sets in a folder, as `asrscope_recipe.corpus` makes them.

    Returns
    -------
    list of HeldOut
        One for each set; none if there is no set.
    """
    found = []
    for manifest in sorted(folder.glob("*/manifest.jsonl")):
        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()[:limit]]
        mels = [log_mel(load_audio(manifest.parent / line["file"]), n_mels).T for line in lines]
        starts = np.cumsum([0, *map(len, mels)]).tolist()
        found.append(
            HeldOut(
                np.concatenate(mels),
                [
                    {"text": line["text"], "start": start, "frames": len(mel)}
                    for line, start, mel in zip(lines, starts, mels, strict=False)
                ],
            )
        )
    return found


def _mark(folder: Path, digest: str) -> None:
    """Claim a folder for one encoder."""
    mark = folder / "encoder.sha256"
    if mark.exists() and mark.read_text(encoding="utf-8") != digest:
        raise ValueError(
            f"{folder} holds the output of another encoder. Make sure to delete that folder first"
        )
    write_text(mark, digest)


def _check_texts(file: Path, shard: Spectrograms) -> None:
    """Refuse encodings of clips that have been made anew since."""
    kept = sorted(clip["text"] for clip in json.loads(file.read_text(encoding="utf-8")))
    if kept != sorted(utterance["text"] for utterance in shard.utterances):
        raise ValueError(f"{file} holds the output for other clips. Make sure to delete {file.parent} first")


def _digest(encoder: WhisperEncoder) -> str:
    found = hashlib.sha256()
    for parameter in encoder.state_dict().values():
        found.update(parameter.float().cpu().numpy().tobytes())
    return found.hexdigest()
