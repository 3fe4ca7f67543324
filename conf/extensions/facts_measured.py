"""Facts that were measured: error rates, speed, and what training took, from the files beside the weights."""

import json
from pathlib import Path
from typing import Any

from facts import Fact

from asrscope_recipe.corpus import TEST_SETS
from asrscope_recipe.synthesis import HELD_OUT_VOICES

Facts = dict[str, Fact]

KINDS = ("substitutions", "insertions", "deletions")
STAGES = ("encoder", "decoder", "projector")  # in the order of training


def measured(folder: Path) -> Facts:
    """Return every measurement that a checkpoint brings with it."""
    metrics, provenance, curves = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("metrics", "provenance", "training")
    )
    return {
        **_rates_of_sets("tiny.wer", metrics["test_sets"], "metrics.json of tiny, greedy"),
        **_held_out(metrics["test_sets"]),
        **_beams(metrics.get("beam_search")),
        **_compared("random", metrics["random_projector"], "an untrained projector between the same parts"),
        **_peer(metrics["peer"]),
        **_speed(metrics["speed"], metrics["machine"]),
        **_corpus(metrics["corpus"]),
        **_training(provenance, curves),
    }


def _rates_of_sets(prefix: str, sets: dict[str, Any], source: str) -> Facts:
    facts = {}
    for name, result in sets.items():
        facts |= _rates(f"{prefix}.{name}", result, f"{source}, test set {name}")
    return facts


def _rates(name: str, result: dict[str, Any], source: str) -> Facts:
    """Return a word error rate as a fraction and in percent, with its interval, counts and characters."""
    low, high = result["wer_low"], result["wer_high"]
    told = f"{source}: {result['utterances']} clips, 95 % interval {low:.2f} to {high:.2f}"
    return {
        name: Fact(result["wer"], told, ".2f"),
        f"{name}.percent": Fact(100 * result["wer"], told, ".1f"),
        f"{name}.low": Fact(low, f"{source}: lower end of the 95 % interval", ".2f"),
        f"{name}.high": Fact(high, f"{source}: upper end of the 95 % interval", ".2f"),
        f"{name}.interval": Fact(f"{low:.2f} to {high:.2f}", f"{source}: 95 % bootstrap interval of the WER"),
        f"{name}.cer": Fact(result["cer"], f"{source}: character error rate", ".2f"),
        f"{name}.words": Fact(result["words"], f"{source}: words of the references"),
        f"{name}.utterances": Fact(result["utterances"], f"{source}: clips"),
        **{f"{name}.{kind}": Fact(result[kind], f"{source}: {kind}") for kind in KINDS},
    }


def _held_out(sets: dict[str, Any]) -> Facts:
    """Return the word error rate over all voices that no training heard."""
    held_out = [name for name, (_, _, voices) in TEST_SETS.items() if voices is HELD_OUT_VOICES]
    errors = sum(sets[name][kind] for name in held_out for kind in KINDS)
    words = sum(sets[name]["words"] for name in held_out)
    source = f"metrics.json of tiny: {errors} errors in {words} words of the test sets {', '.join(held_out)}"
    return {"tiny.wer.heldout": Fact(errors / words, source, ".2f")}


def _beams(result: dict[str, Any] | None) -> Facts:
    if result is None:
        return {}
    source = f"metrics.json of tiny, {result['beams']} beams"
    return {
        "tiny.beams": Fact(
            result["beams"], "metrics.json of tiny: beams of the search beside the greedy one"
        ),
        **_rates_of_sets("tiny.beams.wer", result["test_sets"], source),
    }


def _compared(name: str, result: dict[str, Any], what: str) -> Facts:
    """Return the rates of two systems on the same clips."""
    both = result["together"]
    return {
        **_rates(f"{name}.wer", both["other"], f"metrics.json of tiny: {what}, all sets together"),
        **_rates(f"{name}.wer.tiny", both["own"], f"metrics.json of tiny: tiny on the clips of {name}"),
    }


def _peer(result: dict[str, Any] | None) -> Facts:
    if result is None:
        return {}
    name = result["name"]
    source = f"metrics.json of tiny: {name} {result['version']} on the same clips"
    return {
        "peer.name": Fact(name, "metrics.json of tiny: the recognizer that tiny was measured beside"),
        "peer.megabytes": Fact(result["model_bytes"] / 1e6, f"{source}, size of its model in MB", ".0f"),
        "peer.times_slower": Fact(result["times_faster"], f"{source}, its time over that of tiny", ".1f"),
        **_compared("peer", result, source),
    }


def _speed(speed: dict[str, Any], machine: dict[str, Any]) -> Facts:
    where = f"{machine['processor']}, {speed['threads']} thread, torch {machine['torch']}"
    source = f"metrics.json of tiny: median of {speed['repeats']} runs on {where}"
    return {
        "tiny.speed.audio_seconds": Fact(speed["audio_seconds"], f"length of {speed['clip']}", ".1f"),
        "tiny.speed.seconds": Fact(speed["seconds"], source, ".2f"),
        "tiny.speed.times_real_time": Fact(
            speed["audio_seconds"] / speed["seconds"], f"{source}: length of the clip / time taken", ".0f"
        ),
        "tiny.speed.machine": Fact(where, "metrics.json of tiny: the machine that measured"),
    }


def _corpus(corpus: dict[str, Any] | None) -> Facts:
    if corpus is None:
        return {}
    source = "metrics.json of tiny: counted in the training corpus"
    return {
        "tiny.corpus.hours": Fact(corpus["hours"], f"{source}, hours of speech", ".0f"),
        "tiny.corpus.utterances": Fact(corpus["utterances"], f"{source}, utterances"),
        "tiny.corpus.vocabulary": Fact(corpus["vocabulary"], f"{source}, different words"),
        "tiny.corpus.voices": Fact(sum(corpus["voices"].values()), f"{source}, voices"),
    }


def _training(provenance: dict[str, Any], curves: dict[str, Any]) -> Facts:
    """Return steps, time and recipe of each stage; what a recipe does not record is no fact."""
    facts: Facts = {}
    hours = {}
    for stage in STAGES:
        made = provenance[stage]["made_with"]
        source = f"provenance.json of tiny: {stage}"
        name = f"tiny.training.{stage}"
        recorded = {
            "steps": (made.get("steps"), "steps", ""),
            "hours": (made.get("hours"), "hours on the machine that trained it", ".2f"),
            "minutes": (60 * made["hours"] if "hours" in made else None, "minutes", ".0f"),
            "utterances": (made.get("utterances"), "utterances seen, repeats counted", ""),
            "learning_rate": (made.get("learning_rate"), "highest learning rate", "g"),
            "threads": (made.get("threads"), "threads of torch", ""),
            "machine": (made.get("machine"), "processor", ""),
        }
        facts |= {
            f"{name}.{key}": Fact(value, f"{source}, {what}", form)
            for key, (value, what, form) in recorded.items()
            if value is not None
        }
        if "hours" in made:
            hours[stage] = made["hours"]
        losses = curves.get(stage, {}).get("curve", {}).get("loss", [])
        if losses:
            told = f"training.json of tiny: {stage}, mean of the {{}} stretch of the loss curve"
            facts[f"{name}.first_loss"] = Fact(losses[0], told.format("first"), ".2f")
            facts[f"{name}.last_loss"] = Fact(losses[-1], told.format("last"), ".2f")
    if len(hours) == len(STAGES):
        facts["tiny.training.hours"] = Fact(
            sum(hours.values()), "provenance.json of tiny: hours of all three stages", ".1f"
        )
    return facts
