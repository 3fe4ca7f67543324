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
from asrscope.inside.decoder import force
from asrscope.recognition.metrics import (
    paired_difference,
    total_errors,
    word_errors,
)

model, processor = asrscope.load()
samples = asrscope.load_samples()
sample = samples[0]
known = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **known)
inputs = processor(audio=trace.waveform)
with torch.no_grad():
    probabilities = model(**inputs).logits[0, -1].softmax(dim=-1)  # (vocabulary,)
best = probabilities.topk(5)
for probability, index in zip(best.values, best.indices, strict=True):
    print(f"{probability:8.4f}  {processor.tokenizer.decode(index)!r}")
print(f"these 5 of {probabilities.numel()} tokens hold {best.values.sum():.2%} in all")
assert best.values[0] > 0.9, "the page says that the first word is certain"
plots.player(trace)

# %%
# It is certain, as far as a probability can tell. Greedy decoding takes the first line,
# appends it to the prompt, and asks again.
#
# Token by token
# --------------
# The trace has done so to the end. **Predict:** at which token does the model hesitate
# most? Will its second choice *sound* like the first, or *fit* like it?

plots.show(plots.decoder_tokens(trace))
for token in sorted(trace.tokens, key=lambda token: token.probability)[:4]:
    others = ", ".join(
        f"{text!r} {chance:.3f}" for text, chance in token.runners_up[:3]
    )
    print(f"{token.probability:.3f} for {token.text!r}; else {others}")
print(f"end of text: {trace.eos_probability or 0.0:.3f}")

# %%
# Reading everything once
# -----------------------
# To append a token and ask again sounds as if the prompt were read anew for each token.
# **Predict:** how many positions pass through the decoder, for the prompt and the
# tokens printed below?

counts, layer = {}, model.language_model.model.layers[0]
options = {"do_sample": False, "max_new_tokens": len(trace.tokens) + 1}
for label, cached in (("with cache", True), ("without cache", False)):
    passed = counts[label] = []
    handle = layer.register_forward_pre_hook(
        lambda _, given, passed=passed: passed.append(given[0].shape[1])
    )
    ids = model.generate(**inputs, **options, use_cache=cached)
    handle.remove()
prompt = inputs["input_ids"].shape[1]
print(f"{prompt} positions of prompt, {ids.shape[1] - prompt} tokens written")
told = ", ".join(f"{label} {sum(passed)}" for label, passed in counts.items())
print("positions that passed through:", told)
new = len(counts["with cache"]) - 1
assert sum(counts["with cache"]) == prompt + new, "the page says: each of them once"
# To show it:
told = {"description": f"In all: {told}.", "x_label": "step", "y_label": "positions"}
cost = plots.chart("decoder_cache", "Positions read in each step", **told)
steps = {label: (np.arange(len(read)), read) for label, read in counts.items()}
plots.show(plots.draw(cost, steps, kinds=("steps",)))

# %%
# With a cache each position passes once. What a position leaves behind are its keys and
# values, one pair a layer. They never change, since no position looks ahead, and so
# they are kept. **Predict:** which of these numbers grows while it writes?

with torch.no_grad():
    cache = model(**inputs, use_cache=True).past_key_values
keys, depth = cache.layers[0].keys, len(cache.layers)
print(f"keys of one of {depth} layers: {tuple(keys.shape)}")
print("    that is: clips, heads, positions, width")
print(f"of all layers, and values: {2 * depth * keys.numel() // prompt} a position")
assert keys.shape[2] == prompt, "the page says that it grows with the positions"
heads = model.config.text_config.num_attention_heads
assert keys.shape[1] < heads, "the page says that heads share"

# %%
# The positions: one more with each token. Heads share keys and values, so there are
# fewer of these than of :ref:`heads that look <gallery-attention>`.
#
# Looking further ahead
# ---------------------
# Greedy takes the best token and never returns. A beam search follows several texts and
# keeps those that are most probable as a whole. **Predict:** does it find a more
# probable text? A *better* one?

sums = {}
for beams in (1, 2, 4, 8):
    result = asrscope.trace(model, processor, trace.waveform, num_beams=beams)
    ids = [token.id for token in result.tokens]
    forced = force(model, processor, trace.waveform, ids)
    logs = np.log([*forced.token_probabilities, forced.eos_probability])
    sums[beams] = logs.sum()
    print(f"{beams} beams, log-probability {sums[beams]:.2f}: {result.text}")
print("spoken:", sample.text)
assert min(sums.values()) > sums[1] - 0.01, "the page says: never less probable"

errors, right, wrong = {1: [], 4: []}, [], []
for clip in samples:
    for beams, counted in errors.items():
        options = {"num_beams": beams, "reference_words": clip.words}
        result = asrscope.trace(model, processor, clip.path, **options)
        counted.append(word_errors(clip.text, result.text))
        for word in result.words if beams == 1 else ():
            (wrong if word.start is None else right).append(word.probability)
for beams, counted in errors.items():
    both = total_errors(counted)
    print(f"{beams} beams, all clips: {both.rate:.1%} of {both.words} words wrong")
_, low, high = paired_difference(*errors.values())
print(f"the difference: {low:+.1%} to {high:+.1%}")
assert low <= 0 <= high, "the page says that these clips do not tell"

# %%
# The search finds texts that are no less probable. Whether they are more often right,
# these few clips do not tell: the interval of the difference, over the same clips drawn
# again and again, holds zero.
#
# From tokens to words
# --------------------
# A word's probability is the product of its tokens', so long words have a handicap.
# **Predict:** are the words that are not as spoken (their times are unknown) the
# improbable ones?

plots.show(plots.decoder_words(trace))

# %%
# The same for all clips:

words = {"as spoken": right, "not as spoken": wrong}
middle = {label: np.median(values) for label, values in words.items()}
print("median:", ", ".join(f"{label} {value:.2f}" for label, value in middle.items()))
sure = sum(probability > 0.9 for probability in wrong)
print(f"{sure} of {len(wrong)} words that are not as spoken have more than 0.9")
assert middle["as spoken"] > middle["not as spoken"], "the page says: on the whole"
assert sure, "the page says that some are wrong and sure"
# To show it:
bins, counts = np.linspace(0, 1, 11), {}
for label, values in words.items():
    count = np.histogram(values, bins)[0]
    counts[label] = (bins, [*count, count[-1]])
told = "; ".join(f"{label}: {count[:-1]}" for label, (_, count) in counts.items())
told = {"description": f"Words by tenths of probability. {told}."}
axes = {"x_label": "probability", "y_label": "words"}
groups = plots.chart("decoder_confidence", "Probability of words", **told, **axes)
plots.show(plots.draw(groups, counts, kinds=("steps",)))

# %%
# On the whole they are. But a word that nobody spoke can be as good as certain.
#
# Summary
# -------
# Each token comes with a probability and runners-up. They show where the model
# hesitated. They do not show the truth: look at the words that are not as spoken and
# yet probable.
#
# Before: :ref:`prompt anatomy <gallery-prompt>`. Next: :ref:`does it listen?
# <gallery-attention>` The lecture: :doc:`Class 2, section 6 </course/class-2>`.
