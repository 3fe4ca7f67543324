"""What a training loop needs beside itself: batches that seed and step decide, a log, checkpoints.

A batch, and all that is drawn at random for it, are functions of the seed and the step. Processes and turns
of accumulation merely divide it, so that any number of either computes the same gradient, and a run that was
broken off goes on as if it had not been.
"""

import copy
import json
import math
import platform
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn

from asrscope.saving import alone_in, write_text
from asrscope.training.curves import compact, end_last_line, read_log

__all__ = [
    "Recipe",
    "Run",
    "Watch",
    "changed",
    "even_batches",
    "fill_batches",
    "join_processes",
    "quick_copy",
    "quick_precision",
]

STRETCH = 2000  # items that are sorted by length together
WARMUP = 500  # steps over which the learning rate rises, in a run of at least twenty times as many
LOG_EVERY = 50  # steps between two lines of the log, in a run of at least twenty times as many
PRECISIONS = ("auto", "bf16", "fp32", "fp16")
# What may differ from one start of a run to the next: how far it goes, and how it is computed.
FREE = ("steps", "precision", "accumulate", "save_every", "evaluate_every")

COUNTED = ("step", "seconds", "utterances")  # of a run, through all its turns

Watch = Callable[["Run", dict[str, Any] | None], None]
AnyRecipe = TypeVar("AnyRecipe")
Item = TypeVar("Item")
Part = TypeVar("Part", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the recipe of every training says.

    Parameters
    ----------
    steps : int
        Optimizer steps; the learning rate reaches zero at the end.
    learning_rate : float
        Its highest value.
    seed : int
        Of everything.
    precision : {"auto", "bf16", "fp32", "fp16"}
        Numbers of the forward and backward passes; weights and optimizer keep 32 bits. ``fp16`` needs a GPU.
        ``auto``: see `quick_precision`.
    accumulate : int
        Turns in which each process works through its share of a batch: more turns, less memory.
    save_every, evaluate_every : int
        Steps between checkpoints, and between measurements on what was held out.

    Raises
    ------
    ValueError
        If there is no such precision, or less than one turn.
    """

    steps: int = 2_000
    learning_rate: float = 1e-3
    seed: int = 0
    precision: str = "auto"
    accumulate: int = 1
    save_every: int = 500
    evaluate_every: int = 500

    def __post_init__(self) -> None:
        """Check the values."""
        if self.precision not in PRECISIONS:
            raise ValueError(f"expected a precision of {', '.join(PRECISIONS)}, but found {self.precision!r}")
        if self.accumulate < 1:
            raise ValueError(f"expected to accumulate over 1 turn or more, but found {self.accumulate}")


def changed(recipe: AnyRecipe, settings: Iterable[str]) -> AnyRecipe:
    """Replace settings of a recipe.

    Parameters
    ----------
    recipe : dataclass instance
        What to change.
    settings : iterable of str
        Each ``NAME=VALUE``.

    Returns
    -------
    dataclass instance
        The changed recipe.

    Raises
    ------
    ValueError
        If there is no such setting, or the value is of another type.
    """
    values = {field.name: getattr(recipe, field.name) for field in fields(recipe)}  # type: ignore[arg-type]
    known = {name: type(value) for name, value in values.items() if not is_dataclass(value)}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in known:
            raise ValueError(f"--set {setting}: expected one of {', '.join(known)}, but found {name!r}")
        kind = known[name]
        try:
            values[name] = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError) as error:
            expected = "true or false" if kind is bool else kind.__name__
            raise ValueError(f"--set {setting}: expected {expected}, but found {value!r}") from error
    return type(recipe)(**values)


def quick_precision(device: torch.device) -> str:
    """Choose ``bf16`` where the hardware itself multiplies such numbers, else ``fp32``.

    Elsewhere each is converted before it is used, which makes an encoder about a hundred times slower.
    """
    if device.type == "cuda":
        own = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # an older torch cannot tell; then it is the numbers that are quick everywhere
        able: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        own = any(able.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return "bf16" if own else "fp32"


def quick_copy(part: Part, precision: str) -> Part:
    """Copy a part of a model that is not trained, its parameters in short numbers if these are quick.

    Those that have the right numbers already are shared. Buffers keep their own: rounded, the rotary angles
    would be off by up to a tenth of a radian.
    """
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    shared: dict[int, object] = {id(p): p for p in part.parameters() if p.dtype == dtype}
    copied = copy.deepcopy(part, shared)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(dtype)
    return copied.eval()


def join_processes() -> PartialState:
    """Meet the other processes that a launcher started, on GPUs where there are any."""
    # The others wait while the first evaluates or reads a corpus, perhaps for hours.
    return PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))


class Run:
    """A model in training in one folder: processes, log, checkpoints.

    Parameters
    ----------
    folder : Path
        Holds ``step-NUMBER``, the last checkpoint, and ``log.jsonl``; the first process writes both.
    model : torch.nn.Module
        What is trained, and nothing else: frozen parts stay outside.
    optimizer : torch.optim.Optimizer
        Its learning rates are the highest ones of the run.
    recipe : Recipe
        How to train.
    made_of : mapping, optional
        What must be the same at each start: hashes of frozen parts, for example.
    watch : callable, optional
        Called in the first process with the run, after each step with None and with each line of the log.

    Raises
    ------
    OSError
        If another process is at work in the folder, or it cannot be written to.
    ValueError
        If the folder holds a run of another recipe, or between other parts.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        *,
        made_of: Mapping[str, Any] | None = None,
        watch: Watch | None = None,
    ) -> None:
        device = join_processes().device
        self.precision = quick_precision(device) if recipe.precision == "auto" else recipe.precision
        self.accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision="no" if self.precision == "fp32" else self.precision,
            gradient_accumulation_steps=recipe.accumulate,
        )
        self.folder, self.recipe, self.steps = folder, recipe, recipe.steps
        self.is_main = self.accelerator.is_main_process
        self._watch = watch if self.is_main else None
        self.step, self.seconds, self.utterances = 0, 0.0, 0  # of all sessions together
        self.loss = math.nan  # of the last step
        self._window: list[float] = []
        self._skipped = 0
        if self.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = alone_in(folder)
            self._remember(made_of or {})
            end_last_line(folder / "log.jsonl")
        self.accelerator.wait_for_everyone()
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self._shares = torch.zeros((), device=self.accelerator.device)  # of this step's loss
        self.accelerator.register_for_checkpointing(self)
        if saved := sorted(folder.glob("step-*")):
            self.accelerator.load_state(str(saved[-1]))
        self._since = time.perf_counter()

    def _remember(self, made_of: Mapping[str, Any]) -> None:
        """Write down what the run is made of, or hold it against what it was made of."""
        own = {name: value for name, value in asdict(self.recipe).items() if name not in FREE} | dict(made_of)
        path = self.folder / "run.json"
        if not any(self.folder.glob("step-*")):  # nothing was learned yet
            path.unlink(missing_ok=True)
        claim(path, own)
        for left in self.folder.glob(".step-*"):  # by a process that was killed
            shutil.rmtree(left)

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint holds beside weights and optimizer."""
        return {name: getattr(self, name) for name in COUNTED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name in COUNTED:
            setattr(self, name, state[name])

    def save(self) -> None:
        """Write a checkpoint; it takes the place of the one before when it is whole."""
        target = self.folder / f"step-{self.step:08d}"
        part = self.folder / f".{target.name}"
        try:
            self.accelerator.save_state(str(part), safe_serialization=False)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(part, ignore_errors=True)
            raise OSError(
                f"{target}: cannot be written ({error}): make room, or choose another place"
            ) from error
        self.accelerator.wait_for_everyone()
        if self.is_main:
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
            for older in self.folder.glob("step-*"):
                if older != target:
                    shutil.rmtree(older)
        self.accelerator.wait_for_everyone()

    def begin(self, lengths: Sequence[int]) -> None:
        """Refuse to train on other items than the first process does (ValueError)."""
        for process, theirs in enumerate(gather_object([list(lengths)])):
            if theirs != list(lengths):
                raise ValueError(
                    f"process {process} sees other data ({len(theirs)} items against {len(lengths)}). Make "
                    "sure that all hosts share the folder"
                )

    def steps_left(self) -> Iterator[int]:
        """Count the steps to the end of the run; each sets the seed and the learning rate of its own."""
        while self.step < self.steps:
            torch.manual_seed(
                self.recipe.seed * 1_000_003 + self.step + 7919 * self.accelerator.process_index
            )
            factor = learning_rate_factor(self.step, self.steps)
            for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * factor
            yield self.step

    def shares(self, batch: Sequence[Item]) -> Iterator[tuple[Sequence[Item], int]]:
        """Divide a batch between the processes and the turns of each.

        Yields
        ------
        (sequence, int)
            For each turn what this process has to do, and what to multiply its part of the loss with:
            accelerate takes the mean over processes and turns, where the parts of a loss are to be summed. A
            process that has nothing left to do works for nothing.
        """
        turns = self.recipe.accumulate
        parts = turns * self.accelerator.num_processes
        for turn in range(turns):
            own = batch[self.accelerator.process_index * turns + turn :: parts]
            yield (own, parts) if own else (batch[:1], 0)

    def backward(self, part: Tensor, weight: int) -> None:
        """Backpropagate one part of the batch's loss, see `shares`."""
        self._shares += part.detach() * (weight > 0)
        self.accelerator.backward(part * weight)

    def update(self, utterances: int, measure: Callable[[], dict[str, float]] | None = None) -> None:
        """Take the step, count and log it; save and measure where it is time.

        Parameters
        ----------
        utterances : int
            Those of the whole batch.
        measure : callable, optional
            Measures the model on what was held out, in the first process; what it finds is logged.
        """
        self.loss = float(self.accelerator.reduce(self._shares, "sum"))
        self._shares = torch.zeros_like(self._shares)
        norm = float(self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0))
        # One broken batch must not end a night of training: it is counted in the log and skipped.
        if math.isfinite(norm) or self.accelerator.scaler is not None:  # which skips it by itself
            self.optimizer.step()
        self.optimizer.zero_grad()
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
        if self.due(max(1, min(LOG_EVERY, self.steps // 20))):
            values: dict[str, Any] = {"skipped": self._skipped} if self._skipped else {}
            if self._window:
                values["loss"] = round(sum(self._window) / len(self._window), 4)
            if math.isfinite(norm):
                values["gradient_norm"] = round(norm, 3)
            self.log(**values, learning_rate=self.optimizer.param_groups[0]["lr"])
            self._window, self._skipped = [], 0
        if self.due(self.recipe.save_every):
            self.save()
        if measure is not None and self.due(self.recipe.evaluate_every):
            if self.is_main and (found := measure()):
                self.log(**found)
            self._since = time.perf_counter()  # time spent on evaluation is not training time

    def due(self, every: int) -> bool:
        """Tell whether it is time for what is done every so many steps, and at the end."""
        return self.step % every == 0 or self.step == self.steps

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

    def finish(self, part: str, write: Callable[[Path], None], **measured: Any) -> Path:
        """Save the trained part with its curve; ``recipe.json`` comes last and marks it finished.

        Parameters
        ----------
        part : str
            Name of the folder in the run's own.
        write : callable
            Writes the part into the folder it is called with.
        **measured
            More to be told by ``recipe.json``.

        Returns
        -------
        Path
            The folder of the part.
        """
        target = self.folder / part
        if self.is_main:
            target.mkdir(exist_ok=True)
            write(target)
            curve = compact(read_log(self.folder / "log.jsonl"))
            write_text(target / "training.json", json.dumps(curve) + "\n")
            made = {
                **asdict(self.recipe),
                "precision": self.precision,
                "hours": round(self.seconds / 3600, 2),
                "utterances": self.utterances,
                "processes": self.accelerator.num_processes,
                "machine": machine(self.accelerator.device),
                "threads": torch.get_num_threads(),
                **measured,
            }
            write_text(target / "recipe.json", json.dumps(made, indent=2) + "\n")
            self._lock.release()
        self.accelerator.wait_for_everyone()
        return target


def claim(path: Path, made_of: Mapping[str, Any]) -> None:
    """Write down what the files beside `path` are made of; what was made of other things stays as it is.

    Raises
    ------
    ValueError
        If it is written there that they are made of something else.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(made_of, indent=2) + "\n")
    stored, own = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(made_of))
    for name in sorted(stored.keys() | own.keys()):
        if stored.get(name) != own.get(name):
            raise ValueError(
                f"{path.parent} holds what was made with another {name} ({stored.get(name)!r}, and not "
                f"{own.get(name)!r}). Make sure to delete that folder, or to give another one"
            )


def learning_rate_factor(step: int, steps: int, flat: float = 0.4) -> float:
    """Warm up, hold for a part of the run, then fall in a straight line to zero."""
    warmup = min(WARMUP, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    begin = max(warmup, flat * steps)
    return 1.0 if step < begin else max(0.0, (steps - step) / (steps - begin))


def even_batches(lengths: Sequence[int], budget: int, seed: int, first: int = 0) -> Iterator[list[int]]:
    """Draw batches of items of similar length without end, every item once before any comes again.

    Parameters
    ----------
    lengths : sequence of int
        Length of every item.
    budget : int
        Most length, padding included, that a batch may hold.
    seed : int
        Of the order.
    first : int
        Number of the first batch to give.

    Yields
    ------
    list of int
        Indices into ``lengths``.

    Raises
    ------
    ValueError
        If there are no items.
    """
    if not lengths:
        raise ValueError("expected items to draw batches from, but found none")
    epoch = number = 0
    while True:
        order = list(range(len(lengths)))
        rng = random.Random(f"{seed}-{epoch}")
        rng.shuffle(order)
        found: list[list[int]] = []
        # Sorting short stretches keeps batches both even and random.
        for start in range(0, len(order), STRETCH):
            found += fill_batches(lengths, budget, order[start : start + STRETCH])
        rng.shuffle(found)
        yield from found[max(0, first - number) :]
        number += len(found)
        epoch += 1


def fill_batches(lengths: Sequence[int], budget: int, items: Iterable[int] | None = None) -> list[list[int]]:
    """Sort items, all if none are named, by length, and cut them into batches.

    A batch holds at most ``budget``, padding included.
    """
    found: list[list[int]] = []
    for item in sorted(range(len(lengths)) if items is None else items, key=lengths.__getitem__):
        if not found or lengths[item] * (len(found[-1]) + 1) > budget:
            found.append([])
        found[-1].append(item)
    return found


def machine(device: torch.device) -> str:
    """Name the GPU or the CPU that computes, or its architecture if nothing better is known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # other systems than Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
