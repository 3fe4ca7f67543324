"""The browser in which the built pages are opened."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for visit.py


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    from visit import driver, find_chromium

    chromium = driver().chromium.launch(executable_path=find_chromium())
    yield chromium
    chromium.close()
