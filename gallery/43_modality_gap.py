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

import asrscope
from asrscope import plots
from asrscope.inside import gap
from asrscope.recognition.metrics import total_errors, word_errors
from asrscope_recipe.sentences import sentences

model, processor = asrscope.load("tiny")
control, _ = asrscope.load("tiny", random_projector=True)
samples = asrscope.load_samples()
traces = {
    label: [
        asrscope.trace(network, processor, sample.path, name=sample.name)
        for sample in samples
    ]
    for label, network in (("trained", model), ("random", control))
}
audio = {
    label: np.concatenate([trace.audio_embeds for trace in runs])
    for label, runs in traces.items()
}
# The text: tokens of many training sentences, and of the letters to spell with.
letters = processor.tokenizer([*"abcdefghijklmnopqrstuvwxyz' -"])["input_ids"]
words = processor.tokenizer(list(islice(sentences("train", seed=0), 5000)))["input_ids"]
used = sorted({token for line in [*letters, *words] for token in line})
text = model.get_input_embeddings().weight.detach().numpy()[used]

positions = np.concatenate([trace.encoder_hidden_states for trace in traces["trained"]])
turned = (
    positions
    @ np.linalg.qr(np.random.default_rng(0).standard_normal((positions.shape[1],) * 2))[
        0
    ]
)
unit = text / np.linalg.norm(text, axis=1, keepdims=True)
same = (positions @ unit.T).argmax(axis=1) == (turned @ unit.T).argmax(axis=1)
steps = [
    np.linalg.norm(np.diff(vectors, axis=0), axis=1) for vectors in (positions, turned)
]
print(f"encoder positions that keep their nearest text token: {same.mean():.1%}")
print(
    "distances between neighbors change by a factor of"
    f" {(steps[1] / steps[0]).mean():.6f}"
)
plots.player(traces["trained"][0])

# %%
# What is "nearest" between the two spaces depends on how the encoder's axes happen to
# lie: it means nothing. What means something is how the vectors lie among *themselves*.
# So the map has no text in it. Each point is the stack of positions behind one audio
# token, and its color tells which token is nearest *after* the trained projector.
# **Predict:** are there groups already?

k = model.config.stack_factor
stacks = [
    trace.encoder_hidden_states[: k * len(trace.audio_embeds)]
    for trace in traces["trained"]
]
stacks = np.concatenate([rows.reshape(-1, k * rows.shape[1]) for rows in stacks])
nearest = np.array(
    [
        texts[0].strip() or " "
        for trace in traces["trained"]
        for texts in trace.nearest_texts
    ]
)
kinds = {
    "pause": nearest == "-",
    "space": nearest == " ",
    "vowel": np.isin(nearest, list("aeiou")),
}
kinds["other"] = ~np.any(list(kinds.values()), axis=0)
flat = gap.flat_map(stacks)
before = plots.chart(
    "gap_before",
    "Stacked encoder positions",
    description="; ".join(
        f"{kind}: {chosen.sum()} points" for kind, chosen in kinds.items()
    ),
    subtitles=[f"this plane shows {flat.explained.sum():.0%} of the variance"],
    x_label="first principal component",
    y_label="second",
    height=340,
)
for (kind, chosen), color in zip(
    kinds.items(), ("#7b8794", "#c2559d", "#d9822b", "#3b82c4"), strict=True
):
    before.scatter(
        *flat.place(stacks[chosen]).T, color=color, size=5, alpha=0.7, legend_label=kind
    )
plots.legend(before, "below")
plots.show(before)

# %%
# After the projector
# -------------------
# Now both are vectors for the same reader, and can be compared. As a control we split
# the text tokens into halves and measure one against the other: a gap of nothing.
# **Predict:** which is nearer to the text, the trained audio tokens or the random ones?

halves = np.random.default_rng(0).permutation(len(text)) % 2 == 0
pairs = {"half of the text": (text[halves], text[~halves])}
pairs |= {f"{label} audio": (vectors, text) for label, vectors in audio.items()}
print(f"{'':18} median norm  cosine to nearest  centroid distance  told apart")
for label, (vectors, others) in pairs.items():
    norm = np.median(np.linalg.norm(vectors, axis=1))
    cosine = np.median(gap.nearest_cosines(vectors, others))
    distance, apart = (
        gap.centroid_distance(vectors, others),
        gap.told_apart(vectors, others),
    )
    print(f"{label:18} {norm:11.2f} {cosine:18.2f} {distance:18.2f} {apart:11.0%}")

# %%
# The centroid distance counts in units of the text's own spread; *told apart* is how
# often the nearer centroid tells the two rightly. Each column is called "the gap" by
# someone, and they need not agree.

flat = gap.flat_map(np.concatenate([text, *audio.values()]))
crowds = {
    "random audio": audio["random"],
    "text": text,
    "trained audio": audio["trained"],
}
crowds["letters"] = text[np.isin(used, letters)]
places = {label: flat.place(vectors) for label, vectors in crowds.items()}
centers = [
    f"{label} ({', '.join(map('{:.2f}'.format, place.mean(axis=0)))})"
    for label, place in places.items()
]
after = plots.chart(
    "gap_after",
    "Audio tokens among text tokens",
    description=f"Centers of the crowds on the map: {', '.join(centers)}.",
    subtitles=[f"this plane shows {flat.explained.sum():.0%} of the variance"],
    x_label="first principal component",
    y_label="second",
    height=380,
)
for (label, place), color in zip(
    places.items(), ("#d9822b", "#7b8794", "#3b82c4", "#c2559d"), strict=True
):
    after.scatter(*place.T, color=color, size=4, alpha=0.7, legend_label=label)
plots.legend(after, "below")
plots.show(after)

center, known = text.mean(axis=0), np.isin(used, letters)
far = {label: np.linalg.norm(rows - center, axis=1) for label, rows in audio.items()}
near = {label: gap.nearest_cosines(rows, text) for label, rows in audio.items()}
spelled = (audio["trained"] @ unit.T).argmax(axis=1)
print(f"{known.sum()} of {len(text)} text tokens are letters; they are nearest to")
print(f"{known[spelled].mean():.0%} of the trained audio tokens")
assert known[spelled].mean() > 0.9, "the page says that letters are nearest"
assert np.median(far["trained"]) > np.median(far["random"]), (
    "the page says: farther out"
)
assert np.median(near["trained"]) > 2 * np.median(near["random"]), (
    "and nearer to a token"
)

# %%
# On this map the random vectors lie upon the text and the trained ones outside of it,
# while :ref:`the page before <gallery-projector>` found the trained ones near to text
# and the random ones to none. Both are right. A vector that points nowhere in
# particular is drawn near the middle of everything, and that is where the middle of the
# text is drawn, too: near to the center, and near to no token. The trained ones point
# to the letters, a small corner of the vocabulary, and they are longer than text is. So
# they stand outside of the crowd, each beside its letter. A map shows where crowds lie,
# and most of the directions in which a neighbor can be near are not on it.
#
# Closing it
# ----------
# Now we make the numbers perfect by force, and let the decoder write. **Predict:**
# which change helps?

rates = {}
shift = torch.from_numpy(text.mean(axis=0) - audio["trained"].mean(axis=0))
scale = float(
    np.median(np.linalg.norm(text, axis=1))
    / np.median(np.linalg.norm(audio["trained"], axis=1))
)
known = torch.from_numpy(unit)
changes = {
    "as it is": lambda x: x,
    "centroid moved onto the text's": lambda x: x + shift,
    "scaled to the text's norm": lambda x: x * scale,
    "turned to the nearest token": lambda x: (
        x.norm(dim=-1, keepdim=True) * known[(x @ known.T).argmax(-1)]
    ),
}
for label, change in changes.items():
    hook = model.multi_modal_projector.register_forward_hook(
        lambda _, __, out, change=change: change(out)
    )
    written = [asrscope.trace(model, processor, sample.path) for sample in samples]
    hook.remove()
    errors = total_errors(
        [
            word_errors(s.text, trace.text)
            for s, trace in zip(samples, written, strict=True)
        ]
    )
    rates[label] = errors.rate
    print(
        f"{label}: {errors.rate:.0%} of {errors.words} words wrong. {written[0].text}"
    )
assert min(rates, key=rates.get) == "as it is", "the page says that no change helps"
assert rates["turned to the nearest token"] > 1.5 * rates["as it is"], (
    "nor does spelling"
)

# %%
# None does. To move the centroid onto the text's destroys most of the sentence,
# although the number that it makes perfect is the one that is often called the gap. And
# to turn each vector to its nearest letter, which leaves the spelling as it is, costs
# words as well: the decoder reads more in an audio token than the letter nearest to it.
#
# Summary
# -------
# A gap is a number between two crowds of points. It does not say whether the decoder
# understands one of them: by centroids the random row is the nearer one. Nor does it
# help to close it. The decoder reads each vector for itself, and never sees where a
# crowd has its middle. And a map of two axes hides all the others; see how little of
# the variance it shows.
#
# Before: :ref:`the projector <gallery-projector>`. Next: :ref:`prompt anatomy
# <gallery-prompt>`. The lecture: :doc:`Class 5, section 2 </course/class-5>`.
