"""How the commands speak: results on standard output, words on standard error, a bar, expected errors."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from asrscope.training.run import Run

__all__ = [
    "FAILED",
    "complain",
    "expected_errors",
    "followed",
    "is_first",
    "one_line",
    "progress",
    "put",
    "quiet_libraries",
    "say",
    "start",
]

FAILED = 2  # exit status when something expected went wrong


def start(app: typer.Typer, *, quiet: bool = False) -> None:
    """Run a command line, which ends the process; `quiet` keeps off what C libraries write."""
    # Closed: print would take standard output in its place.
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    if sys.stdout is None:
        _end(OSError(None, "it is closed"))
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal's encoding cannot show must not end the run.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with quiet_libraries() if quiet else nullcontext():
        try:
            try:
                app()
            finally:
                sys.stdout.flush()  # what is left in the buffer may not fit on the disk
        except OSError as error:
            _end(error)


def put(result: str) -> None:
    """Write a result to standard output; where nobody takes it, or the disk is full, end the process."""
    try:
        print(result, flush=True)
    except OSError as error:
        _end(error)


def _end(error: OSError) -> NoReturn:
    complain(f"error: standard output cannot be written ({error.strerror}): the command ends here")
    with suppress(AttributeError, OSError, ValueError):  # it is None, or replaced by what is no file
        # What is still in the buffer goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # Not what `expected_errors` catches, and a file that cannot be read is.
    raise SystemExit(FAILED)


@contextmanager
def expected_errors() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and exit status 2."""
    try:
        yield
    except (ImportError, MemoryError, OSError, ValueError) as error:
        complain(f"error: {one_line(error)}")
        raise typer.Exit(FAILED) from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep off standard error what C libraries write there: the MP3 decoder's notes on a damaged file."""
    try:
        terminal = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # it has been replaced by what is no file
        yield
        return
    ours, nothing = sys.stderr, os.open(os.devnull, os.O_WRONLY)
    number = ours.fileno()
    try:
        with open(terminal, "w", encoding=ours.encoding, errors=ours.errors, buffering=1) as sys.stderr:  # noqa: PTH123 - a number
            os.dup2(nothing, number)
            try:
                yield
            finally:
                os.dup2(terminal, number)
    finally:
        sys.stderr = ours
        os.close(nothing)


@contextmanager
def progress(total: int) -> Iterator[Callable[..., None]]:
    """Show a bar on standard error where that is a terminal.

    Yields a function that moves it, by one unless told otherwise, or to a place; its first argument goes to
    standard output (None for nothing), the others to standard error, with the bar out of the way.
    """
    from tqdm import tqdm  # here: --help has no bar, and is quick

    form = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=total, file=sys.stderr, disable=None, leave=False, bar_format=form) as bar:

        def report(
            output: str | None, *complaints: str, advance: int = 1, completed: float | int | None = None
        ) -> None:
            with bar.external_write_mode():
                if output is not None:
                    put(output)
                for complaint in complaints:
                    complain(complaint)
            bar.update(advance if completed is None else completed - bar.n)

        yield report


def complain(message: str) -> None:
    """Write one line to standard error; where that is closed, nobody wants to know."""
    with suppress(OSError):
        print(f"asrscope: {message}", file=sys.stderr, flush=True)


def one_line(message: object) -> str:
    """Join the lines of a message."""
    return " ".join(str(message).split())


# Of long work, in several processes perhaps ----------------------------------------------------------------


def is_first() -> bool:
    """Tell whether this is the process that speaks: the only one, or the first that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def say(message: str) -> None:
    """Write one line to standard error, once however many processes run."""
    if is_first():
        complain(message)


def followed(folder: Path) -> Callable[["Run", Mapping[str, Any] | None], None]:
    """Show a stage of training while it runs: each line of its log, with the time that is left.

    Returns the function that `asrscope.training.run.Run` calls: after each step, and with each line.
    """
    from tqdm import tqdm

    say(f"checkpoint and log are in {folder}; press Ctrl+C to stop, run the command again to go on")
    begun: tuple[float, int] | None = None

    def watch(run: "Run", line: Mapping[str, Any] | None) -> None:
        nonlocal begun
        now = time.perf_counter()
        begin, first = begun = begun or (now, run.step)
        if line is None:
            return
        done = run.step - first
        left = f"  {tqdm.format_interval((now - begin) / done * (run.steps - run.step))} left" if done else ""
        values = "  ".join(f"{key} {value}" for key, value in line.items() if key != "step")
        complain(f"step {line['step']}/{run.steps}  {values}{left}")

    return watch
