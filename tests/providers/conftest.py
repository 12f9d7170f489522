"""The planted provider exists only while the tests of this folder run."""

import pytest

from wa_dashboard.providers import base

from .planted import Planted


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setitem(base._registry, Planted.name, Planted)


def pytest_terminal_summary(terminalreporter):
    """The figures that tests of this folder have recorded, where people see them."""
    passed = terminalreporter.stats.get("passed", [])
    for figure in dict.fromkeys(value for report in passed for key, value in report.user_properties if key == "figure"):
        terminalreporter.write_line(figure)
