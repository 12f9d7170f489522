"""The planted provider exists only while the tests of this folder run."""

import pytest

from wa_dashboard.providers import base

from .planted import Planted


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setitem(base._registry, Planted.name, Planted)
