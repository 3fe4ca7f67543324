"""
.. _gallery-projector:

The projector, trained and random
=================================

**What does training the projector change, and what was there without it?**

The projector turns encoder positions into vectors that stand among the decoder's text
embeddings. Pictures of its output look impressive. To know what they are worth, this
page draws each of them twice: once for the trained projector, and once for a projector
with random weights.
"""

# %%
# Stacking
# --------
# **Predict:** the encoder gives the number of positions printed first. With the printed
# *k*, how many audio tokens are there, and how many positions are cut at the end?

# sphinx_gallery_thumbnail_number = 5
import numpy as np
import torch

import asrscope
from asrscope import plots
from asrscope.projector import stack_frames
from asrscope_recipe.studies import load_study

model, processor = asrscope.load("tiny")
sample = asrscope.load_samples()[0]
known = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **known)

k = trace.stack_factor
hidden = torch.from_numpy(trace.encoder_hidden_states[None])
stacked = stack_frames(hidden, k)
print(f"encoder positions: {hidden.shape[1]}, k = {k}")
cut = hidden.shape[1] - k * stacked.shape[1]
print(f"stacked: {tuple(stacked.shape[1:])}, positions cut: {cut}")
plots.player(trace)

# %%
# The network
# -----------
# Two norms and three matrices. **Predict:** which matrix has the most weights?

projector = model.multi_modal_projector
for name, weight in projector.named_parameters():
    print(f"{name:16} {tuple(weight.shape)!s:14} {weight.numel():9,} weights")
print(f"{'in all':31} {sum(weight.numel() for weight in projector.parameters()):9,}")

# %%
# A control
# ---------
# The same network, the same encoder, the same decoder, but the projector's weights are
# drawn at random, as before the first step of its training. The trace knows: it records
# where the weights of each part come from.

control, _ = asrscope.load("tiny", random_projector=True)
named = {"name": "random projector", "reference_words": sample.words}
random_trace = asrscope.trace(control, processor, sample.path, **named)

said = set(sample.text.split())
heard = [len(said & set(result.text.split())) for result in (trace, random_trace)]
assert heard[0] > 3 * heard[1], "the page says that training changed the text"
for result in (trace, random_trace):
    part = next(part for part in result.provenance if part.part == "projector")
    print(f"{part.label}:\n    {result.text!r}")

# %%
# The first line is the trained chain, the second the same chain with the random
# projector. Training changed this, beyond doubt. Now look at the pictures. **Predict:**
# can you tell them apart?

plots.show(plots.audio_embeds(trace))
plots.show(plots.audio_embeds(random_trace))

# %%
# Both have the rhythm of the sentence, because both get it from the encoder. A picture
# like this proves nothing about the projector.
#
# Nearest text tokens
# -------------------
# For each audio token we look up the text token whose embedding points most nearly the
# same way. The decoder learned to read sentences spelled by letters. **Predict:** will
# the trained projector's nearest tokens be words, letters or something else? And the
# random projector's?

plots.player(trace, spelled=True)

# %%
# Press a word to hear it. And the same from the random projector, with its own pieces
# of text:

plots.player(random_trace, spelled=True)

# %%
# The trained projector spells: a letter stays while its sound lasts, ``␣`` is the
# space, and ``-`` says that nothing new is heard. The random projector names pieces at
# random. The underlined word was not written as it was said, and yet it is spelled: the
# lectures follow this case. How near the nearest token is, the figures show:

plots.show(plots.nearest_tokens(trace))
plots.show(plots.nearest_tokens(random_trace))
spelled, other = (
    max(len(texts[0].strip()) for texts in each.nearest_texts)
    for each in (trace, random_trace)
)
assert spelled == 1 < other, "the page says that only the trained one spells"

# %%
# From random to trained
# ----------------------
# A projector was trained anew from random weights (:ref:`here is one in the making
# <gallery-training>`), and kept as it was after some of its steps. Move the slider,
# with the mouse or the arrow keys. **Predict:** does the decoder write real words
# before the projector spells, or only after?

study = load_study("milestones")
moments = []
for each in study["milestones"]:
    seen = each["clips"][sample.name]
    rate = plots.Rate(each["wer"], tuple(each["interval"]))
    label = f"step {each['step']}" if each["step"] else "random"
    looks = (seen["text"], tuple(seen["nearest"]), tuple(seen["cosines"]))
    moments.append(plots.Moment(label, *looks, note=f"held-out WER {rate}"))
nearest = tuple(texts[0] for texts in trace.nearest_texts)
cosines = tuple(trace.nearest_cosines[:, 0].tolist())
moments.append(plots.Moment("bundled", trace.text, nearest, cosines))
print(f"trained on {study['corpus']['clips']} clips, tested on", end=" ")
print(f"{sum(study['held_out'].values())} others,")
print("by {command!r} on {machine}, {date};".format(**study["made_with"]))
print("last: this package's own")
# To show it:
look = {"seconds_per_token": trace.seconds_per_audio_token}
title = f"Training, seen on the clip {sample.name!r}"
plots.show(plots.step_slider(moments, "steps", title, **look))

# %%
# Do not conclude that projectors spell. *This* decoder was trained to read sentences
# that are spelled with its own letter embeddings, ``-`` for a pause. So vectors near
# letters are what it understands, and training found them. A large language model had
# no such lessons, and audio tokens made for it need not come near any word.
#
# How near is near?
# -----------------
# A cosine needs a yardstick. Two *different text tokens* have cosines too: we take
# every text token's nearest other. The histogram shows three crowds. **Predict:** will
# the trained audio tokens lie with the text or with the random ones?

table = model.get_input_embeddings().weight.detach().numpy()
unit = table / np.linalg.norm(table, axis=1, keepdims=True)
between = unit @ unit.T
np.fill_diagonal(between, -1)

crowds = {
    "trained audio token": trace.nearest_cosines[:, 0],
    "random audio token": random_trace.nearest_cosines[:, 0],
    "other text token": between.max(axis=1),
}
bins = np.linspace(-0.1, 1, 45)
middle = {label: np.median(values) for label, values in crowds.items()}
told = [f"{label}: median {median:.2f}" for label, median in middle.items()]
twins = (between.max(axis=1) > 0.95).sum()
print(*told, f"{twins} text tokens have a near twin", sep="\n")
trained, random, text = middle.values()
assert trained > text > random, "the page says that trained is nearer than text"
# To show it:
words = {"x_label": "cosine", "y_label": "density", "description": "; ".join(told)}
lines = {
    label: (bins[:-1], np.histogram(values, bins, density=True)[0])
    for label, values in crowds.items()
}
chart = plots.chart("cosines", "Cosine to the nearest text token", **words)
plots.show(plots.draw(chart, lines, kinds=("steps",)))

# %%
# The trained audio tokens are nearer to a text token than text tokens are to each
# other, and the random ones are near to none. The spike at the right is text that
# training never showed, capitals and digits for example. All of it was only ever pushed
# away, in one direction. Among the rest the trained audio tokens are at home.
#
# Summary
# -------
# Width and number of the audio tokens follow from the projector's shape, trained or
# not. Much of the pictures, and a nearest token for each vector, were there without
# training, too. What training brought is the sentence at the end of the chain. The
# trained vectors also moved *towards* the text embeddings, as the medians say, because
# this decoder was taught to read letters.
#
# Before: :ref:`the encoder <gallery-encoder>`. Next: :ref:`the modality gap
# <gallery-gap>`. The lecture: :doc:`Class 2, section 5 </course/class-2>`.
