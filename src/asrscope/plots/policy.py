"""What a page of one file may do: run its own scripts, show its own data, and ask nobody for anything."""

import base64
import hashlib
from collections.abc import Iterable
from html.parser import HTMLParser

__all__ = ["ScriptReader", "content_policy", "scripts_in", "source_of"]

DATA = ("application/json", "application/ld+json")  # types of script elements that are no programs


def content_policy(
    scripts: Iterable[str] = (),
    *,
    styles: str | None = None,
    images: str = "data: blob:",
    media: str = "data:",
    evaluates: bool = False,
) -> str:
    """Write the content security policy of a page.

    Parameters
    ----------
    scripts : iterable of str
        The scripts that may run, to the letter: as they stand in the page, or as the page itself adds them.
    styles : str, optional
        The one style sheet of the page. By default any may stand in it: BokehJS writes style elements, and a
        style cannot run a program.
    images : str
        Sources of pictures. BokehJS makes some itself (``blob:``).
    media : str
        Sources of sound.
    evaluates : bool
        Whether a script may make programs of text.

    Returns
    -------
    str
        The content of the ``meta`` element.
    """
    programs = [source_of(script) for script in scripts] + ["'unsafe-eval'"] * evaluates
    rules = {
        "default-src": "'none'",
        "script-src": " ".join(programs or ["'none'"]),
        "style-src": "'unsafe-inline'" if styles is None else source_of(styles),
        "img-src": images,
        "media-src": media,
        "base-uri": "'none'",  # no page can turn its own addresses elsewhere
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def scripts_in(page: str) -> list[str]:
    """Find the scripts that stand in a page.

    Parameters
    ----------
    page : str
        HTML.

    Returns
    -------
    list of str
        The text of each script element, without those that are data or files.
    """
    return ScriptReader(page).scripts


class ScriptReader(HTMLParser):
    """Read a page, and keep the scripts that stand in it.

    Parameters
    ----------
    page : str
        HTML.

    Attributes
    ----------
    scripts : list of str
        The text of each script element, without those that are data or files.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self._text: list[str] | None = None  # of the script element that is open
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin to keep the text of a script."""
        given = dict(attrs)
        if tag == "script" and "src" not in given and given.get("type") not in DATA:
            self._text = []

    def handle_data(self, data: str) -> None:
        """Keep text that belongs to a script."""
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Note a script that is complete."""
        if tag == "script" and self._text is not None:
            self.scripts.append("".join(self._text))
            self._text = None


def source_of(script: str) -> str:
    """Name a script, or a style sheet, in a policy: by its SHA-256.

    Parameters
    ----------
    script : str
        Its text, to the letter.

    Returns
    -------
    str
        ``'sha256-...'``, with the quotation marks.
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"
