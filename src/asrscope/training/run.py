"""What the three training loops share: processes, a schedule, a log, checkpoints that resume exactly."""

import ctypes
import json
import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asrscope.files import alone_in, remove_partial, write_text, written
from asrscope.training.batches import even_batches, seeded_generator
from asrscope.training.curves import compact, end_last_line, read_log
from asrscope.training.machine import processor
from asrscope.training.options import Options, compile_layers, recompute_layers, working_copy
from asrscope.training.processes import agree, join_processes

__all__ = ["Run", "Watch", "keep_memory", "learning_rate_factor"]

WARMUP = 500  # steps over which the learning rate rises, in a run of at least twenty times as many
LOG_EVERY = 50  # steps between two lines of the log, in a run of at least twenty times as many

Watch = Callable[["Run", dict[str, Any] | None], None]


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
    """One training run in one folder: processes, optimizer, JSON-lines log, checkpoint.

    A batch and all that is drawn at random for it are functions of the seed and the step. Processes and turns
    of accumulation merely divide the batch between them, so any number of either computes the same gradient.
    Gradients are summed over the processes by hand, since a loop scales its losses by the whole batch:
    unequal shares weigh what they should, and a process without a share may sit a step out.

    Parameters
    ----------
    folder : Path
        Holds ``checkpoint.pt`` and ``log.jsonl``, which the first process writes.
    model : torch.nn.Module
        What is trained and checkpointed; frozen parameters are neither updated nor stored.
    steps : int
        Steps of the whole run; the learning rate reaches zero there.
    learning_rate : float
        Its highest value.
    seed : int
        Seeds data order, augmentation and dropout, each as a function of the step, so that a resumed run
        repeats what an unbroken one would have done.
    options : Options
        How to compute it.
    watch : callable, optional
        Called in the first process with the run, after each step with None and with each line of the log.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        steps: int,
        learning_rate: float,
        seed: int,
        *,
        options: Options | None = None,
        watch: Watch | None = None,
    ) -> None:
        keep_memory()
        self.accelerator = join_processes()
        self.device: torch.device = self.accelerator.device
        self.options = options or Options()
        self.options.check(self.device)
        self.folder, self.steps, self.seed = folder, steps, seed
        self.is_main: bool = self.accelerator.is_main_process
        self._watch = watch if self.is_main else None
        folder.mkdir(parents=True, exist_ok=True)
        self.model = model.to(self.device)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        # Forward and backward passes run on a bfloat16 copy; the optimizer keeps full precision.
        self.dtype = torch.bfloat16 if self.options.precision == "bf16" else torch.float32
        self.compute = working_copy(model, self.dtype) if self.dtype == torch.bfloat16 else model
        self._copies = [parameter for parameter in self.compute.parameters() if parameter.requires_grad]
        if self.options.checkpoint_layers:
            recompute_layers(self.compute)
        if self.options.compile:
            compile_layers(self.compute)
        self.scaler = torch.amp.GradScaler(self.device.type) if self.options.precision == "fp16" else None
        self.learning_rate = learning_rate
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.step = 0
        self.seconds = 0.0  # of training so far, over all sessions
        self.utterances = 0
        self.loss = math.nan  # of the last step
        self._shares = torch.zeros((), device=self.device)  # of this step's loss
        self._window: list[float] = []
        self._skipped = 0
        if self.is_main:
            self._lock = alone_in(folder)
            remove_partial(self.checkpoint)
            end_last_line(folder / "log.jsonl")
        self._resume()
        self._since = time.perf_counter()

    @property
    def checkpoint(self) -> Path:
        """The file that the run resumes from."""
        return self.folder / "checkpoint.pt"

    def _names(self) -> list[str]:
        return [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]

    def _resume(self) -> None:
        def read() -> Any:
            exists = self.checkpoint.exists()
            return torch.load(self.checkpoint, map_location="cpu", weights_only=True) if exists else None

        state = agree(read)  # another host may not see the file
        if state is None:
            return
        own = self.model.state_dict()
        sizes = {name: tuple(own[name].shape) for name in self._names()}
        found = {name: tuple(stored.shape) for name, stored in state["model"].items()}
        if sizes != found:
            changed = sorted(name for name in sizes | found if sizes.get(name) != found.get(name))
            raise ValueError(
                f"{self.checkpoint} is of a model with other parts or sizes ({changed[0]}: expected "
                f"{sizes.get(changed[0])}, but found {found.get(changed[0])}). Make sure to give the recipe "
                "it was started with, or another folder"
            )
        for name in sizes:
            own[name].copy_(state["model"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None and "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds, self.utterances = state["step"], state["seconds"], state["utterances"]

    def save(self) -> None:
        """Write the checkpoint so that a crash in the middle leaves the previous one whole."""
        if not self.is_main:
            return
        own = self.model.state_dict()
        state = {
            "model": {name: own[name] for name in self._names()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "utterances": self.utterances,
        }
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        with written(self.checkpoint) as file:
            torch.save(state, file)

    def begin_step(self) -> None:
        """Seed dropout, take over the updated parameters, and set the learning rate."""
        torch.manual_seed(self.seed * 1_000_003 + self.step + 7919 * self.accelerator.process_index)
        with torch.no_grad():
            for low, full in zip(self._copies, self.parameters, strict=True):
                if low is not full:
                    low.copy_(full)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * learning_rate_factor(
                self.step, self.steps, warmup=min(WARMUP, self.steps // 20)
            )

    def generator(self, item: int) -> torch.Generator:
        """Make the generator of one item of this step's batch: the same, whichever process has the item."""
        return seeded_generator(self.seed, self.step, item)

    def parts(self, items: int, group: int = 1) -> list[slice]:
        """Divide a batch between the processes and the turns of each.

        Parameters
        ----------
        items : int
            Length of the whole batch.
        group : int
            So many neighbors stay together.

        Returns
        -------
        list of slice
            What this process has to do, one slice a turn.
        """
        processes, turns = self.accelerator.num_processes, self.options.accumulate
        groups = -(-items // group)
        edges = [
            min(items, group * (groups * n // (processes * turns))) for n in range(processes * turns + 1)
        ]
        first = turns * self.accelerator.process_index
        own = pairwise(edges[first : first + turns + 1])
        return [slice(start, stop) for start, stop in own if start < stop]

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the forward pass."""
        return torch.autocast(self.device.type, torch.float16, enabled=self.scaler is not None)

    def backward(self, share: torch.Tensor) -> None:
        """Backpropagate one part's share of the loss; the shares of all parts add up to the batch's loss."""
        self._shares += share.detach()
        scaled = share if self.scaler is None else self.scaler.scale(share)
        scaled.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        for low, full in zip(self._copies, self.parameters, strict=True):
            if low is not full and low.grad is not None:
                # Sums are kept in full precision: small shares would be lost in bfloat16.
                full.grad = low.grad.float() if full.grad is None else full.grad + low.grad
                low.grad = None

    def end_step(self, utterances: int) -> None:
        """Sum the gradients of all processes and update; ``utterances`` are those of the whole batch."""
        self.loss = self._reduce()
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = float(nn.utils.clip_grad_norm_(self.parameters, 1.0))
        # One broken batch must not end a night of training: it is counted in the log and skipped.
        if self.scaler is not None:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now
        self.step += 1
        self.utterances += utterances
        if math.isfinite(norm) and math.isfinite(self.loss):
            self._window.append(self.loss)
        else:
            self._skipped += 1
        if self._watch is not None:
            self._watch(self, None)
        if self.step % max(1, min(LOG_EVERY, self.steps // 20)) == 0 or self.step == self.steps:
            self._log_window(norm)

    def _reduce(self) -> float:
        """Sum gradients and losses over the processes."""
        shares, self._shares = self._shares, torch.zeros((), device=self.device)
        if self.accelerator.num_processes > 1:
            # One message: every gradient, whether there is one at all, and the loss.
            held = [float(parameter.grad is not None) for parameter in self.parameters]
            gradients = [
                torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in self.parameters
            ]
            tail = torch.tensor(held, device=self.device)
            summed = self.accelerator.reduce(torch.cat([*gradients, tail, shares[None]]), "sum")
            *gradients, tail, shares = summed.split([p.numel() for p in self.parameters] + [len(held), 1])
            for parameter, gradient, holders in zip(self.parameters, gradients, tail.tolist(), strict=True):
                parameter.grad = gradient.view_as(parameter) if holders else None
        return float(shares)

    def _log_window(self, norm: float) -> None:
        values: dict[str, Any] = {}
        if self._window:
            values["loss"] = round(sum(self._window) / len(self._window), 4)
        if math.isfinite(norm):
            values["gradient_norm"] = round(norm, 3)
        if self._skipped:
            values["skipped"] = self._skipped
        self.log(**values, learning_rate=self.optimizer.param_groups[0]["lr"])
        self._window, self._skipped = [], 0

    def log(self, **values: Any) -> None:
        """Append one line to ``log.jsonl``."""
        if self.is_main:
            line = {
                "step": self.step,
                "seconds": round(self.seconds, 1),
                "utterances": self.utterances,
                "utterances_per_second": round(self.utterances / max(self.seconds, 1e-9), 1),
                **values,
            }
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            if self._watch is not None:
                self._watch(self, line)
        self._since = time.perf_counter()  # time spent on evaluation is not training time

    def evaluate(self, measure: Callable[[], dict[str, float]]) -> None:
        """Let the first process measure the model, and log what it finds."""
        found = measure() if self.is_main else {}
        if found:
            self.log(**found)
        self._since = time.perf_counter()

    def finish(self, part: str, recipe: Any, write: Callable[[Path], None], **measured: Any) -> Path:
        """Save the trained part with its curve; the recipe comes last and marks it finished.

        Parameters
        ----------
        part : str
            Name of the folder in the run's own.
        recipe : dataclass instance
            What was trained.
        write : callable
            Writes the part into the folder it is called with.
        **measured
            More to be told by ``recipe.json``.

        Returns
        -------
        Path
            The folder of the part.
        """
        self.save()
        target = self.folder / part
        if self.is_main:
            target.mkdir(exist_ok=True)
            write(target)
            curve = compact(read_log(self.folder / "log.jsonl"))
            write_text(target / "training.json", json.dumps(curve) + "\n")
            made = {
                **asdict(recipe),
                "hours": round(self.seconds / 3600, 2),
                "utterances": self.utterances,
                "processes": self.accelerator.num_processes,
                "machine": processor(self.device),
                "threads": torch.get_num_threads(),
                "options": asdict(self.options),
                **measured,
            }
            write_text(target / "recipe.json", json.dumps(made, indent=2) + "\n")
            self._lock.release()
        self.accelerator.wait_for_everyone()
        return target

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

        Raises
        ------
        ValueError
            If this process sees other items than the first one.
        """
        own = zlib.crc32(np.asarray(lengths, dtype=np.int64).tobytes())
        count, theirs = agree(lambda: (len(lengths), own))
        if own != theirs:
            raise ValueError(
                f"process {self.accelerator.process_index} sees other data than the first "
                f"({len(lengths)} against {count} items). Make sure that all hosts share the folder"
            )
        for number, batch in enumerate(even_batches(lengths, budget, self.seed)):
            if self.step >= self.steps:
                return
            if number >= self.step:
                yield batch
