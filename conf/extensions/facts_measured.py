"""Facts that were measured of the models, from the files beside their weights."""

import json
from pathlib import Path
from typing import Any

from facts_systems import Facts


def measured(folder: Path) -> Facts:
    """Return the measurements that a checkpoint brings with it."""
    metrics, provenance, curves = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("metrics", "provenance", "training")
    )
    source = "metrics.json of tiny"
    sets, beams, corpus = metrics["test_sets"], metrics["beams"], metrics["corpus"]
    weights = folder / "model.safetensors"
    configuration = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    facts = {
        "tiny.trained_seconds": (configuration["trained_seconds"], "configuration: trained_seconds", "g"),
        "tiny.size_mb": (weights.stat().st_size / 1e6, f"size of {weights.name}, in MB", ".1f"),
        "random.wer": (
            metrics["compared"]["together"]["a random projector"]["wer"],
            f"{source}: an untrained projector between the same parts, all sets together",
            ".2f",
        ),
        "peer.name": (metrics["peer"]["name"], f"{source}: the recognizer that tiny was measured beside"),
        "tiny.beams": (beams, f"{source}: beams of the search beside the greedy one"),
        "tiny.beams.wer.hand-written": (
            sets["hand-written"]["beam search"]["wer"],
            f"{source}, {beams} beams: hand-written",
            ".2f",
        ),
        "tiny.corpus.hours": (corpus["hours"], f"{source}: hours of speech in the training corpus", ".0f"),
        "tiny.corpus.utterances": (corpus["utterances"], f"{source}: utterances in the training corpus"),
    }
    for name, results in sets.items():
        facts |= _rates(f"tiny.wer.{name}", results["tiny"], f"{source}, greedy, test set {name}")
    for stage in ("encoder", "decoder", "projector"):  # in the order of training
        made = provenance[stage]["made_with"]
        losses = curves[stage]["curve"]["loss"]
        name, recipe = f"tiny.training.{stage}", f"provenance.json of tiny: {stage}"
        told = f"training.json of tiny: {stage}, mean of the {{}} stretch of the loss curve"
        facts |= {
            f"{name}.steps": (made["steps"], f"{recipe}, steps"),
            f"{name}.hours": (made["hours"], f"{recipe}, hours on the machine that trained it", ".2f"),
            f"{name}.utterances": (made["utterances"], f"{recipe}, utterances seen, repeats counted"),
            f"{name}.first_loss": (losses[0], told.format("first"), ".2f"),
            f"{name}.last_loss": (losses[-1], told.format("last"), ".2f"),
        }
    return facts


def _rates(name: str, result: dict[str, Any], source: str) -> Facts:
    """Return a word error rate with its interval, counts and characters."""
    low, high = result["wer_low"], result["wer_high"]
    return {
        name: (result["wer"], f"{source}: {result['utterances']} clips", ".2f"),
        f"{name}.interval": (f"{low:.2f} to {high:.2f}", f"{source}: 95 % bootstrap interval of the WER"),
        f"{name}.cer": (result["cer"], f"{source}: character error rate", ".2f"),
        f"{name}.words": (result["words"], f"{source}: words of the references"),
        f"{name}.utterances": (result["utterances"], f"{source}: clips"),
    }


def heard_people(folder: Path) -> Facts:
    """Return how many words each system has wrong in what people said, all sources together."""
    sources = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["sources"]
    systems = {
        "small": "small",
        "small.unvoted": "the decoder alone",
        "tiny": "tiny",
        "whisper": "Whisper's own decoder",
    }
    facts = {}
    for name, system in systems.items():
        result = sources["together"][system]
        told = f"metrics.json of small: {system} on {result['utterances']} recordings of people"
        facts[f"{name}.wer.people"] = (result["wer"], told, ".2f")
    return facts
