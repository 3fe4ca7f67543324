"""Small trained additions to a decoder, LoRA for example, as PEFT saves them."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from asrscope.loading.stored import StoredTensors, read_settings

__all__ = ["add_adapter"]


def add_adapter(language_model: Any, folder: Path, name: str) -> StoredTensors:
    """Put an adapter into a decoder's layers; the decoder's own weights stay as they are.

    Parameters
    ----------
    language_model : PreTrainedModel
        The decoder, quantized or not.
    folder : Path
        What PEFT saved: ``adapter_config.json`` and ``adapter_model.safetensors``.
    name : str
        What to call it in errors.

    Returns
    -------
    StoredTensors
        The adapter's weights as they are stored.

    Raises
    ------
    OSError
        If a file is missing, or PEFT is not installed.
    ValueError
        If the adapter was made for another decoder.
    """
    if find_spec("peft") is None:
        raise OSError("an adapter needs PEFT: pip install peft")
    config = read_settings(folder / "adapter_config.json")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(
            f"{weights} is missing. Save the adapter with save_pretrained, which writes safetensors; "
            "adapter_model.bin is never loaded."
        )
    stored = StoredTensors.of(weights)
    try:
        language_model.load_adapter(str(folder))
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{name}: this adapter, made for {config.get('base_model_name_or_path')}, does not fit the "
            f"decoder ({reason}). Give the decoder that it was trained with."
        ) from error
    return stored
