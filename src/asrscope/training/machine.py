"""Name the machine that trains or measures."""

import os
import platform
from pathlib import Path

import torch

__all__ = ["cores", "processor"]


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
