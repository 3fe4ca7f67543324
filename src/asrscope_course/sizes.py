"""What a model of given sizes holds and weighs: from its configuration, without its weights.

The published configurations of the large pair are kept beside this module. A model built from them on
torch's ``meta`` device has every shape and no numbers, so that it can be counted on any machine.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import SmolLM3Config, WhisperConfig

from asrscope.audio import SAMPLE_RATE
from asrscope.features import HOP_LENGTH
from asrscope.loading import PAIRS
from asrscope.loading.room import cache_bytes_per_token, count_parameters, head_dim, linear_weights
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.projector import count_audio_tokens

__all__ = [
    "Lengths",
    "cache_bytes_per_token",
    "count_parameters",
    "full_pair",
    "head_dim",
    "lengths",
    "linear_weights",
    "published_config",
    "weight_bytes",
]

CONFIGS = Path(__file__).parent / "model_configs"
STRIDE = 2  # frames to a position: the encoder's second convolution skips every other one


@dataclass(frozen=True)
class Lengths:
    """How long a clip is at each stage.

    Attributes
    ----------
    samples, frames, positions, audio_tokens : int
        Of the waveform, the log-mel spectrogram, the encoder's output and the projector's output.
    """

    samples: int
    frames: int
    positions: int
    audio_tokens: int


def published_config(name: str) -> dict[str, Any]:
    """Read a configuration that is kept with the package.

    Parameters
    ----------
    name : str
        ``whisper-large-v3-turbo`` or ``smollm3-3b``.

    Returns
    -------
    dict
        The configuration.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    path = CONFIGS / f"{name}.json"
    if not path.is_file():
        names = ", ".join(sorted(config.stem for config in CONFIGS.glob("*.json")))
        raise ValueError(f"expected one of the configurations {names}, but found {name!r}")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return config


@cache
def full_pair() -> AsrScopeForConditionalGeneration:
    """Build the large pair, Whisper large-v3-turbo and SmolLM3-3B, without weights.

    Returns
    -------
    AsrScopeForConditionalGeneration
        On the device ``meta``: every shape, no numbers. Its stack factor and its projector's hidden size are
        a choice of this package.
    """
    config = AsrScopeConfig(
        audio_config=WhisperConfig.from_dict(published_config("whisper-large-v3-turbo")),
        text_config=SmolLM3Config.from_dict(published_config("smollm3-3b")),
        **PAIRS["full"]["untrained"],
        pad_audio=True,
    )
    with torch.device("meta"):
        model = AsrScopeForConditionalGeneration(config)
    model.language_model.tie_weights()
    return model


def lengths(seconds: float, config: AsrScopeConfig, *, pad: bool | None = None) -> Lengths:
    """Count what each stage makes of a clip.

    Parameters
    ----------
    seconds : float
        Duration of the clip.
    config : AsrScopeConfig
        Of the model.
    pad : bool, optional
        Whether the clip is filled up to the encoder's window; default: as the configuration says.

    Returns
    -------
    Lengths
        At every stage.

    Raises
    ------
    ValueError
        If the clip is longer than the encoder's window.
    """
    window = config.audio_config.max_source_positions
    samples = round(seconds * SAMPLE_RATE)
    positions = max(1, -(-samples // (STRIDE * HOP_LENGTH)))
    if positions > window:
        raise ValueError(
            f"expected a clip of at most {config.window_seconds:g} s, but found {seconds:g} s. "
            "Cut it into windows first"
        )
    if config.pad_audio if pad is None else pad:
        positions = window
        samples = window * STRIDE * HOP_LENGTH
    audio_tokens = count_audio_tokens(positions, config.stack_factor, config.projector_remainder)
    return Lengths(samples, STRIDE * positions, positions, audio_tokens)


def weight_bytes(parameters: int, bits: int) -> int:
    """Give the memory of the weights alone.

    Parameters
    ----------
    parameters : int
        How many numbers.
    bits : int
        Of each: 16 for bfloat16, 8 for int8, 4 for int4.

    Returns
    -------
    int
        Bytes. What a quantized format stores beside the numbers, such as scales, is not counted.
    """
    return parameters * bits // 8
