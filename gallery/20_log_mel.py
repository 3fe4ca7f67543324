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
known = {"reference": sample.text, "reference_words": sample.words}
trace = asrscope.trace(model, processor, sample.path, name=sample.name, **known)
waveform, n_mels = trace.waveform, len(trace.log_mel)
for name, samples in (("window", N_FFT), ("hop", HOP_LENGTH)):
    print(f"{name:6} {samples} samples = {1000 * samples / SAMPLE_RATE:g} ms")

middle = int(np.clip(np.abs(waveform).argmax(), N_FFT // 2, waveform.size - N_FFT // 2))
piece = waveform[middle - N_FFT // 2 :][:N_FFT]
faded = piece * np.hanning(N_FFT + 1)[:-1]
ms = 1000 * np.arange(N_FFT) / SAMPLE_RATE
assert N_FFT > HOP_LENGTH, "the page says that neighbors overlap"
# To show it:
told = {"description": "Samples, and the same faded to zero at both ends."}
axes = {"x_label": "time (ms)", "y_label": "amplitude"}
window = plots.chart("window", "One window", **told, **axes)
plots.show(plots.draw(window, {"samples": (ms, piece), "faded": (ms, faded)}))

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
loudest = f"strongest {hertz[power.argmax()]:g} Hz"
text = f"{power.size} frequencies {hertz[1]:g} Hz apart, {loudest}"
print(text)
few = np.sort(power)[::-1].cumsum()[power.size // 10] / power.sum()
print(f"the strongest tenth of them has {few:.0%} of the power")
assert few > 0.9, "the page says that the power stands in a few places"
# To show it:
axes = {"x_label": "frequency (Hz)", "y_label": "power (dB)", "description": text}
spectrum = plots.chart("spectrum", "Power at each frequency", **axes)
plots.show(plots.draw(spectrum, {"power": (hertz, 10 * np.log10(power + 1e-10))}))

# %%
# It stands in a few places. The broad humps are the resonances of the mouth, and they
# make a vowel what it is. The comb of fine peaks on top of them is the pitch of the
# voice, where the window is long enough to resolve it.
#
# From frequencies to mel bands
# -----------------------------
# Triangular filters sum neighboring frequencies. **Predict:** will the triangles for
# high frequencies be as wide as those for low ones?

filters = mel_filters(n_mels)
low, high = ((filters[row] > 0).sum() for row in (0, -1))
text = f"{n_mels} bands: the lowest sums {low} bins, the highest {high}"
print(text)
assert high > 5 * low, "the page says that high bands are wide"
# To show it:
axes = {"x_label": "frequency (Hz)", "y_label": "weight", "description": text}
triangles = plots.chart("filters", "Every eighth mel filter", **axes)
for triangle in filters[::8]:
    plots.draw(triangles, {"filter": (hertz, triangle)})
plots.show(triangles)

# %%
# No: the high ones are wide. The ear tells low tones apart better than high ones, and
# the bands follow it. Each triangle has the same area. **Predict:** in how many bands
# will you see anything before the logarithm, and in how many after it?

bands = filters @ power
column = trace.log_mel[:, round(middle / HOP_LENGTH)]
strong = bands > 0.1 * bands.max()
floor = column > trace.log_mel.min()
text = f"over a tenth of the strongest: {strong.sum()} of {n_mels} bands; "
text += f"above the floor after the logarithm: {floor.sum()}"
print(*text.split("; "), sep="\n")
assert floor.sum() > 3 * strong.sum(), "the page says that the logarithm shows more"
# To show it:
axes = {"x_label": "mel band", "y_label": "value", "description": text}
logarithm = plots.chart("logarithm", "One column, before and after", **axes)
places = np.arange(n_mels)
both = {"after": (places, column), "before": (places, bands / bands.max())}
plots.show(plots.draw(logarithm, both))

# %%
# Before it a few bands hide all others; after it nearly all show. Loudness is heard in
# ratios, and a logarithm turns ratios into steps. What is far below the loudest value
# of the clip is raised to a floor. **Predict:** how many columns, for a clip of this
# length?

print(f"{trace.duration:.2f} s gave {trace.log_mel.shape[1]} columns of {n_mels} bands")
plots.show(plots.log_mel(trace))
plots.player(trace)

# %%
# One for each hop that the clip fills, and one more where their number would be odd:
# the encoder halves it. Vowels are bands in the lower half, *s* and *f* clouds at the
# top, a *t* is a blank followed by a burst.
#
# librosa's picture
# -----------------
# librosa is the usual library for this, and its defaults suit music. **Predict:** what
# will be different?

theirs = librosa.power_to_db(librosa.feature.melspectrogram(y=waveform, sr=SAMPLE_RATE))
text = "{} bands, {} columns, ".format(*theirs.shape)
text += f"{theirs.min():.0f} to {theirs.max():.0f} dB"
print(text)
assert theirs.shape[1] < trace.log_mel.shape[1] / 2, "the page says: coarse in time"
# To show it:
axes = {"y_label": "mel band", "description": text}
music = plots.time_chart(trace, "librosa", "librosa's defaults", **axes)
place = {"x": 0, "y": 0, "dw": trace.duration, "dh": len(theirs)}
music.image([theirs], **place, palette=plots.PALETTE)
plots.show(music)

# %%
# It has fewer columns. Its windows are longer: frequencies are seen more
# finely, and times less so. Now Whisper's settings, then one of them changed at a time,
# all in Whisper's unit. Silence would hide what happens at the edges, so the sound
# begins at the loudest place of the clip. **Predict:** which change matters most?

sound = waveform[middle:]
whisper = WhisperFeatureExtractor(feature_size=n_mels)(sound, sampling_rate=SAMPLE_RATE)
decades = {"transformers": 4 * whisper.input_features[0] - 4}
settings = {"n_fft": N_FFT, "hop_length": HOP_LENGTH, "n_mels": n_mels}
settings["pad_mode"] = "reflect"
changes = ({"htk": True}, {"norm": None}, {"power": 1}, {"center": False})
for change in (*changes, {"pad_mode": "constant"}, {}):
    mel = librosa.feature.melspectrogram(y=sound, sr=SAMPLE_RATE, **settings | change)
    decades["librosa " + str(change or "as Whisper")] = librosa.power_to_db(mel) / 10
decades["no floor"] = librosa.power_to_db(mel, top_db=None) / 10
decades["natural logarithm"] = decades["librosa as Whisper"] * np.log(10)
ours = log_mel(sound, n_mels)
most = {}
for name, values in decades.items():
    common = min(values.shape[1], ours.shape[1])
    off = np.abs((values[:, :common] + 4) / 4 - ours[:, :common]).max(axis=0)
    most[name], differ = off.max(), f"{(off > 0.01).sum()} of {common} differ"
    print(f"{off.max():.0e} at most, {differ}: {name}, {values.shape[1]} columns")
equal = {name for name, value in most.items() if value < 1e-3}
assert equal == {"transformers", "librosa as Whisper"}, "the page says which agree"
assert max(most, key=most.get) == "natural logarithm", "the page says: matters most"

# %%
# ``transformers`` fills up to 30 seconds; on the clip, it and librosa with Whisper's
# settings give our picture. ``htk`` and ``norm`` are other triangles, ``power`` sums
# amplitudes. ``center=False`` starts half a window late. ``pad_mode`` says what was
# before the beginning, the sound mirrored or nothing; through the loudest value it
# moves the floor of the whole picture. The logarithm matters most: another base is
# another unit everywhere. Every one of these changes makes another picture, so a model
# should get the kind that it was trained on.
#
# Summary
# -------
# The encoder sees power in mel bands, one column a hop, on a logarithmic scale. Phase
# is gone and so is fine detail in frequency. The picture is not much smaller than the
# sound; it is a better form of it.
#
# Before: :ref:`from air to numbers <gallery-air>`. Next: :ref:`the encoder
# <gallery-encoder>`. The lecture: :doc:`Class 2, section 3 </course/class-2>`.
