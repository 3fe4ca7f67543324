"""Let the decoder write, within limits.

A language model that hears silence or noise goes on writing, often the same words over and over. The text is
capped by the clip's length and ends where it has become a loop; what looks wrong is said in a warning.
"""

import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, StoppingCriteria, StoppingCriteriaList
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

__all__ = [
    "COMPRESSION_LIMIT",
    "LOW_CONFIDENCE",
    "LoopStop",
    "Written",
    "compression_ratio",
    "confidence",
    "decoding_warnings",
    "max_new_tokens",
    "split_pieces",
    "text_of",
    "write",
]

TOKENS_PER_SECOND = 12.0  # fast speech has 5 words a second, rare words take several tokens
SPARE_TOKENS = 8  # for the end token, and for one long word in a very short clip
COMPRESSION_LIMIT = 2.4  # above it openai/whisper takes a text for a loop (compression_ratio_threshold)
LOW_CONFIDENCE = 0.5  # below it the decoder held what it wrote for less likely than not, token by token
TABLE_ROWS = 16_384  # of the embedding table, compared with audio tokens at a time


if hasattr(os, "register_at_fork"):
    # Torch waits forever for threads that a forked process does not have. Its DataLoader does the same.
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@dataclass(frozen=True)
class Written:
    """What one call of ``generate`` wrote.

    Attributes
    ----------
    ids : list of int
        Tokens, without the end token.
    eos_id : int or None
        The end token, if it was written.
    probabilities : torch.Tensor [shape=(steps, vocabulary)]
        Softmax of the raw logits at each step; the last step is that of the end token, if it was written.
    """

    ids: list[int]
    eos_id: int | None
    probabilities: Tensor

    @property
    def finished(self) -> bool:
        """Whether the decoder wrote its end token."""
        return self.eos_id is not None

    @property
    def eos_probability(self) -> float | None:
        """Probability of the end token, if it was written."""
        return None if self.eos_id is None else float(self.probabilities[-1, self.eos_id])

    @property
    def token_probabilities(self) -> list[float]:
        """Probability of each token."""
        return [float(self.probabilities[step, token]) for step, token in enumerate(self.ids)]


class LoopStop(StoppingCriteria):
    """Ends a text once it repeats itself so much that it compresses more than `COMPRESSION_LIMIT` times.

    In a beam search, a looping text ends by itself and the others go on.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        The decoder's tokenizer.
    prompt_tokens : int
        Length of the prompt, which does not count.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._prompt_tokens = prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:  # noqa: ARG002
        """Tell of each text, a row of `input_ids`, whether it has become a loop; shape (texts,)."""
        written = input_ids[:, self._prompt_tokens :].tolist()
        looping = [compression_ratio(text_of(self._tokenizer, ids)) > COMPRESSION_LIMIT for ids in written]
        return torch.tensor(looping, device=input_ids.device)


def write(
    model: Any,
    inputs: BatchFeature,
    *,
    num_beams: int,
    limit: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Written:
    """Let the decoder write its answer to one prompt.

    Parameters
    ----------
    model : PreTrainedModel
        A model that generates; it may be wrapped by PEFT.
    inputs : BatchFeature
        One prompt and its clip, from the processor.
    num_beams : int
        Beams of the search; 1 is greedy.
    limit : int
        Most tokens to write, the end token included.
    tokenizer : PreTrainedTokenizerBase, optional
        The decoder's tokenizer; with it, a text that has become a loop ends there.

    Returns
    -------
    Written
        Tokens and their probabilities.
    """
    prompt_tokens = inputs["input_ids"].shape[1]
    stops = [] if tokenizer is None else [LoopStop(tokenizer, prompt_tokens)]
    output = model.generate(
        **inputs.to(model.get_input_embeddings().weight.device),  # a model may be spread over several
        do_sample=False,
        num_beams=num_beams,
        max_new_tokens=limit,
        stopping_criteria=StoppingCriteriaList(stops),
        return_dict_in_generate=True,
        output_logits=True,
    )
    ids = output.sequences[0, prompt_tokens:].tolist()
    # With several beams, each token of the best text was chosen from the logits of some beam.
    beams = output.beam_indices[0].tolist() if num_beams > 1 else [0] * len(ids)
    logits = torch.stack([output.logits[step][beams[step]] for step in range(len(ids))])
    ends = model.generation_config.eos_token_id
    finished = bool(ids) and ids[-1] in (ends if isinstance(ends, list) else [ends])
    return Written(
        ids=ids[:-1] if finished else ids,
        eos_id=ids[-1] if finished else None,
        probabilities=logits.float().softmax(dim=-1).cpu(),
    )


def max_new_tokens(seconds: float, tokens_per_second: float = TOKENS_PER_SECOND) -> int:
    """Bound the number of tokens that a clip can need.

    Parameters
    ----------
    seconds : float
        Length of the clip.
    tokens_per_second : float
        More than anyone says.

    Returns
    -------
    int
        The cap for ``generate(max_new_tokens=...)``.

    Raises
    ------
    ValueError
        If a parameter is not a positive, finite number.
    """
    if not (0 < seconds < math.inf and 0 < tokens_per_second < math.inf):
        raise ValueError(
            "Expected a positive length and a positive rate, "
            f"but found {seconds} s and {tokens_per_second} tokens per second."
        )
    return math.ceil(seconds * tokens_per_second) + SPARE_TOKENS


def compression_ratio(text: str) -> float:
    """Tell how much shorter zlib makes a text: repetition compresses well.

    Parameters
    ----------
    text : str
        The transcript.

    Returns
    -------
    float
        Bytes of the text divided by bytes compressed: about 1 for a sentence, 0 for an empty text.

    References
    ----------
    ``compression_ratio`` in openai/whisper.
    """
    data = text.encode("utf-8")
    return len(data) / len(zlib.compress(data))


def decoding_warnings(text: str, *, finished: bool, limit: int, confidence: float) -> list[str]:
    """Say what looks wrong with a transcript.

    Parameters
    ----------
    text : str
        The transcript.
    finished : bool
        Whether the decoder wrote its end token.
    limit : int
        Tokens it was allowed.
    confidence : float
        Geometric mean of the token probabilities.

    Returns
    -------
    list of str
        One sentence for each oddity; empty if there is none.
    """
    found = []
    if (ratio := compression_ratio(text)) > COMPRESSION_LIMIT:
        end = "probably in a loop" if finished else "in a loop, and was stopped"
        found.append(
            f"the text repeats itself (it compresses {ratio:.1f} times, above {COMPRESSION_LIMIT}): "
            f"the decoder is {end}"
        )
    elif not finished:
        found.append(f"the decoder was stopped after {limit} tokens without having ended the text")
    if not text:
        found.append("nothing was recognized")
    elif confidence < LOW_CONFIDENCE:
        found.append(
            f"the decoder was unsure (confidence {confidence:.2f}, below {LOW_CONFIDENCE}): "
            "most of the text is probably wrong"
        )
    return found


def confidence(probabilities: Sequence[float]) -> float:
    """Average probabilities geometrically.

    Parameters
    ----------
    probabilities : sequence of float
        Probabilities of tokens.

    Returns
    -------
    float
        Their geometric mean; 0 if there are none.
    """
    if not probabilities or min(probabilities) <= 0:
        return 0.0
    return math.exp(sum(math.log(p) for p in probabilities) / len(probabilities))


def text_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Decode tokens to text, without special tokens and surrounding spaces."""
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def split_pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int] | np.ndarray) -> tuple[str, ...]:
    """Decode each token by itself, with its spaces, special tokens included."""
    return tuple(str(tokenizer.decode([int(token)])) for token in ids)
