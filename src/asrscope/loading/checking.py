"""Look a saved model over before it is loaded: what is wrong is said, and nothing large is made for it."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asrscope.audio import SAMPLE_RATE
from asrscope.audio.memory import free_memory
from asrscope.loading.stored import StoredTensors, read_settings
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor

__all__ = ["check_checkpoint", "check_finite", "read_processor", "readable"]

MOST_LAYERS = 1_000  # the largest models have some hundred
MOST_UNITS = 2**24  # of any other size in a configuration
CLAIMS = "provenance.json"
LARGEST_FILE = 2**28  # bytes of settings; tokenizers of large vocabularies have some 2**24
SETTINGS = (  # that a saved model may have
    "config.json",
    "generation_config.json",
    "processor_config.json",
    CLAIMS,
    "tokenizer.json",
    "tokenizer_config.json",
)


def check_checkpoint(path: Path) -> AsrScopeConfig:
    """Look over the directory of a saved model of this package.

    Parameters
    ----------
    path : Path
        The directory; its ``config.json`` is known to be there.

    Returns
    -------
    AsrScopeConfig
        Its configuration.

    Raises
    ------
    FileNotFoundError
        If there are no weights, or only pickled ones.
    ValueError
        If a file is damaged or names code of its own, sizes are no sizes, weights have other shapes than the
        configuration says, or the model is too large for this machine.
    """
    for file in (path / name for name in SETTINGS):
        if not file.exists():
            continue
        if file.stat().st_size > LARGEST_FILE:
            raise ValueError(f"{file} is damaged: far too large for settings. Copy or download it again.")
        found = read_settings(file)
        _refuse_code(file, found)
        if file.name == CLAIMS and not all(_is_claim(claim) for claim in found.values()):
            raise ValueError(
                f"{file} is damaged: expected 'trained' and 'sha256' for each part. "
                "Copy or download it again."
            )
    file = path / "config.json"
    settings = read_settings(file)
    _check_sizes(file, settings)
    stored = StoredTensors.of(path)
    with readable(file, "no model can be built of these settings"):
        config: AsrScopeConfig = AsrScopeConfig.from_dict(settings)
        seconds = config.trained_seconds
        if not (math.isfinite(seconds) and seconds > 0 and config.stack_factor > 0):
            raise ValueError(f"trained_seconds {seconds}, stack_factor {config.stack_factor}")
        with torch.device("meta"):  # shapes without memory
            model = AsrScopeForConditionalGeneration(config)
    _check_shapes(path, model, stored)
    needed = 4 * sum(parameter.numel() for parameter in model.parameters())  # float32
    if needed > (free := free_memory()):
        raise ValueError(
            f"{path}: the model needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free. "
            "Close other programs, or load it on a larger machine."
        )
    return config


def check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse weights that are no numbers.

    Parameters
    ----------
    path : Path
        What to name in the message.
    tensors : dict of str to torch.Tensor
        The weights.

    Raises
    ------
    ValueError
        If a value is NaN or infinite.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int(tensor.numel() - torch.isfinite(tensor).sum())
            raise ValueError(
                f"{path}: {bad} of {tensor.numel()} weights in {name} are NaN or infinite: its training "
                "diverged, or the file is damaged. Take an earlier checkpoint, or copy it again."
            )


def read_processor(path: Path, config: AsrScopeConfig) -> AsrScopeProcessor:
    """Read the processor that was saved with a model, and make sure that it is the one of this model.

    Parameters
    ----------
    path : Path
        The directory.
    config : AsrScopeConfig
        Of the model.

    Returns
    -------
    AsrScopeProcessor
        Feature extractor, tokenizer and prompt.

    Raises
    ------
    ValueError
        If files are missing or damaged, or say something else than the model's configuration.
    """
    with readable(path, "its tokenizer or processor cannot be read"):
        processor: AsrScopeProcessor = AsrScopeProcessor.from_pretrained(path, local_files_only=True)
    pairs: dict[str, tuple[Any, Any]] = {
        "mel bands": (config.audio_config.num_mel_bins, processor.feature_extractor.feature_size),
        "samples in a window": (
            round(config.window_seconds * SAMPLE_RATE),
            processor.feature_extractor.n_samples,
        ),
        "stack_factor": (config.stack_factor, processor.stack_factor),
        "pad_audio": (config.pad_audio, processor.pad_audio),
        "audio token": (config.audio_token_id, processor.audio_token_id),
    }
    for what, (expected, found) in pairs.items():
        if expected != found:
            raise ValueError(
                f"{path}: config.json and the processor do not belong together ({what}: expected {expected}, "
                f"but found {found}). Copy or download all files of the model again, from one place."
            )
    if len(processor.tokenizer) > config.text_config.vocab_size:
        raise ValueError(
            f"{path}: the tokenizer has {len(processor.tokenizer)} tokens, but the decoder "
            f"{config.text_config.vocab_size}. Copy or download all files of the model again, from one place."
        )
    return processor


@contextmanager
def readable(path: Path, otherwise: str) -> Iterator[None]:
    """Turn whatever a library says of a damaged file into one sentence.

    Parameters
    ----------
    path : Path
        What is read.
    otherwise : str
        What is the matter where that fails.

    Raises
    ------
    ValueError
        If the block raises any exception.
    """
    try:
        yield
    except Exception as error:  # readers of settings, weights and tokenizers each raise their own
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path}: {otherwise} ({type(error).__name__}: {reason}). "
            "Copy or download all files of the model again."
        ) from error


def _is_claim(claim: object) -> bool:
    return isinstance(claim, Mapping) and isinstance(claim.get("trained"), bool | None)


def _refuse_code(file: Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings that name programs to be fetched and run."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _refuse_code(file, value)
        kernel = "attn_implementation" in name and isinstance(value, str) and "/" in value
        if name in {"auto_map", "custom_pipelines"} or kernel:
            raise ValueError(
                f"{file} names code of its own ({name}), which is never run. Take a model that needs none."
            )


def _check_sizes(file: Path, settings: Mapping[str, Any]) -> None:
    """Refuse numbers that no model has before anything is made of so many parts."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _check_sizes(file, value)
        elif isinstance(value, int):
            most = MOST_LAYERS if name.endswith("layers") else MOST_UNITS
            if not -1 <= value <= most:
                raise ValueError(
                    f"{file}: expected {name} up to {most}, but found {value}. Copy or download it again."
                )


def _check_shapes(path: Path, model: AsrScopeForConditionalGeneration, stored: StoredTensors) -> None:
    """Hold the weights against the sizes that the configuration gives."""
    shapes = stored.shapes()
    for name, tensor in model.state_dict().items():
        expected, found = tuple(tensor.shape), shapes.get(name, tuple(tensor.shape))
        if found != expected:
            raise ValueError(
                f"{path}: the weights and config.json do not belong together ({name}: expected shape "
                f"{expected}, but found {found}). Copy or download all files of the model again, from one "
                "place."
            )
