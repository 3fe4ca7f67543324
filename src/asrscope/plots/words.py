"""What a figure shows as words, numbers and tables: its title, its text alternative, its content as rows.

Every number is computed from the trace. The texts may hold tokens of the trace: escape them before they
stand in HTML.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64

from asrscope.scope.traces import SECONDS_PER_SAMPLE, STAGES, Stage, Token, Trace, Word, twins

__all__ = [
    "Statistics",
    "Table",
    "describe",
    "prompt_length",
    "statistics",
    "table",
    "token_times",
    "word_times",
]

Times = Sequence[tuple[float, float] | None]

# What is drawn of a trace, in pipeline order: its stages, then the second view of the last one.
VIEWS: dict[str, Stage] = {stage.key: stage for stage in STAGES}
VIEWS["decoder_tokens"] = replace(
    VIEWS["decoder_words"],
    key="decoder_tokens",
    title="Token by token",
    description="Every token that was written, beside the tokens the decoder held most probable instead.",
)
VECTORS = ("encoder_hidden_states", "audio_embeds")  # each row is one vector, so that it has a length
MOST_ROWS = 120  # of the table of a stage over time: a longer clip gets longer steps
SHORTEST_STEP = 0.1  # seconds
_CONTROL_PICTURES = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {ord("\n"): "⏎", ord("\t"): "⇥"}


def visible(text: str) -> str:
    """Show what a token leaves blank: ``␣`` for a leading or lone space, ``⏎`` for a line feed."""
    shown = text.translate(_CONTROL_PICTURES)
    return shown.replace(" ", "␣") if shown.strip() == "" or shown[:1] == " " else shown


def short(text: str, longest: int) -> str:
    """Cut a text that is longer than so many characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def chance(probability: float) -> str:
    """Write a probability with two decimals; a small one is not rounded to nothing."""
    return "<0.01" if 0 < probability < 0.005 else f"{probability:.2f}"


def number(value: float) -> str:
    """Three significant digits without an exponent where that stays short: ``0.0123``, ``1.23``, ``1234``."""
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.2e}".replace("-", "−")
    magnitude = 0 if value == 0 else int(np.floor(np.log10(abs(value))))
    return f"{value:.{max(0, 2 - magnitude)}f}".replace("-", "−")


def counted(count: int, noun: str) -> str:
    """Write a number with its noun, ``1 word`` or ``2 words``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def stretch(start: float, end: float) -> str:
    """Write from when to when, in seconds."""
    return f"{start:.2f} to {end:.2f}"


def with_chances(pairs: Sequence[tuple[str, float]], digits: int | None = None) -> list[str]:
    """Write each token with a number, in so many decimals or as a `chance`."""
    return [f"{visible(text)} {chance(p) if digits is None else f'{p:.{digits}f}'}" for text, p in pairs]


def step_of(trace: Trace, key: str) -> tuple[str, float]:
    """Tell what one step of a stage is along time, and how many seconds of sound are behind it."""
    (axis,) = (axis for axis in trace.axes(VIEWS[key]) if axis.seconds_per_step is not None)
    return axis.unit, float(axis.seconds_per_step or 0.0)


def heading(trace: Trace, key: str) -> dict[str, Any]:
    """Name and describe the figure of a stage; doubts about the weights behind it stand below its title."""
    title = "\n".join([VIEWS[key].title, *trace.doubts(VIEWS[key])])
    return {"name": key, "title": title, "description": describe(trace, key)}


def spoken_words(trace: Trace) -> tuple[tuple[str, float, float], ...]:
    """Words with times: the reference's if the trace has them, else those of the written words."""
    if trace.reference_words:
        return trace.reference_words
    timed = zip(trace.words, word_times(trace), strict=True)
    return tuple((word.text, *time) for word, time in timed if time is not None)


def spelling(trace: Trace) -> tuple[str, ...]:
    """Write the nearest text tokens of the sound of each spoken word, up to where the next word begins."""
    starts = [start for _, start, _ in spoken_words(trace)]
    tokens = [visible(text.strip() or text) for texts in trace.nearest_texts for text in texts[:1]]
    edges = [0, *(round(start / trace.seconds_per_audio_token) for start in starts[1:]), len(tokens)]
    space = "" if all(len(token) == 1 for token in tokens) else " "  # letters stand close, pieces apart
    return tuple(space.join(tokens[first:last]) for first, last in pairwise(edges))


def unmatched(words: Sequence[str], others: Sequence[str]) -> tuple[bool, ...]:
    """Tell of each word whether it has no twin in another text; case and punctuation do not count."""
    return tuple(twin is None for twin in twins(words, others))


def wrong_words(trace: Trace) -> tuple[bool, ...]:
    """Tell of each written word whether it was not said; of none where what was said is not known."""
    if trace.reference is None:
        return (False,) * len(trace.words)
    return unmatched([word.text for word in trace.words], trace.reference.split())


def missed_words(trace: Trace) -> tuple[bool, ...]:
    """Tell of each of the `spoken_words` whether it was not written as it was said."""
    if trace.reference_words:
        return unmatched([text for text, *_ in trace.reference_words], [word.text for word in trace.words])
    timed = zip(word_times(trace), wrong_words(trace), strict=True)
    return tuple(wrong for time, wrong in timed if time is not None)


def word_times(trace: Trace) -> Times:
    """Find start and end in seconds of each written word; None where they are not known.

    Of speech that nobody has timed they are about right: where the audio tokens spell the word.
    """
    timed = [(word.start, word.end) for word in trace.words]
    times = tuple(None if start is None or end is None else (start, end) for start, end in timed)
    if trace.reference_words or any(times):
        return times
    starts = _spelled_from(trace)
    stretches = dict(zip(starts, pairwise([*starts.values(), trace.duration]), strict=True))
    return tuple(map(stretches.get, range(len(trace.words))))


def _spelled_from(trace: Trace) -> dict[int, float]:
    """Find the second from which audio tokens spell each written word; none if they spell another text."""
    heard, places, before = "", list[int](), ""
    for place, texts in enumerate(trace.nearest_texts):
        text = texts[0].strip().casefold() if texts else ""
        if text not in {before, "-"}:  # a letter stays while its sound lasts
            heard, places = heard + text, places + [place] * len(text)
        before = text
    written = [(letter, n) for n, word in enumerate(trace.words) for letter in word.text.casefold()]
    runs: dict[int, list[list[int]]] = {}  # of each word: where its letters stand, each run together
    found = SequenceMatcher(None, heard, [letter for letter, _ in written], autojunk=False)
    for first, second, size in found.get_matching_blocks():
        for n, pairs in groupby(
            zip(written[second : second + size], places[first:], strict=False), lambda pair: pair[0][1]
        ):
            runs.setdefault(n, []).append([place for _, place in pairs])
    counts = {n: sum(map(len, each)) for n, each in runs.items()}
    if 3 * sum(counts.values()) < 2 * len(written):
        return {}
    # A letter or piece is spelled when some of its sound has passed: half a token, in the mean.
    return {
        n: max(0.0, (max(each, key=len)[0] - 0.5) * trace.seconds_per_audio_token)
        for n, each in runs.items()
        if 2 * counts[n] > len(trace.words[n].text)
    }


def token_times(trace: Trace) -> Times:
    """Find start and end in seconds of the word of each written token; None where they are not known."""
    times: list[tuple[float, float] | None] = [None] * len(trace.tokens)
    for word, time in zip(trace.words, word_times(trace), strict=True):
        for index in range(word.first_token, word.last_token + 1):
            times[index] = time
    return tuple(times)


def tokens_of(trace: Trace, word: Word) -> tuple[Token, ...]:
    """Find the tokens that a word is made of."""
    return trace.tokens[word.first_token : word.last_token + 1]


def audio_times(trace: Trace) -> Times:
    """Find start and end in seconds of each audio token of the prompt; None for its text tokens."""
    seconds, index = trace.seconds_per_audio_token, np.cumsum(trace.prompt_is_audio) - 1
    return tuple(
        (float(n * seconds), float((n + 1) * seconds)) if audio else None
        for n, audio in zip(index, trace.prompt_is_audio, strict=True)
    )


@dataclass(frozen=True)
class Statistics:
    """Shape and spread of one array.

    Attributes
    ----------
    shape : tuple of int
        As in the trace.
    mean, std, minimum, maximum : float
        Over all values, in double precision.
    norms : tuple of (float, float) or None
        Smallest and largest Euclidean length of the row vectors, for arrays that consist of vectors.
    """

    shape: tuple[int, ...]
    mean: float
    std: float
    minimum: float
    maximum: float
    norms: tuple[float, float] | None = None

    def __str__(self) -> str:
        norms = f" · norm {number(self.norms[0])} to {number(self.norms[1])}" if self.norms else ""
        return f"mean {number(self.mean)} · std {number(self.std)}{norms}"

    @property
    def range(self) -> str:
        """The smallest and the largest value in words."""
        return f"{number(self.minimum)} and {number(self.maximum)}"


def statistics(trace: Trace, field: str) -> Statistics:
    """Compute the statistics of one numeric field of a trace, ``"log_mel"`` for example."""
    values = np.asarray(getattr(trace, field), dtype=np.float64)
    norms = None
    if field in VECTORS:
        lengths = np.linalg.norm(values, axis=1)
        norms = (float(lengths.min()), float(lengths.max()))
    mean, std, low, high = map(float, (values.mean(), values.std(), values.min(), values.max()))
    return Statistics(values.shape, mean, std, low, high, norms)


def mel_centers(n_mels: int, scale: str = "slaney") -> Float64[np.ndarray, " n_mels"] | None:
    """Center frequency of each mel band in Hz.

    Parameters
    ----------
    n_mels : int
        Number of bands between 0 and 8000 Hz.
    scale : str
        ``"slaney"``, which Whisper uses, or ``"htk"``.

    Returns
    -------
    np.ndarray or None, shape (n_mels,)
        Rising; None for any other scale.
    """
    if scale not in {"slaney", "htk"}:
        return None
    from librosa import mel_frequencies  # noqa: PLC0415 - slow to import, and few figures need it

    edges: np.ndarray = mel_frequencies(n_mels + 2, fmin=0, fmax=8000, htk=scale == "htk")
    return edges[1:-1]


# --- each figure in one or two sentences ---


def describe(trace: Trace, key: str) -> str:
    """Describe a figure in one or two sentences, for readers who do not see it.

    Parameters
    ----------
    trace : Trace
        The trace that is drawn.
    key : str
        Key of a figure in `PLOTS`.

    Returns
    -------
    str
        Plain text; it may contain tokens of the trace, so escape it before putting it in HTML.

    Raises
    ------
    KeyError
        If there is no such figure.
    """
    describe_, _ = _texts(key)
    text = describe_(trace)
    notes = trace.doubts(VIEWS[key])
    return f"{text} Drawn with {'; '.join(notes)}." if notes else text


def _waveform(trace: Trace) -> str:
    stats, words = statistics(trace, "waveform"), spoken_words(trace)
    loudest = float(np.abs(trace.waveform).argmax() * SECONDS_PER_SAMPLE)
    text = (
        f"Waveform of {stats.shape[0]} samples ({trace.duration:.2f} s) between {stats.range}, "
        f"loudest at {loudest:.2f} s."
    )
    if not words:
        return text
    (first, start, _), (last, _, end) = words[0], words[-1]
    return (
        f"{text} {counted(len(words), 'word')} marked, from “{first}” at {start:.2f} s to “{last}” ending at "
        f"{end:.2f} s."
    )


def _log_mel(trace: Trace) -> str:
    stats = statistics(trace, "log_mel")
    n_mels, frames = stats.shape
    band, frame = np.unravel_index(int(trace.log_mel.argmax()), trace.log_mel.shape)
    centers = mel_centers(n_mels, trace.mel_scale)
    height = "" if centers is None else f" (about {centers[band]:.0f} Hz)"
    return (
        f"Image of {n_mels} mel bands by {frames} frames of {trace.seconds_per_frame * 1000:g} ms, "
        f"values between {stats.range} with mean {number(stats.mean)}. The highest value is in "
        f"band {band}{height} at {frame * trace.seconds_per_frame:.2f} s."
    )


def _vectors(trace: Trace, key: str) -> str:
    stats, (unit, seconds) = statistics(trace, VIEWS[key].field), step_of(trace, key)
    count, width = stats.shape
    shortest, longest = stats.norms or (0.0, 0.0)
    return (
        f"Image of {counted(count, unit)} of {seconds * 1000:g} ms, each a vector of {width} dimensions; "
        f"values between {stats.range} with mean {number(stats.mean)} and standard deviation "
        f"{number(stats.std)}, vector norms between {number(shortest)} and {number(longest)}."
    )


def _nearest_tokens(trace: Trace) -> str:
    tokens, n_nearest = trace.nearest_cosines.shape
    best = trace.nearest_cosines[:, 0]
    highest = int(best.argmax())
    distinct = len({texts[0] for texts in trace.nearest_texts})
    return (
        f"Bars for {counted(tokens, 'audio token')}: the cosine to the nearest of the decoder's text tokens "
        f"lies between {number(float(best.min()))} and {number(float(best.max()))}, highest for "
        f"“{visible(trace.nearest_texts[highest][0])}” at {highest * trace.seconds_per_audio_token:.2f} s. "
        f"{counted(distinct, 'different text token')} {'comes' if distinct == 1 else 'come'} first "
        f"somewhere; the best {n_nearest} are listed for each."
    )


def _prompt(trace: Trace) -> str:
    places = np.flatnonzero(trace.prompt_is_audio)
    count = len(trace.prompt_ids)
    text = f"The prompt in {counted(count, 'position')}: {count - len(places)} text and {len(places)} audio."
    if len(places):
        text += f" The audio positions lie between {places[0]} and {places[-1]}, counted from 0."
    return text


def _decoder_words(trace: Trace) -> str:
    if not trace.words:
        return "The decoder wrote no words."
    least = min(trace.words, key=lambda word: word.probability)
    return (
        f"Bars for {counted(len(trace.words), 'word')}: “{trace.text}”. "
        f"Confidence {chance(trace.confidence)}; "
        f"the least probable word is “{least.text}” with {chance(least.probability)}."
    )


def _decoder_tokens(trace: Trace) -> str:
    if not trace.tokens:
        return "The decoder wrote no tokens."
    sure = sum(token.probability > 0.5 for token in trace.tokens)
    end = "then the end token" if trace.finished else "and was cut off"
    return (
        f"Table of {counted(len(trace.tokens), 'token')} in the order written, {end}: {sure} of them had a "
        "probability above 0.5. Each stands beside its most probable alternatives."
    )


# --- each figure as a table ---


@dataclass(frozen=True)
class Table:
    """Rows of text under a header: column names with units, and as many texts a row as there are columns."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(trace: Trace, key: str) -> Table:
    """Tabulate what a figure shows, for readers who cannot see it, and to look a number up.

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
    _, rows = _texts(key)
    header, *found = map(tuple, rows(trace))
    return Table(header, tuple(found))


def prompt_length(trace: Trace) -> tuple[str, ...]:
    """Work out the length of the prompt from the length of the clip, in one sentence for each step."""
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


Rows = Iterator[Sequence[str]]


def _steps(values: np.ndarray, seconds: float) -> Iterator[tuple[int, np.ndarray, str]]:
    """Cut rows of some seconds each into steps: the first row of each, its rows, the time it begins."""
    size = max(1, round(SHORTEST_STEP / seconds), -(-len(values) // MOST_ROWS))
    for first in range(0, len(values), size):
        yield first, values[first : first + size].astype(np.float64), f"{first * seconds:.2f}"


def _waveform_rows(trace: Trace) -> Rows:
    yield "start (s)", "lowest", "highest", "root mean square"
    for _, part, start in _steps(trace.waveform, SECONDS_PER_SAMPLE):
        yield start, number(part.min()), number(part.max()), number(np.sqrt(np.mean(part**2)))


def _log_mel_rows(trace: Trace) -> Rows:
    yield "start (s)", "mean", "highest", "loudest mel band"
    centers = mel_centers(trace.log_mel.shape[0], trace.mel_scale)
    for _, part, start in _steps(trace.log_mel.T, trace.seconds_per_frame):
        band = int(part.mean(axis=0).argmax())
        loudest = str(band) if centers is None else f"{band} ({centers[band]:.0f} Hz)"
        yield start, number(part.mean()), number(part.max()), loudest


def _vector_rows(trace: Trace, key: str) -> Rows:
    yield "index", "start (s)", "mean", "standard deviation", "mean norm"
    vectors, (_, seconds) = getattr(trace, VIEWS[key].field), step_of(trace, key)
    for first, part, start in _steps(vectors, seconds):
        norm = np.linalg.norm(part, axis=1).mean()
        index = str(first) if len(part) == 1 else f"{first} to {first + len(part) - 1}"
        yield index, start, number(part.mean()), number(part.std()), number(norm)


def _nearest_rows(trace: Trace) -> Rows:
    yield "audio token", "start (s)", "nearest text token, cosine", "runners-up"
    for index, (texts, cosines) in enumerate(zip(trace.nearest_texts, trace.nearest_cosines, strict=True)):
        best, *others = with_chances(list(zip(texts, cosines.tolist(), strict=True)), 3) or [""]
        yield str(index), f"{index * trace.seconds_per_audio_token:.2f}", best, ", ".join(others)


def _prompt_rows(trace: Trace) -> Rows:
    yield "position", "kind", "token id", "token", "heard at (s)"
    audio = 0
    for position, time in enumerate(audio_times(trace)):
        text = trace.prompt_texts[position]
        kind = "marker" if text.startswith("<|") and text.endswith("|>") else "text"
        if time is not None:
            kind, audio = f"audio token {audio}", audio + 1
        number_ = str(trace.prompt_ids[position])
        yield str(position), kind, number_, visible(text), stretch(*time) if time else ""


def _word_rows(trace: Trace) -> Rows:
    yield "word", "probability", "spoken at (s)", "tokens"
    for word, time in zip(trace.words, word_times(trace), strict=True):
        pieces = with_chances([(t.text, t.probability) for t in tokens_of(trace, word)], 3)
        yield word.text, f"{word.probability:.3f}", stretch(*time) if time else "not known", " ".join(pieces)


def _token_rows(trace: Trace) -> Rows:
    header = "token number", "token id", "token", "probability", "most probable others"
    yield *header, "its word is spoken at (s)"
    for index, (token, time) in enumerate(zip(trace.tokens, token_times(trace), strict=True)):
        chosen = str(index), str(token.id), visible(token.text), f"{token.probability:.4f}"
        yield *chosen, ", ".join(with_chances(token.runners_up, 4)), stretch(*time) if time else "not known"


# The description and the table of each figure, in pipeline order.
_TEXTS: dict[str, tuple[Callable[[Trace], str], Callable[[Trace], Rows]]] = {
    "waveform": (_waveform, _waveform_rows),
    "log_mel": (_log_mel, _log_mel_rows),
    "encoder_output": (partial(_vectors, key="encoder_output"), partial(_vector_rows, key="encoder_output")),
    "audio_embeds": (partial(_vectors, key="audio_embeds"), partial(_vector_rows, key="audio_embeds")),
    "nearest_tokens": (_nearest_tokens, _nearest_rows),
    "prompt": (_prompt, _prompt_rows),
    "decoder_words": (_decoder_words, _word_rows),
    "decoder_tokens": (_decoder_tokens, _token_rows),
}


def _texts(key: str) -> tuple[Callable[[Trace], str], Callable[[Trace], Rows]]:
    if key not in _TEXTS:
        raise KeyError(f"there is no figure {key!r}. Make sure to use one of {list(_TEXTS)}")
    return _TEXTS[key]
