"""Let a recognizer write down a collection, as it is and under noise."""

import time
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope.recognition.evaluation.noise import Noise, add_noise
from asrscope.recognition.evaluation.results import Evaluation, Result
from asrscope.recognition.evaluation.utterances import Utterance
from asrscope.recognition.metrics import WordErrors, word_errors

__all__ = ["Recognize", "evaluate"]

Recognize = Callable[[Float32[np.ndarray, " samples"]], str]


def evaluate(
    utterances: Sequence[Utterance],
    recognize: Recognize,
    *,
    noises: Sequence[Noise] = (),
    on_result: Callable[[Result], None] | None = None,
) -> Evaluation:
    """Recognize a collection and count the errors.

    Parameters
    ----------
    utterances : sequence of Utterance
        What to recognize.
    recognize : callable
        Takes a waveform of shape (samples,), mono at 16 kHz, and returns the text.
    noises : sequence of Noise
        Noises to add: each recording is recognized as it is and once more with each of them.
    on_result : callable, optional
        Called with each result as it is ready, under noise too.

    Returns
    -------
    Evaluation
        The results; recordings that raised `OSError` or `ValueError` are among its failures, and are not
        tried again with noise.
    """
    by_noise: dict[Noise | None, list[Result]] = {noise: [] for noise in (None, *noises)}
    for utterance in utterances:
        for noise, results in by_noise.items():
            results.append(_recognized(utterance, recognize, noise))
            if on_result is not None:
                on_result(results[-1])
            if noise is None and results[-1].failure is not None:
                break
    plain = tuple(by_noise.pop(None))
    return Evaluation(plain, {noise: tuple(results) for noise, results in by_noise.items() if noise})


def _recognized(utterance: Utterance, recognize: Recognize, noise: Noise | None) -> Result:
    try:
        # What is odd about a recording shows in its errors; a page of warnings would hide them.
        waveform = load_audio(utterance.audio, on_warning=lambda _message: None)
        if noise is not None:
            waveform = add_noise(waveform, noise, utterance.name)
        start = time.perf_counter()
        text = recognize(waveform)
        seconds = time.perf_counter() - start
    except (OSError, ValueError) as error:
        return Result(utterance, "", WordErrors(0), 0.0, 0.0, failure=str(error))
    audio_seconds = len(waveform) / SAMPLE_RATE
    return Result(utterance, text, word_errors(utterance.text, text), audio_seconds, seconds)
