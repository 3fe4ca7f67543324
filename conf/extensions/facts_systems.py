"""Facts about the systems of others: counted in models without weights, or read from their defaults."""

from typing import Any

import torch
from facts import Fact
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from asrscope.features import SECONDS_PER_FRAME
from asrscope_course import sizes, systems

Facts = dict[str, Fact]

CLIPS = {"3s": 3.0, "30s": 30.0, "10min": 600.0}


def published() -> Facts:
    """Facts of every system, by its name in transformers."""
    with torch.device("meta"):
        by_default = sizes.count_parameters(Qwen2AudioForConditionalGeneration(Qwen2AudioConfig()))
    facts = {
        "qwen2_audio.defaults.parameters": Fact(
            by_default, "counted in what Qwen2AudioConfig() gives, without weights"
        )
    }
    for key in systems.SYSTEMS:
        facts |= {f"{key}.{name}": Fact(*value) for name, value in _system(key).items()}
    return facts | _granite()


def _system(key: str) -> dict[str, tuple[Any, ...]]:
    """Sizes of the three parts, memory and work, and what clips of three lengths become."""
    system, model = systems.load_system(key), systems.build(key)
    config: Any = model.config
    audio = getattr(config, "audio_config", None) or config.encoder_config
    text = config.text_config
    counts = systems.parameters_of(model)
    read = f"{system.label}, {system.repository}"
    counted = f"counted in the model that it gives, without weights ({read})"
    heard = {clip: systems.heard(key, seconds) for clip, seconds in CLIPS.items()}
    rate = heard["30s"].audio_tokens / CLIPS["30s"]
    cache_bytes = sizes.cache_bytes_per_token(text)
    values: dict[str, tuple[Any, ...]] = {
        "repository": (system.repository, "its weights, on the Hugging Face Hub"),
        "origin": (system.label, "what its configuration in this package is"),
        "connector": (system.connector, "from the code of its class"),
        "encoder.d_model": (audio.hidden_size, f"{read}: width of the encoder"),
        "encoder.layers": (audio.num_hidden_layers, f"{read}: layers of the encoder"),
        "projector.percent": (100 * counts["projector"] / counts["all"], "share of all parameters", ".1f"),
        "projector.tokens_per_second": (rate, "audio tokens of 30 s, by its own class, / 30", "g"),
        "projector.ms_per_token": (1000 / rate, "1 s / audio tokens a second", "g"),
        "projector.k": (
            heard["30s"].positions // heard["30s"].audio_tokens,
            "positions of a window / its audio tokens, both by its own class",
        ),
        "decoder.hidden_size": (text.hidden_size, f"{read}: text_config.hidden_size"),
        "decoder.layers": (text.num_hidden_layers, f"{read}: text_config.num_hidden_layers"),
        "decoder.vocab_size": (text.vocab_size, f"{read}: text_config.vocab_size"),
        "decoder.kv_heads": (text.num_key_value_heads, f"{read}: text_config.num_key_value_heads"),
        "decoder.billions": (counts["decoder"] / 1e9, counted, ".2f"),
        "parameters": (counts["all"], counted),
        "parameters.billions": (counts["all"] / 1e9, counted, ".2f"),
        "memory.bfloat16_gb": (sizes.weight_bytes(counts["all"], 16) / 1e9, "2 bytes x parameters", ".1f"),
        "kv.mb_per_second": (cache_bytes * rate / 1e6, "cache of a second of sound, in MB", ".2f"),
        "flops.3s.encoder_tflop": (
            heard["3s"].encoder_flops / 1e12,
            "counted by torch while its class ran without numbers on 3 s",
            ".2f",
        ),
    }
    for part in ("encoder", "projector", "decoder"):
        values[f"{part}.parameters"] = (counts[part], f"{part}, {counted}")
    for clip, seconds in CLIPS.items():
        ran = f"its class, run without numbers on {seconds:g} s"
        values[f"lengths.{clip}.positions"] = (heard[clip].positions, ran)
        values[f"lengths.{clip}.audio_tokens"] = (heard[clip].audio_tokens, ran)
        values[f"lengths.{clip}.heard"] = (heard[clip].seconds, f"seconds of {seconds:g} that reach it", "g")
    return values


def _granite() -> Facts:
    """How Granite Speech reads frames and positions, unlike all others."""
    config: Any = systems.build("granite_speech").config
    column, window = config.encoder_config.input_dim, config.window_size
    read = f"{systems.load_system('granite_speech').label}"
    facts = {
        "encoder.column": Fact(column, f"{read}: input_dim"),
        "encoder.mels": Fact(column // 2, f"{read}: input_dim / 2 frames"),
        "encoder.column_ms": Fact(2000 * SECONDS_PER_FRAME, "duration of two mel frames", "g"),
        "projector.window": Fact(window, f"{read}: window_size"),
        "projector.queries": Fact(window // config.downsample_rate, f"{read}: window_size / downsample_rate"),
    }
    return {f"granite_speech.{name}": fact for name, fact in facts.items()}
