"""The directive ``bokeh-figure``, its page markup, and the copying of what pages with figures need."""

import ast
import contextlib
import importlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import bokeh
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

from . import assets
from .records import RECORD_SUFFIX, FigureRecord
from .results import results_of

logger = logging.getLogger(__name__)

FIGURE_FOLDER = "_bokeh"  # on the site: one script and one poster a figure
LEFT_OUT = "This build leaves figures out (plot_gallery=0)."


class bokeh_figure(nodes.General, nodes.Element):
    """A figure in a page; its children are the caption."""


class BokehFigure(SphinxDirective):
    """Put Bokeh figures on a page.

    The argument is either the dotted name of a callable, which is called without arguments, or the path of a
    figure that sphinx-gallery captured (``*.bokeh.json``). Without an argument the content is run as Python;
    all blocks of a page share their names. What is given to ``bokeh.io.show`` and what the last expression
    returns is put on the page: figures, objects with ``_repr_html_``, and what was printed.
    """

    has_content = True
    optional_arguments = 1
    option_spec: ClassVar = {
        "caption": directives.unchanged,  # visible below the figure
        "description": directives.unchanged,  # text alternative, instead of the figure's own
        "show-source": directives.flag,  # the code above what it draws
    }

    def run(self) -> list[nodes.Node]:
        code = "\n".join(self.content)
        target = self.arguments[0] if self.arguments else ""
        if not target and not code.strip():
            raise self.error("bokeh-figure needs the name of a callable, or Python code as its content.")
        found: list[nodes.Node] = []
        if "show-source" in self.options:
            found.append(nodes.literal_block(code, code, language="python"))
        gallery_conf = getattr(self.config, "sphinx_gallery_conf", {})
        if not gallery_conf.get("plot_gallery", True):
            return [*found, nodes.paragraph("", LEFT_OUT)]
        if target.endswith(RECORD_SUFFIX):
            return [*found, self._stored(target)]
        results = results_of(self.env)
        try:
            if target:
                kept = results.value(target, lambda: self._told(self._execute(lambda: _call(target))))
            else:
                kept = results.block(
                    code, lambda: self._execute(lambda: _run(code, results.names)), self._told
                )
            return [*found, *(self._node_of(kind, content) for kind, content in kept)]
        except Exception as error:
            self.env.note_reread()
            what = target or code.strip().splitlines()[-1]
            logger.warning(
                "bokeh-figure: %s: %s, in: %s",
                type(error).__name__,
                error,
                what,
                location=self.get_location(),
                type="bokeh_gallery",
                exc_info=self.env.app.verbosity > 0,
            )
            return [*found, nodes.paragraph("", "The figure could not be drawn.")]

    def _stored(self, target: str) -> nodes.Node:
        """Return the node of a figure that the scraper wrote."""
        _relative, absolute = self.env.relfn2path(target)
        path = Path(absolute)
        poster = _poster_of(path)
        for file in (path, poster):
            if not file.is_file():
                raise self.error(
                    f"bokeh-figure: {file.name} is gone; delete {path.parent.parent} to make it again."
                )
        self.env.note_dependency(str(path))
        return self._figure_node(path.name.removesuffix(RECORD_SUFFIX), FigureRecord.load(path), path, poster)

    def _execute(self, run: Callable[[], Any]) -> tuple[list[Any], str]:
        """Run the callable or the code and return what it shows and what it prints."""
        from . import scraper

        printed = io.StringIO()
        scraper.capture()
        try:
            with contextlib.redirect_stdout(printed):
                value = run()
            shown = scraper.take_shown()
        finally:
            scraper.release()
        if value is not None:
            shown.extend(value if isinstance(value, Sequence) and not isinstance(value, str) else [value])
        return shown, printed.getvalue()

    def _told(self, ran: tuple[list[Any], str]) -> list[tuple[str, str]]:
        """Return what was shown and printed: the kind of each, and its text or its file."""
        from bokeh.models import LayoutDOM

        from .figures import record
        from .posters import draw_poster

        folder = results_of(self.env).folder
        shown, printed = ran
        told = [("text", printed)] if printed.strip() else []
        for each in shown:
            if isinstance(each, LayoutDOM):
                figure = record(each)
                path = folder / assets.content_name("figure", _script(figure, ""), RECORD_SUFFIX)
                folder.mkdir(parents=True, exist_ok=True)
                figure.save(path)
                draw_poster(figure, each, _poster_of(path))
                told.append(("figure", path.name))
            elif hasattr(each, "_repr_html_"):
                told.append(("html", each._repr_html_()))
            else:
                told.append(("text", str(each)))
        return told

    def _node_of(self, kind: str, content: str) -> nodes.Node:
        if kind == "figure":
            stem = f"{self.env.docname.replace('/', '-')}-{self.env.new_serialno('bokeh-record') + 1}"
            path = results_of(self.env).folder / content
            return self._figure_node(stem, FigureRecord.load(path), path, _poster_of(path))
        if kind == "html":
            return nodes.raw("", content, format="html")
        return nodes.literal_block(content, content, language="none")

    def _figure_node(self, stem: str, figure: FigureRecord, path: Path, poster: Path) -> nodes.Node:
        if "description" in self.options:
            figure = replace(figure, description=self.options["description"])
        script = assets.content_name(stem, _script(figure, ""), ".js")
        node = bokeh_figure(
            "",
            title=figure.title,
            description=figure.description,
            height=figure.height,
            bundles=list(figure.bundles),
            script=script,
            poster=assets.content_name(stem, poster.read_bytes(), ".png"),
            name=f"bokeh-figure-{nodes.make_id(self.env.docname)}-{self.env.new_serialno('bokeh-figure')}",
        )
        self.set_source_info(node)
        if "caption" in self.options:
            text, messages = self.parse_inline(self.options["caption"])
            node += nodes.paragraph("", "", *text)
            node += messages
        _figures(self.env).setdefault(self.env.docname, []).append(
            {"record": str(path), "poster": str(poster), **{key: node[key] for key in ("script", "bundles")}}
            | {"poster_name": node["poster"]}
        )
        return node


def _poster_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(RECORD_SUFFIX) + ".png")


def _call(target: str) -> Any:
    module, _, name = target.rpartition(".")
    if not module:
        raise ValueError(f"expected a dotted name such as package.module.callable, but found {target!r}")
    return getattr(importlib.import_module(module), name)()


def _run(code: str, namespace: dict[str, Any]) -> Any:
    """Run statements and return the value of the last one, where that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<bokeh-figure>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<bokeh-figure>", "eval"), namespace) if last else None


def _script(figure: FigureRecord, key: str) -> bytes:
    item = json.dumps(figure.item, separators=(",", ":"))
    return f'bokehGallery.add("{key}",{item});\n'.encode()


def _figures(env: Any) -> dict[str, list[dict[str, Any]]]:
    """Return, for each page, the files of its figures."""
    if not hasattr(env, "bokeh_gallery_figures"):
        env.bokeh_gallery_figures = {}
    return env.bokeh_gallery_figures


def visit_html(self: Any, node: bokeh_figure) -> None:
    """Open the figure: a place to draw in, the poster for readers without scripts, and the caption."""
    page = self.builder.get_target_uri(self.builder.current_docname)
    script = relative_uri(page, f"{FIGURE_FOLDER}/{node['script']}")
    poster = relative_uri(page, f"{FIGURE_FOLDER}/{node['poster']}")
    name = node["name"]
    title, description = escape(node["title"]), escape(node["description"])
    self.body.append(
        f'<figure class="bokeh-figure" id="{name}" data-script="{escape(script)}"'
        f' data-bundles="{escape(" ".join(node["bundles"]))}">\n'
        f'<div class="bokeh-figure-canvas" role="group" aria-label="{title}"'
        f' aria-describedby="{name}-description" style="min-height:{node["height"]}px"></div>\n'
        f'<noscript><img src="{escape(poster)}" alt="{description}"></noscript>\n'
        # On paper: always light, of the paper's width and without tools. No browser loads it before.
        f'<img class="bokeh-figure-poster" src="{escape(poster)}" alt="" loading="lazy">\n'
        "<figcaption>\n"
    )


def depart_html(self: Any, node: bokeh_figure) -> None:
    """Close the figure with its text alternative."""
    name = node["name"]
    self.body.append(
        f'<details class="bokeh-figure-description"><summary>{escape(node["title"])}, in words</summary>\n'
        f'<p id="{name}-description">{escape(node["description"])}</p></details>\n</figcaption>\n</figure>\n'
    )


def visit_other(_self: Any, node: bokeh_figure) -> None:
    """Write the text alternative where no figure can be drawn."""
    node += nodes.paragraph("", node["description"])


def depart_other(_self: Any, _node: bokeh_figure) -> None:
    """Nothing to close."""


def add_static_folder(app: Any) -> None:
    """Let Sphinx copy the page script and its style sheet before it writes pages."""
    # From the folder of the configuration, as Sphinx reads it: an absolute path would stand in the build.
    app.config.html_static_path.append(os.path.relpath(assets.STATIC, app.confdir))


def add_page_files(app: Any, pagename: str, _template: str, _context: dict[str, Any], _doctree: Any) -> None:
    """Load the page script and its style sheet on pages with figures, and only there."""
    if app.builder.format == "html" and (pagename in _figures(app.env) or app.builder.name == "singlehtml"):
        app.add_css_file(f"{assets.STATIC_FOLDER}/bokeh-gallery.css")
        version = {"data-bokeh-version": bokeh.__version__}
        app.add_js_file(f"{assets.STATIC_FOLDER}/bokeh-gallery.js", loading_method="defer", **version)
        for name in app.config.bokeh_gallery_page_files:
            if name.endswith(".css"):
                app.add_css_file(name)
            else:
                app.add_js_file(name, loading_method="defer")


def copy_files(app: Any, error: Exception | None) -> None:
    """Write the figures' scripts and posters, and copy BokehJS, when all pages are written."""
    pages = _figures(app.env) if app.env else {}
    if error or app.builder.format != "html" or not pages:
        return
    out = Path(app.outdir)
    folder = out / FIGURE_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    wanted: set[Path] = set()
    bundles: set[str] = set()
    for entry in (entry for files in pages.values() for entry in files):
        script, poster = folder / entry["script"], folder / entry["poster_name"]
        if not script.is_file():  # otherwise it is the same: names tell the content
            figure = FigureRecord.load(Path(entry["record"]))
            assets.write_whole(script, _script(figure, script.name))
        if not poster.is_file():
            assets.write_whole(poster, Path(entry["poster"]).read_bytes())
        wanted |= {script, poster}
        bundles.update(entry["bundles"])
    for path in set(folder.iterdir()) - wanted:
        path.unlink()
    assets.install_bokehjs(out / "_static", bundles)


def outdated(_app: Any, env: Any, *_changes: set[str]) -> list[str]:
    """Read pages again whose figures are gone from where they are kept."""
    return [
        docname
        for docname, figures in _figures(env).items()
        if not all(Path(figure[key]).is_file() for figure in figures for key in ("record", "poster"))
    ]


def purge(_app: Any, env: Any, docname: str) -> None:
    """Forget the figures of a page that is read again or gone."""
    _figures(env).pop(docname, None)


def merge(_app: Any, env: Any, docnames: set[str], other: Any) -> None:
    """Take over the figures of pages that another process has read."""
    theirs = _figures(other)
    _figures(env).update({docname: theirs[docname] for docname in docnames if docname in theirs})


def setup(app: Any) -> None:
    """Register everything in this module."""
    app.add_config_value("bokeh_gallery_page_files", [], "html", (list, tuple))
    app.add_node(
        bokeh_figure,
        html=(visit_html, depart_html),
        **dict.fromkeys(("latex", "text", "man", "texinfo"), (visit_other, depart_other)),
    )
    app.add_directive("bokeh-figure", BokehFigure)
    app.connect("builder-inited", add_static_folder)
    app.connect("html-page-context", add_page_files)
    app.connect("env-get-outdated", outdated)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("build-finished", copy_files)
