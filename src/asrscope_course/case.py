"""The case that runs through the classes: a word that was heard and spelled, and written as another.

Which word it is depends on the weights, so no page names it: `find_case` looks for the clearest one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float32

from asrscope.audio.samples import Sample, load_samples
from asrscope.inside.counterfactual import cut
from asrscope.inside.decoder import force, transcript_ids, word_mask
from asrscope.loading import load
from asrscope.scope.traces import Trace, Word
from asrscope.scope.tracing import trace

__all__ = ["Case", "find_case", "merged", "read_word"]

PAUSE = "-"


@dataclass(frozen=True, eq=False)
class Case:
    """A clip in which one word was written for another.

    Attributes
    ----------
    model, processor
        What wrote it.
    sample : Sample
        The clip, with what was said.
    trace : Trace
        Of the clip.
    index : int
        Number of the word in the sentence and in the transcript: all before it are the same in both.
    """

    model: Any
    processor: Any
    sample: Sample
    trace: Trace
    index: int

    @property
    def said(self) -> str:
        """The word that was said."""
        return self.sample.words[self.index][0]

    @property
    def written(self) -> Word:
        """The word that was written."""
        return self.trace.words[self.index]

    @property
    def times(self) -> tuple[float, float]:
        """Start and end of the word that was said, in seconds."""
        return self.sample.words[self.index][1:]

    @property
    def spelling(self) -> tuple[str, ...]:
        """The nearest text token of each audio token within the word."""
        return read_word(self.trace, self.sample, self.index)

    def sound_from(self, first: int) -> Float32[np.ndarray, " samples"]:
        """Cut away the sound before the word of this number."""
        start = self.sample.words[first][1]
        return cut(self.trace.waveform, 0.0, start) if first else self.trace.waveform

    def chance(
        self,
        word: str,
        first: int = 0,
        model: Any = None,
        sound: Float32[np.ndarray, " samples"] | None = None,
    ) -> float:
        """Ask how probable a word is at the place of the case.

        Parameters
        ----------
        word : str
            The word.
        first : int
            The sentence begins with the word of this number: what was said before it is neither heard nor
            read.
        model : optional
            Another model, with the same processor.
        sound : np.ndarray, shape (samples,), optional
            Another sound, with the same words written before the place.

        Returns
        -------
        float
            Probability of the word's tokens after the words said before it.
        """
        before = transcript_ids(
            self.processor, " ".join(text for text, *_ in self.sample.words[first : self.index])
        )
        tokens = transcript_ids(self.processor, f" {word}")
        heard = self.sound_from(first) if sound is None else sound
        forced = force(model or self.model, self.processor, heard, before + tokens)
        return float(np.prod(forced.token_probabilities[len(before) :]))


def read_word(traced: Trace, sample: Sample, index: int, offset: float = 0.0) -> tuple[str, ...]:
    """Read the nearest text tokens within a word that is said so many seconds earlier than in the sample."""
    word, start, end = sample.words[index]
    times = [(word, start - offset, end - offset)]
    inside = word_mask(times, len(traced.audio_embeds), traced.seconds_per_audio_token)[0]
    return tuple(traced.nearest_texts[place][0].strip() for place in np.flatnonzero(inside))


def merged(letters: Sequence[str]) -> str:
    """Read a spelling as CTC is read: a letter that stays counts once, a pause and a space not at all."""
    return "".join(letter for letter, _ in groupby(letters) if letter != PAUSE)


@cache
def find_case(model: str = "tiny") -> Case:
    """Find the clearest case among the shipped clips.

    A case is a clip whose first wrong word is one word for one (the next is right again), while the projector
    spelled the word that was said: the text tokens nearest to its sound, merged, are its letters. Of several,
    the clearest is that of which the decoder was surest.

    Parameters
    ----------
    model : str
        What `asrscope.load` takes.

    Returns
    -------
    Case
        The case.

    Raises
    ------
    LookupError
        If there is none.
    """
    network, processor = load(model)
    found = []
    for sample in load_samples():
        traced = trace(
            network,
            processor,
            sample.path,
            name=sample.name,
            reference=sample.text,
            reference_words=sample.words,
        )
        said, written = [text for text, *_ in sample.words], [word.text for word in traced.words]
        wrong = (index for index, pair in enumerate(zip(said, written, strict=False)) if pair[0] != pair[1])
        index = next(wrong, len(said))
        again = index + 1 < min(len(said), len(written)) and said[index + 1] == written[index + 1]
        if again and merged(read_word(traced, sample, index)) == said[index]:
            found.append(Case(network, processor, sample, traced, index))
    if not found:
        raise LookupError(
            f"{model}: no shipped clip has a word that is spelled as it was said and written as another, and "
            "the classes follow such a case. Write new sections on these weights, or leave the case out."
        )
    return max(found, key=lambda case: case.written.probability)
