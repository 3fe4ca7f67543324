"""Chores: ``nox -s docs``, ``live``, ``tests``, ``site``, ``lint``, ``types``, ``audit``, ``train``...

Every session has an environment of its own under ``.nox``, which is kept and brought up to date. They are
made with pip: uv resolves torch to its CUDA build unless told otherwise.
"""

import os
import re
import shutil
import sys
import time
import urllib.request
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"  # the first with dependency groups
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests", "docs", "site"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
CONSTRAINTS = "requirements/constraints.txt"
TORCH = "torch==2.13.0"  # raised by hand: a version whose CPU build the index in use offers
# What "uv pip compile" is asked for each list of versions and hashes: the sources and the systems.
LOCKS = {
    "site": ("pyproject.toml", "--group", "docs", "--group", "test", "--group", "packages", "--universal"),
    "types": ("pyproject.toml", "--group", "types", "--group", "packages", "--universal"),
    "lint": ("--group", "lint", "--universal"),
    "firefox": ("--group", "firefox", "--python-platform", "linux"),
}
OLDEST = "3.11.5"  # the first Python for which all of them can be had
WITH_TORCH = ("torch==", "nvidia-", "cuda-", "triton")  # what its build for CUDA brings along
SITE = Path("build/site")
DOCTREES = Path("build/doctrees")
GALLERY = Path("docs/gallery")  # what the scripts printed and drew, kept from build to build
DIST = Path("build/dist")
DISTRIBUTIONS = (".", "conf/bokeh_gallery")
AUDIT = Path("build/audit")
ZIG = "ziglang==0.17.1"  # the C compiler of the live page's kernel; another version gives other bytes
NODE = ("lighthouse@12.8.2", "vnu-jar@26.9.27")  # what the audit asks of npm
SPHINX = ("sphinx-build", "-n", "-W", "--keep-going", "-b", "html", "-c", "conf")
# In as many processes as there are cores; whoever is done first takes over tests of the others.
PYTEST = ("pytest", "-n", "auto", "--dist", "worksteal")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"  # where PyTorch's build for Linux is small

# Threads that spin while they wait slow each other down on a machine with few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def install(session: nox.Session, lock: str) -> None:
    """Install what a file of `LOCKS` lists, each download by its hash, torch and the package."""
    session.install("--no-deps", "--require-hashes", "--requirement", f"requirements/{lock}.txt")
    if lock == "lint":  # nothing is imported there
        return
    # By version alone: which build of torch it is, and so its hash, is up to the index, PyPI or PyTorch's.
    session.install("--constraint", CONSTRAINTS, *small_torch(session), TORCH)
    session.install("--no-deps", "--no-build-isolation", *(f"--editable={place}" for place in DISTRIBUTIONS))
    if lock == "site":  # the listener and the writer of the model "small"
        session.install("--no-deps", "--require-hashes", "--requirement", "requirements/specialists.txt")


def install_firefox(session: nox.Session) -> None:
    """Install what drives a Firefox, where it can."""
    if sys.platform == "linux":
        session.install("--no-deps", "--require-hashes", "--requirement", "requirements/firefox.txt")


def small_torch(session: nox.Session) -> tuple[str, ...]:
    """Return pip's option for the index of CPU builds, unless pip is told of one or cannot reach it."""
    named = str(session.run("python", "-m", "pip", "config", "list", silent=True, log=False))
    if sys.platform != "linux" or re.search(r"\.((extra-)?index-url|find-links|no-index)=", named):
        return ()
    try:
        urllib.request.urlopen(f"{CPU_BUILDS}/torch/", timeout=5).close()
    except OSError as error:
        session.warn(
            f"{CPU_BUILDS} is out of reach ({error}): torch is the usual build, of several gigabytes."
        )
        return ()
    session.log(f"torch is the CPU build of {CPU_BUILDS}; set PIP_EXTRA_INDEX_URL for another one.")
    return ("--extra-index-url", CPU_BUILDS)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into build/site; with "-- --serve", show it on port 8000 then."""
    install(session, "site")
    serve = "--serve" in session.posargs
    options = [argument for argument in session.posargs if argument != "--serve"]
    session.run(*SPHINX, "-d", str(DOCTREES), *options, "docs", str(SITE))
    session.log(f"The site stands: {(SITE / 'index.html').resolve().as_uri()}")
    if serve:
        session.run("python", "-m", "http.server", "--directory", str(SITE), "8000")


@nox.session(default=False)
def live(session: nox.Session) -> None:
    """Show the site on port 8000, and build and reload it whenever something is saved."""
    install(session, "site")
    watched = [f"--watch={folder}" for folder in ("conf", "gallery", "src")]
    # What the build itself writes beside the sources would set off the next one.
    written = (f"{GALLERY}/*", "docs/api/*.rst", "*/.sources.sha256", "*/__pycache__/*")
    ignored = [f"--ignore={pattern}" for pattern in written]
    # Without the policy, which would stop the script that reloads the page; and a warning ends nothing.
    options = ("-b", "html", "-c", "conf", "-D", "csp=0", "-d", "build/live/doctrees")
    session.run("sphinx-autobuild", *watched, *ignored, *options, *session.posargs, "docs", "build/live/site")


@nox.session(requires=["docs"], venv_backend="none")
def site(session: nox.Session) -> None:
    """Build the site, open all of its pages in two browsers, and run a notebook of each kind."""
    # In the environment that built it: one of its own would hold the same packages.
    environment = Path(session.create_tmp()).parents[1] / "docs"
    python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"

    def run(*command: str) -> None:
        session.run(str(python), "-m", *command, env={"ASRSCOPE_SITE": str(SITE)}, external=True)

    if sys.platform == "linux":
        run("pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", "requirements/firefox.txt")
    # Figures drawn, no request to other hosts, no broken link, no barrier.
    run(*PYTEST, "tests/site")


@nox.session(default=False)
def reproduce(session: nox.Session) -> None:
    """Build the site twice, from copies in two places, and list each file that differs."""
    install(session, "site")
    tracked = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    names = str(session.run(*tracked, external=True, silent=True)).split("\0")
    work = Path("build/reproduce").resolve()
    shutil.rmtree(work, ignore_errors=True)
    # What must not matter differs: the place, the hour of the day, the order of sets.
    surroundings = {
        "first": {"TZ": "UTC", "PYTHONHASHSEED": "1"},
        "in/another place": {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "2"},
    }
    for place, environment in surroundings.items():
        for name in filter(os.path.isfile, names):
            copy = work / place / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, copy)
        with session.chdir(work / place):
            # The package is taken from the copy, not from where it is installed.
            environment["PYTHONPATH"] = str(work / place / "src")
            session.run(*SPHINX, "-q", "-d", str(DOCTREES), "docs", str(SITE), env=environment)
    sites = [str(work / place / SITE) for place in surroundings]
    session.run("diff", "--recursive", *sites, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; arguments after "--" go to pytest: "-- -n 0 --pdb" runs them in one process."""
    install(session, "site")  # some tests build a small site
    install_firefox(session)
    wanted = os.environ.get("ASRSCOPE_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if wanted is None:
        # Where this fails too, the browser's tests are left out, and pytest says so; with CI=true they fail.
        session.run("playwright", "install", "chromium", success_codes=range(256))
    session.run(*PYTEST, *session.posargs)


@nox.session(default=False)
def packages(session: nox.Session) -> None:
    """Build wheels and source distributions, check them, and transcribe with the wheel alone."""
    install(session, "site")
    shutil.rmtree(DIST, ignore_errors=True)
    made = str(session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)).strip()
    # With the hour of the last commit in them, packages are the same bytes each time.
    environment = {"SOURCE_DATE_EPOCH": made}
    for place in DISTRIBUTIONS:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(DIST), place, env=environment)
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.iterdir())))
    # In the place of the editable package, somewhere else on the disk.
    session.install("--no-deps", "--force-reinstall", *map(str, DIST.glob("*.whl")))
    with session.chdir(session.create_tmp()):
        session.run("asrscope", "transcribe", "samples")
        session.run("asrscope", "doctor", success_codes=[0, 2])


@nox.session(default=False, reuse_venv=False)
def fresh(session: nox.Session) -> None:
    """Run tests, scripts and site with the newest version of everything, whatever the lists say."""
    groups = nox.project.dependency_groups(PYPROJECT, "docs", "test", "packages")
    editable = [f"--editable={place}" for place in DISTRIBUTIONS]
    session.install("--upgrade", *small_torch(session), *editable, *groups)
    session.run("python", "-m", "pip", "freeze")
    session.run(*PYTEST)
    session.run(*SPHINX, "-d", str(DOCTREES), "docs", str(SITE))
    session.run(*PYTEST, "tests/site", env={"ASRSCOPE_SITE": str(SITE)})


@nox.session(default=False)
def audit(session: nox.Session) -> None:
    """Run tests and builds, count, and write docs/audit.csv; "-- --counted" takes what .ci/run has left."""
    install(session, "site")
    install_firefox(session)
    counts = AUDIT / "counts"  # where .ci/run, too, has its tests count
    seconds = ""
    if "--counted" not in session.posargs:
        for made in (counts, SITE, DOCTREES, GALLERY):
            shutil.rmtree(made, ignore_errors=True)
        environment = {"ASRSCOPE_AUDIT": str(counts.resolve())}
        begun = time.monotonic()
        session.run(*SPHINX, "-d", str(DOCTREES), "docs", str(SITE))
        seconds = str(time.monotonic() - begun)
        session.run(*PYTEST, env=environment)
        session.run(*PYTEST, "tests/site", env={**environment, "ASRSCOPE_SITE": str(SITE)})
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(DIST))
    modules = AUDIT / "npm" / "node_modules"
    if shutil.which("npm"):
        node = (
            "npm",
            "install",
            "--no-save",
            "--ignore-scripts",
            "--no-audit",
            "--prefix",
            str(AUDIT / "npm"),
        )
        session.run(*node, *NODE, external=True)
    else:
        session.log("There is no npm: nobody asks Lighthouse and the Nu HTML checker.")
    places = (str(counts), str(SITE), str(DIST), "docs/audit.csv", str(modules) * bool(shutil.which("npm")))
    session.run("python", "tests/audit/collect.py", *places, seconds)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling, docstrings and the direction of imports."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    # Nothing is imported here, so torch is not needed.
    session.run("lint-imports", env={"PYTHONPATH": "src"})
    session.run("numpydoc", "lint", *map(str, sorted(Path("src").rglob("*.py"))))
    # What hosts the site and the checks, as far as that can be known without them.
    workflows = map(str, sorted(Path(".github/workflows").iterdir()))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("check-jsonschema", "--builtin-schema", "vendor.readthedocs", ".readthedocs.yaml")


@nox.session(default=False)
def kernel(session: nox.Session) -> None:
    """Build the live page's kernel, the same bytes each time; with "-- --check", only compare them."""
    session.install(ZIG)
    folder = Path("conf/static/live")
    made = Path(session.create_tmp()) / "kernel.wasm"
    options = ("-target", "wasm32-freestanding", "-msimd128", "-O3", "-nostdlib")
    linking = ("-Wl,--no-entry", "-Wl,--strip-all", "-Wl,--export=__heap_base")
    session.run(
        "python", "-m", "ziglang", "cc", *options, *linking, str(folder / "kernel.c"), "-o", str(made)
    )
    if "--check" not in session.posargs:
        shutil.copyfile(made, folder / "kernel.wasm")
    elif made.read_bytes() != (folder / "kernel.wasm").read_bytes():
        session.error("kernel.wasm is not what kernel.c gives: run nox -s kernel, and commit it.")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types."""
    install(session, "types")
    session.run("mypy", *session.posargs)


@nox.session(default=False)
def train(session: nox.Session) -> None:
    """Train the bundled model: "-- data", "-- encoder", "-- decoder", "-- projector" or "-- all"."""
    install(session, "types")
    session.run("asrscope-recipe", *(session.posargs or ["--help"]))


@nox.session(default=False, reuse_venv=False)
def constraints(session: nox.Session) -> None:
    """Write the newest versions that work together, and the hashes of their files, into requirements."""
    groups = list(PYPROJECT["dependency-groups"])
    session.install(*small_torch(session), TORCH)
    session.install("--editable", ".", TORCH, "nox", *nox.project.dependency_groups(PYPROJECT, *groups))
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)
    # "2.13.0+cpu" is found on some indexes only; "2.13.0" accepts it. CUDA's libraries come with torch.
    lines = [line.split("+")[0].split(" @ ")[0] for line in str(frozen).splitlines() if "==" in line]
    lines = [line for line in lines if not line.startswith(("nvidia-", "cuda-", "triton"))]
    head = "# Versions that the sessions of noxfile.py install. Written by: nox -s constraints\n"
    Path(CONSTRAINTS).write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    locks(session)


@nox.session(default=False)
def locks(session: nox.Session) -> None:
    """Write requirements/*.txt: the versions of the constraints, with the hashes of their files on PyPI."""
    session.install("--constraint", CONSTRAINTS, "uv")
    compiler = ("uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate")
    versions = ("--python-version", OLDEST, "--constraint", CONSTRAINTS)
    # Hashes are PyPI's own: no other index, and no folder of wheels, that pip may know of.
    index = ("--no-config", "--default-index", "https://pypi.org/simple")
    for name, sources in LOCKS.items():
        text = str(session.run(*compiler, *versions, *index, *sources, silent=True))
        entries = re.split(r"\n(?=\S)", text.strip())
        kept = [entry for entry in entries if not entry.startswith(WITH_TORCH)]
        head = "# Versions and the hashes of their files, without torch. Written by: nox -s locks\n"
        Path(f"requirements/{name}.txt").write_text(head + "\n".join(kept) + "\n", encoding="utf-8")
