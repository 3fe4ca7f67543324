"""Chores of the project: ``nox -s docs``, ``tests``, ``lint``, ``types``, ``train``.

Every session has an environment of its own under ``.nox``, which is kept and brought up to date. They are
made with pip: uv resolves torch to its CUDA build unless told otherwise.
"""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"  # the first with dependency groups
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "docs"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
CONSTRAINTS = "requirements/constraints.txt"
TORCH = "torch==2.13.0"  # raised by hand: a version whose CPU build the index in use offers
SITE = Path("build/site")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Threads that spin while they wait slow each other down on a machine with few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def install(session: nox.Session, *groups: str) -> None:
    """Install the package and what some groups of dependencies name, in the versions of the constraints."""
    # torch by itself and first: an index or a folder of wheels given to pip may offer the small CPU build.
    session.install("--constraint", CONSTRAINTS, TORCH)
    dependencies = nox.project.dependency_groups(PYPROJECT, *groups)
    session.install("--constraint", CONSTRAINTS, "--editable", ".", *dependencies)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/site and open its pages; with "-- --serve", show it on port 8000 then."""
    install(session, "docs", "test")
    serve = "--serve" in session.posargs
    options = [argument for argument in session.posargs if argument != "--serve"]
    session.run(
        *("sphinx-build", "-n", "-W", "--keep-going", "-b", "html"),
        *("-c", "conf", "-d", "build/doctrees", *options, "docs", str(SITE)),
    )
    # Every page in a browser, where there is one: figures drawn, no request to other hosts, no broken link.
    session.run("pytest", "tests/site", env={"ASRSCOPE_SITE": str(SITE)})
    if serve:
        session.run("python", "-m", "http.server", "--directory", str(SITE), "8000")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments after "--" go to pytest."""
    install(session, "docs", "test")  # some tests build a small site
    wanted = os.environ.get("ASRSCOPE_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if wanted is None:
        # Where this fails too, the browser's tests are left out, and pytest says so; with CI=true they fail.
        session.run("playwright", "install", "chromium", success_codes=range(256))
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling, docstrings and the direction of imports."""
    session.install("--constraint", CONSTRAINTS, *nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    # Nothing is imported here, so torch is not needed.
    session.run("lint-imports", env={"PYTHONPATH": "src"})
    session.run("numpydoc", "lint", *map(str, sorted(Path("src").rglob("*.py"))))


@nox.session
def types(session: nox.Session) -> None:
    """Check the types."""
    install(session, "types")
    session.run("mypy", *session.posargs)


@nox.session(default=False)
def train(session: nox.Session) -> None:
    """Train the bundled model: "-- data", "-- encoder", "-- decoder", "-- projector" or "-- all"."""
    install(session)
    session.run("asrscope", "train", *(session.posargs or ["--help"]))


@nox.session(default=False, reuse_venv=False)
def constraints(session: nox.Session) -> None:
    """Write the newest versions that work together into requirements/constraints.txt."""
    groups = list(PYPROJECT["dependency-groups"])
    session.install(TORCH)
    session.install("--editable", ".", TORCH, "nox", *nox.project.dependency_groups(PYPROJECT, *groups))
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)
    # "2.13.0+cpu" is found on some indexes only; "2.13.0" accepts it. CUDA's libraries come with torch.
    lines = [line.split("+")[0].split(" @ ")[0] for line in str(frozen).splitlines() if "==" in line]
    lines = [line for line in lines if not line.startswith(("nvidia-", "cuda-", "triton"))]
    head = "# Versions that the sessions of noxfile.py install. Written by: nox -s constraints\n"
    Path(CONSTRAINTS).write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
