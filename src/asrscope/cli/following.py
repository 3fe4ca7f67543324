"""What the training commands show: a bar where there is a terminal, lines where there is none."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asrscope.cli.console import complain, progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from asrscope.training.run import Run

__all__ = ["counted", "followed", "is_first", "say"]


def is_first() -> bool:
    """Tell whether this is the process that speaks: the only one, or the first that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str) -> None:
    """Write one line to standard error, once however many processes run."""
    if is_first():
        complain(message)


@contextmanager
def counted(what: str, total: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar for a function that reports how many of how many are done."""
    if not is_first():
        yield lambda _done, _total: None
        return
    complain(f"{what} ...")
    seen = 0
    with progress(total or 1) as report:

        def count(done: int, total: int | None) -> None:
            nonlocal seen
            report(None, advance=done - seen, total=total)
            seen = done

        yield count


@contextmanager
def followed(folder: Path) -> Iterator[Callable[["Run", dict[str, Any] | None], None]]:
    """Show a stage of training while it runs.

    Yields the function that `asrscope.training.run.Run` calls: after each step, and with each line of the
    log.
    """
    say(f"checkpoint and log are in {folder}; press Ctrl+C to stop, run the command again to go on")
    from rich.console import Console

    console = Console(stderr=True)
    watch = _Bar(console) if console.is_interactive else _Lines()
    try:
        yield watch
    finally:
        watch.close()


class _Lines:
    """Every line of the log, with the time that is left."""

    def __init__(self) -> None:
        self._begun: tuple[float, int] | None = None

    def __call__(self, run: "Run", line: Mapping[str, Any] | None) -> None:
        now = time.perf_counter()
        if self._begun is None:
            self._begun = (now, run.step)
        if line is None:
            return
        begin, first = self._begun
        done = run.step - first
        left = f"  {_duration((now - begin) / done * (run.steps - run.step))} left" if done else ""
        values = "  ".join(f"{key} {value}" for key, value in line.items() if key != "step")
        complain(f"step {line['step']}/{run.steps}  {values}{left}")

    def close(self) -> None:
        """Nothing stays open."""


class _Bar:
    """One bar with loss, throughput and the time that is left; evaluations stand above it."""

    def __init__(self, console: "Console") -> None:
        # Imported here: --help has no bar, and is quick.
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: "TaskID | None" = None

    def __call__(self, run: "Run", line: Mapping[str, Any] | None) -> None:
        if self._task is None:
            self._bar.start()
            self._task = self._bar.add_task("", total=run.steps, completed=run.step, state="")
        rate = run.utterances / max(run.seconds, 1e-9)
        state = f"loss {run.loss:.3f}  {rate:.0f} utterances/s"
        self._bar.update(self._task, completed=run.step, state=state)
        if line is not None and "learning_rate" not in line:
            values = "  ".join(f"{key} {value}" for key, value in line.items())
            self._bar.console.print(values, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._task is not None:
            self._bar.stop()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
