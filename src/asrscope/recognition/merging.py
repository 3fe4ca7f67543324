"""Join the texts of two windows that share a stretch of sound, so that no word is lost and none comes twice.

What both heard of the stretch is aligned word by word; somewhere in it the text changes over from one window
to the other. The windows need not agree: a word at the edge of a window is often cut, and heard wrong.
"""

import math
import string
from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np

__all__ = ["join_overlap", "most_words"]

WORDS_PER_SECOND = 5.0  # fast speech
SPARE_WORDS = 2  # the two that the edges cut
GAP = -0.6  # for a word that only one of the windows has
AGREED = 0.5  # least score: half of what one word counts that both have


def most_words(seconds: float) -> int:
    """Bound the number of words that a stretch of sound can hold.

    Parameters
    ----------
    seconds : float
        Length of the stretch.

    Returns
    -------
    int
        More than anyone says in that time.
    """
    return math.ceil(seconds * WORDS_PER_SECOND) + SPARE_WORDS


def join_overlap(left: Sequence[str], right: Sequence[str], limit: int) -> tuple[int, int] | None:
    """Find where the text changes over from one window to the next.

    Parameters
    ----------
    left : sequence of str
        Words of the first window; its last ones were heard in the shared stretch.
    right : sequence of str
        Words of the second window; its first ones were heard in the shared stretch.
    limit : int
        How many words the shared stretch can hold.

    Returns
    -------
    (int, int) or None
        How many words of the first window stay, and how many of the second go: the text is
        ``left[:stay] + right[go:]``. None if the windows have nothing in common there.
    """
    first = max(0, len(left) - limit)
    tail, head = [_bare(word) for word in left[first:]], [_bare(word) for word in right[:limit]]
    pairs, score = _align(tail, head)
    if score < AGREED:
        return None
    # Far from both edges: in the middle of the pairs, best at one that both windows write the same way.
    same = [pair for pair in pairs if tail[pair[0]] == head[pair[1]]] or pairs
    row, column = same[len(same) // 2]
    return first + row + 1, column + 1


def _align(tail: list[str], head: list[str]) -> tuple[list[tuple[int, int]], float]:
    """Align the end of `tail` with the start of `head`; returns pairs of indices, and how well they agree.

    Words before the shared stretch (in `tail`) and after it (in `head`) cost nothing.
    """
    rows, columns = len(tail), len(head)
    scores = np.zeros((rows + 1, columns + 1))
    scores[0] = GAP * np.arange(columns + 1)  # words of `head` before the first of `tail`
    steps = np.zeros((rows + 1, columns + 1), dtype=int)
    steps[0, 1:] = 2
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            options = (
                scores[row - 1, column - 1] + _likeness(tail[row - 1], head[column - 1]),
                scores[row - 1, column] + GAP,
                scores[row, column - 1] + GAP,
            )
            steps[row, column] = int(np.argmax(options))
            scores[row, column] = max(options)
    row, column = rows, int(scores[rows].argmax())
    best, pairs = float(scores[row, column]), []
    while row > 0 and column > 0:
        step = int(steps[row, column])
        if step == 0:
            pairs.append((row - 1, column - 1))
        row, column = row - int(step != 2), column - int(step != 1)
    return pairs[::-1], best


def _likeness(first: str, second: str) -> float:
    """Compare two words by their letters: 1 if they are the same, -1 if they share none."""
    if first == second:
        return 1.0
    return 2 * SequenceMatcher(None, first, second, autojunk=False).ratio() - 1


def _bare(word: str) -> str:
    return word.casefold().strip(string.punctuation)
