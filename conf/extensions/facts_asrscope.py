"""Every number that the pages state about models, clip and measurements, computed from its origin.

``full.*`` describes the large pair: its published configurations come with the package, and its parameters
are counted in models that are built from them without weights. ``tiny.*`` describes the bundled model, and
``clip.*`` the first sample clip, which the lectures follow. What was measured is in ``facts_measured``, what
follows from sizes by formulas in ``facts_scaling``, published systems in ``facts_systems``, how transformers
joins the parts of others in ``facts_native``.
"""

from functools import cache
from pathlib import Path
from typing import Any

import soundfile
import torch
from facts import Fact
from facts_audit import audited
from facts_measured import measured
from facts_native import native
from facts_scaling import scaling, stacking
from facts_systems import published
from transformers import WhisperConfig, WhisperModel

import asrscope
from asrscope.audio import SAMPLE_RATE
from asrscope.features import DYNAMIC_RANGE, FRAMES_PER_SECOND, HOP_LENGTH, N_FFT
from asrscope.loading import sizes
from asrscope.loading.pair import PINNED
from asrscope.loading.presets import PAIRS
from asrscope.loading.room import estimate
from asrscope.projector import AudioProjector
from asrscope.scope.traces import STAGES, Trace
from asrscope_course import flops

K2_HIDDEN_FACTOR = 4  # the lecture's projector: hidden size = 4 x encoder width, at its default k
K2 = 2

Facts = dict[str, Fact]


@cache
def load_facts() -> Facts:
    """Return all facts by name, in the order of the table."""
    return {
        **_audio(),
        **_clip(),
        **_model_facts("tiny", tiny()[0]),
        **_tiny(),
        **scaling("tiny", tiny()[0]),
        **stacking(),
        **full(),
        **published(),
        **native(),
        **audited(),
    }


@cache
def tiny() -> tuple[Any, Any]:
    """Return the bundled model and its processor."""
    return asrscope.load("tiny")


def _trace(model: Any, processor: Any, sample: Any) -> Trace:
    return asrscope.trace(
        model, processor, sample.path, name=sample.name, reference=sample.text, reference_words=sample.words
    )


def _audio() -> Facts:
    clip = soundfile.info(asrscope.load_samples()[0].path)
    bits = int(clip.subtype.removeprefix("PCM_"))
    module = "asrscope.features"
    frame_ms = 1000 * HOP_LENGTH / SAMPLE_RATE
    return {
        "audio.sample_rate": Fact(SAMPLE_RATE, "asrscope.audio.SAMPLE_RATE, samples a second"),
        "audio.nyquist_khz": Fact(SAMPLE_RATE / 2000, "half the sampling rate, in kHz", "g"),
        "audio.bits": Fact(bits, "bits of a sample in the first shipped clip"),
        "audio.levels": Fact(2**bits, f"2 to the power of {bits}"),
        "features.n_fft": Fact(N_FFT, f"{module}.N_FFT, samples in a window"),
        "features.window_ms": Fact(1000 * N_FFT / SAMPLE_RATE, f"{module}.N_FFT / sampling rate", "g"),
        "features.hop_length": Fact(HOP_LENGTH, f"{module}.HOP_LENGTH, samples from window to window"),
        "features.ms_per_frame": Fact(frame_ms, f"{module}.HOP_LENGTH / sampling rate", "g"),
        "features.frames_per_second": Fact(FRAMES_PER_SECOND, f"{module}.FRAMES_PER_SECOND"),
        "features.bins": Fact(N_FFT // 2 + 1, f"{module}.N_FFT // 2 + 1, frequencies of a real FFT"),
        "features.dynamic_range_db": Fact(10 * DYNAMIC_RANGE, f"10 x {module}.DYNAMIC_RANGE decades", "g"),
    }


def _model_facts(name: str, model: Any) -> Facts:
    """Sizes of a model, read from its configuration and counted in its parts."""
    encoder, projector, decoder = model.audio_tower, model.multi_modal_projector, model.language_model
    audio, text = encoder.config, decoder.config
    stride = encoder.conv1.stride[0] * encoder.conv2.stride[0]
    position_ms = 1000 * stride * HOP_LENGTH / SAMPLE_RATE
    k = projector.stack_factor
    token_ms = k * position_ms
    nope = [layer for layer, rope in enumerate(text.no_rope_layers) if not rope]
    counts = {part: sizes.count_parameters(module) for part, module in _parts(model).items()}
    total = sum(counts.values())
    read = f"configuration of {name}"
    counted = f"counted in the {{}} of {name}"
    values: dict[str, tuple[Any, str, str]] = {
        "encoder.n_mels": (audio.num_mel_bins, f"{read}: audio_config.num_mel_bins", ""),
        "encoder.d_model": (audio.d_model, f"{read}: audio_config.d_model", ""),
        "encoder.layers": (audio.encoder_layers, f"{read}: audio_config.encoder_layers", ""),
        "encoder.heads": (audio.encoder_attention_heads, f"{read}: audio_config.encoder_attention_heads", ""),
        "encoder.ffn": (audio.encoder_ffn_dim, f"{read}: audio_config.encoder_ffn_dim", ""),
        "encoder.frames": (stride * audio.max_source_positions, "longest clip: positions x stride", ""),
        "encoder.positions": (audio.max_source_positions, f"{read}: audio_config.max_source_positions", ""),
        "encoder.seconds": (
            audio.max_source_positions * position_ms / 1000,
            "longest clip: positions x duration of one",
            "g",
        ),
        "encoder.stride": (stride, "product of the strides of the encoder's two convolutions", ""),
        "encoder.ms_per_position": (position_ms, "stride of the convolutions x hop", "g"),
        "encoder.positions_per_second": (1000 / position_ms, "1 s / duration of a position", "g"),
        "encoder.parameters": (counts["encoder"], counted.format("encoder"), ""),
        "projector.k": (k, f"{read}: stack_factor", ""),
        "projector.input_size": (k * audio.d_model, "stack_factor x encoder width", ""),
        "projector.hidden_size": (projector.gate.out_features, "width of the projector's hidden layer", ""),
        "projector.ms_per_token": (token_ms, "stack_factor x duration of a position", "g"),
        "projector.tokens_per_second": (1000 / token_ms, "1 s / duration of an audio token", "g"),
        "projector.parameters": (counts["projector"], counted.format("projector"), ""),
        "projector.percent": (100 * counts["projector"] / total, "share of all parameters", ".1f"),
        "decoder.hidden_size": (text.hidden_size, f"{read}: text_config.hidden_size", ""),
        "decoder.layers": (text.num_hidden_layers, f"{read}: text_config.num_hidden_layers", ""),
        "decoder.heads": (text.num_attention_heads, f"{read}: text_config.num_attention_heads", ""),
        "decoder.kv_heads": (text.num_key_value_heads, f"{read}: text_config.num_key_value_heads", ""),
        "decoder.head_dim": (decoder.model.layers[0].self_attn.head_dim, "head_dim of the first layer", ""),
        "decoder.ffn": (text.intermediate_size, f"{read}: text_config.intermediate_size", ""),
        "decoder.vocab_size": (text.vocab_size, f"{read}: text_config.vocab_size", ""),
        "decoder.nope_count": (len(nope), f"{read}: layers without rotary positions", ""),
        "decoder.nope_layers": (", ".join(map(str, nope)) or "none", f"{read}: no_rope_layers, from 0", ""),
        "decoder.parameters": (counts["decoder"], counted.format("decoder"), ""),
        "parameters": (total, f"encoder + projector + decoder of {name}", ""),
    }
    return {f"{name}.{key}": Fact(*value) for key, value in values.items()}


def _parts(model: Any) -> dict[str, torch.nn.Module]:
    return {
        "encoder": model.audio_tower,
        "projector": model.multi_modal_projector,
        "decoder": model.language_model,
    }


def _tiny() -> Facts:
    """Return what was measured of the bundled model, from the files that come with its weights."""
    config = tiny()[0].config
    folder = Path(asrscope.__file__).parent / "data" / "checkpoints" / "tiny"
    weights = folder / "model.safetensors"
    return {
        "tiny.trained_seconds": Fact(config.trained_seconds, "configuration: trained_seconds", "g"),
        "tiny.size_mb": Fact(weights.stat().st_size / 1e6, "size of the weights' file, in MB", ".1f"),
        **measured(folder),
    }


def _clip() -> Facts:
    """Sizes of every stage of the clip that the lecture follows."""
    (model, processor), sample = tiny(), asrscope.load_samples()[0]  # the clip that the lecture follows
    trace = _trace(model, processor, sample)
    random_model, _ = asrscope.load("tiny", random_projector=True)
    random = _trace(random_model, processor, sample)
    sizes = {stage: _size(trace, stage) for stage in STAGES}
    largest = max(sizes, key=lambda stage: sizes[stage])
    name = f"trace of {trace.name}"
    values: dict[str, tuple[Any, str, str]] = {
        "name": (trace.name, "name of the first sample clip", ""),
        "seconds": (trace.duration, f"{name}: samples / sampling rate", ".2f"),
        "samples": (trace.waveform.size, f"{name}: length of waveform", ""),
        "frames": (trace.log_mel.shape[1], f"{name}: columns of log_mel", ""),
        "positions": (len(trace.encoder_hidden_states), f"{name}: rows of encoder_hidden_states", ""),
        "audio_tokens": (len(trace.audio_embeds), f"{name}: rows of audio_embeds", ""),
        "prompt_positions": (len(trace.prompt_ids), f"{name}: length of prompt_ids", ""),
        "tokens": (len(trace.tokens), f"{name}: written tokens", ""),
        "words": (len(trace.words), f"{name}: written words", ""),
        "text": (trace.text, f"{name}: what the decoder wrote", ""),
        "reference": (sample.text, f"transcript of {sample.name}", ""),
        "voice": (sample.voice, f"synthesizer's voice of {sample.name}", ""),
        "confidence": (trace.confidence, f"{name}: geometric mean of the tokens' probabilities", ".2f"),
        "largest_stage": (largest.title, f"{name}: the array with most numbers", ""),
        "largest_size": (sizes[largest], f"{name}: numbers in its largest array", ""),
        "nearest_cosine.trained": (_nearest(trace), f"{name}: mean cosine to the nearest text token", ".2f"),
        "nearest_cosine.random": (
            _nearest(random),
            f"the same with an untrained projector ({_projector_origin(random)})",
            ".2f",
        ),
    }
    return {f"clip.{key}": Fact(*value) for key, value in (values | _clip_work(model, trace)).items()}


def _clip_work(model: Any, trace: Trace) -> dict[str, tuple[Any, str, str]]:
    """What the clip costs in operations, at its true length and padded to the window."""
    positions, window = len(trace.encoder_hidden_states), model.config.audio_config.max_source_positions
    read, written = len(trace.prompt_ids), len(trace.tokens) + 1
    true, padded = (flops.encoder_flops(model.audio_tower, count) for count in (positions, window))
    projector = flops.projector_flops(model.multi_modal_projector, len(trace.audio_embeds))
    decoder = flops.decoder_flops(model.language_model, read, written)
    by = "by the formulas in asrscope.loading.sizes, in billions"
    return {
        "flops.encoder_gflop": (true / 1e9, f"encoder, {positions} positions, {by}", ".2f"),
        "flops.padded_encoder_gflop": (padded / 1e9, f"encoder, padded to {window} positions, {by}", ".1f"),
        "flops.padded_times": (padded / true, "work of the padded encoder / at true length", ".0f"),
        "flops.projector_gflop": (projector / 1e9, f"projector, {by}", ".2f"),
        "flops.decoder_gflop": (decoder / 1e9, f"decoder, {read} read, {written} written, {by}", ".2f"),
    }


def _size(trace: Trace, stage: Any) -> int:
    values = getattr(trace, stage.field)
    return int(values.size) if hasattr(values, "size") else len(values)


def _nearest(trace: Trace) -> float:
    return float(trace.nearest_cosines[:, 0].mean())


def _projector_origin(trace: Trace) -> str:
    return next(part.source for part in trace.provenance if part.part == "projector")


@cache
def full() -> Facts:
    """Sizes of the large pair, in models built from the published configurations without weights."""
    pair = sizes.full_pair()
    audio, text = pair.config.audio_config, pair.config.text_config
    with torch.device("meta"):
        whisper = WhisperModel(WhisperConfig.from_dict(sizes.published_config("whisper-large-v3-turbo")))
        lecture = AudioProjector(
            audio.d_model, text.hidden_size, stack_factor=K2, hidden_size=K2_HIDDEN_FACTOR * audio.d_model
        )
    halves = {
        part: sizes.weight_bytes(sizes.count_parameters(module), 16) / 1e9
        for part, module in _parts(pair).items()
    }
    return {
        **_room(pair),
        **_model_facts("full", pair),
        **scaling("full", pair),
        "full.whisper.parameters": Fact(
            sizes.count_parameters(whisper), "counted in the whole of Whisper large-v3-turbo"
        ),
        "full.memory.encoder_gb": Fact(halves["encoder"], "2 bytes x parameters of the encoder", ".2f"),
        "full.memory.projector_gb": Fact(halves["projector"], "2 bytes x parameters of the projector", ".2f"),
        "full.memory.decoder_gb": Fact(halves["decoder"], "2 bytes x parameters of the decoder", ".2f"),
        "full.memory.kv_kb_per_token": Fact(
            sizes.cache_bytes_per_token(text) / 1e3,
            "keys and values of a token: 2 x layers x kv heads x head_dim x 2 bytes",
            ".0f",
        ),
        "full.projector.k2.parameters": Fact(
            sizes.count_parameters(lecture),
            f"AudioProjector with k = {K2} and hidden size = {K2_HIDDEN_FACTOR} x encoder width",
        ),
    }


def _room(pair: Any) -> Facts:
    """Memory of the large pair as it is said before it is loaded, and where its parts are had."""
    facts = {}
    kinds = {"float32": (32, None), "bfloat16": (16, None), "int8": (16, 8), "int4": (16, 4)}
    for kind, (bits, decoder_bits) in kinds.items():
        need = estimate(pair, bits, decoder_bits)
        by = f"asrscope.loading.room.estimate of full, {kind}"
        for what in ("decoder", "weights", "clip", "total"):
            size = getattr(need, what) / 1e9
            facts[f"full.room.{kind}.{what}_gb"] = Fact(size, f"{by}: {what}, in GB", ".1f")
    places = {part: PAIRS["full"][part] for part in ("encoder", "decoder")}
    for part, name in places.items():
        facts[f"full.{part}.repository"] = Fact(
            name, f"asrscope.loading.presets: repository of the {part}", ""
        )
        facts[f"full.{part}.revision"] = Fact(
            PINNED[name], f"asrscope.loading.pair: pinned commit of the {part}", ""
        )
    return facts
