"""The house stays as small as it is: counts of code, files and imports against their budgets."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "audit"))
import house

PROGRAM = '''"""What it is.

More of it.
"""

# Why it is so.
from math import (
    pi,
)


def area(radius):
    """Of a circle."""
    text = """two
lines"""
    return pi * radius**2, text  # not a comment alone
'''


def test_lines_of_code_are_those_that_are_neither_blank_nor_told():
    assert house.code_lines(PROGRAM) == 7


@pytest.fixture(scope="module")
def found():
    return house.measure()


@pytest.mark.parametrize("what", [what for what in house.BUDGETS if "imports" not in what])
def test_a_count_is_within_its_budget(found, what):
    assert found[what] <= house.BUDGETS[what]


@pytest.fixture(scope="module")
def imported():
    return house.imported()


def test_a_trace_of_the_bundled_model_imports_few_modules(imported):
    assert len(imported) <= house.BUDGETS["modules of ours that a trace imports"]


@pytest.mark.parametrize("module", ["pair", "sources", "room"])
def test_the_bundled_model_needs_nothing_of_the_pairs(imported, module):
    assert "asrscope.loading" in imported
    assert f"asrscope.loading.{module}" not in imported
