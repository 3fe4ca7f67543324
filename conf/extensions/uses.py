"""Where the gallery uses the package: on the API pages, and behind the names in the gallery's code.

sphinx-gallery writes down which script names what. A page that documents modules gets a section made of that:
cards where few scripts use the modules, otherwise a list by function. And the short names that the package
lends out, such as ``asrscope.load``, lead to the place where they are documented.
"""

import hashlib
import importlib
import json
import re
from pathlib import Path
from typing import Any

from sphinx.domains.python import ObjectEntry

AUTOMODULE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)
CARDS = 4  # more pages than that are listed by function
EVERYWHERE = 0.6  # a function that this share of the pages uses has no list of its own

# For each name in the code of scripts, the scripts that use it.
Uses = dict[str, list[str]]


def load_uses(app: Any) -> Uses:
    """Read what sphinx-gallery wrote: names as in ``asrscope.plots.show``, scripts by their stems."""
    conf = app.config.sphinx_gallery_conf
    path = Path(app.srcdir, conf["backreferences_dir"], "backreferences_all.json")
    if not path.is_file():
        return {}
    entries = json.loads(path.read_text(encoding="utf-8"))
    return {name: sorted({Path(entry[0]).stem for entry in found}) for name, found in entries.items()}


def uses_of(module_name: str, uses: Uses, package: str) -> dict[str, list[str]]:
    """Return which scripts use the public names of a module.

    A function counts where it is named. A class counts where one of its methods or attributes
    is named: that an instance is handed on says little.

    Parameters
    ----------
    module_name : str
        Such as ``asrscope.plots``.
    uses : dict
        What `load_uses` gives.
    package : str
        Such as ``asrscope``: the same object may be named through the package.

    Returns
    -------
    dict of str to list of str
        For each used name, without its module, the stems of scripts.
    """
    module = importlib.import_module(module_name)
    found = {}
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if not callable(value):
            continue  # a constant has no entry of its own to link from
        fulls = {f"{prefix}.{name}" for prefix in (module_name, package)}
        parts = tuple(f"{full}." for full in fulls)
        counted = [
            where
            for used, where in uses.items()
            if used.startswith(parts) or (used in fulls and not isinstance(value, type))
        ]
        if counted:
            found[name] = sorted({script for where in counted for script in where})
    return found


def section(modules: list[str], uses: Uses, package: str, gallery: str, scripts: str) -> str:
    """Write the section of a page, in MyST.

    Parameters
    ----------
    modules : list of str
        The modules that the page documents.
    uses : dict
        What `load_uses` gives.
    package : str
        Name of the package.
    gallery, scripts : str
        Folder of the gallery's pages and of its scripts, as seen from the source folder.

    Returns
    -------
    str
        Empty where the gallery uses nothing of them.
    """
    by_name = {
        f"{module}.{name}": where
        for module in modules
        for name, where in uses_of(module, uses, package).items()
    }
    pages = sorted({page for where in by_name.values() for page in where})
    if not pages:
        return ""
    text = "\n\n## In the gallery\n\n"
    if len(pages) <= CARDS:
        cards = "\n".join(f"   {scripts}/{page}.py" for page in pages)
        return f"{text}```{{eval-rst}}\n.. minigallery::\n\n{cards}\n```\n"
    count = len({script for where in uses.values() for script in where})
    for full, where in by_name.items():
        links = ", ".join(f"{{doc}}`/{gallery}/{page}`" for page in where)
        if len(where) >= EVERYWHERE * count:
            links = f"{{doc}}`{len(where)} of {count} pages </{gallery}/index>`"
        text += f"- {{py:obj}}`{full.rpartition('.')[2]} <{full}>`: {links}\n"
    return text


def add_section(app: Any, _docname: str, content: list[str]) -> None:
    """Add the section to a page that documents modules."""
    modules = AUTOMODULE.findall(content[0])
    if modules:
        conf = app.config.sphinx_gallery_conf
        package = conf["doc_module"][0]
        content[0] += section(
            modules, load_uses(app), package, conf["gallery_dirs"][0], conf["examples_dirs"][0]
        )


def outdated(app: Any, env: Any, _added: set[str], _changed: set[str], _removed: set[str]) -> list[str]:
    """Read pages with such a section again when the gallery uses other names than before."""
    now = hashlib.sha256(json.dumps(load_uses(app), sort_keys=True).encode()).hexdigest()
    before, env.uses_state = getattr(env, "uses_state", None), now
    if before in {None, now}:
        return []
    return [name for name in env.found_docs if AUTOMODULE.search(Path(env.doc2path(name)).read_text("utf-8"))]


def add_aliases(app: Any, env: Any) -> None:
    """Let the names that the package lends out lead to where they are documented."""
    objects = env.domains["py"].objects
    for package_name in app.config.sphinx_gallery_conf["doc_module"]:
        package = importlib.import_module(package_name)
        for name in package.__all__:
            home = getattr(getattr(package, name), "__module__", "")
            entry = objects.get(f"{home}.{name}")
            if entry is not None:
                objects.setdefault(f"{package_name}.{name}", ObjectEntry(*entry[:3], aliased=True))


def setup(app: Any) -> dict[str, Any]:
    """Act when pages are read, and when all are."""
    app.connect("source-read", add_section)
    app.connect("env-get-outdated", outdated)
    app.connect("env-updated", add_aliases)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
