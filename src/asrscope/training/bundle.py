"""Join the three trained parts in one checkpoint, measure it, and write its model card."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedConfig, SmolLM3ForCausalLM, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from asrscope.audio import SAMPLE_RATE
from asrscope.data.corpus import MAX_SECONDS
from asrscope.data.sentences import vocabulary
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.provenance import write_provenance
from asrscope.training.decoder import INSTRUCTION

__all__ = ["bundle", "write_model_card"]


def bundle(encoder: Path, decoder: Path, projector: Path, target: Path) -> Path:
    """Write one checkpoint in half precision from the three finished parts.

    Parameters
    ----------
    encoder, decoder, projector : Path
        What the three stages of training left.
    target : Path
        Gets config, weights (fp16 safetensors), tokenizer, feature extractor and provenance.

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
    write_provenance(
        target, {name: {"trained": True, "made_with": recipe} for name, recipe in recipes.items()}
    )
    return target


def write_model_card(target: Path, results: Mapping[str, Mapping[str, Any]], seconds_per_clip: float) -> Path:
    """Write ``metrics.json`` and the model card from measured results.

    Parameters
    ----------
    target : Path
        The checkpoint.
    results : mapping
        For each test set what `asrscope.evaluation.Evaluation.to_dict` gives.
    seconds_per_clip : float
        Median seconds from samples to text of the shipped clips.

    Returns
    -------
    Path
        The card, ``README.md``.
    """
    provenance = json.loads((target / "provenance.json").read_text(encoding="utf-8"))
    made = {part: claim["made_with"] for part, claim in provenance.items()}
    model = AsrScopeForConditionalGeneration.from_pretrained(target)
    sizes = {
        "encoder": _count(model.audio_tower),
        "projector": _count(model.multi_modal_projector),
        "decoder": _count(model.language_model),
    }
    weights = (target / "model.safetensors").stat().st_size
    machine = f"{platform.machine()}, torch {torch.__version__}, threads: {torch.get_num_threads()}"
    keep = (
        "wer",
        "wer_low",
        "wer_high",
        "cer",
        "words",
        "substitutions",
        "insertions",
        "deletions",
        "utterances",
    )
    metrics = {
        "test_sets": {name: {key: result[key] for key in keep} for name, result in results.items()},
        "normalizer": next(iter(results.values()))["normalizer"],
        "seconds_per_clip": round(seconds_per_clip, 3),
        "measured_on": machine,
        "parameters": sizes,
        "weights_bytes": weights,
    }
    (target / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    rows = [
        f"| {name} | {r['wer']:.1%} | {r['wer_low']:.1%} to {r['wer_high']:.1%} | {r['cer']:.1%} "
        f"| {r['utterances']} | {r['words']} |"
        for name, r in results.items()
    ]
    parts = [
        f"| {name} | {sizes[name]:,} | {made[name]['steps']:,} | {made[name]['utterances']:,} "
        f"| {made[name]['hours']} |"
        for name in ("encoder", "decoder", "projector")
    ]
    card = _CARD.format(
        rows="\n".join(rows),
        parts="\n".join(parts),
        hashes="\n".join(f"| {part} | `{claim['sha256']}` |" for part, claim in provenance.items()),
        megabytes=weights / 1e6,
        total=sum(sizes.values()),
        vocabulary=len(vocabulary()),
        seconds=seconds_per_clip,
        machine=machine,
        normalizer=metrics["normalizer"],
        stack=model.config.stack_factor,
        limit=model.config.trained_seconds,
        notes="".join(f"\n- {part}: {recipe['notes']}" for part, recipe in made.items() if "notes" in recipe),
    )
    path = target / "README.md"
    path.write_text(card, encoding="utf-8")
    return path


def _sizes(config: PreTrainedConfig) -> dict[str, Any]:
    """Give a config without the folder it was read from, which is nobody else's business."""
    return {name: value for name, value in config.to_dict().items() if name != "_name_or_path"}


def _parts(encoder: Path, decoder: Path, projector: Path) -> dict[str, Path]:
    return {"encoder": encoder, "projector": projector, "decoder": decoder}


def _recipe(folder: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    return recipe


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


_CARD = """# The `tiny` model

A speech-language model of {total:,} parameters ({megabytes:.1f} MB in half precision), trained from zero on
one CPU: a `WhisperEncoder`, a projector that stacks {stack} positions, and a `SmolLM3ForCausalLM`. It exists
to be looked into.

## What it has heard

English sentences of a small grammar and strings of random words, {vocabulary:,} words in all, spoken by
`espeak-ng` and `flite`. No human voice. It writes lowercase words without punctuation and was trained on
clips of up to {limit:g} s.

## Word error rates

On sentences that no training saw. The new voices are espeak-ng variants and a flite voice that no training
heard; the hand-written sentences are spoken by those.

| test set | WER | 95 % interval | CER | clips | words |
|---|---|---|---|---|---|
{rows}

Measured by `asrscope train card`, which makes the test sets and evaluates with greedy decoding. Words are
compared after normalization: {normalizer}. The intervals come from a bootstrap over clips.

A shipped clip takes {seconds:.2f} s from samples to text (median; {machine}).

## How it was trained

| part | parameters | steps | sentences | hours on one core |
|---|---|---|---|---|
{parts}

1. The encoder learned phones, whose times the synthesizers report, and letters by CTC. Both heads are gone.
2. The decoder learned from text alone: to continue sentences, and to write out what a spelled, smeared and
   mistaken context says.
3. The projector was trained to join the two, which stayed frozen.

`asrscope train all` makes it again, from synthesis to this card. The recipes with all their settings stand in
`provenance.json`.
{notes}

| part | SHA-256 of its weights |
|---|---|
{hashes}

## What it cannot do

It knows few words, spells others as they sound, and has never heard a person, a room or a microphone. Noise
and unfamiliar voices confuse it. Its probabilities are not calibrated. It is no recognizer for real use.
"""
