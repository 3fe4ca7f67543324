"""
.. _gallery-encoder:

The encoder
===========

**What happens to time, and what does one position know?**

The encoder turns spectrogram frames into vectors. It makes them fewer, and it lets each
of them take in the whole clip. This page measures both, layer by layer.
"""

# %%
# Time is halved
# --------------
# Two convolutions stand at the entrance. **Predict:** the clip has an even number of
# frames. How many vectors come out of the first convolution, and how many out of the
# second?

# sphinx_gallery_thumbnail_number = 2
import numpy as np
import torch

import asrscope
from asrscope import plots
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.features import SECONDS_PER_FRAME
from asrscope.inside.context import (
    STRETCH,
    change_by_distance,
    change_by_layer,
    layer_states,
)

model, processor = asrscope.load("tiny")
encoder = model.audio_tower
sample = asrscope.load_samples()[0]
words = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **words)

features = torch.from_numpy(trace.log_mel)[None]  # (1, n_mels, frames)
with torch.no_grad():
    after_first = encoder.conv1(features)
    after_second = encoder.conv2(torch.nn.functional.gelu(after_first))
print(f"log-mel:            {tuple(features.shape[1:])}  bands x frames")
for name, after in (("first", after_first), ("second", after_second)):
    print(f"{name + ' convolution:':19} {tuple(after.shape[1:])}")
print(f"one position each {1000 * SECONDS_PER_POSITION:g} ms")
frames = features.shape[2]
assert after_first.shape[2] == frames == 2 * after_second.shape[2], "the page: halved"

# %%
# The first keeps their number, the second halves it: it moves on by two at each step.
#
# The output
# ----------
# After the convolutions come the transformer layers. They keep the shape and change the
# content. **Predict:** will the words be visible in the picture?

print(
    f"{len(encoder.layers)} layers; output {trace.encoder_hidden_states.shape},"
    " positions x dimensions"
)
plots.show(plots.encoder_output(trace))
plots.player(trace)

# %%
# The vertical axis has no order: dimension 7 is no neighbor of dimension 8. So look for
# columns that change together. To learn more we have to compare vectors.
#
# Which moments are alike?
# ------------------------
# The cosine between every two positions, at the entrance and after some of the layers.
# The mean vector is subtracted first; otherwise all cosines are high. **Predict:**
# where will the first picture have bright squares, and what will the layers do to them?

states = layer_states(encoder, trace.log_mel)  # (levels, positions, encoder_dim)
last, step = len(encoder.layers), SECONDS_PER_POSITION
levels = sorted({0, 1, last // 2, last})
panels = {f"After layer {level}": states[level] for level in levels}
panels = {"Before the layers": panels.pop("After layer 0"), **panels}
plots.show(plots.similarity(panels, step, name="similarity", trace=trace))

# %%
# Play the clip: the lines cross at the moment that you hear. A bright square on the
# diagonal is a stretch of sound that the encoder treats as one. A bright spot elsewhere
# means that two moments are alike although they are far apart: the same sound spoken
# twice, say, or two silences.
#
# How far does a position look?
# -----------------------------
# We silence a tenth of a second of the *picture* in the middle of the clip and see
# which vectors move, and how far, compared with their length. **Predict:** how many
# positions move before the first layer, and how many after it?

start = features.shape[2] // 4 * 2
change = change_by_layer(encoder, trace.log_mel, start, start + STRETCH)
names = ["convolutions", *[f"layer {number}" for number in range(1, last + 1)]]
moving = (change > 0).sum(axis=1)
pairs = zip(names, moving, strict=True)
counts = [f"{name}: {count} of {change.shape[1]} move" for name, count in pairs]
print(*counts, sep="\n")
assert moving[0] < 10, "the page says that only neighbors move before the layers"
assert (moving[1:] == change.shape[1]).all(), "the page says that nothing stands still"
# To show it:
span = (start * SECONDS_PER_FRAME, (start + STRETCH) * SECONDS_PER_FRAME)
look = {"limits": (-3.0, 0.0), "seconds_per_column": step}
look["spans"] = [(row, *span) for row in range(len(names))]
look |= {"value": "relative change, log10", "description": "; ".join(counts)}
title, shown = (
    "What moves if the outlined stretch is silenced",
    np.maximum(change, 1e-4),
)
plots.show(
    plots.time_map(trace, np.log10(shown), names, name="reach", title=title, **look)
)

# %%
# Before the layers only the neighbors move: that is how far two convolutions see.
# Attention carries information from anywhere to anywhere in one step, so after the
# first layer nothing stands still. How much it moves is another matter. **Predict:**
# how far away do vectors still move by a tenth of their length? We silence stretches
# all over the clip, one at a time, and average by distance.

by_distance = change_by_distance(encoder, trace.log_mel)
ms = 1000 * step * np.arange(by_distance.shape[1])
far = {}
for name, row in zip(names, by_distance, strict=True):
    far[name] = [ms[np.flatnonzero(row > least)[-1]] for least in (0.1, 0.01)]
told = [f"{name}: {a:.0f} and {b:.0f} ms" for name, (a, b) in far.items()]
print("moves by a tenth of its length up to, and by a hundredth:", *told, sep="\n    ")
tenths = [tenth for tenth, _ in far.values()]
assert tenths[-1] > tenths[1] >= tenths[0], "the page says that reach adds up"
# To show it:
axes = {"x_label": "distance (ms)", "y_label": "change (% of the vector's length)"}
title, told = "Change by distance from the silence", {"description": "; ".join(told)}
decay = plots.chart("decay", title, **told, **axes)
lines = zip(names, by_distance, strict=True)
plots.show(plots.draw(decay, {name: (ms[:31], 100 * row[:31]) for name, row in lines}))

# %%
# Each layer takes in what the ones before it have gathered, so reach adds up with
# depth: a silence is felt farther away after the last layer than after the first.
#
# True length or the full window?
# -------------------------------
# Whisper pads every clip with silence up to its window. This model was trained at true
# length. **Predict:** if we pad all the same, do the vectors of the clip stay as they
# were? And the text?

processor.pad_audio = True
padded = asrscope.trace(
    model, processor, sample.path, name=f"{sample.name}, padded", **words
)
processor.pad_audio = False
short, long = trace.encoder_hidden_states, padded.encoder_hidden_states
lengths = np.linalg.norm(short, axis=1)
moved = np.median(np.linalg.norm(long[: len(short)] - short, axis=1) / lengths)
times = len(long) / len(short)
print(f"positions: {len(short)} and {len(long)}, {times:.1f} times as many to compute")
print(f"pairs that attend: {times**2:.0f} times as many")
print(f"audio tokens: {len(trace.audio_embeds)} and {len(padded.audio_embeds)}")
print(f"the clip's own positions moved by {moved:.0%} of their length (median)")
print(f"spoken:      {sample.text}\ntrue length: {trace.text}")
print(f"padded:      {padded.text}")
assert moved > 0.1, "the page says that they move"
assert padded.text != trace.text, "the page says that the text is another"

# %%
# They move, and the text breaks. The silence takes part in the attention, and the rest
# of the model has never seen such vectors. So a projector must be trained on the kind
# of input that it will get in use.
#
# Summary
# -------
# The encoder halves the number of columns, keeps that length through its layers, and
# gives each position a view of the whole clip: sharp nearby, faint far away. Running at
# true length costs less.
#
# Before: :ref:`the log-mel spectrogram <gallery-log-mel>`. Next: :ref:`the projector
# <gallery-projector>`. The lecture: :doc:`Class 2, section 4 </course/class-2>`.
