"""Every number that the pages state about models, clip and measurements, computed from its origin.

``full.*`` describes the large pair: its published configurations come with the package, and its parameters
are counted in models that are built from them without weights. ``tiny.*`` describes the bundled model,
``small.*`` the pair that understands people; ``clip.*`` is what tiny makes of the first shipped clip, and
``person.*`` what small makes of a person's sentence. What was measured is in ``facts_measured``, the systems
of others are in ``facts_systems``. A fact that no page states has no place here.
"""

from functools import cache
from pathlib import Path
from typing import Any

import soundfile
import torch
from facts import Fact
from facts_measured import heard_people, measured
from facts_systems import Facts, of_parts, published

import asrscope
from asrscope.audio import SAMPLE_RATE
from asrscope.audio.samples import load_person
from asrscope.features import DYNAMIC_RANGE, FRAMES_PER_SECOND, HOP_LENGTH, N_FFT
from asrscope.loading import PAIRS
from asrscope.loading.checkpoints import CHECKPOINTS
from asrscope.loading.pair import PINNED
from asrscope.loading.room import estimate
from asrscope.projector import AudioProjector
from asrscope.recognition.metrics import word_errors
from asrscope.scope.anatomy import parts_of
from asrscope_course import flops, sizes
from asrscope_course.case import find_case, merged

load = cache(asrscope.load)

K2_HIDDEN_FACTOR = 4  # the lecture's projector: hidden size = 4 x encoder width, at its default k
K2 = 2
WINDOW = 30.0  # seconds
FROZEN_BYTES, TRAINED_BYTES = 2, 16  # of a parameter: bfloat16; float32 weight, gradient and two moments


@cache
def load_facts() -> dict[str, Fact]:
    """Return all facts by name, in the order of the table."""
    facts = {
        **_audio(),
        **_clip(),
        **_person(),
        **_case(),
        **_sizes("tiny", load("tiny")[0], ("mb", 1e6)),
        **measured(CHECKPOINTS / "tiny"),
        **_sizes("small", load("small")[0], ("mb", 1e6)),
        "small.beams": (load("small")[0].beams, "its beams: texts that it keeps in view while it writes"),
        **heard_people(CHECKPOINTS / "small"),
        **_live(),
        **full(),
        **published(),
    }
    return {name: Fact(*fields) for name, fields in facts.items()}


def _audio() -> Facts:
    clip = soundfile.info(asrscope.load_samples()[0].path)
    bits = int(clip.subtype.removeprefix("PCM_"))
    module = "asrscope.features"
    frame_ms = 1000 * HOP_LENGTH / SAMPLE_RATE
    return {
        "audio.sample_rate": (SAMPLE_RATE, "asrscope.audio.SAMPLE_RATE, samples a second"),
        "audio.nyquist_khz": (SAMPLE_RATE / 2000, "half the sampling rate, in kHz", "g"),
        "audio.bits": (bits, "bits of a sample in the first shipped clip"),
        "audio.levels": (2**bits, f"2 to the power of {bits}"),
        "features.n_fft": (N_FFT, f"{module}.N_FFT, samples in a window"),
        "features.window_ms": (1000 * N_FFT / SAMPLE_RATE, f"{module}.N_FFT / sampling rate", "g"),
        "features.hop_length": (HOP_LENGTH, f"{module}.HOP_LENGTH, samples from window to window"),
        "features.ms_per_frame": (frame_ms, f"{module}.HOP_LENGTH / sampling rate", "g"),
        "features.frames_per_second": (FRAMES_PER_SECOND, f"{module}.FRAMES_PER_SECOND"),
        "features.bins": (N_FFT // 2 + 1, f"{module}.N_FFT // 2 + 1, frequencies of a real FFT"),
        "features.dynamic_range_db": (10 * DYNAMIC_RANGE, f"10 x {module}.DYNAMIC_RANGE decades", "g"),
    }


def _clip() -> Facts:
    """Sizes of every stage of the clip that the lecture follows."""
    (model, processor), sample = load("tiny"), asrscope.load_samples()[0]
    trace = asrscope.trace(model, processor, sample.path, name=sample.name)
    random_model, _ = asrscope.load("tiny", random_projector=True)
    random = asrscope.trace(random_model, processor, sample.path)
    origin = next(part.source for part in random.provenance if part.part == "projector")
    cosines = [float(each.nearest_cosines[:, 0].mean()) for each in (trace, random)]
    name = f"trace of {trace.name}"
    return _stages("clip", trace, sample.text) | {
        "clip.nearest_cosine.trained": (cosines[0], f"{name}: mean cosine to the nearest text token", ".2f"),
        "clip.nearest_cosine.random": (cosines[1], f"the same with an untrained projector ({origin})", ".2f"),
    }


def _person() -> Facts:
    """Return what the two models make of a person's sentence."""
    person = load_person()
    traces = [asrscope.trace(*load(name), person.path, name=person.name) for name in ("small", "tiny")]
    wrong = [word_errors(person.text, trace.text).errors for trace in traces]
    return _stages("person", traces[0], person.text) | {
        "person.errors": (wrong[0], f"words of {person.name} that small has wrong"),
        "person.tiny.text": (traces[1].text, f"trace of {person.name} by tiny: what it wrote"),
        "person.tiny.errors": (wrong[1], f"words of {person.name} that tiny has wrong"),
        "person.confidence": (traces[0].confidence, f"how sure small was of {person.name}", ".2f"),
        "person.tiny.confidence": (traces[1].confidence, f"how sure tiny was of {person.name}", ".2f"),
    }


def _case() -> Facts:
    """Return what the case that the classes follow is about: a word said, spelled and written."""
    found = find_case()
    name = f"asrscope_course.case.find_case: {found.sample.name}"
    return {
        "case.said": (found.said, f"{name}: the word that was said"),
        "case.written": (found.written.text, f"{name}: the word that was written"),
        "case.reading": (
            merged(found.spelling),
            f"{name}: nearest text tokens within the word, without pauses and repeats",
        ),
    }


def _stages(prefix: str, trace: Any, reference: str) -> Facts:
    """Return the sizes of a trace's stages, and its texts."""
    name = f"trace of {trace.name}"
    facts = {
        "seconds": (trace.duration, f"{name}: samples / sampling rate", ".2f"),
        "samples": (trace.waveform.size, f"{name}: length of waveform"),
        "frames": (trace.log_mel.shape[1], f"{name}: columns of log_mel"),
        "positions": (len(trace.encoder_hidden_states), f"{name}: rows of encoder_hidden_states"),
        "audio_tokens": (len(trace.audio_embeds), f"{name}: rows of audio_embeds"),
        "prompt_positions": (len(trace.prompt_ids), f"{name}: length of prompt_ids"),
        "tokens": (len(trace.tokens), f"{name}: written tokens"),
        "words": (len(trace.words), f"{name}: written words"),
        "text": (trace.text, f"{name}: what the decoder wrote"),
        "reference": (reference, f"transcript of {trace.name}"),
    }
    return {f"{prefix}.{key}": fact for key, fact in facts.items()}


def _live() -> Facts:
    """Sizes of what runs in the page "Live"."""
    folder = Path(__file__).parents[1] / "static" / "live"
    lines = [line.strip() for line in (folder / "engine.js").read_text(encoding="utf-8").splitlines()]
    written = [line for line in lines if line and not line.startswith(("//", "/*"))]
    inside = [line for line in written if not line.endswith("*/")]
    return {
        "live.lines": (len(inside), "lines of engine.js, without comments and empty ones"),
        "live.kernel_bytes": ((folder / "kernel.wasm").stat().st_size, "bytes of kernel.wasm"),
    }


def _sizes(name: str, model: Any, unit: tuple[str, float]) -> Facts:
    """Sizes of a model, read from its configuration and counted in its parts, and the memory that follows."""
    encoder, projector, decoder = parts_of(model).values()
    audio, text = encoder.config, decoder.config
    stride = encoder.conv1.stride[0] * encoder.conv2.stride[0]
    positions, position_ms = audio.max_source_positions, 1000 * stride * HOP_LENGTH / SAMPLE_RATE
    k = projector.stack_factor
    rate = 1000 / k / position_ms
    nope = sum(not rope for rope in getattr(text, "no_rope_layers", ()))  # of SmolLM3 alone
    counts = {part: sizes.count_parameters(module) for part, module in parts_of(model).items()}
    total, trained = sum(counts.values()), counts["projector"]
    cache_bytes = sizes.cache_bytes_per_token(text)
    read, cached = f"configuration of {name}", f"cache of a token of {name} in bfloat16"
    recipe = f"{TRAINED_BYTES} bytes a trained parameter (float32 weight, gradient, two moments of AdamW)"
    values = of_parts(name, model.config, counts, k, rate) | {
        "encoder.n_mels": (audio.num_mel_bins, f"{read}: audio_config.num_mel_bins"),
        "encoder.positions": (positions, f"{read}: audio_config.max_source_positions"),
        "encoder.seconds": (positions * position_ms / 1000, "longest clip: positions x duration of one", "g"),
        "encoder.ms_per_position": (position_ms, "stride of the convolutions x hop", "g"),
        "encoder.positions_per_second": (1000 / position_ms, "1 s / duration of a position", "g"),
        "projector.input_size": (k * audio.d_model, "stack_factor x encoder width"),
        "projector.hidden_size": (projector.gate.out_features, "width of the projector's hidden layer"),
        "decoder.heads": (text.num_attention_heads, f"{read}: text_config.num_attention_heads"),
        "decoder.nope_count": (nope, f"{read}: layers without rotary positions"),
        "kv.bytes_per_token": (cache_bytes, f"{cached}: keys and values x layers x kv heads x head_dim x 2"),
        "kv.bytes_per_token_every_head": (
            cache_bytes * text.num_attention_heads // text.num_key_value_heads,
            f"the same if each of the {text.num_attention_heads} heads kept keys of its own",
        ),
        "kv.mb_per_minute": (60 * rate * cache_bytes / 1e6, f"{cached}, x a minute's", ".1f"),
        f"memory.train_projector_{unit[0]}": (
            (FROZEN_BYTES * (total - trained) + TRAINED_BYTES * trained) / unit[1],
            f"{recipe} of the projector, {FROZEN_BYTES} of the rest; no activations", ".1f",
        ),
        f"memory.train_all_{unit[0]}": (
            TRAINED_BYTES * total / unit[1], f"{recipe} of all of {name}; no activations", ".1f"
        ),
    }  # fmt: skip
    for kind, bits in (("float32", 32), ("bfloat16", 16), ("int8", 8)):
        size = sizes.weight_bytes(total, bits) / unit[1]
        values[f"memory.{kind}_{unit[0]}"] = (size, f"{bits} bits x all parameters of {name}", ".1f")
    for part in ("norm_in", "gate", "up", "down", "norm_out"):
        weight = getattr(projector, part).weight
        shape = " × ".join(f"{size:,}" for size in weight.shape)
        source = f"{part}.weight of the projector of {name}"
        values[f"projector.{part}.parameters"] = (weight.numel(), f"{source}: {shape}")
        values[f"projector.{part}.shape"] = (shape, f"{source}, its shape")
    return {f"{name}.{key}": value for key, value in values.items()}


def full() -> Facts:
    """Sizes of the large pair, in models built from the published configurations without weights."""
    pair = sizes.full_pair()
    audio, text = pair.config.audio_config, pair.config.text_config
    with torch.device("meta"):
        lecture = AudioProjector(
            audio.d_model, text.hidden_size, stack_factor=K2, hidden_size=K2_HIDDEN_FACTOR * audio.d_model
        )
    facts = _sizes("full", pair, ("gb", 1e9)) | {
        "full.projector.k2.parameters": (
            sizes.count_parameters(lecture),
            f"AudioProjector with k = {K2} and hidden size = {K2_HIDDEN_FACTOR} x encoder width",
        ),
    }
    window = sizes.lengths(WINDOW, pair.config)
    work = {
        "encoder": flops.encoder_flops(pair.audio_tower, window.positions),
        "projector": flops.projector_flops(pair.multi_modal_projector, window.audio_tokens),
        "decoder": flops.decoder_flops(pair.language_model, window.audio_tokens, 1),
    }
    for part, operations in work.items():
        source = f"asrscope_course.flops: the {part} on {WINDOW:g} s, until the first token"
        facts[f"full.flops.30s.{part}_tflop"] = (operations / 1e12, source, ".2f")
        size = sizes.weight_bytes(sizes.count_parameters(parts_of(pair)[part]), 16) / 1e9
        facts[f"full.memory.{part}_gb"] = (size, f"2 bytes x parameters of the {part}", ".2f")
    kinds = {"float32": (32, None), "bfloat16": (16, None), "int8": (16, 8), "int4": (16, 4)}
    for kind, (bits, decoder_bits) in kinds.items():
        need = estimate(pair, bits, decoder_bits)
        for what in ("weights", "total"):
            source = f"asrscope.loading.room.estimate of full, {kind}: {what}, in GB"
            facts[f"full.room.{kind}.{what}_gb"] = (getattr(need, what) / 1e9, source, ".1f")
    for part in ("encoder", "decoder"):
        name = PAIRS["full"][part]
        facts[f"full.{part}.repository"] = (name, f"asrscope.loading: repository of the {part}")
        facts[f"full.{part}.revision"] = (PINNED[name], f"asrscope.loading.pair: commit of the {part}")
    return facts
