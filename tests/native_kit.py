"""Very small random checkpoints of the architectures that transformers ships, in the layout of the Hub."""

from pathlib import Path

from asrscope.native import ARCHITECTURES, tiny_random

__all__ = ["ARCHITECTURES", "save_tiny", "tiny_random"]


def save_tiny(architecture: str, folder: Path, *, seed: int = 0) -> Path:
    """Write model, processor and tokenizer as `save_pretrained` does; returns the directory."""
    model, processor = tiny_random(architecture, seed=seed)
    path = folder / architecture
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path
