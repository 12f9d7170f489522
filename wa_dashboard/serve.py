"""``web``: the application behind granian, one process for HTTP and one for Python.

granian answers the sockets in Rust and hands whole requests to a pool of threads; measured against gunicorn and
waitress in docs/decisions. Start any number on different ports, or behind one port with a proxy.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from . import presence
from .config import ConfigError, Settings, start_sentence

THREADS = 16
# Less than the ten seconds that a service manager grants.
STOP_SECONDS = 8
LOAD_SECONDS = 30
_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(words: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. One sentence and 1 for what stops the start."""
    if words:
        return _refuse(f"`web` takes no arguments, not {' '.join(words)}: it reads the environment.")
    try:
        settings = Settings.from_env()
        check_free(settings.host, settings.port, "WA_PORT")
        with presence.present(settings.data_dir):
            _serve(settings)
    except (ConfigError, presence.Busy, OSError) as error:
        return _refuse(start_sentence(error))
    return 0


def simulator(words: list[str]) -> int:
    """The far end of test-mode accounts, on loopback, until SIGTERM or SIGINT; returns the exit code."""
    if words:
        return _refuse(f"`simulator` takes no arguments, not {' '.join(words)}: it reads the environment.")
    try:
        settings = Settings.from_env()
    except (ConfigError, OSError) as error:
        return _refuse(start_sentence(error))
    from . import logs
    from .simulator import main as serve_simulator

    logs.configure(settings.log_level, human=settings.human_logs)
    return serve_simulator(data_dir=settings.data_dir, port=settings.simulator_port)


def check_free(host: str, port: int, variable: str) -> None:
    """Raises ConfigError naming ``variable`` when somebody listens there, or this machine has no such address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise ConfigError(variable, f"{port} may only be used by root here: choose one above 1023.") from error
        except socket.gaierror as error:
            raise ConfigError("WA_HOST", f"{host} is not an address of this machine.") from error
        except OSError as error:
            taken = error.errno in (48, 98)  # EADDRINUSE on macOS and Linux
            if taken:
                raise ConfigError(
                    variable, f"{port} is taken: stop the program that uses it or choose another {variable}."
                ) from error
            raise ConfigError("WA_HOST", f"{host} is not an address of this machine.") from error


def _serve(settings: Settings) -> None:
    serve(settings.host, settings.port, lambda: Gate(_create_app))


def serve(host: str, port: int, load: Callable[[], Callable[..., Any]]) -> None:
    """Serve the WSGI application that ``load`` makes in granian's second process, until a signal ends it."""
    from granian import Granian
    from granian.constants import Interfaces
    from granian.http import HTTP1Settings

    if sys.platform == "linux":
        multiprocessing.set_start_method("fork", force=True)  # quick, and the default before Python 3.14
    server = Granian(
        "app:app",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=THREADS,
        backlog=1024,
        backpressure=256,
        http1_settings=HTTP1Settings(header_read_timeout=15_000, keep_alive=True),
        workers_kill_timeout=STOP_SECONDS,
        websockets=False,
        log_enabled=False,
    )
    server.serve(target_loader=_Loader(os.getpid(), load))


class _Loader:
    """What granian calls in its second process, after the fork."""

    def __init__(self, parent: int, load: Callable[[], Callable[..., Any]]) -> None:
        self._parent = parent
        self._load = load

    def __call__(self, *_: Any, **__: Any) -> Callable[..., Any]:
        die_with(self._parent)
        return self._load()


class Gate:
    """A WSGI application that listens before the real one is loaded, so that a restart refuses nobody.

    Until then ``/healthz`` (the process lives) is answered here, with ``X-WA-Loading: 1``; everything else waits.
    When loading fails, the process ends with code 1 and the reason on stderr.
    """

    def __init__(self, load: Callable[[], Callable[..., Any]]) -> None:
        self._application: Callable[..., Any] | None = None
        self._loaded = threading.Event()
        threading.Thread(target=self._load, args=(load,), name="load-application", daemon=True).start()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if self._application is None:
            if environ.get("PATH_INFO") == "/healthz":
                start_response("200 OK", [("Content-Type", "application/json"), ("X-WA-Loading", "1")])
                return [b'{"status":"ok"}\n']
            self._loaded.wait(LOAD_SECONDS)
        if self._application is None:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Retry-After", "5")])
            return [b"Starting\n"]
        return self._application(environ, start_response)

    def _load(self, load: Callable[[], Callable[..., Any]]) -> None:
        try:
            self._application = load()
            self._loaded.set()
        except ConfigError as problem:
            print(problem, file=sys.stderr, flush=True)  # noqa: T201 — the operator's terminal
            os._exit(1)
        except BaseException:  # noqa: BLE001 — whatever it is, the process must not live on without its application
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)  # the only way out of a thread


def _create_app() -> Callable[..., Any]:
    # Nothing of what an import makes is garbage; looking for it costs a fifth of the start.
    gc.disable()
    try:
        from .factory import create_app

        return create_app()
    finally:
        gc.freeze()
        gc.enable()


def die_with(parent: int) -> None:
    """End this process when ``parent`` ends in whatever way: else it would keep the port. Raises nothing."""
    stop_when_parent_dies()
    threading.Thread(target=_watch, args=(parent,), name="watch-parent", daemon=True).start()


def stop_when_parent_dies(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel for a signal at the parent's death (Linux only; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _refuse(text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201 — the operator's terminal
    return 1
