"""The files of a checkpoint: its settings, and its tensors where they lie, read one at a time."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers.utils import logging

__all__ = ["CHECKPOINTS", "INDEX", "StoredTensors", "name_of", "no_progress_bars", "read_settings"]

CHECKPOINTS = Path(__file__).parents[1] / "data" / "checkpoints"  # in the package
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def name_of(path: Path) -> str:
    """Name a place; what the package holds is named alike everywhere, so that traces can be compared."""
    return f"asrscope/data/checkpoints/{path.name}" if path.parent == CHECKPOINTS else str(path)


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
        If it is no JSON object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{file} is missing. Copy or download all files of the model.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: expected JSON ({error}). Copy or download it again.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is damaged: expected a JSON object. Copy or download it again.")
    return found


class StoredTensors(Mapping[str, Tensor]):
    """Tensors by name, each read from its file when it is asked for, and not kept.

    What is not asked for, such as the decoder of a Whisper model whose encoder alone is wanted, takes no
    memory.

    Parameters
    ----------
    files : mapping of str to (Path, str)
        For each name the file and the name within it.
    """

    def __init__(self, files: Mapping[str, tuple[Path, str]]) -> None:
        self._files = dict(files)
        self._open: dict[Path, Any] = {}

    @classmethod
    def of(cls, path: Path, wanted: Callable[[str], bool] = lambda _: True) -> "StoredTensors":
        """Find the tensors of a file or of a checkpoint's directory.

        Parameters
        ----------
        path : Path
            A safetensors file, or a directory with ``model.safetensors``, with shards and their index, or
            with any safetensors files.
        wanted : callable
            Whether a tensor of this name is looked for. Shards that hold none of them may be missing.

        Returns
        -------
        StoredTensors
            The tensors that are wanted.

        Raises
        ------
        FileNotFoundError
            If there are no weights, a shard is missing, or the weights are pickled.
        ValueError
            If a file is cut short or damaged, or lacks what the index promises.
        """
        index = path / INDEX
        if path.is_dir() and index.is_file():
            return cls._sharded(index, wanted)
        whole = path / "model.safetensors"
        files = (
            [path]
            if not path.is_dir()
            else [whole]
            if whole.is_file()
            else sorted(path.glob("*.safetensors"))
        )
        if not files:
            raise _no_weights(path)
        found = cls({})
        for file in files:
            found._files |= {name: (file, name) for name in _names(found._handle(file)) if wanted(name)}
        return found

    @classmethod
    def _sharded(cls, index: Path, wanted: Callable[[str], bool]) -> "StoredTensors":
        try:
            places: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError) as error:
            raise ValueError(
                f"{index} is damaged: expected a weight_map of tensors and files. Copy or download it again."
            ) from error
        found = cls({name: (index.parent / place, name) for name, place in places.items() if wanted(name)})
        for shard in sorted({file for file, _ in found._files.values()}):
            if not shard.is_file():
                raise FileNotFoundError(
                    f"{shard} is missing, which {index.name} names. Copy or download all files of the model."
                )
            inside = set(_names(found._handle(shard)))
            promised = {name for name, (file, _) in found._files.items() if file == shard}
            if lacking := sorted(promised - inside):
                raise ValueError(
                    f"{shard} lacks {lacking[0]}, which {index.name} says it holds. "
                    "Copy or download both again, from one revision."
                )
        return found

    def __getitem__(self, name: str) -> Tensor:
        file, key = self._files[name]
        tensor: Tensor = self._handle(file).get_tensor(key)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Give the shape of every tensor, from the files' headers."""
        return {
            name: tuple(self._handle(file).get_slice(key).get_shape())
            for name, (file, key) in self._files.items()
        }

    def part(self, *prefixes: str) -> "StoredTensors":
        """Pick the tensors whose names begin with one of the prefixes, named as within that part.

        Parameters
        ----------
        *prefixes : str
            In the order in which they are looked for; the first that occurs counts.

        Returns
        -------
        StoredTensors
            The part, empty if none of the prefixes occurs.
        """
        for prefix in prefixes:
            inside = {
                name.removeprefix(prefix): place
                for name, place in self._files.items()
                if name.startswith(prefix)
            }
            if inside:
                return StoredTensors(inside)
        return StoredTensors({})

    def without(self, *names: str) -> "StoredTensors":
        """Leave out tensors of these names."""
        return StoredTensors({name: place for name, place in self._files.items() if name not in names})

    def joined(self, prefix: str, other: "StoredTensors") -> "StoredTensors":
        """Add the tensors of another checkpoint under a prefix."""
        return StoredTensors(self._files | {prefix + name: place for name, place in other._files.items()})

    def _handle(self, file: Path) -> Any:
        if file not in self._open:
            try:
                self._open[file] = safe_open(file, framework="pt")
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{file}: there is no such file: check the path") from error
            except (SafetensorError, OSError) as error:
                raise ValueError(
                    f"{file} is cut short, damaged or no safetensors file ({error}). "
                    "Compare its size with the original, and copy or download it again."
                ) from error
        return self._open[file]


def _names(handle: Any) -> list[str]:
    return list(handle.keys())  # it is no mapping, only has such a method


def _no_weights(path: Path) -> FileNotFoundError:
    """Say what is missing; weights that would run code when they are read do not count."""
    pickled = sorted(file.name for pattern in PICKLED for file in path.glob(pattern))
    if pickled:
        return FileNotFoundError(
            f"{path} holds weights only as {pickled[0]}, which can run code when it is read, so it is never "
            "loaded. Save them again with save_pretrained, which writes model.safetensors, or take a "
            "revision that has it."
        )
    return FileNotFoundError(f"{path} holds no *.safetensors file. Make sure that it is a saved model.")


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
