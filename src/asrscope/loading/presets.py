"""Load a model by name or from a directory, and say of each part where its weights come from."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from asrscope.loading.checking import check_checkpoint, check_finite, read_processor, readable
from asrscope.loading.full import load_full
from asrscope.loading.provenance import (
    PARTS,
    attach_provenance,
    describe_weights,
    provenance_of,
    read_claims,
    read_tensors,
    select_part,
)
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.projector import AudioProjector

__all__ = ["ENVIRONMENT", "load", "untrained"]

CHECKPOINTS = Path(__file__).parents[1] / "data" / "checkpoints"
MODEL = "ASRSCOPE_MODEL"  # names the model that is loaded where a program names none
ENVIRONMENT = {  # options of load_full that are not given come from here
    "projector": "ASRSCOPE_PROJECTOR",
    "encoder": "ASRSCOPE_ENCODER",
    "decoder": "ASRSCOPE_DECODER",
    "adapter": "ASRSCOPE_ADAPTER",
    "quantize": "ASRSCOPE_QUANTIZE",
    "device_map": "ASRSCOPE_DEVICE_MAP",
}

Loaded = tuple[AsrScopeForConditionalGeneration, AsrScopeProcessor]


def load(
    name_or_path: str | Path | None = None, *, random_projector: bool = False, seed: int = 0, **options: Any
) -> Loaded:
    """Load a model and its processor.

    Parameters
    ----------
    name_or_path : str or Path, optional
        ``"tiny"``, the bundled model; ``"full"``, see `asrscope.loading.full.load_full`; or a directory that
        ``save_pretrained`` wrote. Default: what the environment variable ``ASRSCOPE_MODEL`` says, or else
        ``"tiny"``.
    random_projector : bool
        Replace the projector by an untrained one, for comparison. The model's provenance says so.
    seed : int
        Seed of the untrained projector.
    **options
        Options of `asrscope.loading.full.load_full`. Those that are not given are taken from the environment
        variables of `ENVIRONMENT`.

    Returns
    -------
    AsrScopeForConditionalGeneration, AsrScopeProcessor
        The model in float32 (``full``: bfloat16), ready to run, with its provenance attached.

    Raises
    ------
    OSError
        If files cannot be had.
    ValueError
        If the name is not known, the directory holds no model of this kind, or parts do not fit.
    MemoryError
        If the machine has too little memory for ``full``.
    """
    name = name_or_path or os.environ.get(MODEL) or "tiny"
    if name == "full":
        given: dict[str, Any] = {
            option: os.environ[variable]
            for option, variable in ENVIRONMENT.items()
            if os.environ.get(variable)
        }
        given |= options
        if not given.get("projector") and not random_projector:
            raise ValueError(
                "The preset 'full' needs a projector: give load('full', projector=...) a file, folder or "
                "repository, or set ASRSCOPE_PROJECTOR. 'asrscope train projector --model full' makes one; "
                "random_projector=True takes an untrained one."
            )
        model, processor = load_full(given.pop("projector", None), **given)
    elif options:
        raise ValueError(f"Only the preset 'full' has further options, but found {', '.join(options)}.")
    else:
        model, processor = _load_directory(CHECKPOINTS / "tiny" if name == "tiny" else name)
    if random_projector:
        model = untrained(model, seed)
    return model, processor


def untrained(model: AsrScopeForConditionalGeneration, seed: int = 0) -> AsrScopeForConditionalGeneration:
    """Put an untrained projector between the encoder and the decoder of a model.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model; it stays as it is.
    seed : int
        Seed of the projector.

    Returns
    -------
    AsrScopeForConditionalGeneration
        Another model, which shares encoder and decoder with the first: no memory for a second set. Its
        provenance says that the projector is random.
    """
    table = model.get_input_embeddings().get_parameter("weight")  # (vocabulary, decoder_dim)
    old = model.multi_modal_projector
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        new = AudioProjector(
            encoder_dim=model.config.audio_config.d_model,
            decoder_dim=model.config.text_config.hidden_size,
            **old.settings,
        )
        new.fit_length(table)
    with torch.device("meta"):  # the other parts exist already
        control = AsrScopeForConditionalGeneration(model.config)
    control.audio_tower, control.language_model = model.audio_tower, model.language_model
    control.generation_config = model.generation_config
    weight = old.up.weight
    control.multi_modal_projector = new.to(weight.device, weight.dtype)
    made = describe_weights("projector", new, f"random initialization, seed {seed}", trained=False)
    attach_provenance(control, (made if p.part == "projector" else p for p in provenance_of(model)))
    control.eval()
    return control


def _load_directory(path: str | Path) -> Loaded:
    """Load a checkpoint from disk; nothing is asked of the Hub."""
    path = Path(path)
    try:
        model_type = json.loads((path / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        model_type = None
    if model_type != AsrScopeConfig.model_type:
        raise ValueError(
            f"{path} is no model of this package: expected 'tiny', 'full' or a directory that "
            f"save_pretrained wrote, whose config.json says {AsrScopeConfig.model_type!r}."
        )
    # The bundled weights are named the same on every machine, so that traces and pages can be compared.
    source = f"asrscope/data/checkpoints/{path.name}" if path.parent == CHECKPOINTS else str(path)
    config = check_checkpoint(path)
    tensors, claims = read_tensors(path), read_claims(path)
    check_finite(path, tensors)
    processor = read_processor(path, config)
    with _no_progress_bars(), readable(path, "its weights cannot be loaded"):
        model, info = AsrScopeForConditionalGeneration.from_pretrained(
            path,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
        )
    provenance = []
    for part, module in PARTS.items():
        if any(key.startswith(f"{module}.") for key in info["missing_keys"]):
            # Not all of it was in the file: what is in memory has just been drawn at random.
            new = describe_weights(part, getattr(model, module), "random initialization", trained=False)
        else:
            new = describe_weights(part, select_part(tensors, part), source, claim=claims.get(part))
        provenance.append(new)
    attach_provenance(model, provenance)
    return model.eval(), processor


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars while it loads."""
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
