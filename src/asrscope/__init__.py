"""See one spoken sentence become text inside a real speech-language model.

>>> import asrscope
>>> model, processor = asrscope.load("tiny")
>>> sample = asrscope.load_samples()[0]
>>> trace = asrscope.trace(model, processor, sample.path)

Names are imported when they are first used: ``import asrscope`` alone loads neither torch nor bokeh.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asrscope.audio import SAMPLE_RATE, check_waveform, load_audio, wav_bytes
    from asrscope.audio.samples import Sample, load_sample, load_samples
    from asrscope.features import log_mel
    from asrscope.loading import load
    from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
    from asrscope.plots.report import write_html, write_json
    from asrscope.processing import AsrScopeProcessor
    from asrscope.projector import AudioProjector
    from asrscope.recognition.transcribe import Segment, Transcript, transcribe
    from asrscope.scope.traces import STAGES, Axis, Provenance, Stage, Token, Trace, Word
    from asrscope.scope.tracing import Scope, attach, trace

_MODULES = {
    "audio": ("SAMPLE_RATE", "check_waveform", "load_audio", "wav_bytes"),
    "features": ("log_mel",),
    "model": ("AsrScopeConfig", "AsrScopeForConditionalGeneration"),
    "loading": ("load",),
    "processing": ("AsrScopeProcessor",),
    "projector": ("AudioProjector",),
    "plots.report": ("write_html", "write_json"),
    "audio.samples": ("Sample", "load_sample", "load_samples"),
    "scope.traces": ("STAGES", "Axis", "Provenance", "Stage", "Token", "Trace", "Word"),
    "scope.tracing": ("Scope", "attach", "trace"),
    "recognition.transcribe": ("Segment", "Transcript", "transcribe"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # spelled out for the tools that read it
    "SAMPLE_RATE",
    "STAGES",
    "AsrScopeConfig",
    "AsrScopeForConditionalGeneration",
    "AsrScopeProcessor",
    "AudioProjector",
    "Axis",
    "Provenance",
    "Sample",
    "Scope",
    "Segment",
    "Stage",
    "Token",
    "Trace",
    "Transcript",
    "Word",
    "__version__",
    "attach",
    "check_waveform",
    "load",
    "load_audio",
    "load_sample",
    "load_samples",
    "log_mel",
    "trace",
    "transcribe",
    "wav_bytes",
    "write_html",
    "write_json",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - slow, and seldom asked for

        return version("asrscope")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'asrscope' has no attribute {name!r}")
    value = getattr(import_module(f"asrscope.{_MODULE_OF[name]}"), name)
    if _MODULE_OF[name] == "model":  # the Auto classes of transformers then know the processor as well
        import_module("asrscope.processing")
    globals()[name] = value  # found at once the next time
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
