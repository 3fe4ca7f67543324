"""Measure a pair on recordings of people, beside others that hear the same, and write its model card."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope.encoder import encode
from asrscope.loading.presets import Loaded, load, untrained
from asrscope.projector import AudioProjector
from asrscope.recognition.evaluate import Recognize, read_utterances
from asrscope.recognition.metrics import (
    NORMALIZER,
    WordErrors,
    bootstrap_interval,
    normalize,
    total_errors,
    word_errors,
)
from asrscope.recognition.transcribe import transcribe
from asrscope.saving.provenance import provenance_of, read_claims
from asrscope.training.finished import read_projector
from asrscope.training.projector import read_nearest
from asrscope.training.run import machine
from asrscope_recipe.card import fill_card, put_card
from asrscope_recipe.comparison import load_peer, spoken_digits

__all__ = ["measure_people", "read_rows", "systems_beside", "write_card"]

Waveform = Float32[np.ndarray, " samples"]
Rows = Iterable[tuple[str, str, Waveform]]


def read_rows(file: Path, every: int = 1) -> Iterator[tuple[str, str, Waveform]]:
    """Read source, text and sound of the rows of a parquet file, in its order: all, or one in ``every``."""
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - comes with datasets

    number = 0
    for batch in ParquetFile(file).iter_batches(64, columns=["audio", "text", "source"]):
        for row in batch.to_pylist():
            if number % every == 0:
                sound = load_audio(row["audio"]["bytes"], on_warning=lambda _: None)
                yield row["source"], row["text"], sound
            number += 1


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
        between the same parts are always among them; so are the decoder without the projector's vote, and the
        projector by itself, read by its nearest tokens, if there is a vote and if its output is bound.
    """

    def by(pair: Loaded) -> Recognize:
        return lambda waveform: transcribe(*pair, waveform).text

    model, processor = loaded
    systems = {name: by(loaded), "tiny": by(load("tiny"))}
    if model.multi_modal_projector.ctc_weight:
        systems["the decoder alone"] = _unvoted(loaded)
    systems["a random projector"] = by((untrained(model), processor))
    if model.multi_modal_projector.binding is not None:
        systems["the nearest tokens alone"] = _nearest(loaded, model.multi_modal_projector)
    if warm is not None:
        systems["the warm start alone"] = _nearest(loaded, read_projector(warm, model))
    if whisper is not None:
        systems["Whisper's own decoder"] = _whisper(whisper)
    if peer is not None:
        systems[peer] = load_peer(peer).recognize
    return systems


def _unvoted(loaded: Loaded) -> Recognize:
    projector = loaded[0].multi_modal_projector

    def recognize(waveform: Waveform) -> str:
        weight, projector.ctc_weight = projector.ctc_weight, 0.0
        try:
            return transcribe(*loaded, waveform).text
        finally:
            projector.ctc_weight = weight

    return recognize


def _nearest(loaded: Loaded, projector: AudioProjector) -> Recognize:
    model, processor = loaded
    table = model.get_input_embeddings().get_parameter("weight")

    @torch.inference_mode()
    def recognize(waveform: Waveform) -> str:
        features = torch.from_numpy(processor.features(waveform))[None]
        hidden = encode(model.audio_tower, features)[0].float().numpy()
        return read_nearest(projector, table, hidden, processor.tokenizer)

    return recognize


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
    report: Callable[..., None] = lambda *_, **__: None,
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
    report : callable, optional
        Called as ``report(None, *lines)`` after each recording.

    Returns
    -------
    dict
        ``sources``: for each, and for all together, the rates of each system; ``seconds`` that each took for
        ``audio_seconds`` of speech; ``synthetic``: the rates for each held-out set; ``digits``: how many of
        them each got right.
    """
    seconds = dict.fromkeys(systems, 0.0)
    sources, heard = _measure(systems, read_rows(file, every), seconds, report)
    if not heard:
        raise ValueError(f"{file}: expected rows with a recording, but found none")
    sets, _ = _measure(systems, _read_sets(synthetic) if synthetic else (), {}, report)
    if synthetic and not sets:
        raise ValueError(f"{synthetic}: expected folders of held-out sets, each with a manifest.jsonl")
    digits = spoken_digits(recordings) if recordings else ()
    right = {
        name: sum(normalize(recognize(load_audio(one.audio))) == normalize(one.text) for one in digits)
        for name, recognize in systems.items()
    }
    return {
        "systems": list(systems),
        "sources": sources,
        "every": every,
        "audio_seconds": round(heard, 1),
        "seconds": {name: round(spent, 1) for name, spent in seconds.items()},
        "synthetic": sets,
        "digits": {"clips": len(digits), "right": right} if digits else None,
        "normalizer": NORMALIZER,
        "machine": machine(torch.device("cpu")),
        "threads": torch.get_num_threads(),
    }


def _read_sets(folder: Path) -> Rows:
    for manifest in sorted(folder.glob("*/manifest.jsonl")):
        for utterance in read_utterances(manifest):
            yield manifest.parent.name, utterance.text, load_audio(utterance.audio)


def _measure(
    systems: Mapping[str, Recognize], rows: Rows, seconds: dict[str, float], report: Callable[..., None]
) -> tuple[dict[str, Any], float]:
    errors: dict[str, dict[str, list[WordErrors]]] = {}
    heard = 0.0
    for source, text, waveform in rows:
        heard += len(waveform) / SAMPLE_RATE
        for name, recognize in systems.items():
            begin = time.perf_counter()
            written = recognize(waveform)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin
            for of in (source, "together"):
                errors.setdefault(of, {}).setdefault(name, []).append(word_errors(text, written))
        report(None)
    found = {
        source: {name: _rates(each) for name, each in errors[source].items()}
        for source in sorted(errors, key=lambda source: (source == "together", source))
    }
    return found, heard


def _rates(each: list[WordErrors]) -> dict[str, Any]:
    low, high = bootstrap_interval(each)
    summed = total_errors(each)
    return {"wer": summed.rate, "low": low, "high": high, "clips": len(each), **asdict(summed)}


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
