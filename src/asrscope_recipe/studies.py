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
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import asrscope
from asrscope.audio.samples import load_samples
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.loading import Loaded, load
from asrscope.projector import AudioProjector
from asrscope.recognition.metrics import WordErrors, bootstrap_interval, total_errors
from asrscope.saving import write_text
from asrscope.saving.provenance import provenance_of
from asrscope.scope.tracing import trace
from asrscope.training.batches import ProjectorRecipe, recipe_for
from asrscope.training.curves import read_log
from asrscope.training.encodings import cache_encodings, load_encodings
from asrscope.training.finished import read_projector
from asrscope.training.projector import train_projector
from asrscope.training.run import Watch, machine
from asrscope_recipe.corpus import Clips, load_shards, read_held_out
from asrscope_recipe.measuring import sha256_of
from asrscope_recipe.writing import count_errors

__all__ = ["BRIDGES", "STUDIES", "Study", "StudyPlan", "compare_bridges", "load_study", "variants"]

STUDIES = Path(asrscope.__file__).parent / "data" / "studies"
STACK_FACTORS = (1, 2, 4, 5, 8)
KEPT = (0, 10, 20, 30, 40, 60, 100)
# How audio tokens may stand before a decoder that never saw any, and how it is asked for a transcript.
BRIDGES: dict[str, dict[str, Any]] = {
    f"{output}, {asked}": {"output": output} | prompt
    for output in ("bound", "free")
    for asked, prompt in (("learned prompt", {}), ("written prompt", {"prompt_vectors": 0}))
}

Progress = Callable[[int, int | None], None]


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


class Study:
    """Projectors between the encoder and the decoder of one model, in one folder of the cache.

    Each part of the work goes on where it was stopped. Other weights, and another plan, have another folder.

    Parameters
    ----------
    model : str
        ``"tiny"`` or the folder of a saved model.
    cache : Path
        Holds ``shards`` and ``test``, see `asrscope_recipe.corpus`, and gets ``studies``.
    plan : StudyPlan
        How much to do.
    """

    def __init__(self, model: str, cache: Path, plan: StudyPlan) -> None:
        self.name, self.cache, self.plan = model, cache, plan
        self.model, self.processor = load(model)
        config = self.model.config
        names = ("steps", "positions_per_batch", "learning_rate", "seed", "precision")
        self.base = replace(
            recipe_for("", (self.model, self.processor)),
            **{name: getattr(plan, name) for name in names},
            copies=1,
            save_every=50,
        )
        self.variants = variants(self.base, config.audio_config.d_model, config.text_config.hidden_size)
        self.unchanged = f"k = {config.stack_factor}"
        parts = {part.part: part.sha256 for part in provenance_of(self.model)}
        self.parts = {part: parts[part] for part in ("encoder", "decoder")}
        marks = [*self.parts.values(), hashlib.sha256(repr(plan).encode()).hexdigest()]
        self.folder = cache / "studies" / "-".join(digest[:8] for digest in marks)

    def encode(self, progress: Progress | None = None) -> None:
        """Cache the encoder's output for the clips to train on and the clips to test on.

        Parameters
        ----------
        progress : callable, optional
            Called with (done, total).

        Raises
        ------
        FileNotFoundError
            If there are no shards or no held-out sets.
        """
        encoder = self.model.audio_tower
        clips = Clips.of_shards(load_shards(self.cache / "shards", self.plan.shards))
        cache_encodings(encoder, clips, self.folder / "encodings", progress=progress)
        held_out = read_held_out(self.cache / "test", encoder.config.num_mel_bins, self.plan.held_out)
        cache_encodings(encoder, held_out, self.folder / "held-out")

    def folder_of(self, variant: str) -> Path:
        """Name the folder in which a variant is trained."""
        return self.folder / variant.lower().replace(" = ", "").replace(" ", "-")

    def train(self, variant: str, watch: Watch | None = None) -> None:
        """Train one variant, or go on with it."""
        train_projector(
            (self.model, self.processor),
            self.folder / "encodings",
            self.folder_of(variant),
            self.variants[variant],
            keep=self.plan.kept if variant == self.unchanged else (),
            watch=watch,
        )

    def write(self, folder: Path, progress: Progress | None = None) -> list[Path]:
        """Measure what was trained and write both studies.

        Parameters
        ----------
        folder : Path
            Gets ``ablations.json`` and ``milestones.json``.
        progress : callable, optional
            Called with (done, total).

        Returns
        -------
        list of Path
            The two files.
        """
        folder.mkdir(parents=True, exist_ok=True)
        total, done = len(self.variants) + len(self.plan.kept), 0
        ablations, milestones = {}, []
        for variant in self.variants:
            ablations[variant] = self._measure(variant)
            done += 1
            if progress:
                progress(done, total)
        for step in self.plan.kept:
            milestones.append(self._milestone(step))
            done += 1
            if progress:
                progress(done, total)
        about = self._about()
        texts = {sample.name: sample.text for sample in load_samples()}
        written = {
            "ablations": {**about, "unchanged": self.unchanged, "variants": ablations},
            "milestones": {**about, "clips": texts, "milestones": milestones},
        }
        for name, study in written.items():
            write_text(folder / f"{name}.json", json.dumps(study) + "\n")
        return [folder / f"{name}.json" for name in written]

    def _about(self) -> dict[str, Any]:
        """Tell what the results belong to and how they were made."""
        manifests = sorted((self.cache / "shards").glob("*.jsonl"))[: self.plan.shards]
        trained_on = load_encodings(self.folder / "encodings")
        sets = Counter(clip.id.split("/")[0] for clip in load_encodings(self.folder / "held-out"))
        return {
            "parts": self.parts,
            "plan": asdict(self.plan),
            "stack_factor": self.base.stack_factor,
            "corpus": {
                "clips": len(trained_on),
                "hours": round(sum(clip.seconds for clip in trained_on) / 3600, 2),
                "sha256": sha256_of(manifests),
            },
            "held_out": dict(sets),
            "made_with": _made_with("studies"),
        }

    def _measure(self, variant: str) -> dict[str, Any]:
        """Measure a finished variant; the figures are kept beside it."""
        folder, recipe = self.folder_of(variant), self.variants[variant]
        made = json.loads((folder / "projector" / "recipe.json").read_text(encoding="utf-8"))
        projector = read_projector(folder / "projector", self.model)
        curve = [line for line in read_log(folder / "log.jsonl") if "loss" in line]
        return {
            "stack_factor": recipe.stack_factor,
            "hidden_size": recipe.hidden_size,
            "norm": recipe.norm,
            "mlp": recipe.mlp,
            "parameters": sum(parameter.numel() for parameter in projector.parameters()),
            "audio_tokens_per_second": 1 / (recipe.stack_factor * SECONDS_PER_POSITION),
            "utterances": made["utterances"],
            "seconds": curve[-1]["seconds"],
            "precision": made["precision"],
            "curve": {key: [line[key] for line in curve] for key in ("step", "loss")},
            **self._errors(projector, folder / "errors.json"),
        }

    def _milestone(self, step: int) -> dict[str, Any]:
        """Look at the unchanged variant as it was after a step."""
        kept = self.folder_of(self.unchanged) / "kept" / f"{step:06d}.safetensors"
        self.model.multi_modal_projector.load_state_dict(load_file(kept))
        clips = {}
        for sample in load_samples():
            seen = trace(self.model, self.processor, sample.path)
            clips[sample.name] = {
                "text": seen.text,
                "nearest": [texts[0] for texts in seen.nearest_texts],
                "cosines": [round(float(cosine), 3) for cosine in seen.nearest_cosines[:, 0]],
            }
        errors = self._errors(self.model.multi_modal_projector, kept.with_suffix(".json"))
        return {"step": step, **errors, "clips": clips}

    def _errors(self, projector: AudioProjector, path: Path) -> dict[str, Any]:
        """Count the errors on the held-out clips, once: in all, and of each clip for `WordErrors`."""
        if not path.exists():
            each = count_errors(
                projector, (self.model, self.processor), load_encodings(self.folder / "held-out")
            )
            write_text(path, json.dumps([asdict(one) for one in each]))
        each = [WordErrors(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
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
    *,
    start: Path,
    watch: Callable[[Path], Watch] | None = None,
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
    watch : callable, optional
        Makes of each way's folder what watches its run.

    Returns
    -------
    Path
        The file.
    """
    recipe = replace(recipe, ctc=0.0, ctc_weight=0.0)
    found: dict[str, Any] = {}
    for name, changes in BRIDGES.items():
        place = folder / name.replace(", ", "-").replace(" ", "-")
        own = replace(recipe, **changes)
        done = train_projector(
            loaded, encodings, place, own, start=start, watch=watch(place) if watch else None
        )
        made = json.loads((done / "recipe.json").read_text(encoding="utf-8"))
        log = read_log(place / "log.jsonl")
        curve = [line for line in log if "loss" in line]
        measured = [line for line in log if "dev_loss" in line]
        found[name] = {
            "utterances": made["utterances"],
            "curve": {key: [line[key] for line in curve] for key in ("step", "loss")},
            "held_out": {key: [line[key] for line in measured] for key in ("step", "dev_loss")},
        }
    parts = {part.part: part.sha256 for part in provenance_of(loaded[0])}
    study = {
        "parts": {part: parts[part] for part in ("encoder", "decoder")},
        "plan": asdict(recipe),
        "corpus": made["trained_on"],  # the same in all
        "made_with": _made_with("bridges"),
        "variants": found,
    }
    write_text(folder / "bridges.json", json.dumps(study) + "\n")
    return folder / "bridges.json"


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
