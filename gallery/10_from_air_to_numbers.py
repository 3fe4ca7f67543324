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
trace = asrscope.trace(
    model,
    processor,
    sample.path,
    name=sample.name,
    reference=sample.text,
    reference_words=sample.words,
)
waveform = trace.waveform
print(
    f"{waveform.size} samples = {trace.duration:.2f} s at {SAMPLE_RATE} samples a"
    " second"
)
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

for bits in (16, 12, 8, 4):
    step = 2.0 ** (1 - bits)
    error = np.round(waveform / step) * step - waveform
    decibels = (
        10 * np.log10(np.mean(waveform**2) / np.mean(error**2))
        if error.any()
        else np.inf
    )
    print(
        f"{bits:2} bits: {2**bits:6} levels, error {decibels:.0f} dB below the speech"
    )

# %%
# Infinitely far below is no error: the clip was stored with so many bits. Here are ten
# milliseconds of it. The dots are all there is; nothing was measured between them.

count = SAMPLE_RATE // 100
first = int(np.clip(np.abs(waveform).argmax() - count // 2, 0, waveform.size - count))
milliseconds = 1000 * (first + np.arange(count)) / SAMPLE_RATE
piece, coarse = (
    waveform[first:][:count],
    (np.round(waveform * 8) / 8).astype(np.float32),
)

description = (
    f"{count} dots from {piece.min():.2f} to {piece.max():.2f}, and a staircase near"
    " them."
)
close_up = plots.chart(
    "close_up", f"{count} samples, and the same in 4 bits", description=description
)
close_up.step(
    milliseconds,
    coarse[first:][:count],
    mode="center",
    color="#d9822b",
    legend_label="4 bits",
)
close_up.scatter(milliseconds, piece, size=4, color="#3b82c4", legend_label="as stored")
close_up.xaxis.axis_label, close_up.yaxis.axis_label = "time (ms)", "amplitude"
plots.legend(close_up, "below")
plots.show(close_up)
plots.listen(coarse, "the clip in 4 bits")

# %%
# How often to measure
# --------------------
# Samples can hold frequencies up to half their rate, the Nyquist frequency. To see why,
# take a sound that is simpler than speech: a tone that rises evenly from 0 to 8000 Hz.
# We keep every fourth of its samples. **Predict:** what will you hear once the tone has
# passed 2000 Hz, half of the new rate?

quarter, seconds = SAMPLE_RATE // 4, np.arange(waveform.size) / SAMPLE_RATE
sweep = (0.2 * np.sin(np.pi * SAMPLE_RATE / 2 / trace.duration * seconds**2)).astype(
    np.float32
)
careless = soxr.resample(sweep[::4], quarter, SAMPLE_RATE)[: sweep.size]
heard = []
for tone in (1000, 3000, 5000, 7000):
    middle = int(tone / (SAMPLE_RATE / 2) * sweep.size)
    spectrum = np.abs(
        np.fft.rfft(careless[middle - 256 : middle + 256] * np.hanning(512))
    )
    heard.append(f"{tone} Hz at {spectrum.argmax() * SAMPLE_RATE / 512:.0f} Hz")
print("after that:", ", ".join(heard))
title, options = (
    "A rising tone, every fourth sample kept",
    {"sampling_rate": SAMPLE_RATE},
)
plots.show(
    plots.spectrogram(
        careless, "careless", title, description=", ".join(heard), **options
    )
)
plots.listen(careless, title)

# %%
# The line comes down again: *aliasing*. Between two samples a fast tone swings back and
# forth unseen, and a slow one passes through the same points. The samples do not tell
# which of them it was. So a converter takes the high frequencies out first. With that
# filter the tone ends:

filtered = soxr.resample(
    soxr.resample(sweep, SAMPLE_RATE, quarter), quarter, SAMPLE_RATE
)
left = f"{100 * np.mean(filtered[filtered.size // 2 :] ** 2) / np.mean(sweep**2):.1g} %"
title, ending = (
    "The same, filtered first",
    f"The line ends. Power left in the second half: {left}.",
)
plots.show(
    plots.spectrogram(filtered, "filtered", title, description=ending, **options)
)

# %%
# Now speech, without the filter and with it. *s*, *f* and *t* come back as tones that
# nobody spoke.

false = soxr.resample(waveform[::4], quarter, SAMPLE_RATE)[: waveform.size]
plots.listen(false, "every fourth sample of the clip")

# %%

true = soxr.resample(
    soxr.resample(waveform, SAMPLE_RATE, quarter), quarter, SAMPLE_RATE
)[: waveform.size]
share = np.sum((false - true) ** 2) / np.sum(false**2)
print(f"{100 * share:.1f} % of the energy of the careless version is not in this one")
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
text = ", ".join(
    f"{peak:g} kHz {share:.0f} %"
    for peak, share in zip(peaks[::4], shares[::4], strict=True)
)
print("resonance and share of the power above 8 kHz:", text)
lost = plots.chart("lost", "Power of a hiss above 8 kHz", description=text, height=220)
lost.line(peaks, shares, line_width=2, color="#3b82c4")
lost.xaxis.axis_label, lost.yaxis.axis_label = (
    "resonance (kHz)",
    "share of the power (%)",
)
plots.show(lost)
plots.listen(hiss, "a hiss with its resonance at 8 kHz", wide)

# %%

plots.listen(soxr.resample(hiss, wide, SAMPLE_RATE), "the same at 16 kHz")

# %%
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
