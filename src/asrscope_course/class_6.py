"""Class 6, scaling up: memory, the cache, padding, fewer bits, long recordings, noise."""

import numpy as np
from numpy import ndarray

from asrscope_course.engine import exercise
from asrscope_course.flops import encoder_flops
from asrscope_course.kinds import Case, Function, Number
from asrscope_course.material import random_array
from asrscope_course.sizes import cache_bytes_per_token, count_parameters, full_pair, lengths, weight_bytes
from asrscope_course.texts import Text

__all__: list[str] = []

SECONDS = 3.0
LEVELS = 127  # of int8, on each side of zero


@exercise("6.1")
def _four_bits(text: Text) -> Number:
    pair = full_pair()
    total, decoder = count_parameters(pair), count_parameters(pair.language_model)
    bfloat16, int8, int4 = (weight_bytes(total, bits) / 1e9 for bits in (16, 8, 4))
    return Number(
        text.filled(total=total, bfloat16=bfloat16, int8=int8),
        int4,
        unit="GB",
        within=0.02,
        mistakes={
            "bfloat16": bfloat16,
            "int8": int8,
            "bytes": 4 * total / 1e9,
            "decoder_alone": weight_bytes(decoder, 4) / 1e9,
        },
    )


@exercise("6.2")
def _cache(text: Text) -> Number:
    pair = full_pair()
    config, clip = pair.config.text_config, lengths(pair.config.window_seconds, pair.config)
    each, heads = cache_bytes_per_token(config), config.num_attention_heads // config.num_key_value_heads
    size = each * clip.audio_tokens / 1e6
    return Number(
        text.filled(
            config=config,
            tokens=clip.audio_tokens,
            head=config.hidden_size // config.num_attention_heads,
            each=each,
            heads=heads,
        ),
        size,
        unit="MB",
        within=0.005,
        mistakes={
            "all_heads": heads * size,
            "keys_alone": size / 2,
            "one_layer": size / config.num_hidden_layers,
            "positions": each * clip.positions / 1e6,
        },
    )


@exercise("6.3")
def _padding(text: Text) -> Number:
    pair = full_pair()
    padded, true = (lengths(SECONDS, pair.config, pad=pad).positions for pad in (True, False))
    width, layers = pair.config.audio_config.d_model, pair.config.audio_config.encoder_layers
    most, least = (encoder_flops(pair.audio_tower, positions) for positions in (padded, true))
    return Number(
        text.filled(seconds=SECONDS, padded=padded, true=true),
        most / least,
        unit="times",
        within=0.005,
        mistakes={
            "ratio": padded / true,
            "squared": (padded / true) ** 2,
            "no_attention": most / (least - 4 * true**2 * width * layers),
            "share": 1 - true / padded,
        },
    )


@exercise("6.4")
def _quantize(text: Text) -> Function:
    return Function(
        text.filled(levels=LEVELS),
        lambda weight: np.round(weight / _scale(weight)) * _scale(weight),
        lambda rng: [(random_array(rng, rows, 8) * rng.uniform(0.5, 20, size=(rows, 1)),) for rows in (2, 5)],
        mistakes={
            "one_scale": lambda weight: np.round(weight / _scale(weight, None)) * _scale(weight, None),
            "columns": lambda weight: np.round(weight / _scale(weight, 0)) * _scale(weight, 0),
            "not_rounded": lambda weight: weight,
            "cut": lambda weight: np.trunc(weight / _scale(weight)) * _scale(weight),
            "stored": lambda weight: np.round(weight / _scale(weight)),
        },
    )


@exercise("6.5")
def _windows(text: Text) -> Function:
    def starts(samples: int, longest: int) -> range:
        return range(0, samples, longest)

    return Function(
        text.filled(),
        lambda samples, longest: [(one, min(one + longest, samples)) for one in starts(samples, longest)],
        lambda rng: [(100, 40), (80, 40), (39, 40), (40, 40), (int(rng.integers(500, 900)), 70)],
        mistakes={
            "remainder_dropped": lambda samples, longest: [
                (one, one + longest) for one in starts(samples - longest + 1, longest)
            ],
            "past_the_end": lambda samples, longest: [
                (one, one + longest) for one in starts(samples, longest)
            ],
            "one_short": lambda samples, longest: [
                (one, min(one + longest, samples) - 1) for one in starts(samples, longest)
            ],
            "empty_stretch": lambda samples, longest: [
                (one, min(one + longest, samples)) for one in starts(samples + 1, longest)
            ],
        },
    )


@exercise("6.6")
def _noise(text: Text) -> Function:
    return Function(
        text.filled(),
        lambda clip, noise, snr_db: clip + noise * _ratio(clip, noise) * 10 ** (-snr_db / 20),
        _noisy,
        mistakes={
            "powers": lambda clip, noise, snr_db: clip + noise * _ratio(clip, noise) * 10 ** (-snr_db / 10),
            "sign": lambda clip, noise, snr_db: clip + noise * _ratio(clip, noise) * 10 ** (snr_db / 20),
            "unmeasured": lambda clip, noise, snr_db: clip + noise * 10 ** (-snr_db / 20),
            "peaks": lambda clip, noise, snr_db: (
                clip + noise * np.abs(clip).max() / np.abs(noise).max() * 10 ** (-snr_db / 20)
            ),
            "noise_alone": lambda clip, noise, snr_db: noise * _ratio(clip, noise) * 10 ** (-snr_db / 20),
        },
    )


def _scale(weight: ndarray, axis: int | None = 1) -> ndarray:
    """Give the step of each row, of each column, or of the whole matrix."""
    return np.asarray(np.abs(weight).max(axis=axis, keepdims=True) / LEVELS)


def _ratio(clip: ndarray, noise: ndarray) -> float:
    """Factor that makes the noise as strong as the clip."""
    return float(np.sqrt((clip**2).mean() / (noise**2).mean()))


def _noisy(rng: np.random.Generator) -> list[Case]:
    return [
        (0.3 * random_array(rng, 400), float(level) * random_array(rng, 400), decibels)
        for level, decibels in ((1, 10), (5, 0), (0.1, 20), (2, -5))
    ]
