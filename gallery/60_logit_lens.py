"""
.. _gallery-lens:

The logit lens
==============

**What would the decoder write if it stopped after its first layer, or its second?**

Each layer of the decoder adds something to the vector of each position. After the last
one, a norm and the table of tokens turn the vector into probabilities. The logit lens
does this with the vectors in between. We look through it at two places: where the
decoder writes, and where it has read the sound.
"""

# %%
# The lens
# --------
# The decoder reads the prompt with the clip and the transcript that it wrote. After
# each layer we keep the vectors. **Predict:** what does the lens show after the last
# layer?

import textwrap

import numpy as np

import asrscope
from asrscope import plots
from asrscope.inside.decoder import logit_lens, more_within, word_mask

model, processor = asrscope.load("tiny")
control, _ = asrscope.load("tiny", random_projector=True)
networks = {"trained": model, "random": control}
sample = asrscope.load_samples()[0]
known = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **known)
ids = [token.id for token in trace.tokens]
lenses = {
    label: logit_lens(network, processor, trace.waveform, ids)
    for label, network in networks.items()
}
lens = lenses["trained"]
layers, positions = lens.entropy.shape
rows = ["input", *(f"layer {layer}" for layer in range(1, layers))]
print(f"{positions} positions, seen {layers} times: as they are read, and after")
print("each of the decoder's layers")
plots.player(trace)

# %%
# After the last layer the lens is no lens: it is the model itself.
#
# Where it writes
# ---------------
# Each row is a token that was written, each column what the lens shows at the position
# *before* it, where it was chosen. **Predict:** does a word appear early and grow, or
# only at the end?

places = np.arange(positions - len(ids) - 1, positions - 1)
tops = [[texts[place][0] for texts in lens.top_texts] for place in places]
names = [token.text.strip() for token in trace.tokens]
chances = lens.top_probabilities[:, places, 0].T
# To show it:
said = [f"{name}: {', '.join(top)}" for name, top in zip(names, tops, strict=True)]
words = {"name": "lens_written", "title": "The most probable next token, by layer"}
words["description"] = f"What comes first, layer by layer: {'; '.join(said)}."
words["subtitles"] = ["yellow: probability near 1 · dark blue: near 0"]
look = {"corner": ("written", "after"), "clip": (trace, plots.token_times(trace))}
plots.show(plots.token_grid(tops, chances, names, rows, **words, **look))

# %%
# **Predict:** with a random projector and the same transcript, how far does it come
# without the sound?

for label, result in lenses.items():
    logs = result.of_transcript[:, places, np.arange(len(ids))].mean(axis=1)
    first = (result.top_ids[:, places, 0] == ids).mean(axis=1)
    each = zip(rows, logs, first, strict=True)
    line = [f"{row} {log:.1f} ({share:.0%})" for row, log, share in each]
    print(f"{label}:", *line, sep="\n    ")

# %%
# That is: the mean logarithm of the probability of the token written, and how often it
# came first. What the random projector reaches is grammar, learned from text. The rest
# is the sound.
#
# Where it has heard
# ------------------
# Now the same lens at the audio tokens. Each block is what comes first after one layer;
# ``#`` is the end of the text, ``_`` a space, ``·`` what is no plain letter or sign.
# **Predict:** the trained audio tokens enter as letters. Do they leave as words?

heard = np.flatnonzero(lens.is_audio)
for row, texts in zip(rows, lens.top_texts, strict=True):
    firsts = [texts[at][0].replace("<|im_end|>", "#").strip(" ") or "_" for at in heard]
    plain = [first.isascii() and first.isprintable() for first in firsts]
    line = " ".join(np.where(plain, firsts, "·"))
    print(f"{row}:", *textwrap.wrap(line, width=44), sep="\n    ")

# %%
# As a picture, with the runners-up in the hover, and below it the same with the random
# projector:

maps = {}
for label, result in lenses.items():
    bits = ", ".join(f"{value:.1f}" for value in result.entropy[:, heard].mean(axis=1))
    title = f"Lens at the audio tokens, {label} projector"
    words = {"name": f"lens_{label}", "title": title}
    words["description"] = f"{title}. Entropy by layer, in bits: {bits}."
    look = {"value": "probability of what comes first", "limits": (0.0, 1.0)}
    look["texts"] = [[", ".join(row[at]) for at in heard] for row in result.top_texts]
    chances = result.top_probabilities[:, heard, 0]
    maps[label] = plots.time_map(trace, chances, rows, **words, **look)
plots.show(maps["trained"])
plots.show(maps["random"])

# %%
# Is the word there?
# ------------------
# Words can be read *into* such lines. So we measure, on all clips. For each piece of a
# word written as spoken, take one audio token within the word and one outside: how
# often is the piece more probable *within*? Chance is one half. **Predict:** after
# which layer are the words most readable?

shares = {label: [] for label in networks}  # one entry a clip: (layers, pieces)
before = []  # the same, trained, for the three audio tokens before each word
for clip in asrscope.load_samples():
    written = asrscope.trace(model, processor, clip.path, reference_words=clip.words)
    words = [word for word in written.words if word.start is not None]
    times = [(word.text, word.start, word.end) for word in words]
    seconds, ids = written.seconds_per_audio_token, [each.id for each in written.tokens]
    inside = word_mask(times, len(written.audio_embeds), seconds)
    for label, network in networks.items():
        result = logit_lens(network, processor, written.waveform, ids)
        shares[label].append(more_within(result, words, inside))
        if label == "trained":
            first = np.maximum(inside.argmax(axis=1), 1)[:, None]
            place = np.arange(inside.shape[1])
            just_before = (first - 3 <= place) & (place < first)
            before.append(more_within(result, words, just_before))

lines, findings, after = {}, [], np.arange(layers)
for label, values in shares.items():
    together = np.concatenate(values, axis=1)
    mean = together.mean(axis=1)
    error = together.std(axis=1).max() / together.shape[1] ** 0.5
    lines[f"{label} projector"] = (after, mean)
    told = ", ".join(f"{each:.2f}" for each in mean)
    findings.append(f"{label}: {told} (each ±{error:.2f})")
print(*findings, sep="\n")
# To show it:
lines["chance"] = (after, np.full(layers, 0.5))
title = "Pieces of the spoken word, within it and outside"
axes = {"x_label": "after layer (0: the input)", "y_label": "more probable within"}
axes["description"] = f"How often, by layer. {'; '.join(findings)}."
chart = plots.draw(plots.chart("lens_words", title, **axes), lines)
chart.xaxis.ticker, chart.y_range.start, chart.y_range.end = after.tolist(), 0, 1
plots.show(chart)

# %%
# The trained line does not lie on one half but below it: within its own sound a word is
# *less* probable than elsewhere. The lens asks each position what comes **next**, and
# the next token is not the one that is being heard. So we look just before each word as
# well:

early = np.concatenate(before, axis=1)
error = early.std(axis=1) / early.shape[1] ** 0.5
print("before the word:", ", ".join(f"{mean:.2f}" for mean in early.mean(axis=1)))
inner = np.concatenate(shares["trained"], axis=1)
spread = inner.std(axis=1) / inner.shape[1] ** 0.5
below = inner.mean(axis=1) + 2 * spread < 0.5
assert below[1:].all(), "the page says: below one half"
assert early.mean(axis=1)[1] > 0.5 + 2 * error[1], "the page says: announced before"
assert early.mean(axis=1)[-1] < 0.5, "the page says: not after the last layer"

# %%
# After the first layer the word is announced: its pieces are more probable before it
# than elsewhere, and less within it. A decoder that was raised to name the next token
# does so, a little, even at positions where nobody asked it. After the last layer
# nothing of that is left, and why the line stays below one half there is open.
#
# Summary
# -------
# At an audio token this decoder was never asked for the next token, so nothing trained
# its vectors to be read this way. What the lens finds there is little, and it is not
# the word that is heard. The audio tokens hold what later positions fetch by
# :ref:`attention <gallery-attention>`; that the lens does not read it does not mean
# that it is not there.
#
# Before: :ref:`does it listen? <gallery-attention>` Next: :ref:`what if?
# <gallery-what-if>` The lecture: :doc:`Class 5, section 4 </course/class-5>`.
