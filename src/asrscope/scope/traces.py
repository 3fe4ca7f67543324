"""What one run of the model leaves behind: the table of its stages, a `Trace`, and the forms it is kept in.

Torch is not needed here: a saved trace is loaded and drawn without it. A file may be damaged or hostile:
nothing in it is unpickled, how much it unpacks to is known before, and every field is held against its type.
"""

import inspect
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints
from zipfile import ZipFile

import numpy as np
from jaxtyping import Bool, Float32, Int64
from pydantic import ConfigDict, Field, ValidationError, create_model

from asrscope.audio import SAMPLE_RATE, free_memory
from asrscope.saving import written

__all__ = [
    "ARRAY_AXES",
    "STAGES",
    "Axis",
    "Provenance",
    "Stage",
    "Token",
    "Trace",
    "Word",
    "WordTimes",
    "trace_schema",
]

SECONDS_PER_SAMPLE = 1 / SAMPLE_RATE
FORMAT = "asrscope-trace"
FORMAT_VERSION = 2
OWN_ARCHITECTURE = "AsrScopeForConditionalGeneration"
MOST_BYTES = 2**32  # of all arrays of a file; those of half an hour in a large model have a quarter of it

WordTimes = Sequence[tuple[str, float, float]]  # word, start and end in seconds

# Decimals of arrays kept by `Trace.to_dict`. A 16-bit sample is a step of 3e-5, so five lose nothing audible;
# the other arrays are activations of order one.
DECIMALS = 5
PROBABILITY_DECIMALS = 6

# Types with limits, which a file is checked against and its schema states.
Number = Annotated[float, Field(json_schema_extra={"x-decimals": PROBABILITY_DECIMALS})]
Chance = Annotated[Number, Field(ge=0, le=1)]
Seconds = Annotated[Number, Field(gt=0)]  # of one step
Count = Annotated[int, Field(ge=0)]
Steps = Annotated[int, Field(ge=1)]
Part = Annotated[str, Field(pattern="^(encoder|projector|decoder)$")]
Scale = Annotated[str, Field(pattern="^(slaney|htk|unknown)$")]


# --- the stages ---


@dataclass(frozen=True)
class Axis:
    """One axis of a stage: its name, its unit, and the seconds that one step covers if it runs along time.

    ``seconds_per_step`` depends on the model but for the samples: `Trace.axes` fills it in.
    """

    name: str
    unit: str
    seconds_per_step: float | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline: what it is called, which field of the trace holds it, what its axes mean.

    ``parts`` names the parts of the model whose weights shape the stage.
    """

    key: str
    title: str
    field: str
    axes: tuple[Axis, ...]
    description: str
    parts: tuple[str, ...] = ()


STAGES: tuple[Stage, ...] = (
    Stage(
        key="waveform",
        title="Waveform",
        field="waveform",
        axes=(Axis("samples", "sample", SECONDS_PER_SAMPLE),),
        description="Air pressure over time, 16 000 numbers a second between -1 and 1.",
    ),
    Stage(
        key="log_mel",
        title="Log-mel spectrogram",
        field="log_mel",
        axes=(Axis("n_mels", "mel band"), Axis("frames", "frame")),
        description="Energy in each mel band every 10 ms, on a logarithmic scale.",
    ),
    Stage(
        key="encoder_output",
        title="Encoder output",
        field="encoder_hidden_states",
        axes=(Axis("positions", "encoder position"), Axis("encoder_dim", "dimension")),
        description="One vector every 20 ms; each has seen the whole clip through attention.",
        parts=("encoder",),
    ),
    Stage(
        key="audio_embeds",
        title="Projector output",
        field="audio_embeds",
        axes=(Axis("audio_tokens", "audio token"), Axis("decoder_dim", "dimension")),
        description="Neighboring encoder positions stacked and mapped to vectors of the decoder's width.",
        parts=("encoder", "projector"),
    ),
    Stage(
        key="nearest_tokens",
        title="Nearest text tokens",
        field="nearest_cosines",
        axes=(Axis("audio_tokens", "audio token"), Axis("n_nearest", "rank")),
        description="For each audio token, the text tokens whose embeddings point most nearly the same way.",
        parts=("encoder", "projector", "decoder"),
    ),
    Stage(
        key="prompt",
        title="Prompt",
        field="prompt_ids",
        axes=(Axis("prompt_positions", "position"),),
        description="What the decoder reads: text tokens, and one placeholder for each audio token.",
    ),
    Stage(
        key="decoder_words",
        title="Decoder output",
        field="words",
        axes=(Axis("words", "word"),),
        description="The words written, each with the probability that the decoder gave it.",
        parts=("encoder", "projector", "decoder"),
    ),
)


# --- one run ---


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

    part: Part
    source: str
    revision: str | None
    sha256: str
    trained: bool | None
    parameters: Count
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

    id: Count
    text: str
    probability: Chance
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
    probability: Chance
    first_token: Count
    last_token: Count
    start: Number | None
    end: Number | None


def twins(words: Sequence[str], others: Sequence[str]) -> tuple[int | None, ...]:
    """Find the place of each word's twin in another text; None where it has none.

    Twins stand in the same order in both; case and punctuation do not count.
    """
    first, second = ([word.casefold().strip(".,;:!?\"'()") for word in text] for text in (words, others))
    found: list[int | None] = [None] * len(words)
    for block in SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks():
        found[block.a : block.a + block.size] = range(block.b, block.b + block.size)
    return tuple(found)


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
        ``"slaney"``, ``"htk"`` or ``"unknown"``: which frequencies the mel bands stand for.
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
        If an array is empty or does not have its axes, or two axes of one name differ in length, or a word
        has tokens that were not written.
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
    eos_probability: Chance | None
    words: tuple[Word, ...]
    text: str
    confidence: Chance
    timings: dict[str, Number]
    provenance: tuple[Provenance, ...]
    architecture: str
    projection: str
    stack_factor: Steps | None
    frames_per_column: Steps
    mel_scale: Scale
    seconds_per_frame: Seconds
    seconds_per_position: Seconds
    seconds_per_audio_token: Seconds
    window_seconds: Number | None
    warnings: tuple[str, ...]
    reference: str | None
    reference_words: tuple[tuple[str, float, float], ...] | None
    versions: dict[str, str]

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {"audio_tokens": int(self.prompt_is_audio.sum())}
        for field, names in (ARRAY_AXES | TEXT_AXES).items():
            shape = _shape(getattr(self, field))
            if len(shape) != len(names):
                raise ValueError(f"Trace.{field} must have the axes {names}, but found shape {shape}.")
            if 0 in shape:
                raise ValueError(f"Trace.{field} must not be empty, but found shape {shape}.")
            for name, size in zip(names, shape, strict=True):
                if sizes.setdefault(name, size) != size:
                    raise ValueError(f"Trace.{field} has {size} {name}, but {sizes[name]} were expected.")
        if not all(word.first_token <= word.last_token < len(self.tokens) for word in self.words):
            raise ValueError("Trace.words has a word with other tokens than were written.")

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

        Arrays become nested lists, rounded to five decimals, all other numbers to six: `save` keeps them
        exactly. Tokens, words and provenance become dictionaries, ``(text, probability)`` pairs become lists
        of two, and ``shapes`` is added.

        Returns
        -------
        dict
            One entry for each field, after ``format`` and ``version``.
        """
        record: dict[str, Any] = {"format": FORMAT, "version": FORMAT_VERSION}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                if value.dtype.kind == "f":  # in float64: a rounded float32 would print as 0.10000000149
                    value = value.astype(np.float64).round(DECIMALS)
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
            found: Any = arrays | vars(Header.model_validate_json(json.dumps(header)))
            return cls(**found)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            raise ValueError(
                f"{path} is damaged, or not all of a trace ({_brief(error)}). "
                "Make sure to trace the clip again."
            ) from error


# --- what a file may hold ---

# Axis names and type of every array of a trace. Axes of equal name have equal length: `Trace` checks it.
_HINTS = get_type_hints(Trace, include_extras=True)
_ARRAYS = {field: hint for field, hint in _HINTS.items() if hasattr(hint, "dim_str")}
ARRAY_AXES: dict[str, tuple[str, ...]] = {f: tuple(hint.dim_str.split()) for f, hint in _ARRAYS.items()}
TEXT_AXES = {"nearest_texts": ARRAY_AXES["nearest_ids"], "prompt_texts": ARRAY_AXES["prompt_ids"]}
ARRAY_TYPES = {field: np.dtype(hint.dtypes[0]) for field, hint in _ARRAYS.items()}

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)  # no text passes for a number
_rest: Any = {name: (hint, ...) for name, hint in _HINTS.items() if name not in ARRAY_AXES}
Header = create_model("Header", __config__=STRICT, **_rest)


def trace_schema() -> dict[str, Any]:
    """Make the JSON Schema (draft 2020-12) of what `Trace.to_dict` returns.

    Beside the usual words it has ``x-axes``, the names of an array's axes, the first one outermost, and
    ``x-decimals``, to how many decimals its numbers are rounded.
    """
    lists: dict[str, Any] = {}
    shapes: dict[str, Any] = {}
    for name, axes in ARRAY_AXES.items():
        kind: Any = {"f": float, "i": int, "b": bool}[ARRAY_TYPES[name].kind]
        for _ in axes:
            kind = list[kind]
        rounded = {"x-decimals": DECIMALS} if ARRAY_TYPES[name].kind == "f" else {}
        lists[name] = (kind, Field(json_schema_extra={"x-axes": list(axes), **rounded}))
        told = f"Lengths of the axes {', '.join(axes)}."
        shapes[name] = (list[int], Field(description=told, min_length=len(axes), max_length=len(axes)))
    more: Any = {
        "format": (Literal[FORMAT], Field(description="Marks the file as a trace.")),
        "version": (Literal[FORMAT_VERSION], Field(description="Version of this format.")),
        "shapes": (
            create_model("Shapes", __config__=STRICT, **shapes),
            Field(description="Length of every axis of every array."),
        ),
    }
    record = create_model("Trace", __base__=Header, **more, **lists)
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:asrscope:trace:{FORMAT_VERSION}",
        **record.model_json_schema(),
        "title": "asrscope trace",
    }
    parts = {Trace: schema} | {kind: schema["$defs"][kind.__name__] for kind in (Provenance, Token, Word)}
    for kind, part in parts.items():  # their docstrings say what each field is
        part["description"], _, attributes = str(inspect.getdoc(kind)).partition("\n\nAttributes\n")
        for names, text in re.findall(r"^(\S.*) : .*\n((?:    .*(?:\n|$))+)", attributes, re.MULTILINE):
            for name in names.split(", "):
                part["properties"][name]["description"] = " ".join(text.split())
    return schema


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
    """Shorten what a library says to a part of one line; of fields, the first that is wrong, by its place."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        return f"{place.removeprefix('.')}: {first['msg']}, but found {first['input']!r:.40}"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _shape(value: Any) -> tuple[int, ...]:
    """Tell the shape of an array, or of texts in one row or in several."""
    if isinstance(value, np.ndarray):
        return tuple(value.shape)
    return len(value), *{len(row) for row in value if isinstance(row, tuple)}


def _plain(value: Any, decimals: int | None = None) -> Any:
    """Make of a value what JSON holds, floats rounded if `decimals` is given."""

    def shorter(number: str) -> float:
        return float(number) if decimals is None else round(float(number), decimals)

    def refuse(number: str) -> None:
        raise ValueError(f"A trace holds finite numbers only, but found {number}.")

    return json.loads(json.dumps(value, default=asdict), parse_float=shorter, parse_constant=refuse)
