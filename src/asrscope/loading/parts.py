"""The parts of the large pair, each read from its folder, held against its configuration, and loaded."""

from dataclasses import replace
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from asrscope.loading import sizes
from asrscope.loading.fetching import Place, Unreachable, fetch_weights, in_words
from asrscope.loading.published import FoundProjector, is_projector, read_projector
from asrscope.loading.quantizing import Quantization
from asrscope.loading.stored import StoredTensors, read_settings
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.projector import AudioProjector

__all__ = [
    "AUDIO_TOKEN",
    "fill_encoder",
    "find_projector",
    "load_decoder",
    "make_room",
    "of_encoder",
    "read_config",
    "read_feature_extractor",
    "read_tokenizer",
    "untrained_projector",
]

AUDIO_TOKEN = "<|audio|>"


def of_encoder(name: str) -> bool:
    """Tell the tensors of Whisper's encoder from those of its decoder.

    Parameters
    ----------
    name : str
        Of a tensor in a Whisper checkpoint.

    Returns
    -------
    bool
        False for the decoder's.
    """
    return not name.startswith(("model.decoder.", "decoder.", "proj_out."))


def read_config(place: Place, kind: Any, part: str) -> Any:
    """Read the configuration of a part, and make sure that it is of the kind that belongs there.

    Parameters
    ----------
    place : Place
        Where its files are.
    kind : type
        Class of the configuration.
    part : str
        What to call it in errors.

    Returns
    -------
    PreTrainedConfig
        Of that class.

    Raises
    ------
    FileNotFoundError
        If there is no ``config.json``.
    ValueError
        If it is of another kind of model.
    """
    settings = read_settings(place.folder / "config.json")
    if settings.get("model_type") != kind.model_type:
        raise ValueError(
            f"{place.folder / 'config.json'}: expected model_type {kind.model_type!r} for the {part}, but "
            f"found {settings.get('model_type')!r}. Give another {part}."
        )
    return kind.from_dict(settings)


def read_feature_extractor(place: Place, config: WhisperConfig) -> WhisperFeatureExtractor:
    """Read how the encoder wants its spectrogram.

    Parameters
    ----------
    place : Place
        Of the encoder.
    config : WhisperConfig
        Its configuration.

    Returns
    -------
    WhisperFeatureExtractor
        With as many mel bands as the encoder has.

    Raises
    ------
    FileNotFoundError
        If there is no ``preprocessor_config.json``.
    ValueError
        If the numbers of mel bands differ.
    """
    file = place.folder / "preprocessor_config.json"
    bands = read_settings(file).get("feature_size", 80)  # Whisper's own default
    if bands != config.num_mel_bins:
        raise ValueError(
            f"{file}: makes {bands} mel bands, but the encoder's config.json says {config.num_mel_bins}. "
            "Take both files from one revision."
        )
    return WhisperFeatureExtractor.from_pretrained(place.folder)


def read_tokenizer(place: Place, config: SmolLM3Config) -> Any:
    """Read the decoder's tokenizer, and give it the audio placeholder.

    Parameters
    ----------
    place : Place
        Of the decoder.
    config : SmolLM3Config
        Its configuration.

    Returns
    -------
    PreTrainedTokenizerBase
        With a chat template, a token to pad with, and `AUDIO_TOKEN`.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If it has more tokens than the decoder, or no chat template.
    """
    read_settings(place.folder / "tokenizer_config.json")
    read_settings(place.folder / "tokenizer.json")
    tokenizer = AutoTokenizer.from_pretrained(place.folder, local_files_only=True)
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"{place.folder / 'tokenizer.json'}: has {len(tokenizer)} tokens, but the decoder's config.json "
            f"says {config.vocab_size}. Take both files from one revision."
        )
    if not tokenizer.chat_template:
        raise ValueError(
            f"{place.folder}: its tokenizer has no chat template, which the prompt is written with. Copy or "
            "download chat_template.jinja too."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.add_special_tokens({"additional_special_tokens": [AUDIO_TOKEN]})
    return tokenizer


def untrained_projector(encoder_dim: int, decoder_dim: int) -> FoundProjector:
    """Make a random projector of the sizes that this package chose for the large pair.

    Parameters
    ----------
    encoder_dim, decoder_dim : int
        Widths of the encoder and the decoder.

    Returns
    -------
    FoundProjector
        The same weights each time.
    """
    made = sizes.published_config("full-pair")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = AudioProjector(
            encoder_dim, decoder_dim, made["stack_factor"], hidden_size=made["projector_hidden_size"]
        )
    return FoundProjector(module, "asrscope", module.state_dict())


def find_projector(place: Place, encoder_dim: int, decoder_dim: int) -> FoundProjector:
    """Get a projector's files, recognize its layout and read its prompt.

    Parameters
    ----------
    place : Place
        A file, a folder, or a repository whose small files are there.
    encoder_dim, decoder_dim : int
        Widths of the encoder and the decoder.

    Returns
    -------
    FoundProjector
        The projector.

    Raises
    ------
    OSError
        If files are missing.
    ValueError
        If it does not fit, see `asrscope.loading.published.read_projector`.
    """
    try:
        place = fetch_weights(place, is_projector)
    except Unreachable as error:
        raise OSError(in_words([error])) from error
    beside = place.folder if place.folder.is_dir() else place.folder.parent
    config = {} if not (file := beside / "config.json").is_file() else read_settings(file)
    stored = StoredTensors.of(place.folder, is_projector)
    found = read_projector(stored, config, encoder_dim, decoder_dim, place.name)
    if (file := beside / "processor_config.json").is_file():  # saved by this package, with its prompt
        said = read_settings(file)
        user = said.get("instruction", found.user_prompt)
        found = replace(found, user_prompt=user, system_prompt=said.get("system_prompt", found.system_prompt))
    return found


def fill_encoder(
    model: AsrScopeForConditionalGeneration,
    stored: StoredTensors,
    place: Place,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Put the stored weights in the place of the encoder's shapes.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        On the device ``meta``; its encoder is on `device` afterwards.
    stored : StoredTensors
        The encoder's weights, named as within it.
    place : Place
        Where they come from.
    device : torch.device
        Where they go.
    dtype : torch.dtype
        As what.

    Raises
    ------
    ValueError
        If a weight is missing or has another shape than the configuration says.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.audio_tower.state_dict().items()}
    found = stored.shapes()
    if wrong := sorted(name for name, shape in expected.items() if found.get(name) != shape):
        raise ValueError(
            f"{place.name}: the encoder's {wrong[0]} should have shape {expected[wrong[0]]}, but found "
            f"{found.get(wrong[0], 'no such tensor')}. Take weights and config.json from one revision."
        )
    weights = {name: stored[name].to(device, dtype) for name in expected}
    model.audio_tower.load_state_dict(weights, assign=True)


def load_decoder(
    place: Place, stored: StoredTensors, dtype: torch.dtype, device_map: Any, fewer: Quantization | None
) -> SmolLM3ForCausalLM:
    """Load the decoder; transformers places and quantizes it.

    Parameters
    ----------
    place : Place
        Of the decoder.
    stored : StoredTensors
        Its weights, to be checked before anything is allocated.
    dtype : torch.dtype
        Type of those that are not quantized.
    device_map : str or dict
        As in transformers.
    fewer : Quantization or None
        How to quantize it.

    Returns
    -------
    SmolLM3ForCausalLM
        The decoder.

    Raises
    ------
    ValueError
        If a weight is missing or has another shape than the configuration says.
    """
    with torch.device("meta"):
        empty = SmolLM3ForCausalLM(SmolLM3Config.from_dict(read_settings(place.folder / "config.json")))
    expected = {name: tuple(weight.shape) for name, weight in empty.named_parameters()}
    found = stored.shapes()
    if wrong := sorted(name for name, shape in expected.items() if found.get(name) != shape):
        raise ValueError(
            f"{place.name}: the decoder's {wrong[0]} should have shape {expected[wrong[0]]}, but found "
            f"{found.get(wrong[0], 'no such tensor')}. Take weights and config.json from one revision."
        )
    return SmolLM3ForCausalLM.from_pretrained(
        place.folder,
        dtype=dtype,
        device_map=device_map,
        quantization_config=fewer.config if fewer else None,
        use_safetensors=True,
        local_files_only=True,
    )


def make_room(language_model: SmolLM3ForCausalLM, tokens: int) -> None:
    """Give the audio placeholder a row of the embedding table, if the table ends before it.

    Parameters
    ----------
    language_model : SmolLM3ForCausalLM
        The decoder.
    tokens : int
        How many its tokenizer has.
    """
    if tokens <= language_model.config.vocab_size:
        return
    old = language_model.config.vocab_size
    language_model.resize_token_embeddings(tokens, mean_resizing=False)
    # An audio token takes the place of every placeholder; nor is one ever to be written: with zeros its
    # logit is zero, where those of likely tokens are far above.
    for table in (language_model.get_input_embeddings(), language_model.get_output_embeddings()):
        with torch.no_grad():
            table.weight[old:] = 0
