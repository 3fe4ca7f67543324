"""Very small specialists, packed as CTranslate2 and GGUF pack them, and packages that carry them."""

import hashlib
import struct
from dataclasses import replace

import numpy as np
import torch

from asrscope.loading import pair, sources  # the pair now: later it would find what is pretended
from asrscope.saving.provenance import hash_tensors

BLOCK = 32
STACKED = {  # CTranslate2's name: transformers', in one
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
NORMS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "attention/layer_norm": "encoder_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
}
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<empty_output>"]


def small_whisper(seed=0):
    """A Whisper model of one layer of width 64, with random biases, too."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            d_model=64,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=1,
            decoder_attention_heads=1,
            encoder_ffn_dim=96,
            decoder_ffn_dim=96,
            num_mel_bins=80,
            vocab_size=60,
            max_source_positions=100,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.half()


def write_ctranslate2(file, model):
    """Pack a Whisper model as CTranslate2 does."""
    weights = model.state_dict()
    packed = {
        "encoder/position_encodings/encodings": weights["model.encoder.embed_positions.weight"],
        "decoder/position_encodings/encodings": weights["model.decoder.embed_positions.weight"],
        "decoder/embeddings/weight": weights["model.decoder.embed_tokens.weight"],
        "decoder/scale_embeddings": torch.zeros(1, dtype=torch.int8),
    }
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            packed[f"encoder/{conv}/{kind}"] = weights[f"model.encoder.{conv}.{kind}"]
    norms = {f"{side}/layer_norm": f"model.{side}.layer_norm" for side in ("encoder", "decoder")}
    for side in ("encoder", "decoder"):
        for layer in range(len(getattr(model.model, side).layers)):
            theirs, ours = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
            norms |= {f"{theirs}/{a}": f"{ours}.{b}" for a, b in NORMS.items()}
            for name, parts in STACKED.items():
                if f"{ours}.{parts[0]}.weight" not in weights:
                    continue  # the encoder attends to nothing else
                for kind in ("weight", "bias"):
                    none = torch.zeros(weights[f"{ours}.{parts[0]}.weight"].shape[0], dtype=torch.float16)
                    rows = [weights.get(f"{ours}.{part}.{kind}", none) for part in parts]
                    packed[f"{theirs}/{name}/{kind}"] = torch.cat(rows)
    for theirs, ours in norms.items():
        if f"{ours}.weight" in weights:
            packed |= {
                f"{theirs}/gamma": weights[f"{ours}.weight"],
                f"{theirs}/beta": weights[f"{ours}.bias"],
            }
    kinds = {torch.float32: 0, torch.int8: 1, torch.float16: 4}

    def text(value):
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(packed))
    for name, tensor in packed.items():
        data = tensor.contiguous().numpy().tobytes()
        content += text(name) + struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        content += struct.pack("<BI", kinds[tensor.dtype], len(data)) + data
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def small_llama(seed=0):
    """A Llama model of two layers of width 64, and the merges of its tokenizer."""
    from tokenizers import pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens = [*TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet()), "in", "Ġt", "Ġth"]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config), tokens, ["i n", "Ġ t", "Ġt h"]


def _quantized(weights, kind):
    """Blocks of 32 weights in one of GGUF's types, and what they mean in float32."""
    if kind == 0:
        return weights.astype("<f4").tobytes(), weights
    blocks = weights.reshape(-1, BLOCK)
    lowest = blocks.min(1, keepdims=True).astype("<f2") if kind == 3 else None
    if kind == 3:  # 16 steps from the lowest, two to a byte
        scale = ((blocks.max(1, keepdims=True) - lowest) / 15).astype("<f2")
        steps = np.clip(np.rint((blocks - lowest) / scale.astype(np.float32)), 0, 15).astype(np.uint8)
        meant = steps.astype(np.float32) * scale.astype(np.float32) + lowest.astype(np.float32)
        pairs = steps[:, : BLOCK // 2] | steps[:, BLOCK // 2 :] << 4
        rows = [s.tobytes() + m.tobytes() + p.tobytes() for s, m, p in zip(scale, lowest, pairs, strict=True)]
    else:
        scale = (np.abs(blocks).max(1, keepdims=True) / 127 + 1e-6).astype("<f2")
        steps = np.rint(blocks / scale.astype(np.float32)).astype(np.int8)
        meant = steps.astype(np.float32) * scale.astype(np.float32)
        rows = [s.tobytes() + q.tobytes() for s, q in zip(scale, steps, strict=True)]
    return b"".join(rows), meant.reshape(weights.shape)


def write_gguf(file, model, tokens, merges):
    """Pack a Llama model as GGUF; its weights become what the file says of them."""
    config = model.config
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    parts = {
        **{f"self_attn.{letter}_proj": f"attn_{letter}" for letter in "qkv"},
        "self_attn.o_proj": "attn_output",
        **{f"mlp.{name}_proj": f"ffn_{name}" for name in ("gate", "up", "down")},
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    for layer in range(config.num_hidden_layers):
        for ours, theirs in parts.items():
            names[f"model.layers.{layer}.{ours}.weight"] = f"blk.{layer}.{theirs}.weight"

    def text(value):
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def listed(kind, values, one):
        return struct.pack("<IIQ", 9, kind, len(values)) + b"".join(map(one, values))

    def number(value):
        return struct.pack("<II", 4, value)

    control = [3 if token in TOKENS else 1 for token in tokens]
    entries = {
        "general.architecture": struct.pack("<I", 8) + text("llama"),
        "llama.block_count": number(config.num_hidden_layers),
        "llama.context_length": number(config.max_position_embeddings),
        "llama.embedding_length": number(config.hidden_size),
        "llama.feed_forward_length": number(config.intermediate_size),
        "llama.attention.head_count": number(config.num_attention_heads),
        "llama.attention.head_count_kv": number(config.num_key_value_heads),
        "llama.attention.layer_norm_rms_epsilon": struct.pack("<If", 6, config.rms_norm_eps),
        "llama.rope.freq_base": struct.pack("<If", 6, config.rope_parameters["rope_theta"]),
        "tokenizer.ggml.tokens": listed(8, tokens, text),
        "tokenizer.ggml.token_type": listed(5, control, lambda kind: struct.pack("<i", kind)),
        "tokenizer.ggml.merges": listed(8, merges, text),
        "tokenizer.ggml.bos_token_id": number(1),
        "tokenizer.ggml.eos_token_id": number(2),
        "tokenizer.ggml.padding_token_id": number(2),
        "tokenizer.chat_template": struct.pack("<I", 8)
        + text("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"),
    }
    header, data = b"", b""
    for name, theirs in names.items():
        weight = model.get_parameter(name)
        kind = 0 if weight.ndim == 1 else 8 if "embd" in theirs else 3
        array = weight.detach().numpy()
        heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}.get(
            theirs.split(".")[-2][-1]
        )
        turned = "attn_" in theirs and heads and weight.ndim == 2
        if turned:  # the halves that a rotation mixes lie side by side there
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        packed, meant = _quantized(np.ascontiguousarray(array), kind)
        if turned:
            meant = meant.reshape(heads, -1, 2, meant.shape[1]).swapaxes(1, 2).reshape(meant.shape)
        with torch.no_grad():
            weight.copy_(torch.from_numpy(np.ascontiguousarray(meant)))
        data += b"\0" * (-len(data) % BLOCK)
        shape = weight.shape[::-1]
        header += text(theirs) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += packed
    content = b"GGUF" + struct.pack("<IQQ", 3, len(names), len(entries))
    content += b"".join(text(key) + value for key, value in entries.items()) + header
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content + b"\0" * (-len(content) % BLOCK) + data)


class Installed:
    """What importlib.metadata tells of a package in a folder."""

    def __init__(self, folder, version):
        self.folder, self.version = folder, version

    def locate_file(self, name):
        return self.folder / name


def pretend(monkeypatch, tmp_path, *, installed=True):
    """Put very small specialists in the places of the published ones, each in a package, and an empty cache.

    Returns the two specialists and the two models, in which every number is what the files say.
    """
    from importlib.metadata import PackageNotFoundError

    site = tmp_path / "site-packages"
    whisper, (llama, tokens, merges) = small_whisper(), small_llama()
    encoder, decoder = sources.WHISPER, sources.SMOLLM2
    write_ctranslate2(site / encoder.packed, whisper)
    write_gguf(site / decoder.packed, llama, tokens, merges)

    def pinned(part, tensors):
        digest = hashlib.sha256((site / part.packed).read_bytes()).hexdigest()
        halves = {name: tensor.half() for name, tensor in tensors.items()}
        return replace(part, sha256=hash_tensors(halves), packed_sha256=digest)

    weights = {name: weight for name, weight in llama.state_dict().items() if name != "lm_head.weight"}
    parts = (pinned(encoder, whisper.model.encoder.state_dict()), pinned(decoder, weights))
    versions = {part.package: part.version for part in parts}

    def distribution(name):
        if not installed:
            raise PackageNotFoundError(name)
        return Installed(site, versions[name])

    monkeypatch.setattr(sources, "distribution", distribution)
    monkeypatch.setattr(sources, "SPECIALISTS", {part.repository: part for part in parts})
    monkeypatch.setattr(pair, "SPECIALISTS", sources.SPECIALISTS)
    monkeypatch.setenv("ASRSCOPE_CACHE", str(tmp_path / "cache"))
    return parts, (whisper, llama)


def write_small_projector(folder, parts, *, encoder_dim=64, decoder_dim=64, learned=4, **changes):
    """A random projector as the model `small` has it: bound to the embeddings, with a learned prompt."""
    import json

    from safetensors.torch import save_file

    from asrscope.projector import AudioProjector

    torch.manual_seed(4)
    module = AudioProjector(encoder_dim, decoder_dim, 5, 32, output="bound", prompt_vectors=learned)
    module.fit_length(torch.randn(50, decoder_dim) * 0.1, space=3)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"multi_modal_projector.{name}": weight.half() for name, weight in module.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    half = "<|prompt|>" * (learned // 2)
    config = {
        "model_type": "asrscope-projector",
        "stack_factor": 5,
        "pad_audio": False,
        "lead_positions": 4,
        "projector_output": "bound",
        "audio_model_id": parts[0].repository,
        "audio_model_revision": parts[0].revision,
        "audio_model_sha256": parts[0].sha256,
        "text_model_id": parts[1].repository,
        "text_model_revision": parts[1].revision,
        "text_model_sha256": parts[1].sha256,
        "user_prompt": f"Transcribe: {half}<audio>{half}",
        "system_prompt": "",
    }
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    return folder


def packaged():
    """Files of the published specialists in the packages that are installed, by part."""
    from importlib.metadata import distribution

    parts = {"encoder": sources.WHISPER, "decoder": sources.SMOLLM2}
    return {name: distribution(part.package).locate_file(part.packed) for name, part in parts.items()}
