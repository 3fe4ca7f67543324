"""Write model cards: what was measured and, of a model with aims, whether they are reached."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from asrscope.saving import write_text
from asrscope_recipe.comparison import QUICK, RANDOM, TOGETHER

__all__ = ["Aim", "aims", "model_card", "write_model_card"]

# What the error rates of the held-out sets shall stay below: set, rate, aim, in words.
RATES = (
    ("seen-voices", "wer", 0.05, "WER, voices heard in training"),
    ("new-espeak-voices", "wer", 0.10, "WER, new espeak-ng voices"),
    ("new-flite-voice", "wer", 0.10, "WER, a new flite voice"),
    ("hand-written", "wer", 0.15, "WER, hand-written sentences, new voices"),
    ("hand-written", "cer", 0.07, "CER, hand-written sentences, new voices"),
)
RANDOM_WER = 0.90  # a random projector shall be above
TIMES_FASTER = 10  # than the peer, at least
WEIGHTS_MB = 20  # at most
CLIP_SECONDS = 0.5  # for a clip of about three seconds, below
QUICK_MINUTES = 60  # of a quick run, below
NOT_MEASURED, REPORTED = "not measured", "reported"
MARKUP = re.compile(r"<(?=[a-zA-Z/!?])|\](?=\()")  # where it begins
PARTS = ("encoder", "decoder", "projector")  # in the order of training


@dataclass(frozen=True)
class Aim:
    """One row of the card's first table.

    Attributes
    ----------
    what, aim, measured : str
        The quantity, what it shall be, and what it is.
    met : bool or None
        None if it was not measured, or if there is nothing to reach.
    """

    what: str
    aim: str
    measured: str
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """What the table says."""
        if self.met is None:
            return NOT_MEASURED if NOT_MEASURED in self.measured else REPORTED
        return "met" if self.met else "**missed**"


def aims(metrics: Mapping[str, Any], provenance: Mapping[str, Any]) -> Iterator[Aim]:
    """Set every aim beside what was measured.

    Parameters
    ----------
    metrics : mapping
        What `asrscope_recipe.measuring.measure` gives.
    provenance : mapping
        The checkpoint's ``provenance.json``.

    Yields
    ------
    Aim
        One for each row of the table.
    """
    own, compared, seconds = metrics["systems"][0], dict(metrics["compared"]), metrics["seconds"]
    for name, rate, below, what in RATES:
        found = metrics["test_sets"].get(name, {}).get(own, {}).get(rate)
        yield Aim(what, f"< {below:.0%}", _percent(found), None if found is None else found < below)

    all_sets = compared.pop(TOGETHER)
    trained, drawn = all_sets[own]["wer"], all_sets[RANDOM]["wer"]
    what = "WER with a random projector, same frozen parts"
    measured = f"{_percent(drawn)}, trained {_percent(trained)}"
    yield Aim(what, f"> {RANDOM_WER:.0%}", measured, drawn > RANDOM_WER)

    lower, faster = NOT_MEASURED, NOT_MEASURED
    is_lower = is_faster = None
    peer = metrics["peer"] and metrics["peer"]["name"]
    if peer:
        lost = [name for name, by in compared.items() if by[own]["wer"] >= by[peer]["wer"]]
        lower = f"lower on {len(compared) - len(lost)} of {len(compared)}"
        lower += f", not on {', '.join(lost)}" if lost else ""
        times = seconds[peer] / seconds[own]
        faster = f"{times:.1f} times"
        is_lower, is_faster = not lost, times >= TIMES_FASTER
    yield Aim("WER beside pocketsphinx", "lower on every set", lower, is_lower)
    yield Aim("Speed beside pocketsphinx", f"≥ {TIMES_FASTER} times", faster, is_faster)

    measured, more = NOT_MEASURED, None
    if digits := metrics["digits"]:
        right, other = digits["right"][own], digits["right"].get(peer)
        measured = f"{right} of {digits['clips']}, other {_measured(other)}"
        more = None if other is None else right > other
    yield Aim("Digits spoken by people, beside pocketsphinx", "more right", measured, more)

    megabytes, speed = metrics["weights"]["bytes"] / 1e6, metrics["speed"]
    yield Aim("Weights", f"≤ {WEIGHTS_MB} MB", f"{megabytes:.1f} MB", megabytes <= WEIGHTS_MB)
    what = f"A clip of {speed['audio_seconds']:.1f} s, from samples to text"
    yield Aim(what, f"< {CLIP_SECONDS} s", f"{speed['seconds']:.2f} s", speed["seconds"] < CLIP_SECONDS)

    hours = {part: provenance[part]["made_with"].get("hours") for part in PARTS}
    each = ", ".join(f"{part} {_measured(time, '.2f')}" for part, time in hours.items())
    total = sum(time for time in hours.values() if time is not None)
    yield Aim("Training, all three stages", "told", f"{total:.2f} h ({each})")

    quick, measured, readable = metrics["quick"], NOT_MEASURED, None
    if quick:
        minutes, known = 60 * quick["hours"], quick["known_words"]
        wer = _percent(all_sets[QUICK]["wer"])
        measured = f"{minutes:.0f} min, {known:.0%} of what it writes are words, WER {wer}"
        # Words that are none are easily seen: half of them is where reading ends.
        readable = minutes < QUICK_MINUTES and known > 0.5
    yield Aim("A quick training run", f"< {QUICK_MINUTES} min, readable", measured, readable)


def model_card(metrics: Mapping[str, Any], provenance: Mapping[str, Any], name: str = "tiny") -> str:
    """Write the card.

    Parameters
    ----------
    metrics : mapping
        What `asrscope_recipe.measuring` gives: `measure`, or `measure_people`.
    provenance : mapping
        The checkpoint's ``provenance.json``.
    name : str
        Of the model.

    Returns
    -------
    str
        Markdown. It follows from the arguments alone.
    """
    made = {part: provenance[part]["made_with"] for part in PARTS if part in provenance}
    stages = [made["projector"]]
    while stages[0].get("started_from"):
        stages.insert(0, stages[0]["started_from"])
    of_people = "sources" in metrics
    return _fill(
        "people.md.jinja" if of_people else "card.md.jinja",
        name=name,
        m=metrics,
        own=metrics["systems"][0],
        made=made,
        stages=stages,
        rows=() if of_people else tuple(aims(metrics, provenance)),
        provenance=provenance,
    )


def write_model_card(target: Path, metrics: Mapping[str, Any]) -> Path:
    """Write ``metrics.json`` and the model card of a checkpoint.

    Parameters
    ----------
    target : Path
        The checkpoint, or the folder of a projector; its ``provenance.json`` is read.
    metrics : mapping
        What `asrscope_recipe.measuring` gives: `measure`, or `measure_people`.

    Returns
    -------
    Path
        The card, ``README.md``.

    Raises
    ------
    OSError
        If there is no ``provenance.json``.
    """
    provenance = json.loads((target / "provenance.json").read_text(encoding="utf-8"))
    card = model_card(metrics, provenance, target.resolve().name)
    write_text(target / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    write_text(target / "README.md", card)
    return target / "README.md"


def _fill(template: str, **values: Any) -> str:
    """Fill a template of this package; no name or note in it becomes markup."""
    environment = Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=_plain,
    )
    environment.globals.update(
        percent=_percent,
        interval=_interval,
        count=_count,
        measured=_measured,
        recorded=_recorded,
    )
    text = Path(__file__).with_name(template).read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def _plain(value: object) -> object:
    """Keep a name or a note from becoming an element or a link: Markdown takes HTML as it is."""
    return MARKUP.sub(lambda found: f"&#{ord(found[0])};", value) if isinstance(value, str) else value


# Wording --------------------------------------------------------------------------------------------------


def _percent(share: float | None) -> str:
    return NOT_MEASURED if share is None else f"{share:.1%}"


def _measured(value: object, form: str = "") -> str:
    return NOT_MEASURED if value is None else format(value, form)


def _recorded(made: Mapping[str, Any], key: str, form: str = "") -> str:
    return format(made[key], form) if key in made else "not recorded"


def _interval(rates: Mapping[str, Any]) -> str:
    if rates["wer_low"] is None:
        return "none"  # of few clips, or of clips without an error
    return f"{_percent(rates['wer_low'])} to {_percent(rates['wer_high'])}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
