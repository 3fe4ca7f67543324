"""What the programs of a page gave, kept from one build to the next.

Blocks of a page share their names, so that what one of them gives depends on those before it. It is kept
under a hash over their code and its own, and over the setting ``bokeh_gallery_state``, which stands for all
else that results depend on. A changed sentence runs nothing; a changed block runs again with all that follow,
and what stands before it runs, too, for the names that it sets. Where a block fails, nothing of the page is
kept.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .assets import write_whole

KEY = "bokeh-gallery-results"
RECORD = "results.json"

Ran = TypeVar("Ran")


class Results:
    """What the programs of one page give.

    Parameters
    ----------
    folder : pathlib.Path
        Where it is kept, with the files that it names.
    state : str
        What it depends on beside the page's code; if empty, nothing is kept.

    Attributes
    ----------
    names : dict
        What the blocks that have run have set.
    """

    def __init__(self, folder: Path, state: str) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__bokeh_figure__"}
        self._key = state
        self._record = folder / RECORD
        self._known = json.loads(self._record.read_text("utf-8")) if state and self._record.is_file() else {}
        self._used: dict[str, Any] | None = {} if state else None
        self._not_run: list[Callable[[], Any]] = []

    def block(self, code: str, run: Callable[[], Ran], tell: Callable[[Ran], Any]) -> Any:
        """Return what `tell` makes, in terms of JSON, of what a block gives, which may set names."""
        self._key = self._hash(code)
        if self._key in self._known:
            self._not_run.append(run)
        return self._of(self._key, lambda: tell(self._run(run)))

    def value(self, code: str, compute: Callable[[], Any]) -> Any:
        """Return what is computed from the names, in terms of JSON, and sets none."""
        return self._of(self._hash(code), compute)

    def keep(self) -> None:
        """Keep what the page has used, and nothing else."""
        if self._used is None:
            self._record.unlink(missing_ok=True)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self._used)
        for file in self.folder.iterdir():
            if file.is_file() and file.name.partition(".")[0] not in text:
                file.unlink()
        write_whole(self._record, text.encode())

    def _hash(self, code: str) -> str:
        return hashlib.sha256(f"{self._key}\0{code}".encode()).hexdigest()

    def _run(self, run: Callable[[], Ran]) -> Ran:
        try:
            return run()
        except Exception:
            self._used = None  # whatever follows has not all the names that it should have
            raise

    def _of(self, key: str, compute: Callable[[], Any]) -> Any:
        if key not in self._known:
            while self._not_run:
                self._run(self._not_run.pop(0))
            self._known[key] = compute()
        if self._used is not None:
            self._used[key] = self._known[key]
        return self._known[key]


def results_of(env: Any) -> Results:
    """Return the results of the page that is read."""
    if KEY not in env.temp_data:
        folder = Path(env.doctreedir, "bokeh-gallery", *env.docname.split("/"))
        env.temp_data[KEY] = Results(folder, getattr(env.config, "bokeh_gallery_state", ""))
    results: Results = env.temp_data[KEY]
    return results


def keep(app: Any, _doctree: Any) -> None:
    """Keep the results of a page that was read."""
    if KEY in app.env.temp_data:
        results_of(app.env).keep()


def setup(app: Any) -> None:
    """Register the setting, and what keeps results."""
    app.add_config_value("bokeh_gallery_state", "", "env", str)
    app.connect("doctree-read", keep)
