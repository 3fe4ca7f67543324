import subprocess
import sys

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
        "Segment",
        "Stage",
        "Token",
        "Trace",
        "Transcript",
        "Word",
        "__version__",
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
    import asrscope.traces
    import asrscope.tracing

    assert asrscope.trace is asrscope.tracing.trace


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


@pytest.mark.parametrize("name", ["load_audio", "Trace", "load_samples", "log_mel"])
def test_what_needs_no_torch_imports_none(name):
    code = f"import sys, asrscope; asrscope.{name}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
