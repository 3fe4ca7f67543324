"""Studies of the projector, too long for a page: what each of its choices does, and how it learns.

Each trains projectors between one frozen encoder and decoder, which differ in one choice. For the first two
they begin with random weights; of the unchanged variant some steps are looked at, too. The third goes on from
one warm start through a decoder that others published, in four ways. What comes out is data with its
provenance, which the package ships and the gallery draws.
"""

import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tqdm import tqdm

import asrscope
from asrscope.audio.samples import load_samples
from asrscope.cli.console import followed
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.loading import Loaded
from asrscope.projector import AudioProjector
from asrscope.recognition.metrics import bootstrap_interval, total_errors
from asrscope.saving import write_text
from asrscope.saving.provenance import provenance_of
from asrscope.scope.tracing import trace
from asrscope.training.batches import ProjectorRecipe
from asrscope.training.curves import read_log
from asrscope.training.encodings import Clip, cache_encodings, load_encodings
from asrscope.training.finished import read_projector
from asrscope.training.projector import train_projector
from asrscope.training.run import machine
from asrscope_recipe.corpus import Clips, load_shards, read_held_out
from asrscope_recipe.measuring import sha256_of
from asrscope_recipe.writing import count_errors

__all__ = ["BRIDGES", "STUDIES", "compare_bridges", "load_study", "make_studies", "variants"]

STUDIES = Path(asrscope.__file__).parent / "data" / "studies"
STACK_FACTORS = (1, 2, 4, 5, 8)
SHARDS = 6  # of the training corpus, the first ones, each clip once
HELD_OUT = 50  # clips of each held-out set, the first ones
KEPT = (0, 10, 20, 30, 40, 60, 100)  # steps that are looked at: close together where most is learned
# How audio tokens may stand before a decoder that never saw any, and how it is asked for a transcript.
BRIDGES: dict[str, dict[str, Any]] = {
    f"{output}, {asked}": {"output": output} | prompt
    for output in ("bound", "free")
    for asked, prompt in (("learned prompt", {}), ("written prompt", {"prompt_vectors": 0}))
}


def variants(base: ProjectorRecipe, encoder_dim: int, decoder_dim: int) -> dict[str, ProjectorRecipe]:
    """List what is compared: the recipe, other stack factors, no norms, no gate.

    Parameters
    ----------
    base : ProjectorRecipe
        The recipe that all others change in one place.
    encoder_dim, decoder_dim : int
        Widths of encoder output and decoder embeddings.

    Returns
    -------
    dict of str to ProjectorRecipe
        By name. The MLP without a gate is as much wider as gives it as many weights.
    """
    base = replace(base, batches_of=base.stack_factor)  # all see the same clips
    found = {
        f"k = {factor}": replace(base, stack_factor=factor)
        for factor in sorted({*STACK_FACTORS, base.stack_factor})
    }
    found["no norm"] = replace(base, norm="none")
    stacked = base.stack_factor * encoder_dim
    wider = round(base.hidden_size * (2 * stacked + decoder_dim) / (stacked + decoder_dim))
    return found | {"no SwiGLU": replace(base, mlp="gelu", hidden_size=wider)}


def make_studies(loaded: Loaded, cache: Path, base: ProjectorRecipe, out: Path | None = None) -> list[Path]:
    """Train the variants between the encoder and the decoder of one model, measure them, write both studies.

    Training goes on where it was stopped. Other weights, and another recipe, have another folder.

    Parameters
    ----------
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model that lends its encoder and its decoder; its projector is changed.
    cache : Path
        Holds ``shards`` and ``test``, see `asrscope_recipe.corpus`, and gets ``studies``.
    base : ProjectorRecipe
        Of the unchanged variant.
    out : Path, optional
        Gets ``ablations.json`` and ``milestones.json``; default: the folder of the projectors.

    Returns
    -------
    list of Path
        The two files.

    Raises
    ------
    FileNotFoundError
        If there are no shards or no held-out sets.
    ValueError
        If the projector of the recipe is not built as the model's own.
    """
    network, processor = loaded
    own, asked = network.config.projector_settings, vars(base)
    if changed := [key for key in own if asked.get(key, own[key]) != own[key]]:
        raise ValueError(f"expected the model's own {', '.join(changed)}: the variants change them, in turn")
    encoder, projector = network.audio_tower, network.multi_modal_projector
    marks = [*_frozen_parts(loaded).values(), hashlib.sha256(repr(base).encode()).hexdigest()]
    folder = cache / "studies" / "-".join(digest[:8] for digest in marks)
    spoken = Clips.of_shards(load_shards(cache / "shards", SHARDS))
    cache_encodings(encoder, spoken, folder / "encodings", copies=base.copies)
    unheard = read_held_out(cache / "test", encoder.config.num_mel_bins, HELD_OUT)
    cache_encodings(encoder, unheard, folder / "held-out")
    held_out = load_encodings(folder / "held-out")

    unchanged, kept = f"k = {base.stack_factor}", (*(step for step in KEPT if step < base.steps), base.steps)
    recipes = variants(base, encoder.config.d_model, network.config.text_config.hidden_size)
    ablations = {}
    looked_at: dict[str, Any] = {"start": None, "keep": {unchanged: kept}}
    for name, done, made in _trained(loaded, [folder / "encodings"], folder, recipes, **looked_at):
        trained, recipe = read_projector(done, network), recipes[name]
        heard = made.pop("trained_on")  # the same in all
        ablations[name] = {
            **{key: getattr(recipe, key) for key in ("stack_factor", "hidden_size", "norm", "mlp")},
            "parameters": sum(parameter.numel() for parameter in trained.parameters()),
            "audio_tokens_per_second": 1 / (recipe.stack_factor * SECONDS_PER_POSITION),
            **made,
            **_errors(trained, loaded, held_out),
        }

    samples, milestones = load_samples(), []
    for step in tqdm(kept, "the projector on its way", disable=None):
        projector.load_state_dict(load_file(_place(folder, unchanged) / "kept" / f"{step:06d}.safetensors"))
        clips = {}
        for sample in samples:
            seen = trace(network, processor, sample.path)
            clips[sample.name] = {
                "text": seen.text,
                "nearest": [texts[0] for texts in seen.nearest_texts],
                "cosines": [round(float(cosine), 3) for cosine in seen.nearest_cosines[:, 0]],
            }
        milestones.append({"step": step, **_errors(projector, loaded, held_out), "clips": clips})

    shards = sorted((cache / "shards").glob("*.jsonl"))[:SHARDS]
    about = {
        **_about(loaded, "studies", base, heard | {"sha256": sha256_of(shards)}),
        "stack_factor": base.stack_factor,
        "held_out": dict(Counter(clip.id.split("/")[0] for clip in held_out)),
    }
    texts = {sample.name: sample.text for sample in samples}
    return [
        _write(out or folder, "ablations", {**about, "unchanged": unchanged, "variants": ablations}),
        _write(out or folder, "milestones", {**about, "clips": texts, "milestones": milestones}),
    ]


def _errors(projector: AudioProjector, loaded: Loaded, clips: Sequence[Clip]) -> dict[str, Any]:
    """Count the errors on the held-out clips: in all, and of each clip for `WordErrors`."""
    each = count_errors(projector, loaded, clips)
    summed = total_errors(each)
    return {
        "wer": round(summed.rate, 4),
        "interval": [round(bound, 4) for bound in bootstrap_interval(each)],
        "words": summed.words,
        "counts": [astuple(one) for one in each],
    }


def compare_bridges(
    loaded: Loaded, encodings: Sequence[Path], folder: Path, recipe: ProjectorRecipe, start: Path
) -> Path:
    """Train a projector through the frozen decoder in each way of `BRIDGES`, from the same clips; no CTC.

    As many positions each: a learned prompt takes some, so fewer clips are heard with it.

    Parameters
    ----------
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The pair that lends its decoder.
    encodings : sequence of Path
        What `asrscope.training.encodings.cache_encodings` wrote.
    folder : Path
        Gets a folder for each way, and ``bridges.json``.
    recipe : ProjectorRecipe
        What all have in common.
    start : Path
        Folder of the projector after its warm start, from which all begin.

    Returns
    -------
    Path
        The file.
    """
    recipe = replace(recipe, ctc=0.0, ctc_weight=0.0)
    recipes = {name: replace(recipe, **changes) for name, changes in BRIDGES.items()}
    found = {
        name: made for name, _, made in _trained(loaded, encodings, folder, recipes, keep={}, start=start)
    }
    heard = [made.pop("trained_on") for made in found.values()]  # the same in all
    return _write(folder, "bridges", {**_about(loaded, "bridges", recipe, heard[0]), "variants": found})


def _place(folder: Path, name: str) -> Path:
    return folder / re.sub("[^a-z0-9]+", "-", name.lower())


def _trained(
    loaded: Loaded,
    encodings: Sequence[Path],
    folder: Path,
    recipes: Mapping[str, ProjectorRecipe],
    *,
    keep: Mapping[str, Sequence[int]],
    start: Path | None,
) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Train one projector after the other: the name, the finished one, and how it went."""
    for name, recipe in recipes.items():
        place = _place(folder, name)
        how: dict[str, Any] = {"start": start, "keep": keep.get(name, ()), "watch": followed(place)}
        done = train_projector(loaded, encodings, place, recipe, **how)
        made = json.loads((done / "recipe.json").read_text(encoding="utf-8"))
        log = read_log(place / "log.jsonl")
        curves = {"curve": _columns(log, "loss"), "held_out": _columns(log, "dev_loss")}
        kept = {key: made[key] for key in ("utterances", "precision", "trained_on")}
        yield name, done, {**kept, "seconds": log[-1]["seconds"], **curves}


def _about(loaded: Loaded, command: str, recipe: ProjectorRecipe, corpus: dict[str, Any]) -> dict[str, Any]:
    return {
        "parts": _frozen_parts(loaded),
        "plan": asdict(recipe),
        "corpus": corpus,
        "made_with": {
            "command": f"asrscope-recipe {command}",
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "machine": machine(torch.device("cpu")),
            "threads": torch.get_num_threads(),
            **{package: version(package) for package in ("asrscope", "torch", "transformers")},
        },
    }


def _frozen_parts(loaded: Loaded) -> dict[str, str]:
    """Name the encoder and the decoder that a study belongs to by the hashes of their weights."""
    return {part.part: part.sha256 for part in provenance_of(loaded[0]) if part.part != "projector"}


def _columns(log: list[dict[str, Any]], value: str) -> dict[str, list[Any]]:
    """Give the steps of a log that tell a value, and the value at each."""
    lines = [line for line in log if value in line]
    return {key: [line[key] for line in lines] for key in ("step", value)}


def _write(folder: Path, name: str, study: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.json", json.dumps(study) + "\n")
    return folder / f"{name}.json"


def load_study(name: str, folder: Path = STUDIES) -> dict[str, Any]:
    """Read a study that the package ships.

    Parameters
    ----------
    name : str
        ``"ablations"``, ``"milestones"`` or ``"bridges"``.
    folder : Path
        Where it was written.

    Returns
    -------
    dict
        The results; under ``parts`` the hashes of the encoder and the decoder that they belong to, under
        ``made_with`` command, machine, date and versions.

    Raises
    ------
    FileNotFoundError
        If there is no such study.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        found = ", ".join(sorted(file.stem for file in folder.glob("*.json"))) or "none"
        raise FileNotFoundError(
            f"{folder}: expected a study {name!r}, but found {found}. Make it with: asrscope-recipe studies"
        )
    study: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return study
