"""See what works on this machine, what is missing, and which command mends it.

Nothing heavy is imported before it is looked at, so that the report comes even where a package is broken.
"""

import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version

__all__ = ["Finding", "examine"]

HUB = "https://huggingface.co"
HUB_SECONDS = 3.0  # to wait for an answer
CPU_TORCH = "python -m pip install torch --index-url https://download.pytorch.org/whl/cpu"
REINSTALL = "python -m pip install --force-reinstall"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether it works.
    needed : bool
        Whether the main job, a transcript by the bundled model, depends on it.
    found : str
        What was found, in a few words.
    remedy : str
        The command that mends it, or what to do; empty where nothing is to be mended.
    """

    name: str
    ok: bool
    needed: bool
    found: str
    remedy: str = ""


def examine(*, hub: bool = True) -> tuple[Finding, ...]:
    """Look at everything, in the order in which a user would mend it.

    The Hub is asked for an answer, if at all, and nothing is downloaded.
    """
    needed = [_packages, _torch, _sound, _model]
    findings = []
    for look in [*needed, *([_hub] if hub else [])]:
        try:
            found, remedy = look()
        except Exception as error:  # a broken installation raises anything: that is what is to be told
            found, remedy = f"{type(error).__name__}: {' '.join(str(error).split())}", _reinstall(error)
        findings.append(Finding(look.__name__[1:], not remedy, look in needed, found, remedy))
    return tuple(findings)


# Each look says what it found, and the remedy if that is not well. ------------------------------------------


def _packages() -> tuple[str, str]:
    """Look for every package that this one depends on; extras are optional and left out."""
    names = [re.match(r"[\w.-]*", need)[0] for need in requires("asrscope") or [] if "extra ==" not in need]  # type: ignore[index]
    if missing := [name for name in names if not _installed(name)]:
        return f"missing: {', '.join(missing)}", f"python -m pip install {' '.join(missing)}"
    python = f"Python {platform.python_version()} in {sys.prefix}"
    return f"asrscope {version('asrscope')}, all {len(names)} that it needs, {python}", ""


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _torch() -> tuple[str, str]:
    torch = import_module("torch")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    if torch.version.cuda:
        build += ", a GPU is there" if torch.cuda.is_available() else ", no GPU: the CPU build is smaller"
    float(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum())  # a broken build often fails here, not at import
    return f"{torch.__version__}, {build}, threads: {torch.get_num_threads()}", ""


def _sound() -> tuple[str, str]:
    """Decode a shipped clip and change its rate: both libraries are needed."""
    audio, samples = import_module("asrscope.audio"), import_module("asrscope.audio.samples")
    soundfile = import_module("soundfile")
    sample = samples.load_samples()[0]
    waveform, expected = audio.load_audio(sample.path), soundfile.info(sample.path).frames
    found = f"libsndfile {soundfile.__libsndfile_version__}, soxr {version('soxr')}: the clip {sample.name} "
    if len(waveform) != expected:
        return f"{found}has {expected} samples, but {len(waveform)} were read", f"{REINSTALL} soundfile soxr"
    audio.check_waveform(waveform, audio.SAMPLE_RATE // 2)  # as if at another rate: soxr has to work
    return f"{found}was decoded", ""


def _model() -> tuple[str, str]:
    """Load the bundled model and let it write what is said in a shipped clip."""
    loading = import_module("asrscope.loading")
    transcribe = import_module("asrscope.recognition.transcribe")
    sample = import_module("asrscope.audio.samples").load_samples()[0]
    text = transcribe.transcribe(*loading.load("tiny"), sample.path).text
    found, said = f"tiny wrote: {text or 'nothing'}", set(sample.text.split())
    if len(said & set(text.split())) * 2 < len(said):  # a word or two may be wrong; most may not
        return f"{found}; said was: {sample.text}", f"{REINSTALL} --no-deps asrscope"
    return found, ""


def _hub() -> tuple[str, str]:
    """Ask the Hub for a header, as little as can be asked."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "TRUE", "YES"}:
        return "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"
    address = os.environ.get("HF_ENDPOINT") or HUB
    try:
        with urlopen(Request(address, method="HEAD"), timeout=HUB_SECONDS):
            pass
    except HTTPError:
        pass  # it answered, and that was the question
    except (OSError, ValueError) as error:
        told = f"{address} cannot be reached ({getattr(error, 'reason', error)}); only other models need it"
        return told, "check the network and the variables HTTPS_PROXY, HF_ENDPOINT"
    return f"{address} answers", ""


def _reinstall(error: Exception) -> str:
    """Name the command that mends an error of an import, or reinstalls everything."""
    missing = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ImportError) and missing and missing != "asrscope":
        return CPU_TORCH if missing == "torch" else f"{REINSTALL} {missing}"
    return f"{REINSTALL} asrscope"
