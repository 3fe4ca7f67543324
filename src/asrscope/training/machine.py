"""Name the machine that trains or measures, and the hours it took."""

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from asrscope.files import write_text

__all__ = ["add_hours", "cores", "hours", "processor"]


def processor(device: torch.device | None = None) -> str:
    """Name what computes.

    Parameters
    ----------
    device : torch.device, optional
        Where torch computes; default: the CPU.

    Returns
    -------
    str
        The maker's name of the GPU or the CPU, or of the CPU's architecture if nothing better is known.
    """
    if device is not None and device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # other systems than Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Count the cores that this process may use."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


@contextmanager
def add_hours(folder: Path) -> Iterator[None]:
    """Add the time that the block takes to that of earlier runs in a folder, if it is broken off as well.

    Parameters
    ----------
    folder : Path
        Keeps the sum in ``hours.json``.
    """
    before, start = hours(folder) or 0.0, time.perf_counter()
    try:
        yield
    finally:
        folder.mkdir(parents=True, exist_ok=True)
        found = {"hours": round(before + (time.perf_counter() - start) / 3600, 4)}
        write_text(folder / "hours.json", json.dumps(found) + "\n")


def hours(folder: Path) -> float | None:
    """Read what `add_hours` added up in a folder; None if nothing."""
    path = folder / "hours.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["hours"]) if path.exists() else None
