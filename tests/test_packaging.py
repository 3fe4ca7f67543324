"""What is given away: the code, the weights, and nothing else; and it works far from the repository."""

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "asrscope/data/checkpoints/tiny/model.safetensors"
LARGEST = 40e6  # bytes: what PyPI's users, and PyPI, still take without asking


def tracked(folder: str) -> set[str]:
    """Return the files under a folder that the repository keeps, relative to the folder."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", folder],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    return {Path(name).relative_to(folder).as_posix() for name in names if name and (ROOT / name).is_file()}


def build(target: str, folder: Path) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build("sdist", tmp_path_factory.mktemp("sdist"))


def test_the_wheel_holds_the_package_and_its_weights_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        weights = archive.read(WEIGHTS)
    assert hashlib.sha256(weights).digest() == hashlib.sha256((ROOT / "src" / WEIGHTS).read_bytes()).digest()
    code = {name for name in names if ".dist-info/" not in name}
    assert code == tracked("src")
    about = {name.partition(".dist-info/")[2] for name in names} - {""}
    assert about == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert wheel.stat().st_size < LARGEST


def test_the_source_distribution_holds_what_builds_tests_and_documents_the_package(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("src", "tests", "docs", "gallery", "conf", "requirements")
    wanted = {f"{folder}/{name}" for folder in folders for name in tracked(folder)}
    files = {"noxfile.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "PKG-INFO", ".gitignore"}
    assert names == wanted | files
    assert sdist.stat().st_size < LARGEST


def test_a_package_is_the_same_bytes_each_time(wheel, tmp_path):
    assert build("wheel", tmp_path).read_bytes() == wheel.read_bytes()


def test_an_unpacked_wheel_transcribes_a_clip_far_from_the_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    code = (
        "import asrscope, sys; print(asrscope.__file__)\n"
        "sys.argv = ['asrscope', 'transcribe', 'captain']\n"
        "from asrscope.cli import main; main()"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "elsewhere",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    place, _, heard = finished.stdout.partition("\n")
    assert Path(place).is_relative_to(tmp_path)
    assert "captain" in heard
