"""Join the three trained parts in one checkpoint."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedConfig, SmolLM3ForCausalLM, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.audio import SAMPLE_RATE
from asrscope.files import write_text
from asrscope.loading.provenance import write_provenance
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.training.curves import read_stages
from asrscope.training.spelling import INSTRUCTION
from asrscope_recipe.corpus import MAX_SECONDS

__all__ = ["bundle"]


def bundle(encoder: Path, decoder: Path, projector: Path, target: Path) -> Path:
    """Write one checkpoint in half precision from the three finished parts.

    Parameters
    ----------
    encoder, decoder, projector : Path
        What the three stages of training left.
    target : Path
        Gets config, weights (fp16 safetensors), tokenizer, feature extractor, provenance, and the curves of
        the three stages in ``training.json``.

    Returns
    -------
    Path
        ``target``.
    """
    recipes = {name: _recipe(folder) for name, folder in _parts(encoder, decoder, projector).items()}
    audio_tower = WhisperEncoder.from_pretrained(encoder)
    language_model = SmolLM3ForCausalLM.from_pretrained(decoder)
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    audio_config = audio_tower.config
    config = AsrScopeConfig(
        audio_config=_sizes(audio_config),
        text_config=_sizes(language_model.config),
        stack_factor=recipes["projector"]["stack_factor"],
        projector_hidden_size=recipes["projector"]["hidden_size"],
        projector_norm=recipes["projector"].get("norm", "rms"),
        projector_mlp=recipes["projector"].get("mlp", "swiglu"),
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
        pad_audio=False,
        trained_seconds=MAX_SECONDS,
    )
    model = AsrScopeForConditionalGeneration(config)
    model.audio_tower.load_state_dict(audio_tower.state_dict())
    model.language_model.load_state_dict(language_model.state_dict())
    model.multi_modal_projector.load_state_dict(load_file(projector / "model.safetensors"))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.half().save_pretrained(target)
    window = audio_config.max_source_positions // 50  # seconds: 20 ms a position
    extractor = WhisperFeatureExtractor(
        feature_size=audio_config.num_mel_bins, sampling_rate=SAMPLE_RATE, chunk_length=window
    )
    AsrScopeProcessor(
        extractor,
        tokenizer,
        instruction=INSTRUCTION,
        stack_factor=config.stack_factor,
        pad_audio=config.pad_audio,
    ).save_pretrained(target)
    if curves := read_stages(_parts(encoder, decoder, projector)):
        write_text(target / "training.json", json.dumps(curves) + "\n")
    write_provenance(
        target, {name: {"trained": True, "made_with": recipe} for name, recipe in recipes.items()}
    )
    return target


def _sizes(config: PreTrainedConfig) -> dict[str, Any]:
    """Give a config without the folder it was read from, which is nobody else's business."""
    return {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}


def _parts(encoder: Path, decoder: Path, projector: Path) -> dict[str, Path]:
    return {"encoder": encoder, "projector": projector, "decoder": decoder}


def _recipe(folder: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    return recipe
