"""Measure the live page's engine beside onnxruntime-web, in a browser, with the same weights and clips.

``python tests/audit/runtimes.py SITE ONNXRUNTIME_WEB`` needs a built site, the unpacked package of that name
from npm, and pip's onnx and onnxscript. It prints the table, and writes it where the page ``live-engine``
reads it.
"""

import csv
import gzip
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from pages import find_chromium, served, wait_for  # noqa: E402
from visit import driver  # noqa: E402

import asrscope  # noqa: E402
from asrscope.decoder import max_new_tokens  # noqa: E402
from asrscope.loading.checkpoints import CHECKPOINTS  # noqa: E402

TABLE = ROOT / "docs" / "runtimes.csv"
RUNTIME = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
OWN = ("data.js", "engine.js", "kernel.wasm")
SCRIPTS = ("data.js", "engine.js", RUNTIME[0], "runtimes.js")


class Hears(nn.Module):
    """Encoder and projector of one clip of any length."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.tower, self.projector = model.audio_tower, model.multi_modal_projector

    def forward(self, mel: Tensor) -> Tensor:  # (1, bands, frames) to (1, audio_tokens, decoder_dim)
        tower = self.tower
        x = functional.gelu(tower.conv2(functional.gelu(tower.conv1(mel)))).transpose(1, 2)
        x = x + tower.embed_positions.weight[: x.shape[1]]
        for layer in tower.layers:
            heads = layer.self_attn.num_heads
            normed = layer.self_attn_layer_norm(x)
            projections = (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
            q, k, v = (each(normed).unflatten(-1, (heads, -1)).transpose(1, 2) for each in projections)
            mixed = functional.scaled_dot_product_attention(q, k, v)
            x = x + layer.self_attn.out_proj(mixed.transpose(1, 2).flatten(-2))
            x = x + layer.fc2(functional.gelu(layer.fc1(layer.final_layer_norm(x))))
        return self.projector(tower.layer_norm(x))


class Writes(nn.Module):
    """Decoder: vectors behind those that were read, whose keys and values come and go as tensors."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.decoder, self.head = model.language_model.model, model.language_model.lm_head

    def forward(self, x: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        start, count = past[0].shape[2], x.shape[1]
        places = start + torch.arange(count)
        cos, sin = self.decoder.rotary_emb(x, places[None])
        visible = torch.arange(start + count)[None] <= places[:, None]  # (count, start + count)
        kept: list[Tensor] = []
        for number, layer in enumerate(self.decoder.layers):
            attention = layer.self_attn
            normed = layer.input_layernorm(x)
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            q, k, v = (
                each(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for each in projections
            )
            if attention.use_rope:
                q, k = (
                    y * cos + torch.cat((-y.chunk(2, -1)[1], y.chunk(2, -1)[0]), -1) * sin for y in (q, k)
                )
            k, v = torch.cat((past[2 * number], k), 2), torch.cat((past[2 * number + 1], v), 2)
            kept += [k, v]
            wide = (y.repeat_interleave(attention.num_key_value_groups, 1) for y in (k, v))
            mixed = functional.scaled_dot_product_attention(q, *wide, attn_mask=visible)
            x = x + attention.o_proj(mixed.transpose(1, 2).flatten(-2))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.head(self.decoder.norm(x[:, -1])), *kept


def halve(path: Path) -> None:
    """Keep weights in 16 bits, as the safetensors file does; the runtime widens them when it starts."""
    made = onnx.load(path)
    graph = made.graph
    for tensor in [each for each in graph.initializer if each.data_type == TensorProto.FLOAT]:
        values = numpy_helper.to_array(tensor)
        if values.size < 256 or not np.array_equal(values.astype(np.float16).astype(np.float32), values):
            continue
        name = tensor.name
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        graph.node.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    onnx.save(made, path)


@torch.inference_mode()
def export(folder: Path) -> None:
    """Write the two halves of the model as hears.onnx and writes.onnx, and the vectors of text as words."""
    model, _ = asrscope.load("tiny")
    text = model.config.text_config
    any_of = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        hears = torch.onnx.export(
            Hears(model), (torch.randn(1, 80, 224),), dynamo=True, dynamic_shapes=({2: any_of},)
        )
        past = [torch.randn(1, text.num_key_value_heads, 7, 64) for _ in range(2 * text.num_hidden_layers)]
        writes = torch.onnx.export(
            Writes(model),
            (torch.randn(1, 5, text.hidden_size), *past),
            dynamo=True,
            dynamic_shapes=({1: any_of}, tuple({2: any_of} for _ in past)),
        )
    (folder / "words").write_bytes(model.get_input_embeddings().weight.numpy().tobytes())
    for name, made in (("hears", hears), ("writes", writes)):
        path = folder / f"{name}.onnx"
        made.save(path)
        halve(path)


@torch.inference_mode()
def tokens_of_torch() -> list[list[int]]:
    """Return what the Python package writes of each shipped clip."""
    model, processor = asrscope.load("tiny")
    written = []
    for clip in asrscope.load_samples():
        sound = asrscope.load_audio(clip.path)
        inputs = processor(audio=sound)
        limit = max_new_tokens(sound.size / 16000)
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=limit)[0]
        written.append(ids[inputs["input_ids"].shape[1] :].tolist())
    return written


def measured(folder: Path) -> tuple[dict[str, Any], str]:
    """Open the page in a browser; return what it found, and the browser's version."""
    chromium = driver().chromium.launch(executable_path=find_chromium())
    with served(folder) as address:
        page = chromium.new_page()
        page.goto(address)
        wait_for(page, "window.answer !== undefined")
        found, version = page.evaluate("window.answer"), chromium.version
    chromium.close()
    if isinstance(found, str):
        raise RuntimeError(found)
    return found, version


def machine() -> str:
    """Return the processor's name, where Linux tells it, its cores, and how many programs want them."""
    told = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", told.read_text(encoding="utf-8")) if told.exists() else []
    name = names[0] if names else platform.processor()
    return f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}"


def main(site: Path, package: Path) -> int:
    """Measure, print and write."""
    live, dist = site / "_static" / "live", package / "dist"
    weights = CHECKPOINTS / "tiny" / "model.safetensors"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(folder)
        onnx_files = [folder / "hears.onnx", folder / "writes.onnx"]
        page = Path(__file__).with_suffix(".js")
        for path in (*(live / each for each in OWN), *(dist / each for each in RUNTIME), weights, page):
            shutil.copy(path, folder)
        scripts = "".join(f'<script src="{each}"></script>' for each in SCRIPTS)
        (folder / "index.html").write_text(f'<meta charset="utf-8">{scripts}', encoding="utf-8")
        found, browser = measured(folder)
        own = [live / "engine.js", live / "kernel.wasm"]
        programs = {
            "engine.js and kernel.wasm": own,
            "the same, with a guess": own,
            "onnxruntime-web": [dist / each for each in RUNTIME],
        }
        packed = [sum(len(gzip.compress(each.read_bytes(), 9)) for each in programs[name]) for name in found]
        loaded = 2 * [weights.stat().st_size] + [sum(each.stat().st_size for each in onnx_files)]
    results = list(found.values())
    wanted = tokens_of_torch()
    same = [sum(a == b for a, b in zip(each["ids"], wanted, strict=True)) for each in results]
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    rows = [
        ["measured", *programs],
        ["program, packed (kB)", *(f"{size / 1000:,.0f}" for size in packed)],
        ["weights (MB)", *(f"{size / 1e6:.1f}" for size in loaded)],
        ["start, all files there (ms)", *(f"{each['start']:,.0f}" for each in results)],
        ["a sentence: least (ms)", *(f"{min(each['sentences']):,.0f}" for each in results)],
        ["a sentence: median (ms)", *(f"{median(each['sentences']):,.0f}" for each in results)],
        [f"the tokens of torch, of {len(wanted)} clips", *map(str, same)],
    ]
    rows[0][-1] += f" {version}"
    where = f"Chromium {browser.split('.')[0]} on {machine()}, one thread each, in turns"
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([*rows, [where, "", "", ""]])
    print(TABLE.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
