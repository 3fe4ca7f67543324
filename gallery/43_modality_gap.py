"""
.. _gallery-gap:

The modality gap, measured
==========================

**Do audio tokens lie among the text tokens, or apart from them, and does it matter?**

A projector is said to "close the gap" between sound and text. This page measures the
gap in several ways, before and after the projector, trained and random, and then closes
it by force to see what that is worth.
"""

# %%
# Before the projector
# --------------------
# The encoder's vectors and the decoder's embeddings happen to have the same width here,
# so a program would compare them without complaint. **Predict:** turn all encoder
# vectors by one random rotation. Nothing is lost, and a projector could undo it. What
# becomes of their cosines to text?

# sphinx_gallery_thumbnail_number = 2
from itertools import islice

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

import asrscope
from asrscope import plots
from asrscope.recognition.metrics import total_errors, word_errors
from asrscope_course.gap import centroid_distance, told_apart
from asrscope_recipe.sentences import sentences

model, processor = asrscope.load("tiny")
control, _ = asrscope.load("tiny", random_projector=True)
samples = asrscope.load_samples()
traces, audio = {}, {}
for label, network in (("trained", model), ("random", control)):
    heard = [(s.path, {"name": s.name, "reference_words": s.words}) for s in samples]
    runs = [asrscope.trace(network, processor, path, **own) for path, own in heard]
    traces[label], audio[label] = runs, np.concatenate([t.audio_embeds for t in runs])
# The text: tokens of many training sentences, and of the letters to spell with.
letters = processor.tokenizer([*"abcdefghijklmnopqrstuvwxyz' -"])["input_ids"]
words = processor.tokenizer(list(islice(sentences("train", seed=0), 5000)))["input_ids"]
used = sorted({token for line in [*letters, *words] for token in line})
text = model.get_input_embeddings().weight.detach().numpy()[used]
positions = np.concatenate([trace.encoder_hidden_states for trace in traces["trained"]])
square = np.random.default_rng(0).standard_normal((positions.shape[1],) * 2)
turned = positions @ np.linalg.qr(square)[0]
unit = text / np.linalg.norm(text, axis=1, keepdims=True)
same = (positions @ unit.T).argmax(axis=1) == (turned @ unit.T).argmax(axis=1)
hop = [np.linalg.norm(np.diff(x, axis=0), axis=1) for x in (turned, positions)]
print(f"positions that keep their nearest text token: {same.mean():.1%};")
print(f"distances between neighbors change by a factor of {np.divide(*hop).mean():.6f}")
assert same.mean() < 0.1, "the page says that nearest means nothing here"
plots.player(traces["trained"][0])

# %%
# What is "nearest" between the two spaces depends on how the encoder's axes happen to
# lie: it means nothing. What means something is how the vectors lie among *themselves*.
# So the map has no text. Each point is the stack of positions behind one audio token;
# its color tells which token is nearest *after* the trained projector. **Predict:** are
# there groups already?

k = model.config.stack_factor
stacks, nearest = [], []
for trace in traces["trained"]:
    rows = trace.encoder_hidden_states[: k * len(trace.audio_embeds)]
    stacks.append(rows.reshape(-1, k * rows.shape[1]))
    nearest += [texts[0].strip() for texts in trace.nearest_texts]
stacks, nearest = np.concatenate(stacks), np.array(nearest)
kinds = {"vowel": np.isin(nearest, list("aeiou")), "pause": nearest == "-"}
kinds["space"] = nearest == ""
kinds["other"] = ~np.any(list(kinds.values()), axis=0)
first, rest = np.array_split(stacks, 2)
seen, masks = np.split(np.array([*kinds.values()]), [len(first)], axis=1)
centers = np.array([first[chosen].mean(axis=0) for chosen in seen])
guess = np.linalg.norm(rest[:, None] - centers, axis=2).argmin(axis=1)
right = masks[guess, np.arange(len(rest))].mean()
print(f"centers of the groups in one half tell {right:.0%} of the other")
assert right > masks.mean(axis=1).max() + 0.15, "the page says that there are groups"
# To show it:
flat = PCA(2, svd_solver="full").fit(stacks)
shown = f"this plane shows {flat.explained_variance_ratio_.sum():.0%} of the variance"
told = "; ".join(f"{kind}: {chosen.sum()} points" for kind, chosen in kinds.items())
axes = {"x_label": "first principal component", "y_label": "second", "height": 340}
words = {"description": told, "subtitles": [shown]}
before = plots.chart("gap_before", "Stacked encoder positions", **words, **axes)
points = {kind: flat.transform(stacks[chosen]).T for kind, chosen in kinds.items()}
plots.show(plots.draw(before, points, kinds=("dots",)))

# %%
# There are: the encoder was trained to tell sounds apart, and it does so before any
# projector reads it.
#
# After the projector
# -------------------
# Now both are vectors for the same reader, and can be compared. As a control we split
# the text tokens into halves and measure one against the other: a gap of nothing.
# **Predict:** which is nearer to the text, the trained audio tokens or the random ones?

halves = np.random.default_rng(0).permutation(len(text)) % 2 == 0
pairs = {"half of the text": (text[halves], text[~halves])}
pairs |= {f"{label} audio": (vectors, text) for label, vectors in audio.items()}
print(f"{'':17}{'norm':>7}{'cosine':>8}{'centroid':>10}{'apart':>7}")
norms, cosines, distances = [], [], []  # of these three, in this order
for label, (vectors, others) in pairs.items():
    norms.append(np.median(np.linalg.norm(vectors, axis=1)))
    cosines.append(np.median(cosine_similarity(vectors, others).max(axis=1)))
    distances.append(centroid_distance(vectors, others))
    row = f"{label:17}{norms[-1]:7.2f}{cosines[-1]:8.2f}{distances[-1]:10.2f}"
    print(f"{row}{told_apart(vectors, others):7.0%}")
assert cosines[1] > 2 * cosines[2], "the page says: nearer to a token"
assert distances[1] > distances[2], "the page says: and farther by centroids"

# %%
# Norm and cosine are medians, the cosine that of the nearest token. The distance of the
# centroids is in units of the text's own spread, and *apart* is how often the nearer
# centroid tells the two rightly. Each column is called "the gap" by someone, and they
# disagree: by cosines the trained audio tokens are nearer, by centroids the random
# ones.

center, known = text.mean(axis=0), np.isin(used, letters)
far = [np.median(np.linalg.norm(rows - center, axis=1)) for rows in audio.values()]
spelled = (audio["trained"] @ unit.T).argmax(axis=1)
print(f"{known.sum()} of {len(text)} text tokens are letters; they are nearest to")
print(f"{known[spelled].mean():.0%} of the trained audio tokens")
assert known[spelled].mean() > 0.9, "the page says that letters are nearest"
assert far[0] > far[1], "the page says that the trained ones are farther out"
# To show it:
flat = PCA(2, svd_solver="full").fit(np.concatenate([text, *audio.values()]))
shown = f"this plane shows {flat.explained_variance_ratio_.sum():.0%} of the variance"
crowds = {"trained audio": audio["trained"], "random audio": audio["random"]}
crowds |= {"letters": text[known], "text": text}
places = {label: flat.transform(vectors).T for label, vectors in crowds.items()}
told = [f"{label} {place.mean(axis=1).round(2)}" for label, place in places.items()]
words["description"] = f"Centers of the crowds on the map: {', '.join(told)}."
words["subtitles"] = [shown]
after = plots.chart("gap_after", "Audio tokens among text tokens", **words, **axes)
look = {"kinds": ("dots",), "colors": (*plots.COLORS[:3], plots.COLORS[-1])}
plots.show(plots.draw(after, places, **look))

# %%
# On this map the random vectors lie upon the text and the trained ones outside of it,
# while :ref:`the page before <gallery-projector>` found the trained ones near to text
# and the random ones to none. Both are right. A vector that points nowhere in
# particular is drawn near the middle of everything, as the middle of the text is. The
# trained ones point to the letters, a small corner of the vocabulary, and they are
# longer than text is. So they stand outside of the crowd, each beside its letter. Most
# of the directions in which a neighbor can be near are not on a map.
#
# Closing it
# ----------
# Now we make the numbers perfect by force, and let the decoder write. **Predict:**
# which change helps?

rates, projector = {}, model.multi_modal_projector
shift = torch.from_numpy(text.mean(axis=0) - audio["trained"].mean(axis=0))
scale = float(norms[0] / norms[1])
known = torch.from_numpy(unit)
changes = {
    "as it is": lambda x: x,
    "centroid moved onto the text's": lambda x: x + shift,
    "scaled to the text's norm": lambda x: x * scale,
    "turned to a token": lambda x: (
        x.norm(dim=-1, keepdim=True) * known[(x @ known.T).argmax(-1)]
    ),
}
for label, change in changes.items():
    hook = projector.register_forward_hook(lambda *seen, to=change: to(seen[-1]))
    written = [asrscope.trace(model, processor, sample.path) for sample in samples]
    hook.remove()
    pairs = zip(samples, written, strict=True)
    rates[label] = total_errors([word_errors(s.text, t.text) for s, t in pairs]).rate
    print(f"{label}: {rates[label]:.0%} of the words wrong\n    {written[0].text}")
own, moved, scaled, turned = rates.values()
assert own < min(moved, scaled, turned / 1.5), "the page says that no change helps"
assert moved > 0.5, "the page says that most of the sentence is lost"

# %%
# None does. To move the centroid onto the text's destroys most of the sentence,
# although the number that it makes perfect is often called the gap. To turn vectors to
# their nearest letters keeps the spelling and costs words: the decoder reads more.
#
# Summary
# -------
# A gap is a number between two crowds of points. It does not say whether the decoder
# understands one: by centroids the random row is nearer. Nor does closing it help. The
# decoder reads each vector for itself, and never sees where a crowd has its middle. And
# a map of two axes hides all the others.
#
# Before: :ref:`the projector <gallery-projector>`. Next: :ref:`prompt anatomy
# <gallery-prompt>`. The lecture: :doc:`Class 5, section 2 </course/class-5>`.
