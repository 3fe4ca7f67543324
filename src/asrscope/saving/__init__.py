"""Keep files and models: files are written so that nobody ever finds half of one.

A file is written beside its place and put there in one step: whoever reads it, or comes after a crash, finds
the old content or the new one. In a folder one process works at a time. Beside this, the modules here keep
where each weight of a model comes from, and write a model for others.
"""

import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["alone_in", "cache_folder", "in_turn", "write_bytes", "write_text", "written"]

_DEVICES = (Path("/dev"), Path("/dev/fd"))  # /dev/stdout may lead to a file, which must not be replaced


def cache_folder() -> Path:
    """Say where to keep what is made or fetched once: ``ASRSCOPE_CACHE``, or the user's cache."""
    said = os.environ.get("ASRSCOPE_CACHE")
    return Path(said or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "asrscope").expanduser()


@contextmanager
def written(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing; it takes its place at the end of the block, if that ends well.

    Parameters
    ----------
    path : str or Path
        Where it goes. A link is followed, the mode of a file that is replaced is kept. A device or a pipe is
        written to directly.

    Yields
    ------
    binary file object
        Takes the content.

    Raises
    ------
    OSError
        If it cannot be written, with the reason: no such folder, no permission, no space. What was there
        before is still there then.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode if path.exists() else None
        if (mode is not None and not stat.S_ISREG(mode)) or path.absolute().parent in _DEVICES:
            with path.open("wb") as file:  # raises for a folder
                yield file
            return
        target = Path(os.path.realpath(path))
        # A name that no other process or thread has, and short enough for every system.
        partial = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.part")
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # some file systems notice only now that they are full
            if mode is not None:
                partial.chmod(stat.S_IMODE(mode))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch raises errors of its own
        if not isinstance(cause, OSError) or cause.errno is None:
            raise
        raise type(cause)(
            f"{path}: cannot be written ({cause.strerror}): make room, or choose another place"
        ) from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file in one step, as `written` does.

    Parameters
    ----------
    path : str or Path
        Where it goes.
    content : bytes
        All of it.
    """
    with written(path) as file:
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 in one step, as `written` does.

    Parameters
    ----------
    path : str or Path
        Where it goes.
    text : str
        All of it; its line ends are kept.
    """
    write_bytes(path, text.encode("utf-8"))


def alone_in(folder: str | Path) -> "FileLock":
    """Claim a folder for this process, until it ends or releases the lock.

    Parameters
    ----------
    folder : str or Path
        Gets a file ``.lock``. The system forgets the claim of a process that has ended, however it did.

    Returns
    -------
    filelock.FileLock
        Held; call its ``release``. A second claim of the same process is granted.

    Raises
    ------
    OSError
        If another process works there, or the folder cannot be written to.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - slow, and commands ask only for the cache

    folder = Path(folder)
    lock = FileLock(folder / ".lock", is_singleton=True, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise OSError(
            f"{folder}: another process is at work in this folder: wait for its end, or give another folder"
        ) from error
    except OSError as error:
        raise type(error)(
            f"{folder}: cannot be written to ({error.strerror}): make room, or choose another place"
        ) from error
    return lock


@contextmanager
def in_turn(folder: str | Path) -> Iterator[None]:
    """Write several files that belong together, after every thread and process of this machine that is at it.

    Parameters
    ----------
    folder : str or Path
        Where they go; it is created. Nothing but them lies in it: the lock is in the system's temporary
        folder.

    Yields
    ------
    None
        When it is one's turn: who asks for one now waits for the end of the block.
    """
    from filelock import FileLock  # noqa: PLC0415 - as above

    Path(folder).mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:32]
    user = getattr(os, "getuid", int)()  # each has files of their own there
    with FileLock(Path(tempfile.gettempdir(), f"asrscope-{user}-{name}.lock")):
        yield
