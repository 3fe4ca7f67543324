"""Synthesize a corpus once and keep it as log-mel shards with phone labels; training memory-maps the shards.

A shard is seeded by its number, so it is the same on any machine with the same synthesizers, several
processes can make different ones, and an interrupted run goes on where it stopped.
"""

import hashlib
import itertools
import json
import multiprocessing
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from tqdm import tqdm

from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.features import log_mel
from asrscope.saving import write_text, written
from asrscope.training.corpus import Utterance
from asrscope_recipe.codecs import FLAC, compress, random_codec, write_sound
from asrscope_recipe.sentences import HAND_WRITTEN, distinct, sentences
from asrscope_recipe.synthesis import (
    HELD_OUT_VOICES,
    TRAIN_VOICES,
    Speech,
    Voice,
    random_voice,
    synthesize,
    training_voice,
)

__all__ = ["TEST_SETS", "Clips", "Shard", "load_shards", "make_shards", "make_test_sets", "read_held_out"]

UTTERANCES_PER_SHARD = 1000
MAX_SECONDS = 8.0  # longer sentences are drawn again: they would set the memory of a whole batch


@dataclass(frozen=True)
class Shard:
    """Memory-mapped features of some utterances.

    Parameters
    ----------
    log_mel : np.ndarray, shape (frames, n_mels), float16
        All utterances end to end.
    phones : np.ndarray, shape (frames // 2,), uint8
        Index into ``phone_names`` for each 20 ms position.
    phone_names : list of str
        Names such as ``flite:ax``.
    utterances : list of dict
        ``text``, ``voice``, ``synthesizer``, ``frames``, ``start`` (first frame) and more, one each.
    """

    log_mel: ndarray
    phones: ndarray
    phone_names: list[str]
    utterances: list[dict[str, Any]]

    def read(self, utterance: Mapping[str, Any]) -> ndarray:
        """Read one log-mel spectrogram, shape (frames, n_mels)."""
        mel: ndarray = self.log_mel[utterance["start"] : utterance["start"] + utterance["frames"]]
        return mel

    def read_phones(self, utterance: Mapping[str, Any]) -> ndarray:
        """Read the phone of each of its positions, shape (frames // 2,)."""
        first = utterance["start"] // 2
        phones: ndarray = self.phones[first : first + utterance["frames"] // 2]
        return phones


class Clips:
    """Clips that are at hand, as a source for `asrscope.training.encodings.cache_encodings`.

    Parameters
    ----------
    clips : sequence of (str, str, callable)
        For each its name, its text, and what gives its log-mel spectrogram, shape (frames, n_mels).
    """

    def __init__(self, clips: Sequence[tuple[str, str, Callable[[], ndarray]]]) -> None:
        self.clips = clips
        said = "\n".join(f"{name}\t{text}" for name, text, _ in clips)
        self.identity = {"clips": hashlib.sha256(said.encode()).hexdigest()[:16]}

    @classmethod
    def of_shards(cls, shards: Sequence["Shard"]) -> "Clips":
        """List the clips of shards."""
        places = [(shard, utterance) for shard in shards for utterance in shard.utterances]
        return cls(
            [(one.get("sha256", one["text"]), one["text"], partial(shard.read, one)) for shard, one in places]
        )

    def __len__(self) -> int:
        """Count them."""
        return len(self.clips)

    def rows(self, start: int = 0) -> Iterator[tuple[str, Any]]:
        """Give each with its name."""
        return ((clip[0], clip) for clip in itertools.islice(self.clips, start, None))

    def read(self, row: tuple[str, str, Callable[[], ndarray]]) -> Utterance:
        """Make an utterance of one."""
        return Utterance(row[1], row[2]())


def draw_utterance(
    rng: random.Random, text: str, draw_voice: Callable[[random.Random], Voice]
) -> tuple[Voice, Speech]:
    """Speak a sentence in a random voice; voices that fail on it or take too long are drawn again."""
    for _ in range(20):
        voice = draw_voice(rng)
        try:
            speech = synthesize(text, voice)
        except ValueError:
            continue
        if speech.waveform.size <= MAX_SECONDS * SAMPLE_RATE:
            return voice, speech
        text = " ".join(text.split()[:-3])
    raise ValueError(f"no voice could speak {text!r} within {MAX_SECONDS} s")


def label_positions(phones: tuple[tuple[str, float, float], ...], positions: int, prefix: str) -> list[str]:
    """Name the phone that sounds in the middle of every 20 ms position."""
    labels = [f"{prefix}:_"] * positions
    for name, start, end in phones:
        kind = "_" if name.startswith("_") else name
        first = max(0, round(start / SECONDS_PER_POSITION))
        for position in range(first, min(positions, round(end / SECONDS_PER_POSITION))):
            labels[position] = f"{prefix}:{kind}"
    return labels


def make_shard(folder: str, number: int, n_mels: int, utterances: int, *, clear: bool = False) -> str:
    """Write one shard; its manifest comes last and marks it complete."""
    rng = random.Random(f"voices-{number}")
    draw = partial(random_voice, voices=TRAIN_VOICES) if clear else training_voice
    features, labels, lines, start = [], [], [], 0
    for sentence in itertools.islice(sentences("train", seed=number), utterances):
        voice, speech = draw_utterance(rng, sentence, draw)
        text = " ".join(word for word, _, _ in speech.words)
        codec = None if clear else random_codec(rng)
        waveform = compress(speech.waveform, *codec) if codec else speech.waveform
        mel = log_mel(waveform, n_mels).T.astype(np.float16)  # (frames, n_mels)
        features.append(mel)
        labels += label_positions(speech.phones, len(mel) // 2, voice.synthesizer)
        lines.append(
            {
                "text": text,
                "synthesizer": voice.synthesizer,
                "voice": voice.name,
                "rate": voice.rate,
                "pitch": voice.pitch,
                "size": voice.size,
                "hertz": voice.hertz,
                "codec": codec[0] if codec else None,
                "start": start,
                "frames": len(mel),
                "sha256": hashlib.sha256(waveform.tobytes()).hexdigest(),
            }
        )
        start += len(mel)
    names = sorted(set(labels))
    index = {name: number for number, name in enumerate(names)}
    stem = Path(folder) / f"{number:05d}"
    _save(stem.with_suffix(".mel.npy"), np.concatenate(features))
    _save(stem.with_suffix(".phones.npy"), np.array([index[label] for label in labels], dtype=np.uint8))
    text = "\n".join(json.dumps(line) for line in [{"phone_names": names}, *lines]) + "\n"
    write_text(stem.with_suffix(".jsonl"), text)
    return stem.name


def _save(path: Path, array: ndarray) -> None:
    with written(path) as file:
        np.save(file, array)


def make_shards(
    folder: Path,
    shards: int,
    workers: int = 1,
    n_mels: int = 80,
    utterances: int = UTTERANCES_PER_SHARD,
    *,
    clear: bool = False,
) -> None:
    """Synthesize the training corpus; finished shards are kept.

    Parameters
    ----------
    folder : Path
        Where the shards go.
    shards : int
        How many there shall be.
    workers : int
        Processes.
    n_mels : int
        Mel bands.
    utterances : int
        In each shard.
    clear : bool
        Whether voices are undisguised and no codec compresses them: less to learn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(shards) if not (folder / f"{number:05d}.jsonl").exists()]
    make = partial(make_shard, str(folder), n_mels=n_mels, utterances=utterances, clear=clear)
    with _fresh_processes(workers) as pool:
        for _ in tqdm(pool.map(make, missing), "shards", len(missing), disable=None):
            pass


def _fresh_processes(workers: int) -> Executor:
    """Start a process for each job.

    espeak-ng carries state from one sentence to the next, and what is made shall be the same again.
    """
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    )


def load_shards(folder: Path, limit: int | None = None) -> list[Shard]:
    """Open the finished shards of a folder, at most ``limit`` of them.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    shards = []
    for manifest in sorted(folder.glob("*.jsonl"))[:limit]:
        head, *lines = (json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines())
        stem = manifest.with_suffix("")
        mel = np.load(stem.with_suffix(".mel.npy"), mmap_mode="r")
        phones = np.load(stem.with_suffix(".phones.npy"), mmap_mode="r")
        shards.append(Shard(mel, phones, head["phone_names"], lines))
    if not shards:
        raise FileNotFoundError(
            f"no training shards in {folder}. Make them with: asrscope-recipe data --cache {folder}"
        )
    return shards


# name -> (where the sentences come from, synthesizer, voices)
TEST_SETS: dict[str, tuple[str, str, dict[str, tuple[str, ...]]]] = {
    "seen-voices": ("grammar", "both", TRAIN_VOICES),
    "new-espeak-voices": ("grammar", "espeak-ng", HELD_OUT_VOICES),
    "new-flite-voice": ("grammar", "flite", HELD_OUT_VOICES),
    "hand-written": ("hand", "both", HELD_OUT_VOICES),
}
SPLIT_SEEDS = {"dev": 1, "test": 2}


def make_test_sets(folder: Path, split: str = "test", utterances: int = 200, workers: int = 1) -> list[Path]:
    """Write the held-out sets as FLAC files with one manifest each, ready for ``asrscope evaluate``.

    Finished sets are kept.

    Parameters
    ----------
    folder : Path
        Gets one folder a set.
    split : str
        ``test`` for figures to publish; ``dev``, on other sentences, for choices made on the way.
    utterances : int
        How many in each set; of the sentences written by hand, ``test`` takes all.
    workers : int
        Processes.

    Returns
    -------
    list of Path
        The manifests: JSON lines with ``file``, ``text``, ``voice``, ``synthesizer`` and ``words``.
    """
    manifests = [folder / name / "manifest.jsonl" for name in TEST_SETS]
    missing = [manifest.parent.name for manifest in manifests if not manifest.exists()]
    if missing:
        with _fresh_processes(workers) as pool:
            list(pool.map(partial(make_test_set, str(folder), split, utterances), missing))
    return manifests


def make_test_set(folder: str, split: str, utterances: int, name: str) -> None:
    """Write one held-out set; its manifest comes last and marks it complete."""
    source, synthesizer, voices = TEST_SETS[name]
    target = Path(folder) / name
    target.mkdir(parents=True, exist_ok=True)
    if source == "hand":  # for figures to publish, all of them
        texts = list(HAND_WRITTEN[split])[: None if split == "test" else utterances]
    else:
        seed = SPLIT_SEEDS[split] * 1000 + list(TEST_SETS).index(name)
        texts = list(itertools.islice(distinct(sentences(split, seed)), utterances))
    rng = random.Random(f"{split}-{name}")
    kinds = list(voices) if synthesizer == "both" else [synthesizer]
    lines = []
    for number, text in enumerate(texts):
        kind = kinds[number % len(kinds)]
        own = {kind: voices[kind]}
        voice, speech = draw_utterance(rng, text, partial(random_voice, voices=own))
        file = target / f"{number:03d}.flac"
        write_sound(file, speech.waveform, **FLAC)
        line = {
            "file": file.name,
            "text": " ".join(word for word, _, _ in speech.words),
            "voice": f"{voice.synthesizer} {voice.name}",
            "synthesizer": voice.synthesizer,
            "rate": voice.rate,
            "pitch": voice.pitch,
            "words": speech.words,
        }
        lines.append(json.dumps(line))
    write_text(target / "manifest.jsonl", "\n".join(lines) + "\n")


def read_held_out(folder: Path, n_mels: int, limit: int = 100) -> Clips:
    """List the first clips of each held-out set in a folder.

    Raises
    ------
    FileNotFoundError
        If there is no set.
    """
    clips: list[tuple[str, str, Callable[[], ndarray]]] = []
    for manifest in sorted(folder.glob("*/manifest.jsonl")):
        with manifest.open(encoding="utf-8") as lines:
            for line in map(json.loads, itertools.islice(lines, limit)):
                path = manifest.parent / line["file"]
                name = f"{manifest.parent.name}/{Path(line['file']).name}"
                clips.append((name, line["text"], partial(spectrogram, path, n_mels)))
    if not clips:
        raise FileNotFoundError(f"{folder}: no held-out sets: make them with 'asrscope-recipe data'")
    return Clips(clips)


def spectrogram(sound: Path | ndarray, n_mels: int) -> ndarray:
    """Compute the log-mel spectrogram of a file or of a waveform, shape (frames, n_mels)."""
    return log_mel(load_audio(sound) if isinstance(sound, Path) else sound, n_mels).T
