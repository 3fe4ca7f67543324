"""
.. _gallery-systems:

Five systems side by side
=========================

**What do published speech-language models do between sound and words, and what does it
cost?**

Voxtral, GLM-ASR, Audio Flamingo 3, Qwen2-Audio and Granite Speech come with
``transformers``. They are built here at their full sizes, but without weights: on
torch's device ``meta`` a model has every shape and no numbers. That is enough to count
with, and it needs no download.
"""

# %%
# Where the sizes are from
# ------------------------
# A comparison is worth what its configurations are worth: below each name stands what
# its configuration is. The last row is the large pair of this course, Whisper
# large-v3-turbo and SmolLM3-3B, with a projector of our choice. **Predict:** three
# names promise a number of billions of parameters. Which of them keep it?

import numpy as np

import asrscope
from asrscope import plots
from asrscope.scope.anatomy import parts_of
from asrscope_course import flops, sizes, systems

pair, ours = sizes.full_pair(), "large pair"
known = {key: systems.load_system(key) for key in systems.SYSTEMS}
models = {system.name: systems.build(key) for key, system in known.items()}
labels = {system.name: system.label for system in known.values()}
models[ours], labels[ours] = pair, "published, joined by us"
counts = {name: systems.parameters_of(model) for name, model in models.items()}
parts = {"all": 7, "encoder": 8, "projector": 10, "decoder": 8}  # width of columns
print(f"{'in millions':17}" + "".join(f"{part:>{w}}" for part, w in parts.items()))
for name, count in counts.items():
    columns = "".join(f"{count[part] / 1e6:{w},.0f}" for part, w in parts.items())
    print(f"{name:17}{columns}\n    {labels[name]}")
named = {name: each["all"] / 1e9 for name, each in counts.items() if name[-1] == "B"}
assert len(named) == 3, "the page says: three names promise a number"
assert all(count > float(name[-2]) + 0.5 for name, count in named.items()), "none keeps"

# %%
# None: all three have more. A name may count the decoder alone, as it was before it
# learned to hear: GLM-ASR Nano is announced with 1.5 billion parameters, and that is
# its decoder. *Defaults of the class* means what ``transformers`` builds when one asks
# for nothing. For three of the others that would be another model than the published
# one: see :doc:`the page of sources </using/systems>`.

shares = {
    name: {part: 100 * count[part] / count["all"] for part in parts if part != "all"}
    for name, count in counts.items()
}
look = {"x_label": "share of parameters (%)", "digits": 1}
plots.show(plots.stacked_bars(shares, "systems_shares", "Parts", **look))
for share in shares.values():
    assert share["projector"] < share["encoder"] < share["decoder"], "the page says so"

# %%
# All spend most on the decoder. The projector is a thin slice, whatever its kind: look
# for it.
#
# From sound to audio tokens
# --------------------------
# Here is what each system makes of the length of a clip, and the clip itself. The
# lengths come from the classes themselves, which ran on ``meta``. **Predict:** which
# system reads most positions for this clip?

sample = asrscope.load_sample("captain")
waveform = asrscope.load_audio(sample.path)
clip = waveform.size / asrscope.SAMPLE_RATE
at = {"clip": clip, "30 s": 30.0, "10 min": 600.0}
heard = {
    key: {label: systems.heard(key, seconds) for label, seconds in at.items()}
    for key in known
}
print(f"the clip has {clip:.2f} s")
print(f"{'':18}{'positions':>10}{'audio tokens':>14}{'of 30 s':>9}{'of 10 min':>11}")
for key, found in heard.items():
    tokens = [found[label].audio_tokens for label in at]
    heard_of = found["10 min"].seconds
    note = "" if heard_of == at["10 min"] else f"  (hears {heard_of:g} s of it)"
    columns = f"{found['clip'].positions:10}{tokens[0]:14}{tokens[1]:9}{tokens[2]:11}"
    print(f"{known[key].name:18}{columns}{note}")
window = sizes.lengths(clip, pair.config)
windows, one = round(at["10 min"] / at["30 s"]), window.audio_tokens
columns = f"{window.positions:10}{one:14}{one:9}{f'{windows} x {one}':>11}"
print(f"{ours:18}{columns}  (30 s a prompt)")
plots.listen(waveform, f"{sample.name}: {sample.text}")

# %%
# Four of the five encoders are Whisper's or nearly so: they read a window of 30 s,
# whatever the clip fills of it, and their positions count the padding. What happens
# next differs. GLM-ASR, Audio Flamingo 3 and Qwen2-Audio drop the vectors of the
# padding, Voxtral keeps them, and Granite Speech never pads.
#
# The staircase
# -------------
# **Predict:** which lines are straight, which are stairs, and which one ends?

lengths = np.arange(1.0, 91.0)
curves = {
    known[key].name: [systems.audio_tokens(key, seconds) for seconds in lengths]
    for key in known
}
curves[ours] = [-(-int(seconds) // 30) * window.audio_tokens for seconds in lengths]
# To show it:
told = [f"{name}: {y[2]} at 3 s, {y[-1]} at 90 s" for name, y in curves.items()]
axes = {"x_label": "length of the clip (s)", "y_label": "audio tokens", "height": 300}
title, axes["description"] = "Audio tokens of a clip", f"{'; '.join(told)}."
stairs, lines = plots.chart("systems_tokens", title, **axes), curves.items()
plots.show(plots.draw(stairs, {name: (lengths, y) for name, y in lines}))
print(*told, sep="\n")

# %%
# Qwen2-Audio's processor cuts a recording after 30 s and says nothing. The stairs
# belong to the two that read padding as if it were sound.
#
# What a second of sound costs
# ----------------------------
# The decoder keeps keys and values of every position. **Predict:** two decoders have
# nearly as many parameters as each other, and read as many audio tokens. Do they need
# the same memory?

print(f"{'':18}{'tokens/s':>9}{'KV heads':>10}{'kB/token':>10}{'MB/s of sound':>15}")
for name, model in models.items():
    text, rate = model.config.text_config, curves[name][29] / lengths[29]
    kept = sizes.cache_bytes_per_token(text)
    heads = f"{text.num_key_value_heads}/{text.num_attention_heads}"
    columns = f"{rate:9.3g}{heads:>10}{kept / 1e3:10.1f}{kept * rate / 1e6:15.2f}"
    print(f"{name:18}{columns}")

# %%
# Qwen2-Audio keeps keys of every one of its heads, the others let groups of heads share
# them.
#
# The work before the first word
# ------------------------------
# Operations for the clip that you heard: the encoder, the projector, and the decoder
# reading the audio tokens. **Predict:** where is most of the work?

work = {}
for key, found in heard.items():
    first, decoder = found["clip"], parts_of(systems.build(key))["decoder"]
    work[known[key].name] = {
        "encoder": first.encoder_flops,
        "projector": first.projector_flops,
        "decoder": flops.decoder_flops(decoder, first.audio_tokens, 1),
    }
encode = flops.encoder_flops(pair.audio_tower, window.positions)
project = flops.projector_flops(pair.multi_modal_projector, window.audio_tokens)
read = flops.decoder_flops(pair.language_model, window.audio_tokens, 1)
work[ours] = {"encoder": encode, "projector": project, "decoder": read}
# To show it:
bars = {
    name: {part: count / 1e12 for part, count in row.items()}
    for name, row in work.items()
}
title = f"Work for {clip:.1f} s of speech, up to the first word"
look = {"x_label": "operations (10¹²)", "digits": 2}
plots.show(plots.stacked_bars(bars, "systems_work", title, **look))

# %%
# For a short clip padding decides: an encoder that reads a full window works as much
# for three seconds as for thirty, and where its padding reaches the decoder, the
# decoder does so, too.
#
# Summary
# -------
# The five differ little in what they are made of, and much in how they treat length:
# how many vectors a second reach the decoder, whether padding does, and where a long
# recording ends. None of this is about how well they recognize. It was counted, not
# heard.
#
# Before: :ref:`the real pair <gallery-real-pair>`. Next: :ref:`the scope on each of the
# five <gallery-any-model>`. The lecture: :doc:`Class 6, section 1 </course/class-6>`.
