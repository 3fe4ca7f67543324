"""Projectors as this package and tiny-audio save them: recognized by their tensors, checked, and made ours.

The layout of tiny-audio was read in its code; no weights of its were at hand. What is loaded counts as
unverified therefore.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from asrscope.loading.checkpoints import part_of
from asrscope.projector import AudioProjector

__all__ = ["AUDIO", "read_projector"]

AUDIO = "<audio>"  # where the clip stands in the prompt of a projector's configuration
OWN = (
    *(f"{layer}.weight" for layer in ("norm_in", "gate", "up", "down", "norm_out")),
    *(f"binding.{name}" for name in ("blank", "filler", "scale", "vocabulary", "openings")),
    "prompt",
)
TINY_AUDIO = {  # names that tiny-audio gave its tensors in 2025, and ours
    "ln_pre.weight": "norm_in.weight",
    "proj.w1.weight": "gate.weight",
    "proj.w2.weight": "up.weight",
    "proj.w3.weight": "down.weight",
    "ln_post.weight": "norm_out.weight",
}
# What its configuration does not say: it was trained so.
TINY_AUDIO_SAYS = {
    "projector_remainder": "pad",
    "user_prompt": f"Transcribe: {AUDIO}",
    "system_prompt": "/no_think /system_override",
}


def read_projector(
    stored: Mapping[str, Tensor], config: Mapping[str, Any], encoder_dim: int, decoder_dim: int, name: str
) -> tuple[AudioProjector, dict[str, Tensor], dict[str, Any]]:
    """Recognize a projector, hold it against its configuration and the widths around it, and build it.

    Parameters
    ----------
    stored : mapping of str to torch.Tensor
        The checkpoint; tensors that are of no projector are left alone.
    config : mapping
        What its ``config.json`` says; empty if there is none.
    encoder_dim, decoder_dim : int
        Widths of the encoder and the decoder that it is to join.
    name : str
        What to call it in errors.

    Returns
    -------
    AudioProjector
        With the weights as they are stored.
    dict of str to torch.Tensor
        The weights, by the names of the system that wrote it.
    dict
        All that the configuration says; ``user_prompt`` has ``<audio>`` for the clip.

    Raises
    ------
    ValueError
        If the layout is unknown, configuration and weights differ, or the projector does not fit.
    """
    tensors = part_of(stored, "multi_modal_projector.", "projector.", "")
    if TINY_AUDIO.keys() == tensors.keys():
        ours = {TINY_AUDIO[key]: tensor for key, tensor in tensors.items()}
        config = {**TINY_AUDIO_SAYS, **config}
    elif {"up.weight", "down.weight"} <= tensors.keys() <= set(OWN):
        ours = dict(tensors)
    else:
        found = ", ".join(sorted(stored, key=lambda key: ("projector" not in key, key))[:6])
        raise ValueError(
            f"{name} holds no projector of a known layout: expected that of AudioProjector (up.weight, "
            f"...) or of tiny-audio of 2025 (projector.{next(iter(TINY_AUDIO))}, ...), but found {found}. "
            "Take another revision, or rename its tensors as AudioProjector does."
        )
    stacked = ours["up.weight"].shape[1]
    settings = {"stack_factor": stacked // encoder_dim} | _settings(ours, config)
    _agree(config, settings, encoder_dim, decoder_dim, name)
    try:
        if stacked % encoder_dim:
            raise ValueError(f"{stacked} is no multiple of {encoder_dim}")
        module = AudioProjector(encoder_dim, decoder_dim, **settings)
        module.load_state_dict(ours)
    except (RuntimeError, ValueError) as error:
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        raise ValueError(
            f"{name} holds no projector from {encoder_dim} to {decoder_dim} dimensions; found {shapes}."
        ) from error
    return module, tensors, dict(config)


def _settings(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """See in the weights which layers a projector has; what they do not show, its configuration says."""
    return {
        "hidden_size": len(weights["up.weight"]),
        "norm": "rms" if "norm_out.weight" in weights else "none",
        "mlp": "swiglu" if "gate.weight" in weights else "gelu",
        "remainder": config.get("projector_remainder", "cut"),
        "output": "bound" if "binding.blank" in weights else "free",
        "temperature": config.get("projector_temperature", 0.5),
        "vocabulary": len(weights.get("binding.vocabulary", ())),
        "prompt_vectors": len(weights.get("prompt", ())),
        "ctc_weight": config.get("projector_ctc_weight", 0.0),
    }


def _agree(
    config: Mapping[str, Any], settings: Mapping[str, Any], encoder_dim: int, decoder_dim: int, name: str
) -> None:
    """Hold what the configuration says, in our words or in tiny-audio's, against weights and pair."""
    inside = {
        f"{part}.{key}": value
        for part in ("audio_config", "text_config")
        for key, value in (config.get(part) or {}).items()
    }
    has = {f"projector_{key}": value for key, value in settings.items()} | {
        "stack_factor": settings["stack_factor"],
        "projector_pool_stride": settings["stack_factor"],
        "projector_hidden_dim": settings["hidden_size"],
        "audio_config.d_model": encoder_dim,
        "encoder_dim": encoder_dim,
        "text_config.hidden_size": decoder_dim,
        "llm_dim": decoder_dim,
    }
    for key, value in has.items():
        if (says := {**config, **inside}.get(key)) not in (None, value):
            raise ValueError(
                f"{name}: its config.json says {key} = {says}, but its weights and this pair have {value}. "
                "Take configuration and weights from one revision, and the encoder and decoder that it was "
                "trained between."
            )
