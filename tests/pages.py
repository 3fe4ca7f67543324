"""Open built pages in a browser and keep an account of what they ask for and complain about."""

import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from serving import Quiet, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DRAWN = "() => [...document.querySelectorAll('.bokeh-figure')].every((figure) => 'drawn' in figure.dataset)"

# Of every figure: what it says of itself, and how many colors its canvas shows (blank: one or two).
FIGURES = """() => {
  const canvases = (node) => [...node.querySelectorAll("*")].flatMap((element) => [
    ...(element instanceof HTMLCanvasElement ? [element] : []),
    ...(element.shadowRoot ? canvases(element.shadowRoot) : []),
  ])
  const colors = (canvas) => canvas.width * canvas.height === 0 ? [] : [...new Set(
    new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer))]
  return [...document.querySelectorAll(".bokeh-figure")].map((figure) => {
    const place = figure.querySelector(".bokeh-figure-canvas")
    return {
      drawn: figure.dataset.drawn,
      label: place.getAttribute("aria-label"),
      description: document.getElementById(place.getAttribute("aria-describedby")).textContent,
      colors: new Set(canvases(place).flatMap(colors)).size,
    }
  })
}"""


# Of what axe finds: the rule, how bad it is, and the first few elements.
BARRIERS = """async (options) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...options })
  const bad = found.violations
  const elements = (each) => each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")
  return bad.map((each) => `${each.id} (${each.impact}): ${elements(each)}`)
}"""


def find_chromium() -> str | None:
    """Return the path of a browser, or None."""
    found = os.environ.get("ASRSCOPE_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).is_file() else None
    return found


def find_firefox() -> str | None:
    """Return the path of a Firefox that can be driven, or None; Snap's cannot."""
    wanted = os.environ.get("ASRSCOPE_FIREFOX") or shutil.which("firefox-esr")
    return wanted if wanted and importlib.util.find_spec("marionette_driver") else None


def wait_for(page, condition: str, seconds: float = 180) -> None:
    """Ask until a condition holds; Playwright's own way to wait is an eval, which some pages forbid."""
    late = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < late, f"after {seconds} s still not: {condition}"
        time.sleep(0.05)


class _Files(Quiet, SimpleHTTPRequestHandler):
    """A plain static server."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as a plain static server does; gives its address."""
    with serving(partial(_Files, directory=str(folder))) as address:
        yield f"{address}/"


class Visit:
    """One open page with its complaints: console errors and warnings, failed requests, foreign hosts."""

    def __init__(self, browser, base: str, *, width: int = 1280, height: int = 900, theme: str = "light"):
        self.base, self.width = base, width
        self.complaints: list[str] = []
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        self.page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # who goes on to another page ends what is still loading
            self.complaints.append(f"failed: {request.url[:200]} ({request.failure})")

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.context.close()

    def open(self, path: str) -> None:
        """Go to a page and wait until all of its figures are drawn, in view or not."""
        self.page.goto(self.base + path)
        self.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # what draws all before printing
        self.page.wait_for_function(DRAWN, timeout=60_000)

    def figures(self) -> list[dict]:
        """Return what `FIGURES` finds."""
        return self.page.evaluate(FIGURES)

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

    def _answered(self, response) -> None:
        if response.status >= 400:
            self.complaints.append(f"status {response.status}: {response.url[:200]}")


def barriers(visit: Visit, **options) -> list[str]:
    """Return what axe-core finds on the open page, of any impact; it looks for small targets too."""
    import axe_playwright_python

    script = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    visit.page.evaluate(script.read_text(encoding="utf-8"))
    return visit.page.evaluate(BARRIERS, {"rules": {"target-size": {"enabled": True}}, **options})
