"""
.. _gallery-evaluation:

Evaluation
==========

**What is a word error rate, and what is behind it?**

One number stands at the end of most papers on speech recognition. This page computes it
by hand for one sentence, looks at the errors that it counts, and shows where this model
makes most of them.
"""

# %%
# Something to count
# ------------------
# All clips of the package are recognized. We take the sentence with most kinds of
# errors, and of those the one that went best.

import json
import textwrap
from importlib.resources import files

import numpy as np

import asrscope
from asrscope import plots
from asrscope.inside.counterfactual import add_noise
from asrscope.recognition.metrics import (
    Evaluation,
    Utterance,
    character_error_rate,
    evaluate,
    normalize,
    word_errors,
)

model, processor = asrscope.load("tiny")
samples = asrscope.load_samples()
utterances = [
    Utterance(clip.name, clip.path, clip.text, clip.voice) for clip in samples
]
write = lambda wave: asrscope.transcribe(model, processor, wave).text  # noqa: E731
evaluation = evaluate(utterances, write)
# For more errors to look at, further down:
noisy = evaluate(utterances, lambda wave: write(add_noise(wave, 10.0, "pink"))).scored
wrong = [result for result in evaluation.scored if result.errors.errors] or noisy
kinds = [len({step.kind for step in result.alignment}) for result in wrong]
rates = [-result.errors.rate for result in wrong]
_, _, best = max(zip(kinds, rates, range(len(wrong)), strict=True))
example = wrong[best]
for what, text in (("said", example.utterance.text), ("written", example.text)):
    print(f"{what}:", *textwrap.wrap(text, 44), sep="\n    ")
plots.listen(asrscope.load_audio(example.utterance.audio), example.utterance.name)

# %%
# By hand
# -------
# Three kinds of error: a word replaced, left out, or put in. **Predict:** what is the
# smallest number of errors that leads from one sentence to the other? Count before you
# go on.
#
# The machine fills a table. Each cell is the smallest number for the beginnings of both
# sentences: a step down leaves a word out, a step to the right puts one in, a slanted
# step keeps or replaces one.

said, written = (
    normalize(example.utterance.text).split(),
    normalize(example.text).split(),
)
table = np.zeros((len(said) + 1, len(written) + 1), dtype=int)
table[:, 0], table[0] = np.arange(len(said) + 1), np.arange(len(written) + 1)
for i in range(1, len(said) + 1):
    for j in range(1, len(written) + 1):
        replaced = table[i - 1, j - 1] + (said[i - 1] != written[j - 1])
        table[i, j] = min(replaced, table[i - 1, j] + 1, table[i, j - 1] + 1)

i, j = len(said), len(written)
path, steps = [(i, j)], []
while i or j:  # from the end back, always to a cell from which this one came
    if i and j and table[i, j] == table[i - 1, j - 1] + (said[i - 1] != written[j - 1]):
        i, j = i - 1, j - 1
        steps.append((said[i], written[j], "" if said[i] == written[j] else "replaced"))
    elif i and table[i, j] == table[i - 1, j] + 1:
        i -= 1
        steps.append((said[i], "-", "left out"))
    else:
        j -= 1
        steps.append(("-", written[j], "put in"))
    path.append((i, j))
plots.show(plots.distance_table(table, said, written, path))

# %%
# Follow the marked path from the top left: wherever the number grows, an error was
# made. The same as a list:

for before, after, kind in reversed(steps):
    print(f"{before:12} {after:12} {kind}")
errors, fewest = word_errors(example.utterance.text, example.text), table[-1, -1]
print(f"{fewest} errors / {len(said)} words said = {fewest / len(said):.0%}")
print(f"the package counts {errors.errors} / {errors.words} = {errors.rate:.0%}")
assert errors.errors == fewest, "the page says that both count the same"

# %%
# Before the count, both sides were brought to one spelling: lower case, no punctuation,
# numbers as digits. For a collection, the errors of all sentences are added up and
# divided by all words; it is not the mean of the sentences' rates.
#
# All errors of the clips
# -----------------------
# **Predict:** are the wrong words wrong at random, or do they sound like what was said?

for result in evaluation.scored:
    lines = {"said": "", "written": "", "": ""}
    for step in result.alignment:
        pair = (step.reference or "-", step.hypothesis or "-")
        width, mark = max(map(len, pair)), "" if step.kind == "equal" else "^"
        for label, word in zip(lines, (*pair, mark), strict=True):
            lines[label] += f"{word:{width}} "
    for label, line in lines.items():
        print(f"{label:8}{line.rstrip()}")
count, rate = evaluation.errors, plots.Rate(evaluation.errors.rate, evaluation.interval)
print(f"{count.errors} errors in {count.words} words, {len(samples)} clips: WER {rate}")
assert normalize("seven o'clock") == "70 clock", "the page says that rules err"

# %%
# Even the spelling rules err: see what they make of *seven o'clock*, on both sides
# alike.
#
# A word can be wrong by one letter or by all. So we count the letters of replaced words
# too, and compare with pairs put together at random. To have more of them, the clips
# are heard once more under noise.

both = Evaluation((*evaluation.scored, *noisy)).confusions.elements()
pairs = [
    (step.reference, step.hypothesis) for step in both if step.kind == "substitute"
]
letters = [character_error_rate([before], [after]) for before, after in pairs]
order = np.argsort(letters, kind="stable")
print(textwrap.fill(", ".join(" > ".join(pairs[k]) for k in order), width=46))
before, after = zip(*pairs, strict=True)
rng = np.random.default_rng(0)
shuffled = [list(rng.permutation(after)) for _ in range(100)]
chances = [character_error_rate(before, words) for words in shuffled]
rate = character_error_rate(before, after)
print(f"letters wrong: {rate:.0%}, in random pairs {np.mean(chances):.0%}")
assert rate < np.quantile(chances, 0.025), "the page says: nearer than chance"

# %%
# They are not wrong at random: what is written shares more letters with what was said
# than it would by chance. With *sun* and *sound* one hears why; with others, one does
# not.
#
# Where it fails
# --------------
# The model card has measurements on hundreds of sentences that no training saw, in four
# sets. **Predict:** which costs more, new voices or new kinds of sentences?

card = files("asrscope") / "data" / "checkpoints" / "tiny" / "metrics.json"
metrics = json.loads(card.read_text("utf-8"))
sets = {name: each["tiny"] for name, each in metrics["test_sets"].items()}
rates = {
    name: plots.Rate(each["wer"], (each["wer_low"], each["wer_high"]))
    for name, each in sets.items()
}
plots.show(plots.rates_by_name(rates, "sets", "Word error rate by test set"))
for name, each in sets.items():
    replaced, lost, added = (
        f"{each[kind] / each['words']:.1%}"
        for kind in ("substitutions", "deletions", "insertions")
    )
    voices = metrics["sets"][name]["voices"]
    print(f"{name}: {rates[name]}, {each['utterances']} clips, {voices} voices")
    print(f"    replaced {replaced}, left out {lost}, put in {added}")
highest = rates["seen-voices"].interval[1]
assert rates["new-espeak-voices"].rate < highest, "the page: new voices cost nothing"
for name in ("new-flite-voice", "hand-written"):
    assert rates[name].interval[0] > 2 * highest, "the page says that both cost much"

# %%
# New voices of espeak-ng, of which it knows many, cost nothing. A new voice of flite,
# of which it knows few, brings several times the errors. So do sentences of another
# kind, of which that same voice speaks every other one: how much is due to the words,
# this does not tell.
#
# Summary
# -------
# A word error rate is the smallest number of errors over the number of words said. It
# says nothing about which words, nor whether they mattered: look at them. And it
# belongs to a test set: the four rates are of one model. :doc:`The guide
# </using/evaluation>` says how to measure your own recordings, and the :doc:`model card
# </model-card>` how these were measured.
#
# Before: :ref:`ablations <gallery-ablations>`. Next: :ref:`the full trace
# <gallery-trace>`. The lecture: :doc:`Class 4, section 1 </course/class-4>`.
