"""What commands take and give: recordings by path or name, and files to write."""

import os
from pathlib import Path

from asrscope.audio.samples import CLIPS, Sample, load_samples
from asrscope.cli.console import complain, one_line

__all__ = ["check_writable", "find_recording", "find_recordings", "named"]


def find_recording(clip: str) -> tuple[Path, Sample | None]:
    """Find one clip: a path, or else a shipped sample of that name."""
    path = Path(clip)
    try:
        if not path.exists() or path.resolve().parent == CLIPS:
            for sample in load_samples():
                if clip == sample.name or path.resolve() == sample.path:
                    return sample.path, sample
    except (OSError, RuntimeError):  # links in a circle, a name too long: the loader will say so
        pass
    return path, None


def find_recordings(clips: list[str]) -> tuple[list[Path], bool]:
    """List the recordings asked for; the flag says whether one of the arguments held none."""
    from asrscope.audio import find_audio

    found: list[Path] = []
    failed = False
    for clip in clips:
        if clip == "samples" and not Path(clip).exists():
            found += [sample.path for sample in load_samples()]
        elif _is_folder(clip):
            inside = find_audio(clip)
            if not inside:
                complain(f"error: {clip}: expected recordings in this folder, but found none")
                failed = True
            found += inside
        else:
            found.append(find_recording(clip)[0])
    return found, failed


def check_writable(path: Path | None) -> None:
    """Find out before the work, not after it, that a result has nowhere to go."""
    if path is not None and not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}: create it first")
    if path is not None and path.is_dir():
        raise IsADirectoryError(f"{path}: this is a folder: give the name of a file")
    if path is not None and not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise PermissionError(f"{path}: no permission to write this file: choose another place")


def named(path: Path, warning: str) -> str:
    """Put the file's name before a warning that does not begin with it."""
    return one_line(warning if warning.startswith(str(path)) else f"{path}: {warning}")


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:  # a name too long
        return False
