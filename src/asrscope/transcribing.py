"""Write down what is said in a recording of any length."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32

from asrscope import decoder
from asrscope.audio import SAMPLE_RATE, Clip, is_silent, read_clip
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.speech import sound_warnings

__all__ = ["Segment", "Transcript", "transcribe", "windows"]


@dataclass(frozen=True)
class Segment:
    """The text of one stretch of the audio.

    Attributes
    ----------
    start, end : float
        Seconds from the start of the audio.
    text : str
        What was recognized.
    confidence : float
        Geometric mean of the token probabilities; 0 if no token was written.
    """

    start: float
    end: float
    text: str
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """The text of a whole recording.

    Attributes
    ----------
    text : str
        What was recognized.
    confidence : float
        Geometric mean of the token probabilities; 0 if no token was written.
    warnings : tuple of str
        What the reader should know before trusting the text.
    segments : tuple of Segment
        The windows that the audio was cut into, in order; together they cover all of it.
    """

    text: str
    confidence: float
    warnings: tuple[str, ...]
    segments: tuple[Segment, ...]


@torch.inference_mode()
def transcribe(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    source: Clip,
    *,
    num_beams: int = 1,
) -> Transcript:
    """Write down what is said in a recording of any length.

    Audio longer than what the model was trained on is cut where it is quietest; nothing is dropped.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    source : str, Path or np.ndarray [shape=(samples,)]
        An audio file, or a mono waveform at 16 kHz.
    num_beams : int
        Beams of the search; 1 is greedy.

    Returns
    -------
    Transcript
        Text, confidence, warnings, and the segments they were made of.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no audio.
    """
    waveform, warnings = read_clip(source)
    silent = is_silent(waveform)
    bounds = windows(waveform, min(model.config.trained_seconds, model.config.window_seconds))
    segments, probabilities = [], []
    for start, stop in bounds:
        begin, end = start / SAMPLE_RATE, stop / SAMPLE_RATE
        limit = decoder.max_new_tokens(end - begin)
        written = decoder.write(
            *(model, processor(audio=waveform[start:stop])),
            num_beams=num_beams,
            limit=limit,
            tokenizer=processor.tokenizer,
        )
        text = decoder.text_of(processor.tokenizer, written.ids)
        heard = written.token_probabilities
        confidence = decoder.confidence(heard)
        segments.append(Segment(begin, end, text, confidence))
        probabilities += heard
        where = f"{begin:.1f} to {end:.1f} s: " if len(bounds) > 1 else ""
        found = decoder.decoding_warnings(text, finished=written.finished, limit=limit, confidence=confidence)
        if not silent:  # the loader has said that of all of it
            found = sound_warnings(waveform[start:stop]) + found
        warnings += [where + warning for warning in found]
    return Transcript(
        text=" ".join(segment.text for segment in segments if segment.text),
        confidence=decoder.confidence(probabilities),
        warnings=tuple(warnings),
        segments=tuple(segments),
    )


def windows(waveform: Float32[np.ndarray, " samples"], seconds: float) -> list[tuple[int, int]]:
    """Cut a waveform into windows of limited length, each at the quietest place of its second half.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz.
    seconds : float
        Longest window.

    Returns
    -------
    list of (int, int)
        First sample of each window and the sample after its last; together they cover the waveform.
    """
    longest = int(seconds * SAMPLE_RATE)
    block, smooth = SAMPLE_RATE // 100, 10  # loudness over 100 ms, in steps of 10 ms
    bounds, start = [], 0
    while waveform.size - start > longest:
        half = waveform[start + longest // 2 : start + longest]
        power = np.square(half[: half.size // block * block]).reshape(-1, block).mean(axis=1)
        loudness = np.convolve(power, np.ones(smooth), mode="same")
        stop = start + longest // 2 + int(loudness.argmin()) * block + block // 2
        bounds.append((start, stop))
        start = stop
    return [*bounds, (start, waveform.size)]
