"""The clips that come with the package, with their transcripts and word times.

Synthesized speech of sentences and voices that no training saw. The synthesizer's own word times are exact,
so they are the ground truth for every alignment.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["Sample", "load_sample", "load_samples"]

CLIPS = Path(__file__).parents[1] / "data" / "clips"


@dataclass(frozen=True)
class Sample:
    """One shipped clip.

    Attributes
    ----------
    name : str
        What to call it: the file's name without its ending.
    path : Path
        A FLAC file, mono, 16 kHz.
    text : str
        What is said.
    voice : str
        Who says it: the synthesizer's voice.
    words : tuple of (str, float, float)
        Each word with its start and end in seconds.
    """

    name: str
    path: Path
    text: str
    voice: str
    words: tuple[tuple[str, float, float], ...]


@lru_cache(maxsize=1)
def load_samples() -> tuple[Sample, ...]:
    """List the shipped clips, in the order of their manifest.

    Returns
    -------
    tuple of Sample
        The clips; their audio is read with ``load_audio(sample.path)``.
    """
    manifest = json.loads((CLIPS / "clips.json").read_text(encoding="utf-8"))
    return tuple(
        Sample(
            name=Path(clip["file"]).stem,
            path=CLIPS / clip["file"],
            text=clip["text"],
            voice=clip["voice"],
            words=tuple((word, float(start), float(end)) for word, start, end in clip["words"]),
        )
        for clip in manifest["clips"]
    )


def load_sample(name: str) -> Sample:
    """Find a shipped clip by its name.

    Parameters
    ----------
    name : str
        One of the names in `load_samples`.

    Returns
    -------
    Sample
        The clip.

    Raises
    ------
    ValueError
        If there is no clip of that name.
    """
    samples = {sample.name: sample for sample in load_samples()}
    if name not in samples:
        raise ValueError(f"Expected one of the samples {', '.join(samples)}, but found {name!r}.")
    return samples[name]
