"""Measure models for their cards: error rates on named sets of clips, speed and size, beside other systems.

The figures of all cards have one shape: for each set the rates of each system that heard it.
"""

import hashlib
import itertools
import json
import math
import os
import platform
import statistics
import timeit
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope.audio.samples import load_samples
from asrscope.features import FRAMES_PER_SECOND
from asrscope.loading import Loaded, load
from asrscope.recognition.metrics import NORMALIZER, Evaluation, Recognize, Utterance, normalize
from asrscope.saving.provenance import provenance_of, read_claims
from asrscope.training.run import machine
from asrscope_recipe.comparison import (
    QUICK,
    SEARCH,
    SEED,
    TOGETHER,
    Heard,
    Peer,
    count_right,
    listen,
    spoken_digits,
    systems_beside,
    together,
    transcriber,
)
from asrscope_recipe.corpus import TEST_SETS, held_out_sets
from asrscope_recipe.plan import hours
from asrscope_recipe.sentences import vocabulary
from asrscope_recipe.synthesis import HELD_OUT_VOICES

__all__ = ["count_corpus", "measure", "measure_people", "read_sources"]

THREADS = 1  # of torch while measuring: pocketsphinx has one, and a busy machine disturbs one least
REPEATS = 5  # of the timed clip; the median counts
TIMED_SECONDS = 3.0  # length of the clip that is timed, about
BEAMS = 4  # of the beam search that is measured beside greedy decoding
FAMILIAR = (0, 1, 5, 20, 100)  # how often people said a word in training: the least of each part


def measure(
    target: Path,
    test: Path,
    *,
    peer: Peer | None = None,
    limit: int | None = None,
    recordings: Path | None = None,
    corpus: Path | None = None,
    quick: Path | None = None,
) -> dict[str, Any]:
    """Measure a model that was trained from zero, on the held-out sets of its synthesizers.

    Parameters
    ----------
    target : Path
        The checkpoint.
    test : Path
        Holds a folder with a ``manifest.jsonl`` for each held-out set.
    peer : Peer, optional
        Another recognizer for the same clips.
    limit : int, optional
        How many clips of each set, the first ones, all systems get; default: all.
    recordings : Path, optional
        A folder of digits spoken by people, see `asrscope_recipe.comparison.spoken_digits`.
    corpus : Path, optional
        Folder of training shards, to be counted.
    quick : Path, optional
        A checkpoint of a quick run, measured as well.

    Returns
    -------
    dict
        What `asrscope_recipe.card.write_model_card` takes; `json.dumps` can write it. ``test_sets``: for each
        the rates of the model, greedily and with ``beams``, on all clips; ``compared``: those of all
        systems on the first clips of each set, and of all together; what these sets and the corpus are; and
        what stands in every card.

    Raises
    ------
    OSError, ValueError
        If there are no held-out sets, or a clip cannot be read.
    """
    sets, digits = held_out_sets(test), spoken_digits(recordings) if recordings else ()
    own, loaded = target.resolve().name, load(target)
    systems = systems_beside(own, loaded, others={QUICK: quick} if quick else {}, peer=peer)
    counted, known = count_corpus(corpus) if corpus else (None, None)
    torch.set_num_threads(THREADS)  # to the end of the process
    speed = _speed(own, systems)
    whole = listen({own: systems[own], SEARCH: transcriber(loaded, BEAMS)}, sets)
    heard = listen(systems, {name: utterances[:limit] for name, utterances in sets.items()})
    everything = together(heard)
    return {
        "test_sets": _rates(whole),
        "beams": BEAMS,
        "compared": _rates({**heard, TOGETHER: everything}),
        "limit": limit,
        "seed": SEED,
        "sets": {name: _describe_set(test / name, utterances, known) for name, utterances in sets.items()},
        "peer": peer and {key: getattr(peer, key) for key in ("name", "version", "model", "model_bytes")},
        "quick": quick and _describe_quick(quick, everything[QUICK]),
        "speed": speed,
        "corpus": counted,
        "held_out_voices": {
            synthesizer: sorted({name.rpartition("+")[2] for name in names})
            for synthesizer, names in HELD_OUT_VOICES.items()
        },
        "stack_factor": loaded[0].config.stack_factor,
        "trained_seconds": loaded[0].config.trained_seconds,
        **_in_every_card(target, loaded, everything, listen(systems, {"digits": digits})["digits"]),
    }


def measure_people(
    target: Path,
    loaded: Loaded,
    systems: Mapping[str, Recognize],
    file: Path,
    *,
    every: int = 1,
    synthetic: Path | None = None,
    recordings: Path | None = None,
    transcripts: Iterable[str] = (),
) -> dict[str, Any]:
    """Measure a projector between the parts of others, on recordings of people.

    Parameters
    ----------
    target : Path
        Folder of the projector.
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The pair with it.
    systems : mapping of str to callable
        What `asrscope_recipe.comparison.systems_beside` returns.
    file : Path
        Parquet, with the columns ``audio``, ``text`` and ``source``.
    every : int
        Read one row in so many.
    synthetic : Path, optional
        Folder of the held-out sets that `asrscope_recipe.corpus.make_corpus` wrote.
    recordings : Path, optional
        Folder of single digits spoken by people, see `asrscope_recipe.comparison.spoken_digits`.
    transcripts : iterable of str
        What people said in training.

    Returns
    -------
    dict
        What `asrscope_recipe.card.write_model_card` takes; `json.dumps` can write it. ``sources``: for each,
        and for all together, the rates of each system; ``synthetic``: those on each held-out set;
        ``familiar``: the words that training said at least so often, fewer times than in the next part, and
        how many of them each system has wrong; and what stands in every card.

    Raises
    ------
    OSError, ValueError
        If there are no rows or no held-out sets, or a clip cannot be read.
    """
    sources, sets = read_sources(file, every), held_out_sets(synthetic) if synthetic else {}
    digits = spoken_digits(recordings) if recordings else ()
    heard, spoken = listen(systems, sources), listen(systems, sets)
    everything = together(heard)
    return {
        "sources": _rates({**heard, TOGETHER: everything}),
        "every": every,
        "synthetic": _rates({**spoken, TOGETHER: together(spoken)}) if spoken else {},
        "familiar": _by_familiarity(everything, transcripts),
        "from": {part.part: part.source for part in provenance_of(loaded[0])},
        **_in_every_card(target, loaded, everything, listen(systems, {"digits": digits})["digits"]),
    }


def _in_every_card(
    target: Path, loaded: Loaded, heard: Mapping[str, Evaluation], digits: Mapping[str, Evaluation]
) -> dict[str, Any]:
    """Say what every card states: who heard how much in what time, digits, sizes, the machine."""
    weights = target / "model.safetensors"
    return {
        "systems": list(heard),
        "audio_seconds": sum(result.audio_seconds for result in next(iter(heard.values())).results),
        "seconds": {name: sum(result.seconds for result in one.results) for name, one in heard.items()},
        "digits": _right(digits),
        "weights": {"bytes": weights.stat().st_size, "sha256": sha256_of([weights])},
        "parameters": {part.part: part.parameters for part in provenance_of(loaded[0])},
        "normalizer": NORMALIZER,
        "machine": _machine(),
    }


def _right(digits: Mapping[str, Evaluation]) -> dict[str, Any] | None:
    """Count the digits that each system got right; None if there were none."""
    clips = [result.utterance.audio for result in next(iter(digits.values())).results]
    right = {name: count_right(one) for name, one in digits.items()}
    return {"clips": len(clips), "sha256": sha256_of(clips), "right": right} if clips else None


def read_sources(file: Path, every: int = 1) -> dict[str, list[Utterance]]:
    """Read the rows of a parquet file, all or one in ``every``: what each source holds, in the file's order.

    Raises
    ------
    ValueError
        If there is no row.
    """
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - comes with datasets

    batches = ParquetFile(file).iter_batches(64, columns=["audio", "text", "source"])
    rows = (row for batch in batches for row in batch.to_pylist())
    sources: dict[str, list[Utterance]] = {}
    for row in itertools.islice(rows, 0, None, every):
        one = Utterance(row["source"], row["audio"]["bytes"], row["text"])
        sources.setdefault(one.name, []).append(one)
    if not sources:
        raise ValueError(f"{file}: expected rows with a recording, but found none")
    return dict(sorted(sources.items()))


def count_corpus(folder: Path) -> tuple[dict[str, Any] | None, dict[str, set[str]] | None]:
    """Count what the shards of a training corpus hold.

    Parameters
    ----------
    folder : Path
        Of shards, see `asrscope_recipe.corpus.make_corpus`.

    Returns
    -------
    counted : dict or None
        Number of ``shards`` and ``utterances``, ``hours`` of speech, ``vocabulary`` (different words), number
        of ``voices`` by synthesizer, ``sha256`` of the shards' manifests. None if there is no shard.
    known : dict of str to set or None
        The ``texts``, ``words`` and ``voices`` themselves; a voice is its variant, whatever its accent.
    """
    manifests = sorted(folder.glob("*.jsonl"))
    if not manifests:
        return None, None
    # The first line of each names the phones.
    lines = [line for path in manifests for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    spoken = list(map(json.loads, lines))
    voices = {(one["synthesizer"], one["voice"]) for one in spoken}
    texts = {one["text"] for one in spoken}
    words = {word for text in texts for word in text.split()}
    counted = {
        "shards": len(manifests),
        "utterances": len(spoken),
        "hours": sum(one["frames"] for one in spoken) / FRAMES_PER_SECOND / 3600,
        "vocabulary": len(words),
        "voices": dict(sorted(Counter(synthesizer for synthesizer, _ in voices).items())),
        "sha256": sha256_of(manifests),
    }
    return counted, {"texts": texts, "words": words, "voices": {_speaker(" ".join(one)) for one in voices}}


def _rates(heard: Heard) -> dict[str, dict[str, Any]]:
    return {
        name: {who: {**one.rates(), "cer": one.character_error_rate} for who, one in by.items()}
        for name, by in heard.items()
    }


def _describe_quick(checkpoint: Path, heard: Evaluation) -> dict[str, float]:
    """Say how long a quick run took, and how much of what its model writes are words that it was taught."""
    # With its data, where the model lies beside them; else of the three stages.
    stages = [claim["made_with"].get("hours", 0.0) for claim in read_claims(checkpoint).values()]
    known = set(vocabulary())
    words = [word for result in heard.results for word in result.text.split()]
    return {
        "hours": hours(checkpoint.parent) or sum(stages),
        "known_words": sum(word in known for word in words) / max(len(words), 1),
    }


def _speed(own: str, systems: Mapping[str, Recognize]) -> dict[str, Any]:
    """Time the shipped clip that comes nearest to three seconds; the others' first use is done here, too."""
    samples = {sample.name: load_audio(sample.path) for sample in load_samples()}
    name = min(samples, key=lambda name: abs(len(samples[name]) / SAMPLE_RATE - TIMED_SECONDS))
    for recognize in systems.values():
        recognize(samples[name])
    times = timeit.repeat(lambda: systems[own](samples[name]), number=1, repeat=REPEATS)
    return {
        "clip": name,
        "audio_seconds": len(samples[name]) / SAMPLE_RATE,
        "seconds": statistics.median(times),
        "repeats": REPEATS,
        "threads": THREADS,
    }


def _by_familiarity(heard: Mapping[str, Evaluation], transcripts: Iterable[str]) -> list[dict[str, Any]]:
    said = Counter(word for text in transcripts for word in normalize(text).split())
    pairs = {name: [pair for one in each.results for pair in one.alignment] for name, each in heard.items()}
    found = []
    for low, high in itertools.pairwise((*FAMILIAR, math.inf) if said else ()):
        part = {
            name: [pair for pair in all_ if pair.reference and low <= said[pair.reference] < high]
            for name, all_ in pairs.items()
        }
        wrong = {name: sum(pair.kind != "equal" for pair in words) for name, words in part.items()}
        found.append({"said": low, "words": len(next(iter(part.values()))), "wrong": wrong})
    return found


def _describe_set(
    folder: Path, utterances: Sequence[Utterance], known: dict[str, set[str]] | None
) -> dict[str, Any]:
    """Say what a held-out set is made of, and what of it the training corpus has."""
    source, _, voices = TEST_SETS.get(folder.name, (None, None, None))
    spoken = {utterance.voice for utterance in utterances if utterance.voice}
    words = [word for utterance in utterances for word in utterance.text.split()]
    return {
        "source": source,
        "new_voices": None if voices is None else voices is HELD_OUT_VOICES,
        "voices": len(spoken),
        "voices_in_corpus": known and sum(_speaker(voice) in known["voices"] for voice in spoken),
        "sentences_in_corpus": known and len(known["texts"] & {u.text for u in utterances}),
        "words_in_corpus": known and sum(word in known["words"] for word in words) / len(words),
        "manifest_sha256": sha256_of([folder / "manifest.jsonl"]),
        "audio_sha256": sha256_of([utterance.audio for utterance in utterances]),
    }


def _speaker(voice: str) -> str:
    """Name who speaks: of ``espeak-ng en-us+linda`` the variant, whatever its accent."""
    synthesizer, _, name = voice.partition(" ")
    return f"{synthesizer} {name.rpartition('+')[2]}"


def _machine() -> dict[str, Any]:
    """Describe the machine that measured, and how busy it was with other things."""
    return {
        "processor": machine(torch.device("cpu")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "torch": version("torch"),
        "python": platform.python_version(),
    }


def sha256_of(files: Sequence[Path | bytes]) -> str:
    """Hash the bytes of files, one after the other."""
    stored = (file if isinstance(file, bytes) else file.read_bytes() for file in files)
    return hashlib.sha256(b"".join(stored)).hexdigest()
