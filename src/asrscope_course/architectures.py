"""Very small random models of the architectures that transformers ships, to look at and to test with.

The sizes are ours; how the parts are joined, and what a processor does with a clip, is transformers'.
"""

from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    GlmAsrConfig,
    GlmAsrForConditionalGeneration,
    GlmAsrProcessor,
    GraniteSpeechConfig,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechProcessor,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)

from asrscope.audio.samples import load_samples
from asrscope.loading import Native
from asrscope.saving.provenance import attach_provenance, describe_weights
from asrscope.scope.anatomy import parts_of
from asrscope_course.granite import GraniteFeatures

__all__ = ["ARCHITECTURES", "tiny_random"]

WIDTH, HIDDEN, LAYERS, HEADS = 32, 64, 2, 2  # of the encoder
DECODER_WIDTH, DECODER_HIDDEN = 48, 64
N_MELS = 128
WINDOW_POSITIONS = 1500  # 30 s, as the encoders of Whisper's kind all have it
MERGES = 120  # tokens that the tokenizer learns beside the characters


def tiny_random(architecture: str, *, seed: int = 0) -> Native:
    """Build a very small model of one architecture, with random weights, and its processor.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`, the ``model_type`` of its config.
    seed : int
        Seed of the weights.

    Returns
    -------
    PreTrainedModel, ProcessorMixin
        Of the classes that transformers has for this architecture; the window of 30 s, the mel bands and how
        positions become audio tokens are those of the published models.

    Raises
    ------
    ValueError
        If there is no such architecture.
    """
    if architecture not in _BUILDERS:
        raise ValueError(f"Expected one of {', '.join(ARCHITECTURES)}, but found {architecture!r}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, processor = _BUILDERS[architecture]()
        with torch.no_grad():  # larger weights, so that different clips lead to different texts
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1 and parameter.requires_grad and "embed" not in name:
                    parameter.mul_(4)
    parts = parts_of(model)
    source = f"random initialization, seed {seed}"
    attach_provenance(
        model,
        [describe_weights(part, module, source, trained=False) for part, module in parts.items()],
        parts,
    )
    return model.eval(), processor


def _tokenizer(
    special_tokens: list[str], *, end: str, start: str | None = None, chat_template: str | None = None
) -> PreTrainedTokenizerFast:
    """Byte-level BPE, with the special tokens first; it learns from the sentences of the shipped samples."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    # What ASCII has to show, as a byte-level alphabet writes it, so that a random model's text can be read.
    alphabet = [*map(chr, range(ord("!"), ord("~") + 1)), "Ġ", "Ċ"]
    trainer = trainers.BpeTrainer(
        vocab_size=len(special_tokens) + len(alphabet) + MERGES,
        special_tokens=special_tokens,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator([sample.text for sample in load_samples()], trainer)
    others = [token for token in special_tokens if token not in (end, start)]
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=start,
        eos_token=end,
        pad_token=end,
        additional_special_tokens=others,
        chat_template=chat_template,
        padding_side="left",
    )


def _text_config(model_type: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "vocab_size": len(tokenizer),
        "hidden_size": DECODER_WIDTH,
        "intermediate_size": DECODER_HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 1,
        "head_dim": DECODER_WIDTH // HEADS,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _audio_config(model_type: str, **changes: Any) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_mel_bins": N_MELS,
        **changes,
    }


def _features() -> WhisperFeatureExtractor:
    return WhisperFeatureExtractor(feature_size=N_MELS)


def _voxtral() -> Native:
    # In the order of Mistral's tokenizer, whose numbers the processor relies on: [AUDIO] is token 24.
    named = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]"}
    named[34] = "[TRANSCRIBE]"
    special = [named.get(number, f"<SPECIAL_{number}>") for number in range(35)]
    tokenizer = _tokenizer(special, start="<s>", end="</s>")
    config = VoxtralConfig(
        # Four positions in a row are as wide as the hidden layer: that is how the model tells the factor.
        audio_config=_audio_config("voxtral_encoder", intermediate_size=4 * WIDTH),
        text_config=_text_config("llama", tokenizer),
        audio_token_id=special.index("[AUDIO]"),
    )
    return VoxtralForConditionalGeneration(config), VoxtralProcessor(_features(), tokenizer)


def _glmasr() -> Native:
    template = (
        "{% for message in messages %}<|{{ message.role }}|>\n{% for part in message.content %}"
        "{% if part.type == 'audio' %}<|begin_of_audio|><|pad|><|end_of_audio|>{% else %}{{ part.text }}"
        "{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    special = [
        "<|endoftext|>",
        "<|user|>",
        "<|assistant|>",
        "<|begin_of_audio|>",
        "<|end_of_audio|>",
        "<|pad|>",
    ]
    tokenizer = _tokenizer(special, end="<|endoftext|>", chat_template=template)
    config = GlmAsrConfig(
        audio_config=_audio_config(
            "glmasr_encoder", intermediate_size=4 * WIDTH, max_position_embeddings=WINDOW_POSITIONS
        ),
        text_config=_text_config("llama", tokenizer),
        audio_token_id=tokenizer.convert_tokens_to_ids("<|pad|>"),
    )
    model = GlmAsrForConditionalGeneration(config)
    return model, GlmAsrProcessor(_features(), tokenizer, chat_template=template)


def _audioflamingo3() -> Native:
    template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
        "{% if part.type == 'audio' %}<sound>{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>"]
    tokenizer = _tokenizer(special, end="<|im_end|>", chat_template=template)
    config = AudioFlamingo3Config(
        audio_config=_audio_config("audioflamingo3_encoder"),
        text_config=_text_config("qwen2", tokenizer),
        audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
    )
    model = AudioFlamingo3ForConditionalGeneration(config)
    return model, AudioFlamingo3Processor(_features(), tokenizer, chat_template=template)


def _qwen2_audio() -> Native:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"]
    tokenizer = _tokenizer(special, end="<|im_end|>")
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "d_model": WIDTH,
            "encoder_ffn_dim": HIDDEN,
            "encoder_layers": LAYERS,
            "encoder_attention_heads": HEADS,
            "num_mel_bins": N_MELS,
        },
        text_config=_text_config("qwen2", tokenizer),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    return Qwen2AudioForConditionalGeneration(config), Qwen2AudioProcessor(_features(), tokenizer)


def _granite_speech() -> Native:
    template = (
        "{% for message in messages %}<|start_of_role|>{{ message.role }}<|end_of_role|>{{ message.content }}"
        "<|end_of_text|>\n{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>"
        "{% endif %}"
    )
    special = ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|audio|>"]
    tokenizer = _tokenizer(special, end="<|end_of_text|>", chat_template=template)
    features = GraniteFeatures()
    config = GraniteSpeechConfig(
        encoder_config={
            "hidden_dim": WIDTH,
            "input_dim": 2 * features.melspec_kwargs["n_mels"],
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "feedforward_mult": 2,
            "context_size": 50,
        },
        projector_config={
            "model_type": "blip_2_qformer",
            "hidden_size": WIDTH,
            "encoder_hidden_size": WIDTH,
            "intermediate_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "cross_attention_frequency": 1,
        },
        text_config=_text_config("granite", tokenizer),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|audio|>"),
        has_lora_adapter=False,
        window_size=features.projector_window_size,
        downsample_rate=features.projector_downsample_rate,
    )
    model = GraniteSpeechForConditionalGeneration(config)
    return model, GraniteSpeechProcessor(features, tokenizer, chat_template=template)


_BUILDERS: dict[str, Callable[[], Native]] = {
    "voxtral": _voxtral,
    "glmasr": _glmasr,
    "audioflamingo3": _audioflamingo3,
    "qwen2_audio": _qwen2_audio,
    "granite_speech": _granite_speech,
}
ARCHITECTURES = tuple(_BUILDERS)
