"""How plots put a trace into words: titles with doubts about weights, visible blanks, word times."""

from collections.abc import Sequence

from asrscope.scope.traces import Trace


def title_lines(trace: Trace, title: str, parts: Sequence[str]) -> str:
    """Title, with a second line that says which of the parts behind the picture are random or unverified."""
    untrained: dict[str, list[str]] = {}
    for origin in trace.provenance:
        if origin.part in parts and origin.trained is not True:
            untrained.setdefault(origin.label, []).append(origin.part)
    notes = [f"{label}: {', '.join(names)}" for label, names in untrained.items()]
    return "\n".join([title, *notes])


def spoken_words(trace: Trace) -> tuple[tuple[str, float, float], ...]:
    """Words with known times: the reference's if the trace has them, else those of the written words."""
    if trace.reference_words is not None:
        return trace.reference_words
    return tuple(
        (word.text, word.start, word.end)
        for word in trace.words
        if word.start is not None and word.end is not None
    )


def visible(text: str) -> str:
    """Show what a token leaves blank: ``␣`` for a leading or lone space, ``⏎`` for a line feed."""
    shown = text.translate(_CONTROL_PICTURES)
    return shown.replace(" ", "␣") if shown.strip() == "" or shown[:1] == " " else shown


_CONTROL_PICTURES = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {ord("\n"): "⏎", ord("\t"): "⇥"}


def chance(probability: float) -> str:
    """Write a probability with two decimals; a small one is not rounded to nothing."""
    return "<0.01" if 0 < probability < 0.005 else f"{probability:.2f}"
