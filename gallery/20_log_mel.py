"""
.. _gallery-log-mel:

The log-mel spectrogram
=======================

**What does the encoder get to see?**

Not the samples. It gets a picture: how strong each band of frequencies is, every ten
milliseconds. This page makes one column of it step by step, then the whole, and sets it
beside the pictures of two libraries.
"""

# %%
# One window
# ----------
# We cut one window out of the clip's loudest place. **Predict:** is it longer or
# shorter than the step to the next one?

# sphinx_gallery_thumbnail_number = 5
import librosa
import numpy as np
from transformers import WhisperFeatureExtractor

import asrscope
from asrscope import plots
from asrscope.audio import SAMPLE_RATE
from asrscope.features import HOP_LENGTH, N_FFT, log_mel, mel_filters

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
waveform, n_mels = trace.waveform, len(trace.log_mel)
for name, samples in (("window", N_FFT), ("hop", HOP_LENGTH)):
    print(f"{name:6} {samples} samples = {1000 * samples / SAMPLE_RATE:g} ms")

middle = int(np.clip(np.abs(waveform).argmax(), N_FFT // 2, waveform.size - N_FFT // 2))
piece = waveform[middle - N_FFT // 2 :][:N_FFT]
faded = piece * np.hanning(N_FFT + 1)[:-1]
milliseconds = 1000 * np.arange(N_FFT) / SAMPLE_RATE
window = plots.chart(
    "window",
    "One window",
    description="Samples, and the same faded to zero at both ends.",
)
window.line(milliseconds, piece, color="#7b8794", legend_label="samples")
window.line(
    milliseconds, faded, color="#d9822b", line_width=2, legend_label="faded in and out"
)
window.xaxis.axis_label, window.yaxis.axis_label = "time (ms)", "amplitude"
plots.legend(window, "below")
plots.show(window)

# %%
# The window is longer than the hop, so neighbors overlap and no sound is lost in the
# fading.
#
# Its frequencies
# ---------------
# The FFT tells how much power the window has at each frequency. **Predict:** in a
# vowel, is the power spread evenly, or does it stand in a few places?

power = np.abs(np.fft.rfft(faded)) ** 2
hertz = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
text = (
    f"{power.size} frequencies {hertz[1]:g} Hz apart, strongest"
    f" {hertz[power.argmax()]:g} Hz"
)
spectrum = plots.chart(
    "spectrum", "Power at each frequency", description=text, height=220
)
spectrum.line(hertz, 10 * np.log10(power + 1e-10), line_width=2, color="#3b82c4")
spectrum.xaxis.axis_label, spectrum.yaxis.axis_label = "frequency (Hz)", "power (dB)"
plots.show(spectrum)
print(text)

# %%
# The broad humps are the resonances of the mouth, and they make a vowel what it is. The
# comb of fine peaks on top of them is the pitch of the voice, where the window is long
# enough to resolve it.
#
# From frequencies to mel bands
# -----------------------------
# Triangular filters sum neighboring frequencies. **Predict:** will the triangles for
# high frequencies be as wide as those for low ones?

filters = mel_filters(n_mels)
text = (
    f"{n_mels} bands: the lowest sums {(filters[0] > 0).sum()} bins, the highest"
    f" {(filters[-1] > 0).sum()}"
)
triangles = plots.chart(
    "filters", "Every eighth mel filter", description=text, height=220
)
for triangle in filters[::8]:
    triangles.line(hertz, triangle, color="#3b82c4")
triangles.xaxis.axis_label, triangles.yaxis.axis_label = "frequency (Hz)", "weight"
plots.show(triangles)
print(text)

# %%
# The ear tells low tones apart better than high ones, and the bands follow it. Each
# triangle has the same area. **Predict:** in how many bands will you see anything
# before the logarithm, and in how many after it?

bands = filters @ power
column = trace.log_mel[:, round(middle / HOP_LENGTH)]
text = (
    f"{(bands > 0.1 * bands.max()).sum()} of {n_mels} bands have over a tenth of the"
    " strongest's power"
)
logarithm = plots.chart(
    "logarithm", "One column, before and after", description=text, height=220
)
logarithm.line(
    np.arange(n_mels),
    bands / bands.max(),
    color="#d9822b",
    legend_label="before, strongest = 1",
)
logarithm.line(
    np.arange(n_mels), column, line_width=2, color="#3b82c4", legend_label="after"
)
logarithm.xaxis.axis_label, logarithm.yaxis.axis_label = "mel band", "value"
plots.legend(logarithm, "below")
plots.show(logarithm)
print(text)

# %%
# Loudness is heard in ratios, and a logarithm turns ratios into steps. What is far
# below the loudest value of the clip is raised to a floor. **Predict:** how many
# columns, for a clip of this length?

print(f"{trace.duration:.2f} s gave {trace.log_mel.shape[1]} columns of {n_mels} bands")
plots.show(plots.log_mel(trace))
plots.player(trace)

# %%
# Vowels are bands in the lower half, *s* and *f* clouds at the top, a *t* is a blank
# followed by a burst.
#
# librosa's picture
# -----------------
# librosa is the usual library for this, and its defaults suit music. **Predict:** what
# will be different?

theirs = librosa.power_to_db(librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE))
text = (
    f"{len(theirs)} bands, {theirs.shape[1]} columns, {theirs.min():.0f} to"
    f" {theirs.max():.0f} dB"
)
music = plots.time_chart(
    trace, "librosa", "librosa's defaults", description=text, y_label="mel band"
)
music.image(
    [theirs], x=0, y=0, dw=trace.duration, dh=len(theirs), palette=plots.PALETTE
)
plots.show(music)
print(text)

# %%
# Its windows are longer: frequencies are seen more finely, and times less so. Now
# Whisper's settings, then one of them changed at a time, all in Whisper's unit. Silence
# would hide what happens at the edges, so the sound begins at the loudest place of the
# clip. **Predict:** which change matters most?

sound = waveform[middle:]
whisper = WhisperFeatureExtractor(feature_size=n_mels)(sound, sampling_rate=SAMPLE_RATE)
decades = {"transformers": 4 * whisper.input_features[0] - 4}
settings = {
    "n_fft": N_FFT,
    "hop_length": HOP_LENGTH,
    "n_mels": n_mels,
    "pad_mode": "reflect",
}
for change in (
    {"htk": True},
    {"norm": None},
    {"power": 1},
    {"center": False},
    {"pad_mode": "constant"},
    {},
):
    mel = librosa.feature.melspectrogram(y=sound, sr=SAMPLE_RATE, **settings | change)
    decades["librosa " + str(change or "as Whisper")] = librosa.power_to_db(mel) / 10
decades["no floor"] = librosa.power_to_db(mel, top_db=None) / 10
decades["natural logarithm"] = decades["librosa as Whisper"] * np.log(10)
ours = log_mel(sound, n_mels)
for name, values in decades.items():
    common = min(values.shape[1], ours.shape[1])
    off = np.abs((values[:, :common] + 4) / 4 - ours[:, :common])
    differ = f"{(off.max(axis=0) > 0.01).sum()} of {common} columns differ"
    print(
        f"{name:32} {values.shape[1]:4} columns, off by up to {off.max():.0e}, {differ}"
    )

# %%
# ``transformers`` fills up to 30 seconds; on the clip, it and librosa with Whisper's
# settings give our picture. ``htk`` and ``norm`` are other triangles, ``power`` sums
# amplitudes. ``center=False`` starts half a window late. ``pad_mode`` says what was
# before the beginning, the sound mirrored or nothing; through the loudest value it
# moves the floor of every column. A model trained on one of them cannot read another.
#
# Summary
# -------
# The encoder sees power in mel bands, one column a hop, on a logarithmic scale. Phase
# is gone and so is fine detail in frequency. The picture is not much smaller than the
# sound; it is a better form of it.
#
# Before: :ref:`from air to numbers <gallery-air>`. Next: :ref:`the encoder
# <gallery-encoder>`. The lecture: :doc:`Class 2, section 3 </course/class-2>`.
