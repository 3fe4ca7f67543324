"""What to evaluate: a manifest, or a folder of recordings with transcripts."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from asrscope.audio import find_audio

__all__ = ["Utterance", "read_utterances"]


@dataclass(frozen=True)
class Utterance:
    """One recording and what is said in it.

    Attributes
    ----------
    name : str
        What to call it in a report: its path as the manifest gives it.
    audio : Path
        The recording.
    text : str
        What is said.
    voice : str or None
        Who says it, if known.
    """

    name: str
    audio: Path
    text: str
    voice: str | None = None


def read_utterances(path: str | Path) -> tuple[Utterance, ...]:
    """Read what to evaluate: a manifest, or a folder of recordings with transcripts.

    Parameters
    ----------
    path : str or Path
        A JSON-lines file, each line an object with ``file`` (or ``audio``), ``text`` and possibly ``voice``,
        paths relative to the manifest; or a folder in which every recording has a text file of the same name
        (``clip.wav`` and ``clip.txt``).

    Returns
    -------
    tuple of Utterance
        In the order of the manifest, or sorted by path.

    Raises
    ------
    OSError
        If there is no such file or folder.
    ValueError
        If a line cannot be understood, a transcript is missing, or there is no utterance at all.
    """
    path = Path(path)
    utterances = tuple(_read_folder(path) if path.is_dir() else _read_manifest(path))
    if not utterances:
        raise ValueError(
            f"{path}: no utterances found: expected a JSON-lines manifest or recordings with .txt"
        )
    return utterances


def _read_manifest(path: Path) -> Iterable[Utterance]:
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: expected one JSON object a line: {error}") from error
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: expected a JSON object, but found {type(entry).__name__}")
        name, text, voice = entry.get("file", entry.get("audio")), entry.get("text"), entry.get("voice")
        if not isinstance(name, str) or not isinstance(text, str):
            raise ValueError(
                f"{where}: expected the strings 'file' (or 'audio') and 'text', but found {sorted(entry)}"
            )
        yield Utterance(name, path.parent / name, text, None if voice is None else str(voice))


def _read_folder(path: Path) -> Iterable[Utterance]:
    for audio in find_audio(path):
        transcript = audio.with_suffix(".txt")
        if not transcript.is_file():
            raise ValueError(
                f"{audio}: expected its transcript beside it in {transcript.name}, but found none"
            )
        yield Utterance(str(audio.relative_to(path)), audio, _read_text(transcript).strip())


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: there is no such file or folder: check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, but found other bytes: {error.reason}") from error
