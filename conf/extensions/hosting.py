"""What a site needs where it stands: who may look at it, what it gives away, where its pages come from.

- ``robots.txt`` lets every search engine in, and names the list of pages where the site knows its address.
- ``SHA256SUMS`` lists the files that the site gives away, for ``sha256sum --check``.
- Each page gets links to its source where ``hosting_repository`` names a repository on GitHub. A gallery page
  leads to its script, and not to the text that is made of it.
"""

import hashlib
from pathlib import Path
from typing import Any

GIVEN_AWAY = ("_downloads", "notebooks")  # folders of the site
SUMS = "SHA256SUMS"


def sums(outdir: Path) -> str:
    """Return the list of downloads.

    Parameters
    ----------
    outdir : pathlib.Path
        A built site.

    Returns
    -------
    str
        A line for each file: its SHA-256 and its path in the site.
    """
    paths = [path for folder in GIVEN_AWAY for path in (outdir / folder).rglob("*") if path.is_file()]
    found = {path.relative_to(outdir).as_posix(): path.read_bytes() for path in paths}
    return "".join(f"{hashlib.sha256(found[name]).hexdigest()}  {name}\n" for name in sorted(found))


def robots(site_url: str) -> str:
    """Return the text of ``robots.txt``; `site_url` may be empty."""
    sitemap = f"\nSitemap: {site_url.rstrip('/')}/sitemap.xml\n" if site_url else ""
    return f"User-agent: *\nAllow: /\n{sitemap}"


def write_files(app: Any, error: Exception | None) -> None:
    """Put the files into the site, when everything else is there."""
    if error or app.builder.format != "html":
        return
    outdir = Path(app.outdir)
    (outdir / SUMS).write_text(sums(outdir), encoding="utf-8", newline="\n")
    (outdir / "robots.txt").write_text(robots(app.config.html_baseurl), encoding="utf-8", newline="\n")


def source_of(app: Any, pagename: str) -> str | None:
    """Return the path in the repository of what a page is written in, or None for a page that is computed."""
    root = Path(app.confdir).parent
    folders = [app.config.sphinx_gallery_conf[key] for key in ("examples_dirs", "gallery_dirs")]
    for scripts, gallery in zip(*folders, strict=True):
        if pagename.startswith(f"{gallery}/"):
            name = pagename.removeprefix(f"{gallery}/")
            path = Path(
                app.srcdir, scripts, "GALLERY_HEADER.rst" if name == "index" else f"{name}.py"
            ).resolve()
            return path.relative_to(root).as_posix() if path.is_file() else None
    if pagename not in app.env.found_docs:
        return None
    return Path(app.env.doc2path(pagename)).resolve().relative_to(root).as_posix()


def link_source(app: Any, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Tell the theme where the page's source is seen and edited."""
    repository = app.config.hosting_repository.rstrip("/")
    if not repository:
        return
    source = source_of(app, pagename)
    if source is None:
        context["page_source_suffix"] = ""  # the theme then shows no link
        return
    for what, verb in (("edit", "edit"), ("view", "blob")):
        address = f"{repository}/{verb}/{app.config.hosting_branch}/{source}"
        context[f"theme_source_{what}_link"] = address.replace("{", "{{").replace("}", "}}")


def setup(app: Any) -> dict[str, Any]:
    """Write the files before the pages get their policy; nothing of them stands in a page."""
    app.add_config_value("hosting_repository", "", "html", str)
    app.add_config_value("hosting_branch", "main", "html", str)
    app.connect("html-page-context", link_source)
    app.connect("build-finished", write_files, priority=900)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
