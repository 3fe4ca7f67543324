"""Of what a trace consists beside its arrays: the weights behind it, the tokens and the words written."""

from dataclasses import dataclass

__all__ = ["Provenance", "Token", "Word"]


@dataclass(frozen=True)
class Provenance:
    """Where the weights of one part come from.

    Attributes
    ----------
    part : str
        ``"encoder"``, ``"projector"`` or ``"decoder"``.
    source : str
        Path or Hub repository, or how the weights were drawn when they were not loaded.
    revision : str or None
        Commit hash of the repository, where there is one.
    sha256 : str
        Hash over the part's tensors: names, types, shapes and bytes as stored; empty if some were not in
        memory.
    trained : bool or None
        False for randomly initialized weights; None if the checkpoint does not say (unverified).
    parameters : int
        Number of parameters.
    dtype : str
        Type of the weights as stored, ``"float16"`` for example.
    """

    part: str
    source: str
    revision: str | None
    sha256: str
    trained: bool | None
    parameters: int
    dtype: str

    @property
    def label(self) -> str:
        """``"trained weights"``, ``"random weights"`` or ``"unverified weights"``."""
        return {True: "trained", False: "random", None: "unverified"}[self.trained] + " weights"


@dataclass(frozen=True)
class Token:
    """One written token.

    Attributes
    ----------
    id : int
        Index in the vocabulary.
    text : str
        The token as text, its leading space included.
    probability : float
        Softmax of the raw logits at this step.
    runners_up : tuple of (str, float)
        The most probable *other* tokens with their probabilities, best first.
    """

    id: int
    text: str
    probability: float
    runners_up: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Word:
    """One written word: the tokens ``first_token`` to ``last_token`` (inclusive) of the trace.

    Attributes
    ----------
    text : str
        The word without surrounding spaces.
    probability : float
        Product of its tokens' probabilities.
    first_token, last_token : int
        Indices into `Trace.tokens`.
    start, end : float or None
        Seconds in the clip, from the synthesizer, where the word was written as it was spoken.
    """

    text: str
    probability: float
    first_token: int
    last_token: int
    start: float | None
    end: float | None
