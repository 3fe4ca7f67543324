"""
.. _gallery-trace:

The full trace, and your own recording
======================================

**What happens to one sentence, from wave to words?**

This is the script of the workshop. It runs one clip through the whole chain, shows every stage, and writes
two files: ``data_trace.html``, a page that you can open, play and send to someone, and
``data_trace.json``, the same data for programs.

Run it with a recording of your own::

    python 90_trace_data.py my-recording.wav
"""

# %%
# The clip
# --------
# Without an argument the script takes a clip of the package. Its sentence and voice were kept from all
# training, and its transcript is known.

# sphinx_gallery_thumbnail_number = 2
import sys
from pathlib import Path

import asrscope
from asrscope import plots
from asrscope.report import write_html, write_json
from asrscope.traces import STAGES

sample = asrscope.load_samples()[0]
own = len(sys.argv) == 2 and not sys.argv[1].startswith("-")  # a notebook has arguments of its own
path = sys.argv[1] if own else sample.path

# %%
# One call
# --------
# ``trace`` loads the clip, runs features, encoder, projector and decoder, and keeps what each of them
# gives.

model, processor = asrscope.load("tiny")
if own:
    trace = asrscope.trace(model, processor, path)
else:
    trace = asrscope.trace(
        model, processor, path, name=sample.name, reference=sample.text, reference_words=sample.words
    )

print("spoken: ", trace.reference or "not known")
print("written:", trace.text)
print(f"confidence {trace.confidence:.2f}, {trace.duration:.2f} s of sound")
for warning in trace.warnings:
    print("warning:", warning)

# %%
# Where do the weights come from? Read this before you believe a picture.

for part in trace.provenance:
    print(f"{part.part:10} {part.label:16} {part.parameters:10,} parameters  sha256 {part.sha256[:12]}")
    print(f"{'':10} from {part.source}")

# %%
# Every stage
# -----------
# **Predict:** which of these arrays is the largest, counted in numbers?

for stage in STAGES:
    values = getattr(trace, stage.field)
    shape = getattr(values, "shape", (len(values),))
    axes = " x ".join(axis.name for axis in stage.axes)
    print(f"{stage.title:20} {shape!s:13} {axes}")

# %%

plots.player(trace)

# %%
# **The waveform**: what the microphone delivers.

plots.show(plots.waveform(trace))

# %%
# **The log-mel spectrogram**: what the encoder reads.

plots.show(plots.log_mel(trace))

# %%
# **The encoder's output**: one vector each position, with the whole clip in view.

plots.show(plots.encoder_output(trace))

# %%
# **The projector's output**: fewer vectors, of the decoder's width.

plots.show(plots.audio_embeds(trace))

# %%
# **Nearest text tokens**: a way of looking at the audio tokens. The decoder does not use them.

plots.show(plots.nearest_tokens(trace))

# %%
# **The prompt**: what the decoder reads.

plots.show(plots.prompt(trace))

# %%
# **The words**, with the probability that the decoder gave to each.

plots.show(plots.decoder_words(trace))

# %%
# Where the time went
# -------------------
# **Predict:** the encoder runs once, the decoder once for each token. Which takes longer? The report has
# the times that were measured on the machine that made it.

print("slowest step:", max(trace.timings, key=trace.timings.get))

# %%
# Keep it
# -------
# The report holds everything above in one file, with the sound, and asks nothing of the network.

write_html(trace, "data_trace.html")
write_json(trace, "data_trace.json")
for name in ("data_trace.html", "data_trace.json"):
    print(f"{name}: {Path(name).stat().st_size / 1024:.0f} KiB")

# %%
# Your own recording
# ------------------
# Save a short sentence from your phone or computer as WAV, FLAC, OGG or MP3 and give its path to the
# script. In a notebook, set ``path`` and call ``asrscope.trace(model, processor, path)``. This model
# learned from synthesizers, so expect a poor transcript from a human voice. Then use the stages above to
# find out where it went wrong.
#
# Summary
# -------
# One sentence has gone from samples to frames, positions, audio tokens and words, and every intermediate
# result is in your hands. The pages before this one take the stages apart: :ref:`samples <gallery-air>`,
# :ref:`spectrogram <gallery-log-mel>`, :ref:`encoder <gallery-encoder>`, :ref:`projector
# <gallery-projector>`, :ref:`decoder <gallery-decoder>`. The lecture: :doc:`Class 2 </course/class-2>`.
