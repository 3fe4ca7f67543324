"""These tests need a built site; without one (``ASRSCOPE_SITE``) they are not collected."""

import os

import pytest

collect_ignore_glob = [] if os.environ.get("ASRSCOPE_SITE") else ["test_*.py"]


@pytest.fixture(scope="session")
def server():
    """The site on a plain static server; gives its address."""
    from pages import served

    with served(os.environ["ASRSCOPE_SITE"]) as address:
        yield address
