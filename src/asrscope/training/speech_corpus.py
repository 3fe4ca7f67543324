"""Read speech corpora that others have made: one column of sound, one of text, as LibriSpeech has them.

The package `datasets` finds and opens them, on this machine or on the Hugging Face Hub, whole or as a stream.
It hands out files as they are stored; `asrscope.audio` decodes them. What cannot be used is reported with its
id and counted.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE, check_waveform, load_audio
from asrscope.files import write_text, written

__all__ = ["SpeechCorpus", "SpeechShard", "Utterance", "load_speech", "plain_text", "write_speech"]

AUDIO_COLUMNS = ("audio", "file_name", "file", "path", "wav", "speech")
TEXT_COLUMNS = ("text", "transcription", "transcript", "sentence", "normalized_text")
SPEAKER_COLUMNS = ("speaker_id", "speaker", "client_id", "user_id")
ID_COLUMNS = ("id", "utt_id", "segment_id")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # of a folder of recordings
ROWS_PER_SHARD = 200

Report = Callable[[str, str], None]


@dataclass(frozen=True)
class Utterance:
    """One row of a corpus.

    Parameters
    ----------
    id : str
        As the corpus has it, or the number of the row.
    waveform : np.ndarray, shape (samples,)
        Mono, 16,000 samples a second, in [-1, 1].
    text : str
        What is said, see `plain_text`.
    speaker : str or None
        Who says it, if the corpus tells.
    """

    id: str
    waveform: Float32[ndarray, " samples"]
    text: str
    speaker: str | None


@dataclass(frozen=True)
class SpeechShard:
    """Memory-mapped features of some utterances.

    Parameters
    ----------
    log_mel : np.ndarray, shape (frames, n_mels), float16
        All utterances end to end.
    utterances : list of dict
        ``id``, ``text``, ``speaker``, ``seconds``, ``start`` (first frame) and ``frames``, one each.
    """

    log_mel: ndarray
    utterances: list[dict[str, Any]]


def plain_text(text: str) -> str:
    """Reduce a transcript to lowercase words of letters, digits and apostrophes, separated by single blanks.

    Numbers stay as they are written. Scores are computed on a stronger normalization, see
    `asrscope.recognition.metrics`; a decoder must learn to write what people can read.
    """
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub("[\u2018\u2019\u02bc`]", "'", text)
    words = re.sub(r"[^\w']|_", " ", text).split()
    return " ".join(word for word in words if word.strip("'"))


class SpeechCorpus:
    """A corpus with a column of sound and a column of text.

    Parameters
    ----------
    source : str or Path
        Name on the Hugging Face Hub; or a folder: with parquet files, or with recordings and a ``metadata``
        file (csv, jsonl or parquet) that has a column ``file_name``, in the folder or in one for each split.
    config : str, optional
        Part of a corpus on the Hub, ``"clean"`` for example.
    split : str
        ``"train"`` for example; slices as ``"train[:100]"`` work unless streaming.
    streaming : bool
        Read row by row instead of storing the corpus on this machine first.
    limit : int, optional
        Read only so many rows.
    text_column : str, optional
        Where the transcript stands, if in none of the usual columns.
    max_seconds : float
        Longer rows cannot be used.
    cache_dir : Path, optional
        Where `datasets` stores what it has read; default: its own.
    on_bad : callable, optional
        Called with id and reason for each row that cannot be used.

    Attributes
    ----------
    bad : int
        Rows that could not be used so far.

    Raises
    ------
    ImportError
        If the package `datasets` is not installed.
    OSError, ValueError
        If there is no such corpus, split or column.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        config: str | None = None,
        split: str = "train",
        streaming: bool = False,
        limit: int | None = None,
        text_column: str | None = None,
        max_seconds: float = 30.0,
        cache_dir: Path | None = None,
        on_bad: Report | None = None,
    ) -> None:
        self.source, self.config, self.split = str(source), config, split
        self.streaming, self.limit, self.max_seconds = streaming, limit, max_seconds
        self.cache_dir = cache_dir
        self.on_bad = on_bad
        self.bad = 0
        self._metadata = self._find_metadata()
        columns = self._rows.column_names or list(next(iter(self._rows), {}))
        self._audio = _find_column("audio", AUDIO_COLUMNS, columns, self.source)
        known = TEXT_COLUMNS if text_column is None else (text_column,)
        self._text = _find_column("text", known, columns, self.source)
        self._speaker = next((name for name in SPEAKER_COLUMNS if name in columns), None)
        self._id = next((name for name in ID_COLUMNS if name in columns), None)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this corpus from another."""
        return {"source": self.source, "config": self.config, "split": self.split, "limit": self.limit}

    def __len__(self) -> int:
        """Count the rows; a stream does not know (TypeError)."""
        rows = len(self._rows)
        return rows if self.limit is None else min(rows, self.limit)

    def __iter__(self) -> Iterator[Utterance]:
        """Read the rows that can be used."""
        for number, row in self.rows():
            found = self.read(number, row)
            if found is not None:
                yield found

    def rows(self, start: int = 0) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Read rows as they are stored, with their numbers, from one of them on."""
        for number, row in enumerate(self._rows.skip(start) if start else self._rows, start):
            if self.limit is not None and number >= self.limit:
                return
            yield number, row

    def read(self, number: int, row: Mapping[str, Any]) -> Utterance | None:
        """Decode a row; if that is not possible, report it and return None."""
        name = f"row {number}" if self._id is None else str(row[self._id])
        try:
            return self._decode(name, row)
        except (OSError, ValueError) as error:
            self.bad += 1
            if self.on_bad is not None:
                self.on_bad(name, " ".join(str(error).split()))
            return None

    def _decode(self, name: str, row: Mapping[str, Any]) -> Utterance:
        text = plain_text(str(row[self._text] if row[self._text] is not None else ""))
        if not text:
            raise ValueError(f"no words in its text {row[self._text]!r}")
        waveform = self._waveform(row[self._audio])
        seconds = len(waveform) / SAMPLE_RATE
        if seconds > self.max_seconds:
            raise ValueError(f"{seconds:.1f} s long, at most {self.max_seconds:g} s can be used")
        speaker = None if self._speaker is None or row[self._speaker] is None else str(row[self._speaker])
        return Utterance(name, waveform, text, speaker)

    def _waveform(self, stored: Any) -> Float32[ndarray, " samples"]:
        """Decode sound, stored as a file's bytes, a path, or samples."""

        def ignore(_warning: str) -> None:
            """Oddities such as clipping are in every corpus."""

        if isinstance(stored, Mapping) and stored.get("array") is not None:
            return check_waveform(stored["array"], int(stored["sampling_rate"]), on_warning=ignore)
        if isinstance(stored, Mapping):
            stored = stored.get("bytes") or stored.get("path")
        if stored is None:
            raise ValueError("no sound")
        if isinstance(stored, str) and self._metadata is not None:
            folder = self._metadata.parent.resolve()
            if not (folder / stored).resolve().is_relative_to(folder):
                raise ValueError(f"{stored} lies outside of {folder}")
            stored = folder / stored
        return load_audio(stored, on_warning=ignore)

    def _find_metadata(self) -> Path | None:
        """Find the table of a folder of recordings."""
        folder = Path(self.source)
        if not folder.is_dir():
            return None
        split = re.split(r"[\[]", self.split)[0]
        candidates = [place / name for place in (folder / split, folder) for name in METADATA]
        return next((path for path in candidates if path.is_file()), None)

    @cached_property
    def _rows(self) -> Any:
        try:
            import datasets  # noqa: PLC0415 - heavy, and only for those who bring a corpus
        except ImportError as error:
            raise ImportError("reading a corpus needs datasets: pip install 'asrscope[train]'") from error
        where: dict[str, Any] = {
            "split": self.split,
            "streaming": self.streaming,
            "cache_dir": None if self.cache_dir is None else str(self.cache_dir),
        }
        if self._metadata is None:
            rows = datasets.load_dataset(self.source, self.config, **where)
        else:
            # A table of paths: the builder for such folders would want to decode, with a package of its own.
            kind = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}[self._metadata.suffix]
            options = {"keep_default_na": False} if kind == "csv" else {}  # "null" is a word
            split = re.split(r"[\[]", self.split)[0]
            rows = datasets.load_dataset(kind, data_files={split: str(self._metadata)}, **options, **where)
        # Columns that are marked as sound are decoded when read, unless told otherwise.
        for name, feature in (rows.features or {}).items():
            if isinstance(feature, datasets.Audio):
                rows = rows.cast_column(name, datasets.Audio(decode=False))
        return rows


def write_speech(
    corpus: SpeechCorpus,
    folder: Path,
    features: Callable[[ndarray], ndarray],
    *,
    process: int = 0,
    processes: int = 1,
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Keep the features of a corpus as shards; finished shards are kept.

    Parameters
    ----------
    corpus : SpeechCorpus
        What to read.
    folder : Path
        Gets for each 200 rows ``.mel.npy`` and ``.jsonl``, whose first line lists the rows that could not be
        used.
    features : callable
        Turns a waveform, shape (samples,), into a log-mel spectrogram, shape (n_mels, frames).
    process, processes : int
        Of so many processes that share the work, this is which.
    progress : callable, optional
        Called with rows done and rows in all, None if unknown.

    Raises
    ------
    ValueError
        If the folder holds another corpus.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "corpus.json"
    identity = json.dumps(corpus.identity)
    if path.exists() and path.read_text(encoding="utf-8") != identity:
        raise ValueError(
            f"{folder} holds another corpus ({path.read_text(encoding='utf-8')}). Make sure to delete that "
            "folder, or to give another one"
        )
    write_text(path, identity)
    if (folder / "complete").exists():
        return
    first = 0
    while (folder / f"{first:05d}.jsonl").exists():
        first += 1
    try:
        total: int | None = len(corpus)
    except TypeError:
        total = None
    group: list[tuple[int, Mapping[str, Any]]] = []
    number = first
    for row in corpus.rows(first * ROWS_PER_SHARD):
        group.append(row)
        if len(group) == ROWS_PER_SHARD:
            if number % processes == process:
                _write_shard(corpus, folder / f"{number:05d}", group, features)
            if progress:
                progress(group[-1][0] + 1, total)
            group, number = [], number + 1
    if group and number % processes == process:
        _write_shard(corpus, folder / f"{number:05d}", group, features)
    if progress and group:
        progress(group[-1][0] + 1, total)


def _write_shard(
    corpus: SpeechCorpus,
    stem: Path,
    rows: list[tuple[int, Mapping[str, Any]]],
    features: Callable[[ndarray], ndarray],
) -> None:
    """Write one shard; its manifest comes last and marks it complete."""
    if stem.with_suffix(".jsonl").exists():
        return
    bad: list[tuple[str, str]] = []
    mels, lines, start = [], [], 0
    tell = corpus.on_bad

    def remember(name: str, reason: str) -> None:
        bad.append((name, reason))
        if tell is not None:
            tell(name, reason)

    corpus.on_bad = remember
    try:
        found = [utterance for number, row in rows if (utterance := corpus.read(number, row)) is not None]
    finally:
        corpus.on_bad = tell
    for utterance in found:
        mel = features(utterance.waveform).T.astype(np.float16)  # (frames, n_mels)
        mels.append(mel)
        lines.append(
            {
                "id": utterance.id,
                "text": utterance.text,
                "speaker": utterance.speaker,
                "seconds": round(len(utterance.waveform) / SAMPLE_RATE, 3),
                "start": start,
                "frames": len(mel),
            }
        )
        start += len(mel)
    if mels:
        with written(stem.with_suffix(".mel.npy")) as file:
            np.save(file, np.concatenate(mels))
    text = "\n".join(json.dumps(line) for line in [{"bad": bad}, *lines]) + "\n"
    write_text(stem.with_suffix(".jsonl"), text)


def load_speech(folder: Path) -> tuple[list[SpeechShard], list[tuple[str, str]]]:
    """Open the shards that `write_speech` wrote.

    Returns
    -------
    list of SpeechShard
        What can be used.
    list of (str, str)
        Id and reason of every row that cannot.

    Raises
    ------
    ValueError
        If there is nothing to be used.
    """
    shards, bad = [], []
    for manifest in sorted(folder.glob("[0-9]*.jsonl")):
        head, *lines = (json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines())
        bad += [(name, reason) for name, reason in head["bad"]]
        if lines:
            mel = np.load(manifest.with_suffix(".mel.npy"), mmap_mode="r")
            shards.append(SpeechShard(mel, lines))
    if not shards:
        raise ValueError(f"{folder}: no row of the corpus can be used; {len(bad)} cannot")
    return shards, bad


def _find_column(what: str, known: tuple[str, ...], columns: list[str], source: str) -> str:
    found = next((name for name in known if name in columns), None)
    if found is None:
        raise ValueError(
            f"{source}: expected a column of {what} named {', '.join(known)}, but found {', '.join(columns)}"
        )
    return found
