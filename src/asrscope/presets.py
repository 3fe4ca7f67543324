"""Load a model by name or from a directory, and say of each part where its weights come from."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, SmolLM3ForCausalLM, WhisperFeatureExtractor, WhisperModel
from transformers.utils import logging

from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.projector import AudioProjector
from asrscope.provenance import (
    PARTS,
    attach_provenance,
    describe_weights,
    provenance_of,
    read_claims,
    read_tensors,
    select_part,
)

__all__ = ["load", "load_full"]

CHECKPOINTS = Path(__file__).parent / "checkpoints"

# Commits of the Hub repositories, so that the weights a trace was made with can be had again.
FULL_ENCODER, FULL_ENCODER_REVISION = (
    "openai/whisper-large-v3-turbo",
    "41f01f3fe87f28c78e2fbf8b568835947dd65ed9",
)
FULL_DECODER, FULL_DECODER_REVISION = (
    "HuggingFaceTB/SmolLM3-3B",
    "a07cc9a04f16550a088caea529712d1d335b0ac1",
)

Loaded = tuple[AsrScopeForConditionalGeneration, AsrScopeProcessor]


def load(
    name_or_path: str | Path = "tiny", *, random_projector: bool = False, seed: int = 0, **options: Any
) -> Loaded:
    """Load a model and its processor.

    Parameters
    ----------
    name_or_path : str or Path
        ``"tiny"``, the bundled model; ``"full"``, see `load_full`; or a directory that ``save_pretrained``
        wrote.
    random_projector : bool
        Replace the projector by an untrained one, for comparison. The model's provenance says so.
    seed : int
        Seed of the untrained projector.
    **options
        Options of `load_full`.

    Returns
    -------
    AsrScopeForConditionalGeneration, AsrScopeProcessor
        The model in float32 (``full``: bfloat16), ready to run, with ``model.provenance`` set.

    Raises
    ------
    ValueError
        If the name is not known, or the directory holds no model of this kind.
    """
    if name_or_path == "full":
        model, processor = load_full(**options)
    elif options:
        raise ValueError(f"Only the preset 'full' has further options, but found {', '.join(options)}.")
    else:
        model, processor = _load_directory(CHECKPOINTS / "tiny" if name_or_path == "tiny" else name_or_path)
    if random_projector:
        _randomize_projector(model, seed)
    return model, processor


def load_full(
    projector: str | Path,
    *,
    encoder: str | Path = FULL_ENCODER,
    encoder_revision: str = FULL_ENCODER_REVISION,
    decoder: str | Path = FULL_DECODER,
    decoder_revision: str = FULL_DECODER_REVISION,
    instruction: str = "Transcribe: ",
    dtype: torch.dtype = torch.bfloat16,
) -> Loaded:
    """Put together the encoder of Whisper-large-v3-turbo, SmolLM3-3B, and a projector of your own.

    Parameters
    ----------
    projector : str or Path
        A safetensors file with the weights of an `AudioProjector`; their shapes tell its sizes.
    encoder : str or Path
        Hub repository or directory.
    encoder_revision : str
        Commit of the repository.
    decoder : str or Path
        Hub repository or directory.
    decoder_revision : str
        Commit of the repository.
    instruction : str
        What the prompt asks for, before the clip.
    dtype : torch.dtype
        Type of the weights in memory.

    Returns
    -------
    AsrScopeForConditionalGeneration, AsrScopeProcessor
        The model, ready to run, and its processor.

    Raises
    ------
    OSError
        If encoder or decoder cannot be had.
    ValueError
        If the projector's weights do not fit between them.
    """
    try:
        with _no_progress_bars():
            whisper = _pretrained(WhisperModel, encoder, encoder_revision)
            feature_extractor = WhisperFeatureExtractor.from_pretrained(encoder, revision=encoder_revision)
            language_model = _pretrained(SmolLM3ForCausalLM, decoder, decoder_revision)
            tokenizer = AutoTokenizer.from_pretrained(decoder, revision=decoder_revision)
    except OSError as error:
        raise OSError(
            f"The preset 'full' needs {encoder} and {decoder}, which could be neither downloaded nor found "
            "on this machine. Make sure that the Hugging Face Hub can be reached, or give directories: "
            "load('full', projector=..., encoder='DIRECTORY', decoder='DIRECTORY')."
        ) from error
    bridge = _build_projector(Path(projector), whisper.config.d_model, language_model.config.hidden_size)
    # Only the repositories named above are known to hold trained weights.
    known = {FULL_ENCODER: True, FULL_DECODER: True}
    provenance = (
        describe_weights(
            "encoder",
            whisper.encoder,
            str(encoder),
            revision=encoder_revision,
            trained=known.get(str(encoder)),
        ),
        describe_weights("projector", bridge, str(projector)),
        describe_weights(
            "decoder",
            language_model,
            str(decoder),
            revision=decoder_revision,
            trained=known.get(str(decoder)),
        ),
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|audio|>"]})
    if len(tokenizer) > language_model.config.vocab_size:
        # The new row is never used: an audio token takes the place of every placeholder.
        language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    processor = AsrScopeProcessor(
        feature_extractor,
        tokenizer,
        instruction=instruction,
        stack_factor=bridge.stack_factor,
        pad_audio=True,
    )
    config = AsrScopeConfig(
        audio_config=whisper.config,
        text_config=language_model.config,
        stack_factor=bridge.stack_factor,
        projector_hidden_size=bridge.hidden_size,
        projector_norm=bridge.norm,
        projector_mlp=bridge.mlp,
        audio_token_id=processor.audio_token_id,
        pad_audio=True,
    )
    with torch.device("meta"):  # the parts exist already: no memory for a second set
        model = AsrScopeForConditionalGeneration(config)
    model.audio_tower, model.multi_modal_projector = whisper.encoder, bridge
    model.language_model, model.generation_config = language_model, language_model.generation_config
    model = model.to(dtype).eval()
    attach_provenance(model, provenance)
    return model, processor


def _load_directory(path: str | Path) -> Loaded:
    """Load a checkpoint from disk; nothing is asked of the Hub."""
    path = Path(path)
    try:
        model_type = json.loads((path / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError):
        model_type = None
    if model_type != AsrScopeConfig.model_type:
        raise ValueError(
            f"{path} is no model of this package: expected 'tiny', 'full' or a directory that "
            f"save_pretrained wrote, whose config.json says {AsrScopeConfig.model_type!r}."
        )
    # The bundled weights are named the same on every machine, so that traces and pages can be compared.
    source = f"asrscope/checkpoints/{path.name}" if path.parent == CHECKPOINTS else str(path)
    tensors, claims = read_tensors(path), read_claims(path)
    with _no_progress_bars():
        model, info = AsrScopeForConditionalGeneration.from_pretrained(
            path, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
        processor = AsrScopeProcessor.from_pretrained(path, local_files_only=True)
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


def _pretrained(model_class: Any, source: str | Path, revision: str) -> Any:
    """Load a published model as it is stored, and make sure that nothing in it was made up."""
    model, info = model_class.from_pretrained(
        source, revision=revision, use_safetensors=True, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{source} lacks weights of {model_class.__name__}: {', '.join(missing[:3])}, ...")
    return model


def _randomize_projector(model: AsrScopeForConditionalGeneration, seed: int) -> None:
    """Put an untrained projector in the place of the model's own."""
    table = model.get_input_embeddings().get_parameter("weight")  # (vocabulary, decoder_dim)
    old = model.multi_modal_projector
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        new = AudioProjector(
            encoder_dim=model.config.audio_config.d_model,
            decoder_dim=model.config.text_config.hidden_size,
            stack_factor=old.stack_factor,
            hidden_size=old.hidden_size,
            norm=old.norm,
            mlp=old.mlp,
        )
        new.fit_length(table)
    provenance = provenance_of(model)
    model.multi_modal_projector = new.to(table.device, table.dtype).eval()
    made = describe_weights("projector", new, f"random initialization, seed {seed}", trained=False)
    attach_provenance(model, (made if p.part == "projector" else p for p in provenance))


def _build_projector(path: Path, encoder_dim: int, decoder_dim: int) -> AudioProjector:
    """Make a projector of the sizes that its weights have, with the layers they are of."""
    tensors = read_tensors(path)
    tensors = select_part(tensors, "projector") or tensors
    try:
        hidden_size, stacked_dim = tensors["up.weight"].shape
        projector = AudioProjector(
            encoder_dim,
            decoder_dim,
            stacked_dim // encoder_dim,
            hidden_size,
            norm="rms" if "norm_out.weight" in tensors else "none",
            mlp="swiglu" if "gate.weight" in tensors else "gelu",
        )
        projector.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise ValueError(
            f"{path} holds no projector from {encoder_dim} to {decoder_dim} dimensions; found {shapes}."
        ) from error
    return projector


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
