import importlib
import inspect
import re
import subprocess
import sys
import typing

import pytest

import asrscope

HEAVY = ("torch", "transformers", "bokeh", "librosa", "scipy", "numpy")


def test_the_public_names_are_these():
    assert asrscope.__all__ == [
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


@pytest.mark.parametrize("name", asrscope.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert name in dir(asrscope)
    value = getattr(asrscope, name)
    assert value is not None
    if callable(value):
        assert value.__doc__


def test_trace_is_the_function_also_after_its_modules_are_imported():
    import asrscope.scope.traces
    import asrscope.scope.tracing

    assert asrscope.trace is asrscope.scope.tracing.trace


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'asrscope' has no attribute 'tracer'"):
        asrscope.tracer  # noqa: B018


def test_the_version_is_a_string_of_numbers():
    assert all(part.isdigit() for part in asrscope.__version__.split(".")[:2])


def test_importing_the_package_imports_nothing_heavy():
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import asrscope"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in run.stderr.splitlines()}
    assert "asrscope" in imported
    assert imported.isdisjoint(HEAVY)


def test_what_needs_no_torch_imports_none():
    code = """
import sys, asrscope
for name in ("load_audio", "Trace", "load_samples", "log_mel", "write_html"):
    getattr(asrscope, name)
    assert "torch" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_class_of_the_model_makes_the_auto_classes_know_model_and_processor():
    lines = (
        "from asrscope import AsrScopeForConditionalGeneration",
        "from asrscope.audio.samples import CLIPS",
        "from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor",
        "tiny = str(CLIPS.parent / 'checkpoints' / 'tiny')",
        "assert type(AutoProcessor.from_pretrained(tiny)).__name__ == 'AsrScopeProcessor'",
        "model = AutoModelForSpeechSeq2Seq.from_pretrained(tiny)",
        "assert type(model) is AsrScopeForConditionalGeneration",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


SHAPED_MODULES = (
    "audio",
    "encoder",
    "features",
    "inside.context",
    "inside.counterfactual",
    "inside.decoder",
    "model",
    "processing",
    "projector",
    "recognition.transcribe",
    "scope.traces",
    "scope.tracing",
)


def documented_shapes(docstring):
    """Axis names by parameter name, from lines such as ``x : np.ndarray, shape (n_mels, frames)``."""
    found = re.findall(r"^ *(\w[\w, ]*) : .*?shape[ =]\(([^)]*)\)", inspect.cleandoc(docstring), re.MULTILINE)
    return {
        name.strip(): [axis.strip() for axis in axes.split(",") if axis.strip()]
        for names, axes in found
        for name in names.split(",")
    }


def annotated_shapes(value):
    """Axis names by parameter name, from jaxtyping annotations."""
    shapes = {}
    for name, annotation in inspect.get_annotations(value).items():
        for option in typing.get_args(annotation) or (annotation,):
            if hasattr(option, "dim_str"):
                shapes[name] = option.dim_str.split()
    return shapes


def shaped_functions():
    for name in SHAPED_MODULES:
        module = importlib.import_module(f"asrscope.{name}")
        for public in module.__all__:
            value = getattr(module, public)
            if getattr(value, "__module__", None) != module.__name__:
                continue
            members = [value]
            if inspect.isclass(value):
                members += [member for key, member in vars(value).items() if not key.startswith("_")]
            for member in filter(callable, members):
                function = inspect.unwrap(member)
                if function.__doc__ and annotated_shapes(function):
                    yield function


def test_docstrings_and_annotations_name_the_same_axes():
    compared = 0
    for function in shaped_functions():
        documented = documented_shapes(function.__doc__)
        for name, axes in annotated_shapes(function).items():
            if name not in documented:
                continue
            assert len(documented[name]) == len(axes), (function, name)
            for said, written in zip(documented[name], axes, strict=True):
                if said.isidentifier() and written.isidentifier() and written != "_":
                    assert said == written, (function, name)
            compared += 1
    assert compared > 25
