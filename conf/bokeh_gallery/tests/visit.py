"""Open built pages in a browser and keep an account of what they ask for and complain about."""

import atexit
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 180  # seconds for whatever a page does, on a machine that does ten other things
DRAWN = "() => [...document.querySelectorAll('.bokeh-figure')].every((figure) => 'drawn' in figure.dataset)"

# Of an element: how many colors the canvases in it show (blank: one or two). Looks at copies, since the
# browser complains where a canvas is read often.
COLORS = """(parent) => {
  const canvases = (node) => [...node.querySelectorAll("*")].flatMap((element) => [
    ...(element instanceof HTMLCanvasElement ? [element] : []),
    ...(element.shadowRoot ? canvases(element.shadowRoot) : []),
  ])
  const colors = (canvas) => {
    const { width, height } = canvas
    const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })
    copy.drawImage(canvas, 0, 0)
    return [...new Set(new Uint32Array(copy.getImageData(0, 0, width, height).data.buffer))]
  }
  return new Set(canvases(parent).filter((each) => each.width * each.height > 0).flatMap(colors)).size
}"""
# Of every figure: what it says of itself, and its colors.
FIGURES = f"""() => [...document.querySelectorAll(".bokeh-figure")].map((figure) => {{
  const place = figure.querySelector(".bokeh-figure-canvas")
  return {{
    drawn: figure.dataset.drawn,
    label: place.getAttribute("aria-label"),
    description: document.getElementById(place.getAttribute("aria-describedby")).textContent,
    colors: ({COLORS})(place),
  }}
}})"""
# A figure is painted in a frame after it is drawn.
PAINTED = f"({FIGURES})().every((figure) => figure.colors > 4)"


@cache
def driver():
    """Start what drives browsers; a process can have one, however many test suites share it."""
    from playwright.sync_api import sync_playwright

    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    return playwright


def find_chromium(variable: str = "BOKEH_GALLERY_CHROMIUM") -> str | None:
    """Return the path of a browser, or None; a variable of the environment may name it."""
    found = os.environ.get(variable) or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        own = driver().chromium.executable_path
        found = own if Path(own).is_file() else None
    return found


def wait_for(page, condition: str | Callable[[], object]) -> None:
    """Ask until a condition holds; Playwright's own way to wait is an eval, which some pages forbid."""
    late = time.monotonic() + PATIENCE
    while not (condition() if callable(condition) else page.evaluate(condition)):
        assert time.monotonic() < late, f"after {PATIENCE} s still not: {condition}"
        page.wait_for_timeout(50)  # in which events of the page are heard


class _Files(SimpleHTTPRequestHandler):
    """A plain static server that says nothing of each request."""

    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as a plain static server does; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Visit:
    """One open page with its complaints: console errors and warnings, failed requests, foreign hosts."""

    def __init__(self, browser, base: str, *, width: int = 1280, height: int = 900, theme: str = "light"):
        self.base, self.width = base, width
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        self.context.set_default_timeout(1000 * PATIENCE)
        self.page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.context.close()

    def open(self, path: str) -> None:
        """Go to a page and wait until all of its figures are drawn, in view or not."""
        self.page.goto(self.base + path)
        self.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # what draws all before printing
        self.page.wait_for_function(DRAWN)

    def figures(self) -> list[dict]:
        """Return what `FIGURES` finds."""
        return self.page.evaluate(FIGURES)

    def narrow(self, width: int) -> None:
        """Make the window so wide."""
        self.width = width
        self.page.set_viewport_size({"width": width, "height": 900})

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth") - self.width

    def _heard(self, message) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"console {message.type}: {message.text[:300]}")

    def _asked(self, request) -> None:
        own, asked = (urlsplit(url)[:2] for url in (self.base, request.url))  # scheme and host
        if asked[0] not in {"data", "blob"} and asked != own:
            self.complaints.append(f"foreign request: {request.url[:200]}")

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # who goes on to another page ends what is still loading
            self.complaints.append(f"failed: {request.url[:200]} ({request.failure})")

    def _answered(self, response) -> None:
        if response.status >= 400:
            self.complaints.append(f"status {response.status}: {response.url[:200]}")
