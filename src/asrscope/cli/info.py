"""``asrscope info``: what a model is made of."""

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from asrscope.cli.console import expected_errors
from asrscope.cli.options import AsJson, DeviceMap, Model, Projector, Quantize, given

if TYPE_CHECKING:
    from asrscope.scope.traces import Provenance

__all__ = ["info"]


def info(
    model: Model = "tiny",
    as_json: AsJson = False,
    projector: Projector = None,
    quantize: Quantize = None,
    device_map: DeviceMap = None,
) -> None:
    """Say what a model is made of, how large it is and where its weights come from."""
    with expected_errors():
        from asrscope.loading.presets import load
        from asrscope.loading.provenance import provenance_of

        loaded, _ = load(model, **given(projector=projector, quantize=quantize, device_map=device_map))
        record = _describe(model, loaded.config, provenance_of(loaded))
    if as_json:
        print(json.dumps(record, indent=2))
        return
    for group, values in record.items():
        if not isinstance(values, dict):
            print(f"{group:22}{values}")
            continue
        print(group)
        for key, value in values.items():
            print(f"  {key:20}{value}")


def _describe(name: str, config: Any, provenance: "tuple[Provenance, ...]") -> dict[str, Any]:
    """Collect what ``info`` shows, in the order in which it shows it."""
    audio, text = config.audio_config, config.text_config
    parts = {part.part: part for part in provenance}
    return {
        "model": name,
        "version": version("asrscope"),
        "parameters": sum(part.parameters for part in parts.values()),
        "window_seconds": config.trained_seconds,
        "padded_to_30_s": config.pad_audio,
        "encoder": {
            "dimension": audio.d_model,
            "layers": audio.encoder_layers,
            "heads": audio.encoder_attention_heads,
            "mel_bands": audio.num_mel_bins,
            **_origin(parts["encoder"]),
        },
        "projector": {
            "stack_factor": config.stack_factor,
            "hidden_dimension": config.projector_hidden_size,
            **_origin(parts["projector"]),
        },
        "decoder": {
            "dimension": text.hidden_size,
            "layers": text.num_hidden_layers,
            "heads": text.num_attention_heads,
            "kv_heads": text.num_key_value_heads,
            "vocabulary": text.vocab_size,
            **_origin(parts["decoder"]),
        },
    }


def _origin(part: "Provenance") -> dict[str, Any]:
    return {
        "parameters": part.parameters,
        "weights": part.label,
        "stored_as": part.dtype,
        "source": part.source,
        "revision": part.revision,
        "sha256": part.sha256,
    }
