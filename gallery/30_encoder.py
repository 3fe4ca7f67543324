"""
.. _gallery-encoder:

The encoder
===========

**What happens to time, and what does one position know?**

The encoder turns spectrogram frames into vectors. It makes them fewer, and it lets each of them take in
the whole clip. This page measures both.
"""

# %%
# Time is halved
# --------------
# Two convolutions stand at the entrance. **Predict:** the clip has an even number of frames. How many
# vectors come out of the first convolution, and how many out of the second?

# sphinx_gallery_thumbnail_number = 2
import numpy as np
import torch
from bokeh.layouts import column
from bokeh.models import LinearColorMapper
from bokeh.plotting import figure

import asrscope
from asrscope import plots
from asrscope.encoder import SECONDS_PER_POSITION, encode
from asrscope.features import HOP_LENGTH, log_mel

model, processor = asrscope.load("tiny")
encoder = model.audio_tower
sample = asrscope.load_samples()[0]
trace = asrscope.trace(
    model, processor, sample.path, name=sample.name, reference=sample.text, reference_words=sample.words
)

features = torch.from_numpy(trace.log_mel)[None]  # (1, n_mels, frames)
with torch.no_grad():
    after_first = encoder.conv1(features)
    after_second = encoder.conv2(torch.nn.functional.gelu(after_first))
print(f"log-mel:            {tuple(features.shape[1:])}  bands x frames")
print(f"first convolution:  {tuple(after_first.shape[1:])}  stride {encoder.conv1.stride[0]}")
print(f"second convolution: {tuple(after_second.shape[1:])}  stride {encoder.conv2.stride[0]}")
print(f"one position each {1000 * SECONDS_PER_POSITION:g} ms")

# %%

plots.player(trace)

# %%
# The output
# ----------
# After the convolutions come the transformer layers. They keep the shape and change the content.
# **Predict:** will the words be visible in the picture?

print(f"{len(encoder.layers)} layers; output {trace.encoder_hidden_states.shape}, positions x dimensions")
plots.show(plots.encoder_output(trace))

# %%
# The vertical axis has no order: dimension 7 is no neighbor of dimension 8. So look for columns that
# change together. To learn more we have to compare vectors.
#
# Which moments are alike?
# ------------------------
# We take the vectors before the first layer and after the last, and compute the cosine between every two
# positions. The mean vector is subtracted first; otherwise all cosines are high. **Predict:** where will
# the first picture have bright squares, and what will the layers do to them?

layers = {}
with torch.no_grad():
    encode(encoder, features, collect=lambda number, hidden: layers.update({number: hidden[0].numpy()}))

panels = []
for number, title in ((0, "Before the first layer"), (len(encoder.layers), "After the last layer")):
    centered = layers[number] - layers[number].mean(axis=0)
    unit = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    cosines = unit @ unit.T  # (positions, positions)
    neighbors = f"cosine {np.diagonal(cosines, offset=1).mean():.2f} between neighbors"
    print(f"{title}: {neighbors} on average")
    panel = figure(height=300, sizing_mode="stretch_width", title=title)
    panel.tags = [{"description": f"{title}: {neighbors}."}]
    panel.x_range.range_padding = panel.y_range.range_padding = 0
    mapper = LinearColorMapper(palette=plots.PALETTE, low=-1, high=1)
    panel.image([cosines], x=0, y=0, dw=trace.duration, dh=trace.duration, color_mapper=mapper)
    panel.xaxis.axis_label = panel.yaxis.axis_label = "time (s)"
    panels.append(panel)
plots.show(column(*panels, name="similarity", sizing_mode="stretch_width"))

# %%
# A bright square along the diagonal is a stretch of sound that the encoder treats as one. A bright spot
# away from it means that two moments are alike although they are far apart: the same sound spoken twice,
# say, or two silences.
#
# How far does a position look?
# -----------------------------
# Does the whole clip matter to each position? We silence the second half of the *picture* and see which
# vectors of the first half change. **Predict:** none, those near the cut, or all?

half = features.shape[2] // 4 * 2
silenced = features.clone()
silenced[:, :, half:] = features.min()
with torch.no_grad():
    changed = encode(encoder, silenced)[0].numpy()
original = trace.encoder_hidden_states
shift = np.linalg.norm(changed - original, axis=1) / np.linalg.norm(original, axis=1)
seconds = (np.arange(len(shift)) + 0.5) * trace.duration / len(shift)

first_half, second_half = shift[: half // 2], shift[half // 2 :]
medians = f"median change: first half {np.median(first_half):.3f}, second half {np.median(second_half):.3f}"
reach = figure(
    name="reach", height=260, sizing_mode="stretch_width", title="Second half silenced: the change"
)
reach.tags = [{"description": medians}]
reach.line(seconds, shift, line_width=2)
reach.xaxis.axis_label, reach.yaxis.axis_label = "time (s)", "relative change"
plots.show(reach)
print(f"changed by more than 0.01 %: {(first_half > 1e-4).sum()} of {first_half.size} in the first half")
print(medians)

# %%
# Attention carries information from anywhere to anywhere, in one step. The strongest changes are where the
# sound itself was taken away, but a position far from the cut is not safe from it.
#
# True length or the full window?
# -------------------------------
# Whisper pads every clip with silence up to its window. This model was trained at true length.
# **Predict:** if we pad all the same, do the vectors of the clip stay as they were?

window = 2 * encoder.config.max_source_positions  # frames
padded_clip = np.pad(trace.waveform, (0, window * HOP_LENGTH - trace.waveform.size))
with torch.no_grad():
    padded = encode(encoder, torch.from_numpy(log_mel(padded_clip, features.shape[1]))[None])[0].numpy()
moved = np.linalg.norm(padded[: len(original)] - original, axis=1) / np.linalg.norm(original, axis=1)
print(f"true length: {len(original)} positions; padded: {len(padded)}")
print(f"the clip's own positions moved by {np.median(moved):.2f} (median, relative to their length)")

# %%
# They do move, because the silence takes part in the attention. So a projector must be trained on the kind
# of input that it will get in use. Running at true length also costs less.
#
# Summary
# -------
# The encoder halves the number of columns, keeps that length through its layers, and gives each position a
# view of the whole clip. What the dimensions mean is not written on them; comparisons between positions
# show some of it.
#
# Before: :ref:`the log-mel spectrogram <gallery-log-mel>`. Next: :ref:`the projector <gallery-projector>`.
# The lecture: :doc:`Class 2, section 4 </course/class-2>`.
