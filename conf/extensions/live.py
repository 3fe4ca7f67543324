"""What the page "Live" needs to run the model by itself: written from Python, so that nothing is typed twice.

Into ``_static/live`` of the built site go, as scripts that also load from a disk (pages there may fetch
nothing):

- ``data.js``: the settings of `settings`, the clips, the kernel, and the sources that run in a worker;
- ``weights-N.js``: the bytes of ``model.safetensors``, unchanged, in `PARTS` parts.

Where ``live_small`` says so, the model *small* goes beside them. It is fetched, so a page from a disk does
without it:

- ``small-N.bin``: its tensors as `packed` has them, in parts of `PART` bytes;
- ``small.json``: its settings;
- ``small.js``: the names, sizes and hashes of these files.

The page ``live`` alone gets these and the scripts beside them, and ``csp_more`` lets it compile.
"""

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save
from stale import computed

import asrscope  # torch comes with its function `load` alone
from asrscope.audio import SAMPLE_RATE
from asrscope.audio.samples import load_samples

PARTS = 4  # of the weights: enough to show how far they have come
PART = 20_000_000  # bytes of a part of the other model: far below what usual hosts take
SOURCES = ("engine.js", "worker.js")
SCRIPTS = ("engine.js", "sounds.js", "page.js")  # after the data
PAGE = "live"


def settings(model: Any, processor: Any) -> dict[str, Any]:
    """Return what engine.js has to know beside the weights."""
    # Here, and not above: a build in which nothing has changed does without torch.
    from asrscope import decoder, features  # noqa: PLC0415
    from asrscope.projector import AudioProjector  # noqa: PLC0415

    config = model.config.to_dict()
    for part in (config, config["audio_config"], config["text_config"]):
        part.pop("_name_or_path", None)  # a place on the machine that builds
    tokenizer = processor.tokenizer
    bands = features.mel_filters(config["audio_config"]["num_mel_bins"])
    spans = [np.flatnonzero(band)[[0, -1]].tolist() for band in bands]
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    ids = tokenizer.convert_tokens_to_ids
    return {
        "config": config,
        "projectorEps": AudioProjector(1, 1, 1, 1).norm_out.eps,
        "mel": {
            "sampleRate": SAMPLE_RATE,
            "nFft": features.N_FFT,
            "hop": features.HOP_LENGTH,
            "floor": features.POWER_FLOOR,
            "dynamicRange": features.DYNAMIC_RANGE,
            "filters": [
                [first, band[first : last + 1].tolist()]
                for (first, last), band in zip(spans, bands, strict=True)
            ],
        },
        "prompt": tokenizer(processor.prompt(), add_special_tokens=False)["input_ids"],
        "endToken": tokenizer.eos_token_id,
        "space": tokenizer.encode(" ", add_special_tokens=False)[0],
        "pieces": decoder.split_pieces(tokenizer, range(len(tokenizer))),
        "merges": [[*ids(list(pair)), ids("".join(pair))] for pair in merges],
        "tokensPerSecond": decoder.TOKENS_PER_SECOND,
        "spareTokens": decoder.SPARE_TOKENS,
    }


def packed(model: Any) -> dict[str, np.ndarray]:
    """Return a model's tensors for engine.js: the decoder's matrices in 8 bits, all other numbers in 16.

    Each row of such a matrix comes with a scale, ``NAME_scale``: what 1 stands for, so that its largest
    number is 127.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if name.startswith("language_model.") and values.ndim == 2:
            scale = np.abs(values).max(axis=1) / 127
            scale[scale == 0] = 1  # a row of zeros
            tensors |= {f"{name}_scale": scale, name: np.rint(values / scale[:, None]).astype(np.int8)}
        else:
            tensors[name] = values.astype(np.float16) if values.dtype == np.float32 else values
    del tensors["language_model.lm_head.weight"], tensors["language_model.lm_head.weight_scale"]  # tied
    return tensors


def write_small(place: Path, model: Any, processor: Any) -> None:
    """Put the model "small" into a folder of the site."""
    weights = save(packed(model))
    parts = [weights[at : at + PART] for at in range(0, len(weights), PART)]
    content = {"small.json": json.dumps(settings(model, processor)).encode()}
    content |= {f"small-{number}.bin": part for number, part in enumerate(parts)}
    told = []
    for name, data in content.items():
        (place / name).write_bytes(data)
        told.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    text = f"asrscopeLive.small = {json.dumps(told)}\n"
    (place / "small.js").write_text(text, encoding="ascii", newline="\n")


def in_text(path: Path) -> str:
    """Return the bytes of a file as letters."""
    return base64.b64encode(path.read_bytes()).decode()


def write_tiny(place: Path, model: Any, processor: Any) -> None:
    """Put settings, clips, kernel and weights into a folder of the site."""
    checkpoint = Path(files("asrscope")) / "data" / "checkpoints" / "tiny"
    weights = in_text(checkpoint / "model.safetensors")
    size = -(-len(weights) // (4 * PARTS)) * 4  # whole groups of letters, each of three bytes
    parts = [weights[start : start + size] for start in range(0, len(weights), size)]
    for number, part in enumerate(parts):
        text = f'asrscopeLive.parts[{number}] = "{part}"\n'
        (place / f"weights-{number}.js").write_text(text, encoding="ascii", newline="\n")
    data = {
        "settings": settings(model, processor),
        "clips": [
            {"name": clip.name, "text": clip.text, "words": clip.words, "sound": in_text(clip.path)}
            for clip in load_samples()
        ],
        "kernel": in_text(place / "kernel.wasm"),
        "source": "\n".join((place / name).read_text(encoding="utf-8") for name in SOURCES),
        "parts": [None] * len(parts),
        "bytes": (checkpoint / "model.safetensors").stat().st_size,
    }
    (place / "data.js").write_text(f"var asrscopeLive = {json.dumps(data)}\n", encoding="utf-8", newline="\n")


def write(app: Any, error: Exception | None) -> None:
    """Write what has changed since the last build, and leave nothing of what this one leaves out."""
    if error or app.builder.format != "html" or PAGE not in app.env.found_docs:
        return
    place = Path(app.outdir, "_static", "live")
    tiny = [place / "data.js", *(place / f"weights-{number}.js" for number in range(PARTS))]
    sources = [Path(app.confdir, "static", "live")]
    computed(app, "live", lambda: write_tiny(place, *asrscope.load("tiny")), files=tiny, also=sources)
    if app.config.live_small:
        small = [place / "small.js"]
        computed(app, "live-small", lambda: write_small(place, *asrscope.load("small")), files=small)
    else:
        for path in place.glob("small*"):
            path.unlink()


def add_files(app: Any, pagename: str, *_: Any) -> None:
    """Give the one page its scripts and its style."""
    if pagename == PAGE:
        app.add_css_file("live/live.css")
        for name in ("data.js", *(["small.js"] if app.config.live_small else []), *SCRIPTS):
            app.add_js_file(f"live/{name}", loading_method="defer")


def setup(app: Any) -> dict[str, Any]:
    """Write when the static files are there."""
    app.add_config_value("live_small", False, "html", bool)
    app.connect("html-page-context", add_files)
    app.connect("build-finished", write, priority=800)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
