"""The package of this very build, for readers to install: its wheel, in the folder ``package`` of the site.

Hatchling builds it from what lies beside the configuration, and again only when something of that has
changed. It asks nothing of the network. The directive ``{wheel}`` tells how to install it: from the site
and from the repository where their addresses are known, and else as a file.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from stale import computed

FOLDER = "package"  # of the site
BESIDE_SOURCES = ("pyproject.toml", "README.md", "LICENSE")  # what else it is made of

WHEEL = """
<a href="{up}{folder}/{name}" download>{name}</a> is the package that this site shows, {size:.0f} MB, with
the SHA-256 `{digest}`.{save}

```console
$ python -m pip install {place}
```
"""
REPOSITORY = """
Or the newest state, from <{address}>:

```console
$ python -m pip install git+{address}
```
"""


def path_of(app: Any) -> Path:
    """Return where the wheel lies in the site."""
    return Path(app.outdir, FOLDER, app.config.wheel_name)


def make(app: Any) -> None:
    """Let Hatchling make the wheel."""
    wheel = path_of(app)
    shutil.rmtree(wheel.parent, ignore_errors=True)  # what it was called before
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheel.parent)]
    subprocess.run(command, cwd=Path(app.confdir).parent, check=True, stdout=subprocess.DEVNULL)


def build(app: Any) -> None:
    """Make the wheel, unless an earlier build made it of the same sources."""
    if app.builder.format == "html":
        also = [Path(app.confdir).parent / name for name in BESIDE_SOURCES]
        computed(app, "wheel", lambda: make(app), files=[path_of(app)], also=also)


class Wheel(SphinxDirective):
    """Tell how to install the package."""

    def run(self) -> list[nodes.Node]:
        app, wheel = self.env.app, path_of(self.env.app)
        self.env.note_dependency(wheel)
        content = wheel.read_bytes()
        digest, address = hashlib.sha256(content).hexdigest(), app.config.wheel_address
        text = WHEEL.format(
            up="../" * self.env.docname.count("/"),
            folder=FOLDER,
            name=wheel.name,
            size=len(content) / 1e6,
            digest=digest,
            save="" if address else " Save it, and in its folder:",
            place=f'"{address}#sha256={digest}"' if address else wheel.name,
        )
        if app.config.wheel_repository:
            text += REPOSITORY.format(address=app.config.wheel_repository)
        return self.parse_text_to_nodes(text)


def setup(app: Any) -> dict[str, Any]:
    """Build it before pages are read."""
    for name in ("wheel_name", "wheel_address", "wheel_repository"):
        app.add_config_value(name, "", "env", str)
    app.add_directive("wheel", Wheel)
    app.connect("builder-inited", build)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
