"""An evaluation as lines for a terminal."""

from collections.abc import Iterable

from asrscope.recognition.evaluation.results import CONFIDENCE, Evaluation, Group, Result, length_name

__all__ = ["page_of_text"]

MOST_VOICES = 20
MOST_CONFUSIONS = 5  # of each kind


def page_of_text(evaluation: Evaluation, worst: int) -> str:
    """Write an evaluation as lines for a terminal.

    Parameters
    ----------
    evaluation : Evaluation
        What to write.
    worst : int
        How many of the worst utterances to show with their alignment.

    Returns
    -------
    str
        The lines.
    """
    errors, (low, high) = evaluation.errors, evaluation.interval
    audio_seconds = sum(result.audio_seconds for result in evaluation.scored)
    seconds = sum(result.seconds for result in evaluation.scored)
    lines = [
        f"WER {errors.rate:.1%}  ({CONFIDENCE:.0%} interval {low:.1%} to {high:.1%})",
        f"CER {evaluation.character_error_rate:.1%}",
        f"{errors.words} words in {len(evaluation.scored)} utterances: {errors.substitutions} substituted, "
        f"{errors.insertions} inserted, {errors.deletions} deleted",
        f"{audio_seconds:.1f} s of audio recognized in {seconds:.1f} s",
    ]
    lines += _confusions(evaluation)
    lengths = {length_name(*bounds): group for bounds, group in evaluation.by_length.items()}
    if len(lengths) > 1:
        lines += ["", "By length", *_groups(lengths)]
    if evaluation.by_noise:
        noises = {"none": Group(evaluation.scored)} | {
            str(noise): group for noise, group in evaluation.by_noise.items()
        }
        lines += ["", "By added noise and signal-to-noise ratio", *_groups(noises)]
    if evaluation.by_voice:
        shown = dict(list(evaluation.by_voice.items())[:MOST_VOICES])
        lines += ["", "By voice", *_groups(shown)]
        if more := len(evaluation.by_voice) - len(shown):
            lines.append(f"  and {_count(more, 'voice')} with fewer words, see --json")
    if chosen := evaluation.worst(worst):
        lines += ["", "Worst utterances"]
        for result in chosen:
            voice = f" ({result.utterance.voice})" if result.utterance.voice else ""
            lines.append(f"  {result.utterance.name}{voice}: {result.errors.rate:.1%}")
            lines += [f"    {row}" for row in _alignment_rows(result)]
    if evaluation.failures:
        lines += ["", f"Not recognized, in no rate: {len(evaluation.failures)}"]
        lines += [f"  {result.failure}" for result in evaluation.failures]
    return "\n".join(lines)


def _groups(groups: dict[str, Group]) -> Iterable[str]:
    """One line a group, in columns."""
    rows = []
    for name, group in groups.items():
        interval = "{:.1%} to {:.1%}".format(*group.interval) if group.interval else ""
        counts = f"{_count(group.errors.words, 'word')} in {_count(len(group.results), 'utterance')}"
        rows.append((name, f"{group.errors.rate:.1%}", interval, counts))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, rate, interval, counts in rows:
        yield f"  {name:{widths[0]}}  {rate:>{widths[1]}}  {interval:{widths[2]}}  {counts}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _confusions(evaluation: Evaluation) -> Iterable[str]:
    """Write the commonest errors, a line for each kind with errors that were made more than once."""
    titles = {"substitute": "substituted", "insert": "inserted", "delete": "deleted"}
    shown = {title: evaluation.commonest(kind, MOST_CONFUSIONS, least=2) for kind, title in titles.items()}
    if any(shown.values()):
        yield from ("", "Errors made more than once")
    for title, errors in shown.items():
        if errors:
            words = [
                f"{' for '.join(filter(None, (step.hypothesis, step.reference)))} ({times})"
                for step, times in errors
            ]
            yield f"  {title:11}  {', '.join(words)}"


def _alignment_rows(result: Result) -> tuple[str, str]:
    """Set the two texts above each other; stars stand where one of them has no word."""
    said, written = [], []
    for step in result.alignment:
        width = max(len(step.reference or ""), len(step.hypothesis or ""))
        # Wrong words are in capitals, so that they are seen without color.
        change = str if step.kind == "equal" else str.upper
        said.append(change(step.reference or "*" * width).ljust(width))
        written.append(change(step.hypothesis or "*" * width).ljust(width))
    return "said     " + " ".join(said).rstrip(), "written  " + " ".join(written).rstrip()
