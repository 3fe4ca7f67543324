"""What tests of pages share: the visit of `conf/bokeh_gallery/tests`, sound, barriers, a second browser."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "conf" / "bokeh_gallery" / "tests"))

import visit
from visit import COLORS, DRAWN, FIGURES, PAINTED, PATIENCE, served, wait_for

__all__ = ["COLORS", "DRAWN", "FIGURES", "PAINTED", "PATIENCE", "served", "wait_for"]

IDLE = "window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents.every((each) => each.is_idle)"

# Notes where the sound is first set to (began; 0 to note it anew), and where it is when it has stopped or was
# moved (rests). The first is seen as it is set: its event may come late, when the sound has gone on. The
# second is heard after the page's own clock, which began to listen earlier: so the page shows it by then.
WATCH_SOUND = """() => {
  const { get, set } = Object.getOwnPropertyDescriptor(HTMLMediaElement.prototype, "currentTime")
  Object.defineProperty(HTMLMediaElement.prototype, "currentTime", {
    get() { return get.call(this) },
    set(value) { window.began ||= value; set.call(this, value) },
  })
  for (const name of ["pause", "seeked"]) {
    document.addEventListener(name, ({ target }) => (window.rests = target.currentTime), true)
  }
}"""
RESTS = """((sounds) => sounds.every((sound) => sound.paused && !sound.seeking)
  && sounds.some(({ currentTime }) => currentTime > 0 && currentTime === window.rests)
)([...document.querySelectorAll("audio")])"""

# Of what axe finds: the rule, how bad it is, and the first few elements.
BARRIERS = """async (options) => {
  const found = await axe.run(document, { resultTypes: ["violations"], ...options })
  const bad = found.violations
  const elements = (each) => each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")
  return bad.map((each) => `${each.id} (${each.impact}): ${elements(each)}`)
}"""


def find_chromium() -> str | None:
    """Return the path of a browser, or None."""
    return visit.find_chromium("ASRSCOPE_CHROMIUM")


def find_firefox() -> str | None:
    """Return the path of a Firefox that can be driven, or None; Snap's cannot."""
    wanted = os.environ.get("ASRSCOPE_FIREFOX") or shutil.which("firefox-esr")
    return wanted if wanted and importlib.util.find_spec("marionette_driver") else None


class Visit(visit.Visit):
    """A visit that hears what sound does."""

    def watch_sound(self) -> None:
        """From now on, note what sound does: see `began` and `hear_out`."""
        self.page.evaluate(WATCH_SOUND)

    def began(self) -> float:
        """Wait until the sound has been set somewhere, and return the first place, in seconds."""
        wait_for(self.page, "window.began > 0")
        return self.page.evaluate("window.began")

    def hear_out(self) -> float:
        """Wait until the sound has stopped and the page shows it; returns the place, in seconds."""
        wait_for(self.page, RESTS)
        return self.page.evaluate("window.rests")


def worked(page, name: str = "TaskDuration") -> Callable[[], float]:
    """Give what tells the processor time of a page's thread, or, as ``ProcessTime``, of all its threads."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    return lambda: {
        each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]
    }[name]


def work_for_one_line(browser, folder: Path, name: str = "TaskDuration") -> float:
    """Processor time that Bokeh alone takes to draw a line: a measure of this machine, as busy as it is."""
    from bokeh.embed import file_html
    from bokeh.plotting import figure as new_figure
    from bokeh.resources import INLINE

    figure = new_figure()
    figure.line([0, 1], [0, 1])
    (folder / "line.html").write_text(file_html(figure, INLINE), encoding="utf-8")
    with Visit(browser, folder.as_uri()) as visit:
        seconds = worked(visit.page, name)
        visit.page.goto((folder / "line.html").as_uri())
        wait_for(visit.page, IDLE)
        return seconds()


def barriers(visit: Visit, **options) -> list[str]:
    """Return what axe-core finds on the open page, of any impact; it looks for small targets too."""
    import axe_playwright_python

    script = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    visit.page.evaluate(script.read_text(encoding="utf-8"))
    return visit.page.evaluate(BARRIERS, {"rules": {"target-size": {"enabled": True}}, **options})
