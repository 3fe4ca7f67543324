"""Join the parts of the bundled model: encoder and decoder to train the projector between, then all three.

And the mean of two projectors, of which the one went on from the other.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from transformers import AutoTokenizer, PreTrainedConfig, SmolLM3ForCausalLM, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.audio import SAMPLE_RATE
from asrscope.loading import Loaded
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.saving import write_bytes, write_text
from asrscope.training.finished import read_weights, write_model
from asrscope_recipe.corpus import MAX_SECONDS
from asrscope_recipe.spelling import INSTRUCTION

__all__ = ["average_with", "bundle", "join"]


def join(encoder: Path, decoder: Path) -> Loaded:
    """Put a finished encoder and a finished decoder in one model; its projector is random."""
    audio_tower = WhisperEncoder.from_pretrained(encoder)
    language_model = SmolLM3ForCausalLM.from_pretrained(decoder)
    tokenizer = AutoTokenizer.from_pretrained(decoder)
    config = AsrScopeConfig(
        audio_config=_sizes(audio_tower.config),
        text_config=_sizes(language_model.config),
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
        pad_audio=False,
        trained_seconds=MAX_SECONDS,
    )
    model = AsrScopeForConditionalGeneration(config).eval()
    model.audio_tower.load_state_dict(audio_tower.state_dict())
    model.language_model.load_state_dict(language_model.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    extractor = WhisperFeatureExtractor(
        feature_size=config.audio_config.num_mel_bins,
        sampling_rate=SAMPLE_RATE,
        chunk_length=config.audio_config.max_source_positions // 50,  # seconds: 20 ms a position
    )
    processor = AsrScopeProcessor(
        extractor, tokenizer, instruction=INSTRUCTION, stack_factor=config.stack_factor, pad_audio=False
    )
    return model, processor


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
    others = {"encoder": encoder, "decoder": decoder}
    return write_model(join(encoder, decoder), projector, target, others=others)


def average_with(start: Path, done: Path, share: float, target: Path) -> Path:
    """Take the mean of a finished projector and the one that its training began with.

    What both learned adds up, and what the one knows of its own clips by heart does not.

    Parameters
    ----------
    start, done : Path
        Folders of the two.
    share : float
        That of the first, between 0 and 1.
    target : Path
        Gets the mean, with the recipe of the second and its list of tokens.

    Returns
    -------
    Path
        ``target``.

    References
    ----------
    Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
    """
    earlier, weights = read_weights(start), load_file(done / "model.safetensors")
    for name, value in weights.items():
        if value.is_floating_point():
            weights[name] = torch.lerp(value, earlier[name].to(value), share)
    made = json.loads((done / "recipe.json").read_text(encoding="utf-8"))
    target.mkdir(parents=True, exist_ok=True)
    write_bytes(target / "model.safetensors", save(weights))
    write_text(target / "training.json", (done / "training.json").read_text(encoding="utf-8"))
    write_text(target / "recipe.json", json.dumps(made | {"averaged_with_start": share}) + "\n")
    return target


def _sizes(config: PreTrainedConfig) -> dict[str, Any]:
    """Give a config without the folder it was read from, which is nobody else's business."""
    return {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}
