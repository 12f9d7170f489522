"""A far end under the test's control, and a journal folder of the test's own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from tests.support import far_end as far_ends
from wa_dashboard.domain.pace import Pace


@pytest.fixture
def far_end(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[far_ends.FarEnd]:
    """Where the requests of every test account of Meta go in this test."""
    with far_ends.running() as made:
        settings = app.extensions["wa_settings"]
        urls = {**settings.test_urls, "META": made.url}
        monkeypatch.setitem(
            app.extensions, "wa_settings", replace(settings, test_urls=urls, data_dir=tmp_path, send_concurrency=16)
        )
        yield made


@pytest.fixture
def at_pace(app: Flask, monkeypatch: pytest.MonkeyPatch):
    """Change how long things may take in this test: ``at_pace(pair=1.0)``."""

    def change(**seconds: float) -> Pace:
        changed = replace(app.extensions["wa_pace"], **seconds)
        monkeypatch.setitem(app.extensions, "wa_pace", changed)
        return changed

    return change
