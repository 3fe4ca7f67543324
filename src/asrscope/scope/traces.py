"""What one run of the model leaves behind: a `Trace` holds what `asrscope.scope.stages` describes.

NumPy is all that is needed here: a saved trace is loaded and drawn without torch. A file may be damaged or
hostile: nothing in it is unpickled, and how much it unpacks to is known before.
"""

import json
import math
import types
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints
from zipfile import ZipFile

import numpy as np
from jaxtyping import Bool, Float32, Int64

from asrscope.audio import SAMPLE_RATE, free_memory
from asrscope.saving import written
from asrscope.scope.stages import STAGES, Axis, Stage

__all__ = ["ARRAY_AXES", "STAGES", "Axis", "Provenance", "Stage", "Token", "Trace", "Word", "WordTimes"]

FORMAT = "asrscope-trace"
FORMAT_VERSION = 2
OWN_ARCHITECTURE = "AsrScopeForConditionalGeneration"
MOST_BYTES = 2**32  # of all arrays of a file; those of half an hour in a large model have a quarter of it

WordTimes = Sequence[tuple[str, float, float]]  # word, start and end in seconds

# Decimals kept by `Trace.to_dict`. A 16-bit sample is a step of 3e-5, so five decimals lose nothing audible;
# the other arrays are activations of order one.
DECIMALS = {
    "waveform": 5,
    "log_mel": 4,
    "encoder_hidden_states": 4,
    "audio_embeds": 5,
    "nearest_cosines": 4,
}
PROBABILITY_DECIMALS = 6


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
        Softmax, at this step, of the scores that it was chosen by: the decoder's, or those of a vote.
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


@dataclass(frozen=True, eq=False)
class Trace:
    """Every stage of one clip's way through the model.

    Attributes
    ----------
    name : str
        What the clip is called.
    waveform : np.ndarray [shape=(samples,)]
        Mono, 16 kHz, in [-1, 1].
    log_mel : np.ndarray [shape=(n_mels, frames)]
        What the encoder read, (log10(power) + 4) / 4, the lowest band first; one frame is
        ``seconds_per_frame``.
    encoder_hidden_states : np.ndarray [shape=(positions, encoder_dim)]
        Encoder output; one position is ``seconds_per_position``.
    audio_embeds : np.ndarray [shape=(audio_tokens, decoder_dim)]
        Projector output, as the decoder read it; one audio token is ``seconds_per_audio_token``.
    nearest_ids : np.ndarray [shape=(audio_tokens, n_nearest)]
        Text tokens nearest to each audio token by cosine in the decoder's embedding table, best first.
    nearest_cosines : np.ndarray [shape=(audio_tokens, n_nearest)]
        Their cosines, falling along each row.
    nearest_texts : tuple of tuple of str
        The same tokens as text.
    prompt_ids : np.ndarray [shape=(prompt_positions,)]
        Token ids of the prompt.
    prompt_texts : tuple of str
        The same tokens as text.
    prompt_is_audio : np.ndarray [shape=(prompt_positions,)]
        True where a placeholder was replaced by an audio token.
    tokens : tuple of Token
        What the decoder wrote, without the end token.
    finished : bool
        Whether the decoder wrote its end token (otherwise it was cut off).
    eos_probability : float or None
        Probability of the end token at the last step; None if it was not written.
    words : tuple of Word
        The tokens joined to words.
    text : str
        The transcript.
    confidence : float
        Geometric mean of the token probabilities; 0 if no token was written.
    timings : dict
        Seconds spent in ``features``, ``encoder``, ``projector`` and ``decoder``.
    provenance : tuple of Provenance
        Where the weights of encoder, projector and decoder come from.
    architecture : str
        Class of the model.
    projection : str
        How the projector makes audio tokens of encoder positions, in words.
    stack_factor : int or None
        Encoder positions that the projector stacks to one audio token; None if it does not stack.
    frames_per_column : int
        Frames that the encoder reads as one column of its input.
    mel_scale : str
        ``"slaney"`` or ``"htk"``: which frequencies the mel bands stand for.
    seconds_per_frame, seconds_per_position, seconds_per_audio_token : float
        Seconds of sound behind one step of each array.
    window_seconds : float or None
        Length that the clip was padded to before the encoder; None if it was not.
    warnings : tuple of str
        What the reader should know before trusting the transcript.
    reference : str or None
        What was said, if known.
    reference_words : tuple of (str, float, float) or None
        The words said with start and end in seconds, if known.
    versions : dict
        Versions of the packages that made the trace.

    Raises
    ------
    ValueError
        If an array is empty or does not have its axes, or two axes of one name differ in length.
    """

    name: str
    waveform: Float32[np.ndarray, " samples"]
    log_mel: Float32[np.ndarray, "n_mels frames"]
    encoder_hidden_states: Float32[np.ndarray, "positions encoder_dim"]
    audio_embeds: Float32[np.ndarray, "audio_tokens decoder_dim"]
    nearest_ids: Int64[np.ndarray, "audio_tokens n_nearest"]
    nearest_cosines: Float32[np.ndarray, "audio_tokens n_nearest"]
    nearest_texts: tuple[tuple[str, ...], ...]
    prompt_ids: Int64[np.ndarray, " prompt_positions"]
    prompt_texts: tuple[str, ...]
    prompt_is_audio: Bool[np.ndarray, " prompt_positions"]
    tokens: tuple[Token, ...]
    finished: bool
    eos_probability: float | None
    words: tuple[Word, ...]
    text: str
    confidence: float
    timings: dict[str, float]
    provenance: tuple[Provenance, ...]
    architecture: str
    projection: str
    stack_factor: int | None
    frames_per_column: int
    mel_scale: str
    seconds_per_frame: float
    seconds_per_position: float
    seconds_per_audio_token: float
    window_seconds: float | None
    warnings: tuple[str, ...]
    reference: str | None
    reference_words: tuple[tuple[str, float, float], ...] | None
    versions: dict[str, str]

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {"audio_tokens": int(self.prompt_is_audio.sum())}
        for field, names in ARRAY_AXES.items():
            shape = getattr(self, field).shape
            if len(shape) != len(names):
                raise ValueError(f"Trace.{field} must have the axes {names}, but found shape {shape}.")
            if 0 in shape:
                raise ValueError(f"Trace.{field} must not be empty, but found shape {shape}.")
            for name, size in zip(names, shape, strict=True):
                if sizes.setdefault(name, size) != size:
                    raise ValueError(f"Trace.{field} has {size} {name}, but {sizes[name]} were expected.")

    @property
    def duration(self) -> float:
        """Length of the clip in seconds."""
        return len(self.waveform) / SAMPLE_RATE

    @property
    def padding_tokens(self) -> int:
        """Audio tokens at the end that hold only padding, which the decoder read all the same."""
        filled = math.ceil(round(self.duration / self.seconds_per_audio_token, 6))
        return max(0, len(self.audio_embeds) - filled) if self.window_seconds else 0

    def axes(self, stage: Stage) -> tuple[Axis, ...]:
        """Axes of a stage, with the seconds per step of this trace's model filled in."""
        seconds = {
            "frames": self.seconds_per_frame,
            "positions": self.seconds_per_position,
            "audio_tokens": self.seconds_per_audio_token,
        }
        return tuple(
            replace(axis, seconds_per_step=seconds.get(axis.name, axis.seconds_per_step))
            for axis in stage.axes
        )

    def about(self, stage: Stage) -> str:
        """Say what a stage of this trace is; of another model than ours, how that model makes it."""
        if self.architecture == OWN_ARCHITECTURE:
            return stage.description
        padded = f" The clip was padded to {self.window_seconds:g} s first." if self.window_seconds else ""
        together = f" The encoder reads {self.frames_per_column} frames as one column."
        if stage.key == "log_mel":
            text = (
                f"Energy in each mel band every {self.seconds_per_frame * 1000:g} ms, on a logarithmic scale."
            )
            return text + (together if self.frames_per_column > 1 else "") + padded
        if stage.key == "encoder_output":
            return f"One vector every {self.seconds_per_position * 1000:g} ms."
        if stage.key == "audio_embeds":
            return f"{self.projection}."
        return stage.description

    def doubts(self, stage: Stage) -> tuple[str, ...]:
        """Tell which weights behind a stage are not known to be trained: ``random weights: projector``."""
        found: dict[str, list[str]] = {}
        for origin in self.provenance:
            if origin.part in stage.parts and not origin.trained:
                found.setdefault(origin.label, []).append(origin.part)
        return tuple(f"{label}: {', '.join(parts)}" for label, parts in found.items())

    def title(self, stage: Stage) -> str:
        """Title of a stage, with what there is to doubt about it."""
        notes = self.doubts(stage)
        return f"{stage.title} ({'; '.join(notes)})" if notes else stage.title

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array, in pipeline order."""
        return {field: getattr(self, field).shape for field in ARRAY_AXES}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python objects, ready for `json.dumps`.

        Arrays become nested lists. Numbers are rounded to the decimals in `DECIMALS` (all numbers
        outside of arrays to `PROBABILITY_DECIMALS`): `save` keeps them exactly. Tokens, words and provenance
        become dictionaries, ``(text, probability)`` pairs become lists of two, and ``shapes`` is added.

        Returns
        -------
        dict
            One entry for each field, after ``format`` and ``version``.
        """
        record: dict[str, Any] = {"format": FORMAT, "version": FORMAT_VERSION}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                if field.name in DECIMALS:  # in float64: a rounded float32 would print as 0.10000000149
                    value = value.astype(np.float64).round(DECIMALS[field.name])
                record[field.name] = value.tolist()
            else:
                record[field.name] = _plain(value, PROBABILITY_DECIMALS)
        record["shapes"] = {field: list(shape) for field, shape in self.shapes().items()}
        return record

    def save(self, path: str | Path) -> None:
        """Write the trace to one ``.npz`` file, exactly and without pickle.

        Parameters
        ----------
        path : str or Path
            Where to write; the name is taken as it is.
        """
        arrays = {field: getattr(self, field) for field in ARRAY_AXES}
        rest = {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in ARRAY_AXES}
        header = json.dumps({"format": FORMAT, "version": FORMAT_VERSION, **rest})
        with written(path) as file:  # an open file, because np.savez would append ".npz" to a name
            np.savez_compressed(file, header=np.array(header), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read a trace written by `save`.

        Parameters
        ----------
        path : str or Path
            The ``.npz`` file.

        Returns
        -------
        Trace
            Equal to the trace saved, field by field.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is no trace, or of another format.
        """
        try:
            arrays = _read(path)
            header = json.loads(str(arrays.pop("header")))
        except FileNotFoundError:
            raise
        except Exception as error:  # of zipfile, zlib, json or NumPy, by where the damage is
            raise ValueError(
                f"{path} is not a saved trace: expected an .npz file written by Trace.save ({_brief(error)})."
            ) from error
        if not isinstance(header, dict) or header.pop("format", None) != FORMAT:
            raise ValueError(f"{path} is not a saved trace: its header does not say {FORMAT!r}.")
        version = header.pop("version", None)
        if version != FORMAT_VERSION or type(version) is not int:
            raise ValueError(
                f"{path} has trace format {version!r}, but this asrscope reads format {FORMAT_VERSION}. "
                "Make sure to trace the clip again or, of a later format, to upgrade asrscope."
            )
        try:
            return cls(**_restored(arrays, header))
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise ValueError(
                f"{path} is damaged, or not all of a trace ({_brief(error)}). "
                "Make sure to trace the clip again."
            ) from error


# Axis names and type of every array of a trace. Axes of equal name have equal length: `Trace` checks it.
_HINTS = get_type_hints(Trace)
_ARRAYS = {field: hint for field, hint in _HINTS.items() if hasattr(hint, "dim_str")}
ARRAY_AXES: dict[str, tuple[str, ...]] = {f: tuple(hint.dim_str.split()) for f, hint in _ARRAYS.items()}
ARRAY_TYPES = {field: np.dtype(hint.dtypes[0]) for field, hint in _ARRAYS.items()}


def twins(words: Sequence[str], others: Sequence[str]) -> tuple[int | None, ...]:
    """Find the place of each word's twin in another text; None where it has none.

    Twins stand in the same order in both; case and punctuation do not count.
    """
    first, second = ([word.casefold().strip(".,;:!?\"'()") for word in text] for text in (words, others))
    found: list[int | None] = [None] * len(words)
    for block in SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks():
        found[block.a : block.a + block.size] = range(block.b, block.b + block.size)
    return tuple(found)


def _read(path: str | Path) -> dict[str, np.ndarray]:
    """Read header and arrays of an .npz file; how much they unpack to is known before they are unpacked."""
    arrays = {}
    with Path(path).open("rb") as file, ZipFile(file) as archive:
        sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
        if missing := [name for name in ("header", *ARRAY_AXES) if name not in sizes]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        total = sum(sizes[name] for name in ("header", *ARRAY_AXES))
        if total > min(MOST_BYTES, free_memory() // 2):
            raise ValueError(f"its arrays take {total / 1e9:.1f} GB, more than there is memory for")
        for name in ("header", *ARRAY_AXES):
            with archive.open(f"{name}.npy") as stream:
                array = np.lib.format.read_array(stream)
                if stream.read(1):
                    raise ValueError(f"{name} has more bytes than its shape {array.shape} says")
            if name in ARRAY_TYPES and array.dtype != ARRAY_TYPES[name]:
                raise ValueError(f"{name} holds {array.dtype}, but {ARRAY_TYPES[name]} was expected")
            arrays[name] = array
    return arrays


def _brief(error: Exception) -> str:
    """Shorten what a library says to a part of one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _plain(value: Any, decimals: int | None = None) -> Any:
    """Dataclasses to dicts, tuples to lists, floats rounded if `decimals` is given."""
    if isinstance(value, Provenance | Token | Word):
        return _plain(asdict(value), decimals)
    if isinstance(value, dict):
        return {key: _plain(item, decimals) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item, decimals) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"A trace holds finite numbers only, but found {value}.")
        return value if decimals is None else round(value, decimals)
    return value


def _restored(arrays: dict[str, np.ndarray], header: dict[str, Any]) -> dict[str, Any]:
    """Make the fields of a trace of what was in a file, and see that their lengths fit each other."""
    hints = {name: hint for name, hint in _HINTS.items() if name not in ARRAY_AXES}
    if wrong := sorted(hints.keys() ^ header.keys()):
        raise ValueError(f"it lacks or has one too many: {', '.join(wrong)[:100]}")
    found = {**arrays, **{name: _restore(header[name], hint, name) for name, hint in hints.items()}}
    rows = {len(row) for row in found["nearest_texts"]}
    for name, texts, array in (
        ("prompt_texts", len(found["prompt_texts"]), arrays["prompt_ids"].shape),
        ("nearest_texts", len(found["nearest_texts"]), arrays["nearest_ids"].shape),
        *(("nearest_texts", length, arrays["nearest_ids"].shape[1:]) for length in rows),
    ):
        if array[:1] != (texts,):
            raise ValueError(f"{name} has {texts} entries, but its array has shape {array}")
    if not all(0 <= word.first_token <= word.last_token < len(found["tokens"]) for word in found["words"]):
        raise ValueError("a word has other tokens than were written")
    return found


def _restore(value: Any, hint: Any, where: str) -> Any:
    """Make what JSON holds into what a type hint says: lists become tuples, dictionaries dataclasses."""
    kind, inside = get_origin(hint), get_args(hint)
    if kind in {Union, types.UnionType}:
        (other,) = (option for option in inside if option is not types.NoneType)
        return None if value is None else _restore(value, other, where)
    if kind is tuple and isinstance(value, list):
        each = [inside[0]] * len(value) if inside[-1] is Ellipsis else list(inside)
        if len(each) == len(value):
            return tuple(
                _restore(item, one, f"{where}[{n}]")
                for n, (item, one) in enumerate(zip(value, each, strict=True))
            )
    elif kind is dict and isinstance(value, dict):
        return {key: _restore(item, inside[1], f"{where}.{key}") for key, item in value.items()}
    elif is_dataclass(hint) and isinstance(value, dict):
        hints = get_type_hints(hint)
        names = {field.name for field in fields(hint)}
        if wrong := sorted(names ^ value.keys()):
            raise ValueError(f"{where} lacks or has one too many: {', '.join(wrong)[:100]}")
        return hint(**{name: _restore(value[name], hints[name], f"{where}.{name}") for name in names})  # type: ignore[operator]
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    shown = "a number that is not finite" if hint is float and isinstance(value, float) else repr(value)[:40]
    raise ValueError(f"{where} is {shown}, but {getattr(hint, '__name__', hint)} was expected")
