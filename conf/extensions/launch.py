"""Links that run a gallery page in the reader's browser, where the site knows of a repository.

Colab and Binder take notebooks from a branch on GitHub. ``launch_repository`` names the repository, and its
branch ``launch_branch`` is to hold the built site. Then every page that has a notebook gets two links, and
the site holds what they need: the notebooks in ``notebooks``, and in ``binder`` what Binder installs. Without
a repository there are no links.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.errors import ConfigError

REPOSITORY = re.compile(r"https://github\.com/(?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?")
NOTEBOOKS, BINDER = "notebooks", "binder"  # folders of the site

LINKS = """

.. container:: sphx-glr-download launch

   Without installing anything: `open in Colab <{colab}>`__ or `in Binder <{binder}>`__
"""


def repository(address: str) -> str:
    """Return owner and name of a repository on GitHub.

    Parameters
    ----------
    address : str
        Such as ``https://github.com/owner/name``.

    Returns
    -------
    str
        ``owner/name``.

    Raises
    ------
    ConfigError
        If it is not the address of a repository on GitHub.
    """
    match = REPOSITORY.fullmatch(address)
    if match is None:
        raise ConfigError(
            f"launch_repository must be an address like https://github.com/owner/name, but found {address!r}."
            " Colab and Binder open notebooks from there; leave it empty for pages without these links."
        )
    return match["name"]


def notebook_of(srcdir: Path, docname: str) -> Path | None:
    """Return the notebook of a page, or None."""
    path = srcdir / f"{docname}.ipynb"
    return path if path.is_file() else None


def add_links(app: Any, docname: str, content: list[str]) -> None:
    """Add the links at the end of a page that has a notebook, below its downloads."""
    if not app.config.launch_repository:
        return
    notebook = notebook_of(Path(app.srcdir), docname)
    if notebook is not None:
        name, branch = repository(app.config.launch_repository), app.config.launch_branch
        path = f"{NOTEBOOKS}/{notebook.name}"
        content[0] += LINKS.format(
            colab=f"https://colab.research.google.com/github/{name}/blob/{branch}/{path}",
            binder=f"https://mybinder.org/v2/gh/{name}/{branch}?urlpath=lab/tree/{path}",
        )


def copy_notebooks(app: Any, error: Exception | None) -> None:
    """Put what the links need into the site."""
    if error or app.builder.format != "html" or not app.config.launch_repository:
        return
    for folder in (Path(app.outdir) / NOTEBOOKS, Path(app.outdir) / BINDER):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for docname in sorted(app.env.found_docs):
        notebook = notebook_of(Path(app.srcdir), docname)
        if notebook is not None:
            shutil.copyfile(notebook, Path(app.outdir) / NOTEBOOKS / notebook.name)
    for name, lines in app.config.launch_binder.items():
        text = "".join(f"{line}\n" for line in lines)
        (Path(app.outdir) / BINDER / name).write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Register the configuration values and what acts on them."""
    app.add_config_value("launch_repository", "", "env", str)
    app.add_config_value("launch_branch", "gh-pages", "env", str)
    app.add_config_value("launch_binder", {}, "html", dict)  # file name -> lines
    app.connect(
        "config-inited",
        lambda _app, config: config.launch_repository and repository(config.launch_repository),
    )
    app.connect("source-read", add_links)
    app.connect("build-finished", copy_notebooks)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
