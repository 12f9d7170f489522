"""The embedded queue: a real Valkey, started once per data folder whoever starts it."""

import concurrent.futures
import os
import shutil
import signal
import subprocess

import pytest
import redis

from tests.support.servers import NOBODY, wait_until
from wa_dashboard import embedded
from wa_dashboard.config import queue_socket


def _client(folder) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(queue_socket(folder)))


def test_it_keeps_what_it_was_given_over_a_kill(tmp_path):
    folder = tmp_path / "a b"
    server = embedded.start(folder)
    embedded.wait_until_it_answers(queue_socket(folder))
    with _client(folder) as client:
        client.set("k", "v")
        client.execute_command("WAITAOF", 1, 0, 2000)
    server.kill()
    server.wait()
    assert not embedded.answers(queue_socket(folder))
    with embedded.running(folder), _client(folder) as client:
        assert client.get("k") == b"v"


def test_it_never_drops_keys_and_listens_on_no_port(tmp_path):
    with embedded.running(tmp_path), _client(tmp_path) as client:
        settings = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "appendonly", "port")}
    assert settings == {"maxmemory-policy": "noeviction", "appendonly": "yes", "port": "0"}


def test_only_its_owner_may_use_it(tmp_path):
    with embedded.running(tmp_path):
        socket = queue_socket(tmp_path)
        assert socket.stat().st_mode & 0o077 == 0
        assert socket.parent.stat().st_mode & 0o077 == 0


def test_one_that_runs_is_used(tmp_path):
    with embedded.running(tmp_path):
        assert embedded.start(tmp_path) is None
        with embedded.running(tmp_path):
            pass
        assert embedded.answers(queue_socket(tmp_path))
    assert not embedded.answers(queue_socket(tmp_path))


def test_many_starters_at_once_make_one_server(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        servers = [server for server in pool.map(lambda _: embedded.start(tmp_path), range(8)) if server]
    try:
        embedded.wait_until_it_answers(queue_socket(tmp_path))
        assert len(servers) == 1
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
            server.wait(5)


def test_a_folder_too_deep_for_a_socket(tmp_path):
    folder = tmp_path / ("x" * 100)
    short = queue_socket(folder).parent
    try:
        with embedded.running(folder), _client(folder) as client:
            assert client.ping()
        assert folder not in short.parents
    finally:
        shutil.rmtree(short)


def test_a_short_folder_that_somebody_else_made_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / ("y" * 100)
    short = queue_socket(folder).parent
    short.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: short.stat().st_uid + 1)
    try:
        with pytest.raises(embedded.QueueError, match=r"^REDIS_URL must be set here: .* belongs to another user\.$"):
            embedded.command(folder)
    finally:
        short.rmdir()


def test_without_any_server_one_sentence_asks_for_redis_url(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "vax")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(embedded.QueueError, match=r"^REDIS_URL must be set here: .*\.$"):
        embedded.find_server()


def test_a_server_on_path_will_do(monkeypatch, tmp_path):
    monkeypatch.setattr("platform.machine", lambda: "vax")
    (tmp_path / "redis-server").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded.find_server() == str(tmp_path / "redis-server")


@pytest.mark.skipif(os.name != "posix", reason="needs users")
def test_it_runs_as_an_unprivileged_user(tmp_path):
    """As root: as nobody, from a copy that nobody may reach; else the test is one already."""
    home = shutil.copytree(os.path.dirname(embedded.find_server()), f"/tmp/wa-valkey-{os.getpid()}")
    try:
        who = {}
        if os.geteuid() == 0:
            os.chmod(home, 0o755)
            os.makedirs(f"{home}/data")
            os.chown(f"{home}/data", NOBODY, NOBODY)
            who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        words = [f"{home}/valkey-server", "--port", "0", "--unixsocket", f"{home}/data/s"]
        os.makedirs(f"{home}/data", exist_ok=True)
        server = subprocess.Popen(words, cwd=f"{home}/data", stdout=subprocess.DEVNULL, **who)
        try:
            wait_until(lambda: embedded.answers(type(tmp_path)(f"{home}/data/s")), 5, "PONG")
        finally:
            server.terminate()
            server.wait(5)
    finally:
        shutil.rmtree(home)
