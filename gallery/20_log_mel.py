"""
.. _gallery-log-mel:

The log-mel spectrogram
=======================

**What does the encoder get to see?**

Not the samples. It gets a picture: how strong each band of frequencies is, every ten milliseconds. This
page makes one column of that picture step by step, then the whole picture, and checks it against the one
that ``transformers`` makes.
"""

# %%
# One window
# ----------
# We take the clip's loudest place and cut out one window, faded in and out. **Predict:** is the window
# longer or shorter than the step to the next one?

# sphinx_gallery_thumbnail_number = 4
import numpy as np
from bokeh.plotting import figure
from transformers import WhisperFeatureExtractor

import asrscope
from asrscope import plots
from asrscope.audio import SAMPLE_RATE
from asrscope.features import HOP_LENGTH, N_FFT, log_mel, mel_filters

model, processor = asrscope.load("tiny")
sample = asrscope.load_samples()[0]
trace = asrscope.trace(
    model, processor, sample.path, name=sample.name, reference=sample.text, reference_words=sample.words
)
n_mels, frames = trace.log_mel.shape

print(f"window: {N_FFT} samples = {1000 * N_FFT / SAMPLE_RATE:g} ms")
print(f"hop:    {HOP_LENGTH} samples = {1000 * HOP_LENGTH / SAMPLE_RATE:g} ms")

# %%

plots.player(trace)

# %%

middle = int(np.abs(trace.waveform).argmax())
middle = min(max(middle, N_FFT // 2), trace.waveform.size - N_FFT // 2)
piece = trace.waveform[middle - N_FFT // 2 : middle + N_FFT // 2]
hann = np.hanning(N_FFT + 1)[:-1]
milliseconds = 1000 * np.arange(N_FFT) / SAMPLE_RATE

window = figure(
    name="window", height=240, sizing_mode="stretch_width", title="One window, before and after fading"
)
window.tags = [{"description": f"{N_FFT} samples, and the same faded to zero at both ends."}]
window.line(milliseconds, piece, alpha=0.4, legend_label="samples")
window.line(milliseconds, piece * hann, color="#d9822b", line_width=2, legend_label="faded in and out")
window.xaxis.axis_label, window.yaxis.axis_label = "time (ms)", "amplitude"
window.legend.background_fill_alpha, window.legend.label_text_color = 0, "#7a7a7a"
plots.show(window)

# %%
# The window is longer than the hop, so neighboring windows overlap and no sound is lost in the fading.
#
# Its frequencies
# ---------------
# The FFT tells how much power the window has at each frequency. **Predict:** the place is loud, so
# probably a vowel. Is its power spread evenly, or does it stand in a few places?

power = np.abs(np.fft.rfft(piece * hann)) ** 2
hertz = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
print(f"{power.size} frequencies, {hertz[1]:g} Hz apart, up to {hertz[-1]:g} Hz")

spectrum = figure(name="spectrum", height=240, sizing_mode="stretch_width", title="Power at each frequency")
spectrum.tags = [{"description": f"{power.size} values; the strongest is at {hertz[power.argmax()]:g} Hz."}]
spectrum.line(hertz, 10 * np.log10(power + 1e-10), line_width=2)
spectrum.xaxis.axis_label, spectrum.yaxis.axis_label = "frequency (Hz)", "power (dB)"
plots.show(spectrum)

# %%
# The broad humps are the resonances of the mouth, and they make a vowel what it is. The pitch of the voice
# would show as a comb of fine peaks on top of them. A window this short resolves the comb of a high voice
# and blurs that of a low one.
#
# From frequencies to mel bands
# -----------------------------
# Triangular filters sum neighboring frequencies. We draw every eighth of them. **Predict:** why are the
# triangles for high frequencies so wide and so low?

filters = mel_filters(n_mels)
print(f"filters: {filters.shape[0]} bands x {filters.shape[1]} frequencies")
widths = (filters > 0).sum(axis=1)
print(f"the lowest band sums {widths[0]} frequencies, the highest {widths[-1]}")

triangles = figure(name="filters", height=240, sizing_mode="stretch_width", title="Every eighth mel filter")
triangles.tags = [{"description": "Triangles, narrow and high on the left, wide and low on the right."}]
for triangle in filters[::8]:
    triangles.line(hertz, triangle)
triangles.xaxis.axis_label, triangles.yaxis.axis_label = "frequency (Hz)", "weight"
plots.show(triangles)

# %%
# The ear tells low tones apart better than high ones, and the bands follow it. Each triangle has the same
# area, so a wide one must be low. Whatever there is of the pitch's comb is blurred away at the top.
#
# The whole picture
# -----------------
# Take the logarithm, raise what is far below the loudest value to a floor, and scale. One column is done;
# the picture has one for every hop. **Predict:** how many columns, for a clip of this length?

print(f"{trace.duration:.2f} s -> {frames} frames of {n_mels} bands")
print(f"{trace.waveform.size} samples became {trace.log_mel.size} values")
plots.show(plots.log_mel(trace))

# %%
# Play the clip above and follow it in the picture. Vowels are bands in the lower half, *s* and *f* are
# clouds at the top, and a *t* is a short blank followed by a burst.
#
# The same as Whisper's?
# ----------------------
# A model trained on one kind of picture cannot read another. So ours has to equal the one that
# ``transformers`` computes for Whisper. That one fills up to 30 seconds; we compare the frames that belong
# to the clip.

extractor = WhisperFeatureExtractor(feature_size=n_mels)
theirs = extractor(trace.waveform, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features[0]
ours = log_mel(trace.waveform, n_mels)
difference = np.abs(ours - theirs[:, :frames])
print(f"theirs has {theirs.shape[1]} frames, ours {ours.shape[1]}")
print(f"largest difference in the clip: {difference.max():.1e}, in values that span {np.ptp(ours):.2f}")

# %%
# Summary
# -------
# The encoder sees power in mel bands, one column a hop, on a logarithmic scale. Phase is gone and so is
# fine detail in frequency. The picture is not much smaller than the sound; it is a better form of it. Ours
# agrees with the one that Whisper was trained on.
#
# Before: :ref:`from air to numbers <gallery-air>`. Next: :ref:`the encoder <gallery-encoder>`. The
# lecture: :doc:`Class 2, section 3 </course/class-2>`.
