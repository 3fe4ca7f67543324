"""Very small trainings that several tests share, and that two processes of their own can run."""

import json
import os
import sys
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.training.batches import ProjectorRecipe
from asrscope.training.encodings import cache_encodings
from asrscope.training.projector import train_projector
from asrscope.training.run import Recipe, Run
from asrscope_recipe import corpus, decoder
from asrscope_recipe.bundle import join
from asrscope_recipe.corpus import Clips, load_shards
from asrscope_recipe.decoder import DecoderRecipe
from asrscope_recipe.encoder import EncoderRecipe, train_encoder
from asrscope_recipe.synthesis import Speech, Voice

HOW = {"precision": "fp32", "steps": 6, "save_every": 3, "evaluate_every": 100}
ENCODER = EncoderRecipe(
    d_model=32, layers=2, heads=2, ffn=48, frames_per_batch=600, phone_steps=2, disturbance=0.0, **HOW
)
DECODER = DecoderRecipe(
    simple_steps=2,
    hidden_size=32,
    layers=2,
    heads=2,
    kv_heads=1,
    ffn=48,
    vocab_size=400,
    tokens_per_batch=300,
    **HOW,
)
PROJECTOR = ProjectorRecipe(stack_factor=2, hidden_size=24, positions_per_batch=400, copies=2, **HOW)
BOUND = {"output": "bound", "prompt_vectors": 4, "dropout": 0.1, "masked": 0.1, "negatives": 20}
WARM = replace(PROJECTOR, stage="warm", positions_per_batch=300, **BOUND)
JOINT = replace(PROJECTOR, ctc=0.2, **BOUND)
SPELL = replace(JOINT, stage="spell", speller_width=16)
PROJECTORS = {"projector": PROJECTOR, "warm": WARM, "joint": JOINT, "spell": SPELL}
LOOPS = ("encoder", "decoder", "joint")  # each has all that its program can do
QUIET = {"dropout": 0.0, "masked": 0.0}  # what is drawn for a layer is drawn in each process by itself
# Of a decoder most of the time would go into its tokenizer, which is always the same, and into its figures.
ONCE = {
    "make_tokenizer": cache(decoder.make_tokenizer),
    "evaluate_spelling": partial(decoder.evaluate_spelling, count=8),
}


def buzz(rng, text, _draw_voice):
    """Speak in noise: quick, and there on every machine."""
    generator = np.random.default_rng(rng.getrandbits(32))
    seconds = 0.25 * len(text.split())
    waveform = generator.normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)
    words = tuple((word, 0.25 * n, 0.25 * (n + 1)) for n, word in enumerate(text.split()))
    phones = tuple((word[0], start, end) for word, start, end in words)
    return Voice("flite", "slt"), Speech(waveform, phones, words)


def make_shards(folder):
    """Write two shards of twelve buzzing utterances."""
    with patch.object(corpus, "draw_utterance", buzz):
        for number in range(2):
            corpus.make_shard(folder / f"{number:05d}.jsonl", number, utterances=12)
    return folder


def encode(encoder, shards, folder):
    """Let a finished encoder loose on the shards."""
    encoder = WhisperEncoder.from_pretrained(encoder)
    cache_encodings(encoder, Clips.of_shards(load_shards(shards)), folder, copies=2)
    return folder


def train_stage(stage, done, folder, **changes):
    """Train one stage from what the earlier ones left."""
    if stage not in PROJECTORS:
        changes = {name: value for name, value in changes.items() if name not in QUIET}
    if stage == "encoder":
        return train_encoder(done["shards"].parent, folder, replace(ENCODER, **changes))
    if stage == "decoder":
        with patch.multiple(decoder, **ONCE):
            return decoder.train_decoder(folder, replace(DECODER, **changes))
    recipe = replace(PROJECTORS[stage], **changes)
    start = done["warm"] if stage in ("joint", "spell") else None
    return train_projector(done["loaded"], done["encodings"], folder, recipe, start=start)


def train_all(shards, root, **changes):
    """Train the parts one after the other."""
    done = {"shards": shards}
    for stage in ("encoder", "decoder"):
        train_stage(stage, done, root / stage, **changes)
    encode(root / "encoder" / "encoder", shards, root / "encodings")
    done = finished(shards, root)
    for stage in PROJECTORS:
        done[stage] = train_stage(stage, done, root / stage, **changes)
    return done


def finished(shards, root):
    """What `train_all` left in a folder."""
    done = {"shards": shards, "encodings": root / "encodings", "warm": root / "warm" / "projector"}
    done |= {stage: root / stage / stage for stage in ("encoder", "decoder")}
    return done | {"loaded": join_parts(root)}


def join_parts(root):
    """A model of the encoder and the decoder in a folder, with a place for a learned prompt."""
    model, processor = join(root / "encoder" / "encoder", root / "decoder" / "decoder")
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<|audio|>", "<|prompt|>"]})
    torch.manual_seed(0)  # of the new row, which the decoder scores as well
    model.language_model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    return model, processor


def losses(folder):
    """The loss of every step, as the log of a run tells it."""
    lines = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


class Stopped(Exception):
    """A run was broken off."""


def broken_off(train, after):
    """Run a training until its process would have been killed."""
    whole = Run.update

    def update(self, *arguments):
        if self.step == after:
            raise Stopped
        whole(self, *arguments)

    with patch.object(Run, "update", update):
        try:
            train()
        except Stopped:
            return
    raise AssertionError("the training came to its end")


if __name__ == "__main__":  # one of several processes: see test_training_processes.py
    shards, root, out = map(Path, sys.argv[1:])
    done = finished(shards, root)
    for stage in LOOPS:
        train_stage(stage, done, out / stage, **QUIET)
    where = out / "resumed" / "joint"
    broken_off(lambda: train_stage("joint", done, where, **QUIET), after=5)
    train_stage("joint", done, where, **QUIET)
    model, number = nn.Linear(2, 1), int(os.environ["RANK"])
    run = Run(out / "other", model, torch.optim.AdamW(model.parameters()), Recipe(precision="fp32"))
    try:
        run.begin([3, 4 + number])  # of which each sees another
    except ValueError as error:
        (out / f"refused-{number}").write_text(str(error), encoding="utf-8")
