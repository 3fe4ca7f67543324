"""See what works on this machine, what is missing, and which command mends it.

Nothing heavy is imported before it is looked at, so that the report comes even where a package is broken.
"""

import os
import platform
import re
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

__all__ = ["Finding", "examine", "works"]

GB = 1e9
LEAST_DISK = 1 * GB  # below it, results and caches have no room
LEAST_MEMORY = 1 * GB  # below it, torch and the bundled model have none
FULL_KINDS = (  # bits of the decoder's weights, in words, and how to ask for it
    (None, "bfloat16", ""),
    (8, "int8", ", with --quantize int8"),
    (4, "int4", ", with --quantize int4"),
)
HUB = "https://huggingface.co"
HUB_SECONDS = 3.0  # to wait for an answer
CPU_TORCH = "python -m pip install torch --index-url https://download.pytorch.org/whl/cpu"
NEEDS_NAMES = re.compile(r"^[\w.-]+")


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

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as plain Python objects."""
        return asdict(self)


def examine(*, hub: bool = True) -> tuple[Finding, ...]:
    """Look at everything, in the order in which a user would mend it.

    Parameters
    ----------
    hub : bool
        Whether to ask the Hugging Face Hub for an answer. Nothing is downloaded in any case.

    Returns
    -------
    tuple of Finding
        Each look once; what raises an error is a finding too.
    """
    looks: list[tuple[str, bool, Callable[[], Finding]]] = [
        ("Python", True, _python),
        ("packages", True, _packages),
        ("torch", True, _torch),
        ("sound", True, _sound),
        ("model", True, _model),
        ("memory", False, _memory),
        ("full", False, _full),
        ("disk", False, _disk),
        ("espeak-ng", False, lambda: _synthesizer("espeak-ng")),
        ("flite", False, lambda: _synthesizer("flite")),
    ]
    if hub:
        looks.append(("Hub", False, _hub))
    findings = []
    for name, needed, look in looks:
        try:
            findings.append(look())
        except Exception as error:  # a broken installation raises anything: that is what is to be told
            told = f"{type(error).__name__}: {' '.join(str(error).split())}"
            findings.append(Finding(name, False, needed, told, _reinstall(error)))
    return tuple(findings)


def works(findings: tuple[Finding, ...]) -> bool:
    """Tell whether the main job can be done: a transcript by the bundled model.

    Parameters
    ----------
    findings : tuple of Finding
        What `examine` gives.

    Returns
    -------
    bool
        True if everything that is needed works.
    """
    return all(finding.ok for finding in findings if finding.needed)


def _python() -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}"
    try:
        wanted = metadata("asrscope")["Requires-Python"] or ""
    except PackageNotFoundError:
        wanted = ""
    least = tuple(int(part) for part in re.findall(r"\d+", wanted)[:2])
    ok = sys.version_info[:2] >= least
    remedy = "" if ok else f"install Python {wanted}, then: python -m pip install asrscope"
    return Finding("Python", ok, True, found if ok else f"{found}; {wanted} is needed", remedy)


def _packages() -> Finding:
    """Look for every package that this one depends on; extras are optional and left out."""
    try:
        needs = [need for need in requires("asrscope") or [] if "extra ==" not in need]
    except PackageNotFoundError:
        told = "asrscope itself is not installed, only found on the path"
        return Finding("packages", False, False, told, "python -m pip install -e . # in its folder")
    names = [match[0] for match in map(NEEDS_NAMES.match, needs) if match]
    missing = [name for name in names if not _installed(name)]
    if missing:
        remedy = f"python -m pip install {' '.join(missing)}"
        return Finding("packages", False, True, f"missing: {', '.join(missing)}", remedy)
    return Finding("packages", True, True, f"asrscope {version('asrscope')}, all {len(names)} that it needs")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _torch() -> Finding:
    torch = import_module("torch")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    if torch.version.cuda:
        build += ", a GPU is there" if torch.cuda.is_available() else ", no GPU: the CPU build is smaller"
    threads = torch.get_num_threads()
    float(torch.ones(8, 8).matmul(torch.ones(8, 8)).sum())  # a broken build often fails here, not at import
    return Finding(
        "torch", True, True, f"{torch.__version__}, {build}, {threads} thread{'s' if threads > 1 else ''}"
    )


def _sound() -> Finding:
    """Decode a shipped clip and change its rate: both libraries are needed."""
    audio, samples = import_module("asrscope.audio"), import_module("asrscope.audio.samples")
    soundfile = import_module("soundfile")
    sample = samples.load_samples()[0]
    waveform = audio.load_audio(sample.path)
    expected = soundfile.info(sample.path).frames
    found = f"libsndfile {soundfile.__libsndfile_version__}, soxr {version('soxr')}"
    if len(waveform) != expected:
        told = f"{found}: the clip {sample.name} has {expected} samples, but {len(waveform)} were read"
        return Finding("sound", False, True, told, "python -m pip install --force-reinstall soundfile soxr")
    audio.check_waveform(waveform, audio.SAMPLE_RATE // 2)  # as if at another rate: soxr has to work
    return Finding("sound", True, True, f"{found}: the clip {sample.name} was decoded")


def _model() -> Finding:
    """Load the bundled model and let it write what is said in the shipped clip."""
    presets, transcribing = (
        import_module("asrscope.loading.presets"),
        import_module("asrscope.recognition.transcribe"),
    )
    samples = import_module("asrscope.audio.samples")
    sample = samples.load_samples()[0]
    text = transcribing.transcribe(*presets.load("tiny"), sample.path).text
    common = set(text.split()) & set(sample.text.split())
    found = f"tiny wrote: {text}" if text else "tiny wrote nothing"
    if len(common) * 2 < len(set(sample.text.split())):  # a word or two may be wrong; most may not
        remedy = "python -m pip install --force-reinstall --no-deps asrscope"
        return Finding("model", False, True, f"{found}; said was: {sample.text}", remedy)
    return Finding("model", True, True, found)


def _memory() -> Finding:
    """Look at the machine's memory, where the system tells of it."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return Finding("memory", True, False, "this system does not tell")
    try:
        free = page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):  # macOS does not tell what is free
        free = total
    try:  # Linux counts caches as used; what can be had at once stands here
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        pass
    found = f"{free / GB:.1f} GB free of {total / GB:.1f}"
    ok = free >= LEAST_MEMORY
    return Finding("memory", ok, False, found, "" if ok else "close other programs")


def _full() -> Finding:
    """Say whether the large pair has room here, computed from its configuration; nothing of it is loaded."""
    room, sizes = import_module("asrscope.loading.room"), import_module("asrscope.loading.sizes")
    torch, pair = import_module("torch"), sizes.full_pair()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    for bits, kind, option in FULL_KINDS:
        need, free = room.estimate(pair, decoder_bits=bits).total, room.free_bytes(device)
        if free is None or free >= need:
            found = f"room for the large pair in {kind}: {need / GB:.1f} GB on {device}"
            return Finding("full", True, False, found + option)
    told = (
        f"no room for the large pair: {need / GB:.1f} GB on {device} even in {kind}, {free / GB:.1f} are free"
    )
    return Finding("full", False, False, told, "close other programs, or take a larger machine; tiny works")


def _disk() -> Finding:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    ok = free >= LEAST_DISK
    remedy = "" if ok else "free some space, or give training another folder with --cache"
    return Finding("disk", ok, False, f"{free / GB:.1f} GB free for caches in {place}", remedy)


def _synthesizer(name: str) -> Finding:
    path = shutil.which(name)
    if path:
        return Finding(name, True, False, path)
    return Finding(name, False, False, "not found; only training needs it", _system_install(name))


def _hub() -> Finding:
    """Ask the Hub for a header, as little as can be asked."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "TRUE", "YES"}:
        return Finding("Hub", False, False, "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE")
    address = os.environ.get("HF_ENDPOINT") or HUB
    try:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_SECONDS):
            pass
    except urllib.error.HTTPError:
        pass  # it answered, and that was the question
    except (OSError, ValueError) as error:
        told = f"{address} cannot be reached ({getattr(error, 'reason', error)}); only other models need it"
        return Finding(
            "Hub", False, False, told, "check the network and the variables HTTPS_PROXY, HF_ENDPOINT"
        )
    return Finding("Hub", True, False, f"{address} answers")


def _reinstall(error: Exception) -> str:
    """Name the command that mends an error of an import, or reinstalls everything."""
    missing = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ImportError) and missing and missing != "asrscope":
        return CPU_TORCH if missing == "torch" else f"python -m pip install --force-reinstall {missing}"
    return "python -m pip install --force-reinstall asrscope"


def _system_install(name: str) -> str:
    """Name the command that installs a program on this system."""
    managers = {
        "apt-get": f"sudo apt-get install {name}",
        "dnf": f"sudo dnf install {name}",
        "pacman": f"sudo pacman -S {name}",
        "brew": f"brew install {name}",
    }
    return next(
        (command for manager, command in managers.items() if shutil.which(manager)), f"install {name}"
    )
