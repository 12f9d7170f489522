"""Visitors for the pages; the application is the one of every test, on both databases."""

import pytest

from tests.support.people import Visitor, light_passwords, visitor_of


@pytest.fixture(scope="package", autouse=True)
def quick_hashes():
    with light_passwords():
        yield


@pytest.fixture
def visitor(app) -> Visitor:
    """Nobody in particular."""
    return Visitor(app)


@pytest.fixture
def owner(app, tenant) -> Visitor:
    """The owner of ``tenant``, signed in."""
    return visitor_of(app, tenant, "owner")


@pytest.fixture
def viewer(app, tenant) -> Visitor:
    """Somebody of ``tenant`` who may only look."""
    return visitor_of(app, tenant, "viewer")
