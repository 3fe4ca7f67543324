"""The lists of versions and hashes are in step with what the package and its chores ask for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = PROJECT["dependency-groups"]
PACKAGE = PROJECT["project"]["dependencies"]
# By list: what it has to hold. Torch comes by itself, from the index that the user chose.
WANTED = {
    "site": [*PACKAGE, *GROUPS["docs"], *GROUPS["test"], *GROUPS["packages"]],
    "types": [*PACKAGE, *GROUPS["types"], *GROUPS["packages"]],
    "lint": GROUPS["lint"],
    "firefox": GROUPS["firefox"],
}
SYSTEMS = [
    {"sys_platform": platform, "platform_system": system, "os_name": os_name, "platform_machine": machine}
    for platform, system, os_name, machine in [
        ("linux", "Linux", "posix", "x86_64"),
        ("darwin", "Darwin", "posix", "arm64"),
        ("win32", "Windows", "nt", "AMD64"),
    ]
]


def entries(name: str) -> list[tuple[Requirement, str]]:
    """Return what a list pins, with the lines of hashes of each."""
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", text.partition("\n")[2].strip())
    return [(Requirement(block.partition("\\")[0]), block) for block in blocks]


def constrained() -> dict[str, str]:
    lines = (REQUIREMENTS / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("name", WANTED)
def test_every_entry_is_one_version_with_hashes(name):
    for requirement, block in entries(name):
        assert len(requirement.specifier) == 1
        assert next(iter(requirement.specifier)).operator == "=="
        assert re.findall(r"--hash=sha256:([0-9a-f]{64})\b", block), requirement.name


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system["platform_system"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("name", WANTED)
def test_a_list_holds_what_is_asked_for_on_every_system(name, python, system):
    if name == "firefox" and system["sys_platform"] != "linux":
        return  # its driver is installed on Linux only
    environment = {
        **default_environment(), **system, "python_version": python, "python_full_version": f"{python}.9"
    }  # fmt: skip
    pinned = {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement, _ in entries(name)
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }
    for requirement in map(Requirement, WANTED[name]):
        if requirement.name == "torch":
            continue
        key = canonicalize_name(requirement.name)
        assert key in pinned, f"{requirement.name} is not in requirements/{name}.txt: run nox -s locks"
        assert requirement.specifier.contains(pinned[key], prereleases=True)


@pytest.mark.parametrize("name", WANTED)
def test_lists_and_constraints_name_the_same_versions(name):
    environment = {
        **default_environment(),
        **SYSTEMS[0],
        "python_version": "3.11",
        "python_full_version": "3.11.9",
    }
    constraints = constrained()
    for requirement, _ in entries(name):
        key = canonicalize_name(requirement.name)
        if key in constraints and (requirement.marker is None or requirement.marker.evaluate(environment)):
            assert requirement.specifier.contains(constraints[key], prereleases=True), requirement


def test_torch_and_its_cuda_libraries_are_in_no_list_and_its_version_is_constrained():
    names = {requirement.name for name in WANTED for requirement, _ in entries(name)}
    assert not {name for name in names if name == "torch" or name.startswith(("nvidia-", "cuda-", "triton"))}
    version = re.search(
        r'^TORCH = "torch==([\d.]+)"', (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.M
    )
    assert constrained()["torch"] == version[1]
