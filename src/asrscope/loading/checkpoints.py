"""The files of a checkpoint: read where they lie, and looked over before anything large is made of them."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers.utils import logging

from asrscope.audio import SAMPLE_RATE, free_memory
from asrscope.encoder import lead_positions
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.saving.provenance import CLAIMS

__all__ = [
    "CHECKPOINTS",
    "INDEX",
    "agree",
    "check_checkpoint",
    "check_finite",
    "model_type",
    "name_of",
    "no_progress_bars",
    "part_of",
    "read_processor",
    "read_settings",
    "read_tensors",
    "readable",
]

CHECKPOINTS = Path(__file__).parents[1] / "data" / "checkpoints"  # in the package
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SETTINGS = (  # that a saved model may have
    "config.json",
    "generation_config.json",
    "processor_config.json",
    CLAIMS,
    "tokenizer.json",
    "tokenizer_config.json",
)
LARGEST_FILE = 2**28  # bytes of settings; tokenizers of large vocabularies have some 2**24
MOST_LAYERS = 1_000  # the largest models have some hundred
MOST_UNITS = 2**24  # of any other size in a configuration
AGAIN = "Copy or download all files of the model, from one place and one revision."


def name_of(path: Path) -> str:
    """Name a place; what the package holds is named alike everywhere, so that traces can be compared."""
    return f"asrscope/data/checkpoints/{path.name}" if path.parent == CHECKPOINTS else str(path)


# Reading ----------------------------------------------------------------------------------------------------


def read_settings(file: Path) -> dict[str, Any]:
    """Read a JSON file of a checkpoint.

    Parameters
    ----------
    file : Path
        ``config.json``, for example.

    Returns
    -------
    dict
        What it says.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is far too large, or no JSON object.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing. {AGAIN}")
    with readable(file, "it is damaged: expected JSON"):
        if file.stat().st_size > LARGEST_FILE:
            raise ValueError("far too large for settings")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("expected a JSON object")
    return found


def model_type(folder: Path) -> Any:
    """Say which kind of model the config.json in a folder names; None if there is none that can be read."""
    try:
        return read_settings(folder / "config.json").get("model_type")
    except (OSError, ValueError):
        return None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Find the tensors of a file or of a checkpoint's directory.

    They are mapped from their files: what nobody looks at, such as the decoder of a Whisper model whose
    encoder alone is wanted, takes no memory.

    Parameters
    ----------
    path : Path
        A safetensors file, or a directory with ``model.safetensors``, with shards and their index, or with
        any safetensors files.

    Returns
    -------
    dict of str to torch.Tensor
        All of them, by name.

    Raises
    ------
    FileNotFoundError
        If there are no weights, a shard is missing, or the weights are pickled.
    ValueError
        If a file is cut short or damaged, or lacks what the index promises.
    """
    if not (path / INDEX).is_file():
        return {name: tensor for file in _weights(path) for name, tensor in _map(file).items()}
    with readable(path / INDEX, "it is damaged: expected a weight_map of tensors and files"):
        stated = read_settings(path / INDEX)["weight_map"]
        places = {name: str(shard) for name, shard in stated.items()}
    for shard in sorted(set(places.values())):
        if not (path / shard).is_file():
            raise FileNotFoundError(f"{path / shard} is missing, which {INDEX} names. {AGAIN}")
    mapped = {shard: _map(path / shard) for shard in set(places.values())}
    for name, shard in sorted(places.items()):
        if name not in mapped[shard]:
            raise ValueError(
                f"{path / shard} lacks {name}, which {INDEX} says it holds. "
                "Copy or download both again, from one revision."
            )
    return {name: mapped[shard][name] for name, shard in places.items()}


def part_of(tensors: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Pick the tensors whose names begin with one of the prefixes, named as within that part.

    Of the prefixes the first that occurs counts; nothing if none of them does.
    """
    for prefix in prefixes:
        if inside := [name for name in tensors if name.startswith(prefix)]:
            return {name.removeprefix(prefix): tensors[name] for name in inside}
    return {}


def _map(file: Path) -> dict[str, Tensor]:
    with readable(file, "it is cut short, damaged or no safetensors file"):
        tensors: dict[str, Tensor] = load_file(file)
    return tensors


def _weights(path: Path) -> list[Path]:
    """List the files with weights; those that would run code when they are read do not count."""
    if not path.is_dir():
        return [path]
    whole = path / "model.safetensors"
    if files := [whole] if whole.is_file() else sorted(path.glob("*.safetensors")):
        return files
    pickled = sorted(file.name for pattern in PICKLED for file in path.glob(pattern))
    if pickled:
        raise FileNotFoundError(
            f"{path} holds weights only as {pickled[0]}, which can run code when it is read, so it is never "
            "loaded. Save them again with save_pretrained, which writes model.safetensors, or take a "
            "revision that has it."
        )
    raise FileNotFoundError(f"{path} holds no *.safetensors file. Make sure that it is a saved model.")


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
    extractor, samples = processor.feature_extractor, round(config.window_seconds * SAMPLE_RATE)
    agree(path, "mel bands", config.audio_config.num_mel_bins, extractor.feature_size)
    agree(path, "samples in a window", samples, extractor.n_samples)
    agree(path, "stack_factor", config.stack_factor, processor.stack_factor)
    agree(path, "pad_audio", config.pad_audio, processor.pad_audio)
    agree(path, "audio token", config.audio_token_id, processor.audio_token_id)
    agree(path, "tokens", range(config.text_config.vocab_size + 1), len(processor.tokenizer))
    return processor


# Checking ---------------------------------------------------------------------------------------------------


def agree(place: Path | str, what: str, expected: Any, found: Any, remedy: str = AGAIN) -> None:
    """Refuse files that say different things of one model.

    Parameters
    ----------
    place : Path or str
        Where they lie.
    what : str
        What they should agree on.
    expected, found : object
        What they say. A range is expected to hold what is found.
    remedy : str
        What to do.

    Raises
    ------
    ValueError
        If they do not agree.
    """
    if expected != found and not (isinstance(expected, range) and found in expected):
        most = f"at most {expected[-1]}" if isinstance(expected, range) else expected
        differ = f"{what}: expected {most}, but found {found}"
        raise ValueError(f"{place}: its files do not belong together ({differ}). {remedy}")


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
    for file in filter(Path.exists, (path / name for name in SETTINGS)):
        found = read_settings(file)
        _refuse_code(file, found)
        if file.name == CLAIMS and not all(_is_claim(claim) for claim in found.values()):
            raise ValueError(
                f"{file} is damaged: expected 'trained' and 'sha256' for each part. "
                "Copy or download it again."
            )
    settings = read_settings(path / "config.json")
    _check_sizes(path / "config.json", settings)
    stored = read_tensors(path)
    with readable(path / "config.json", "no model can be built of these settings"):
        config: AsrScopeConfig = AsrScopeConfig.from_dict(settings)
        seconds = config.trained_seconds
        if not (math.isfinite(seconds) and seconds > 0 and config.stack_factor > 0):
            raise ValueError(f"trained_seconds {seconds}, stack_factor {config.stack_factor}")
        lead_positions(config.audio_config)
        with torch.device("meta"):  # shapes without memory
            model = AsrScopeForConditionalGeneration(config)
    for name, tensor in model.state_dict().items():
        there = stored.get(name, tensor)  # what is missing will be drawn at random
        agree(path, name, f"shape {tuple(tensor.shape)}", f"shape {tuple(there.shape)}")
    needed = 4 * model.num_parameters()  # float32
    if needed > (free := free_memory()):
        raise ValueError(
            f"{path}: the model needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free. "
            "Close other programs, or load it on a larger machine."
        )
    return config


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that are no numbers.

    Parameters
    ----------
    path : Path
        What to name in the message.
    tensors : mapping of str to torch.Tensor
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
        raise ValueError(f"{path}: {otherwise} ({type(error).__name__}: {reason}). {AGAIN}") from error


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars while it loads."""
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


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
