"""Facts about sizes, memory, work and cost of a model: all from its configuration, by formulas."""

from typing import Any

import torch
from facts import Fact

from asrscope.loading import sizes
from asrscope_course import flops

Facts = dict[str, Fact]

STACKED = (1, 2, 4, 5, 8, 10)  # stack factors that lectures compare
BITS = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4}
CLIPS = {"1s": 1.0, "3s": 3.0, "10s": 10.0, "30s": 30.0}
FROZEN_BYTES, TRAINED_BYTES = 2, 16  # of a parameter: bfloat16; float32 weight, gradient and two moments
GIGA, MEGA = 1e9, 1e6
WORK_WRITTEN = 1  # tokens: the work of reading a prompt ends with the first


def stacking() -> Facts:
    """How many audio tokens each stack factor makes, at 20 ms a position."""
    config = sizes.full_pair().config
    facts = {}
    for k in STACKED:
        facts[f"stacking.k{k}.ms"] = Fact(
            round(1000 * k * sizes.STRIDE * sizes.HOP_LENGTH / sizes.SAMPLE_RATE),
            f"{k} x duration of an encoder position",
        )
        for name in ("1s", "30s"):
            positions = sizes.lengths(CLIPS[name], config, pad=False).positions
            facts[f"stacking.k{k}.{name}"] = Fact(
                sizes.count_audio_tokens(positions, k),
                f"(L - k) // k + 1 with L = {positions} encoder positions and k = {k}",
            )
    return facts


def scaling(name: str, model: Any) -> Facts:
    """Parameters of each matrix, memory, cache and work of a model with the three parts."""
    parameters = sizes.count_parameters(model)
    return {
        **_matrices(name, model.multi_modal_projector),
        **_memory(name, model, parameters),
        **_lengths(name, model.config),
        **_work(name, model),
    }


def _matrices(name: str, projector: torch.nn.Module) -> Facts:
    facts = {}
    for part in ("norm_in", "gate", "up", "down", "norm_out"):
        weight = getattr(projector, part).weight
        shape = " x ".join(f"{size:,}" for size in weight.shape)
        source = f"{part}.weight of the projector of {name}"
        facts[f"{name}.projector.{part}.parameters"] = Fact(weight.numel(), f"{source}: {shape}")
        facts[f"{name}.projector.{part}.shape"] = Fact(shape.replace("x", "×"), f"{source}, its shape")
    return facts


def _memory(name: str, model: Any, parameters: int) -> Facts:
    text = model.config.text_config
    trained = sizes.count_parameters(model.multi_modal_projector)
    cache = sizes.cache_bytes_per_token(text)
    every_head = cache * text.num_attention_heads // text.num_key_value_heads
    tokens = 1 / (model.config.stack_factor * sizes.STRIDE * sizes.HOP_LENGTH / sizes.SAMPLE_RATE)
    facts = {}
    unit, divisor = ("gb", GIGA) if parameters > GIGA else ("mb", MEGA)
    for kind, bits in BITS.items():
        size = sizes.weight_bytes(parameters, bits) / divisor
        source = f"{bits} bits x all parameters of {name}, in {unit.upper()}"
        facts[f"{name}.memory.{kind}_{unit}"] = Fact(size, source, ".1f")
    cached = f"of {name}: keys and values x layers x kv heads x head_dim x 2 bytes"
    only = FROZEN_BYTES * (parameters - trained) + TRAINED_BYTES * trained
    recipe = f"{TRAINED_BYTES} bytes a trained parameter (float32 weight, gradient, two moments of AdamW)"
    return facts | {
        f"{name}.kv.bytes_per_token": Fact(cache, f"cache of a token {cached}"),
        f"{name}.kv.kb_per_token": Fact(cache / 1e3, f"cache of a token {cached}", ".1f"),
        f"{name}.kv.kb_per_second": Fact(cache * tokens / 1e3, f"cache of a second of audio {cached}", ".0f"),
        f"{name}.kv.mb_per_minute": Fact(60 * cache * tokens / MEGA, f"cache of a minute {cached}", ".1f"),
        f"{name}.kv.bytes_per_token_every_head": Fact(
            every_head, f"the same if each of the {text.num_attention_heads} heads kept keys of its own"
        ),
        f"{name}.memory.train_projector_{unit}": Fact(
            only / divisor, f"{recipe} of the projector, {FROZEN_BYTES} of the rest; no activations", ".1f"
        ),
        f"{name}.memory.train_all_{unit}": Fact(
            TRAINED_BYTES * parameters / divisor, f"{recipe} of all of {name}; no activations", ".1f"
        ),
    }


def _lengths(name: str, config: Any) -> Facts:
    """Lengths of clips of round durations at every stage."""
    facts = {}
    padded = "padded to the window" if config.pad_audio else "at true length"
    for clip, seconds in CLIPS.items():
        if config.pad_audio and clip not in ("1s", "30s"):
            continue  # padded clips are all as long as the window
        lengths = sizes.lengths(seconds, config)
        for stage, count in vars(lengths).items():
            facts[f"{name}.lengths.{clip}.{stage}"] = Fact(
                count, f"{stage.replace('_', ' ')} of a clip of {seconds:g} s in {name}, {padded}"
            )
    return facts


def _work(name: str, model: Any) -> Facts:
    """Floating-point operations, by the formulas in asrscope.loading.sizes."""
    facts = {}
    window = sizes.lengths(CLIPS["30s"], model.config)
    three = sizes.lengths(CLIPS["3s"], model.config, pad=False)
    for clip, lengths in (("30s", window), ("3s", three)):
        encoder = flops.encoder_flops(model.audio_tower, lengths.positions)
        projector = flops.projector_flops(model.multi_modal_projector, lengths.audio_tokens)
        decoder = flops.decoder_flops(model.language_model, lengths.audio_tokens, WORK_WRITTEN)
        work = {
            "encoder": (encoder, f"encoder_flops of {lengths.positions} positions"),
            "projector": (projector, f"projector_flops of {lengths.audio_tokens} audio tokens"),
            "decoder": (decoder, f"decoder_flops: read {lengths.audio_tokens} audio tokens, write one token"),
            "total": (encoder + projector + decoder, "encoder, projector and decoder together"),
        }
        for part, (operations, formula) in work.items():
            source = f"asrscope_course.flops, {formula}, {name}"
            facts[f"{name}.flops.{clip}.{part}_gflop"] = Fact(operations / 1e9, source, ",.1f")
            facts[f"{name}.flops.{clip}.{part}_tflop"] = Fact(operations / 1e12, source, ".2f")
    weights = sizes.linear_weights(model.language_model)
    return facts | {
        f"{name}.flops.written_token_gflop": Fact(
            2 * weights / 1e9, f"2 x weights of the decoder's linear layers in {name}: one more token", ".2f"
        )
    }
