"""The published encoder's size, once: random weights, a shipped clip, and a limit on memory."""

import json
import subprocess
import sys

import pytest
import torch
from hub_kit import WIDTHS, projector_shapes, random_tensors, write_decoder, write_projector
from safetensors.torch import save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from asrscope_course import sizes

LIMIT = 3_300_000_000  # bytes: the mapped file, the encoder in bfloat16, and what the clip takes

PROGRAM = """
import json, resource, sys, time
import torch
torch.set_num_threads(1)
import asrscope
from asrscope.saving.provenance import provenance_of
def data():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return 1024 * int(status["VmData"].split()[0])
before = data()  # builds of torch with CUDA take some gigabytes by themselves
resource.setrlimit(resource.RLIMIT_DATA, (before + {limit}, before + {limit}))
start = time.perf_counter()
model, processor = asrscope.load("full", **json.loads(sys.argv[1]))
loaded = time.perf_counter()
trace = asrscope.trace(model, processor, asrscope.load_sample("captain").path, max_new_tokens=2)
print(json.dumps({{
    "load_s": loaded - start,
    "encoder_s": trace.timings["encoder"],
    "data_gb": (data() - before) / 1e9,
    "peak_resident_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    "shape": trace.encoder_hidden_states.shape,
    "finite": bool(abs(trace.encoder_hidden_states).max() < 1e6),
    "parameters": provenance_of(model)[0].parameters,
}}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit and its measure are Linux's")
def test_the_full_size_encoder_runs_within_its_memory(tmp_path):
    config = WhisperConfig.from_dict(sizes.published_config("whisper-large-v3-turbo"))
    with torch.device("meta"):
        whole = WhisperForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.empty(tensor.shape, dtype=torch.float16).normal_(0, 0.02, generator=generator)
        for name, tensor in whole.state_dict().items()
        if name != "proj_out.weight"  # tied, and not stored
    }
    assert sum(tensor.numel() for tensor in tensors.values()) == 808_878_080
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    save_file(tensors, encoder / "model.safetensors", metadata={"format": "pt"})
    tensors.clear()
    config.save_pretrained(encoder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(encoder)
    shapes = projector_shapes(4, 32, config.d_model, WIDTHS[1])
    parts = {
        "encoder": str(encoder),
        "decoder": str(write_decoder(tmp_path / "decoder")),
        "projector": str(write_projector(tmp_path / "projector", random_tensors(shapes))),
    }
    command = [sys.executable, "-c", PROGRAM.format(limit=LIMIT), json.dumps(parts)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["parameters"] == 636_968_960
    assert found["shape"] == [1500, 1280]
    assert found["finite"]
    assert found["data_gb"] < 2.2  # what stays: no decoder of Whisper, no second copy
