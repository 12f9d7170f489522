"""The simulator as a server: in a process of its own, or in a thread for tests."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from .control import Control
from .dialog360 import Dialog360Door
from .fates import Settings
from .ledger import LedgerBusy
from .meta import MetaDoor
from .twilio import TwilioDoor
from .twilio_content import ContentDoor
from .world import World

log = logging.getLogger(__name__)

_LARGEST_BODY = 101 * 1024 * 1024  # Meta takes documents of a hundred megabytes
_LOOPBACK = "127.0.0.1"


class CannotStart(Exception):
    """The port or the files cannot be used; the text is one sentence for a person."""


class Simulator:
    """A running (or not yet running) simulator. `port` is known after `start`."""

    def __init__(self, data_dir: Path, port: int, settings: Settings, seed: int | None) -> None:
        self._folder = data_dir / "simulator"
        self._wanted_port = port
        self.settings = settings
        self._seed = seed
        self._runner: web.AppRunner | None = None
        self.world: World | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash at the end."""
        return f"http://{_LOOPBACK}:{self.port}"

    @property
    def base_urls(self) -> dict[str, str]:
        """Base URLs for the adapters: meta, twilio, twilio_content, dialog360."""
        names = {"meta": "meta", "twilio": "twilio", "twilio_content": "twilio-content", "dialog360": "dialog360"}
        return {key: f"{self.url}/{path}" for key, path in names.items()}

    async def start(self) -> None:
        """Opens files and port. Raises CannotStart."""
        try:
            self.world = World(self._folder, self.settings, self._seed)
        except LedgerBusy as error:
            raise CannotStart(f"Another simulator already writes {error}.") from error
        except (OSError, sqlite3.Error) as error:
            raise CannotStart(f"The simulator cannot write to {self._folder}: {error}.") from error
        app = web.Application(client_max_size=_LARGEST_BODY)
        for door in (
            MetaDoor(self.world), TwilioDoor(self.world), ContentDoor(self.world),
            Dialog360Door(self.world), Control(self.world),
        ):  # fmt: skip
            app.add_routes(door.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _LOOPBACK, self._wanted_port, backlog=1024).start()
        except OSError as error:
            await self.stop()
            if error.errno == errno.EADDRINUSE:
                text = f"Port {self._wanted_port} is already in use: set WA_SIMULATOR_PORT to a free one."
                raise CannotStart(text) from error
            raise CannotStart(f"The simulator cannot listen on port {self._wanted_port}: {error}.") from error
        self.port = self._runner.addresses[0][1]
        await self.world.start()
        log.info("simulator listens on %s, ledger has %d accepted sends", self.url, self.world.ledger.count)

    async def stop(self) -> None:
        """Ends open connections, stops callbacks, closes the files; under two seconds."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self.world is not None:
            await self.world.stop()
            self.world = None


def create_server(
    data_dir: str | Path,
    port: int = 0,
    *,
    approve_after_s: float | None = 3.0,
    scale: float = 1.0,
    seed: int | None = None,
) -> Simulator:
    """A simulator for use inside a running loop: `await sim.start()`, `await sim.stop()`.

    Files go to `data_dir/simulator`; port 0 takes a free one; `scale` multiplies the delays of statuses.
    """
    settings = Settings()
    settings.change({"approve_after_s": approve_after_s, "scale": scale})
    return Simulator(Path(data_dir), port, settings, seed)


@contextlib.contextmanager
def in_thread(
    data_dir: str | Path,
    port: int = 0,
    *,
    approve_after_s: float | None = 3.0,
    scale: float = 1.0,
    seed: int | None = None,
) -> Iterator[Simulator]:
    """A simulator that serves from a thread while the block runs. Raises CannotStart."""
    simulator = create_server(data_dir, port, approve_after_s=approve_after_s, scale=scale, seed=seed)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.start(), loop).result(30)
        yield simulator
    finally:
        asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _serve(simulator: Simulator) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, done.set)
    await simulator.start()
    await done.wait()
    await simulator.stop()


def main(
    *,
    data_dir: str | Path,
    port: int,
    approve_after_s: float | None = 3.0,
    scale: float = 1.0,
    seed: int | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit code: 0, or 1 after one sentence on stderr.

    Logging is the caller's: this only uses the logger `wa_dashboard.simulator`.
    """
    simulator = create_server(data_dir, port, approve_after_s=approve_after_s, scale=scale, seed=seed)
    try:
        asyncio.run(_serve(simulator))
    except CannotStart as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
