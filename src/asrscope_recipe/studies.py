"""Studies of the projector, too long for a page: what each of its choices does, and how it learns.

Two train projectors from random weights between the frozen encoder and decoder of one model. The first
changes one setting at a time. The second keeps the projector at some steps of the unchanged variant. A third
goes on from one warm start through a decoder that others published, in four ways. What comes out is data with
its provenance, which the package ships and the gallery draws.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
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
from asrscope.loading import Loaded, load
from asrscope.projector import AudioProjector
from asrscope.recognition.metrics import bootstrap_interval, total_errors
from asrscope.saving import write_text
from asrscope.saving.provenance import provenance_of
from asrscope.scope.tracing import trace
from asrscope.training.batches import ProjectorRecipe, recipe_for
from asrscope.training.curves import read_log
from asrscope.training.encodings import Clip, cache_encodings, load_encodings
from asrscope.training.finished import read_projector
from asrscope.training.projector import train_projector
from asrscope.training.run import machine
from asrscope_recipe.corpus import Clips, load_shards, read_held_out
from asrscope_recipe.measuring import sha256_of
from asrscope_recipe.writing import count_errors

__all__ = ["BRIDGES", "STUDIES", "StudyPlan", "compare_bridges", "load_study", "make_studies", "variants"]

STUDIES = Path(asrscope.__file__).parent / "data" / "studies"
STACK_FACTORS = (1, 2, 4, 5, 8)
KEPT = (0, 10, 20, 30, 40, 60, 100)
SAVE_EVERY = 50  # steps
# How audio tokens may stand before a decoder that never saw any, and how it is asked for a transcript.
BRIDGES: dict[str, dict[str, Any]] = {
    f"{output}, {asked}": {"output": output} | prompt
    for output in ("bound", "free")
    for asked, prompt in (("learned prompt", {}), ("written prompt", {"prompt_vectors": 0}))
}


@dataclass(frozen=True)
class StudyPlan:
    """How much a study trains and measures.

    Parameters
    ----------
    shards : int
        Parts of the training corpus, the first ones, each clip once.
    held_out : int
        Clips of each held-out set, the first ones.
    steps, positions_per_batch : int
        Of every variant; positions are those of the unchanged variant, so that all see the same clips.
    learning_rate : float
        Highest learning rate.
    seed : int
        Of weights and order.
    precision : str
        See `asrscope.training.run.Recipe`.
    """

    shards: int = 6
    held_out: int = 50
    steps: int = 200
    positions_per_batch: int = 1_500
    learning_rate: float = 1.5e-3
    seed: int = 0
    precision: str = "auto"

    @property
    def kept(self) -> tuple[int, ...]:
        """Steps at which the unchanged variant is looked at: close together where it learns most."""
        return (*(step for step in KEPT if step < self.steps), self.steps)


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
    found = {
        f"k = {factor}": replace(base, stack_factor=factor, batches_of=base.stack_factor)
        for factor in sorted({*STACK_FACTORS, base.stack_factor})
    }
    found["no norm"] = replace(base, norm="none", batches_of=base.stack_factor)
    stacked = base.stack_factor * encoder_dim
    wider = round(base.hidden_size * (2 * stacked + decoder_dim) / (stacked + decoder_dim))
    found["no SwiGLU"] = replace(base, mlp="gelu", hidden_size=wider, batches_of=base.stack_factor)
    return found


def make_studies(model: str, cache: Path, plan: StudyPlan, out: Path | None = None) -> list[Path]:
    """Train the variants between the encoder and the decoder of one model, measure them, write both studies.

    Training goes on where it was stopped. Other weights, and another plan, have another folder.

    Parameters
    ----------
    model : str
        ``"tiny"`` or the folder of a saved model.
    cache : Path
        Holds ``shards`` and ``test``, see `asrscope_recipe.corpus`, and gets ``studies``.
    plan : StudyPlan
        How much to do.
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
    """
    loaded = network, processor = load(model)
    parts = _frozen_parts(loaded)
    marks = [*parts.values(), hashlib.sha256(repr(plan).encode()).hexdigest()]
    folder = cache / "studies" / "-".join(digest[:8] for digest in marks)

    encoder = network.audio_tower
    spoken = Clips.of_shards(load_shards(cache / "shards", plan.shards))
    cache_encodings(encoder, spoken, folder / "encodings")
    unheard = read_held_out(cache / "test", encoder.config.num_mel_bins, plan.held_out)
    cache_encodings(encoder, unheard, folder / "held-out")
    trained_on, held_out = load_encodings(folder / "encodings"), load_encodings(folder / "held-out")

    names = ("steps", "positions_per_batch", "learning_rate", "seed", "precision")
    own = {name: getattr(plan, name) for name in names}
    base = replace(recipe_for("", loaded), **own, copies=1, save_every=SAVE_EVERY)
    unchanged = f"k = {base.stack_factor}"
    sizes = encoder.config.d_model, network.config.text_config.hidden_size
    ablations = {}
    for name, recipe in variants(base, *sizes).items():
        place = folder / name.lower().replace(" = ", "").replace(" ", "-")
        keep = plan.kept if name == unchanged else ()
        done = train_projector(loaded, folder / "encodings", place, recipe, keep=keep, watch=followed(place))
        made = json.loads((done / "recipe.json").read_text(encoding="utf-8"))
        projector, log = read_projector(done, network), read_log(place / "log.jsonl")
        ablations[name] = {
            "stack_factor": recipe.stack_factor,
            "hidden_size": recipe.hidden_size,
            "norm": recipe.norm,
            "mlp": recipe.mlp,
            "parameters": sum(parameter.numel() for parameter in projector.parameters()),
            "audio_tokens_per_second": 1 / (recipe.stack_factor * SECONDS_PER_POSITION),
            "utterances": made["utterances"],
            "seconds": log[-1]["seconds"],
            "precision": made["precision"],
            "curve": _columns(log, "loss"),
            **_errors(projector, loaded, held_out),
        }
        if name == unchanged:
            kept = place / "kept"

    samples, milestones = load_samples(), []
    for step in tqdm(plan.kept, "the projector on its way", disable=None):
        projector = network.multi_modal_projector
        projector.load_state_dict(load_file(kept / f"{step:06d}.safetensors"))
        clips = {}
        for sample in samples:
            seen = trace(network, processor, sample.path)
            clips[sample.name] = {
                "text": seen.text,
                "nearest": [texts[0] for texts in seen.nearest_texts],
                "cosines": [round(float(cosine), 3) for cosine in seen.nearest_cosines[:, 0]],
            }
        milestones.append({"step": step, **_errors(projector, loaded, held_out), "clips": clips})

    about = {
        "parts": parts,
        "plan": asdict(plan),
        "stack_factor": base.stack_factor,
        "corpus": {
            "clips": len(trained_on),
            "hours": round(sum(clip.seconds for clip in trained_on) / 3600, 2),
            "sha256": sha256_of(sorted((cache / "shards").glob("*.jsonl"))[: plan.shards]),
        },
        "held_out": dict(Counter(clip.id.split("/")[0] for clip in held_out)),
        "made_with": _made_with("studies"),
    }
    texts = {sample.name: sample.text for sample in samples}
    return [
        _write(out or folder, "ablations", {**about, "unchanged": unchanged, "variants": ablations}),
        _write(out or folder, "milestones", {**about, "clips": texts, "milestones": milestones}),
    ]


def _write(folder: Path, name: str, study: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.json", json.dumps(study) + "\n")
    return folder / f"{name}.json"


def _frozen_parts(loaded: Loaded) -> dict[str, str]:
    """Name the encoder and the decoder that a study belongs to by the hashes of their weights."""
    return {part.part: part.sha256 for part in provenance_of(loaded[0]) if part.part != "projector"}


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
    loaded: Loaded,
    encodings: Sequence[Path],
    folder: Path,
    recipe: ProjectorRecipe,
    start: Path,
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
    found: dict[str, Any] = {}
    for name, changes in BRIDGES.items():
        place = folder / name.replace(", ", "-").replace(" ", "-")
        own, watch = replace(recipe, **changes), followed(place)
        done = train_projector(loaded, encodings, place, own, start=start, watch=watch)
        made = json.loads((done / "recipe.json").read_text(encoding="utf-8"))
        log = read_log(place / "log.jsonl")
        found[name] = {
            "utterances": made["utterances"],
            "curve": _columns(log, "loss"),
            "held_out": _columns(log, "dev_loss"),
        }
    study = {
        "parts": _frozen_parts(loaded),
        "plan": asdict(recipe),
        "corpus": made["trained_on"],  # the same in all
        "made_with": _made_with("bridges"),
        "variants": found,
    }
    return _write(folder, "bridges", study)


def _columns(log: list[dict[str, Any]], value: str) -> dict[str, list[Any]]:
    """Give the steps of a log that tell a value, and the value at each."""
    lines = [line for line in log if value in line]
    return {key: [line[key] for line in lines] for key in ("step", value)}


def _made_with(command: str) -> dict[str, Any]:
    return {
        "command": f"asrscope-recipe {command}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        **{package: version(package) for package in ("asrscope", "torch", "transformers")},
    }


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
