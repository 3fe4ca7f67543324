"""Put a model together: any Whisper encoder, any causal language model as its decoder, and a projector.

Each of the three is a folder or a repository on the Hugging Face Hub; specialists that packages carry, too,
are found there. Only safetensors are read of folders and repositories, and no code of theirs is run.
"""

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from torch import Tensor
from tqdm.auto import tqdm
from transformers import AutoTokenizer, BitsAndBytesConfig, WhisperConfig, WhisperFeatureExtractor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from asrscope.encoder import SECONDS_PER_POSITION, lead_positions
from asrscope.loading.checkpoints import (
    agree,
    name_of,
    no_progress_bars,
    part_of,
    read_settings,
    read_tensors,
    readable,
)
from asrscope.loading.room import GB, check_room, devices, estimate
from asrscope.loading.sources import (
    SPECIALISTS,
    WEIGHTS,
    Place,
    Unreachable,
    fetch,
    fetch_weights,
    in_words,
    obtain,
)
from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
from asrscope.processing import PROMPT_TOKEN, AsrScopeProcessor
from asrscope.projector import AudioProjector
from asrscope.saving.provenance import attach_provenance, describe_weights, hash_tensors, hash_vocabulary
from asrscope.scope.traces import Provenance

__all__ = ["PINNED", "load_pair", "read_projector"]

# Commits of the Hub repositories, so that the weights a trace was made with can be had again.
PINNED = {
    "openai/whisper-large-v3-turbo": "41f01f3fe87f28c78e2fbf8b568835947dd65ed9",
    "HuggingFaceTB/SmolLM3-3B": "a07cc9a04f16550a088caea529712d1d335b0ac1",
    **{part.repository: part.revision for part in SPECIALISTS.values()},
}
AUDIO_TOKEN = "<|audio|>"
AUDIO = "<audio>"  # where the clip stands in the prompt of a projector's configuration
USER_PROMPT = f"Transcribe: {AUDIO}"
# SmolLM3's template would let it think aloud, and would write today's date into the prompt.
SYSTEM_OVERRIDE = "/system_override"
SYSTEM_PROMPT = f"/no_think {SYSTEM_OVERRIDE}"
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "chat_template*")
FILES = {  # of each part, those that are small
    "projector": ("config.json", "processor_config.json", "provenance.json", *WEIGHTS),
    "encoder": ("config.json", "preprocessor_config.json"),
    "decoder": ("config.json", "generation_config.json", *TOKENIZER),
}
MADE_FOR = {"encoder": "audio_model", "decoder": "text_model"}  # as a projector's config.json calls them
LARGE = 2 * GB  # of memory: what takes less is loaded before a line about it has been read
ENCODER_PREFIXES = ("model.encoder.", "encoder.", "")
BITS = {"int8": 8, "int4": 4}  # of a weight in the decoder's layers
ONE_REVISION = "Take both files from one revision."
OTHER_PARTS = (
    "The projector was trained with others: give the encoder and the decoder that it was trained between, or "
    "another projector."
)

Loaded = tuple[AsrScopeForConditionalGeneration, AsrScopeProcessor]


def load_pair(
    projector: str | Path | None,
    *,
    projector_revision: str | None = None,
    encoder: str | Path | None = None,
    encoder_revision: str | None = None,
    decoder: str | Path | None = None,
    decoder_revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    device_map: Any = None,
    quantize: Any = None,
    untrained: Mapping[str, Any] | None = None,
    name: str = "the pair",
) -> Loaded:
    """Put together an encoder, a decoder, and a projector between them.

    Parameters
    ----------
    projector : str, Path or None
        A safetensors file, a folder or a repository with a projector: one that ``asrscope train projector``
        made, or a model saved by this package. None: an untrained one.
    projector_revision : str, optional
        Commit, tag or branch of the projector's repository.
    encoder : str or Path, optional
        Repository or folder with a Whisper model; default: what the projector says it was made for.
    encoder_revision : str, optional
        Commit, tag or branch; default: the pinned commit of a usual repository, the newest of another one.
    decoder : str or Path, optional
        The same for a causal language model of transformers, with a tokenizer that has a chat template.
    decoder_revision : str, optional
        The same for the decoder.
    dtype : torch.dtype
        Type of the weights in memory.
    device_map : str or torch.device, optional
        Where the weights go: a device, ``"cuda"`` for example, or ``"auto"``, which spreads the decoder over
        all GPUs and the processor's memory; default: the processor's memory.
    quantize : str or quantization config of transformers, optional
        Fewer bits for the linear layers of the decoder: ``"int8"`` or ``"int4"``, by bitsandbytes.
    untrained : mapping, optional
        Stack factor and hidden size of an untrained projector, named as in the model's configuration.
    name : str
        What to call the model in messages.

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
    found, said = _find(
        {
            "projector": (projector, projector_revision),
            "encoder": (encoder, encoder_revision),
            "decoder": (decoder, decoder_revision),
        },
        name,
    )
    audio_config, extractor = _read_encoder(found["encoder"])
    text_config, tokenizer = _read_decoder(found["decoder"])
    widths = audio_config.d_model, text_config.hidden_size
    bridge, weights, said = _bridge(found.get("projector"), said, *widths, untrained)
    settings = dict(bridge.settings)
    if "lead_positions" in said:
        audio_config.lead_positions = said["lead_positions"]
        with readable(found["projector"].folder / "config.json", "no such silence can stand ahead of a clip"):
            lead_positions(audio_config)
    audio_token_id = _token(tokenizer, AUDIO_TOKEN)
    prompt_token_id = None if bridge.prompt is None else _token(tokenizer, PROMPT_TOKEN)
    if (vocabulary := said.get("text_model_vocabulary")) is not None:
        own = hash_vocabulary(tokenizer)
        agree(found["decoder"].name, "SHA-256 of its vocabulary", vocabulary[:12], own[:12], OTHER_PARTS)
    config = AsrScopeConfig(
        audio_config=audio_config,
        text_config=text_config,
        stack_factor=settings.pop("stack_factor"),
        **{f"projector_{key}": value for key, value in settings.items()},
        audio_token_id=audio_token_id,
        prompt_token_id=prompt_token_id,
        pad_audio=bool(said.get("pad_audio", True)),
        trained_seconds=float(
            said.get("trained_seconds") or audio_config.max_source_positions * SECONDS_PER_POSITION
        ),
    )
    with torch.device("meta"):  # every shape, and no memory
        model = AsrScopeForConditionalGeneration(config)
    model.language_model.tie_weights()
    fewer, bits, label = _fewer(quantize, dtype)
    need = estimate(model, 8 * dtype.itemsize, bits)
    told = check_room(need, device_map, name)
    large = need.total > LARGE
    if large and not are_progress_bars_disabled():
        tqdm.write(told, file=sys.stderr)

    try:
        found |= {part: fetch_weights(found[part]) for part in MADE_FOR}
    except Unreachable as error:
        raise OSError(in_words([error], name)) from error
    stored = {
        "encoder": _stored(found["encoder"], model.audio_tower.state_dict(), *ENCODER_PREFIXES),
        "decoder": _stored(found["decoder"], dict(model.language_model.named_parameters()), ""),
    }
    origins = {part: _origin(part, stored[part], found[part], said) for part in stored}
    if fewer:
        loaded_as = f"{origins['decoder'].dtype}, loaded as {label}"
        origins["decoder"] = replace(origins["decoder"], dtype=loaded_as)
    origins["projector"] = _origin_of_projector(weights, found, said)
    device = devices(device_map)[0]
    model.audio_tower.load_state_dict(
        {key: tensor.to(device, dtype) for key, tensor in stored["encoder"].items()}, assign=True
    )
    model.multi_modal_projector = bridge.to(device, dtype)
    with nullcontext() if large else no_progress_bars():
        language_model = MODEL_FOR_CAUSAL_LM_MAPPING[type(text_config)].from_pretrained(
            found["decoder"].folder,
            dtype=dtype,
            device_map="auto" if device_map == "auto" else {"": device},
            quantization_config=fewer,
            use_safetensors=True,
            local_files_only=True,
        )
    _make_room(language_model, len(tokenizer))
    model.language_model, model.generation_config = language_model, language_model.generation_config
    model.config.text_config = language_model.config
    if model.generation_config.eos_token_id is None:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    attach_provenance(model, origins.values())
    return model.eval(), _processor(model.config, said, extractor, tokenizer)


def _find(
    wanted: Mapping[str, tuple[str | Path | None, str | None]], name: str
) -> tuple[dict[str, Place], dict[str, Any]]:
    """Get the small files of every part, and what the projector's configuration says.

    What cannot be reached is told of in one error.
    """
    found: dict[str, Place] = {}
    missing: list[Unreachable] = []
    said: dict[str, Any] = {}
    for part, (given, its_revision) in wanted.items():
        source, revision = given, its_revision
        if source is None and part in MADE_FOR:
            source = said.get(f"{MADE_FOR[part]}_id")
            revision = revision or said.get(f"{MADE_FOR[part]}_revision")
            if source is None and not missing:
                raise ValueError(
                    f"{name}: nothing says between which {part} it is to stand. Give one: {part}=..."
                )
        if source is None:
            continue
        try:
            found[part] = _locate(part, source, revision or PINNED.get(str(source)))
        except Unreachable as error:
            missing.append(error)
        if part == "projector" in found:
            said = _beside(found[part], "config.json")
    if missing:
        raise OSError(in_words(missing, name)) from missing[0]
    return found, said


def _locate(part: str, source: str | Path, revision: str | None) -> Place:
    """Find the small files of one part."""
    specialist = SPECIALISTS.get(str(source))
    if part == "projector" and Path(source).is_file():
        return Place(str(source), Path(source))
    if specialist is not None and revision == specialist.revision:
        return obtain(specialist)
    return fetch(source, revision, FILES[part])


def _beside(place: Place, file: str) -> dict[str, Any]:
    """Read a settings file of a projector; nothing if there is none."""
    folder = place.folder if place.folder.is_dir() else place.folder.parent
    return read_settings(folder / file) if (folder / file).is_file() else {}


def _read_encoder(place: Place) -> tuple[WhisperConfig, WhisperFeatureExtractor]:
    """Read the sizes of the encoder, and how it wants its spectrogram."""
    settings, file = read_settings(place.folder / "config.json"), place.folder / "preprocessor_config.json"
    if settings.get("model_type") != WhisperConfig.model_type:
        raise ValueError(
            f"{place.folder / 'config.json'}: expected model_type 'whisper' for the encoder, but found "
            f"{settings.get('model_type')!r}. Give another encoder."
        )
    config = WhisperConfig.from_dict(settings)
    bands = read_settings(file).get("feature_size", 80)  # Whisper's own default
    agree(file, "mel bands", config.num_mel_bins, bands, ONE_REVISION)
    return config, WhisperFeatureExtractor.from_pretrained(place.folder)


def _read_decoder(place: Place) -> tuple[Any, Any]:
    """Read the sizes of the decoder, and its tokenizer."""
    settings = read_settings(place.folder / "config.json")
    kind = settings.get("model_type")
    known = kind in CONFIG_MAPPING and CONFIG_MAPPING[kind] in MODEL_FOR_CAUSAL_LM_MAPPING
    if not known or settings.get("is_encoder_decoder"):  # Whisper's own decoder reads no prompt
        raise ValueError(
            f"{place.folder / 'config.json'}: expected a causal language model of transformers (smollm3, "
            f"llama, qwen3, ...) for the decoder, but found model_type {kind!r}. Give another decoder."
        )
    config = CONFIG_MAPPING[kind].from_dict(settings)
    file = place.folder / "tokenizer.json"
    for needed in (file.with_name("tokenizer_config.json"), file):
        read_settings(needed)
    tokenizer = AutoTokenizer.from_pretrained(place.folder, local_files_only=True)
    agree(file, "tokens", range(config.vocab_size + 1), len(tokenizer), ONE_REVISION)
    if not tokenizer.chat_template:
        raise ValueError(
            f"{place.folder}: its tokenizer has no chat template, which the prompt is written with. Copy or "
            "download chat_template.jinja too."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return config, tokenizer


def _token(tokenizer: Any, token: str) -> int:
    """Look a placeholder up; the tokenizer learns it if it does not know it."""
    if token not in tokenizer.get_vocab():
        tokenizer.add_special_tokens(
            {"additional_special_tokens": [token]}, replace_extra_special_tokens=False
        )
    return int(tokenizer.convert_tokens_to_ids(token))


def _bridge(
    place: Place | None,
    said: Mapping[str, Any],
    encoder_dim: int,
    decoder_dim: int,
    sizes: Mapping[str, Any] | None,
) -> tuple[AudioProjector, Mapping[str, Tensor], dict[str, Any]]:
    """Read the projector, or make a random one of the sizes that are given."""
    if place is None:
        settings = AsrScopeConfig(**(sizes or {})).projector_settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = AudioProjector(encoder_dim, decoder_dim, **settings)
        return module, module.state_dict(), {}
    module, weights = read_projector(read_tensors(place.folder), said, encoder_dim, decoder_dim, place.name)
    kept = _beside(place, "processor_config.json")  # saved by this package as a whole model, with its prompt
    names = {"instruction": "user_prompt", "system_prompt": "system_prompt"}
    return module, weights, {**said, **{names[key]: kept[key] for key in names.keys() & kept.keys()}}


def read_projector(
    stored: Mapping[str, Tensor], config: Mapping[str, Any], encoder_dim: int, decoder_dim: int, name: str
) -> tuple[AudioProjector, dict[str, Tensor]]:
    """Build a projector of its weights, and hold it against its configuration and the widths around it.

    Parameters
    ----------
    stored : mapping of str to torch.Tensor
        The checkpoint; tensors that are of no projector are left alone.
    config : mapping
        What its ``config.json`` says; empty if there is none.
    encoder_dim, decoder_dim : int
        Widths of the encoder and the decoder that it is to join.
    name : str
        What to call it in errors.

    Returns
    -------
    AudioProjector
        With the weights as they are stored.
    dict of str to torch.Tensor
        The weights.

    Raises
    ------
    ValueError
        If the weights are of no projector or do not fit, or the configuration says otherwise.
    """
    for part, key, width in (
        ("audio_config", "d_model", encoder_dim),
        ("text_config", "hidden_size", decoder_dim),
    ):
        agree(name, f"{part}.{key}", (config.get(part) or {}).get(key, width), width, OTHER_PARTS)
    weights = part_of(stored, "multi_modal_projector.", "projector.", "")
    named = {option: f"projector_{option}" for option in AsrScopeConfig().projector_settings}
    named["stack_factor"] = "stack_factor"
    said = {option: config[key] for option, key in named.items() if config.get(key) is not None}
    try:
        settings = {
            "stack_factor": weights["up.weight"].shape[1] // encoder_dim,
            "hidden_size": len(weights["up.weight"]),
            "norm": "rms" if "norm_out.weight" in weights else "none",
            "mlp": "swiglu" if "gate.weight" in weights else "gelu",
            "output": "bound" if "binding.blank" in weights else "free",
            "vocabulary": len(weights.get("binding.vocabulary", ())),
            "prompt_vectors": len(weights.get("prompt", ())),
            "speller_width": len(weights.get("speller.down.weight", ())),
            **said,
        }
        with torch.device("meta"):  # whatever sizes are said, no memory
            module = AudioProjector(encoder_dim, decoder_dim, **settings)
        module.load_state_dict(weights, assign=True)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        shapes = {key: tuple(tensor.shape) for key, tensor in weights.items() if "language_model" not in key}
        raise ValueError(
            f"{name} holds no projector from {encoder_dim} to {decoder_dim} dimensions with the tensors of "
            f"AudioProjector (up.weight, down.weight, ...); found {shapes}, and in its config.json {said}. "
            "Take configuration and weights from one revision, or rename its tensors as AudioProjector does."
        ) from error
    return module, weights


def _stored(place: Place, expected: Mapping[str, Any], *prefixes: str) -> dict[str, Tensor]:
    """Find the weights of a part, and hold them against the sizes that its configuration gives."""
    stored = part_of(read_tensors(place.folder), *prefixes)
    for name, weight in sorted(expected.items()):
        found = tuple(stored[name].shape) if name in stored else "no such tensor"
        agree(place.name, name, tuple(weight.shape), found, ONE_REVISION)
    return {name: stored[name] for name in expected}


def _origin(part: str, stored: Mapping[str, Tensor], place: Place, said: Mapping[str, Any]) -> Provenance:
    """Say where a part's weights come from, and refuse others than the projector was trained with.

    Only those at the pinned commits are known to be trained.
    """
    origin = describe_weights(
        part,
        stored,
        f"{place.name} ({place.note})" if place.note else place.name,
        revision=place.revision,
        trained=True if PINNED.get(place.name) == place.revision is not None else None,
        sha256=place.sha256,
    )
    expected = said.get(f"{MADE_FOR[part]}_sha256")
    if expected not in (None, "", origin.sha256):
        halved = hash_tensors({name: tensor.half() for name, tensor in stored.items()})
        agree(place.name, f"SHA-256 of the {part}'s weights", expected[:12], halved[:12], OTHER_PARTS)
    return origin


def _origin_of_projector(
    weights: Mapping[str, Tensor], found: Mapping[str, Place], said: Mapping[str, Any]
) -> Provenance:
    """Say where the projector's weights come from, and between which other parts it belongs."""
    if "projector" not in found:
        return describe_weights("projector", weights, "random initialization, seed 0", trained=False)
    place = found["projector"]
    source = place.name if place.revision else name_of(place.folder)
    between = [str(said[f"{key}_id"]) for key in MADE_FOR.values() if f"{key}_id" in said]
    if between and set(between) != {found["encoder"].name, found["decoder"].name}:
        source += f" (made for {' and '.join(between)})"
    claim = _beside(place, "provenance.json").get("projector")
    return describe_weights("projector", weights, source, revision=place.revision, claim=claim)


def _fewer(wanted: Any, dtype: torch.dtype) -> tuple[Any, int | None, str]:
    """Configure fewer bits for the decoder: for the library, bits of a weight if known, and in words."""
    if wanted is None or not isinstance(wanted, str):
        return wanted, None, type(wanted).__name__
    if wanted not in BITS:
        raise ValueError(f"Expected quantize to be one of {', '.join(BITS)}, but found {wanted!r}.")
    if find_spec("bitsandbytes") is None:
        raise OSError(f"quantize={wanted!r} needs bitsandbytes: pip install bitsandbytes")
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
    config = BitsAndBytesConfig(**({"load_in_8bit": True} if wanted == "int8" else four))
    return config, BITS[wanted], f"{wanted} by bitsandbytes"


def _make_room(language_model: Any, tokens: int) -> None:
    """Give placeholders rows of the embedding table, if the table ends before them."""
    old = language_model.config.vocab_size
    if tokens <= old:
        return
    language_model.resize_token_embeddings(tokens, mean_resizing=False)
    # An audio token takes the place of every placeholder; nor is one ever to be written: with zeros its
    # logit is zero, where those of likely tokens are far above.
    for table in (language_model.get_input_embeddings(), language_model.get_output_embeddings()):
        with torch.no_grad():
            table.weight[old:] = 0


def _processor(
    config: AsrScopeConfig, said: Mapping[str, Any], extractor: Any, tokenizer: Any
) -> AsrScopeProcessor:
    """Make the processor, with the prompt that the projector's configuration asks for."""
    template = said.get("chat_template")
    usual = SYSTEM_PROMPT if SYSTEM_OVERRIDE in (template or tokenizer.chat_template) else ""
    processor: AsrScopeProcessor = AsrScopeProcessor(
        extractor,
        tokenizer,
        chat_template=template,
        audio_token=AUDIO_TOKEN,
        instruction=said.get("user_prompt", USER_PROMPT).replace(AUDIO, AUDIO_TOKEN),
        stack_factor=config.stack_factor,
        pad_audio=config.pad_audio,
        remainder=config.projector_remainder,
        system_prompt=said.get("system_prompt", usual),
    )
    return processor
