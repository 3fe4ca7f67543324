"""
.. _gallery-air:

From air to numbers
===================

**What is left of a sound when it has become a list of numbers?**

A converter measures the pressure of the air at regular moments and rounds each result. This page takes a
clip apart to the single number. Then it takes numbers away, to show what the sampling rate is for.
"""

# %%
# The clip
# --------
# One sentence, spoken by a synthesizer in a voice that the model never heard in training. We run the model
# on it once: the trace keeps every stage, and this page needs only the first.

from dataclasses import replace

import numpy as np
import soxr
from bokeh.models import Range1d
from bokeh.plotting import figure

import asrscope
from asrscope import plots
from asrscope.audio import SAMPLE_RATE

model, processor = asrscope.load("tiny")
sample = asrscope.load_samples()[0]
trace = asrscope.trace(
    model, processor, sample.path, name=sample.name, reference=sample.text, reference_words=sample.words
)

waveform = trace.waveform
print(f"spoken: {sample.text}")
print(f"{waveform.size} samples = {waveform.size / SAMPLE_RATE:.2f} s at {SAMPLE_RATE} samples a second")
print(f"stored as {waveform.dtype}, from {waveform.min():.3f} to {waveform.max():.3f}")

# %%
# Listen to it, and look at the whole clip. **Predict first:** can you see where one word ends and the next
# begins?

plots.player(trace)

# %%

plots.show(plots.waveform(trace))

# %%
# Speech has no gaps between words as print has. The silences that you see often lie inside a word, where
# the mouth closes for a *p*, *t* or *k*.
#
# Up close
# --------
# **Predict:** how many samples are there in ten milliseconds? We zoom in on the loudest place.

middle = int(np.abs(waveform).argmax())
count = SAMPLE_RATE // 100
start = max(0, min(middle - count // 2, waveform.size - count))
piece = waveform[start : start + count]
milliseconds = 1000 * (start + np.arange(count)) / SAMPLE_RATE

close_up = figure(
    name="close_up", height=260, sizing_mode="stretch_width", title=f"{count} samples, one dot each"
)
close_up.tags = [{"description": f"{count} dots that swing between {piece.min():.2f} and {piece.max():.2f}."}]
close_up.line(milliseconds, piece, alpha=0.4)
close_up.scatter(milliseconds, piece, size=5)
close_up.xaxis.axis_label, close_up.yaxis.axis_label = "time (ms)", "amplitude"
plots.show(close_up)

# %%
# The dots are all there is. The line between them is drawn for the eye.
#
# How finely to measure
# ---------------------
# Each sample is rounded to one of a number of levels. With more bits the rounding error becomes smaller.
# **Predict:** each bit doubles the number of levels. How much quieter does the error become?

for bits in (12, 8, 4):
    step = 2.0 ** (1 - bits)
    error = np.round(waveform / step) * step - waveform
    decibels = 10 * np.log10(np.mean(waveform**2) / np.mean(error**2))
    print(f"{bits:2} bits: {2**bits:5} levels, error {decibels:.0f} dB below the speech")

# %%
# Half the error in amplitude is 6 dB less. The clip itself is stored with 16 bits. Listen to it with 4:

four_bits = (np.round(waveform * 8) / 8).astype(np.float32).clip(-1, 1)
plots.player(replace(trace, name="4 bits", waveform=four_bits))

# %%
# How often to measure
# --------------------
# Samples can hold frequencies up to half their rate, the Nyquist frequency. We bring the clip to lower
# rates with a proper filter, then back, and average the power at each frequency over the clip.
# **Predict:** where does each curve fall off, and which consonants of the sentence will suffer first?

spectra = figure(
    name="spectra", height=320, sizing_mode="stretch_width", title="Average power at three sampling rates"
)
spectra.tags = [{"description": "Three curves that agree at low frequencies; each ends at half its rate."}]
lowered = {}
for rate, color in ((SAMPLE_RATE, "#3b82c4"), (8000, "#d9822b"), (4000, "#9a6fc4")):
    there = soxr.resample(waveform, SAMPLE_RATE, rate)
    lowered[rate] = soxr.resample(there, rate, SAMPLE_RATE).astype(np.float32).clip(-1, 1)
    blocks = lowered[rate][: lowered[rate].size // 512 * 512].reshape(-1, 512) * np.hanning(512)
    power = np.mean(np.abs(np.fft.rfft(blocks)) ** 2, axis=0)
    hertz = np.fft.rfftfreq(512, 1 / SAMPLE_RATE)
    spectra.line(hertz, 10 * np.log10(power + 1e-9), color=color, legend_label=f"{rate} Hz", line_width=2)
    print(f"{rate:5} samples a second hold frequencies up to {rate // 2} Hz")
spectra.x_range = Range1d(0, SAMPLE_RATE // 2)
spectra.xaxis.axis_label, spectra.yaxis.axis_label = "frequency (Hz)", "power (dB)"
spectra.legend.background_fill_alpha, spectra.legend.label_text_color = 0, "#7a7a7a"
plots.show(spectra)

# %%
# Listen to the lowest rate, half that of an old telephone. *s*, *f* and *t* lose most: their energy lies
# high.

plots.player(replace(trace, name="4000 samples a second", waveform=lowered[4000]))

# %%
# Without the filter
# ------------------
# What if you simply keep every fourth sample? The high frequencies do not vanish. They come back as lower
# tones that were never spoken: *aliasing*. The printed number compares what is left over with the properly
# filtered clip.

kept = waveform[::4]
aliased = soxr.resample(kept, 4000, SAMPLE_RATE).astype(np.float32).clip(-1, 1)
length = min(aliased.size, lowered[4000].size)
false = aliased[:length] - lowered[4000][:length]
share = np.sum(false**2) / np.sum(aliased[:length] ** 2)
print(f"{100 * share:.1f} % of the energy after careless sampling is not the filtered speech")
plots.player(replace(trace, name="4000 samples a second, unfiltered", waveform=aliased))

# %%
# Summary
# -------
# A sound becomes a list of numbers by measuring it at a fixed rate with a fixed fineness. The rate sets
# the highest frequency that survives, and a filter before sampling keeps higher ones from coming back in
# disguise. Speech goes above what 16 kHz can hold, but enough lies below to tell words apart.
#
# Next: :ref:`the log-mel spectrogram <gallery-log-mel>`, in which the numbers become a picture. The
# lecture: :doc:`Class 2, section 2 </course/class-2>`.
