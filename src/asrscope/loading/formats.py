"""Two formats beside safetensors that models are packed in, CTranslate2's and GGUF.

They are read as far as the published specialists need it; tensors come out by the names of transformers. Its
own reader of GGUF, which is built on the package gguf as this one is, takes many times as long.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from torch import Tensor

from asrscope.loading.checkpoints import readable

__all__ = ["read_ctranslate2", "read_gguf_decoder"]

OTHERWISE = "it is cut short, damaged or of another kind"
CTRANSLATE2_VERSION = 6
CTRANSLATE2_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # by the number in the file
WHISPER_KINDS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}
WHISPER = {  # a name beside its kind; several of transformers' lie stacked in one of CTranslate2's
    "position_encodings": ["embed_positions"],
    "embeddings": ["embed_tokens"],
    "self_attention/linear_0": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "self_attention/linear_1": ["self_attn.out_proj"],
    "self_attention/layer_norm": ["self_attn_layer_norm"],
    "attention/linear_0": ["encoder_attn.q_proj"],
    "attention/linear_1": ["encoder_attn.k_proj", "encoder_attn.v_proj"],
    "attention/linear_2": ["encoder_attn.out_proj"],
    "attention/layer_norm": ["encoder_attn_layer_norm"],
    "ffn/linear_0": ["fc1"],
    "ffn/linear_1": ["fc2"],
    "ffn/layer_norm": ["final_layer_norm"],
}
LLAMA = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}


class _Reader:
    """Takes one value after another from the bytes of a file, little-endian."""

    def __init__(self, file: Path) -> None:
        self.data, self.at = memoryview(file.read_bytes()), 0

    def number(self, kind: str) -> Any:
        (value,) = struct.unpack(f"<{kind}", self.bytes(struct.calcsize(f"<{kind}")))
        return value

    def bytes(self, count: int) -> memoryview:
        found = self.data[self.at : self.at + count]
        if len(found) < count:
            raise ValueError(f"expected {self.at + count} bytes, but found {len(self.data)}")
        self.at += count
        return found

    def text(self) -> str:
        return bytes(self.bytes(self.number("H"))).decode("utf-8").rstrip("\0")


def read_ctranslate2(file: Path) -> dict[str, Tensor]:
    """Read a Whisper model that was converted for CTranslate2.

    Parameters
    ----------
    file : Path
        ``model.bin``.

    Returns
    -------
    dict of str to torch.Tensor
        As they are stored, named as in transformers' ``WhisperForConditionalGeneration``.

    Raises
    ------
    ValueError
        If the file is cut short, or holds no such model.
    """
    with readable(file, OTHERWISE):
        return _name_whisper(_ctranslate2(_Reader(file)))


def read_gguf_decoder(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a causal language model of Llama's kind that was packed as GGUF.

    The file is taken at its word: of one that says it holds a list of 2**60 numbers, so many are looked for.
    So only a file whose hash is known is read.

    Parameters
    ----------
    file : Path
        The file, with weights in any type that the package gguf reads.

    Returns
    -------
    dict, dict of str to torch.Tensor
        What the file says of the model and its tokens, by GGUF's keys; and its tensors in float32, named as
        in transformers' ``LlamaForCausalLM``.

    Raises
    ------
    ValueError
        If the file is cut short, or holds no such model.
    """
    with readable(file, OTHERWISE):
        reader = GGUFReader(file)
        said = {name: field.contents() for name, field in reader.fields.items()}
        heads = {
            "attn_q": said["llama.attention.head_count"],
            "attn_k": said["llama.attention.head_count_kv"],
        }
        named = {}
        for stored in reader.tensors:
            weights = dequantize(stored.data, stored.tensor_type)
            *layer, inside, what = stored.name.removeprefix("blk.").split(".")
            if inside in heads:
                # A rotation mixes two halves: side by side here, one after the other in transformers.
                halves = weights.reshape(heads[inside], -1, 2, weights.shape[-1]).swapaxes(1, 2)
                weights = halves.reshape(weights.shape)
            ours = f"model.layers.{layer[0]}.{LLAMA[inside]}" if layer else LLAMA[inside]
            named[f"{ours}.{what}"] = torch.tensor(weights)  # a copy: some are still those of the mapped file
        return said, named


def _ctranslate2(reader: _Reader) -> dict[str, Tensor]:
    if (version := reader.number("I")) != CTRANSLATE2_VERSION:
        raise ValueError(
            f"expected version {CTRANSLATE2_VERSION} of CTranslate2's format, but found {version}"
        )
    reader.text()  # the kind of model
    reader.number("I")  # its revision
    found = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = CTRANSLATE2_TYPES[reader.number("B")]
        array = np.frombuffer(reader.bytes(reader.number("I")), kind).reshape(shape)
        found[name] = torch.from_numpy(array.copy())
    return found


def _name_whisper(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {}
    for name, tensor in packed.items():
        place, _, last = name.rpartition("/")
        side, _, inside = place.partition("/")
        kind = WHISPER_KINDS.get(last)
        if side not in {"encoder", "decoder"} or kind is None:
            continue  # alignment heads and the like
        layer, _, rest = inside.partition("/")
        owner = f"model.{side}"
        if layer.startswith("layer_") and layer != "layer_norm":
            owner, inside = f"{owner}.layers.{layer.removeprefix('layer_')}", rest
        names = WHISPER.get(inside, [inside])  # the convolutions and the last norm are named alike
        for ours, share in zip(names, tensor.chunk(len(names)), strict=True):
            if ours.endswith("k_proj") and kind == "bias" and not bool(share.any()):
                continue  # Whisper has none there, so the converter wrote zeros
            named[f"{owner}.{ours}.{kind}"] = share
    return named
