"""
.. _gallery-prompt:

Prompt anatomy
==============

**What does the decoder read, position by position, and what if a position is missing?**

The decoder is a language model, so it reads a prompt. Among its text stand audio
tokens, each in a place kept for it. This page takes a prompt apart, computes its
length, and then breaks it on purpose.
"""

# %%
# From template to tokens
# -----------------------
# The processor writes the prompt as text, with one placeholder where the clip belongs.
# **Predict:** how often does the model get to read the placeholder?

# sphinx_gallery_thumbnail_number = 1
import textwrap
from itertools import groupby

import numpy as np
import torch

import asrscope
from asrscope import plots

model, processor = asrscope.load()
samples = asrscope.load_samples()
sample = samples[0]
known = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **known)
placeholder = processor.audio_token
print("template:", repr(processor.prompt()), sep="\n  ")
first = 0
for text, run in groupby(trace.prompt_texts):
    count, token = len(list(run)), trace.prompt_ids[first]
    print(f"from position {first:3}, {count:3} times: {text!r} (id {token})")
    first += count
repeated = trace.prompt_texts.count(placeholder)
assert repeated == len(trace.audio_embeds), "the page says: as often as audio tokens"
plots.player(trace)

# %%
# As often as there are audio tokens: one place for each.

plots.show(plots.prompt(trace))

# %%
# How long is it?
# ---------------
# A clip fills ``p`` encoder positions, the last of them filled up with silence; each
# ``k`` of them become an audio token, and a remainder is cut: ``(p - k) // k + 1``
# audio tokens. The text comes on top. **Predict:** by how many positions does a prompt
# grow for one second more?

k, seconds = trace.stack_factor, trace.seconds_per_audio_token
around = int((~trace.prompt_is_audio).sum())
rate = asrscope.SAMPLE_RATE
samples_per_position = round(seconds / k * rate)
lengths = np.linspace(samples_per_position * k, rate // 2, 60).astype(int)
positions = -(-lengths // samples_per_position)  # rounded up
computed = (positions - k) // k + 1 + around
silences = [np.full(length, 1e-3, np.float32) for length in lengths]
measured = [processor(audio=clip)["input_ids"].shape[1] for clip in silences]
print(f"k = {k}: {1 / seconds:g} positions for each second, and {around} of text")
differ = (computed != measured).sum()
print(f"formula and processor differ for {differ} of {len(lengths)} clips")
assert differ == 0, "the page says that the formula is right"
# To show it:
words = {"x_label": "length of the clip (s)", "y_label": "positions"}
told = f"Stairs from {computed[0]} to {computed[-1]} positions."
stairs = plots.chart("prompt_length", "Length of the prompt", description=told, **words)
lines = {"measured": (lengths / rate, measured), "formula": (lengths / rate, computed)}
plots.show(plots.draw(stairs, lines, kinds=("dots", "steps")))

# %%
# The formula is right for every length that was tried.
#
# What stands in the places
# -------------------------
# Now look at what the decoder's first layer is given. **Predict:** what is left of the
# placeholder's own embedding?

seen = []
layer = model.language_model.model.layers[0]
handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
inputs = processor(audio=trace.waveform)
with torch.no_grad():
    model(**inputs)
    table = model.get_input_embeddings()(inputs["input_ids"])[0]
handle.remove()
given, is_audio = seen[0], torch.from_numpy(trace.prompt_is_audio)
own = (given == table).all(dim=1)
sound = np.allclose(given[is_audio], trace.audio_embeds, atol=1e-5)
print("text positions hold their tokens' embeddings:", bool(own[~is_audio].all()))
print("audio positions hold the audio tokens:", sound)
print("audio positions that hold the placeholder's:", int(own[is_audio].sum()))
assert torch.equal(own, ~is_audio), "the page says that nothing is left of it"

# %%
# Nothing is left of it. **Predict:** could the two kinds of position be told apart by
# length alone?

norms = given.norm(dim=1).numpy()
kinds = {"text": ~trace.prompt_is_audio, "audio": trace.prompt_is_audio}
dots = {label: (np.flatnonzero(of), norms[of]) for label, of in kinds.items()}
told = ", ".join(f"{label} {np.median(y):.2f}" for label, (_, y) in dots.items())
print("median length:", told)
text, audio = (np.median(y) for _, y in dots.values())
assert audio > 1.3 * text, "the page says that audio tokens are longer"
# To show it:
told = {"description": f"{len(norms)} positions. Median length: {told}."}
axes = {"x_label": "position", "y_label": "length (Euclidean norm)"}
title = "Length of the vector at each position"
chart = plots.chart("prompt_norms", title, **told, **axes)
plots.show(plots.draw(chart, dots, kinds=("dots",)))

# %%
# Most of them could: audio tokens are longer.
#
# One too few
# -----------
# **Predict:** what should a model do if a placeholder is missing?

keep = torch.ones_like(inputs["input_ids"][0], dtype=torch.bool)
keep[is_audio.nonzero()[0]] = False
fewer = {"input_ids": inputs["input_ids"][:, keep]}
try:
    model(**fewer, input_features=inputs["input_features"])
    raise AssertionError("the page says that it refuses")
except ValueError as error:
    print(textwrap.fill(f"ValueError: {error}", 80))

# %%
# It refuses, because all later audio tokens would stand in wrong places. But what is
# counted is the whole batch. Below, two clips are read together, and some of the first
# one's placeholders are given to the second: the sum is right. **Predict:** what will
# be written?

clips = [asrscope.load_audio(clip.path) for clip in samples[:2]]
both = processor(audio=clips)
counts = (both["input_ids"] == processor.audio_token_id).sum(dim=1).tolist()
options = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
only_first, found = set(samples[0].text.split()) - set(samples[1].text.split()), {}
for moved in (0, 5, 20):
    sizes, template = (counts[0] - moved, counts[1] + moved), processor.prompt()
    texts = [template.replace(placeholder, placeholder * size) for size in sizes]
    both |= processor.tokenizer(texts, add_special_tokens=False, **options)
    ids = model.generate(**both, max_new_tokens=40, do_sample=False)
    ids = ids[:, both["input_ids"].shape[1] :]
    written = processor.batch_decode(ids, skip_special_tokens=True)
    found[moved] = only_first & set(written[1].split())
    print(f"{moved:2} moved:", *written, sep="\n    ")
assert len(found[20]) > len(found[0]) == 0, "the page: an end becomes a beginning"

# %%
# No error, and the end of the first clip has become the beginning of the second.
#
# Summary
# -------
# A prompt is text with places in it, as many as the length formula says, and what
# stands in them is sound. A wrong sum is noticed, a wrong place is not. Let the
# processor saved with a model prepare both.
#
# Before: :ref:`the modality gap <gallery-gap>`. Next: :ref:`the decoder
# <gallery-decoder>`. The lecture: :doc:`Class 2, section 6 </course/class-2>`.
