"""Speech to train on: any corpus with a column of sound and one of text, as the package `datasets` reads it.

Files are handed out as they are stored, and `asrscope.audio` decodes them. A row that cannot be used is left
out, and said with its reason.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE, check_waveform, load_audio
from asrscope.recognition.metrics import PIECE_KEYS

__all__ = ["STYLES", "Corpus", "Source", "Utterance", "plain_text", "written_text"]

AUDIO_COLUMNS = ("audio", "file_name", "file", "path", "wav", "speech")
TEXT_COLUMNS = ("text", "transcription", "transcript", "sentence", "normalized_text")
SPEAKER_COLUMNS = ("speaker_id", "speaker", "client_id", "user_id")
ID_COLUMNS = ("id", "utt_id", "segment_id")
METADATA = {"metadata.csv": "csv", "metadata.jsonl": "json", "metadata.parquet": "parquet"}
# What corpora write for noises, unclear words and punctuation: <unk>, <COMMA>, [laughter], {breath}.
MARKS = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}")
# Within and before numbers; any other sign is the group, and kept if it is one of words.
SIGNS = re.compile(r"(?<=\d)[.,:/\u066b\u066c](?=\d)|(?<!\S)[-\u2212](?=\d)|(.)", re.DOTALL)
# Latin letters and signs that are as wide as Chinese ones -> those of the usual width.
FULL_WIDTH = {0x3000: " "} | {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}
APOSTROPHES = re.compile("[\u2018\u2019\u02bc`]")
# Within words: of Indic scripts and of Persian, of Catalan, of Hebrew.
JOINERS = "\u200c\u200d\u00b7\u05f3\u05f4"


@dataclass(frozen=True)
class Utterance:
    """A clip and what is said in it.

    Parameters
    ----------
    text : str
        As the decoder is to write it.
    log_mel : np.ndarray, shape (frames, n_mels)
        What the encoder reads.
    speaker : str or None
        Who says it, if that is known.
    """

    text: str
    log_mel: Float[ndarray, "frames n_mels"]
    speaker: str | None = None


@runtime_checkable
class Source(Protocol):
    """Where clips come from: a corpus of recordings, or one that is synthesized."""

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from others, and from itself before it was changed; `json` can write it."""

    def rows(self, start: int) -> Iterator[tuple[str, Any]]:
        """Name what there is, from one row on: an id, and what `read` takes."""

    def read(self, row: Any) -> Utterance:
        """Make an utterance of a row; OSError or ValueError says why it cannot be used."""


def plain_text(text: str) -> str:
    """Reduce a transcript to lowercase words, as the bundled model writes them.

    Letters keep the marks that belong to them in any script, numbers their points and signs; what stands in
    brackets for noises or punctuation is dropped. Scores are computed on a stronger normalization, see
    `asrscope.recognition.metrics`.
    """
    text = unicodedata.normalize("NFC", text.translate(FULL_WIDTH))
    text = APOSTROPHES.sub("'", MARKS.sub(" ", text)).lower()
    text = SIGNS.sub(lambda found: found[0] if found[1] is None or _of_word(found[1]) else " ", text)
    return " ".join(word for word in text.split() if word.strip(f"'{JOINERS}"))


def written_text(text: str) -> str:
    """Write a transcript as people write: with capitals and a full stop, numbers as they are.

    Words in capitals alone become small, but for ``I`` and for single letters that are spelled. Brackets for
    noises or punctuation are dropped. Scripts without capitals keep the signs that they have.
    """
    text = MARKS.sub(" ", unicodedata.normalize("NFC", text.translate(FULL_WIDTH)))
    text = APOSTROPHES.sub("'", re.sub('[\u201c\u201d\u00ab\u00bb"]', "", text))
    text = " ".join(text.split()).rstrip(" ,;:-\u2013\u2014")
    if not any(map(_of_word, text.replace("'", ""))):
        return ""
    if text.upper() == text != text.lower() and len(text) > 1:
        words = [word if len(word) == 1 else word.lower() for word in text.split()]
        spelled = sum(len(word) == 1 and word not in "AI" for word in words) > 0
        text = " ".join("a" if word == "A" and len(words) > 1 and not spelled else word for word in words)
    if text.lower() == text.upper():  # no capitals in this script
        return text
    text = re.sub(r"\bi\b", "I", text)
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?\u2026" else f"{text}."


STYLES: dict[str, Callable[[str], str]] = {
    "plain": plain_text,
    "written": written_text,
    "as-is": lambda text: " ".join(text.split()),
}


def _of_word(sign: str) -> bool:
    """Tell letters, the marks on them, and digits from other signs."""
    return unicodedata.category(sign)[0] in "LMN" or sign == "'" or sign in JOINERS


class Corpus:
    """A corpus with a column of sound and a column of text.

    Parameters
    ----------
    source : str or Path
        Name on the Hugging Face Hub; or a folder: with parquet files, or with recordings and a ``metadata``
        file (csv, jsonl or parquet) that has a column ``file_name``, in the folder or in one for each split;
        or one parquet file.
    features : callable
        Turns a waveform, shape (samples,), into a log-mel spectrogram, shape (n_mels, frames).
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
    style : {"plain", "written", "as-is"}
        How the decoder is to write, see `plain_text` and `written_text`.
    max_seconds : float
        Longer rows cannot be used.

    Attributes
    ----------
    dropped : collections.Counter
        What was left out of the texts that were read, as ``<unk>`` or ``[laughter]``, and how often.

    Raises
    ------
    ImportError
        If the package `datasets` is not installed.
    OSError, ValueError
        If there is no such corpus, split or column, or its rows are pieces of longer files.
    """

    def __init__(
        self,
        source: str | Path,
        features: Callable[[ndarray], ndarray],
        *,
        config: str | None = None,
        split: str = "train",
        streaming: bool = False,
        limit: int | None = None,
        text_column: str | None = None,
        style: str = "plain",
        max_seconds: float = 30.0,
    ) -> None:
        if style not in STYLES:
            raise ValueError(f"expected a style of {', '.join(STYLES)}, but found {style!r}")
        self.source, self.config, self.split = str(source), config, split
        self.streaming, self.limit, self.max_seconds = streaming, limit, max_seconds
        self.features, self.style = features, style
        self.dropped: Counter[str] = Counter()
        self._metadata = self._find_metadata()
        columns = self._rows.column_names or list(next(iter(self._rows), {}))
        self._audio = self._column("audio", AUDIO_COLUMNS, columns)
        self._text = self._column("text", (text_column,) if text_column else TEXT_COLUMNS, columns)
        self._speaker = next((name for name in SPEAKER_COLUMNS if name in columns), None)
        self._id = next((name for name in ID_COLUMNS if name in columns), None)
        if self._metadata and (pieces := [name for name in PIECE_KEYS if name in columns]):
            raise ValueError(
                f"{self._metadata}: the column {pieces[0]!r} says that rows are pieces of recordings. Make "
                "sure to cut the recordings first, one file a row"
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this corpus from another, and from itself before it was changed."""
        kept = ("source", "config", "split", "limit", "style", "max_seconds")
        return {name: getattr(self, name) for name in kept} | {
            "text_column": self._text,
            "files": self._files(),
        }

    def _files(self) -> str:
        """Fingerprint the files of a local corpus: names, sizes and times."""
        paths = {Path(self.source), *Path(self.source).rglob("*")}
        if self._metadata:  # what it names, behind links too, and not what else lies there
            names = (row[self._audio] for row in self._rows.select_columns([self._audio]))
            named = takewhile(lambda name: not isinstance(name, Mapping), names)
            paths = {self._metadata, *(self._metadata.parent / str(name) for name in named)}
        found = sorted(filter(os.path.isfile, paths))
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found]
        return hashlib.sha256(repr(stats).encode()).hexdigest()[:16] if stats else ""

    def __len__(self) -> int:
        """Count the rows; a stream does not know (TypeError)."""
        rows = len(self._rows)
        return rows if self.limit is None else min(rows, self.limit)

    def rows(self, start: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Give rows as they are stored, with their ids, from one of them on."""
        for number, row in enumerate(self._rows.skip(start) if start else self._rows, start):
            if self.limit is not None and number >= self.limit:
                return
            yield f"row {number}" if self._id is None else str(row[self._id]), row

    def text(self, row: Mapping[str, Any]) -> str:
        """Give the text of a row, as the decoder is to write it; empty if there are no words in it."""
        said = "" if row[self._text] is None else str(row[self._text])
        if self.style != "as-is":
            self.dropped.update(MARKS.findall(said))
        return STYLES[self.style](said)

    def read(self, row: Mapping[str, Any]) -> Utterance:
        """Decode a row.

        Raises
        ------
        OSError, ValueError
            If that is not possible, the clip is too long, or its text has no words.
        """
        if not (text := self.text(row)):
            raise ValueError(f"no words in its text {row[self._text]!r}")
        waveform = self._waveform(row[self._audio])
        if (seconds := len(waveform) / SAMPLE_RATE) > self.max_seconds:
            raise ValueError(f"{seconds:.1f} s long, at most {self.max_seconds:g} s can be used")
        speaker = None if self._speaker is None or row[self._speaker] is None else str(row[self._speaker])
        return Utterance(text, self.features(waveform).T, speaker)

    def _waveform(self, stored: Any) -> Float32[ndarray, " samples"]:
        """Decode sound, stored as a file's bytes, a path, or samples."""

        def ignore(_warning: str) -> None:
            """Oddities such as clipping are in every corpus."""

        if isinstance(stored, Mapping) and stored.get("array") is not None:
            samples = np.asarray(stored["array"], dtype=np.float32)
            return check_waveform(samples, int(stored["sampling_rate"]), on_warning=ignore)
        if isinstance(stored, Mapping):
            stored = stored.get("bytes") or stored.get("path")
        if stored is None:
            raise ValueError("no sound")
        if isinstance(stored, str) and self._metadata is not None:
            # Links are followed, as the Hub's cache has them; a name must not climb out.
            name = Path(os.path.normpath(stored))
            if name.is_absolute() or os.pardir in name.parts:
                raise ValueError(f"{stored} lies outside of {self._metadata.parent}")
            stored = self._metadata.parent / name
        return load_audio(stored, on_warning=ignore)

    def _find_metadata(self) -> Path | None:
        """Find the table of a folder of recordings."""
        places = (Path(self.source) / self.split.split("[")[0], Path(self.source))
        return next((place / name for place in places for name in METADATA if (place / name).is_file()), None)

    @cached_property
    def _rows(self) -> Any:
        try:
            import datasets  # noqa: PLC0415 - heavy, and only for those who bring a corpus
        except ImportError as error:
            raise ImportError("reading a corpus needs datasets: pip install 'asrscope[train]'") from error
        where: dict[str, Any] = {"split": self.split, "streaming": self.streaming}
        table = self._metadata or (Path(self.source) if Path(self.source).is_file() else None)
        if table is None:
            rows = datasets.load_dataset(self.source, self.config, **where)
        else:
            # A table of paths: the builder for such folders would want to decode, with a package of its own.
            kind = METADATA.get(table.name, "parquet")
            options = {"keep_default_na": False} if kind == "csv" else {}  # "null" is a word
            files = {self.split.split("[")[0]: str(table)}
            rows = datasets.load_dataset(kind, data_files=files, **options, **where)
        # Columns that are marked as sound are decoded when read, unless told otherwise.
        for name, feature in (rows.features or {}).items():
            if isinstance(feature, datasets.Audio):
                rows = rows.cast_column(name, datasets.Audio(decode=False))
        return rows

    def _column(self, what: str, known: tuple[str, ...], columns: list[str]) -> str:
        if (found := next((name for name in known if name in columns), None)) is None:
            raise ValueError(
                f"{self.source}: expected a column of {what} named {', '.join(known)}, but found "
                f"{', '.join(columns)}"
            )
        return found
