"""Speech-language models that transformers ships, with their processors."""

import re
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, AutoProcessor, PreTrainedConfig, PreTrainedModel, ProcessorMixin
from transformers.utils.hub import cached_file, extract_commit_hash

from asrscope.loading.checkpoints import model_type

__all__ = ["is_native", "load_native"]

Native = tuple[PreTrainedModel, ProcessorMixin]


def load_native(name_or_path: str | Path, *, revision: str | None = None, **options: Any) -> Native:
    """Load a speech-language model of transformers, from a directory or the Hub, with its processor.

    Parameters
    ----------
    name_or_path : str or Path
        Directory or Hub repository.
    revision : str, optional
        Commit, branch or tag of the repository.
    **options
        Passed on to the model's ``from_pretrained``: ``device_map``, ``dtype`` and the like. Without
        ``dtype`` the weights keep the type they are stored in.

    Returns
    -------
    PreTrainedModel, ProcessorMixin
        Of the classes that the checkpoint names. Only safetensors are read, and no code of it runs.

    Raises
    ------
    ImportError
        If the processor needs a package that is not installed: Granite's needs torchaudio.
    OSError
        If there is no such directory or repository, or it is not complete.
    ValueError
        If the checkpoint is of a class that transformers does not have.
    """
    config = AutoConfig.from_pretrained(name_or_path, revision=revision)
    names = config.architectures or []
    model_class = getattr(transformers, names[0], None) if names else None
    if model_class is None:
        raise ValueError(
            f"{name_or_path} must name a model class of transformers in its config.json (architectures), but "
            f"found {names}. Make sure that it is a checkpoint for transformers {transformers.__version__}."
        )
    options = {"dtype": "auto", "use_safetensors": True, **options}
    model = model_class.from_pretrained(name_or_path, revision=revision, **options)
    if not Path(name_or_path).exists():  # transformers forgets which commit it took; the cache knows it
        where = cached_file(str(name_or_path), "config.json", revision=revision, local_files_only=True)
        model.config._commit_hash = extract_commit_hash(where, None)
    processor = AutoProcessor.from_pretrained(name_or_path, revision=revision)
    return model.eval(), processor


def is_native(name_or_path: str | Path) -> bool:
    """Tell whether a directory or Hub repository holds a model of transformers, not one of this package.

    Parameters
    ----------
    name_or_path : str or Path
        Directory, Hub repository, or the name of a preset, which is neither.

    Returns
    -------
    bool
        False also of what does not exist on this machine and cannot be the name of a repository.

    Raises
    ------
    OSError
        If a repository cannot be reached.
    """
    path = Path(name_or_path)
    if path.exists():
        kind = model_type(path)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", str(name_or_path)):
        try:
            kind = PreTrainedConfig.get_config_dict(str(name_or_path))[0].get("model_type")
        except OSError as error:
            raise OSError(
                f"{name_or_path} is no directory here, and the Hub could not be asked for it. Make sure that "
                "the name is right and the Hub can be reached, or give a directory."
            ) from error
    else:
        return False
    return kind is not None and not str(kind).startswith("asrscope")
