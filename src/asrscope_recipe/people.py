"""Measure a pair on recordings of people, beside others that hear the same, and write its model card."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from jaxtyping import Float32
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

from asrscope.audio import SAMPLE_RATE
from asrscope.encoder import encode, lead_positions
from asrscope.loading import Loaded, load, untrained
from asrscope.projector import AudioProjector
from asrscope.recognition.metrics import (
    NORMALIZER,
    Evaluation,
    Recognize,
    Utterance,
    bootstrap_interval,
    normalize,
    read_utterances,
)
from asrscope.recognition.transcribe import transcribe
from asrscope.saving.provenance import provenance_of, read_claims
from asrscope.training.finished import read_projector
from asrscope.training.projector import read_letters, read_nearest
from asrscope.training.run import machine
from asrscope_recipe.card import fill_card, put_card
from asrscope_recipe.comparison import count_right, listen, load_peer, spoken_digits, transcriber

__all__ = ["measure_people", "read_rows", "systems_beside", "write_card"]

Waveform = Float32[np.ndarray, " samples"]
Hidden = Float32[np.ndarray, "positions encoder_dim"]
FAMILIAR = (0, 1, 5, 20, 100)  # how often people said a word in training: the least of each part


def read_rows(file: Path, every: int = 1) -> Iterator[Utterance]:
    """Read the rows of a parquet file, named by their source, in its order: all, or one in ``every``."""
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - comes with datasets

    batches = ParquetFile(file).iter_batches(64, columns=["audio", "text", "source"])
    rows = (row for batch in batches for row in batch.to_pylist())
    for row in itertools.islice(rows, 0, None, every):
        yield Utterance(row["source"], row["audio"]["bytes"], row["text"])


def systems_beside(
    name: str,
    loaded: Loaded,
    *,
    warm: Path | None = None,
    whisper: Path | None = None,
    peer: str | None = None,
) -> dict[str, Recognize]:
    """Name what is to hear the recordings.

    Parameters
    ----------
    name : str
        What to call the model that is measured.
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model.
    warm : Path, optional
        Folder of a projector after the warm start: it is read without the decoder, too.
    whisper : Path, optional
        Folder of the whole Whisper model that the encoder comes from, with its own decoder.
    peer : str, optional
        Another recognizer, see `asrscope_recipe.comparison.load_peer`.

    Returns
    -------
    dict of str to callable
        Each takes a waveform, shape (samples,), 16 kHz, and returns text. ``tiny`` and a random projector
        between the same parts are always among them. If the projector has a vote, so are the decoder without
        it; if its output is bound, the projector read by its nearest tokens; if it has a speller, the pair
        without it, and the letters that it hears, without a decoder; if the encoder hears a silence ahead of
        each clip, the pair without that.
    """
    model, processor = loaded
    systems = {name: transcriber(loaded), "tiny": transcriber(load("tiny"))}
    projector = model.multi_modal_projector
    if projector.ctc_weight:
        systems["the decoder alone"] = _changed(loaded, projector, ctc_weight=0.0)
    systems["a random projector"] = transcriber((untrained(model), processor))
    if projector.binding is not None:
        systems["the nearest tokens alone"] = _read(loaded, partial(_nearest, loaded, projector))
    if projector.speller is not None:
        systems["without letters"] = _changed(loaded, projector, speller=None)
        systems["the letters alone"] = _read(loaded, partial(read_letters, projector))
    if lead_positions(model.audio_tower.config):
        systems["no silence ahead"] = _changed(loaded, model.audio_tower.config, lead_positions=0)
    if warm is not None:
        after = read_projector(warm, model)
        systems["the warm start alone"] = _read(loaded, partial(_nearest, loaded, after))
    if whisper is not None:
        systems["Whisper's own decoder"] = _whisper(whisper)
    if peer is not None:
        systems[peer] = load_peer(peer).recognize
    return systems


def _changed(loaded: Loaded, part: object, **changes: Any) -> Recognize:
    """Let a pair recognize with other attributes of one of its parts."""

    def recognize(waveform: Waveform) -> str:
        with patch.multiple(part, **changes):
            return transcribe(*loaded, waveform).text

    return recognize


def _read(loaded: Loaded, read: Callable[[Hidden], str]) -> Recognize:
    """Let something read the encoder's output without a decoder."""
    model, processor = loaded

    @torch.inference_mode()
    def recognize(waveform: Waveform) -> str:
        features = torch.from_numpy(processor.features(waveform))[None]
        return read(encode(model.audio_tower, features)[0].float().numpy())

    return recognize


def _nearest(loaded: Loaded, projector: AudioProjector, hidden: Hidden) -> str:
    table = loaded[0].get_input_embeddings().get_parameter("weight")
    return read_nearest(projector, table, hidden, loaded[1].tokenizer)


def _whisper(folder: Path) -> Recognize:
    model = WhisperForConditionalGeneration.from_pretrained(folder).float().eval()
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def recognize(waveform: Waveform) -> str:
        features = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        ids = model.generate(features, max_new_tokens=200, do_sample=False)
        return str(tokenizer.decode(ids[0], skip_special_tokens=True))

    return recognize


def measure_people(
    systems: Mapping[str, Recognize],
    file: Path,
    *,
    every: int = 1,
    synthetic: Path | None = None,
    recordings: Path | None = None,
    transcripts: Iterable[str] = (),
) -> dict[str, Any]:
    """Let each system hear each recording, one directly after the other.

    Parameters
    ----------
    systems : mapping of str to callable
        What `systems_beside` returns.
    file : Path
        Parquet, with the columns ``audio``, ``text`` and ``source``.
    every : int
        Read one row in so many.
    synthetic : Path, optional
        Folder of the held-out sets that `asrscope_recipe.corpus.make_test_sets` wrote.
    recordings : Path, optional
        Folder of single digits spoken by people, see `asrscope_recipe.comparison.spoken_digits`.
    transcripts : iterable of str
        What people said in training.

    Returns
    -------
    dict
        ``sources``: for each, and for all together, the rates of each system; ``seconds`` that each took for
        ``audio_seconds`` of speech; ``synthetic``: the rates for each held-out set; ``digits``: how many of
        them each got right; ``familiar``: the words that training said at least so often, fewer times than in
        the next part, and how many of them each system has wrong.
    """
    heard = listen(systems, read_rows(file, every))
    own = next(iter(heard.values()))
    if not own.results:
        raise ValueError(f"{file}: expected rows with a recording, but found none")
    sets = listen(systems, _read_sets(synthetic) if synthetic else ())
    if synthetic and not next(iter(sets.values())).results:
        raise ValueError(f"{synthetic}: expected folders of held-out sets, each with a manifest.jsonl")
    digits = spoken_digits(recordings) if recordings else ()
    right = {name: count_right(one) for name, one in listen(systems, digits).items()}
    return {
        "systems": list(systems),
        "sources": _by_source(heard),
        "every": every,
        "audio_seconds": round(sum(result.audio_seconds for result in own.results), 1),
        "seconds": {
            name: round(sum(result.seconds for result in one.results), 1) for name, one in heard.items()
        },
        "synthetic": _by_source(sets) if synthetic else {},
        "digits": {"clips": len(digits), "right": right} if digits else None,
        "familiar": _by_familiarity(heard, transcripts),
        "normalizer": NORMALIZER,
        "machine": machine(torch.device("cpu")),
        "threads": torch.get_num_threads(),
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


def _read_sets(folder: Path) -> Iterator[Utterance]:
    for manifest in sorted(folder.glob("*/manifest.jsonl")):
        for utterance in read_utterances(manifest):
            yield replace(utterance, name=manifest.parent.name)


def _by_source(heard: Mapping[str, Evaluation]) -> dict[str, dict[str, Any]]:
    """Give the rates of each system for each source, and for all of them together."""
    parts = {name: every.by(lambda one: one.name) | {"together": every} for name, every in heard.items()}
    sources = [*sorted(set(next(iter(parts.values()))) - {"together"}), "together"]
    return {source: {name: _rates(part[source]) for name, part in parts.items()} for source in sources}


def _rates(part: Evaluation) -> dict[str, Any]:
    low, high = bootstrap_interval([result.errors for result in part.results])
    clips = len(part.results)
    return {"wer": part.errors.rate, "low": low, "high": high, "clips": clips, **asdict(part.errors)}


def write_card(target: Path, loaded: Loaded, metrics: Mapping[str, Any]) -> Path:
    """Write ``metrics.json`` and the model card into the folder of a projector.

    Parameters
    ----------
    target : Path
        What `asrscope.training.finished.write_model` wrote; its ``provenance.json`` is read.
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model, whose parameters are counted.
    metrics : mapping
        What `measure_people` returned.

    Returns
    -------
    Path
        The card, ``README.md``.
    """
    made = read_claims(target)["projector"]["made_with"]
    stages = [made]
    while stages[0].get("started_from"):
        stages.insert(0, stages[0]["started_from"])
    weights = target / "model.safetensors"
    card = fill_card(
        "people.md.jinja",
        name=target.resolve().name,
        m=metrics,
        made=made,
        stages=stages,
        megabytes=weights.stat().st_size / 1e6,
        parts=provenance_of(loaded[0]),
    )
    return put_card(target, card, metrics)
