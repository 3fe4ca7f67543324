"""A projector as training leaves it: read, begun with, and put in its model."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from asrscope.loading import Loaded
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import PROMPT_TOKEN
from asrscope.projector import AudioProjector
from asrscope.saving import write_bytes, write_text
from asrscope.saving.provenance import PARTS, provenance_of, read_claims, write_provenance
from asrscope.saving.publishing import save_projector

__all__ = ["begin_with", "read_projector", "read_weights", "write_model", "write_weights"]


def write_weights(projector: AudioProjector, path: Path) -> None:
    """Write the projector's tensors."""
    write_bytes(
        path, save({name: value.cpu().contiguous() for name, value in projector.state_dict().items()})
    )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read a projector's tensors, whether it stands in a folder by itself or as a part of a model."""
    module = f"{PARTS['projector']}."
    stored = load_file(folder / "model.safetensors")
    return {name.removeprefix(module): stored[name] for name in stored if name.startswith(module)} or stored


def begin_with(projector: AudioProjector, folder: Path) -> dict[str, Any]:
    """Load a finished projector, but for its lists of tokens; returns how it was made.

    What the new one is not to have, a binding, a learned prompt or a speller, is left out; a speller that
    the finished one has not stays new.

    Raises
    ------
    ValueError
        If the folder has no projector of these sizes.
    """
    saved = read_weights(folder)
    saved |= dict(projector.named_buffers())
    gone = tuple(name for name in ("binding", "prompt", "speller") if getattr(projector, name) is None)
    saved = {name: tensor for name, tensor in saved.items() if not name.startswith(gone)}
    if not any(name.startswith("speller.down") for name in saved):
        saved |= {
            name: tensor for name, tensor in projector.state_dict().items() if name.startswith("speller.")
        }
    try:
        projector.load_state_dict(saved)
    except RuntimeError as error:
        raise ValueError(
            f"{folder}: expected a projector of the sizes that are to be trained, but found another: make "
            f"sure that the recipes agree ({' '.join(str(error).split())[:300]})"
        ) from error
    recipe = folder / "recipe.json"
    made: dict[str, Any] = (
        json.loads(recipe.read_text(encoding="utf-8"))
        if recipe.is_file()
        else read_claims(folder).get("projector", {}).get("made_with", {})
    )
    return made


def read_projector(folder: Path, model: AsrScopeForConditionalGeneration) -> AudioProjector:
    """Load the projector that `train_projector` left in a folder, trained between the parts of a model."""
    made = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    # Earlier ones say that they have no neighbors and no bias, as none has now.
    settings = {name: made["settings"][name] for name in made["settings"].keys() - {"context", "bias"}}
    config = model.config
    projector = AudioProjector(config.audio_config.d_model, config.text_config.hidden_size, **settings)
    projector.load_state_dict(load_file(folder / "model.safetensors"))
    return projector.eval()


def write_model(
    loaded: Loaded,
    projector: Path,
    target: Path,
    *,
    others: Mapping[str, Path] = MappingProxyType({}),
    seconds: float = 0.0,
    whole: bool = True,
) -> Path:
    """Save what was trained, in half precision: the projector in its model, or by itself with its prompt.

    Parameters
    ----------
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model that lent encoder and decoder; it gets the projector.
    projector : Path
        The folder of the finished projector.
    target : Path
        Gets what `asrscope.load` takes.
    others : mapping of str to Path
        Folders of the other parts, as far as they were trained by us, too.
    seconds : float
        Longest clip that it was trained on.
    whole : bool
        Whether encoder and decoder are saved, too.

    Returns
    -------
    Path
        ``target``.
    """
    model, processor = loaded
    parts = {**others, "projector": projector}
    made, curves = (
        {part: json.loads((folder / name).read_text(encoding="utf-8")) for part, folder in parts.items()}
        for name in ("recipe.json", "training.json")
    )
    claims: dict[str, dict[str, Any]] = {
        part.part: {"trained": part.trained, "made_with": {"source": part.source, "sha256": part.sha256}}
        for part in provenance_of(model)
        if whole and part.trained is not None
    }
    claims |= {part: {"trained": True, "made_with": recipe} for part, recipe in made.items()}
    config = model.config
    model.multi_modal_projector = bridge = read_projector(projector, model)
    for name, value in bridge.settings.items():
        setattr(config, name if name == "stack_factor" else f"projector_{name}", value)
    processor.stack_factor, processor.instruction = bridge.stack_factor, made["projector"]["instruction"]
    if bridge.prompt_vectors:
        config.prompt_token_id = processor.tokenizer.convert_tokens_to_ids(PROMPT_TOKEN)
    config.trained_seconds = max(float(config.trained_seconds), seconds)
    if whole:
        model.half().save_pretrained(target)
        processor.save_pretrained(target)
    else:
        bridge.half()
        save_projector(model, target, processor=processor)
    write_provenance(target, claims)
    write_text(target / "training.json", json.dumps(curves) + "\n")
    return target
