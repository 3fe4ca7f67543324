"""Limits for a decoder that may loop: how much it may write, and how to tell that it went wrong.

A language model that hears silence or noise goes on writing, often the same words over and over. Nothing is
dropped here: the text is capped by the clip's length, and what looks wrong is said in a warning.
"""

import math
import zlib

__all__ = ["COMPRESSION_LIMIT", "compression_ratio", "decoding_warnings", "max_new_tokens"]

TOKENS_PER_SECOND = 12.0  # fast speech has 5 words a second, rare words take several tokens
SPARE_TOKENS = 8  # for the end token, and for one long word in a very short clip
COMPRESSION_LIMIT = 2.4  # above it openai/whisper takes a text for a loop (compression_ratio_threshold)


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


def decoding_warnings(text: str, *, finished: bool, limit: int) -> list[str]:
    """Say what looks wrong with a transcript.

    Parameters
    ----------
    text : str
        The transcript.
    finished : bool
        Whether the decoder wrote its end token.
    limit : int
        Tokens it was allowed.

    Returns
    -------
    list of str
        One sentence for each oddity; empty if there is none.
    """
    found = []
    if not finished:
        found.append(f"the decoder was stopped after {limit} tokens without having ended the text")
    if (ratio := compression_ratio(text)) > COMPRESSION_LIMIT:
        found.append(
            f"the text repeats itself (it compresses {ratio:.1f} times, above {COMPRESSION_LIMIT}): "
            "the decoder is probably in a loop"
        )
    if not text:
        found.append("nothing was recognized")
    return found
