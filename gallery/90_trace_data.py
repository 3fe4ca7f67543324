"""
.. _gallery-trace:

The full trace, and your own recording
======================================

**What happens to one sentence, from wave to words?**

This script runs one clip through the whole chain, shows every stage, and writes two
files: ``data_trace.html``, a page to open, play and send, and ``data_trace.json``, the
same data for programs.

Run it with a recording of your own, or speak into the microphone for five seconds::

    python 90_trace_data.py my-recording.wav
    python 90_trace_data.py microphone
"""

# %%
# The clip
# --------
# Without an argument: a clip of the package. Its sentence and voice were kept from all
# training.

# sphinx_gallery_thumbnail_number = 2
import json
import sys
from importlib.resources import files
from pathlib import Path

import asrscope
from asrscope import plots
from asrscope.audio import record
from asrscope.loading import untrained
from asrscope.plots.report import write_html, write_json
from asrscope.scope.traces import STAGES

sample = asrscope.load_samples()[0]
# A notebook has arguments of its own.
own = len(sys.argv) == 2 and not sys.argv[1].startswith("-")
source = sys.argv[1] if own else sample.path
if source == "microphone":
    print("Speak now, for five seconds.")
    source = record(seconds=5.0)

# %%
# One call
# --------
# ``trace`` runs features, encoder, projector and decoder, and keeps what each of them
# gives.

model, processor = asrscope.load()
known = {"name": sample.name, "reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, source, **({} if own else known))

print(f"spoken:  {trace.reference or 'not known'}\nwritten: {trace.text}")
print(f"confidence {trace.confidence:.2f}, {trace.duration:.2f} s of sound")
for warning in trace.warnings:
    print("warning:", warning)

# %%
# Where do the weights come from? Read this before you believe a picture.

for part in trace.provenance:
    print(f"{part.part:10} {part.label:16} {part.parameters:10,} parameters", end="  ")
    print(f"sha256 {part.sha256[:12]}\n{'':10} from {part.source}")

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
# **The waveform**, what the microphone delivers, and **the log-mel spectrogram**, what
# the encoder reads.

plots.show(plots.waveform(trace))
plots.show(plots.log_mel(trace))

# %%
# **The encoder's output**, one vector each position with the whole clip in view, and
# **the projector's**, fewer vectors of the decoder's width.

plots.show(plots.encoder_output(trace))
plots.show(plots.audio_embeds(trace))

# %%
# **Nearest text tokens**, a way of looking at the audio tokens that the decoder does
# not use, and **the prompt**, which is what it reads.

plots.show(plots.nearest_tokens(trace))
plots.show(plots.prompt(trace))

# %%
# **The words**, with the probability that the decoder gave to each.

plots.show(plots.decoder_words(trace))

# %%
# Where the work is
# -----------------
# **Predict:** the encoder runs once, the decoder once for each token. Which computes
# more? As a rule of thumb, every weight is used once for every position that passes it.

passed = {
    "encoder": len(trace.encoder_hidden_states),
    "projector": len(trace.audio_embeds),
}
passed["decoder"] = len(trace.prompt_ids) + len(trace.tokens)
for part in trace.provenance:
    millions = passed[part.part] * part.parameters / 1e6
    print(f"{part.part:10} {passed[part.part]:4} positions, {millions:6.0f} million")

# %%
# How long that takes depends on the machine. This was recorded with the bundled model's
# card; for a recording of your own, the times of your machine are added.

card = files("asrscope") / "data" / "checkpoints" / "tiny" / "metrics.json"
metrics = json.loads(card.read_text("utf-8"))
speed, machine = metrics["speed"], metrics["machine"]
took = f"{speed['audio_seconds']:.2f} s of sound in {speed['seconds']:.2f} s"
print(f"{speed['clip']}: {took}")
print(f"median of {speed['repeats']} runs, {machine['processor']},", end=" ")
print(f"threads: {speed['threads']}")
if own:
    steps = (f"{step} {seconds:.3f} s" for step, seconds in trace.timings.items())
    print("this run:", ", ".join(steps))

# %%
# Keep it
# -------
# The report holds everything above in one file, with the sound, and asks nothing of the
# network. Beside the projector's output it draws that of a random projector.
# **Predict:** what will that one lead to?

control = asrscope.trace(untrained(model), processor, trace.waveform, name=trace.name)
print("random projector:", control.text)
write_html(trace, "data_trace.html", control=control)
write_json(trace, "data_trace.json")
for name in ("data_trace.html", "data_trace.json"):
    print(f"{name}: {Path(name).stat().st_size / 1e6:.1f} MB")

# %%
# Your own recording
# ------------------
# Save a short sentence as WAV, FLAC, OGG or MP3 and give its path to the script, or use
# the microphone; in a notebook, set ``source``. :doc:`How to record
# </using/your-recording>`. The bundled model learned from synthesizers and gets next to
# nothing of what people say; the stages show where it goes wrong. To be understood,
# write ``asrscope.load("small")``.
#
# Summary
# -------
# One sentence has gone from samples to frames, positions, audio tokens and words. The
# pages before this one take the stages apart: :ref:`samples <gallery-air>`,
# :ref:`spectrogram <gallery-log-mel>`, :ref:`encoder <gallery-encoder>`,
# :ref:`projector <gallery-projector>`, :ref:`prompt <gallery-prompt>`, :ref:`decoder
# <gallery-decoder>`. Others ask what the pictures prove: :ref:`modality gap
# <gallery-gap>`, :ref:`attention <gallery-attention>`, :ref:`logit lens
# <gallery-lens>`, :ref:`what if? <gallery-what-if>` Two train, :ref:`a projector
# <gallery-training>` and :ref:`its variants <gallery-ablations>`, and two count errors:
# :ref:`robustness <gallery-robustness>`, :ref:`evaluation <gallery-evaluation>`. Next:
# a person's sentence through :ref:`the real pair <gallery-real-pair>`. The lecture:
# :doc:`Class 2 </course/class-2>`.
