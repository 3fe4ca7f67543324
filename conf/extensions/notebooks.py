"""Write plain words for roles in the notebooks that readers download: nothing resolves them there."""

import re
from typing import Any

from sphinx_gallery import notebook

ROLE = re.compile(r":(?:ref|doc|term|class|func):`([^`<]+?)(?:\s*<[^`>]*>)?`")


def plain(text: str) -> str:
    """Replace each role by its title, set in italics.

    Parameters
    ----------
    text : str
        Text of a gallery script, in reStructuredText.

    Returns
    -------
    str
        The same without roles.
    """
    return ROLE.sub(r"*\1*", text)


def setup(app: Any) -> dict[str, Any]:  # noqa: ARG001 - Sphinx passes it
    """Put `plain` in front of sphinx-gallery's conversion to Markdown, which has no hook for this."""
    convert = notebook.rst2md
    if not hasattr(convert, "without_roles"):

        def rst2md(text: str, *rest: Any) -> str:
            return convert(plain(text), *rest)

        rst2md.without_roles = True
        notebook.rst2md = rst2md
    return {"version": "0.1.0", "parallel_read_safe": True, "parallel_write_safe": True}
