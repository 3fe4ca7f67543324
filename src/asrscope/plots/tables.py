"""What the figures show as rows of text: for readers who cannot see them, and to look a number up."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from asrscope.plots.measures import mel_centers, number
from asrscope.plots.wording import visible
from asrscope.plots.words import token_times
from asrscope.scope.stages import SECONDS_PER_SAMPLE
from asrscope.scope.traces import Trace

__all__ = ["Table", "prompt_length", "table"]

MOST_ROWS = 120  # of a stage over time: a longer clip gets longer steps
SHORTEST_STEP = 0.1  # seconds


@dataclass(frozen=True)
class Table:
    """Rows of text under a header.

    Attributes
    ----------
    header : tuple of str
        Column names, with units.
    rows : tuple of tuple of str
        As many texts a row as there are columns.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(trace: Trace, key: str) -> Table:
    """Tabulate what the figure of a stage shows.

    Parameters
    ----------
    trace : Trace
        The trace.
    key : str
        Key of a figure in `PLOTS`.

    Returns
    -------
    Table
        Pictures over time are summed up in steps of at least 0.1 s; everything else is listed in full.

    Raises
    ------
    KeyError
        If there is no such figure.
    """
    if key not in _TABLES:
        raise KeyError(f"there is no table {key!r}. Make sure to use one of {list(_TABLES)}")
    header, rows = _TABLES[key](trace)
    return Table(tuple(header), tuple(tuple(row) for row in rows))


def prompt_length(trace: Trace) -> tuple[str, ...]:
    """Work out the length of the prompt from the length of the clip, step by step.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    tuple of str
        Sentences; the last one states the length that the prompt has.
    """
    samples, positions, k = len(trace.waveform), len(trace.encoder_hidden_states), trace.stack_factor
    step = round(trace.seconds_per_position / SECONDS_PER_SAMPLE)
    filled = -(-samples // step)
    if positions < filled:
        frames = trace.log_mel.shape[1]
        lines = [f"{samples} samples, as {frames} frames: {positions} encoder positions of {step} samples."]
    else:
        lines = [f"{samples} samples / {step} a position, rounded up: {filled} encoder positions."]
    if filled < positions:
        lines.append(f"The encoder was given {positions} positions; what the clip does not fill is padding.")
    audio = int(trace.prompt_is_audio.sum())
    text = len(trace.prompt_ids) - audio
    grouped = (positions - k) // k + 1 if k else None
    if k is None:
        share = trace.seconds_per_audio_token / trace.seconds_per_position
        lines.append(f"{trace.projection}: {audio} audio tokens, one for {share:g} of the positions.")
    elif grouped == audio:
        lines.append(f"({positions} positions − k) // k + 1, with k = {k}: {audio} audio tokens.")
    else:
        lines.append(f"{audio} audio tokens, where (p − k) // k + 1 with k = {k} would be {grouped}.")
    lines.append(f"{audio} audio + {text} text = {audio + text} positions of prompt.")
    return tuple(lines)


_Rows = tuple[list[str], list[list[str]]]


def _steps(count: int, seconds: float) -> list[tuple[int, int]]:
    """Cut `count` columns of some seconds into steps of at least 0.1 s, at most `MOST_ROWS` of them."""
    size = max(1, round(SHORTEST_STEP / seconds), -(-count // MOST_ROWS))
    return [(first, min(first + size, count)) for first in range(0, count, size)]


def _waveform(trace: Trace) -> _Rows:
    rows = []
    for first, last in _steps(len(trace.waveform), SECONDS_PER_SAMPLE):
        part = trace.waveform[first:last].astype(np.float64)
        loudness = float(np.sqrt(np.mean(part**2)))
        start = f"{first * SECONDS_PER_SAMPLE:.2f}"
        rows.append([start, number(part.min()), number(part.max()), number(loudness)])
    return ["start (s)", "lowest", "highest", "root mean square"], rows


def _log_mel(trace: Trace) -> _Rows:
    centers = mel_centers(trace.log_mel.shape[0], trace.mel_scale)
    rows = []
    for first, last in _steps(trace.log_mel.shape[1], trace.seconds_per_frame):
        part = trace.log_mel[:, first:last].astype(np.float64)
        band = int(part.mean(axis=1).argmax())
        start = f"{first * trace.seconds_per_frame:.2f}"
        loudest = str(band) if centers is None else f"{band} ({centers[band]:.0f} Hz)"
        rows.append([start, number(part.mean()), number(part.max()), loudest])
    return ["start (s)", "mean", "highest", "loudest mel band"], rows


def _vectors(vectors: Float32[np.ndarray, "count dim"], seconds: float) -> _Rows:
    rows = []
    for first, last in _steps(len(vectors), seconds):
        part = vectors[first:last].astype(np.float64)
        norm = float(np.linalg.norm(part, axis=1).mean())
        index = str(first) if last - first == 1 else f"{first} to {last - 1}"
        rows.append([index, f"{first * seconds:.2f}", number(part.mean()), number(part.std()), number(norm)])
    return ["index", "start (s)", "mean", "standard deviation", "mean norm"], rows


def _nearest_tokens(trace: Trace) -> _Rows:
    rows = []
    for index, (texts, cosines) in enumerate(zip(trace.nearest_texts, trace.nearest_cosines, strict=True)):
        pairs = [f"{visible(text)} {cosine:.3f}" for text, cosine in zip(texts, cosines, strict=True)]
        start = f"{index * trace.seconds_per_audio_token:.2f}"
        rows.append([str(index), start, pairs[0] if pairs else "", ", ".join(pairs[1:])])
    return ["audio token", "start (s)", "nearest text token, cosine", "runners-up"], rows


def _prompt(trace: Trace) -> _Rows:
    rows, audio, seconds = [], 0, trace.seconds_per_audio_token
    for position, (number_, text) in enumerate(
        zip(trace.prompt_ids.tolist(), trace.prompt_texts, strict=True)
    ):
        kind, time = "marker" if text.startswith("<|") and text.endswith("|>") else "text", ""
        if trace.prompt_is_audio[position]:
            kind, time = f"audio token {audio}", f"{audio * seconds:.2f} to {(audio + 1) * seconds:.2f}"
            audio += 1
        rows.append([str(position), kind, str(number_), visible(text), time])
    return ["position", "kind", "token id", "token", "heard at (s)"], rows


def _decoder_words(trace: Trace) -> _Rows:
    rows = []
    for word in trace.words:
        tokens = trace.tokens[word.first_token : word.last_token + 1]
        known = word.start is not None and word.end is not None
        time = f"{word.start:.2f} to {word.end:.2f}" if known else "not known"
        pieces = " ".join(f"{visible(token.text)} {token.probability:.3f}" for token in tokens)
        rows.append([word.text, f"{word.probability:.3f}", time, pieces])
    return ["word", "probability", "spoken at (s)", "tokens"], rows


def _decoder_tokens(trace: Trace) -> _Rows:
    rows = []
    for index, (token, heard) in enumerate(zip(trace.tokens, token_times(trace), strict=True)):
        others = ", ".join(f"{visible(text)} {probability:.4f}" for text, probability in token.runners_up)
        time = f"{heard[0]:.2f} to {heard[1]:.2f}" if heard else "not known"
        chosen = [str(token.id), visible(token.text), f"{token.probability:.4f}"]
        rows.append([str(index), *chosen, others, time])
    header = ["token number", "token id", "token", "probability", "most probable others"]
    return [*header, "its word is spoken at (s)"], rows


_TABLES: dict[str, Callable[[Trace], _Rows]] = {
    "waveform": _waveform,
    "log_mel": _log_mel,
    "encoder_output": lambda trace: _vectors(trace.encoder_hidden_states, trace.seconds_per_position),
    "audio_embeds": lambda trace: _vectors(trace.audio_embeds, trace.seconds_per_audio_token),
    "nearest_tokens": _nearest_tokens,
    "prompt": _prompt,
    "decoder_words": _decoder_words,
    "decoder_tokens": _decoder_tokens,
}
