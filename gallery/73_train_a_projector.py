"""
.. _gallery-training:

Train a projector here and now
==============================

**How much training does a projector need before the decoder understands it?**

Large models take days. A projector between two parts that are trained already takes so
little that this page trains one while it is built, on one core, from random weights.
Run the script and you train yours.
"""

# %%
# The material
# ------------
# The package brings a few hundred short clips to train on, and others to test on: the
# same kind of voices, but sentences that nothing here was trained on. **Predict:** how
# many minutes of speech will it take?

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file

import asrscope
from asrscope import plots
from asrscope.recognition.metrics import (
    bootstrap_interval,
    paired_difference,
    total_errors,
)
from asrscope.saving.provenance import PARTS, describe_weights
from asrscope.training.batches import recipe_for
from asrscope.training.encodings import cache_encodings, load_encodings
from asrscope.training.projector import make_projector, train_projector
from asrscope_recipe.lesson import LESSON, load_lesson
from asrscope_recipe.writing import count_errors

torch.set_num_threads(1)  # so that every run on one machine gives the same numbers
model, processor = asrscope.load("tiny")
lesson = load_lesson(n_mels=model.config.audio_config.num_mel_bins)
sets = json.loads((LESSON / "lesson.json").read_text("utf-8"))["sets"]
for name, clips in lesson.items():
    minutes = sets[name]["seconds"] / 60
    print(f"{name}: {len(clips)} clips, {minutes:.1f} min; first: {clips.texts[0]!r}")
both = set(lesson["train"].texts) & set(lesson["held-out"].texts)
print(f"sentences in both: {len(both)}")
assert not both, "the page says that the sentences are others"

sample = asrscope.load_samples()[0]
known = {"name": sample.name, "reference_words": sample.words}
plots.player(asrscope.trace(model, processor, sample.path, **known))

# %%
# This is the clip that we shall follow; it is in neither set.
#
# The frozen parts
# ----------------
# What the encoder makes of a clip never changes, so it is computed once and kept. The
# decoder has to run in each step, because the loss is its own: how improbable it finds
# the right text. But it is not changed. We take a fingerprint of all three.

temporary = TemporaryDirectory()
folder = Path(temporary.name)
for name, clips in lesson.items():
    cache_encodings(model.audio_tower, clips, folder / name)
held_out = load_encodings(folder / "held-out")
before = {
    part: describe_weights(part, getattr(model, own), "").sha256
    for part, own in PARTS.items()
}
print(*[f"{part}: {digest[:16]}" for part, digest in before.items()], sep="\n")

# %%
# The training
# ------------
# One call, and what it does is one visible loop in ``asrscope.training.projector``. It
# starts from weights drawn at random and is told to keep the projector after some
# steps. **Predict:** will the loss fall evenly?

kept = (0, 10, 20, 30, 40, 50, 60, 80, 100, 140)
pair = (model, processor)
recipe = recipe_for("tiny", pair)  # a projector of the same sizes as the bundled one
recipe = replace(recipe, steps=kept[-1], positions_per_batch=900, precision="fp32")
losses, heard = [], [0]
note = lambda run, line: (  # noqa: E731
    line or (losses.append(run.loss), heard.append(run.utterances))
)
train_projector(pair, folder / "train", folder / "run", recipe, keep=kept, watch=note)

each = heard[-1] / len(lesson["train"].texts)
smooth = np.convolve(losses, np.ones(9) / 9, mode="valid")  # batches differ: noise
rises = np.mean(np.diff(losses) > 0)
print(f"from one step to the next it rises {rises:.0%} of the time")
assert rises > 0.25, "the page says that it does not fall evenly"
assert smooth[-1] < smooth[0] / 2, "the page says that it falls"
# To show it:
words = f"{len(losses)} steps, {heard[-1]} clips heard, each about {each:.1f} times"
description = f"{words}. Loss {losses[0]:.2f} at first, {smooth[-1]:.2f} at the end."
axes = {"x_label": "step", "y_label": "loss (nats a token)", "subtitles": [words]}
steps = np.arange(len(losses)) + 1
lines = {"one batch": (steps, losses), "mean of nine": (steps[4:-4], smooth)}
curve = plots.chart("loss", "Loss of each step", description=description, **axes)
plots.show(plots.draw(curve, lines, colors=(plots.COLORS[-1], plots.COLORS[0])))

# %%
# It falls, and not evenly: batches differ, so many a step brings a larger loss.
#
# When does it start to work?
# ---------------------------
# Loss is what training sees. What we want are words. Each kept projector is put between
# encoder and decoder, and writes down the clips that it has not heard. **Predict:**
# does the error rate fall with the loss, before it, or after it?

bundled = model.multi_modal_projector
width, table = model.config.audio_config.d_model, model.get_input_embeddings().weight
own = make_projector(width, table, recipe)
model.multi_modal_projector = own
rates, moments = {}, []
for step in kept:
    own.load_state_dict(load_file(folder / "run" / "kept" / f"{step:06d}.safetensors"))
    errors = count_errors(own, pair, held_out)
    rates[step] = plots.Rate(total_errors(errors).rate, bootstrap_interval(errors))
    seen = asrscope.trace(model, processor, sample.path)
    nearest = tuple(texts[0] for texts in seen.nearest_texts)
    looks = (seen.text, nearest, tuple(seen.nearest_cosines[:, 0].tolist()))
    moments.append(
        plots.Moment(f"step {step}", *looks, note=f"held-out WER {rates[step]}")
    )
    print(f"step {step:3} after {heard[step]:4} clips: WER {rates[step]}")
fall, a, b = max((rates[a].rate - rates[b].rate, a, b) for a, b in pairwise(kept))
print(f"the steepest fall: {100 * fall:.0f} points, from step {a} to step {b}")
title, scale = "Errors on held-out clips", {"x_label": "step"}
plots.show(plots.rates_over({"held-out": rates}, "wer", title, **scale))
half = int(np.argmax(smooth < (smooth[0] + smooth[-1]) / 2)) + 5
words_left = min(step for step in kept if rates[step].rate < 0.9)
print(f"half of the loss is gone by step {half}, a tenth of the errors by {words_left}")
assert abs(half - words_left) <= 20, "the page says that both fall together"

# %%
# They fall together: the words come in the few steps in which the loss halves.
#
# Watch the words come
# --------------------
# The slider goes through the same projectors, on the clip from the top of the page.
# **Predict:** what does a decoder write that has a fluent language and understands
# nothing?

title, seconds = f"{sample.name!r} at each step", seen.seconds_per_audio_token
plots.show(plots.step_slider(moments, "words", title, seconds_per_token=seconds))

# %%
# As long as there is nothing to read, it writes what it expects of any text: fluency
# proves no listening.
#
# What has changed, and how far is it?
# ------------------------------------
# Fingerprints again, and the projector of the package on the same clips, which has
# heard far more. **Predict:** which of the three differ?

changed = set()
for part, name in PARTS.items():
    same = describe_weights(part, getattr(model, name), "").sha256 == before[part]
    changed |= set() if same else {part}
    print(f"{part}: {'unchanged' if same else 'other weights than before'}")
assert changed == {"projector"}, "the page says that only the projector is another"
theirs = count_errors(bundled, pair, held_out)
rate = plots.Rate(total_errors(theirs).rate, bootstrap_interval(theirs))
print(f"WER of the bundled projector {rate}, of ours {rates[kept[-1]]}")
_, low, high = paired_difference(theirs, errors)
print(f"the difference: {100 * low:+.0f} to {100 * high:+.0f} points")
assert low > 0, "the page says that the bundled one is better"
temporary.cleanup()

# %%
# Only the projector is another one. Ours understands most words, and the package's is
# better still.
#
# Summary
# -------
# All that was learned here is in the projector. It is quick because so little is
# missing: the encoder hears letters already, the decoder reads spelled text, and what
# has to be found is the way from the one to the other. Between parts that have less in
# common, the same loop takes longer. How much of it depends on the projector's own
# shape is the next question.
#
# Before: :ref:`robustness <gallery-robustness>`. Next: :ref:`ablations
# <gallery-ablations>`. The lecture: :doc:`Class 3, section 4 </course/class-3>`; the
# commands: :doc:`training </using/training>`.
