"""
.. _gallery-ablations:

Ablations
=========

**Which of the projector's parts does the work?**

An ablation leaves one thing out, or changes it, and measures what is lost. Here that
was done to the projector: other stack factors *k*, no norms, no gate. Each variant was
trained from random weights on the same clips in the same order. One command did it
beforehand; this page draws what it found.
"""

# %%
# What was done
# -------------
# First the conditions, because a comparison is worth no more than these. **Predict:**
# which variant has the most weights?

import asrscope
from asrscope import plots
from asrscope.recognition.metrics import WordErrors, paired_difference
from asrscope_recipe.studies import load_study

study = load_study("ablations")
variants, unchanged, plan = study["variants"], study["unchanged"], study["plan"]
print("made by {command!r}, {date}, on {machine}".format(**study["made_with"]))
heard, clips = variants[unchanged]["utterances"], study["corpus"]["clips"]
print(f"{plan['steps']} steps each: {heard} clips were heard, drawn from {clips}")
print(f"tested on {sum(study['held_out'].values())} held-out clips:", end="\n    ")
print(", ".join(study["held_out"]))
print(f"{'':10}{'weights':>10} {'hidden':>7} {'audio tokens/s':>15}")
for name, each in variants.items():
    rate = f"{each['audio_tokens_per_second']:g}"
    size = f"{each['parameters']:10,} {each['hidden_size']:7} {rate:>15}"
    print(f"{name:10}{size}", "  unchanged" if name == unchanged else "")

# %%
# The MLP without a gate has one matrix fewer, so its hidden layer is wider: as many
# weights, or the comparison would be one of sizes. A larger *k* makes a wider input and
# fewer audio tokens. Fewer positions are less work for the decoder, which is why large
# models stack more.
#
# How long is an audio token?
# ---------------------------
# One audio token is all that the projector sees at a time. Hear what that is, in the
# middle of a word: first for the largest *k*. **Predict:** how many letters can you
# tell?

sample, found = asrscope.load_samples()[0], variants.values()
waveform = asrscope.load_audio(sample.path)
word, start, end = max(sample.words, key=lambda spoken: spoken[2] - spoken[1])
rates = {each["stack_factor"]: each["audio_tokens_per_second"] for each in found}
middle = (start + end) / 2 * asrscope.SAMPLE_RATE
parts = {}
for factor in (max(rates), study["stack_factor"]):
    size = round(asrscope.SAMPLE_RATE / rates[factor])
    piece = waveform[round(middle - size / 2) :][:size]
    parts[factor] = plots.listen(piece, f"one audio token of {word!r}, k = {factor}")
parts[max(rates)]

# %%
# And as it is in the model of this package:

parts[study["stack_factor"]]

# %%
# The decoder here was taught to read spelled text at about the pace of *k* = 2, where
# most letters have a place of their own. **Predict:** from the rates above and the one
# printed next, which *k* will suffer?
#
# The loss on the way
# -------------------

spoken = sample.words[-1][2] - sample.words[0][1]
print(f"{len(sample.text) / spoken:.1f} letters and spaces a second in {sample.name!r}")
curves = {name: each["curve"] for name, each in variants.items()}
factors = [name for name in curves if name.startswith("k = ")]
groups = {"stack factors": factors}
groups["layers"] = [unchanged, *(name for name in curves if name not in factors)]
# To show it:
charts, axes = [], {"x_label": "step", "y_label": "loss (nats a token)"}
for group, names in groups.items():
    words = ", ".join(f"{name}: {curves[name]['loss'][-1]:.2f}" for name in names)
    axes["description"] = f"Loss at the end. {words}."
    name, title = group.replace(" ", "-"), f"Loss while training: {group}"
    lines = {name: (curves[name]["step"], curves[name]["loss"]) for name in names}
    charts.append(plots.draw(plots.chart(name, title, **axes), lines))
    print(words)
plots.show(charts[0])
plots.show(charts[1])

# %%
# Words, not loss
# ---------------
# The same, counted in words on clips that no training has heard. The bars are 95 %
# intervals over the clips. **Predict:** which variants differ from the unchanged one by
# more than chance?

rates = {
    name: plots.Rate(each["wer"], tuple(each["interval"]))
    for name, each in variants.items()
}
counts, worse = {}, []
for name, each in variants.items():
    counts[name] = [WordErrors(*clip) for clip in each["counts"]]
for name, rate in rates.items():
    paired = paired_difference(counts[unchanged], counts[name])
    more, low, high = (100 * value for value in paired)
    told = f"{more:+5.1f} points, {low:+.1f} to {high:+.1f}"
    print(f"{name:10} {rate}", "unchanged" if name == unchanged else f"\n    {told}")
    worse += [name] if low > 0 else []
larger = [name for name in factors if variants[name]["stack_factor"] > 2]
assert worse == [*larger, "no norm"], "the page says which variants are worse"
highest = rates[unchanged].interval[1]
assert rates["no norm"].interval[0] < highest, "the page says that bars overlap"
title = "Held-out word error rate of each variant"
plots.show(plots.rates_by_name(rates, "wer", title))

# %%
# Larger stack factors are worse, all of them, and so is the projector without norms.
# Its bar overlaps with that of the unchanged one, and many a reader would call that a
# draw. It is none: what counts is the interval of the **difference**, below each rate.
# For *k* = 1 and without the gate it holds zero: nothing is shown.
#
# All variants heard the same clips. What makes a clip hard is hard for each of them, so
# the clips are drawn once for both, and the difference is taken in each draw.
#
# Rate against errors
# -------------------
# Each audio token costs the decoder a position. What do more of them buy?

by_rate = {variants[name]["audio_tokens_per_second"]: rates[name] for name in factors}
axis, by_rate = {"x_label": "audio tokens a second"}, dict(sorted(by_rate.items()))
price = plots.rates_over({"factors": by_rate}, "price", "Errors and price", **axis)
price.xaxis.ticker = list(range(0, 51, 10))
plots.show(price)
best = min(by_rate, key=lambda place: by_rate[place].rate)
print(f"fewest errors: {by_rate[best]} at {best:g} audio tokens a second")

# %%
# Between published parts
# -----------------------
# The decoder above was taught to read spelled letters. One that others trained on text
# has never met an audio token. A second study is about :ref:`such a pair
# <gallery-real-pair>`, whose projector had learned to point to the decoder's tokens.
# Audio tokens are *bound* to its embeddings, as means of them, or *free*, vectors as
# they are. It is asked by *learned* vectors, which earlier runs had found, or by
# *written* words alone. **Predict:** which matters more?

study = load_study("bridges")
print("made by {command!r}, {date}, on {machine}".format(**study["made_with"]))
print(f"{study['plan']['steps']} steps each, of {study['corpus']['clips']:,} clips")
print("after them, what a token costs the frozen decoder on held-out people:")
lines, after = {}, {}
for name, way in study["variants"].items():
    lines[name] = (way["curve"]["step"], way["curve"]["loss"])
    after[tuple(name.split(", "))] = way["held_out"]["dev_loss"][-1]
    print(f"    {name:22}{way['held_out']['dev_loss'][-1]:5.2f}")
axes["description"] = "Both bound ways lie below both free ways from the first step."
plots.show(plots.draw(plots.chart("bridges", "Loss on the way", **axes), lines))
learned, written = "learned prompt", "written prompt"
binding = [after["free", ask] - after["bound", ask] for ask in (learned, written)]
asking = [after[way, written] - after[way, learned] for way in ("bound", "free")]
assert min(binding) > 2 * max(asking) >= 2 * min(asking) > 0, "the page: binding"
highest = max(max(loss) for name, (_, loss) in lines.items() if "bound" in name)
assert highest < min(min(loss) for name, (_, loss) in lines.items() if "free" in name)
assert all(lines[f"bound, {ask}"][1][-1] < after["bound", ask] for _, ask in after)

# %%
# Binding does. A decoder that has only ever read its own embeddings reads a mean of
# them far better than a vector that merely points their way. A learned prompt helps
# with either. Both bound curves end below what is printed: the projector had heard
# these clips many times, and the held-out people never.

# %%
# What this does not show
# -----------------------
# One seed: drawn again, two variants that are close may change places. One short
# training: what learns slowly is not what ends badly. And in the first study one very
# small decoder, *taught to read spelled letters at the pace of k = 2*: a large language
# model reads whole words, and may be content with fewer audio tokens. Many published
# models stack more. What may be taken is the method: change one thing, keep the rest,
# count words, show the interval.
#
# Summary
# -------
# The figures above say what each part of this projector is worth, under these
# conditions and no others. ``asrscope-recipe studies`` makes them again, ``bridges``
# the last, and ``--set seed=1`` is the first thing to try.
#
# Before: :ref:`train a projector here and now <gallery-training>`. Next:
# :ref:`evaluation <gallery-evaluation>`. The lecture: :doc:`Class 5, section 6
# </course/class-5>`.
