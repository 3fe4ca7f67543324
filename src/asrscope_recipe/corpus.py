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
from concurrent.futures import ProcessPoolExecutor
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
from asrscope.recognition import metrics
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

__all__ = ["TEST_SETS", "Clips", "CorpusRecipe", "Shard", "load_shards", "make_corpus", "read_held_out"]

N_MELS = 80
MAX_SECONDS = 8.0  # longer sentences are drawn again: they would set the memory of a whole batch


@dataclass(frozen=True)
class CorpusRecipe:
    """How much speech is synthesized.

    Parameters
    ----------
    shards : int
        Parts of the corpus to train on.
    utterances : int
        In each part.
    test_utterances : int
        In each held-out set; of the sentences written by hand, ``test`` takes all.
    clear : bool
        Whether voices are undisguised and no codec compresses them: less to learn.
    """

    shards: int = 59
    utterances: int = 1_000
    test_utterances: int = 200
    clear: bool = False


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

    @property
    def texts(self) -> list[str]:
        """What is said in each."""
        return [text for _, text, _ in self.clips]

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


def make_shard(manifest: Path, number: int, utterances: int, *, clear: bool = False) -> None:
    """Write one shard; its manifest comes last and marks it complete."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"voices-{number}")
    draw = partial(random_voice, voices=TRAIN_VOICES) if clear else training_voice
    features, labels, lines, start = [], [], [], 0
    for sentence in itertools.islice(sentences("train", seed=number), utterances):
        voice, speech = draw_utterance(rng, sentence, draw)
        codec = None if clear else random_codec(rng)
        waveform = compress(speech.waveform, *codec) if codec else speech.waveform
        mel = log_mel(waveform, N_MELS).T.astype(np.float16)  # (frames, n_mels)
        features.append(mel)
        labels += label_positions(speech.phones, len(mel) // 2, voice.synthesizer)
        lines.append(
            {
                "text": speech.text,
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
    phones = np.array([index[label] for label in labels], dtype=np.uint8)
    for kind, array in (("mel", np.concatenate(features)), ("phones", phones)):
        with written(manifest.with_suffix(f".{kind}.npy")) as file:
            np.save(file, array)
    write_text(manifest, "\n".join(json.dumps(line) for line in [{"phone_names": names}, *lines]) + "\n")


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


def make_corpus(cache: Path, recipe: CorpusRecipe, workers: int = 1) -> None:
    """Synthesize shards to train on and both splits of the held-out sets; what is finished is kept.

    Parameters
    ----------
    cache : Path
        Gets ``shards``, and in ``dev`` and ``test`` one folder a set: FLAC files, and JSON lines with
        ``file``, ``text``, ``voice``, ``synthesizer`` and ``words``, ready for ``asrscope evaluate``. What is
        published is measured on ``test``; ``dev``, of other sentences, is for choices made on the way.
    recipe : CorpusRecipe
        How much.
    workers : int
        Processes.
    """
    jobs: dict[Path, Callable[[], None]] = {}
    for number in range(recipe.shards):
        path = cache / "shards" / f"{number:05d}.jsonl"
        jobs[path] = partial(make_shard, path, number, recipe.utterances, clear=recipe.clear)
    for split, name in itertools.product(SPLIT_SEEDS, TEST_SETS):
        path = cache / split / name / "manifest.jsonl"
        jobs[path] = partial(make_test_set, path, split, recipe.test_utterances)
    missing = [job for path, job in jobs.items() if not path.exists()]
    # Each job has a process of its own: espeak-ng carries state from one sentence to the next, and what is
    # made shall be the same again.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawned, max_tasks_per_child=1) as pool:
        running = [pool.submit(job) for job in missing]
        for one in tqdm(running, "shards and held-out sets", disable=None):
            one.result()


def make_test_set(manifest: Path, split: str, utterances: int) -> None:
    """Write one held-out set; its manifest comes last and marks it complete."""
    target, name = manifest.parent, manifest.parent.name
    source, synthesizer, voices = TEST_SETS[name]
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
            "text": speech.text,
            "voice": str(voice),
            "synthesizer": voice.synthesizer,
            "rate": voice.rate,
            "pitch": voice.pitch,
            "words": speech.words,
        }
        lines.append(json.dumps(line))
    write_text(manifest, "\n".join(lines) + "\n")


def held_out_sets(folder: Path) -> dict[str, tuple[metrics.Utterance, ...]]:
    """Read the manifests of all held-out sets in a folder, by name.

    Raises
    ------
    FileNotFoundError
        If there is no set.
    """
    manifests = sorted(folder.glob("*/manifest.jsonl"))
    if not manifests:
        raise FileNotFoundError(f"{folder}: no held-out sets: make them with 'asrscope-recipe data'")
    return {manifest.parent.name: metrics.read_utterances(manifest) for manifest in manifests}


def read_held_out(folder: Path, n_mels: int, limit: int = 100) -> Clips:
    """List the first clips of each held-out set in a folder."""
    return Clips(
        [
            (f"{name}/{Path(one.name).name}", one.text, partial(spectrogram, one.audio, n_mels))
            for name, utterances in held_out_sets(folder).items()
            for one in utterances[:limit]
        ]
    )


def spectrogram(sound: Path | bytes | ndarray, n_mels: int) -> ndarray:
    """Compute the log-mel spectrogram of a file or of a waveform, shape (frames, n_mels)."""
    return log_mel(sound if isinstance(sound, ndarray) else load_audio(sound), n_mels).T
