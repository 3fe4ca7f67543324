"""Projectors as others publish them: recognized by the names of their tensors, checked, and made ours.

The layouts were read in the code of the systems named; no weights of theirs were at hand. What is loaded
counts as unverified therefore.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from asrscope.loading.stored import StoredTensors
from asrscope.projector import AudioProjector

__all__ = ["LAYOUTS", "FoundProjector", "Layout", "is_projector", "read_projector"]

AUDIO = "<audio>"  # where the clip stands in a prompt of tiny-audio
BIASES = {"up.bias", "down.bias", "gate.bias"}


@dataclass(frozen=True)
class Layout:
    """How one system names the parts of its projector, and what they are.

    Attributes
    ----------
    name : str
        Of the system.
    prefixes : tuple of str
        What the names begin with.
    names : dict of str to str
        Its names, and those of `asrscope.projector.AudioProjector`.
    norm, mlp, remainder : str
        The layers, see there.
    stride : int
        Its stack factor where the configuration says nothing; 0: as the shapes say.
    user_prompt, system_prompt : str
        The same for its prompt; empty: that of the caller.
    """

    name: str
    prefixes: tuple[str, ...]
    names: dict[str, str]
    norm: str
    mlp: str
    remainder: str
    stride: int = 0
    user_prompt: str = ""
    system_prompt: str = ""


OWN = Layout(
    "asrscope",
    ("multi_modal_projector.", ""),
    {
        f"{layer}.{kind}": f"{layer}.{kind}"
        for layer in ("norm_in", "gate", "up", "norm_hidden", "down", "norm_out")
        for kind in ("weight", "bias")
    }
    | {
        name: name
        for name in ("prompt", *(f"binding.{of}" for of in ("blank", "filler", "scale", "vocabulary")))
    },
    *("rms", "swiglu", "cut"),
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
    *("rms", "swiglu", "pad"),
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
    *("hidden", "gelu", "cut"),
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
    *("none", "gelu", "cut"),
)
LAYOUTS = (OWN, TINY_AUDIO_2025, TINY_AUDIO_2026, TRANSFORMERS)


@dataclass(frozen=True)
class FoundProjector:
    """A projector and what its configuration says of its use.

    Attributes
    ----------
    module : AudioProjector
        With the weights as they are stored.
    layout : str
        Name of the system that wrote it.
    tensors : mapping of str to torch.Tensor
        The weights, by the names of the system.
    user_prompt, system_prompt : str or None
        Of the prompt that it was trained in, with ``<audio>`` for the clip; None where nothing says.
    trained_between : tuple of str
        Encoder and decoder that it was trained for, as far as the configuration names them.
    config : mapping
        All that the configuration says.
    """

    module: AudioProjector
    layout: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    user_prompt: str | None = None
    system_prompt: str | None = None
    trained_between: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def is_projector(name: str) -> bool:
    """Tell whether a tensor of a checkpoint belongs to a projector of some layout."""
    prefixes = [prefix for layout in LAYOUTS for prefix in layout.prefixes if prefix]
    return name.startswith(tuple(prefixes)) or name in OWN.names


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
    shapes = {key: tuple(tensor.shape) for key, tensor in ours.items()}
    stacked = shapes["up.weight"][1]
    stack_factor, rest = divmod(stacked, encoder_dim)
    settings: dict[str, Any] = {
        "stack_factor": stack_factor,
        "hidden_size": shapes["up.weight"][0],
        "norm": layout.norm,
        "mlp": layout.mlp,
        "bias": bool(BIASES & set(ours)),
        "remainder": layout.remainder,
    }
    if layout is OWN:
        settings |= {
            "norm": "hidden"
            if "norm_hidden.weight" in ours
            else "rms"
            if "norm_out.weight" in ours
            else "none",
            "mlp": "swiglu" if "gate.weight" in ours else "gelu",
            "remainder": config.get("projector_remainder", "cut"),
            "output": "bound" if "binding.blank" in ours else "free",
            "temperature": config.get("projector_temperature", 0.5),
            "vocabulary": len(ours.get("binding.vocabulary", ())),
            "prompt_vectors": len(ours.get("prompt", ())),
        }
    _compare(layout, config, settings, (encoder_dim, decoder_dim), name)
    try:
        if rest:
            raise ValueError(f"{stacked} is no multiple of {encoder_dim}")
        module = AudioProjector(encoder_dim, decoder_dim, **settings)
        module.load_state_dict(ours)
    except (RuntimeError, ValueError) as error:
        found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        raise ValueError(
            f"{name} holds no projector from {encoder_dim} to {decoder_dim} dimensions; found {found}."
        ) from error
    return FoundProjector(
        module, layout.name, tensors, *_prompts(layout, config), _between(layout, config), config
    )


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


def _compare(
    layout: Layout,
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    widths: tuple[int, int],
    name: str,
) -> None:
    """Hold what the configuration says against the weights and against the pair."""
    encoder_dim, decoder_dim = widths
    if not config:
        return
    audio, text = config.get("audio_config") or {}, config.get("text_config") or {}
    said: dict[str, tuple[Any, Any]]
    if layout is OWN:
        said = {
            "stack_factor": (config.get("stack_factor"), settings["stack_factor"]),
            **{
                key: (says, settings.get(key.removeprefix("projector_")))
                for key, says in config.items()
                if key.startswith("projector_")
            },
            "audio_config.d_model": (audio.get("d_model"), encoder_dim),
            "text_config.hidden_size": (text.get("hidden_size"), decoder_dim),
        }
    elif layout is TRANSFORMERS:
        said = {
            "audio_config.intermediate_size": (
                audio.get("intermediate_size"),
                settings["stack_factor"] * encoder_dim,
            ),
            "audio_config.hidden_size": (audio.get("hidden_size"), encoder_dim),
            "text_config.hidden_size": (text.get("hidden_size"), decoder_dim),
            "projector_hidden_act": (config.get("projector_hidden_act"), "gelu"),
        }
    else:
        said = {
            "projector_pool_stride": (
                config.get("projector_pool_stride", layout.stride),
                settings["stack_factor"],
            ),
            "projector_hidden_dim": (config.get("projector_hidden_dim"), settings["hidden_size"]),
            "encoder_dim": (config.get("encoder_dim"), encoder_dim),
            "llm_dim": (config.get("llm_dim"), decoder_dim),
        }
    for what, (says, has) in said.items():
        if says is not None and says != has:
            raise ValueError(
                f"{name}: its config.json says {what} = {says}, but its weights and this pair have {has}. "
                "Take configuration and weights from one revision, and the encoder and decoder that it was "
                "trained between."
            )


def _prompts(layout: Layout, config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    user = config.get("user_prompt") or layout.user_prompt
    system = config.get("system_prompt")
    if not user:  # a layout without a prompt of its own
        return None, None
    return user, layout.system_prompt if system is None else system


def _between(layout: Layout, config: Mapping[str, Any]) -> tuple[str, ...]:
    if layout is TRANSFORMERS and config.get("model_type"):
        return (f"encoder and decoder of {config['model_type']}",)
    named = (config.get("audio_model_id"), config.get("text_model_id"))
    return tuple(str(one) for one in named if one)
