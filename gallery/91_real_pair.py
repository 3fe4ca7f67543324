"""
.. _gallery-real-pair:

The real pair: a person is understood
=====================================

**Can a listener and a writer that never met understand a person, if only the translator
between them is trained?**

The model ``small`` joins two published models. The listener is the encoder of Whisper
tiny.en, which has heard people for many thousand hours; the writer is
SmolLM2-135M-Instruct, which has read the web and never heard a sound. Neither was
changed here. The translator, the projector between them, is the only part that this
project has trained, and the only one that it ships: the other two come from the package
index or from the Hub.
"""

# %%
# A person speaks
# ---------------
# The sentence is from CMU ARCTIC, a person's reading, which no training here has heard.
# Play it. **Predict:** which of its words will be the hardest?

# sphinx_gallery_thumbnail_number = 4
import textwrap

import asrscope
from asrscope import plots
from asrscope.audio.samples import load_person, load_samples
from asrscope.loading import untrained
from asrscope.recognition.metrics import total_errors, word_errors
from asrscope.training.projector import read_letters, read_nearest

model, processor = asrscope.load("small")
person = load_person("gregson")
trace = asrscope.trace(
    model, processor, person.path, name=person.name, reference=person.text
)

for part in trace.provenance:
    print(f"{part.part:9} {part.parameters:11,} weights, {part.label}")
plots.listen(trace.waveform, person.name)

# %%
# What was said, and what was written
# -----------------------------------

for what, text in (("said", person.text), ("written", trace.text)):
    print(f"{what}:", *textwrap.wrap(text, 44), sep="\n    ")
errors = word_errors(person.text, trace.text)
print(f"{errors.errors} of {errors.words} words are wrong")
assert errors.errors < errors.words / 2, "the page says that a person is understood"
plots.show(plots.decoder_words(trace))
plots.player(trace)

# %%
# A person is understood. What stages did the sentence go through? The encoder hears a
# moment of silence ahead of it, too, which no figure shows.

plots.show(plots.log_mel(trace))
plots.show(plots.encoder_output(trace))

# %%
# The translator's own reading
# ----------------------------
# Before it ever met the writer, the projector had a warm start: it learned to point,
# with each audio token, to a token of the writer's vocabulary, or to nothing new. So it
# can be read by itself. **Predict:** will it read letters, as tiny's does, or words?

plots.show(plots.nearest_tokens(trace))

table = model.get_input_embeddings().weight
reading = read_nearest(
    model.multi_modal_projector, table, trace.encoder_hidden_states, processor.tokenizer
)
for what, text in (
    ("translator points to", reading),
    ("writer makes of it", trace.text),
):
    print(f"the {what}:", *textwrap.wrap(text, 44), sep="\n    ")

# %%
# It points to words, and to pieces of rare ones: the writer's own tokens, one for each
# tenth of a second, and blanks where nothing new is said. Each audio token is a mean of
# the writer's embeddings, weighted by how much the projector points to each. That is
# why a writer who has never heard a sound can read it. ``tiny`` spells letters instead,
# because its writer was raised on them: what a projector learns to say depends on who
# reads it.
#
# Two votes
# ---------
# A projector that points to whole words cannot name one that it was never told. So
# beside it stands a speller: a few convolutions over the listener's output, which write
# down letters. Each token of the text is weighed half by the writer, half by how
# probably the sound spells the text so far with it: by what the translator points to,
# and in part by the letters. Since letters may decide between two texts later on, three
# are kept in view. Take the sound's say away. **Predict:** what does the writer make of
# the sentence by itself?

projector = model.multi_modal_projector
letters = read_letters(projector, trace.encoder_hidden_states)
beams = model.beams  # without a vote it would be one
assert beams == 3, "the page says: three"
projector.ctc_weight = 0.0
alone = asrscope.trace(model, processor, person.path, num_beams=beams)
projector.ctc_weight = model.config.projector_ctc_weight
for what, text in (
    ("the letters by themselves", letters),
    ("the writer by itself", alone.text),
    ("all together", trace.text),
):
    print(f"{what}:", *textwrap.wrap(text, 44), sep="\n    ")

# %%
# A language model alone writes what is likely, and of a long clip it leaves out words;
# the letters alone know no language. :doc:`The card </model-card-small>` counts what
# each gets wrong on recordings of people, and what all together do.
#
# The prompt has learned vectors, too
# -----------------------------------
# Around the clip stand a few vectors that no word has. They were trained together with
# the projector, and say to the writer, better than written words alone (:ref:`a study
# <gallery-ablations>` compares them): write down, word for word, what stands here.

learned = model.multi_modal_projector.prompt
norms = learned.detach().norm(dim=-1)
print(f"{len(learned)} learned vectors, norms {norms.min():.1f} to {norms.max():.1f};")
print(f"the writer's own tokens: {table.detach().norm(dim=-1).median():.1f} (median)")

# %%
# A control
# ---------
# The same listener and the same writer, and a projector with random weights.
# **Predict:** what will the writer say?

control = untrained(model)
random_trace = asrscope.trace(
    control, processor, person.path, name="random projector", reference=person.text
)
print("random projector:", *textwrap.wrap(random_trace.text[:200], 44), sep="\n    ")
wrong = word_errors(person.text, random_trace.text)
assert wrong.rate > 0.9, "the page says that nothing is left of the sentence"
assert random_trace.provenance[1].trained is False

# %%
# Nothing is left of the sentence. Both specialists are as good as before; they have no
# common language. What the training of the projector brought is all the difference.
#
# Synthetic voices
# ----------------
# ``tiny`` does not understand people: it has heard synthesizers only. **Predict:** does
# ``small``, which was taught mostly by people, understand the clips of ``tiny``?

pairs, counted = {"tiny": asrscope.load("tiny"), "small": (model, processor)}, {}
for name, pair in pairs.items():
    written = [asrscope.transcribe(*pair, clip.path).text for clip in load_samples()]
    both = zip(load_samples(), written, strict=True)
    counted[name] = [word_errors(clip.text, text) for clip, text in both]
    print(f"{name}: {total_errors(counted[name]).rate:.0%} of the words wrong,")
    print(f"    {written[0]!r}")
clip = load_samples()[0]
plots.listen(asrscope.load_audio(clip.path), clip.text)
assert total_errors(counted["small"]).rate < 0.5, "the page says: most are right"

# %%
# It does: most words are right. Its projector has heard these synthesizers, though in
# other voices. The other way round it fails: ``tiny`` has never heard a person, and
# gets next to no word of what people say.
#
# How much was trained?
# ---------------------

trained = sum(weight.numel() for weight in model.multi_modal_projector.parameters())
whole = sum(weight.numel() for weight in model.parameters())
print(f"{trained:,} of {whole:,} weights: {trained / whole:.1%}")
assert trained / whole < 0.05
assert not any(weight.isnan().any() for weight in projector.parameters())

# %%
# Summary
# -------
# Two frozen specialists, and a translator of less than a twentieth of all weights,
# understand a person. How often they do not, on recordings of many people, stands in
# the :doc:`model card of small </model-card-small>`, beside the listener's own decoder.
# Speak yourself: ``asrscope trace my-recording.wav --model small --html report.html``.
#
# Before: :ref:`the full trace <gallery-trace>`. Next: :ref:`five systems, side by side
# <gallery-systems>`. The lecture: :doc:`Class 2 </course/class-2>`.
