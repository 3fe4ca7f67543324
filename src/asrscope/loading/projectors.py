"""Projectors as this package and others save them: recognized by their tensors, checked, and made ours.

The layouts of others were read in the code of the systems named; no weights of theirs were at hand. What is
loaded counts as unverified therefore.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from asrscope.loading.checkpoints import StoredTensors
from asrscope.projector import AudioProjector

__all__ = ["AUDIO", "LAYOUTS", "FoundProjector", "Layout", "is_projector", "read_projector"]

AUDIO = "<audio>"  # where the clip stands in a prompt of tiny-audio


@dataclass(frozen=True)
class Layout:
    """How one system names the tensors of its projector, and what it means by them.

    Attributes
    ----------
    name : str
        Of the system.
    prefixes : tuple of str
        What the names begin with.
    names : dict of str to str
        Its names, and those of `asrscope.projector.AudioProjector`.
    layers : dict of str to str
        Settings of `AudioProjector` that its tensors do not show.
    says : dict of str to str
        Keys of its ``config.json``, and which of our settings or widths each should agree with.
    stride : int or None
        Its stack factor where the configuration says nothing; None: as the shapes say.
    user_prompt, system_prompt : str
        The prompt it was trained in; empty: that of the caller.
    """

    name: str
    prefixes: tuple[str, ...]
    names: dict[str, str]
    layers: dict[str, str]
    says: dict[str, str]
    stride: int | None = None
    user_prompt: str = ""
    system_prompt: str = ""


LINEAR = ("norm_in", "gate", "up", "norm_hidden", "down", "norm_out")
OTHERS = ("prompt", *(f"binding.{name}" for name in ("blank", "filler", "scale", "vocabulary", "openings")))
SETTINGS = (
    *("hidden_size", "norm", "mlp", "bias", "remainder", "output", "temperature", "vocabulary"),
    *("prompt_vectors", "ctc_weight"),
)
STRIDED = {
    "projector_pool_stride": "stack_factor",
    "projector_hidden_dim": "hidden_size",
    "encoder_dim": "encoder_dim",
    "llm_dim": "decoder_dim",
}
OWN = Layout(
    "asrscope",
    ("multi_modal_projector.", ""),
    {name: name for name in (*(f"{of}.{kind}" for of in LINEAR for kind in ("weight", "bias")), *OTHERS)},
    {},
    {f"projector_{setting}": setting for setting in SETTINGS}
    | {
        "stack_factor": "stack_factor",
        "audio_config.d_model": "encoder_dim",
        "text_config.hidden_size": "decoder_dim",
    },
)
TINY_AUDIO_2025 = Layout(
    "tiny-audio of 2025",
    ("projector.",),
    {
        "ln_pre.weight": "norm_in.weight",
        "proj.w1.weight": "gate.weight",
        "proj.w2.weight": "up.weight",
        "proj.w3.weight": "down.weight",
        "ln_post.weight": "norm_out.weight",
    },
    {"norm": "rms", "mlp": "swiglu", "remainder": "pad"},
    STRIDED,
    stride=2,
    user_prompt=f"Transcribe: {AUDIO}",
    system_prompt="/no_think /system_override",
)
TINY_AUDIO_2026 = Layout(
    "tiny-audio of 2026",
    ("projector.",),
    {
        "linear_1.weight": "up.weight",
        "norm.weight": "norm_hidden.weight",
        "linear_2.weight": "down.weight",
        "norm_2.weight": "norm_out.weight",
    },
    {"norm": "hidden", "mlp": "gelu", "remainder": "cut"},
    STRIDED,
    stride=4,
    user_prompt=f"{AUDIO} Transcribe the speech to text",
)
TRANSFORMERS = Layout(
    "Voxtral and GLM-ASR",
    ("multi_modal_projector.", "model.multi_modal_projector."),
    {
        "linear_1.weight": "up.weight",
        "linear_1.bias": "up.bias",
        "linear_2.weight": "down.weight",
        "linear_2.bias": "down.bias",
    },
    {"norm": "none", "mlp": "gelu", "remainder": "cut"},
    {
        "audio_config.intermediate_size": "stacked",
        "audio_config.hidden_size": "encoder_dim",
        "text_config.hidden_size": "decoder_dim",
        "projector_hidden_act": "mlp",
    },
)
LAYOUTS = (OWN, TINY_AUDIO_2025, TINY_AUDIO_2026, TRANSFORMERS)


@dataclass(frozen=True)
class FoundProjector:
    """A projector and what its configuration says of its use.

    Attributes
    ----------
    module : AudioProjector
        With the weights as they are stored.
    tensors : mapping of str to torch.Tensor
        The weights, by the names of the system that wrote it.
    user_prompt, system_prompt : str or None
        Of the prompt that it was trained in, with ``<audio>`` for the clip; None where nothing says.
    trained_between : tuple of str
        Encoder and decoder that it was trained for, as far as the configuration names them.
    config : mapping
        All that the configuration says.
    """

    module: AudioProjector
    tensors: Mapping[str, Tensor] = field(repr=False)
    user_prompt: str | None = None
    system_prompt: str | None = None
    trained_between: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def is_projector(name: str) -> bool:
    """Tell whether a tensor of a checkpoint belongs to a projector of some layout."""
    prefixes = tuple(prefix for layout in LAYOUTS for prefix in layout.prefixes if prefix)
    return name.startswith(prefixes) or name in OWN.names


def read_projector(
    stored: StoredTensors, config: Mapping[str, Any], encoder_dim: int, decoder_dim: int, name: str
) -> FoundProjector:
    """Recognize a projector, hold it against its configuration and the widths around it, and build it.

    Parameters
    ----------
    stored : StoredTensors
        The checkpoint; tensors that are of no projector are left alone.
    config : mapping
        What its ``config.json`` says; empty if there is none.
    encoder_dim, decoder_dim : int
        Widths of the encoder and the decoder that it is to join.
    name : str
        What to call it in errors.

    Returns
    -------
    FoundProjector
        The projector, and its prompt.

    Raises
    ------
    ValueError
        If the layout is unknown, configuration and weights differ, or the projector does not fit.
    """
    layout, tensors = _recognize(stored, name)
    ours = {layout.names[key]: tensors[key] for key in tensors}
    hidden_size, stacked = ours["up.weight"].shape
    settings: dict[str, Any] = {
        **(_own_layers(ours, config) if layout is OWN else layout.layers),
        "hidden_size": hidden_size,
        "bias": any(key.endswith(".bias") for key in ours),
    }
    settings["stack_factor"] = stacked // encoder_dim
    widths = {"encoder_dim": encoder_dim, "decoder_dim": decoder_dim, "stacked": stacked}
    for key, of in layout.says.items() if config else ():
        outer, _, inner = key.rpartition(".")
        says = ((config.get(outer) or {}) if outer else config).get(inner)
        if says is None and of == "stack_factor":
            says = layout.stride
        if says is not None and says != (has := (settings | widths).get(of)):
            raise ValueError(
                f"{name}: its config.json says {key} = {says}, but its weights and this pair have {has}. "
                "Take configuration and weights from one revision, and the encoder and decoder that it was "
                "trained between."
            )
    try:
        if stacked % encoder_dim:
            raise ValueError(f"{stacked} is no multiple of {encoder_dim}")
        module = AudioProjector(encoder_dim, decoder_dim, **settings)
        module.load_state_dict(ours)
    except (RuntimeError, ValueError) as error:
        found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        raise ValueError(
            f"{name} holds no projector from {encoder_dim} to {decoder_dim} dimensions; found {found}."
        ) from error
    between = [config.get("audio_model_id"), config.get("text_model_id")]
    if layout is TRANSFORMERS and config.get("model_type"):
        between = [f"encoder and decoder of {config['model_type']}"]
    user, system = config.get("user_prompt") or layout.user_prompt, config.get("system_prompt")
    if not user:  # a layout without a prompt of its own
        user = system = None
    elif system is None:
        system = layout.system_prompt
    return FoundProjector(module, tensors, user, system, tuple(str(one) for one in between if one), config)


def _own_layers(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """See in the weights which layers a projector of ours has; what they do not show, its config says."""
    norms = {"norm_hidden.weight": "hidden", "norm_out.weight": "rms"}
    return {
        "norm": next((norm for key, norm in norms.items() if key in weights), "none"),
        "mlp": "swiglu" if "gate.weight" in weights else "gelu",
        "remainder": config.get("projector_remainder", "cut"),
        "output": "bound" if "binding.blank" in weights else "free",
        "temperature": config.get("projector_temperature", 0.5),
        "vocabulary": len(weights.get("binding.vocabulary", ())),
        "prompt_vectors": len(weights.get("prompt", ())),
        "ctc_weight": config.get("projector_ctc_weight", 0.0),
    }


def _recognize(stored: StoredTensors, name: str) -> tuple[Layout, StoredTensors]:
    for layout in LAYOUTS:
        needed = {key for key in layout.names if not key.endswith(".bias")}
        if layout is OWN:  # its layers can be left out
            needed = {"up.weight", "down.weight"}
        for prefix in layout.prefixes:
            tensors = stored.part(prefix)
            if needed <= set(tensors) <= set(layout.names):
                return layout, tensors
    known = "; ".join(
        f"{layout.name}: {layout.prefixes[0]}{next(iter(layout.names))}, ..." for layout in LAYOUTS
    )
    found = ", ".join(sorted(filter(is_projector, stored))[:6] or sorted(stored)[:6])
    raise ValueError(
        f"{name} holds no projector of a known layout: expected one of ({known}), but found {found}. "
        "Take another revision, or rename its tensors as AudioProjector does."
    )
