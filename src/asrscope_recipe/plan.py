"""How the bundled model is made, and how one is made in an hour: what each stage does, and after which."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from asrscope.cli.console import followed, is_first, say
from asrscope.saving import write_text
from asrscope.training.batches import ProjectorRecipe
from asrscope.training.encodings import cache_encodings
from asrscope.training.projector import train_projector
from asrscope_recipe.bundle import bundle, join
from asrscope_recipe.corpus import Clips, CorpusRecipe, load_shards, make_corpus, read_held_out
from asrscope_recipe.decoder import DecoderRecipe, train_decoder
from asrscope_recipe.encoder import EncoderRecipe, train_encoder

__all__ = ["PLAN", "QUICK", "add_hours", "do", "finished", "hours"]

# The stages from an empty folder to a model, in order; these settings made the weights shipped.
PLAN: Mapping[str, Any] = {
    "data": CorpusRecipe(),
    "encoder": EncoderRecipe(),
    "decoder": DecoderRecipe(),
    "projector": ProjectorRecipe(steps=1_800),
}
# For an hour on one core. It learns less: clear voices, little noise, simple sentences.
QUICK: Mapping[str, Any] = {
    "data": CorpusRecipe(shards=8, test_utterances=50, clear=True),
    "encoder": EncoderRecipe(steps=11_000, frames_per_batch=2_500, phone_steps=800, disturbance=0.3),
    "decoder": DecoderRecipe(steps=3_000, learning_rate=1e-3, simple_steps=3_000),
    "projector": ProjectorRecipe(steps=1_000, positions_per_batch=1_750, copies=1),
}


def do(stage: str, cache: Path, recipe: Any) -> None:
    """Do one stage in a folder that holds what those before it left; it goes on where it was stopped."""
    folder = cache / stage
    if stage == "data":
        make_corpus(cache, recipe, torch.get_num_threads())
    elif stage == "encoder":
        train_encoder(cache, folder, recipe)
    elif stage == "decoder":
        train_decoder(folder, recipe)
    else:
        parts = finished(cache, "encoder"), finished(cache, "decoder")
        loaded = join(*parts)
        encoder, heard, aside = loaded[0].audio_tower, cache / "encodings", cache / "encodings-dev"
        clips = Clips.of_shards(load_shards(cache / "shards"))
        cache_encodings(encoder, clips, heard, copies=recipe.copies, seed=recipe.seed)
        cache_encodings(encoder, read_held_out(cache / "dev", encoder.config.num_mel_bins), aside)
        done = train_projector(loaded, heard, folder, recipe, held_out=aside, watch=followed(folder))
        if is_first():
            say(f"the model is in {bundle(*parts, done, cache / 'tiny')}")


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
