"""What is written about the repository is true of it."""

import re
import runpy
import sys
import tomllib
from pathlib import Path
from unittest.mock import MagicMock
from urllib.error import URLError

import pytest

ROOT = Path(__file__).parents[1]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def readme_tree():
    """Paths named in the README's tree, with whether they stand in the package."""
    tree = re.search(r"^```\n(src/.*?)^```", read("README.md"), re.DOTALL | re.MULTILINE)[1]
    for line in tree.splitlines():
        inside = line.startswith("  ")
        names = re.split(r"\s{2,}", line.strip())
        # The last column is the comment; up to two names stand before it.
        for name in " ".join(names[:-1]).split():
            yield (f"src/asrscope/{name}" if inside else name).rstrip("/")


def test_every_path_in_the_readme_tree_exists():
    missing = [path for path in readme_tree() if not (ROOT / path).exists()]
    assert missing == []


def test_every_module_stands_in_the_readme_tree():
    package = ROOT / "src" / "asrscope"
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in package.iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
    }
    assert modules - set(readme_tree()) == set()


@pytest.mark.parametrize("name", ["ruff", "codespell", "import-linter", "numpydoc"])
def test_pre_commit_uses_the_pinned_versions(name):
    pinned = dict(
        line.split("==") for line in read("requirements/constraints.txt").splitlines() if "==" in line
    )
    used = set(re.findall(rf"\[{name}==([^\]]+)\]", read(".pre-commit-config.yaml")))
    assert used == {pinned[name]}


def test_everything_that_sessions_install_is_pinned():
    project = tomllib.loads(read("pyproject.toml"))
    wanted = list(project["project"]["dependencies"])
    for group in project["dependency-groups"].values():
        wanted += group
    names = {normal(re.split(r"[<>=]", requirement)[0]) for requirement in wanted}
    pinned = {normal(line.split("==")[0]) for line in read("requirements/constraints.txt").splitlines()}
    assert names - pinned == set()


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_checks_of_continuous_integration_are_the_sessions():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    ran = re.search(r"nox -s (.+)", script.read_text(encoding="utf-8"))[1].split()
    defined = re.findall(r"@nox\.session.*\ndef (\w+)", read("noxfile.py"))
    assert set(ran) == {"lint", "types", "tests", "docs", "site"} <= set(defined)
    assert "train" in defined


@pytest.fixture
def chores(monkeypatch):
    """What noxfile.py defines, without nox."""
    monkeypatch.setitem(sys.modules, "nox", MagicMock())
    return runpy.run_path(str(ROOT / "noxfile.py"))


@pytest.mark.parametrize(
    ("named", "platform", "reachable", "options"),
    [
        pytest.param("", "linux", True, "--extra-index-url", id="nothing is named"),
        pytest.param("global.timeout='60'\n", "linux", True, "--extra-index-url", id="something else is"),
        pytest.param("global.index-url='https://mirror'\n", "linux", True, None, id="a mirror"),
        pytest.param(":env:.extra-index-url='https://cu130'\n", "linux", True, None, id="another build"),
        pytest.param("install.find-links='/wheels'\n", "linux", True, None, id="a folder of wheels"),
        pytest.param("", "linux", False, None, id="out of reach"),
        pytest.param("", "darwin", True, None, id="a system with one build"),
    ],
)
def test_the_sessions_take_the_small_build_of_torch_where_nothing_else_is_named(  # noqa: PLR0917
    chores, monkeypatch, named, platform, reachable, options
):
    def urlopen(address, timeout):
        if not reachable:
            raise URLError("no route")
        assert (address, timeout) == ("https://download.pytorch.org/whl/cpu/torch/", 5)
        return MagicMock()

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    monkeypatch.setattr(sys, "platform", platform)
    session = MagicMock()
    session.run.return_value = named
    found = chores["small_torch"](session)
    assert found == ((options, chores["CPU_BUILDS"]) if options else ())
    assert session.warn.called == (not reachable)  # several gigabytes are said before they come
