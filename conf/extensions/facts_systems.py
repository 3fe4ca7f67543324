"""Facts about published systems, counted in models that are built from their configurations."""

from functools import cache
from typing import Any

import torch
from facts import Fact
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from asrscope.loading import sizes
from asrscope_course import systems

Facts = dict[str, Fact]

CLIPS = {"3s": 3.0, "30s": 30.0, "10min": 600.0}
STACKING = ("voxtral", "glmasr")


@cache
def published() -> Facts:
    """Facts of every system, by its name in transformers."""
    facts: Facts = {}
    for key in systems.SYSTEMS:
        facts |= {f"{key}.{name}": fact for name, fact in (_parts(key) | _lengths(key)).items()}
    return facts


def _parts(key: str) -> Facts:
    """Sizes of the three parts, and the memory of weights and cache."""
    system, model = systems.load_system(key), systems.build(key)
    config: Any = model.config
    audio = getattr(config, "audio_config", None) or config.encoder_config
    text = config.text_config
    counts = systems.parameters_of(model)
    read = f"{system.label}, {system.repository}"
    counted = f"counted in the model that it gives, without weights ({read})"
    cache_bytes = sizes.cache_bytes_per_token(text)
    rate = systems.audio_tokens(key, CLIPS["30s"]) / CLIPS["30s"]
    facts = {
        "name": Fact(system.name, "what people call it"),
        "repository": Fact(system.repository, "its weights, on the Hugging Face Hub"),
        "origin": Fact(system.label, "what its configuration in this package is"),
        "connector": Fact(system.connector, "from the code of its class"),
        "encoder.d_model": Fact(audio.hidden_size, f"{read}: width of the encoder"),
        "encoder.layers": Fact(audio.num_hidden_layers, f"{read}: layers of the encoder"),
        "encoder.parameters": Fact(counts["encoder"], counted),
        "projector.parameters": Fact(counts["projector"], counted),
        "projector.percent": Fact(
            100 * counts["projector"] / counts["all"], "share of all parameters", ".1f"
        ),
        "decoder.hidden_size": Fact(text.hidden_size, f"{read}: text_config.hidden_size"),
        "decoder.layers": Fact(text.num_hidden_layers, f"{read}: text_config.num_hidden_layers"),
        "decoder.vocab_size": Fact(text.vocab_size, f"{read}: text_config.vocab_size"),
        "decoder.heads": Fact(text.num_attention_heads, f"{read}: text_config.num_attention_heads"),
        "decoder.kv_heads": Fact(text.num_key_value_heads, f"{read}: text_config.num_key_value_heads"),
        "decoder.parameters": Fact(counts["decoder"], f"all without encoder and projector, {counted}"),
        "parameters": Fact(counts["all"], counted),
        "parameters.billions": Fact(counts["all"] / 1e9, counted, ".2f"),
        "decoder.billions": Fact(counts["decoder"] / 1e9, counted, ".2f"),
        "memory.bfloat16_gb": Fact(
            sizes.weight_bytes(counts["all"], 16) / 1e9, "2 bytes x parameters", ".1f"
        ),
        "kv.kb_per_token": Fact(cache_bytes / 1e3, "cache of a token in bfloat16, in kB", ".1f"),
        "kv.mb_per_second": Fact(cache_bytes * rate / 1e6, "cache of a second of sound, in MB", ".2f"),
        "projector.tokens_per_second": Fact(rate, "audio tokens of 30 s, by its own class, / 30", "g"),
        "projector.ms_per_token": Fact(1000 / rate, "1 s / audio tokens a second", "g"),
    }
    if key == "qwen2_audio":
        with torch.device("meta"):
            by_default = sizes.count_parameters(Qwen2AudioForConditionalGeneration(Qwen2AudioConfig()))
        facts["defaults.parameters"] = Fact(
            by_default, "counted in what Qwen2AudioConfig() gives, without weights"
        )
    if key in STACKING:
        k = systems.heard(key, CLIPS["30s"]).positions // systems.audio_tokens(key, CLIPS["30s"])
        facts["projector.k"] = Fact(k, "positions of a window / its audio tokens, both by its own class")
    return facts


def _lengths(key: str) -> Facts:
    """What clips of three lengths become, and the work of encoding a short one."""
    facts: Facts = {}
    for clip, seconds in CLIPS.items():
        found = systems.heard(key, seconds)
        ran = f"its class, run without numbers on {seconds:g} s"
        facts[f"lengths.{clip}.positions"] = Fact(found.positions, ran)
        facts[f"lengths.{clip}.audio_tokens"] = Fact(found.audio_tokens, ran)
        facts[f"lengths.{clip}.heard"] = Fact(
            found.seconds, f"seconds that reach the model of {seconds:g}", "g"
        )
    work = systems.heard(key, CLIPS["3s"])
    facts["flops.3s.encoder_tflop"] = Fact(
        work.encoder_flops / 1e12, "counted by torch while its class ran without numbers on 3 s", ".2f"
    )
    return facts
