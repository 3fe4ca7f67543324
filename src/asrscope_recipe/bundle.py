"""Join the parts of the bundled model: encoder and decoder to train the projector between, then all three.

And the mean of two projectors, of which the one went on from the other.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from asrscope.loading import Loaded
from asrscope.loading.pair import load_pair
from asrscope.saving import write_bytes, write_text
from asrscope.training.finished import read_weights, write_model
from asrscope_recipe.corpus import MAX_SECONDS
from asrscope_recipe.spelling import INSTRUCTION

__all__ = ["average_with", "bundle", "join"]


def join(encoder: Path, decoder: Path) -> Loaded:
    """Put a finished encoder and a finished decoder in one model; its projector is random."""
    model, processor = load_pair(None, encoder=encoder, decoder=decoder)
    model.config.text_config.name_or_path = ""  # the folder it was read from is nobody else's business
    model.config.pad_audio = processor.pad_audio = False
    model.config.trained_seconds = MAX_SECONDS
    processor.instruction = INSTRUCTION
    return model, processor


def bundle(encoder: Path, decoder: Path, projector: Path, target: Path) -> Path:
    """Write one checkpoint in half precision from the three finished parts.

    Parameters
    ----------
    encoder, decoder, projector : Path
        What the three stages of training left.
    target : Path
        Gets config, weights (fp16 safetensors), tokenizer, feature extractor, provenance, and the curves of
        the three stages in ``training.json``.

    Returns
    -------
    Path
        ``target``.
    """
    others = {"encoder": encoder, "decoder": decoder}
    return write_model(join(encoder, decoder), projector, target, others=others)


def average_with(start: Path, done: Path, share: float, target: Path) -> Path:
    """Take the mean of a finished projector and the one that its training began with.

    What both learned adds up, and what the one knows of its own clips by heart does not.

    Parameters
    ----------
    start, done : Path
        Folders of the two.
    share : float
        That of the first, between 0 and 1.
    target : Path
        Gets the mean, with the recipe of the second and its list of tokens.

    Returns
    -------
    Path
        ``target``.

    References
    ----------
    Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
    """
    earlier, weights = read_weights(start), load_file(done / "model.safetensors")
    for name, value in weights.items():
        if value.is_floating_point() and name in earlier:  # a speller may have come since
            weights[name] = torch.lerp(value, earlier[name].to(value), share)
    made = json.loads((done / "recipe.json").read_text(encoding="utf-8"))
    target.mkdir(parents=True, exist_ok=True)
    write_bytes(target / "model.safetensors", save(weights))
    write_text(target / "training.json", (done / "training.json").read_text(encoding="utf-8"))
    write_text(target / "recipe.json", json.dumps(made | {"averaged_with_start": share}) + "\n")
    return target
