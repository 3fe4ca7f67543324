"""The large pair in the Hub's layout, very small and random."""

import json

import torch
from safetensors.torch import save_file

ENCODER, DECODER = "openai/whisper-large-v3-turbo", "HuggingFaceTB/SmolLM3-3B"
WIDTHS = (16, 24)  # of the encoder and the decoder
POSITIONS = 100  # of the encoder's window: 2 s

# Of the same form as SmolLM3's: a system turn with the date, unless told otherwise, and room for thinking.
CHAT_TEMPLATE = """\
{%- set system = messages[0].content if messages[0].role == "system" else "" -%}
{%- set thinking = enable_thinking | default(true) and "/no_think" not in system -%}
{%- set custom = system.replace("/no_think", "").replace("/think", "").rstrip() -%}
<|im_start|>system
{% if "/system_override" in custom -%}
{{ custom.replace("/system_override", "").rstrip() }}<|im_end|>
{% else -%}
Today Date: {{ strftime_now("%d %B %Y") }}
Reasoning Mode: {{ "/think" if thinking else "/no_think" }}
{{ custom }}<|im_end|>
{% endif -%}
{%- for message in messages if message.role != "system" -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% if not thinking %}<think>

</think>
{% endif -%}
{%- endif -%}
"""


def make_tokenizer():
    """A byte-level BPE tokenizer that, as SmolLM3's, knows no audio placeholder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(["the old clock in the hall stops every night at two user assistant"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    )


def write_encoder(folder, *, positions=POSITIONS, width=WIDTHS[0], layers=1, seed=0):
    """A whole Whisper model in half precision, its decoder included, with its feature extractor."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    torch.manual_seed(seed)
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        num_mel_bins=128,
        vocab_size=51_866,
        max_source_positions=positions,
    )
    WhisperForConditionalGeneration(config).half().save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=128, chunk_length=positions // 50).save_pretrained(folder)
    return folder


def write_decoder(folder, *, width=WIDTHS[1], layers=4, seed=1, shard="40KB", scale=1.0):
    """A SmolLM3 model in bfloat16, in shards with their index, with its tokenizer.

    A larger scale of the weights lets different clips lead to different texts.
    """
    from transformers import SmolLM3Config, SmolLM3ForCausalLM

    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    config = SmolLM3Config(
        vocab_size=len(tokenizer),  # as in the published one: no room for one token more
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=2 * width,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    model = SmolLM3ForCausalLM(config).bfloat16()
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    return folder


def random_tensors(shapes, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def projector_shapes(k, hidden, encoder_dim=WIDTHS[0], decoder_dim=WIDTHS[1]):
    """Names and shapes of a projector."""
    stacked = k * encoder_dim
    return {
        "projector.norm_in.weight": (stacked,),
        "projector.gate.weight": (hidden, stacked),
        "projector.up.weight": (hidden, stacked),
        "projector.down.weight": (decoder_dim, hidden),
        "projector.norm_out.weight": (decoder_dim,),
    }


def write_projector(folder, tensors, config=None):
    """A projector as it is published: weights and, if given, a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def write_own_projector(file, k=4, **changes):
    """A projector as ``asrscope train projector`` leaves it."""
    from asrscope.projector import AudioProjector

    torch.manual_seed(3)
    projector = AudioProjector(*WIDTHS, stack_factor=k, **({"hidden_size": 20} | changes))
    save_file(projector.state_dict(), file)
    return projector
