"""
.. _gallery-decoder:

The decoder writes
==================

**How does text come out, and how sure was the model of each piece?**

The decoder is a language model. It reads a prompt in which some positions are text and the others are
audio tokens, and then it writes one token at a time. This page follows it.
"""

# %%
# The prompt
# ----------
# **Predict:** how many positions of the prompt are audio? Which text surrounds them?

# sphinx_gallery_thumbnail_number = 2
import numpy as np
import torch
from bokeh.plotting import figure

import asrscope
from asrscope import plots

model, processor = asrscope.load("tiny")
sample = asrscope.load_samples()[0]
trace = asrscope.trace(
    model, processor, sample.path, name=sample.name, reference=sample.text, reference_words=sample.words
)

is_audio = trace.prompt_is_audio
print(f"{is_audio.size} positions: {is_audio.sum()} audio, {(~is_audio).sum()} text")
print("the text positions:", [trace.prompt_texts[position] for position in np.flatnonzero(~is_audio)])

# %%

plots.player(trace)

# %%

plots.show(plots.prompt(trace))

# %%
# Every audio position held a placeholder token. Its embedding was thrown away, and an audio token took its
# place. There must be exactly one placeholder for each audio token. **Predict:** what happens if there is
# one too few?

inputs = processor(audio=trace.waveform)
first_placeholder = int(np.flatnonzero(is_audio)[0])
keep = torch.arange(inputs["input_ids"].shape[1]) != first_placeholder
try:
    model(input_ids=inputs["input_ids"][:, keep], input_features=inputs["input_features"])
except ValueError as error:
    print("ValueError:", error)

# %%
# A silent mismatch would shift every later audio token by one place, so the model refuses.
#
# The first step by hand
# ----------------------
# Before it writes anything, the decoder has read the whole prompt once. Its last position gives a score
# for each token of the vocabulary; a softmax makes them probabilities. **Predict:** is the first word
# certain, or close?

with torch.no_grad():
    logits = model(**inputs).logits[0, -1]  # (vocabulary,)
probabilities = logits.softmax(dim=-1)
best = probabilities.topk(5)
for probability, index in zip(best.values, best.indices, strict=True):
    print(f"{probability:8.4f}  {processor.tokenizer.decode(index)!r}")
print(f"these {len(best.values)} of {probabilities.numel()} tokens hold {best.values.sum():.2%} in all")

# %%
# Greedy decoding takes the first line, appends it to the prompt, and asks again.
#
# Token by token
# --------------
# The trace has done so to the end. **Predict:** at which token does the model hesitate most? Will its
# second choice *sound* like the first, or *fit* like it?

print(f"{'step':>4}  {'probability':>11}  written       runners-up")
for step, token in enumerate(trace.tokens):
    others = ", ".join(f"{text!r} {probability:.3f}" for text, probability in token.runners_up[:3])
    print(f"{step:4}  {token.probability:11.4f}  {token.text!r:12}  {others}")
if trace.finished:
    print(f"{len(trace.tokens):4}  {trace.eos_probability:11.4f}  end of sequence")

# %%

plots.show(plots.decoder_tokens(trace))

# %%
# From tokens to words
# --------------------
# A word can take several tokens. Its probability is the product of theirs, so long words have a handicap.

print("spoken: ", trace.reference)
print("written:", trace.text)
for word in trace.words:
    pieces = [token.text for token in trace.tokens[word.first_token : word.last_token + 1]]
    print(f"{word.probability:8.4f}  {word.text:14} {pieces}")
plots.show(plots.decoder_words(trace))

# %%
# Can the probabilities be trusted?
# ---------------------------------
# We trace all clips of the package and sort each written word: is it a word of the reference or not?
# **Predict:** will the two groups be apart?

right, wrong = [], []
for clip in asrscope.load_samples():
    result = asrscope.trace(model, processor, clip.path, reference=clip.text, reference_words=clip.words)
    for word in result.words:
        (right if word.start is not None else wrong).append(word.probability)
print(f"{len(right)} words as spoken, {len(wrong)} words not as spoken")

bins = np.linspace(0, 1, 21)
groups = figure(name="groups", height=280, sizing_mode="stretch_width", title="Probability of written words")
groups.tags = [
    {"description": f"{len(right)} words as spoken and {len(wrong)} others, by their probability."}
]
for label, values, color in (("as spoken", right, "#3b82c4"), ("not as spoken", wrong, "#d9822b")):
    counts, _ = np.histogram(values, bins=bins)
    groups.step(bins[:-1], counts, mode="after", color=color, line_width=2, legend_label=label)
groups.xaxis.axis_label, groups.yaxis.axis_label = "probability", "words"
groups.legend.background_fill_alpha, groups.legend.label_text_color = 0, "#7a7a7a"
groups.legend.location = "top_center"
plots.show(groups)

# %%
# Summary
# -------
# Audio enters the decoder as vectors in the places of placeholders; from there on it is a language model
# at work. Each token comes with a probability and runners-up. They show where the model hesitated. They do
# not show the truth: look at the words that are not as spoken and yet probable.
#
# Before: :ref:`the projector <gallery-projector>`. Next: :ref:`does it listen?
# <gallery-attention>` The lecture: :doc:`Class 2, section 6 </course/class-2>`.
