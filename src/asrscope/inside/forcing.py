"""Teacher forcing: the decoder reads a transcript that is given to it, instead of one that it writes.

Two runs can then be compared token by token, whatever each of them would have written by itself.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64
from transformers import BatchFeature

from asrscope.decoder import Written
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.scope.traces import Word

__all__ = ["force", "forced_inputs", "transcript_ids", "word_log_probabilities"]


def transcript_ids(processor: AsrScopeProcessor, text: str) -> list[int]:
    """Tokens of a transcript, as the decoder writes it.

    Parameters
    ----------
    processor : AsrScopeProcessor
        The processor saved with the model.
    text : str
        The transcript.

    Returns
    -------
    list of int
        Token ids, without an end token.

    Raises
    ------
    ValueError
        If the text has no tokens.
    """
    ids: list[int] = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ValueError(f"Expected a transcript of at least one token, but found {text!r}.")
    return ids


def forced_inputs(
    processor: AsrScopeProcessor, waveform: Float32[np.ndarray, " samples"], ids: Sequence[int]
) -> tuple[BatchFeature, int]:
    """Prepare a clip with its prompt and a transcript behind it.

    Parameters
    ----------
    processor : AsrScopeProcessor
        The processor saved with the model.
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    ids : sequence of int
        Tokens of the transcript.

    Returns
    -------
    BatchFeature
        What the model reads, a batch of one.
    int
        Number of positions of the prompt. The scores of token ``i`` of the transcript come from the position
        before it, ``prompt + i - 1``.

    Raises
    ------
    ValueError
        If the clip is empty, not finite or too long.
    """
    inputs = processor(audio=waveform)
    prompt = inputs["input_ids"].shape[1]
    behind = torch.tensor([list(ids)], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], behind], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs, prompt


@torch.inference_mode()
def force(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    waveform: Float32[np.ndarray, " samples"],
    ids: Sequence[int],
) -> Written:
    """Ask how probable a given transcript is, token by token.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    ids : sequence of int
        Tokens of the transcript, without the end token.

    Returns
    -------
    Written
        As if the decoder had written these tokens and its end token: each has the probability that the
        decoder gives it after the prompt, the clip and the tokens before it. In double precision, so that the
        logarithm of a very small probability is finite.

    Raises
    ------
    ValueError
        If the clip is empty, not finite or too long.
    """
    inputs, prompt = forced_inputs(processor, waveform, ids)
    logits = model(**inputs.to(model.device)).logits[0, prompt - 1 :]  # (tokens + 1, vocabulary)
    return Written(
        ids=list(ids),
        eos_id=processor.tokenizer.eos_token_id,
        probabilities=logits.double().softmax(dim=-1).cpu(),
    )


def word_log_probabilities(written: Written, words: Sequence[Word]) -> Float64[np.ndarray, " words"]:
    """Add up the logarithms of the probabilities of each word's tokens.

    Parameters
    ----------
    written : Written
        What `force` returned for a transcript.
    words : sequence of Word
        Words of the transcript, from a trace for example: which tokens they consist of counts, and not the
        probabilities that they carry.

    Returns
    -------
    np.ndarray, shape (words,)
        Natural logarithms; 0 is certain.
    """
    logs = np.log(written.token_probabilities)
    sums = [logs[word.first_token : word.last_token + 1].sum() for word in words]
    return np.array(sums, dtype=np.float64)
