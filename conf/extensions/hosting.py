"""What a site needs where it stands: who may look at it, what it gives away, where its pages come from.

- ``robots.txt`` lets every search engine in, and names the list of pages where the site knows its address.
- ``SHA256SUMS`` lists the files that the site gives away, for ``sha256sum --check``.
- A page of the gallery leads to its script, and not to the text that is made of it, where the theme knows the
  repository; and to Colab, which opens its notebook from ``hosting_notebooks``, an address.
"""

import hashlib
from pathlib import Path
from typing import Any

from sphinx.errors import ConfigError
from stale import galleries

GIVEN_AWAY = ("_downloads", "notebooks", "package")  # folders of the site

COLAB = """

.. container:: sphx-glr-footer sphx-glr-download launch

   Without installing anything: `open in Colab <{address}/{docname}.ipynb>`__
"""


def write_files(app: Any, error: Exception | None) -> None:
    """Put the two files into the site, when everything else is there."""
    if error or app.builder.format != "html":
        return
    outdir = Path(app.outdir)
    paths = [path for folder in GIVEN_AWAY for path in (outdir / folder).rglob("*") if path.is_file()]
    found = {path.relative_to(outdir).as_posix(): path.read_bytes() for path in paths}
    sums = "".join(f"{hashlib.sha256(found[name]).hexdigest()}  {name}\n" for name in sorted(found))
    (outdir / "SHA256SUMS").write_text(sums, encoding="utf-8", newline="\n")
    url = app.config.html_baseurl.rstrip("/")
    sitemap = f"\nSitemap: {url}/sitemap.xml\n" if url else ""
    robots = f"User-agent: *\nAllow: /\n{sitemap}"
    (outdir / "robots.txt").write_text(robots, encoding="utf-8", newline="\n")


def refuse_others(app: Any) -> None:
    """Refuse builders that name pages otherwise: search, downloads and links to them know their files."""
    if app.builder.format == "html" and app.builder.name != "html":
        raise ConfigError(f"This site is built with the builder html, but found {app.builder.name}.")


def script_of(app: Any, docname: str) -> Path | None:
    """Return the script that a page of the gallery is made of."""
    page = Path(app.srcdir, docname)
    for scripts, gallery in galleries(app).items():
        script = scripts / ("GALLERY_HEADER.rst" if page.name == "index" else f"{page.name}.py")
        if page.parent == gallery and script.is_file():
            return script
    return None


def link_source(app: Any, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Tell the theme where a script is seen and edited; what is made of nothing that is kept has no link."""
    options = app.config.html_theme_options
    script = script_of(app, pagename)
    if script is None:
        path = Path(app.env.doc2path(pagename, base=False)) if pagename in app.env.found_docs else None
        if path is None or path.suffix == ".rst":  # search and index; what autosummary wrote
            context["page_source_suffix"] = ""  # the theme then shows no link
    elif "source_repository" in options:
        path = script.resolve().relative_to(Path(app.confdir).parent).as_posix()
        for what, verb in (("edit", "edit"), ("view", "blob")):
            address = f"{options['source_repository']}/{verb}/{options['source_branch']}/{path}"
            context[f"theme_source_{what}_link"] = address.replace("{", "{{").replace("}", "}}")


def link_colab(app: Any, docname: str, content: list[str]) -> None:
    """Add the link at the end of a page that has a notebook, below its downloads."""
    address = app.config.hosting_notebooks
    if address and (Path(app.srcdir) / f"{docname}.ipynb").is_file():
        content[0] += COLAB.format(address=address, docname=docname)


def setup(app: Any) -> dict[str, Any]:
    """Write the files before the pages get their policy; nothing of them stands in a page."""
    app.add_config_value("hosting_notebooks", "", "env", str)
    app.connect("builder-inited", refuse_others)
    app.connect("source-read", link_colab)
    app.connect("html-page-context", link_source)
    app.connect("build-finished", write_files, priority=900)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
