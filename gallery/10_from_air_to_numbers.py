"""
.. _gallery-air:

From air to numbers
===================

**What is left of a sound when it has become a list of numbers?**

A converter measures the pressure of the air at regular moments and rounds each result.
This page takes a clip apart to the single number. Then it takes numbers away, to show
what each of them is for.
"""

# %%
# The clip
# --------
# One sentence, spoken by a synthesizer in a voice that the model never heard in
# training. **Predict:** can you see where one word ends and the next begins?

import numpy as np
import soxr

import asrscope
from asrscope import plots
from asrscope.audio import SAMPLE_RATE

model, processor = asrscope.load()
sample = asrscope.load_samples()[0]
known = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **known)
waveform = trace.waveform
print(f"{waveform.size} samples, {SAMPLE_RATE} a second: {trace.duration:.2f} s")
plots.show(plots.waveform(trace))
plots.player(trace)

# %%
# Print has gaps between words. Speech does not: its silences often lie inside a word,
# where the mouth closes for a *p*, *t* or *k*.
#
# How finely to measure
# ---------------------
# Each sample is rounded to one of a number of levels, and each bit doubles that number.
# **Predict:** how much quieter does the rounding error become with each bit? In
# decibels, 6 is half the amplitude.

power, below = np.mean(waveform**2), {}
for bits in (16, 12, 8, 4):
    step = 2.0 ** (1 - bits)
    error = np.round(waveform / step) * step - waveform
    with np.errstate(divide="ignore"):
        below[bits] = 10 * np.log10(power / np.mean(error**2))
    print(f"{bits:2} bits: {2**bits:6} levels, error {below[bits]:.0f} dB below")
assert np.isinf(below[16]), "the page says: stored with 16 bits"
assert 5.5 < (below[12] - below[4]) / 8 < 6.5, "the page says: 6 dB a bit"

# %%
# About 6 decibels: each bit halves the error. With 16 bits it is infinitely far below,
# which is no error at all, since the clip was stored with so many. Here are ten
# milliseconds of it. The dots are all there is; nothing was measured between them.

count = SAMPLE_RATE // 100
first = int(np.clip(np.abs(waveform).argmax() - count // 2, 0, waveform.size - count))
milliseconds = 1000 * (first + np.arange(count)) / SAMPLE_RATE
piece, coarse = waveform[first:], (np.round(waveform * 8) / 8).astype(np.float32)
stored = {"as stored": (milliseconds, piece[:count])}
stored["4 bits"] = (milliseconds, coarse[first:][:count])
# To show it:
words = {"description": f"{count} dots, and a staircase near them."}
axes = {"x_label": "time (ms)", "y_label": "amplitude"}
close_up = plots.chart("close_up", "As stored, and in 4 bits", **words, **axes)
plots.show(plots.draw(close_up, stored, kinds=("dots", "steps")))
plots.listen(coarse, "the clip in 4 bits")

# %%
# How often to measure
# --------------------
# Samples can hold frequencies up to half their rate, the Nyquist frequency. To see why,
# take a sound that is simpler than speech: a tone that rises evenly from 0 to 8000 Hz.
# We keep every fourth of its samples. **Predict:** what will you hear once the tone has
# passed 2000 Hz, half of the new rate?

quarter, seconds = SAMPLE_RATE // 4, np.arange(waveform.size) / SAMPLE_RATE
phase = np.pi * SAMPLE_RATE / 2 / trace.duration * seconds**2
sweep = (0.2 * np.sin(phase)).astype(np.float32)
careless = soxr.resample(sweep[::4], quarter, SAMPLE_RATE)[: sweep.size]
heard = {}
for tone in (1000, 3000, 5000, 7000):
    around = int(tone / (SAMPLE_RATE / 2) * sweep.size) + np.arange(-256, 256)
    spectrum = np.abs(np.fft.rfft(careless[around] * np.hanning(512)))
    heard[tone] = spectrum.argmax() * SAMPLE_RATE / 512
told = ", ".join(f"{tone} Hz at {found:.0f} Hz" for tone, found in heard.items())
print("after that:", told, sep="\n    ")
assert abs(heard[3000] - 1000) < 50, "the page says that the line comes down again"
# To show it:
title, rate = "A rising tone, every fourth sample kept", {"sampling_rate": SAMPLE_RATE}
plots.show(plots.spectrogram(careless, "careless", title, description=told, **rate))
plots.listen(careless, title)

# %%
# The line comes down again: *aliasing*. Between two samples a fast tone swings back and
# forth unseen, and a slow one passes through the same points. The samples do not tell
# which of them it was. So a converter takes the high frequencies out first. With that
# filter the tone ends:

lower = soxr.resample(sweep, SAMPLE_RATE, quarter)
filtered = soxr.resample(lower, quarter, SAMPLE_RATE)
left = np.mean(filtered[filtered.size // 2 :] ** 2) / np.mean(sweep**2)
assert left < 0.01, "the page says that the tone ends"
# To show it:
title, told = "The same, filtered first", f"The line ends. Power left: {left:.1%}."
plots.show(plots.spectrogram(filtered, "filtered", title, description=told, **rate))
plots.listen(filtered, title)

# %%
# Now speech, without the filter and with it. What is high in *s*, *f* and *t* comes
# back as a low hiss that nobody spoke.

false = soxr.resample(waveform[::4], quarter, SAMPLE_RATE)[: waveform.size]
plots.listen(false, "every fourth sample of the clip")

# %%

lower = soxr.resample(waveform, SAMPLE_RATE, quarter)
true = soxr.resample(lower, quarter, SAMPLE_RATE)[: waveform.size]
share = np.sum((false - true) ** 2) / np.sum(false**2)
print(f"{100 * share:.1f} % of the energy of the careless version is not in this one")
assert share > 0.01, "the page says that something comes back"
plots.listen(true, "the same, filtered first")

# %%
# What 16 kHz loses
# -----------------
# The clips of this package end at 8 kHz, so they cannot tell. We make a hiss instead,
# at 48000 samples a second: noise through one resonance, 3 kHz wide. It is a crude *s*;
# `in one course of experiments
# <http://www.auditory.org/asamtgs/asa92nwo/1pSP/1pSP9.html>`_ *s* was strongest
# anywhere between 4 and 14 kHz. **Predict:** with the resonance at 8 kHz, what share of
# the power will be lost?

wide, peaks, shares = 48_000, np.arange(4, 14.1, 0.5), []
kilohertz = np.fft.rfftfreq(wide // 2, 1000 / wide)
noise = np.fft.rfft(np.random.default_rng(0).standard_normal(wide // 2))
for peak in peaks:
    spectrum = noise / np.sqrt(1 + ((kilohertz - peak) / 1.5) ** 2)
    power = np.abs(spectrum) ** 2
    shares.append(100 * power[kilohertz > SAMPLE_RATE / 2000].sum() / power.sum())
    if peak == 8:
        hiss = (0.2 * np.fft.irfft(spectrum)).astype(np.float32)
some = zip(peaks[::4], shares[::4], strict=True)
text = ", ".join(f"{peak:g} kHz {share:.0f} %" for peak, share in some)
print("resonance and share of the power above 8 kHz:", text, sep="\n    ")
half = shares[list(peaks).index(8)]
assert 40 < half < 60, "the page says: half of it"
# To show it:
axes = {"x_label": "resonance (kHz)", "y_label": "share of the power (%)"}
lost = plots.chart("lost", "Power of a hiss above 8 kHz", description=text, **axes)
plots.show(plots.draw(lost, {"lost": (peaks, shares)}))
plots.listen(hiss, "a hiss with its resonance at 8 kHz", wide)

# %%

plots.listen(soxr.resample(hiss, wide, SAMPLE_RATE), "the same at 16 kHz")

# %%
# About half of that hiss is gone: a resonance at the limit has one side beyond it.
#
# Summary
# -------
# A sound becomes a list of numbers by measuring it at a fixed rate with a fixed
# fineness. The rate sets the highest frequency that survives, and a filter before
# sampling keeps higher ones from coming back in disguise. 16 kHz cuts into *s* and its
# like. Whisper was trained at this rate all the same: what is left tells words apart
# well enough, and twice the rate would be twice the numbers.
#
# Next: :ref:`the log-mel spectrogram <gallery-log-mel>`, in which the numbers become a
# picture. The lecture: :doc:`Class 2, section 2 </course/class-2>`.
