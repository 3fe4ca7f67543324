"""The frozen encoder's output, computed once: it never changes, so a projector is trained on a copy of it.

Of every clip there are a few disturbed copies, each a function of the seed and its number. They are kept at
their true length and in half precision, in shards that are written once and mapped into memory.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from tqdm import tqdm
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.encoder import SECONDS_PER_POSITION, encode, lead_positions, position_mask
from asrscope.processing import pad_batch
from asrscope.saving import write_text, written
from asrscope.saving.provenance import describe_weights
from asrscope.training.augment import Augmentation, augment, stretch
from asrscope.training.corpus import Source, Utterance
from asrscope.training.run import claim, fill_batches, join_processes, quick_copy, quick_precision

__all__ = ["Clip", "cache_encodings", "load_encodings"]

ROWS_PER_SHARD = 200
FRAMES_AT_ONCE = 24_000  # mel frames that are encoded together
HOW = Augmentation(mask_bands=4.0, mask_frames=4.0)


@dataclass(frozen=True)
class Clip:
    """The encoder's output for one copy of one clip, mapped into memory.

    Parameters
    ----------
    id : str
        Of the clip, as its source has it.
    text : str
        What is said.
    speaker : str or None
        Who says it, if that is known.
    copy : int
        0 for the undisturbed one.
    hidden : np.ndarray, shape (positions, encoder_dim), float16
        The encoder's output.
    """

    id: str
    text: str
    speaker: str | None
    copy: int
    hidden: ndarray

    @property
    def seconds(self) -> float:
        """How long it is."""
        return float(len(self.hidden) * SECONDS_PER_POSITION)


def cache_encodings(
    encoder: WhisperEncoder,
    source: Source,
    folder: Path,
    *,
    copies: int = 1,
    seed: int = 0,
    fixed_length: bool = False,
    on_bad: Callable[[str, str], None] | None = None,
) -> None:
    """Encode copies of every clip of a source once; finished shards are kept. Processes share the work.

    In a terminal, a bar shows how far it is.

    Parameters
    ----------
    encoder : WhisperEncoder
        The encoder; a copy in numbers that the machine is quick with is used.
    source : Source
        The clips.
    folder : Path
        Gets for each 200 rows ``.npy`` with all positions in float16, and ``.json`` with the clips, and with
        the rows that cannot be used.
    copies : int
        How many; copy 0 is undisturbed.
    seed : int
        Of the disturbances.
    fixed_length : bool
        Whether clips fill a window whose length must not change: then speed stays as it is.
    on_bad : callable, optional
        Called with id and reason for each row that cannot be used.

    Raises
    ------
    ValueError
        If the folder holds the output of another encoder or for another source, or no row can be used.
    """
    state = join_processes()
    made_of = {"encoder": describe_weights("encoder", encoder, "").sha256, "copies": copies, "seed": seed}
    lead = {"lead_positions": ahead} if (ahead := lead_positions(encoder.config)) else {}
    claim(folder / "made_of.json", made_of | lead | source.identity)
    encoder = quick_copy(encoder, quick_precision(state.device)).to(state.device)
    longest = 0 if fixed_length else 2 * encoder.config.max_source_positions
    first = next(number for number in count() if not _manifest(folder, number).exists())
    done, total = first * ROWS_PER_SHARD, length_hint(source) or None  # a stream does not know
    unseen = None if state.is_main_process else True
    rows = iter(tqdm(source.rows(done), "encoding", total, initial=done, disable=unseen))
    for number, group in enumerate(iter(lambda: list(islice(rows, ROWS_PER_SHARD)), []), first):
        if number % state.num_processes == state.process_index and not _manifest(folder, number).exists():
            found: list[tuple[str, Utterance]] = []
            bad: list[tuple[str, str]] = []
            for name, row in group:
                try:
                    found.append((name, source.read(row)))
                except (OSError, ValueError) as error:
                    bad.append((name, " ".join(str(error).split())))
                    if on_bad:
                        on_bad(*bad[-1])
            jobs = [(name, one, turn) for name, one in found for turn in range(copies)]
            hidden = _encode(
                encoder,
                [
                    disturbed(one.log_mel, (seed, number, place), longest) if turn else one.log_mel
                    for place, (_, one, turn) in enumerate(jobs)
                ],
            )
            clips = [
                {"id": name, "text": one.text, "speaker": one.speaker, "copy": turn, "positions": len(states)}
                for (name, one, turn), states in zip(jobs, hidden, strict=True)
            ]
            if hidden:
                with written(_manifest(folder, number).with_suffix(".npy")) as file:
                    np.save(file, np.concatenate(hidden))
            write_text(_manifest(folder, number), json.dumps({"clips": clips, "bad": bad}))
    state.wait_for_everyone()
    try:
        load_encodings(folder)
    except ValueError:  # another time there may be something to be read
        shutil.rmtree(folder, ignore_errors=True)
        raise


def load_encodings(*folders: Path) -> list[Clip]:
    """Open what `cache_encodings` wrote, of one source or of several.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ValueError
        If there are only rows that cannot be used.
    """
    clips = []
    for folder in folders:
        shards = {path: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("[0-9]*.json"))}
        if not shards:
            raise FileNotFoundError(
                f"no encodings in {folder}. Make sure to cache the encoder's output first"
            )
        if not any(shard["clips"] for shard in shards.values()):
            bad = sum(len(shard["bad"]) for shard in shards.values())
            raise ValueError(f"{folder}: no row of the corpus can be used; {bad} cannot")
        for path, shard in shards.items():
            start = 0
            array: Any = np.load(path.with_suffix(".npy"), mmap_mode="r") if shard["clips"] else None
            for clip in shard["clips"]:
                stop = start + clip.pop("positions")
                clips.append(Clip(**clip, hidden=array[start:stop]))
                start = stop
    return clips


def count_bad(folder: Path) -> int:
    """Count the rows of a source that could not be used."""
    return sum(len(json.loads(path.read_text("utf-8"))["bad"]) for path in folder.glob("[0-9]*.json"))


def disturbed(
    log_mel: Float[ndarray, "frames n_mels"], seed: Sequence[int], frames: int
) -> Float[ndarray, "new_frames n_mels"]:
    """Disturb one clip: another speaker, room and level, and another pace if ``frames`` are enough for it."""
    mel = log_mel.astype(np.float32)
    [longer], _ = stretch([mel], [np.zeros(len(mel) // 2, np.int64)], np.random.default_rng(seed))
    features, mask = pad_batch([longer if len(longer) <= frames else mel])
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
    found: ndarray = augment(features, mask, generator, HOW)[0].numpy()
    return found


@torch.inference_mode()
def _encode(encoder: WhisperEncoder, mels: Sequence[ndarray]) -> list[ndarray]:
    """Encode spectrograms, those of similar length together; each result has its true length, in float16."""
    window, device = 2 * encoder.config.max_source_positions, encoder.conv1.weight.device
    found: list[ndarray] = [np.zeros(0)] * len(mels)
    lengths = list(map(len, mels))
    for together in fill_batches(lengths, FRAMES_AT_ONCE):
        padded = pad_batch([mels[index].astype(np.float32) for index in together], multiple=32)
        features, mask = (tensor[:, :window].to(device) for tensor in padded)
        hidden = encode(encoder, features.transpose(1, 2), mask).half().cpu().numpy()
        for index, states, length in zip(together, hidden, position_mask(mask).sum(1).tolist(), strict=True):
            found[index] = states[:length]
    return found


def _manifest(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.json"
