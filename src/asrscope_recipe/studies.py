"""Two studies of the projector, too long for a page: what each of its choices does, and how it learns.

Both train projectors from random weights between the frozen encoder and decoder of one model. The first
changes one setting at a time. The second keeps the projector at some steps of the unchanged variant. What
comes out is data with its provenance, which the package ships and the gallery draws.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import asrscope
from asrscope.audio.samples import load_samples
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.files import write_text
from asrscope.loading.presets import load
from asrscope.loading.provenance import provenance_of
from asrscope.projector import AudioProjector
from asrscope.recognition.metrics import WordErrors, bootstrap_interval, total_errors
from asrscope.scope.tracing import trace
from asrscope.training.curves import read_log
from asrscope.training.encodings import EncoderPass, cache_encodings, load_encodings, read_held_out
from asrscope.training.machine import processor as name_of_processor
from asrscope.training.options import Options
from asrscope.training.projector import FrozenDecoder, ProjectorRecipe, make_projector, train_projector
from asrscope.training.run import Watch
from asrscope_recipe.corpus import load_shards
from asrscope_recipe.writing import count_errors

__all__ = ["STUDIES", "Study", "StudyPlan", "load_study", "variants"]

STUDIES = Path(asrscope.__file__).parent / "data" / "studies"
STACK_FACTORS = (1, 2, 4, 5, 8)
KEPT = (0, 10, 20, 30, 40, 60, 100)

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
    """

    shards: int = 6
    held_out: int = 50
    steps: int = 200
    positions_per_batch: int = 1_500
    learning_rate: float = 1.5e-3
    seed: int = 0

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

    Each part of the work goes on where it was stopped. Other weights have another folder.

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
        self.decoder = FrozenDecoder(
            self.model.language_model, self.processor.tokenizer, self.processor.prompt()
        )
        config = self.model.config
        self.base = ProjectorRecipe(
            stack_factor=config.stack_factor,
            hidden_size=config.projector_hidden_size,
            norm=config.projector_norm,
            mlp=config.projector_mlp,
            steps=plan.steps,
            positions_per_batch=plan.positions_per_batch,
            learning_rate=plan.learning_rate,
            copies=1,
            seed=plan.seed,
        )
        self.variants = variants(self.base, config.audio_config.d_model, config.text_config.hidden_size)
        self.unchanged = f"k = {config.stack_factor}"
        parts = {part.part: part.sha256 for part in provenance_of(self.model)}
        self.parts = {part: parts[part] for part in ("encoder", "decoder")}
        marks = "-".join(digest[:8] for digest in self.parts.values())
        self.folder = cache / "studies" / marks

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
        work = EncoderPass(encoder, load_shards(self.cache / "shards", self.plan.shards))
        cache_encodings(work, self.folder / "encodings", 1, progress=progress)
        held_out = read_held_out(self.cache / "test", encoder.config.num_mel_bins, self.plan.held_out)
        if not held_out:
            raise FileNotFoundError(
                f"{self.cache / 'test'}: no held-out sets: make them with 'asrscope-recipe data'"
            )
        cache_encodings(EncoderPass(encoder, held_out), self.folder / "held-out", 1)

    def folder_of(self, variant: str) -> Path:
        """Name the folder in which a variant is trained."""
        return self.folder / variant.lower().replace(" = ", "").replace(" ", "-")

    def train(self, variant: str, *, options: Options | None = None, watch: Watch | None = None) -> None:
        """Train one variant, or go on with it.

        Parameters
        ----------
        variant : str
            Its name.
        options : Options, optional
            How to compute it.
        watch : callable, optional
            See `asrscope.training.run.Run`.

        Raises
        ------
        ValueError
            If the folder holds the variant as trained by another plan.
        """
        folder, recipe = self.folder_of(variant), self.variants[variant]
        plan = folder / "plan.json"
        if plan.exists() and json.loads(plan.read_text(encoding="utf-8")) != asdict(recipe):
            raise ValueError(
                f"{folder} holds {variant!r} trained by another plan. Make sure to delete {self.folder} first"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(plan, json.dumps(asdict(recipe)) + "\n")
        if not (folder / "projector" / "recipe.json").exists():
            train_projector(
                self.folder / "encodings",
                self.decoder,
                folder,
                recipe,
                save_every=50,
                keep=self.plan.kept if variant == self.unchanged else (),
                options=options,
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
        trained_on = load_encodings(self.folder / "encodings").clips
        sets = [manifest.parent.name for manifest in sorted((self.cache / "test").glob("*/manifest.jsonl"))]
        counts = [clip.shard for clip in load_encodings(self.folder / "held-out").clips]
        return {
            "parts": self.parts,
            "plan": asdict(self.plan),
            "stack_factor": self.base.stack_factor,
            "corpus": {
                "clips": len(trained_on),
                "hours": round(sum(clip.positions for clip in trained_on) * SECONDS_PER_POSITION / 3600, 2),
                "sha256": _digest(manifests),
            },
            "held_out": {name: counts.count(number) for number, name in enumerate(sets)},
            "made_with": {
                "command": "asrscope-recipe studies",
                "date": time.strftime("%Y-%m-%d", time.gmtime()),
                "machine": name_of_processor(),
                "threads": torch.get_num_threads(),
                **{package: version(package) for package in ("asrscope", "torch", "transformers")},
            },
        }

    def _measure(self, variant: str) -> dict[str, Any]:
        """Measure a finished variant; the figures are kept beside it."""
        folder, recipe = self.folder_of(variant), self.variants[variant]
        config = self.model.config
        projector = make_projector(config.audio_config.d_model, self.decoder.model, recipe)
        projector.load_state_dict(load_file(folder / "projector" / "model.safetensors"))
        log = read_log(folder / "log.jsonl")
        curve = [line for line in log if "loss" in line]
        made = json.loads((folder / "projector" / "recipe.json").read_text(encoding="utf-8"))
        return {
            "stack_factor": recipe.stack_factor,
            "hidden_size": recipe.hidden_size,
            "norm": recipe.norm,
            "mlp": recipe.mlp,
            "parameters": sum(parameter.numel() for parameter in projector.parameters()),
            "audio_tokens_per_second": 1 / (recipe.stack_factor * SECONDS_PER_POSITION),
            "utterances": made["utterances"],
            "seconds": curve[-1]["seconds"],
            "precision": made["options"]["precision"],
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
        """Count the errors on the held-out clips, once."""
        if not path.exists():
            each = count_errors(projector, self.decoder, load_encodings(self.folder / "held-out"))
            write_text(path, json.dumps([asdict(one) for one in each]))
        each = [WordErrors(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
        summed = total_errors(each)
        return {
            "wer": round(summed.rate, 4),
            "interval": [round(bound, 4) for bound in bootstrap_interval(each)],
            "words": summed.words,
        }


def load_study(name: str, folder: Path = STUDIES) -> dict[str, Any]:
    """Read a study that the package ships.

    Parameters
    ----------
    name : str
        ``"ablations"`` or ``"milestones"``.
    folder : Path
        Where `Study.write` wrote it.

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


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
