"""Very small trainings that several tests share, and that two processes of their own can run."""

import json
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.training.encodings import EncoderPass, cache_encodings
from asrscope.training.options import Options
from asrscope.training.projector import ProjectorRecipe, train_projector
from asrscope.training.run import Run
from asrscope_recipe import corpus
from asrscope_recipe.decoder import DecoderRecipe, train_decoder
from asrscope_recipe.encoder import EncoderRecipe, train_encoder
from asrscope_recipe.synthesis import Speech, Voice

ENCODER = EncoderRecipe(d_model=32, layers=2, heads=2, ffn=48, steps=6, frames_per_batch=600, phone_steps=2)
DECODER = DecoderRecipe(
    simple_steps=2,
    hidden_size=32,
    layers=2,
    heads=2,
    kv_heads=1,
    ffn=48,
    vocab_size=400,
    steps=6,
    tokens_per_batch=300,
)
PROJECTOR = ProjectorRecipe(stack_factor=2, hidden_size=24, steps=6, positions_per_batch=400, copies=2)
FP32 = Options(precision="fp32")


def buzz(rng, text, _draw_voice):
    """Speak in noise: quick, and there on every machine."""
    generator = np.random.default_rng(rng.getrandbits(32))
    seconds = 0.15 * len(text.split())
    waveform = generator.normal(0, 0.1, int(16_000 * seconds)).astype(np.float32)
    words = tuple((word, 0.15 * n, 0.15 * (n + 1)) for n, word in enumerate(text.split()))
    phones = tuple((word[0], start, end) for word, start, end in words)
    return Voice("flite", "slt"), Speech(waveform, phones, words)


def make_shards(folder):
    """Write two shards of twelve buzzing utterances."""
    folder.mkdir(parents=True)
    with patch.object(corpus, "draw_utterance", buzz):
        for number in range(2):
            corpus.make_shard(str(folder), number, n_mels=80, utterances=12)
    return folder


def encoder_pass(encoder, shards):
    """Let a finished encoder loose on the shards."""
    return EncoderPass(WhisperEncoder.from_pretrained(encoder), corpus.load_shards(shards))


def train_all(shards, root, options=None, **more):
    """Train the three parts one after the other."""
    encoder = train_encoder(
        shards.parent, root / "encoder", ENCODER, evaluate_every=100, options=options, **more
    )
    decoder = train_decoder(root / "decoder", DECODER, evaluate_every=100, options=options, **more)
    cache_encodings(encoder_pass(encoder, shards), root / "encodings", copies=2)
    projector = train_projector(
        root / "encodings", decoder, root / "projector", PROJECTOR, options=options, **more
    )
    return {"encoder": encoder, "decoder": decoder, "projector": projector, "encodings": root / "encodings"}


def losses(folder):
    """The loss of every step, as the log of a run tells it."""
    lines = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


class Stopped(Exception):
    """A run was broken off."""


def broken_off(train, after):
    """Run a training until its process would have been killed."""
    whole = Run.end_step

    def end_step(self, utterances):
        if self.step == after:
            raise Stopped
        whole(self, utterances)

    with patch.object(Run, "end_step", end_step):
        try:
            train()
        except Stopped:
            return
    raise AssertionError("the training came to its end")


if __name__ == "__main__":  # one of several processes: see test_training_processes.py
    cache, out = map(Path, sys.argv[1:])
    done = train_all(cache / "shards", out / "whole", FP32, save_every=3)
    stages = {
        "encoder": lambda folder: train_encoder(
            cache, folder, ENCODER, save_every=3, evaluate_every=100, options=FP32
        ),
        "decoder": lambda folder: train_decoder(
            folder, DECODER, save_every=3, evaluate_every=100, options=FP32
        ),
        "projector": lambda folder: train_projector(
            done["encodings"], done["decoder"], folder, PROJECTOR, save_every=3, options=FP32
        ),
    }
    for stage, train in stages.items():
        broken_off(lambda train=train, stage=stage: train(out / "resumed" / stage), after=5)
        train(out / "resumed" / stage)
