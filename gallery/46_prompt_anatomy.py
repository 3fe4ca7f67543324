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
from itertools import groupby

import numpy as np
import torch

import asrscope
from asrscope import plots

model, processor = asrscope.load()
samples = asrscope.load_samples()
sample = samples[0]
trace = asrscope.trace(
    model,
    processor,
    sample.path,
    name=sample.name,
    reference=sample.text,
    reference_words=sample.words,
)
placeholder = processor.audio_token
print("template:", repr(processor.prompt()))
first = 0
for text, run in groupby(trace.prompt_texts):
    count = len(list(run))
    print(
        f"from position {first:3}, {count:3} times: {text!r} (id"
        f" {trace.prompt_ids[first]})"
    )
    first += count
plots.player(trace)

# %%

plots.show(plots.prompt(trace))

# %%
# How long is it?
# ---------------
# A clip fills ``p`` encoder positions, the last one with silence; each ``k`` of them
# become an audio token, and a remainder is cut: ``(p - k) // k + 1`` audio tokens. The
# text comes on top. **Predict:** by how many positions does a prompt grow for one
# second more?

k, seconds = trace.stack_factor, trace.seconds_per_audio_token
around = int((~trace.prompt_is_audio).sum())
samples_per_position = round(seconds / k * asrscope.SAMPLE_RATE)
lengths = np.unique(
    np.linspace(samples_per_position * k, asrscope.SAMPLE_RATE // 2, 60).astype(int)
)
positions = -(-lengths // samples_per_position)  # rounded up
computed = (positions - k) // k + 1 + around
measured = [
    processor(audio=np.zeros(length, np.float32) + 1e-3)["input_ids"].shape[1]
    for length in lengths
]
print(f"k = {k}: {1 / seconds:g} positions for each second, and {around} of text")
print(
    f"formula and processor differ for {(computed != measured).sum()} of {len(lengths)}"
    " clips"
)
stairs = plots.chart(
    "prompt_length",
    "Length of the prompt",
    description=(
        f"Stairs from {computed[0]} to {computed[-1]} positions, a step each"
        f" {seconds * 1000:g} ms."
    ),
    x_label="length of the clip (s)",
    y_label="positions",
)
grid = lengths / asrscope.SAMPLE_RATE
stairs.step(
    grid, computed, mode="after", color="#d9822b", line_width=2, legend_label="formula"
)
stairs.scatter(
    grid, measured, size=5, color="#3b82c4", legend_label="measured on the processor"
)
plots.legend(stairs, "below")
plots.show(stairs)

# %%
# What stands in the places
# -------------------------
# Now look at what the decoder's first layer is given. **Predict:** what is left of the
# placeholder's own embedding?

seen = []
layer = model.language_model.model.layers[0]
handle = layer.register_forward_pre_hook(
    lambda _, arguments: seen.append(arguments[0][0])
)
inputs = processor(audio=trace.waveform)
with torch.no_grad():
    model(**inputs)
    table = model.get_input_embeddings()(inputs["input_ids"])[0]
handle.remove()
given, table, is_audio = (
    seen[0].float(),
    table.float(),
    torch.from_numpy(trace.prompt_is_audio),
)
print(
    "text positions hold their tokens' embeddings:",
    torch.equal(given[~is_audio], table[~is_audio]),
)
print(
    "audio positions hold the audio tokens:",
    np.allclose(given[is_audio], trace.audio_embeds, atol=1e-5),
)
print(
    "audio positions that hold the placeholder's embedding:",
    int((given == table).all(dim=1)[is_audio].sum()),
)

# %%
# Nothing is left of it. **Predict:** could the two kinds of position be told apart by
# length alone?

norms = given.norm(dim=1).numpy()
kinds = {"text": ~trace.prompt_is_audio, "audio": trace.prompt_is_audio}
medians = [f"{label} {np.median(norms[chosen]):.2f}" for label, chosen in kinds.items()]
print("median length:", ", ".join(medians))
bars = plots.chart(
    "prompt_norms",
    "Length of the vector at each position",
    description=(
        f"Bars for {len(norms)} positions. Median length: {', '.join(medians)}."
    ),
    x_label="position",
    y_label="length (Euclidean norm)",
)
for (label, chosen), color in zip(kinds.items(), ("#3b82c4", "#d9822b"), strict=True):
    bars.vbar(
        np.flatnonzero(chosen),
        width=0.8,
        top=norms[chosen],
        color=color,
        legend_label=label,
    )
plots.legend(bars, "below")
plots.show(bars)

# %%
# One too few
# -----------
# **Predict:** what should a model do if a placeholder is missing?

keep = torch.ones_like(inputs["input_ids"][0], dtype=torch.bool)
keep[is_audio.nonzero()[0]] = False
try:
    model(
        input_ids=inputs["input_ids"][:, keep], input_features=inputs["input_features"]
    )
except ValueError as error:
    print("ValueError:", error)

# %%
# It refuses, because all later audio tokens would stand in wrong places. But what is
# counted is the whole batch. Below, two clips are read together, and some of the first
# one's placeholders are given to the second: the sum is right. **Predict:** what will
# be written?

clips = [asrscope.load_audio(clip.path) for clip in samples[:2]]
both = processor(audio=clips)
counts = (both["input_ids"] == processor.audio_token_id).sum(dim=1).tolist()
options = {
    "padding": True,
    "padding_side": "left",
    "add_special_tokens": False,
    "return_tensors": "pt",
}
for moved in (0, 5, 20):
    sizes = (counts[0] - moved, counts[1] + moved)
    texts = [
        processor.prompt().replace(placeholder, placeholder * size) for size in sizes
    ]
    prompts = processor.tokenizer(texts, **options)
    both["input_ids"], both["attention_mask"] = (
        prompts["input_ids"],
        prompts["attention_mask"],
    )
    ids = model.generate(**both, max_new_tokens=40, do_sample=False)
    written = processor.batch_decode(
        ids[:, both["input_ids"].shape[1] :], skip_special_tokens=True
    )
    print(f"{moved:2} moved:", *written, sep="\n    ")

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
