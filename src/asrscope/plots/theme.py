"""Colors of the figures, and the CSS variables through which a page gives them its light or dark look.

Bokeh draws axes, titles and labels with the CSS variables ``--bk-...`` where a page sets them. It does not
do so for glyphs, so the glyph colors here are chosen to stand out on white and on near-black alike.
"""

from bokeh.palettes import Viridis256

__all__ = ["PALETTE", "theme_css"]

PALETTE: tuple[str, ...] = Viridis256  # perceptually uniform, and readable without color vision

BAR = "#3b82c4"
PLAYHEAD = "#f0483e"
BOUNDARY = "#8c8c8c"
# Legible on white, and nearly so on near-black: for pages that set no variables. Color bars read none, so a
# page's script gives them the ink.
NEUTRAL_TEXT = "#757575"

# Cells with text inside: fill and text belong together, whatever the page looks like around them.
TEXT_CELL, TEXT_CELL_INK = "#cfe3f7", "#0f2d47"
AUDIO_CELL, AUDIO_CELL_INK = "#fbd9a5", "#4a2f05"

_INK = (
    "title-text-color",
    "axis-label-text-color",
    "major-label-text-color",
    "label-text-color",
    "text-color",
)
_LINES = ("axis-line-color", "major-tick-line-color", "bar-line-color")


def theme_css(element: str = ":root") -> str:
    """CSS that colors the figures of a page for light and dark.

    Light is the default; dark applies when the reader's system asks for it, unless the page says
    ``data-theme="light"`` on the element, and always where it says ``data-theme="dark"``.

    Parameters
    ----------
    element : str
        Selector of the element that carries ``data-theme``: ``":root"``, or ``"body"`` in a furo site.

    Returns
    -------
    str
        Three CSS rules.
    """
    light = _variables(ink="#24292f", lines="#57606a", grid="#d8dee4")
    dark = _variables(ink="#e2e6ea", lines="#9aa4ae", grid="#3a4149")
    return (
        f"{element} {{ {light} }}\n"
        f'@media (prefers-color-scheme: dark) {{ {element}:not([data-theme="light"]) {{ {dark} }} }}\n'
        f'{element}[data-theme="dark"] {{ {dark} }}\n'
    )


def _variables(*, ink: str, lines: str, grid: str) -> str:
    declared = dict.fromkeys(_INK, ink) | dict.fromkeys(_LINES, lines)
    declared["grid-line-color"] = grid
    # No figure paints a ground of its own: the page shows through.
    declared |= {"background-fill-color": "transparent", "border-fill-color": "transparent"}
    return " ".join(f"--bk-{name}: {color};" for name, color in declared.items())
