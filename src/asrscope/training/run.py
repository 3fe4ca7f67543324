"""What the three training loops share: a schedule, a log, checkpoints that resume exactly."""

import copy
import ctypes
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["Run", "keep_memory", "learning_rate_factor", "pad_batch"]

WARMUP = 500  # steps over which the learning rate rises, in a run of at least twenty times as many


def keep_memory() -> None:
    """Make the allocator keep freed blocks, and oneDNN its kernels, instead of getting both anew each step.

    Every step allocates and frees the same few megabytes. By default glibc hands such blocks back to the
    system and faults in fresh pages, which showed as the largest single item of an encoder step under py-spy.
    Batches come in a few hundred shapes, and oneDNN forgets its compiled kernels beyond a thousand.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(-3, 32 * 1024 * 1024)  # M_MMAP_THRESHOLD, at its largest
            libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def learning_rate_factor(step: int, steps: int, warmup: int = WARMUP, flat: float = 0.4) -> float:
    """Warm up, hold, then fall in a straight line to zero.

    Parameters
    ----------
    step : int
        Optimizer steps done.
    steps : int
        Steps of the whole run.
    warmup : int
        Steps of the linear warm-up.
    flat : float
        Part of the run at the end of which the fall begins.
    """
    if step < warmup:
        return (step + 1) / warmup
    begin = max(warmup, flat * steps)
    return 1.0 if step < begin else max(0.0, (steps - step) / (steps - begin))


class Run:
    """One training run in one folder: optimizer, JSON-lines log, checkpoint.

    Parameters
    ----------
    folder : Path
        Holds ``checkpoint.pt`` and ``log.jsonl``.
    model : torch.nn.Module
        What is trained and checkpointed; frozen parameters are neither updated nor stored.
    steps : int
        Steps of the whole run; the learning rate reaches zero there.
    learning_rate : float
        Its highest value.
    seed : int
        Seeds data order, augmentation and dropout, each as a function of the step, so that a resumed run
        repeats what an unbroken one would have done.
    """

    def __init__(self, folder: Path, model: nn.Module, steps: int, learning_rate: float, seed: int) -> None:
        keep_memory()
        self.folder, self.model, self.steps, self.seed = folder, model, steps, seed
        folder.mkdir(parents=True, exist_ok=True)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Forward and backward passes run on a bfloat16 copy; the optimizer keeps full precision.
        self.compute = copy.deepcopy(model).bfloat16()
        self._copies = [parameter for parameter in self.compute.parameters() if parameter.requires_grad]
        self.learning_rate = learning_rate
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.step = 0
        self.seconds = 0.0  # of training so far, over all sessions
        self.utterances = 0
        self._since = time.perf_counter()
        self._window: list[float] = []
        if self.checkpoint.exists():
            self._load()

    @property
    def checkpoint(self) -> Path:
        """The file that the run resumes from."""
        return self.folder / "checkpoint.pt"

    def _names(self) -> list[str]:
        return [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        own = self.model.state_dict()
        for name in self._names():
            own[name].copy_(state["model"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.utterances = state["step"], state["seconds"], state["utterances"]

    def save(self) -> None:
        """Write the checkpoint so that a crash in the middle leaves the previous one whole."""
        own = self.model.state_dict()
        state = {
            "model": {name: own[name] for name in self._names()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "utterances": self.utterances,
        }
        temporary = self.checkpoint.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def begin_step(self) -> torch.Generator:
        """Seed everything that this step draws, set the learning rate, and hand out the step's generator."""
        torch.manual_seed(self.seed * 1_000_003 + self.step)
        with torch.no_grad():
            for low, full in zip(self._copies, self.parameters, strict=True):
                low.copy_(full)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * learning_rate_factor(
                self.step, self.steps, warmup=min(WARMUP, self.steps // 20)
            )
        return torch.Generator().manual_seed(self.seed * 1_000_033 + self.step)

    def end_step(self, loss: torch.Tensor, utterances: int) -> None:
        """Backpropagate and update."""
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        for low, full in zip(self._copies, self.parameters, strict=True):
            full.grad = None if low.grad is None else low.grad.float()
            low.grad = None
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        # One broken batch must not end a night of training: it is logged and skipped.
        if torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now
        self.step += 1
        self.utterances += utterances
        self._window.append(float(loss.detach()))
        if self.step % 50 == 0 or self.step == self.steps:
            self.log(
                loss=round(sum(self._window) / len(self._window), 4),
                gradient_norm=round(float(norm), 3),
                learning_rate=self.optimizer.param_groups[0]["lr"],
            )
            self._window.clear()

    def log(self, **values: Any) -> None:
        """Append one line to ``log.jsonl``."""
        line = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "utterances": self.utterances,
            "utterances_per_second": round(self.utterances / max(self.seconds, 1e-9), 1),
            **values,
        }
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._since = time.perf_counter()  # time spent on evaluation is not training time

    def batches(self, lengths: list[int], budget: int) -> Iterator[list[int]]:
        """Draw batches of items of similar length, from where the run stands to its end.

        Parameters
        ----------
        lengths : list of int
            Length of every item.
        budget : int
            Most length, padding included, that a batch may hold.

        Yields
        ------
        list of int
            Indices into ``lengths``.
        """
        seen, epoch = 0, 0
        while True:
            order = list(range(len(lengths)))
            rng = random.Random(f"{self.seed}-{epoch}")
            rng.shuffle(order)
            found: list[list[int]] = []
            # Sorting short stretches keeps batches both even and random.
            for first in range(0, len(order), 2000):
                batch: list[int] = []
                for index in sorted(order[first : first + 2000], key=lambda index: lengths[index]):
                    if batch and lengths[index] * (len(batch) + 1) > budget:
                        found.append(batch)
                        batch = []
                    batch.append(index)
                if batch:
                    found.append(batch)
            rng.shuffle(found)
            for batch in found:
                if self.step >= self.steps:
                    return
                if seen >= self.step:
                    yield batch
                seen += 1
            epoch += 1


def pad_batch(
    arrays: list[np.ndarray], value: int = 0, multiple: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack arrays of different lengths, shape (batch, longest, ...), and tell where they hold data.

    The longest is rounded up to a ``multiple``: fewer shapes, fewer kernels to compile.
    """
    longest = -(-max(map(len, arrays)) // multiple) * multiple
    shape = (len(arrays), longest, *arrays[0].shape[1:])
    padded = np.full(shape, value, dtype=arrays[0].dtype)
    mask = np.zeros(shape[:2], dtype=bool)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
        mask[row, : len(array)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)
