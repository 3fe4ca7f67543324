"""Show a figure where the reader is: inside a notebook or a gallery, or else as an offline HTML file."""

import sys
from pathlib import Path

from bokeh.embed import file_html
from bokeh.io import output_notebook
from bokeh.io import show as bokeh_show
from bokeh.io.state import curstate
from bokeh.models import LayoutDOM
from bokeh.resources import INLINE
from jinja2 import Template

from asrscope.files import write_text
from asrscope.plots.player import clock_css, clock_js, in_jupyter, sound_of
from asrscope.plots.policy import content_policy, scripts_in
from asrscope.plots.theme import theme_css
from asrscope.plots.training import StepSlider, steps_css, steps_js

__all__ = ["show"]

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
"""
PAGE = Template(
    HEAD
    + """\
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title | e }}</title>
<style>
:root { color-scheme: light dark; }
body { margin: 1rem; font-family: system-ui, sans-serif; }
h1 { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }
{{ css }}</style>
{{ bokeh_js }}
</head>
<body>
<main>
<h1>{{ title | e }}</h1>
{{ content }}
{{ plot_div }}
</main>
{{ plot_script }}
<script>
{{ js }}</script>
</body>
</html>
"""
)
SLIDER_CSS = "body { max-width: 60rem; }\n"

_written: set[Path] = set()


def show(figure: LayoutDOM | StepSlider, filename: str | Path | None = None) -> Path | StepSlider | None:
    """Show a figure in the notebook or gallery page that runs this code; else save it and say where.

    A saved page has the figure's sound, if it shows one, and its playhead follows it. Only the scripts that
    are written into it may run (a content security policy with their hashes), and, if the figure holds
    callbacks in JavaScript, those.

    Parameters
    ----------
    figure : LayoutDOM or StepSlider
        A figure, a layout of figures, or a slider over steps.
    filename : str or Path, optional
        Where a plain script saves the page; by default the figure's name in the working folder. A second
        figure of the same name gets a number, so that no figure of a script overwrites another.

    Returns
    -------
    Path, StepSlider or None
        The file written: one page that needs no network. None in a notebook or gallery, but a slider itself,
        which shows itself where it is the last expression of a cell.
    """
    if in_jupyter() and not curstate().notebook:
        output_notebook(resources=INLINE, hide_banner=True)
    if curstate().notebook:
        if isinstance(figure, StepSlider):
            return figure
        bokeh_show(figure)
        return None
    path = _free_path(figure.name or "figure") if filename is None else Path(filename)
    if isinstance(figure, StepSlider):
        html = PAGE.render(
            title=figure.name, css=SLIDER_CSS + steps_css(), content=figure.to_html(), js=steps_js()
        )
    else:
        html = file_html(
            figure,
            resources=INLINE,
            title=figure.name or "figure",
            template=PAGE,
            template_variables={
                "css": theme_css() + clock_css(),
                "content": sound.to_html() if (sound := sound_of(figure)) else "",
                "js": clock_js(),
            },
        )
    # Bokeh makes programs of the text of callbacks; no figure of this package has any.
    models = figure.references() if isinstance(figure, LayoutDOM) else ()
    evaluates = any(type(model).__name__.startswith("CustomJS") for model in models)
    policy = content_policy(scripts_in(html), evaluates=evaluates)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    write_text(path, html.replace(HEAD, HEAD + meta, 1))
    _written.add(path.resolve())
    sys.stdout.write(f"wrote {path}\n")
    return path


def _free_path(name: str) -> Path:
    path, count = Path(f"{name}.html"), 1
    while path.resolve() in _written:
        count += 1
        path = Path(f"{name}-{count}.html")
    return path
