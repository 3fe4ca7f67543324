"""Facts about the systems of others: counted in models without weights, or read from their defaults."""

from typing import Any

import torch
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from asrscope.features import SECONDS_PER_FRAME
from asrscope_course import sizes, systems

Facts = dict[str, tuple[Any, ...]]  # by name, or its end, what a `Fact` is made of: value, source, form

CLIPS = {"3s": 3.0, "30s": 30.0, "10min": 600.0}


def published() -> Facts:
    """Facts of every system, by its name in transformers."""
    with torch.device("meta"):
        by_default = sizes.count_parameters(Qwen2AudioForConditionalGeneration(Qwen2AudioConfig()))
    facts = {
        "qwen2_audio.defaults.parameters": (
            by_default,
            "counted in what Qwen2AudioConfig() gives, without weights",
        )
    }
    for key in systems.SYSTEMS:
        facts |= {f"{key}.{name}": value for name, value in _system(key).items()}
    return facts


def of_parts(name: str, config: Any, counts: dict[str, int], k: int, rate: float) -> Facts:
    """Return what every model is measured by: sizes of its three parts, and audio tokens a second."""
    audio, text = getattr(config, "audio_config", None) or config.encoder_config, config.text_config
    read = f"configuration of {name}"
    values: Facts = {
        "encoder.d_model": (audio.hidden_size, f"{read}: width of the encoder"),
        "encoder.layers": (audio.num_hidden_layers, f"{read}: layers of the encoder"),
        "projector.k": (k, f"{read}: encoder positions for an audio token"),
        "projector.tokens_per_second": (rate, "audio tokens of a second of sound", "g"),
        "projector.ms_per_token": (1000 / rate, "1 s / audio tokens a second", "g"),
        "decoder.hidden_size": (text.hidden_size, f"{read}: text_config.hidden_size"),
        "decoder.layers": (text.num_hidden_layers, f"{read}: text_config.num_hidden_layers"),
        "decoder.kv_heads": (text.num_key_value_heads, f"{read}: text_config.num_key_value_heads"),
        "decoder.vocab_size": (text.vocab_size, f"{read}: text_config.vocab_size"),
        "parameters": (sum(counts.values()), f"encoder + projector + decoder of {name}"),
    }
    for part, count in counts.items():
        values[f"{part}.parameters"] = (count, f"counted in the {part} of {name}")
    return values


def _system(key: str) -> Facts:
    """Sizes of the three parts, memory and work, and what clips of three lengths become."""
    system, model = systems.load_system(key), systems.build(key)
    config: Any = model.config
    counts = systems.parameters_of(model)
    total = counts.pop("all")
    heard = {clip: systems.heard(key, seconds) for clip, seconds in CLIPS.items()}
    window, cache_bytes = heard["30s"], sizes.cache_bytes_per_token(config.text_config)
    rate, k = window.audio_tokens / CLIPS["30s"], window.positions // window.audio_tokens
    values = of_parts(f"{system.repository} ({system.label})", config, counts, k, rate) | {
        "repository": (system.repository, "its weights, on the Hugging Face Hub"),
        "origin": (system.label, "what its configuration in this package is"),
        "connector": (system.connector, "from the code of its class"),
        "projector.percent": (100 * counts["projector"] / total, "share of all parameters", ".1f"),
        "decoder.billions": (counts["decoder"] / 1e9, "parameters of the decoder / 10⁹", ".2f"),
        "parameters.billions": (total / 1e9, "all parameters / 10⁹", ".2f"),
        "memory.bfloat16_gb": (sizes.weight_bytes(total, 16) / 1e9, "2 bytes x parameters", ".1f"),
        "kv.mb_per_second": (cache_bytes * rate / 1e6, "cache of a second of sound, in MB", ".2f"),
        "flops.3s.encoder_tflop": (
            heard["3s"].encoder_flops / 1e12,
            "counted by torch while its class ran without numbers on 3 s",
            ".2f",
        ),
    }
    for clip, seconds in CLIPS.items():
        ran = f"its class, run without numbers on {seconds:g} s"
        values[f"lengths.{clip}.positions"] = (heard[clip].positions, ran)
        values[f"lengths.{clip}.audio_tokens"] = (heard[clip].audio_tokens, ran)
        values[f"lengths.{clip}.heard"] = (heard[clip].seconds, f"seconds of {seconds:g} that reach it", "g")
    if key == "granite_speech":  # it reads frames and positions unlike all others
        column, window = config.encoder_config.input_dim, config.window_size
        values |= {
            "encoder.column": (column, f"{system.label}: input_dim"),
            "encoder.mels": (column // 2, f"{system.label}: input_dim / 2 frames"),
            "encoder.column_ms": (2000 * SECONDS_PER_FRAME, "duration of two mel frames", "g"),
            "projector.window": (window, f"{system.label}: window_size"),
            "projector.queries": (window // config.downsample_rate, "window_size / downsample_rate"),
        }
    return values
