"""The large pair: Whisper-large-v3-turbo's encoder, SmolLM3-3B, and a projector of your own or as published.

It is put together from the files of three places, each a folder or a repository on the Hugging Face Hub at a
pinned revision. Only safetensors are read, and no code of a repository is run.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from tqdm.auto import tqdm
from transformers import SmolLM3Config, WhisperConfig

from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.loading.adapters import add_adapter
from asrscope.loading.fetching import Place, Unreachable, fetch, fetch_weights, in_words
from asrscope.loading.parts import (
    AUDIO_TOKEN,
    fill_encoder,
    find_projector,
    load_decoder,
    make_room,
    of_encoder,
    read_config,
    read_feature_extractor,
    read_tokenizer,
    untrained_projector,
)
from asrscope.loading.provenance import attach_provenance, describe_weights
from asrscope.loading.published import AUDIO, FoundProjector
from asrscope.loading.quantizing import Quantization, quantization
from asrscope.loading.room import check_room, estimate
from asrscope.loading.stored import StoredTensors
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor

__all__ = [
    "FULL_DECODER",
    "FULL_DECODER_REVISION",
    "FULL_ENCODER",
    "FULL_ENCODER_REVISION",
    "load_full",
]

# Commits of the Hub repositories, so that the weights a trace was made with can be had again.
FULL_ENCODER, FULL_ENCODER_REVISION = (
    "openai/whisper-large-v3-turbo",
    "41f01f3fe87f28c78e2fbf8b568835947dd65ed9",
)
FULL_DECODER, FULL_DECODER_REVISION = (
    "HuggingFaceTB/SmolLM3-3B",
    "a07cc9a04f16550a088caea529712d1d335b0ac1",
)
PINNED = {FULL_ENCODER: FULL_ENCODER_REVISION, FULL_DECODER: FULL_DECODER_REVISION}
USER_PROMPT = f"Transcribe: {AUDIO}"
# SmolLM3's template would let it think aloud, and would write today's date into the prompt.
SYSTEM_PROMPT = "/no_think /system_override"
SETTINGS = ("config.json", "model.safetensors.index.json")
ENCODER_FILES = (*SETTINGS, "preprocessor_config.json")
DECODER_FILES = (
    *SETTINGS,
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "chat_template*",
)
PROJECTOR_FILES = (*SETTINGS, "processor_config.json")
ENCODER_PREFIXES = ("model.encoder.", "encoder.", "")

Loaded = tuple[AsrScopeForConditionalGeneration, AsrScopeProcessor]


def load_full(
    projector: str | Path | None,
    *,
    projector_revision: str | None = None,
    encoder: str | Path = FULL_ENCODER,
    encoder_revision: str | None = None,
    decoder: str | Path = FULL_DECODER,
    decoder_revision: str | None = None,
    adapter: str | Path | None = None,
    adapter_revision: str | None = None,
    instruction: str | None = None,
    dtype: torch.dtype = torch.bfloat16,
    device_map: Any = None,
    quantize: Any = None,
    tell: Callable[[str], None] | None = None,
) -> Loaded:
    """Put together the encoder of Whisper-large-v3-turbo, SmolLM3-3B, and a projector.

    Parameters
    ----------
    projector : str, Path or None
        A safetensors file, a folder or a repository with a projector: one that ``asrscope train projector``
        made, a model saved by this package, or one of the layouts of `asrscope.loading.published`. None: an
        untrained one.
    projector_revision : str, optional
        Commit, tag or branch of the projector's repository.
    encoder : str or Path
        Repository or folder, in the layout of the usual one.
    encoder_revision : str, optional
        Commit, tag or branch; default: the pinned commit of the usual repository, the newest of another one.
    decoder : str or Path
        The same for the decoder.
    decoder_revision : str, optional
        The same for the decoder.
    adapter : str or Path, optional
        Folder or repository with a PEFT adapter (LoRA, for example) of the decoder.
    adapter_revision : str, optional
        Commit, tag or branch of its repository.
    instruction : str, optional
        What the prompt asks for, before the clip; default: as the projector's configuration says.
    dtype : torch.dtype
        Type of the weights in memory.
    device_map : str, int, torch.device or dict, optional
        Where the weights go, as in transformers: ``"cuda"``, ``"auto"``, or a device for each of
        ``audio_tower``, ``multi_modal_projector`` and ``language_model``; default: the processor's memory.
    quantize : str or quantization config of transformers, optional
        Fewer bits for the decoder, see `asrscope.loading.quantizing.quantization`.
    tell : callable, optional
        Gets one line on the memory needed, before the weights are fetched and loaded; default: standard
        error, where the Hub's progress bars are drawn too.

    Returns
    -------
    AsrScopeForConditionalGeneration, AsrScopeProcessor
        The model, ready to run, and its processor.

    Raises
    ------
    OSError
        If something cannot be had: no connection, no such repository or revision, a missing file.
    ValueError
        If parts do not fit each other or their configurations, or a file is damaged.
    MemoryError
        If this machine has too little memory; nothing has been allocated then.
    """
    tell = tell or _tell
    sources = {
        "encoder": (encoder, encoder_revision or PINNED.get(str(encoder)), ENCODER_FILES),
        "decoder": (decoder, decoder_revision or PINNED.get(str(decoder)), DECODER_FILES),
    }
    if projector is not None and not Path(projector).is_file():
        sources["projector"] = (projector, projector_revision, PROJECTOR_FILES)
    if adapter is not None:
        sources["adapter"] = (adapter, adapter_revision, ("adapter_config.json", "adapter_model.safetensors"))
    found = _fetch_all(sources)
    audio_config = read_config(found["encoder"], WhisperConfig, "encoder")
    text_config = read_config(found["decoder"], SmolLM3Config, "decoder")
    extractor = read_feature_extractor(found["encoder"], audio_config)
    tokenizer = read_tokenizer(found["decoder"], text_config)

    if projector is None:
        bridge = untrained_projector(audio_config.d_model, text_config.hidden_size)
    else:
        place = found.get("projector") or Place(str(projector), Path(projector))
        bridge = find_projector(place, audio_config.d_model, text_config.hidden_size)
        found["projector"] = place
    layers = bridge.module.settings
    config = AsrScopeConfig(
        audio_config=audio_config,
        text_config=text_config,
        stack_factor=layers["stack_factor"],
        projector_hidden_size=layers["hidden_size"],
        projector_norm=layers["norm"],
        projector_mlp=layers["mlp"],
        projector_bias=layers["bias"],
        projector_remainder=layers["remainder"],
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
        pad_audio=True,
        trained_seconds=float(audio_config.max_source_positions * SECONDS_PER_POSITION),
    )
    with torch.device("meta"):  # every shape, and no memory
        model = AsrScopeForConditionalGeneration(config)
    model.language_model.tie_weights()
    audio_device, text_map = _devices(device_map)
    gpu = any(str(device).startswith("cuda") or isinstance(device, int) for device in _values(text_map))
    fewer = quantization(quantize, dtype, gpu=gpu or (text_map == "auto" and torch.cuda.is_available()))
    tell(check_room(estimate(model, _bits(dtype), fewer.bits if fewer else None), device_map))

    found |= _fetch_weights(found)
    stored = {"encoder": StoredTensors.of(found["encoder"].folder, of_encoder).part(*ENCODER_PREFIXES)}
    fill_encoder(model, stored["encoder"], found["encoder"], audio_device, dtype)
    model.multi_modal_projector = bridge.module.to(audio_device, dtype)
    stored["decoder"] = StoredTensors.of(found["decoder"].folder)
    language_model = load_decoder(found["decoder"], stored["decoder"], dtype, text_map, fewer)
    if text_config.tie_word_embeddings:  # counted once, in whichever files
        stored["decoder"] = stored["decoder"].without("lm_head.weight")
    if adapter is not None:
        lora = add_adapter(language_model, found["adapter"].folder, str(adapter))
        stored["decoder"] = stored["decoder"].joined("adapter.", lora)
    make_room(language_model, len(tokenizer))
    model.language_model, model.generation_config = language_model, language_model.generation_config
    model.config.text_config = language_model.config
    if model.generation_config.eos_token_id is None:
        model.generation_config.eos_token_id = tokenizer.eos_token_id

    processor = AsrScopeProcessor(
        extractor,
        tokenizer,
        audio_token=AUDIO_TOKEN,
        instruction=(bridge.user_prompt or USER_PROMPT if instruction is None else instruction).replace(
            AUDIO, AUDIO_TOKEN
        ),
        stack_factor=config.stack_factor,
        pad_audio=True,
        remainder=config.projector_remainder,
        system_prompt=SYSTEM_PROMPT if bridge.system_prompt is None else bridge.system_prompt,
    )
    _attach(model, stored, bridge, found, fewer)
    return model.eval(), processor


def _fetch_all(sources: Mapping[str, tuple[str | Path, str | None, tuple[str, ...]]]) -> dict[str, Place]:
    """Get the small files of every part; what cannot be reached is told of in one error."""
    found: dict[str, Place] = {}
    missing: list[Unreachable] = []
    for part, (source, revision, patterns) in sources.items():
        try:
            found[part] = fetch(source, revision, patterns, cached=bool(missing))
        except Unreachable as error:
            missing.append(error)
    if missing:
        raise OSError(in_words(missing)) from missing[0]
    return found


def _fetch_weights(found: Mapping[str, Place]) -> dict[str, Place]:
    wanted: dict[str, Callable[[str], bool]] = {"encoder": of_encoder, "decoder": lambda _: True}
    got: dict[str, Place] = {}
    missing: list[Unreachable] = []
    for part, which in wanted.items():
        try:
            got[part] = fetch_weights(found[part], which)
        except Unreachable as error:
            missing.append(error)
    if missing:
        raise OSError(in_words(missing)) from missing[0]
    return got


def _bits(dtype: torch.dtype) -> int:
    return 8 * dtype.itemsize


def _devices(device_map: Any) -> tuple[torch.device, Any]:
    """Say where encoder and projector go, and what the decoder's device map is."""
    if isinstance(device_map, Mapping):
        audio = device_map.get("audio_tower", device_map.get("", "cpu"))
        inside = {
            name.removeprefix("language_model").removeprefix("."): device
            for name, device in device_map.items()
            if name.startswith("language_model")
        }
        return torch.device(audio), inside or {"": device_map.get("", "cpu")}
    if device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu"), device_map
    device = torch.device("cpu" if device_map is None else device_map)
    return device, {"": device}


def _values(text_map: Any) -> list[Any]:
    return list(text_map.values()) if isinstance(text_map, Mapping) else []


def _attach(
    model: AsrScopeForConditionalGeneration,
    stored: Mapping[str, StoredTensors],
    bridge: FoundProjector,
    found: Mapping[str, Place],
    fewer: Quantization | None,
) -> None:
    """Say where the weights come from. Only those at the pinned commits are known to be trained."""
    described = []
    for part in ("encoder", "decoder"):
        place = found[part]
        trained = True if PINNED.get(place.name) == place.revision is not None else None
        source = place.name
        if part == "decoder" and "adapter" in found:
            other = found["adapter"]
            source = f"{source} with adapter {other.name}" + (
                f" at {other.revision}" if other.revision else ""
            )
            trained = None
        known = describe_weights(part, stored[part], source, revision=place.revision, trained=trained)
        if part == "decoder" and fewer is not None:
            known = replace(known, dtype=f"{known.dtype}, loaded as {fewer.label}")
        described.append(known)
    if "projector" in found:
        place, source = found["projector"], found["projector"].name
        if bridge.trained_between and set(bridge.trained_between) != {
            found["encoder"].name,
            found["decoder"].name,
        }:
            source += f" (made for {' and '.join(bridge.trained_between)})"
        described.append(describe_weights("projector", bridge.tensors, source, revision=place.revision))
    else:
        described.append(
            describe_weights("projector", bridge.tensors, "random initialization, seed 0", trained=False)
        )
    attach_provenance(model, described)


def _tell(message: str) -> None:
    if not are_progress_bars_disabled():
        tqdm.write(message, file=sys.stderr)
