"""Measure a checkpoint for its model card: error rates, speed, size, beside others on the same clips."""

import hashlib
import json
import os
import platform
import statistics
import timeit
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope.audio.samples import load_samples
from asrscope.features import FRAMES_PER_SECOND
from asrscope.loading import load
from asrscope.recognition.metrics import NORMALIZER, Evaluation, Recognize, Utterance
from asrscope.saving.provenance import provenance_of, read_claims
from asrscope.training.run import machine
from asrscope_recipe.comparison import Peer, count_right, listen, spoken_digits, transcriber
from asrscope_recipe.corpus import TEST_SETS, held_out_sets
from asrscope_recipe.plan import hours
from asrscope_recipe.sentences import vocabulary
from asrscope_recipe.synthesis import HELD_OUT_VOICES

__all__ = ["count_corpus", "measure"]

THREADS = 1  # of torch while measuring: pocketsphinx has one, and a busy machine disturbs one least
REPEATS = 5  # of the timed clip; the median counts
TIMED_SECONDS = 3.0  # length of the clip that is timed, about
SEED = 0  # of the random projector
BEAMS = 4  # of the beam search that is measured beside greedy decoding


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
    """Measure everything that the model card states.

    A clip that several recognizers hear is given to one directly after the other, each on one thread, so that
    whatever else the machine does falls on all of them.

    Parameters
    ----------
    target : Path
        The checkpoint.
    test : Path
        Holds a folder with a ``manifest.jsonl`` for each held-out set.
    peer : Peer, optional
        Another recognizer for the same clips.
    limit : int, optional
        How many clips of each set, the first ones, the peer and the random projector get; default: all.
    recordings : Path, optional
        A folder of digits spoken by people, see `asrscope_recipe.comparison.spoken_digits`.
    corpus : Path, optional
        Folder of training shards, to be counted.
    quick : Path, optional
        A checkpoint of a quick run, measured on the same clips as the random projector.

    Returns
    -------
    dict
        What `asrscope_recipe.card.write_model_card` takes; `json.dumps` can write it.

    Raises
    ------
    OSError, ValueError
        If there are no held-out sets, or a clip cannot be read.
    """
    sets = held_out_sets(test)
    digits = spoken_digits(recordings) if recordings else ()
    loaded = model, _ = load(target)
    systems = {
        "own": transcriber(loaded),
        "beams": transcriber(loaded, BEAMS),
        "random": transcriber(load(target, random_projector=True, seed=SEED)),
    }
    if peer:
        systems["peer"] = peer.recognize
    if quick:
        systems["quick"] = transcriber(load(quick))
    counted, known = count_corpus(corpus) if corpus else (None, None)
    torch.set_num_threads(THREADS)  # to the end of the process
    speed = _speed(systems)
    heard = {name: listen(systems, utterances, limit) for name, utterances in sets.items()}
    spoken = {who: recognize for who, recognize in systems.items() if who in {"own", "peer"}}
    right = {f"{who}_right": count_right(one) for who, one in listen(spoken, digits).items()}
    weights = target / "model.safetensors"
    found: dict[str, Any] = {
        "test_sets": {
            name: _rates(by_system["own"]) | _describe_set(test / name, sets[name], known)
            for name, by_system in heard.items()
        },
        "beam_search": {
            "beams": BEAMS,
            "test_sets": {name: _rates(by_system["beams"]) for name, by_system in heard.items()},
        },
        "random_projector": {"seed": SEED, **_compared(heard, "random", limit)},
        "peer": None,
        "quick": None,
        "recordings": None,
        "speed": speed,
        "corpus": counted,
        "weights": {"bytes": weights.stat().st_size, "sha256": sha256_of([weights])},
        "held_out_voices": {
            synthesizer: sorted({name.rpartition("+")[2] for name in names})
            for synthesizer, names in HELD_OUT_VOICES.items()
        },
        "parameters": {part.part: part.parameters for part in provenance_of(model)},
        "stack_factor": model.config.stack_factor,
        "trained_seconds": model.config.trained_seconds,
        "normalizer": NORMALIZER,
        "machine": _machine(),
    }
    if peer:
        about = {key: getattr(peer, key) for key in ("name", "version", "model", "model_bytes")}
        found["peer"] = about | _compared(heard, "peer", limit)
    if quick:
        written = [result.text for one in heard.values() for result in one["quick"].results]
        # With its data, where the model lies beside them; else of the three stages.
        stages = [claim["made_with"].get("hours", 0.0) for claim in read_claims(quick).values()]
        about = {"hours": hours(quick.parent) or sum(stages), "known_words": _known_words(written)}
        found["quick"] = about | _compared(heard, "quick", limit)
    if digits:
        mark = sha256_of([utterance.audio for utterance in digits])
        found["recordings"] = {"clips": len(digits), "sha256": mark, **right}
    return found


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


def _rates(evaluation: Evaluation) -> dict[str, Any]:
    return {**evaluation.rates(), "cer": evaluation.character_error_rate}


def _known_words(texts: Sequence[str]) -> float:
    """Share of written words that are words of the training sentences, and not mere strings of letters."""
    known = set(vocabulary())
    words = [word for text in texts for word in text.split()]
    return sum(word in known for word in words) / max(len(words), 1)


def _compared(heard: dict[str, dict[str, Evaluation]], other: str, limit: int | None) -> dict[str, Any]:
    """Set the rates of the checkpoint beside those of another system on the clips that both have heard."""
    pairs = {
        name: {"own": Evaluation(by["own"].results[: len(by[other].results)]), "other": by[other]}
        for name, by in heard.items()
    }
    together = {
        who: Evaluation(tuple(result for pair in pairs.values() for result in pair[who].results))
        for who in ("own", "other")
    }
    own, others = (sum(result.seconds for result in one.results) for one in together.values())
    return {
        "limit": limit,
        "test_sets": {name: {who: _rates(one) for who, one in pair.items()} for name, pair in pairs.items()},
        "together": {who: _rates(one) for who, one in together.items()},
        "audio_seconds": sum(result.audio_seconds for result in together["own"].results),
        "own_seconds": own,
        "other_seconds": others,
        "times_faster": others / own,
        "threads": THREADS,
    }


def _speed(systems: dict[str, Recognize]) -> dict[str, Any]:
    """Time the shipped clip that comes nearest to three seconds; the others' first use is done here, too."""
    samples = {sample.name: load_audio(sample.path) for sample in load_samples()}
    name = min(samples, key=lambda name: abs(len(samples[name]) / SAMPLE_RATE - TIMED_SECONDS))
    for recognize in systems.values():
        recognize(samples[name])
    times = timeit.repeat(lambda: systems["own"](samples[name]), number=1, repeat=REPEATS)
    return {
        "clip": name,
        "audio_seconds": len(samples[name]) / SAMPLE_RATE,
        "seconds": statistics.median(times),
        "repeats": REPEATS,
        "threads": THREADS,
    }


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
        "threads": THREADS,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "torch": version("torch"),
        "python": platform.python_version(),
    }


def sha256_of(files: Sequence[Path | bytes]) -> str:
    """Hash the bytes of files, one after the other."""
    stored = (file if isinstance(file, bytes) else file.read_bytes() for file in files)
    return hashlib.sha256(b"".join(stored)).hexdigest()
