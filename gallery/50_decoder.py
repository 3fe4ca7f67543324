"""
.. _gallery-decoder:

The decoder writes
==================

**How does text come out, and how sure was the model of each piece?**

The decoder has read its prompt. Now it writes one token at a time, and each choice has
a probability. This page follows it, looks for the places where it hesitates, and tries
to do better by looking further ahead.
"""

# %%
# The first step by hand
# ----------------------
# Before it writes anything, the decoder has read the whole prompt once. Its last
# position gives a score for each token of the vocabulary; a softmax makes them
# probabilities. **Predict:** is the first word certain, or close?

# sphinx_gallery_thumbnail_number = 1
import numpy as np
import torch

import asrscope
from asrscope import plots
from asrscope.inside.forcing import force
from asrscope.recognition.metrics import total_errors, word_errors

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
inputs = processor(audio=trace.waveform)
with torch.no_grad():
    probabilities = model(**inputs).logits[0, -1].softmax(dim=-1)  # (vocabulary,)
best = probabilities.topk(5)
for probability, index in zip(best.values, best.indices, strict=True):
    print(f"{probability:8.4f}  {processor.tokenizer.decode(index)!r}")
print(
    f"these {len(best.values)} of {probabilities.numel()} tokens hold"
    f" {best.values.sum():.2%} in all"
)
plots.player(trace)

# %%
# Greedy decoding takes the first line, appends it to the prompt, and asks again.
#
# Token by token
# --------------
# The trace has done so to the end. **Predict:** at which token does the model hesitate
# most? Will its second choice *sound* like the first, or *fit* like it?

plots.show(plots.decoder_tokens(trace))
for token in sorted(trace.tokens, key=lambda token: token.probability)[:4]:
    others = ", ".join(
        f"{text!r} {probability:.3f}" for text, probability in token.runners_up[:3]
    )
    print(
        f"{token.probability:.3f} for {token.text!r}, at token"
        f" {trace.tokens.index(token)}; else {others}"
    )
print(f"end of text: {trace.eos_probability or 0.0:.3f}")

# %%
# Reading everything once
# -----------------------
# To append a token and ask again sounds as if the prompt were read anew for each token.
# **Predict:** how many positions pass through the decoder, for the prompt and the
# tokens printed below?

counts, layer = {}, model.language_model.model.layers[0]
for cached in (True, False):
    passed = []
    handle = layer.register_forward_pre_hook(
        lambda _, given, passed=passed: passed.append(given[0].shape[1])
    )
    ids = model.generate(
        **inputs,
        do_sample=False,
        use_cache=cached,
        max_new_tokens=len(trace.tokens) + 1,
    )
    handle.remove()
    counts[cached] = passed
prompt = inputs["input_ids"].shape[1]
print(
    f"{prompt} positions of prompt, {ids.shape[1] - prompt} tokens written; positions"
    " that passed through:"
)
print(f"with cache {sum(counts[True])}, without {sum(counts[False])}")
cost = plots.chart(
    "decoder_cache",
    "Positions read in each step",
    description=(
        f"With cache {sum(counts[True])} in all, most of them first; without,"
        f" {sum(counts[False])}."
    ),
    x_label="step",
    y_label="positions",
)
for n, color, label in (
    (counts[False], "#d9822b", "without cache"),
    (counts[True], "#3b82c4", "with cache"),
):
    cost.step(
        np.arange(len(n)),
        n,
        mode="center",
        color=color,
        line_width=2,
        legend_label=label,
    )
plots.legend(cost, "below")
plots.show(cost)

# %%
# What a position leaves behind are its keys and values, one pair a layer. They never
# change, since no position looks ahead, and so they are kept. **Predict:** which of
# these numbers grows while it writes?

with torch.no_grad():
    cache = model(**inputs, use_cache=True).past_key_values
keys = cache.layers[0].keys
print(
    f"keys of one of {len(cache.layers)} layers: (clips, heads, positions, width)"
    f" {tuple(keys.shape)}"
)
print(
    f"keys and values of all layers: {2 * len(cache.layers) * keys.numel() // prompt}"
    " numbers a position"
)

# %%
# Looking further ahead
# ---------------------
# Greedy takes the best token and never returns. A beam search follows several texts and
# keeps those that are most probable as a whole. **Predict:** does it find a more
# probable text? A *better* one?

for beams in (1, 2, 4, 8):
    result = asrscope.trace(model, processor, trace.waveform, num_beams=beams)
    forced = force(
        model, processor, trace.waveform, [token.id for token in result.tokens]
    )
    logs = np.log([*forced.token_probabilities, forced.eos_probability])
    print(
        f"{beams} beams, log-probability {logs.sum():7.2f}, {logs.mean():.2f} a token:"
        f" {result.text}"
    )
print("spoken:", sample.text)

errors, right, wrong = {1: [], 4: []}, [], []
for clip in samples:
    for beams, counted in errors.items():
        result = asrscope.trace(
            model, processor, clip.path, num_beams=beams, reference_words=clip.words
        )
        counted.append(word_errors(clip.text, result.text))
        if beams == 1:
            for word in result.words:
                (right if word.start is not None else wrong).append(word.probability)
for beams, counted in errors.items():
    together = total_errors(counted)
    print(
        f"{beams} beams, {len(samples)} clips: {together.rate:.1%} of {together.words}"
        " words wrong"
    )

# %%
# More probable is what the search is after. Whether it is more often right, the last
# lines say, on few clips.
#
# From tokens to words
# --------------------
# A word's probability is the product of its tokens', so long words have a handicap.
# **Predict:** are the words that are not as spoken (their times are unknown) the
# improbable ones?

plots.show(plots.decoder_words(trace))

# %%
# The same for all clips:

bins = np.linspace(0, 1, 11)
parts = [np.histogram(values, bins)[0] for values in (right, wrong)]
groups = plots.chart(
    "decoder_confidence",
    "Probability of written words",
    description=(
        f"Words by tenths of probability. As spoken: {parts[0]}. Not as spoken:"
        f" {parts[1]}."
    ),
    x_label="probability",
    y_label="words",
)
for count, color, label in zip(
    parts, ("#3b82c4", "#d9822b"), ("as spoken", "not as spoken"), strict=True
):
    groups.step(
        bins,
        [*count, count[-1]],
        mode="after",
        color=color,
        line_width=2,
        legend_label=label,
    )
plots.legend(groups, "below")
plots.show(groups)

# %%
# Summary
# -------
# Each token comes with a probability and runners-up. They show where the model
# hesitated. They do not show the truth: look at the words that are not as spoken and
# yet probable.
#
# Before: :ref:`prompt anatomy <gallery-prompt>`. Next: :ref:`does it listen?
# <gallery-attention>` The lecture: :doc:`Class 2, section 6 </course/class-2>`.
