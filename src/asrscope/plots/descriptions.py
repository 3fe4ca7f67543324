"""Each figure in one or two sentences, for readers who do not see it; every number is computed."""

from collections.abc import Callable

import numpy as np

from asrscope.plots.measures import Statistics, mel_centers, number, stage_named, statistics
from asrscope.plots.wording import chance, spoken_words, title_lines, visible
from asrscope.scope.stages import SECONDS_PER_SAMPLE
from asrscope.scope.traces import Trace

__all__ = ["describe"]


def describe(trace: Trace, stage_key: str) -> str:
    """Describe the figure of a stage in one or two sentences of plain text.

    Parameters
    ----------
    trace : Trace
        The trace that is drawn.
    stage_key : str
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
    if stage_key not in _DESCRIPTIONS:
        raise KeyError(f"there is no figure {stage_key!r}. Make sure to use one of {list(_DESCRIPTIONS)}")
    return _DESCRIPTIONS[stage_key](trace)


def _waveform(trace: Trace) -> str:
    if trace.waveform.size == 0:
        return "Waveform without samples."
    loudest = float(np.abs(trace.waveform).argmax() * SECONDS_PER_SAMPLE)
    stats = statistics(trace, "waveform")
    text = (
        f"Waveform of {stats.shape[0]} samples ({trace.duration:.2f} s) between {_range(stats)}, "
        f"loudest at {loudest:.2f} s."
    )
    if words := spoken_words(trace):
        first, last = words[0], words[-1]
        text += (
            f" {_count(len(words), 'word')} marked, from “{first[0]}” at {first[1]:.2f} s "
            f"to “{last[0]}” ending at {last[2]:.2f} s."
        )
    return text


def _log_mel(trace: Trace) -> str:
    stats = statistics(trace, "log_mel")
    n_mels, frames = stats.shape
    text = f"Image of {n_mels} mel bands by {frames} frames of {trace.seconds_per_frame * 1000:g} ms"
    if stats.mean is None:
        return f"{text}, without values."
    band, frame = np.unravel_index(int(trace.log_mel.argmax()), trace.log_mel.shape)
    centers = mel_centers(n_mels, trace.mel_scale)
    height = "" if centers is None else f" (about {centers[band]:.0f} Hz)"
    return (
        f"{text}, values between {_range(stats)} with mean {number(stats.mean)}. The highest value is in "
        f"band {band}{height} at {frame * trace.seconds_per_frame:.2f} s."
    )


def _vectors(trace: Trace, key: str, unit: str, seconds: float) -> str:
    stage = stage_named(key)
    stats = statistics(trace, stage.field)
    count, width = stats.shape
    text = f"Image of {_count(count, unit)} of {seconds * 1000:g} ms, each a vector of {width} dimensions"
    if stats.mean is None or stats.std is None or stats.norms is None:
        return f"{text}, without values.{_weights(trace, stage.parts)}"
    return (
        f"{text}; values between {_range(stats)} with mean {number(stats.mean)} and standard deviation "
        f"{number(stats.std)}, vector norms between {number(stats.norms[0])} and {number(stats.norms[1])}."
        f"{_weights(trace, stage.parts)}"
    )


def _encoder_output(trace: Trace) -> str:
    return _vectors(trace, "encoder_output", "encoder position", trace.seconds_per_position)


def _audio_embeds(trace: Trace) -> str:
    return _vectors(trace, "audio_embeds", "audio token", trace.seconds_per_audio_token)


def _nearest_tokens(trace: Trace) -> str:
    stage = stage_named("nearest_tokens")
    tokens, n_nearest = trace.nearest_cosines.shape
    if trace.nearest_cosines.size == 0:
        return "No audio token, so no nearest text token."
    best = trace.nearest_cosines[:, 0]
    highest = int(best.argmax())
    name = visible(trace.nearest_texts[highest][0])
    distinct = len({texts[0] for texts in trace.nearest_texts})
    return (
        f"Bars for {_count(tokens, 'audio token')}: the cosine to the nearest of the decoder's text tokens "
        f"lies between {number(float(best.min()))} and {number(float(best.max()))}, highest for “{name}” at "
        f"{highest * trace.seconds_per_audio_token:.2f} s. {_count(distinct, 'different text token')} "
        f"{'comes' if distinct == 1 else 'come'} first somewhere; the best {n_nearest} are listed for each."
        f"{_weights(trace, stage.parts)}"
    )


def _prompt(trace: Trace) -> str:
    positions = len(trace.prompt_ids)
    places = np.flatnonzero(trace.prompt_is_audio)
    text = f"The prompt in {_count(positions, 'position')}: "
    text += f"{positions - len(places)} text and {len(places)} audio."
    if len(places):
        text += f" The audio positions lie between {places[0]} and {places[-1]}, counted from 0."
    return text


def _decoder_words(trace: Trace) -> str:
    stage = stage_named("decoder_words")
    if not trace.words:
        return f"The decoder wrote no words.{_weights(trace, stage.parts)}"
    least = min(trace.words, key=lambda word: word.probability)
    return (
        f"Bars for {_count(len(trace.words), 'word')}: “{trace.text}”. "
        f"Confidence {chance(trace.confidence)}; "
        f"the least probable word is “{least.text}” with {chance(least.probability)}."
        f"{_weights(trace, stage.parts)}"
    )


def _decoder_tokens(trace: Trace) -> str:
    stage = stage_named("decoder_words")
    count = len(trace.tokens)
    if not count:
        return f"The decoder wrote no tokens.{_weights(trace, stage.parts)}"
    sure = sum(token.probability > 0.5 for token in trace.tokens)
    end = "then the end token" if trace.finished else "and was cut off"
    return (
        f"Table of {_count(count, 'token')} in the order written, {end}: {sure} of them had a probability "
        f"above 0.5. Each stands beside its most probable alternatives.{_weights(trace, stage.parts)}"
    )


def _range(stats: Statistics) -> str:
    return f"{number(stats.minimum or 0.0)} and {number(stats.maximum or 0.0)}"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _weights(trace: Trace, parts: tuple[str, ...]) -> str:
    """Say which weights behind the picture are not known to be trained."""
    notes = title_lines(trace, "", parts).split("\n")[1:]
    return f" Drawn with {'; '.join(notes)}." if notes else ""


_DESCRIPTIONS: dict[str, Callable[[Trace], str]] = {
    "waveform": _waveform,
    "log_mel": _log_mel,
    "encoder_output": _encoder_output,
    "audio_embeds": _audio_embeds,
    "nearest_tokens": _nearest_tokens,
    "prompt": _prompt,
    "decoder_words": _decoder_words,
    "decoder_tokens": _decoder_tokens,
}
