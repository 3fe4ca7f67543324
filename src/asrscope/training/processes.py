"""The processes of one run: one, or those that ``torchrun`` or ``accelerate launch`` started."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list

__all__ = ["agree", "join_processes", "part_processes"]

T = TypeVar("T")


def join_processes() -> Accelerator:
    """Meet the other processes that a launcher started, on GPUs where there are any.

    Raises
    ------
    RuntimeError
        If a launcher started several processes that cannot find each other.
    """
    # The others wait while the first evaluates or reads a corpus, perhaps for hours.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), mixed_precision="no", kwargs_handlers=[patience]
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise RuntimeError(
            f"{started} processes were started, but this one sees {accelerator.num_processes}: "
            "start them with torchrun or accelerate launch"
        )
    return accelerator


def agree(make: Callable[[], T]) -> T:
    """Let the first process make something and hand it to all."""
    made = [make() if join_processes().is_main_process else None]
    found: T = broadcast_object_list(made)[0]
    return found


def part_processes() -> None:
    """Part from the other processes once all is done."""
    join_processes().end_training()
