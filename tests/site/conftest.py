"""These tests need a built site; without one (``ASRSCOPE_SITE``) they are not collected."""

import os
import warnings

import pytest

collect_ignore_glob = [] if os.environ.get("ASRSCOPE_SITE") else ["test_*.py"]


@pytest.fixture(scope="session")
def server():
    """The site on a plain static server; gives its address."""
    from pages import served

    with served(os.environ["ASRSCOPE_SITE"]) as address:
        yield address


@pytest.fixture(scope="session")
def firefox(tmp_path_factory):
    """The Firefox of this machine, driven by its own Marionette. Where it is missing, tests are left out."""
    from pages import PATIENCE, find_firefox

    with warnings.catch_warnings():  # its dependencies ask the system's name in an old way
        warnings.simplefilter("ignore", DeprecationWarning)
        from marionette_driver.marionette import Marionette

    # Its driver removes the file of the log before it begins: as root, /dev/null would be gone.
    log = str(tmp_path_factory.mktemp("firefox") / "gecko.log")
    fox = Marionette(bin=find_firefox(), headless=True, gecko_log=log, startup_timeout=300)
    fox.start_session()
    fox.timeout.script = fox.timeout.page_load = PATIENCE
    yield fox
    fox.quit()
