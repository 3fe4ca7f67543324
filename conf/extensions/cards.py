"""A picture for each page, which is shown where somebody posts a link to it.

The picture is drawn with Pillow and the font that Pillow brings, so that every machine draws the same bytes:
the page's title, what it is about, and the outline of a sound. A preview needs a whole address, so pictures
are made only for a site that knows where it will stand (``ogp_site_url``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from descriptions import lines
from PIL import Image, ImageDraw, ImageFont

FOLDER = "_cards"
SIZE = (1200, 630)
MARGIN = 80
NIGHT, SKY, SAND, WHITE = "#0f2d47", "#7cc0ff", "#fbd9a5", "#ffffff"  # the colors of the site's icon
COLORS = 48  # in the file; more cannot be told from these
# The font has no other characters than these, and accents.
PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "…": "...", "–": "-", "—": "-", "×": "x"})


def wrapped(text: str, font: Any, width: int, most: int) -> list[str]:
    """Break a text into lines.

    Parameters
    ----------
    text : str
        Words.
    font : PIL.ImageFont.FreeTypeFont
        What measures them.
    width : int
        Pixels that a line may have.
    most : int
        Number of lines; what does not fit is left out, and the last line then ends in three dots.

    Returns
    -------
    list of str
        The lines.
    """
    found: list[str] = []
    for word in text.split():
        longer = f"{found[-1]} {word}" if found else word
        if found and font.getlength(longer) <= width:
            found[-1] = longer
        else:
            found.append(word)
    if len(found) > most:
        kept = found[:most]
        while kept[-1] and font.getlength(kept[-1] + "...") > width:
            kept[-1] = kept[-1].rpartition(" ")[0]
        kept[-1] += "..."
        return kept
    return found


def draw_card(title: str, about: str, name: str, outline: Sequence[float]) -> Image.Image:
    """Draw the picture of a page.

    Parameters
    ----------
    title, about, name : str
        Of the page, what it says, and of the site.
    outline : sequence of float
        How far a sound reaches from zero, moment by moment, 0 to 1.

    Returns
    -------
    PIL.Image.Image
        1200 by 630 pixels.
    """
    picture = Image.new("RGB", SIZE, NIGHT)
    draw = ImageDraw.Draw(picture)
    title, about = (
        text.translate(PLAIN).encode("latin-1", "ignore").decode("latin-1") for text in (title, about)
    )
    width = SIZE[0] - 2 * MARGIN
    small, large = ImageFont.load_default(34), ImageFont.load_default(72)
    draw.text((MARGIN, 62), name, SAND, ImageFont.load_default(38), stroke_width=0.6)
    top = 140
    for line in wrapped(title, large, width, 2):
        draw.text((MARGIN, top), line, WHITE, large, stroke_width=1)
        top += 88
    top += 14
    for line in wrapped(about, small, width, 3):
        draw.text((MARGIN, top), line, SKY, small)
        top += 46
    middle, half, step = 540, 52, width / max(1, len(outline))
    for index, value in enumerate(outline):
        x = MARGIN + (index + 0.5) * step
        reach = max(2.0, half * value)
        draw.rounded_rectangle((x - 0.3 * step, middle - reach, x + 0.3 * step, middle + reach), 3, SAND)
    return picture


def add_card(app: Any, pagename: str, _template: str, context: dict[str, Any], doctree: Any) -> None:
    """Draw the picture of a page and name it in the page's head."""
    if app.builder.format != "html" or doctree is None or not app.config.ogp_site_url:
        return
    about = lines(app).get(pagename, "")
    path = Path(app.outdir, FOLDER, f"{pagename.replace('/', '-')}.png")
    path.parent.mkdir(exist_ok=True)
    text = app.env.titles[pagename].astext()
    picture = draw_card(text, about, app.config.cards_name or app.config.project, app.config.cards_outline)
    picture.quantize(COLORS).save(path, optimize=True)
    context["meta"] = {
        **(context.get("meta") or {}),
        "og:image": f"{app.config.ogp_site_url.rstrip('/')}/{FOLDER}/{path.name}",
        "og:image:alt": text,
    }
    sizes = "".join(
        f'<meta property="og:image:{side}" content="{size}" />\n'
        for side, size in zip(("width", "height"), SIZE, strict=True)
    )
    context["metatags"] = (
        context.get("metatags", "") + f'\n{sizes}<meta name="twitter:card" content="summary_large_image" />\n'
    )


def setup(app: Any) -> dict[str, Any]:
    """Run after the line on the page is known, and before the preview of links is written."""
    app.add_config_value("cards_name", "", "html", str)
    app.add_config_value("cards_outline", [], "html", list)
    app.connect("html-page-context", add_card, priority=450)
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
