"""
.. _gallery-attention:

Does it listen?
===============

**When the decoder writes a word, does it look at the place where the word was spoken?**

A decoder could write a likely sentence and hardly listen. Its attention says where it
looks. The shipped clips carry the synthesizer's own word times, so looking can be
scored, and compared with controls that cannot be listening.
"""

# %%
# Where each head looks
# ---------------------
# We let the decoder read the clip and the transcript that it wrote, in one run, and
# keep the attention of every head in every layer. The same is done with a random
# projector between the same frozen parts, and with the *same* transcript: only what the
# audio tokens say is different.

# sphinx_gallery_thumbnail_number = 3
import numpy as np
from bokeh.models import FixedTicker

import asrscope
from asrscope import plots
from asrscope.inside.decoder import attend, clockwork, share_inside, word_mask

model, processor = asrscope.load("tiny")
control, _ = asrscope.load("tiny", random_projector=True)
networks = {"trained": model, "random": control}
sample = asrscope.load_samples()[0]
known = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **known)
seconds = trace.seconds_per_audio_token
ids = [token.id for token in trace.tokens]
attentions = {
    label: attend(network, processor, trace.waveform, ids)
    for label, network in networks.items()
}
layers, heads, tokens, positions = attentions["trained"].weights.shape
print(f"{layers} layers x {heads} heads x {tokens} tokens x {positions} positions")
plots.player(trace)

# %%
# Some attention goes to text: the prompt's own, and the transcript so far. **Predict:**
# how much is left for the sound? Does that alone tell the trained projector from the
# random one?

for label, attention in attentions.items():
    by_layer = ", ".join(f"{share:.0%}" for share in attention.on_audio.mean(axis=1))
    print(f"{label}: part of the attention on the sound, layer by layer: {by_layer}")

# %%
# A large part proves nothing: weights add up to 1 and must go somewhere. The question
# is *where*.
#
# The average of all heads
# ------------------------
# Each row is a word that was written as it was spoken. Its color shows where its
# attention on the sound falls, averaged over all heads of all layers; the outline is
# where the word was spoken. **Predict:** will the average of so many heads show
# anything? And with the random projector?

spoken = [word for word in trace.words if word.start is not None]
names = [word.text for word in spoken]
times = [(word.text, word.start, word.end) for word in spoken]
inside = word_mask(times, len(trace.audio_embeds), seconds)
by_head = {label: attention.of_words(spoken) for label, attention in attentions.items()}
averages = {label: attention.mean(axis=(0, 1)) for label, attention in by_head.items()}
# To show it:
outlines = [(row, word.start, word.end) for row, word in enumerate(spoken)]
shared = {
    "rows": names,
    "spans": outlines,
    "value": "part of the word's attention on the sound",
}
maps, shared["limits"] = {}, (0.0, float(averages["trained"].max()))
for label, average in averages.items():
    shares = share_inside(average, inside)
    finding = f"{shares.mean():.1%} within the word; spread evenly: {inside.mean():.1%}"
    each = ", ".join(map("{} {:.0%}".format, names, shares))
    text = {"title": f"Mean of all heads, {label} projector", "subtitles": [finding]}
    text |= {
        "name": f"attention_{label}",
        "description": f"{finding}. By word: {each}.",
    }
    maps[label] = plots.time_map(trace, average, **text, **shared)
plots.show(maps["trained"])
plots.show(maps["random"])

# %%
# Every head by itself
# --------------------
# An average hides who does the work. We score each head on all clips: the part of a
# word's attention that falls within the word. Three controls stand beside it. *Evenly
# spread* looks everywhere; attention shuffled in time scores the same on average.
# *Clockwork* knows the order of the words, gives each an equal share of the clip, and
# hears nothing. The *random projector* leaves the same decoder with nothing it can
# read. **Predict:** which layers listen, the first or the last?

# One entry a clip.
scores = {"trained": [], "random": [], "evenly spread": [], "clockwork": []}
for clip in asrscope.load_samples():
    written = asrscope.trace(model, processor, clip.path, reference_words=clip.words)
    rows = [row for row, word in enumerate(written.words) if word.start is not None]
    heard = [written.words[row] for row in rows]
    times = [(word.text, word.start, word.end) for word in heard]
    mask = word_mask(times, len(written.audio_embeds), seconds)
    ids = [token.id for token in written.tokens]
    for label, network in networks.items():
        looks = attend(network, processor, written.waveform, ids).of_words(heard)
        scores[label].append(share_inside(looks, mask).mean(axis=-1))
    order = clockwork(len(written.words), mask.shape[1])[rows]
    scores["clockwork"].append(share_inside(order, mask).mean())
    scores["evenly spread"].append(mask.mean())

means = {label: np.mean(values, axis=0) for label, values in scores.items()}
findings = [f"{label} {mean.max():.2f}" for label, mean in means.items()]
print(
    "share within the word, of the best head or the control:", *findings, sep="\n    "
)
# To show it:
axes = {"x_label": "share of the word's attention on the sound", "y_label": "layer"}
axes["description"] = f"{heads} heads in each layer. Best: {', '.join(findings)}."
title, axes["height"] = "Attention within the word, head by head", 60 + 45 * layers
dots, numbers = plots.chart("attention_heads", title, **axes), np.arange(1, layers + 1)
points = {
    label: (means[label].ravel(), np.repeat(numbers, heads) + aside)
    for label, aside in (("trained", -0.1), ("random", 0.1))
}
for label in ("evenly spread", "clockwork"):
    points[label] = [means[label]] * 2, [0.5, layers + 0.5]
plots.draw(dots, points, kinds=("dots", "dots", "line", "line"))
dots.x_range.start, dots.x_range.end, dots.y_range.flipped = 0, 1, True
dots.yaxis.ticker = FixedTicker(ticks=numbers.tolist())
plots.show(dots)

# %%
# The best head
# -------------
# The best of many heads is good by luck, too. So this head is chosen on the other
# clips, and looked at on the first. **Predict:** where will it stray from the words, to
# what comes before, or after?

others = np.mean(scores["trained"][1:], axis=0)
layer, head = np.unravel_index(others.argmax(), others.shape)
one = by_head["trained"][layer, head]
middles = (inside * np.arange(inside.shape[1])).sum(axis=1) / inside.sum(axis=1)
late = float(np.mean(one @ np.arange(one.shape[1]) - middles)) * seconds * 1000
shares = share_inside(one, inside)
top = {label: float(mean.max()) for label, mean in means.items()}
early, later = np.split(means["trained"], [layers // 2])
assert later.mean() > 2 * early.mean(), "the page says: in its later layers"
assert top["trained"] > 1.5 * top["clockwork"], "the page says: more than the order"
assert top["trained"] > 1.5 * top["random"], "the page says: from the audio tokens"
assert shares.mean() > 0.5, "the page says that this head looks at the words"
# To show it:
finding = f"{shares.mean():.0%} within the word; {late:+.0f} ms from its middle"
each = ", ".join(map("{} {:.0%}".format, names, shares))
text = {"title": f"Layer {layer + 1}, head {head + 1}", "subtitles": [finding]}
text |= {"name": "attention_best", "description": f"{finding}. By word: {each}."}
shared["limits"] = None
plots.show(plots.time_map(trace, one, **text, **shared))

# %%
# Summary
# -------
# It listens, in its later layers. The best head, chosen on other clips, gives more than
# half of what it gives to the sound to the very word that is being written.
# *Clockwork*, which knows the order of the words and hears nothing, does not come near;
# so the head knows more than the order. With the *random projector* the same heads do
# not come near either; so they get it from what the audio tokens say. Two things the
# score cannot tell. The encoder has spread every sound over its neighbors, so an audio
# token within a word is not that word alone. And to look is not to need. What the
# decoder needs, :ref:`what if? <gallery-what-if>` finds out.
#
# Before: :ref:`the decoder <gallery-decoder>`. Next: :ref:`the logit lens
# <gallery-lens>`. The lecture: :doc:`Class 5, section 3 </course/class-5>`.
