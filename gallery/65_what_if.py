"""
.. _gallery-what-if:

What if?
========

**If one thing about the sound were different, what would change, and where?**

To look at a clip shows what goes together. To change it shows what depends on what:
this page silences a word, cuts it out, adds noise, moves the clip, and asks every stage
for its answer.
"""

# %%
# The clip and five others
# ------------------------
# Two changes are made to one word, the longest that was written as it was spoken. The
# whole clip gets noise, 10 dB below the speech or as loud (0 dB), or starts later.

# sphinx_gallery_thumbnail_number = 3
import numpy as np

import asrscope
from asrscope import plots
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.features import SECONDS_PER_FRAME
from asrscope.inside.counterfactual import add_noise, cut, mask_span, shift
from asrscope.inside.decoder import force, word_log_probabilities

model, processor = asrscope.load("tiny")
sample = asrscope.load_samples()[0]
known = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **known)
sound, words = trace.waveform, trace.words
spoken = [word for word in words if word.start is not None]
word = max(spoken, key=lambda word: word.end - word.start)
clips = {
    "as it is": sound,
    "masked": mask_span(sound, word.start, word.end),
    "cut": cut(sound, word.start, word.end),
    "10 dB": add_noise(sound, 10.0),
    "0 dB": add_noise(sound, 0.0),
    "later": shift(sound, 0.5),
}
traces = {
    label: asrscope.trace(model, processor, clip, name=label)
    for label, clip in clips.items()
}
print(f"the word is {word.text!r}, from {word.start:.2f} to {word.end:.2f} s")
plots.player(trace)

# %%
# And each of the others:

plots.player(traces["masked"])

# %%

plots.player(traces["cut"])

# %%

plots.player(traces["10 dB"])

# %%

plots.player(traces["0 dB"])

# %%

plots.player(traces["later"])

# %%
# How far a silence reaches
# -------------------------
# We compare the masked clip with the original, moment by moment and stage by stage.
# **Predict:** the silence ends sharply. Does its effect, in the spectrogram, in the
# encoder, in the audio tokens?

stages = {
    "log-mel spectrogram": (SECONDS_PER_FRAME, lambda trace: trace.log_mel.T),
    "encoder": (SECONDS_PER_POSITION, lambda trace: trace.encoder_hidden_states),
    "projector": (trace.seconds_per_audio_token, lambda trace: trace.audio_embeds),
}
lines, outer = {}, {}
for label, (step, read) in stages.items():
    difference = np.linalg.norm(read(traces["masked"]) - read(trace), axis=1)
    time = (np.arange(difference.size) + 0.5) * step
    outside = (time < word.start) | (time > word.end)
    lines[label] = time, difference / np.median(np.linalg.norm(read(trace), axis=1))
    outer[label] = difference[outside].sum() / difference.sum()
told = [
    f"{label}: {share:.0%} of the change lies outside" for label, share in outer.items()
]
print(*told, sep="\n")
mel, encoded, _ = outer.values()
assert encoded > 2 * mel, "the page says that the encoder spreads it"
# To show it:
title = f"What changes when {word.text!r} is silent"
words_of = {"y_label": "change (vector lengths)", "description": "; ".join(told)}
reach = plots.time_chart(trace, "what_if_reach", title, **words_of, height=240)
plots.show(plots.draw(reach, lines))

# %%
# The spectrogram changes where the sound does, give or take a window and a floor that
# depends on the loudest sound. The encoder's positions have all looked at each other.
#
# What becomes of each word
# -------------------------
# The transcript of the unchanged clip is now read with each clip. How probable is each
# of its words? **Predict:** which words does *cut* hurt? And *later*, half a second of
# silence before the clip?

ids = [token.id for token in trace.tokens]
forced = [force(model, processor, clip, ids) for clip in clips.values()]
# Shape (words, clips).
table = np.exp([word_log_probabilities(each, words) for each in forced]).T
# To show it:
shown = [[f"{chance:.2f}" for chance in row] for row in table]
names = [word.text for word in words]
told = [f"{name}: {', '.join(row)}" for name, row in zip(names, shown, strict=True)]
look = {"name": "what_if_words", "description": f"{'; '.join(told)}."}
look["title"] = "Probability of each word of the transcript"
look["subtitles"] = [f"masked and cut: {word.text!r} · dB: speech over noise"]
look |= {"corner": ("word", "clip"), "clip": (trace, plots.word_times(trace))}
plots.show(plots.token_grid(shown, table, names, list(clips), **look))

# %%
# And this is what the decoder writes by itself:

for label, result in traces.items():
    print(f"{label:9} {result.text}")

# %%
# Every word in turn
# ------------------
# Does the decoder need the sound of a word to write that word, or another's? Each row
# below masks one word; each column is a word of the transcript, with its probability
# relative to that of the unchanged clip. **Predict:** will only the diagonal be dark?

control, _ = asrscope.load("tiny", random_projector=True)
masked_clips = [sound, *(mask_span(sound, word.start, word.end) for word in spoken)]
logs = {}
for label, network in (("trained", model), ("random", control)):
    forced = [force(network, processor, clip, ids) for clip in masked_clips]
    sums = np.array([word_log_probabilities(each, words) for each in forced])
    logs[label] = sums[1:] - sums[0]  # (masked words, words)
own = np.array([words.index(word) for word in spoken])
place = np.arange(len(words)) - own[:, None]
where = {"the word": place == 0, "words before": place < 0, "words after": place > 0}
for label, change in logs.items():
    means = [f"{name} {change[chosen].mean():+.2f}" for name, chosen in where.items()]
    print(f"{label} projector, mean change of log-probability:", *means, sep="\n    ")
own, early, late = (logs["trained"][chosen].mean() for chosen in where.values())
assert own < -5, "the page says that a word needs its own sound"
assert abs(early) < 0.2 < -late < -own, "the page says: not before it, some after it"
assert np.abs(logs["random"]).mean() < 0.5, "the page says that nothing was understood"

ratios, rows = np.exp(logs["trained"]), [word.text for word in spoken]
doubt = int(table[:, 0].argmin())  # the word that it was least sure of
assert np.median(ratios[: len(rows) - 2, doubt]) > 1.5, "the page: its column is bright"
# To show it:
shown = [[f"{ratio:.1f}" for ratio in row] for row in ratios]
least = [
    f"{row} masked: {names[k]}" for row, k in zip(rows, ratios.argmin(1), strict=True)
]
look = {"name": "what_if_each", "title": "Each word, while another is masked"}
look["description"] = f"The word that loses most. {'; '.join(least)}."
look["subtitles"] = ["dark: lost · middle: as before · bright: more probable"]
look |= {"corner": ("masked", "word")}
look["clip"] = (trace, [(word.start, word.end) for word in spoken])
colors = np.where(ratios < 1, ratios / 2, 1 - 0.5 / np.maximum(ratios, 1))
matrix = plots.token_grid(shown, colors, rows, names, **look)
matrix.xaxis.major_label_orientation, matrix.height = 1.0, matrix.height + 40
plots.show(matrix)

# %%
# The bright column is the word of which the decoder was least sure: there was room
# above. Noise in the place of a silence does nearly the same, :doc:`as Class 5 finds
# </course/class-5>`.
#
# Summary
# -------
# :ref:`Attention <gallery-attention>` shows what the decoder looks at; a change shows
# what it needs. A word needs its own sound, and far more than any other; the words
# after it need it a little, and those before it not at all. That holds on average, and
# the case of the lectures is the exception: a word that the decoder writes with or
# without its sound. With a random projector nothing was understood, so nothing is
# needed. And no change is only the one that was meant: a silence is a sound, too.
#
# Before: :ref:`the logit lens <gallery-lens>`. Next: :ref:`robustness
# <gallery-robustness>`. The lecture: :doc:`Class 5, section 5 </course/class-5>`.
