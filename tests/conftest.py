"""Fixtures that every test module may use."""

import os

# Two threads on two busy cores are several times slower than one; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, so that a failing test fails again."""
    return np.random.default_rng(20240229)
