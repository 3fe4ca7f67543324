"""Say of each part of a model where its weights come from, so that random ones never pass for trained ones.

A checkpoint claims in its ``provenance.json`` what was trained. A claim counts only for weights of the hash
it names, and only as long as they stay as they were loaded.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from weakref import ref

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from asrscope.saving import write_text
from asrscope.scope.traces import Provenance

__all__ = [
    "PARTS",
    "attach_provenance",
    "describe_weights",
    "hash_tensors",
    "hash_vocabulary",
    "name_source",
    "provenance_of",
    "read_claims",
    "repository_of",
    "save_claims",
    "write_provenance",
]

PARTS = {  # name of each part in prose, and of its module in the model
    "encoder": "audio_tower",
    "projector": "multi_modal_projector",
    "decoder": "language_model",
}
CLAIMS = "provenance.json"
REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)( \(.*\))?")  # and what else is said of it
_ATTRIBUTE = "_asrscope_provenance"


def describe_weights(
    part: str,
    weights: nn.Module | Mapping[str, Tensor],
    source: str,
    *,
    revision: str | None = None,
    trained: bool | None = None,
    claim: Mapping[str, Any] | None = None,
    sha256: str = "",
) -> Provenance:
    """Describe the weights of one part.

    Parameters
    ----------
    part : str
        ``"encoder"``, ``"projector"`` or ``"decoder"``.
    weights : torch.nn.Module or mapping of str to torch.Tensor
        The weights, in memory or as stored.
    source : str
        Where they come from.
    revision : str, optional
        Commit of the repository.
    trained : bool, optional
        Whether they were trained, where that is known for certain.
    claim : mapping, optional
        What the checkpoint says of this part: ``trained`` and ``sha256``. It counts if the hash is that of
        the weights.
    sha256 : str
        What `hash_tensors` gives for them, where that is known.

    Returns
    -------
    Provenance
        With ``trained`` None if nothing vouches for the weights.
    """
    tensors = dict(weights.named_parameters()) if isinstance(weights, nn.Module) else weights
    numbers = [one for one in tensors.values() if one.is_floating_point()]  # a list of token ids is no weight
    digest = sha256 or hash_tensors(tensors)
    if claim is not None and digest and claim.get("sha256") == digest:
        trained = claim.get("trained")
    return Provenance(
        part=part,
        source=source,
        revision=revision,
        sha256=digest,
        trained=trained,
        parameters=sum(one.numel() for one in numbers),
        dtype=", ".join(sorted({str(one.dtype).removeprefix("torch.") for one in numbers})),
    )


def attach_provenance(
    model: nn.Module, provenance: Iterable[Provenance], parts: Mapping[str, nn.Module] | None = None
) -> None:
    """Remember the provenance of a model's parts, and which weights it speaks of.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    provenance : iterable of Provenance
        One for each part.
    parts : mapping of str to torch.nn.Module, optional
        The module of each part; by default those named in `PARTS`.
    """
    modules = _own_parts(model) if parts is None else parts
    setattr(model, _ATTRIBUTE, {p.part: _Known(p, modules[p.part].parameters()) for p in provenance})


def provenance_of(
    model: nn.Module,
    parts: Mapping[str, nn.Module] | None = None,
    *,
    source: str = "built in memory",
    revision: str | None = None,
) -> tuple[Provenance, ...]:
    """Say where the weights of encoder, projector and decoder come from.

    Parameters
    ----------
    model : torch.nn.Module
        The model. Weights that were not loaded by this package, or that were replaced or changed in place
        since, are unverified.
    parts : mapping of str to torch.nn.Module, optional
        The module of each part; by default those named in `PARTS`.
    source : str
        Where the weights come from of which nothing else is known.
    revision : str, optional
        Commit of that source.

    Returns
    -------
    tuple of Provenance
        One for each part, in pipeline order.
    """
    attached = getattr(model, _ATTRIBUTE, {})
    found = []
    for part, module in (_own_parts(model) if parts is None else parts).items():
        known = attached.get(part)
        if known is None:
            found.append(describe_weights(part, module, source, revision=revision))
        elif known.holds_for(module):
            found.append(known.provenance)
        else:
            source_was = known.provenance.source
            found.append(describe_weights(part, module, f"changed in memory, once {source_was}"))
    return tuple(found)


def _own_parts(model: nn.Module) -> dict[str, nn.Module]:
    return {part: getattr(model, name) for part, name in PARTS.items()}


def read_claims(path: Path) -> dict[str, dict[str, Any]]:
    """Read what a checkpoint says of its parts; nothing if it says nothing."""
    file = path / CLAIMS
    claims: dict[str, dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return claims


def write_provenance(path: str | Path, claims: Mapping[str, Mapping[str, Any]]) -> None:
    """Record how the parts of a saved model were made.

    Parameters
    ----------
    path : str or Path
        Directory of the checkpoint.
    claims : mapping
        For each of ``encoder``, ``projector`` and ``decoder`` a mapping with ``trained`` (bool) and
        ``made_with`` (anything that JSON can hold). The hash of the part's weights is added.
    """
    tensors: dict[str, Tensor] = {}
    for file in Path(path).glob("*.safetensors"):
        tensors |= load_file(file)
    record = {}
    for part, claim in claims.items():
        prefix = f"{PARTS[part]}."
        inside = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
        record[part] = {**claim, "sha256": hash_tensors(inside)}
    write_text(Path(path) / CLAIMS, json.dumps(record, indent=2) + "\n")


def save_claims(model: nn.Module, folder: str | Path) -> None:
    """Write beside a saved model which of its parts are known to be trained, or known not to be.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model that was saved.
    folder : str or Path
        Where it was saved. Nothing is written if nothing is known.
    """
    claims = {
        known.part: {
            "trained": known.trained,
            "made_with": {"source": name_source(known), "revision": known.revision, "sha256": known.sha256},
        }
        for known in provenance_of(model)
        if known.trained is not None
    }
    if claims:
        write_provenance(folder, claims)


def repository_of(part: Provenance) -> str | None:
    """Name the repository that the weights of a part come from, if they do, at a known commit."""
    found = REPOSITORY.fullmatch(part.source)
    return found[1] if found and part.revision is not None else None


def name_source(part: Provenance) -> str:
    """Name the source of a part as others may read it: no folder of somebody's machine."""
    path = Path(part.source)
    local = path.is_absolute() or ("/" in part.source and not part.source.startswith("asrscope/"))
    return f"{path.name} (a local file)" if local and not repository_of(part) else part.source


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash names, types, shapes and bytes; nothing if some are not in memory, because accelerate has them.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        Tensors by name; their order does not matter.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    if any(tensor.is_meta for tensor in tensors.values()):
        return ""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]  # one at a time: they may still lie on the disk
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        data: memoryview = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
        digest.update(data)
    return digest.hexdigest()


def hash_vocabulary(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash the tokens of a tokenizer in the order of their numbers, the placeholders of prompts included."""
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha256("\n".join(f"{number} {token}" for token, number in tokens).encode()).hexdigest()


class _Known:
    """What is known of a part's weights while they stay as they were: torch counts a tensor's changes."""

    def __init__(self, provenance: Provenance, weights: Iterable[nn.Parameter]) -> None:
        self.provenance = provenance
        stored = [getattr(torch, name, None) for name in provenance.dtype.split(", ")]
        self._marks = [(ref(weight), weight._version, _least(weight.dtype, stored)) for weight in weights]

    def holds_for(self, module: nn.Module) -> bool:
        """Tell whether a module has these very weights, in the state they had."""
        return [id(weight) for weight in module.parameters()] == [id(weight) for weight in self._unchanged()]

    def _unchanged(self) -> list[nn.Parameter]:
        """Give the weights that are still there as they were."""
        return [
            weight
            for mark, version, dtype in self._marks
            if (weight := mark()) is not None and weight._version == version and _holds(weight.dtype, dtype)
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        # Weak references cannot be pickled. The weights go into the pickle of the model and come out as those
        # of its copy; without those that were changed since, the copy counts as changed as well.
        return _Known, (self.provenance, self._unchanged())


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Tell whether every number of one type is one of the other as well."""
    if wide == narrow:
        return True
    # Of the types with 8 bits torch knows no wider one.
    return min(wide.itemsize, narrow.itemsize) > 1 and torch.promote_types(narrow, wide) == wide


def _least(now: torch.dtype, stored: list[Any]) -> torch.dtype:
    """Say which type the weights of this type fit in: the one they were stored in, where that is narrower."""
    found = stored[0] if len(stored) == 1 else None  # several: which is whose is not known
    return found if isinstance(found, torch.dtype) and _holds(now, found) else now
