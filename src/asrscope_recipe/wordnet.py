"""Sentences of an open vocabulary: the examples that WordNet gives for the use of words, in all their senses.

WordNet is Princeton University's; its license allows every use. On Debian it is the package ``wordnet-base``.
"""

import hashlib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy import ndarray

from asrscope.training.corpus import Utterance, written_text
from asrscope_recipe.codecs import compress, random_codec
from asrscope_recipe.corpus import draw_utterance
from asrscope_recipe.synthesis import training_voice

__all__ = ["DICTIONARY", "Spoken", "example_sentences"]

DICTIONARY = Path("/usr/share/wordnet")
WORDS = range(4, 14)
PLAIN = re.compile(r"[A-Za-z' ,.!?;-]+")  # what a synthesizer says as it is written


def example_sentences(folder: Path = DICTIONARY, seed: int = 0) -> list[str]:
    """List the example sentences of 4 to 13 words, as people write, in an order that the seed decides.

    Raises
    ------
    FileNotFoundError
        If WordNet is not installed.
    """
    found: dict[str, None] = {}
    for kind in ("noun", "verb", "adj", "adv"):
        path = folder / f"data.{kind}"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no WordNet. On Debian or Ubuntu: apt-get install wordnet-base")
        for line in path.read_text(encoding="latin-1").split("\n"):
            # A line ends with the gloss: a definition, and examples in quotation marks.
            for example in re.findall('"([^"]+)"', line.partition(" | ")[2]):
                sentence = example.partition("--")[0].strip()  # what follows says who wrote it
                if len(sentence.split()) in WORDS and PLAIN.fullmatch(sentence):
                    found[written_text(sentence)] = None
    sentences = sorted(found)
    random.Random(seed).shuffle(sentences)
    return sentences


class Spoken:
    """Sentences, each spoken by a synthesizer in a voice of its own while it is read.

    Parameters
    ----------
    sentences : sequence of str
        What is said.
    features : callable
        Turns a waveform, shape (samples,), into a log-mel spectrogram, shape (n_mels, frames).
    """

    def __init__(self, sentences: Sequence[str], features: Callable[[ndarray], ndarray]) -> None:
        self.sentences, self.features = sentences, features

    @property
    def identity(self) -> dict[str, Any]:
        """What tells these sentences from others."""
        return {"sentences": hashlib.sha256("\n".join(self.sentences).encode()).hexdigest()[:16]}

    def __len__(self) -> int:
        """Count the sentences."""
        return len(self.sentences)

    def rows(self, start: int = 0) -> Iterator[tuple[str, str]]:
        """Give each sentence, named by itself."""
        return ((text, text) for text in itertools.islice(self.sentences, start, None))

    def read(self, row: str) -> Utterance:
        """Have a sentence spoken; it decides the voice, and the codec that some go through."""
        rng = random.Random(row)
        _, speech = draw_utterance(rng, row, training_voice)
        codec = random_codec(rng)
        waveform = compress(speech.waveform, *codec) if codec else speech.waveform
        return Utterance(written_text(speech.text), self.features(waveform).T)
