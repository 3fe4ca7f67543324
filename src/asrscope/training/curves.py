"""The curve of a run: read from its log, and thinned out so that it fits beside the weights."""

import json
import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

__all__ = ["COLUMNS", "compact", "end_last_line", "read_log", "read_runs"]

COLUMNS = ("step", "hours", "loss", "gradient_norm", "learning_rate", "utterances_per_second")
POINTS = 60  # of a thinned curve: enough for a line across a page
DRAWN_POINTS = 400  # of one that is drawn
ALWAYS = ("step", "seconds", "utterances", "utterances_per_second")  # in every line of a log
DIGITS = 4  # significant ones, of a mean


def end_last_line(path: Path) -> None:
    """Close a line of a log that a process was killed in, so that the next one stands by itself."""
    if path.is_file() and path.read_bytes()[-1:] not in {b"", b"\n"}:
        with path.open("ab") as file:
            file.write(b"\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a run's log, finished or not.

    A run that was broken off repeats the steps since its last checkpoint; its older lines of those steps are
    left out, and so is a last line that is half written.

    Parameters
    ----------
    path : Path
        ``log.jsonl`` of a run; it may be missing.

    Returns
    -------
    list of dict
        The lines, in order of their steps.
    """
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            continue
        if lines and lines[-1]["step"] > line["step"]:
            lines = [older for older in lines if older["step"] < line["step"]]
        if lines and lines[-1].keys() == line.keys() and lines[-1]["step"] == line["step"]:
            lines.pop()
        lines.append(line)
    return lines


def scores_of(line: Mapping[str, Any]) -> dict[str, float]:
    """Give what a line tells of an evaluation, such as word error rates; nothing for a line of training."""
    if "learning_rate" in line:
        return {}
    return {name: float(value) for name, value in line.items() if name not in ALWAYS and math.isfinite(value)}


def compact(lines: Iterable[Mapping[str, Any]], points: int = POINTS) -> dict[str, Any]:
    """Thin a log out to a curve of a few points.

    Parameters
    ----------
    lines : iterable of mapping
        What `read_log` returned.
    points : int
        Most points of the curve.

    Returns
    -------
    dict
        ``steps``, ``hours`` and ``utterances`` of the run so far; ``curve``, a list for each of `COLUMNS`,
        where a point stands for the mean of the lines around it; and ``evaluations``, a list of mappings with
        ``step``, ``hours`` and the scores.
    """
    lines = list(lines)
    last = lines[-1] if lines else dict.fromkeys(ALWAYS, 0)
    groups = _groups([line for line in lines if "learning_rate" in line], points)
    curve: dict[str, list[float | None]] = {
        "step": [group[-1]["step"] for group in groups],
        "hours": [_hours(group[-1]) for group in groups],
    }
    for name in COLUMNS[2:]:
        curve[name] = [_mean([line.get(name) for line in group]) for group in groups]
    return {
        "steps": last["step"],
        "hours": _hours(last),
        "utterances": last["utterances"],
        "curve": curve,
        "evaluations": [
            {"step": line["step"], "hours": _hours(line), **scores}
            for line in lines
            if (scores := scores_of(line))
        ],
    }


def read_runs(cache: Path) -> dict[str, dict[str, Any]]:
    """Read the curves of all trainings in a folder, finished or not, to draw them.

    Parameters
    ----------
    cache : Path
        Somewhere in it are the logs, called ``log.jsonl``.

    Returns
    -------
    dict of str to dict
        Under the name of the folder of each log what `compact` makes of it.

    Raises
    ------
    FileNotFoundError
        If there is no log.
    """
    logs = {
        path.parent.relative_to(cache).as_posix(): read_log(path) for path in sorted(cache.rglob("log.jsonl"))
    }
    if not any(logs.values()):
        raise FileNotFoundError(f"{cache}: no training has begun: there is no log to draw")
    return {name: compact(lines, DRAWN_POINTS) for name, lines in logs.items() if lines}


def _groups(lines: list[Mapping[str, Any]], points: int) -> list[list[Mapping[str, Any]]]:
    """Cut lines into at most so many groups of neighbors."""
    edges = [len(lines) * n // points for n in range(points + 1)]
    return [lines[start:stop] for start, stop in pairwise(edges) if start < stop]


def _hours(line: Mapping[str, Any]) -> float:
    return round(float(line["seconds"]) / 3600, 4)


def _mean(values: list[float | None]) -> float | None:
    """Mean of the finite numbers among some values."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return float(f"{sum(numbers) / len(numbers):.{DIGITS}g}") if numbers else None
