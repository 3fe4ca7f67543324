"""How much memory can be had, so that what does not fit is refused before it is begun."""

from pathlib import Path

import psutil

__all__ = ["free_memory"]

CONTAINER = Path("/sys/fs/cgroup")  # where Linux keeps the limits of a container, as seen from inside
OWN_GROUP = Path("/proc/self/cgroup")  # which group in it the process is in, that of a job say


def free_memory() -> int:
    """Tell how much memory can be had without swapping.

    Returns
    -------
    int
        Bytes: of the machine, or of the container that the process runs in, if that has less.
    """
    return int(min(psutil.virtual_memory().available, _left_in_container()))


def _left_in_container() -> int | float:
    """Bytes below the limits that control groups set; infinity where they set none."""
    try:
        lines = OWN_GROUP.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # no Linux
        lines = []
    group = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder = CONTAINER / group
    groups = [folder, *folder.parents]  # every group around the own one may have a limit
    return min(map(_left_in_group, groups[: groups.index(CONTAINER) + 1]))


def _left_in_group(group: Path) -> int | float:
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):  # no such file, or "max"
        return float("inf")
    # Cached files count as used, and are given up when memory is wanted.
    cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    return max(0, limit - used + cached)
