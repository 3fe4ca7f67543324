"""
.. _gallery-any-model:

The scope on any model
======================

**What can be seen inside a speech-language model that somebody else built?**

``asrscope.attach`` puts the same scope on models that ``transformers`` ships: it finds
encoder, projector and decoder by their names, listens at the seams during one run of
the model's own ``generate``, and gives the same trace. Published weights are large, so
this page uses five very small models of the same classes *with random weights*. They
have learned nothing and write nonsense; they are joined as the published ones are.
"""

# %%
# Attach
# ------
# The clip lasts a few seconds. Each model may write eight tokens, enough to see its
# stages; so tiny, too, stops within the sentence.

# sphinx_gallery_thumbnail_number = 5
import textwrap

import numpy as np

import asrscope
from asrscope import plots
from asrscope.inside.context import connector_reach
from asrscope_course.architectures import ARCHITECTURES, tiny_random

sample = asrscope.load_sample("captain")
models = {"tiny": asrscope.load("tiny")}
models |= {kind: tiny_random(kind) for kind in ARCHITECTURES}
traces = {
    name: asrscope.attach(*pair).trace(sample.path, name=name, max_new_tokens=8)
    for name, pair in models.items()
}
plots.player(traces["tiny"])

# %%
# A row of shapes each. Widths are small for the five; the lengths are those of the
# published models. **Predict:** how many audio tokens does each make of the clip?

print(
    f"{'':16}{'audio tokens':>13}{'of padding':>11}{'prompt':>8}"
    f"{'log-mel':>12}{'encoder':>12}"
)
for name, trace in traces.items():
    mel, encoder, tokens = (
        " x ".join(map(str, trace.shapes()[stage]))
        for stage in ("log_mel", "encoder_hidden_states", "audio_embeds")
    )
    print(
        f"{name:16}{tokens:>13}{trace.padding_tokens:11}{trace.prompt_ids.size:8}"
        f"{mel:>12}{encoder:>12}"
    )

# %%
# What the trace says of the way from positions to audio tokens:

for name, trace in traces.items():
    sentence = (
        f"{name}: {1000 * trace.seconds_per_audio_token:g} ms each. {trace.projection}."
    )
    print(textwrap.fill(sentence, 48), end="\n\n")

# %%
# And where the weights are from. A picture that depends on random weights says so in
# its title.

for part in traces["voxtral"].provenance:
    print(f"{part.part:10} {part.label}, {part.parameters:,} parameters: {part.source}")

# %%
# Padding, seen
# -------------
# Voxtral's processor fills the clip up to 30 s, and its decoder reads all of it.
# Granite Speech reads the clip and nothing else. **Predict:** which share of the first
# picture is speech?

first, second = (plots.log_mel(traces[name]) for name in ("voxtral", "granite_speech"))
first.title.text, second.title.text = (
    "Voxtral: log-mel spectrogram",
    "Granite Speech: log-mel spectrogram",
)
plots.show(first)
plots.show(second)
filled = 1 - traces["voxtral"].padding_tokens / len(traces["voxtral"].audio_embeds)
print(f"audio tokens of Voxtral that hold some of the clip: {filled:.0%}")

# %%
# The others lie between: their encoders read a window of 30 s as well, but their
# decoders get only what the clip fills, and the trace keeps only that.
#
# The same figures
# ----------------
# Everything that draws a trace draws these. The trained model first, then a random one.

plots.show(plots.audio_embeds(traces["tiny"]))
plots.show(plots.audio_embeds(traces["qwen2_audio"]))

# %%
# Who reads what
# --------------
# Three ways lead from many positions to few audio tokens: lay neighbors side by side
# (*stacking*), take their mean (*pooling*), or let learned queries look at a window of
# them (*Q-Former*). We do not take the code's word for it. For the first audio tokens
# of each model, a gradient tells which outputs of the encoder's last layer they depend
# on. **Predict:** in which panels do two audio tokens read the same position?

ways = {
    "tiny": "stacking (tiny, trained)",
    "voxtral": "stacking (Voxtral, random)",
    "glmasr": "stacking (GLM-ASR, random)",
    "qwen2_audio": "pooling (Qwen2-Audio, random)",
    "audioflamingo3": "pooling (Audio Flamingo 3, random)",
    "granite_speech": "Q-Former (Granite Speech, random)",
}
tokens, positions = 9, 45
reach = {
    ways[name]: connector_reach(*models[name], sample.path, tokens) for name in ways
}
shown = {title: found[:, :positions] for title, found in reach.items()}
plots.show(plots.reach(shown, "any_model_reach"))
for title, found in reach.items():
    spans = [np.flatnonzero(row)[[0, -1]].tolist() for row in found]
    print(f"{title}: the first three read {spans[:3]}")
    shared = (found > 0).sum(axis=0).max() > 1
    assert shared == title.startswith("Q-Former"), "the page says who shares a position"

# %%
# Stacking and pooling deal the positions out: each is read by one audio token. The
# Q-Former's queries share a window, and what each takes from it is for training to
# decide. Where the gradient is zero, it is exactly zero, with any weights. Elsewhere it
# is what these weights make it.
#
# This is about the step from encoder to decoder alone. What an *encoder position* knows
# of the sound around it is another question, and :ref:`the encoder's page
# <gallery-encoder>` asks it.
#
# On a published model
# --------------------
# With the weights at hand, this is enough, on a machine with the memory for them::
#
#     from asrscope.loading import load_native
#
#     model, processor = load_native("mistralai/Voxtral-Mini-3B-2507")
#     trace = asrscope.attach(model, processor).trace("recording.wav")
#
# Summary
# -------
# The stages are the same in all six, and so are the figures. They differ in how many
# positions an audio token stands for, in how it reads them, and in what becomes of the
# padding.
#
# Before: :ref:`five systems side by side <gallery-systems>`, with the full sizes. Next:
# the tables and the sources in :doc:`Systems compared </using/systems>`. The lecture:
# :doc:`Class 6, section 1 </course/class-6>`.
