"""Still pictures of figures: thumbnails of the gallery, and what readers without scripts see."""

import atexit
import json
import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.models import GlyphRenderer, LayoutDOM, Plot
from PIL import Image, ImageDraw
from sphinx.util import logging

from .assets import bokehjs_file
from .records import FigureRecord

logger = logging.getLogger(__name__)

POSTER_WIDTH = 700  # pixels
TIMEOUT = 60.0  # seconds, for a browser that does not answer
BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Path of a browser; empty: look for one; "none": draw the fallback.
BROWSER_VARIABLE = "BOKEH_GALLERY_CHROMIUM"
INK, PALE = "#455a75", "#c9d3df"

POSTER_PAGE = """<!doctype html><meta charset="utf-8">
<style>body {{ margin: 0 }} #figure {{ width: {width}px; padding: 6px }}</style>
{scripts}
<div id="figure"></div>
<script>
Bokeh.embed.embed_item({item}, document.getElementById("figure")).then((views) => {{
  const doc = [...views][0].model.document
  const done = () => requestAnimationFrame(() => {{ document.body.dataset.drawn = "true" }})
  doc.is_idle ? done() : doc.idle.connect(done)
}})
</script>"""


def draw_poster(figure: FigureRecord, model: LayoutDOM, path: Path) -> None:
    """Write a PNG of a figure: a screenshot where there is a browser, otherwise a plain drawing of its data.

    Parameters
    ----------
    figure : FigureRecord
        What the browser is given.
    model : bokeh.models.LayoutDOM
        The model that `figure` was made of; the plain drawing reads its data.
    path : pathlib.Path
        The file to write.
    """
    browser = _Browser.shared()
    if browser is None or not browser.photograph(figure, path):
        _draw_plainly(figure, model).save(path)


class _Browser:
    """One headless Chromium for all posters of a process.

    Playwright's synchronous interface keeps an event loop running in the thread that uses it, which would
    break scripts that call ``asyncio.run``; so it gets a thread of its own.
    """

    _instance: "_Browser | None" = None
    _tried = False

    @classmethod
    def shared(cls) -> "_Browser | None":
        """Return the browser, starting it at the first call, or None where there is none."""
        if not cls._tried:
            cls._tried = True
            try:
                cls._instance = cls()
            except Exception as error:  # any missing piece means the same: no screenshots
                reason = str(error).split("\n")[0]
                logger.info("bokeh_gallery: posters are drawn without a browser (%s)", reason)
        return cls._instance

    def __init__(self) -> None:
        wanted = os.environ.get(BROWSER_VARIABLE, "")
        if wanted == "none":
            raise FileNotFoundError(f"{BROWSER_VARIABLE} is none")
        executable = wanted or next(filter(None, map(shutil.which, BROWSER_NAMES)), None)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()
        self._do(lambda: self._start(executable))
        atexit.register(lambda: self._do(self._stop))

    def _work(self) -> None:
        while True:
            job, outcome = self._jobs.get()
            try:
                outcome.set_result(job())
            except Exception as error:
                outcome.set_exception(error)

    def _do(self, job: Callable[[], None]) -> None:
        """Run a job in the browser's thread and wait for it; what it raises is raised here."""
        outcome: Future[None] = Future()
        self._jobs.put((job, outcome))
        outcome.result(timeout=TIMEOUT)

    def _start(self, executable: str | None) -> None:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        try:
            self._browser = self._playwright.chromium.launch(executable_path=executable)
        except Exception:
            self._playwright.stop()
            raise
        self._page = self._browser.new_page(viewport={"width": POSTER_WIDTH + 40, "height": 900})

    def _stop(self) -> None:
        self._browser.close()
        self._playwright.stop()

    def photograph(self, figure: FigureRecord, path: Path) -> bool:
        """Write a screenshot of a figure and return whether that worked."""
        try:
            self._do(lambda: self._photograph(figure, path))
        except Exception as error:
            logger.warning(
                "bokeh_gallery: no screenshot of %r (%s)", figure.title, error, type="bokeh_gallery"
            )
            return False
        return True

    def _photograph(self, figure: FigureRecord, path: Path) -> None:
        scripts = "".join(
            f'<script src="{bokehjs_file(name).as_uri()}"></script>' for name in ("bokeh", *figure.bundles)
        )
        item = json.dumps(figure.item).replace("</", "<\\/")
        with tempfile.TemporaryDirectory() as folder:
            page_file = Path(folder, "poster.html")
            page = POSTER_PAGE.format(width=POSTER_WIDTH, scripts=scripts, item=item)
            page_file.write_text(page, encoding="utf-8")
            self._page.goto(page_file.as_uri())
            self._page.wait_for_selector("body[data-drawn]", timeout=20_000)
            # On no ground: the ink of a figure is for light pages and dark ones.
            look = {"animations": "disabled", "omit_background": True}
            self._page.locator("#figure").screenshot(path=path, **look)


def _draw_plainly(figure: FigureRecord, model: LayoutDOM) -> Image.Image:
    """Draw axes, lines and images of the first plot in a model, without text or ticks but with its title."""
    width, height = POSTER_WIDTH, max(figure.height, 200)
    picture = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = 40, 34, width - 20, height - 30
    title = figure.title.encode("latin-1", "replace").decode("latin-1")  # the built-in font knows no more
    draw.text((left, 10), title[:100], fill=INK)
    models = [model, *sorted(model.references(), key=_age)]
    plot = next((each for each in models if isinstance(each, Plot)), None)
    for renderer in plot.renderers if plot else []:
        if not isinstance(renderer, GlyphRenderer):
            continue
        image = _column(renderer, "image")
        if image is not None:
            picture.paste(_gray(image[0]).resize((right - left, bottom - top)), (left, top))
            continue
        x, y = _column(renderer, "x"), _column(renderer, "y")
        if x is not None and y is not None and len(x) > 1 and len(x) == len(y):
            points = zip(_scaled(x, left, right), _scaled(y, bottom, top), strict=True)
            draw.line([(float(a), float(b)) for a, b in points], fill=INK, width=2)
    draw.rectangle((left, top, right, bottom), outline=PALE)
    return picture


def _age(model: Any) -> tuple[int, str]:
    """Sort key that puts models in the order in which they were made."""
    return len(model.id), model.id


def _column(renderer: GlyphRenderer, name: str) -> Any:
    """Return the numeric column that a glyph reads for `name`, or None."""
    field = getattr(renderer.glyph, name, None)
    field = getattr(field, "field", field)
    data = getattr(renderer.data_source, "data", {})
    if not isinstance(field, str) or field not in data:
        return None
    column = data[field]
    if name == "image":
        return column
    try:
        values = np.asarray(column, dtype=float)
    except (TypeError, ValueError):
        return None
    return values if np.isfinite(values).all() else None


def _scaled(values: np.ndarray, start: float, end: float) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return start + (values - low) / ((high - low) or 1.0) * (end - start)


def _gray(image: Any) -> Image.Image:
    values = np.asarray(image)
    if values.dtype == np.uint32:  # colors packed into one number: keep their green
        values = (values >> 8) & 0xFF
    values = np.nan_to_num(values.astype(float))
    return Image.fromarray(_scaled(values, 255, 60).astype(np.uint8)[::-1])
