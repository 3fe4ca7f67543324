"""How the bundled model is made, and how one is made in an hour: sizes, steps, and what comes after what."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path

from asrscope.saving import write_text
from asrscope.training.batches import ProjectorRecipe
from asrscope.training.run import changed
from asrscope_recipe.decoder import DecoderRecipe
from asrscope_recipe.encoder import EncoderRecipe

__all__ = ["PLAN", "QUICK", "Plan", "add_hours", "changed_plan", "finished", "hours"]


@dataclass(frozen=True)
class Plan:
    """All stages from an empty folder to a model.

    Parameters
    ----------
    shards : int
        Parts of the corpus.
    utterances : int
        In each part.
    test_utterances : int
        In each held-out set.
    clear : bool
        Whether voices are undisguised and no codec compresses them: less to learn.
    encoder, decoder, projector : recipes
        Of the three stages.
    """

    shards: int = 60
    utterances: int = 1_000
    test_utterances: int = 200
    clear: bool = False
    encoder: EncoderRecipe = field(default_factory=EncoderRecipe)
    decoder: DecoderRecipe = field(default_factory=DecoderRecipe)
    projector: ProjectorRecipe = field(default_factory=ProjectorRecipe)


PLAN = Plan()
# For an hour on one core. It learns less: clear voices, little noise, simple sentences.
QUICK = Plan(
    shards=8,
    test_utterances=50,
    clear=True,
    encoder=EncoderRecipe(steps=11_000, frames_per_batch=2_500, phone_steps=800, disturbance=0.3),
    decoder=DecoderRecipe(steps=3_000, learning_rate=1e-3, simple_steps=3_000),
    projector=ProjectorRecipe(steps=1_000, positions_per_batch=1_750, copies=1),
)


def changed_plan(plan: Plan, settings: Iterable[str]) -> Plan:
    """Replace settings of a plan, each ``NAME=VALUE`` for its own and ``STAGE.NAME=VALUE`` for a stage's.

    Raises
    ------
    ValueError
        If there is no such stage or setting, or the value is of another type.
    """
    stages = [one.name for one in fields(plan) if is_dataclass(getattr(plan, one.name))]
    for setting in settings:
        stage, dot, _ = setting.partition("=")[0].partition(".")
        if not dot:
            plan = changed(plan, [setting])
        elif stage in stages:
            plan = replace(plan, **{stage: changed(getattr(plan, stage), [setting[len(stage) + 1 :]])})
        else:
            raise ValueError(f"--set {setting}: expected a stage of {', '.join(stages)}, but found {stage!r}")
    return plan


def finished(cache: Path, part: str) -> Path:
    """Find the folder of a finished part: its recipe is the last thing that training writes."""
    folder = cache / part / part
    if not (folder / "recipe.json").is_file():
        raise FileNotFoundError(
            f"{folder}: no finished {part}: run 'asrscope-recipe {part}' to its end first"
        )
    return folder


@contextmanager
def add_hours(folder: Path) -> Iterator[None]:
    """Add the time that the block takes to that of earlier runs in a folder, if it is broken off as well."""
    before, start = hours(folder) or 0.0, time.perf_counter()
    try:
        yield
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        found = {"hours": round(before + (time.perf_counter() - start) / 3600, 4)}
        write_text(folder / "hours.json", json.dumps(found) + "\n")


def hours(folder: Path) -> float | None:
    """Read what `add_hours` added up in a folder; None if nothing."""
    path = folder / "hours.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["hours"]) if path.exists() else None
