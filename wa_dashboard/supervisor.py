"""``run``: prepares, starts every part as a process of its own, restarts what dies, stops all within 15 seconds.

Standard library only, so that it is up at once. Every part is a session of its own (a Ctrl-C in the terminal reaches
only this process), writes to a file in ``WA_DATA_DIR/logs`` and, on Linux, is told by the kernel when this process
is killed. On a terminal one sees warnings only; otherwise every line is passed on to stderr.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from . import embedded, presence, readiness, serve
from .config import PROJECT, ConfigError, Settings, start_sentence
from .greeting import Facts, greeting, wants_colour
from .logtail import LogTail, tell

STOP_SECONDS = 10.0  # for the parts; the queue goes last and gets two more
HEALTHY_AFTER_SECONDS = 60.0
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(words: list[str]) -> int:
    """Run until SIGINT, SIGTERM or SIGHUP. Returns 0, or 1 after one sentence on stderr."""
    began = time.monotonic()
    as_json = words == ["--json"]
    if words and not as_json:
        return _refuse(f"`run` takes no arguments, not {' '.join(words)}: it reads the environment.")
    try:
        settings = Settings.from_env()
        readiness.check_place(settings)
        with presence.present(settings.data_dir):
            return Supervisor(settings, began, as_json=as_json).run()
    except (ConfigError, presence.Busy, readiness.CannotStart, embedded.QueueError, OSError) as error:
        return _refuse(start_sentence(error))


class Part:
    """One process that should be running: its words, its log, and when it may be started again."""

    def __init__(self, name: str, words: list[str], settings: Settings) -> None:
        self.name = name
        self.words = words
        self.log = settings.logs_dir / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.began = 0.0
        self.next_start = 0.0
        self.deaths = 0  # in a row, each before HEALTHY_AFTER_SECONDS
        self._settings = settings

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = self._spawn(output)
        self.began = time.monotonic()

    def _spawn(self, output: IO[bytes]) -> subprocess.Popen[bytes] | None:
        return _spawn(self.words, output, output, self._settings)

    def look(self) -> int | None:
        """The exit code when it has just died, and then when to start it again; else None."""
        if self.process is None or self.process.poll() is None:
            return None
        code, self.process = self.process.returncode, None
        lived = time.monotonic() - self.began
        self.deaths = 1 if lived > HEALTHY_AFTER_SECONDS else self.deaths + 1
        self.next_start = time.monotonic() + min(30.0, 0.25 * 2**self.deaths)
        return code

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""


class QueuePart(Part):
    """The embedded queue. One that runs already (another ``run`` of this folder) is used, and looked at again."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("queue", [], settings)

    def _spawn(self, output: IO[bytes]) -> subprocess.Popen[bytes] | None:
        self.next_start = time.monotonic() + 2
        return embedded.start(self._settings.data_dir, output=output.fileno(), before_exec=_follow_parent(os.getpid()))


class Supervisor:
    """All parts of one ``run``."""

    def __init__(self, settings: Settings, began: float, *, as_json: bool = False) -> None:
        self.settings = settings
        self._began = began
        self._as_json = as_json
        self._parts: list[Part] = []
        self._sessions: set[int] = set()
        self._ending = 0
        settings.logs_dir.mkdir(parents=True, exist_ok=True)
        self._tail = LogTail(settings.logs_dir, settings.log_level)
        self._web = self._part("web")

    def run(self) -> int:
        """Start, wait, stop. Raises what stops the start, after stopping what was started."""
        reader = self._listen()
        try:
            if self.settings.embedded_queue:
                self._add(QueuePart(self.settings))
            facts = readiness.known_facts(self.settings)
            if facts is None and not readiness.schema_is_current(self.settings):
                facts = self._prepare(reader)
            self._add(self._web)
            if facts is None:
                facts = self._prepare(reader)
            self._wait_for_web(reader)
            if not self._ending:
                self._greet(facts)
            # The pages first: the other parts would only compete with them for the processor.
            self._wait(reader, lambda: self._web_state() == "ready", 5.0)
            for name in self._rest():
                self._add(self._part(name))
            while not self._ending:
                self._turn(reader, 0.5)
        finally:
            self._stop(reader)
        return 0

    # --- starting ---

    def _part(self, name: str) -> Part:
        return Part(name, _words(name.partition("-")[0]), self.settings)

    def _rest(self) -> list[str]:
        running = {part.name for part in self._parts}
        workers = [f"worker-{number}" for number in range(1, self.settings.workers + 1)]
        return [name for name in ["simulator", *workers, "scheduler"] if name not in running]

    def _add(self, part: Part) -> None:
        self._parts.append(part)
        self._tail.follow(part.log)
        self._start(part)

    def _start(self, part: Part) -> None:
        part.start()
        if part.process is not None:
            self._sessions.add(part.process.pid)

    def _prepare(self, reader: int) -> Facts:
        """Schema and, in an empty database, demo data, by a child that knows the database. The simulator is up
        before it, since test accounts are told to it."""
        tell("Preparing the database …")
        self._add(self._part("simulator"))
        self._wait(reader, lambda: readiness.listens("127.0.0.1", self.settings.simulator_port), 5.0)
        part = self._part("prepare")
        part.words = [*_words("_prepare"), "--json"]
        answer = self.settings.logs_dir / "prepare.json"
        with answer.open("wb") as output, part.log.open("wb") as errors:
            child = _spawn(part.words, output, errors, self.settings)
        self._sessions.add(child.pid)
        self._wait(reader, lambda: child.poll() is not None, 600.0)
        if self._ending:
            return {}
        try:
            if child.returncode == 0:
                facts = dict(json.loads(answer.read_text(encoding="utf-8")))
                readiness.remember(self.settings, facts)
                return facts
        except ValueError:
            pass
        finally:
            answer.unlink(missing_ok=True)  # it holds the welcome link
        raise readiness.CannotStart(part.last_words() or f"The database could not be prepared: see {part.log}.")

    def _wait_for_web(self, reader: int) -> None:
        began = time.monotonic()
        while not self._ending and self._web_state() == "away":
            self._turn(reader, 0.02)
            if self._web.deaths >= 3 or time.monotonic() - began > 60:
                raise readiness.CannotStart(f"The web part does not start: {self._web.last_words() or self._web.log}")

    def _web_state(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)  # noqa: S104
        return readiness.web_state(host, self.settings.port)

    def _greet(self, facts: Facts) -> None:
        seconds = time.monotonic() - self._began
        if self._as_json:
            text = json.dumps({"url": self.settings.public_url, "seconds": round(seconds, 2), **facts})
        else:
            text = greeting(self.settings, facts, seconds, colour=wants_colour(sys.stdout))
        with contextlib.suppress(OSError):  # nobody reads any more; that is no reason to stop sending
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    # --- running ---

    def _listen(self) -> int:
        """Signals only wake the loop, through a pipe; returns its reading end."""
        reader, writer = os.pipe()
        for end in (reader, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _ENDINGS:
            signal.signal(number, self._note_ending)
        return reader

    def _note_ending(self, *_: Any) -> None:
        self._ending += 1

    def _turn(self, reader: int, seconds: float) -> None:
        """Wait for news at most ``seconds``; restart what died; pass on what the logs say."""
        select.select([reader], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(reader, 512)
        for part in self._parts:
            code = part.look()
            if code is not None and not self._ending:
                self._tail.pass_on()
                if part is not self._web or part.deaths < 3:
                    tell(f"{part.name} ended ({_ending(code)}); it is started again.", "warning")
            if part.process is None and not self._ending and time.monotonic() >= part.next_start:
                self._start(part)
        self._sessions = {leader for leader in self._sessions if self._is_ours(leader) or _members(leader)}
        self._tail.pass_on()

    def _is_ours(self, leader: int) -> bool:
        return any(part.process is not None and part.process.pid == leader for part in self._parts)

    def _wait(self, reader: int, done: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._ending and not done() and time.monotonic() < end:
            self._turn(reader, 0.05)

    # --- stopping ---

    def _stop(self, reader: int) -> None:
        """SIGTERM, patience, SIGKILL to whatever is left of every session; the queue last."""
        asked = self._ending
        self._ending = max(1, asked)
        if asked:
            tell("Stopping …")
        queue = [part for part in self._parts if part.name == "queue"]
        others = [part for part in self._parts if part not in queue]
        self._end(reader, others, STOP_SECONDS)
        self._kill_sessions({part.process.pid for part in queue if part.process is not None})
        self._end(reader, queue, 2.0)
        self._kill_sessions(set())
        self._tail.pass_on()

    def _end(self, reader: int, parts: list[Part], seconds: float) -> None:
        for part in parts:
            if part.process is not None:
                part.process.terminate()
        end, asked = time.monotonic() + seconds, self._ending
        while any(part.process is not None for part in parts) and time.monotonic() < end and self._ending == asked:
            self._turn(reader, 0.1)

    def _kill_sessions(self, spared: set[int]) -> None:
        for leader in self._sessions - spared:
            for pid in _members(leader):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        for part in self._parts:
            if part.process is not None and part.process.pid not in spared:
                part.process.kill()
                part.process.wait()
                part.process = None


def _words(command: str) -> list[str]:
    return [sys.executable, str(PROJECT / "app.py"), command]


def _spawn(words: list[str], output: IO[bytes], errors: IO[bytes], settings: Settings) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=_environ(settings),
        start_new_session=True,
        preexec_fn=_follow_parent(os.getpid()),  # noqa: PLW1509 — this process has one thread
    )


def _environ(settings: Settings) -> dict[str, str]:
    """Ours, the data folder as an absolute path, and leave to keep compiled modules: else every start compiles all."""
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "WA_DATA_DIR": str(settings.data_dir)}


def _follow_parent(parent: int) -> Any:
    def in_the_child() -> None:
        serve.stop_when_parent_dies()
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return in_the_child


def _members(leader: int) -> list[int]:
    """The processes of the session that ``leader`` began; only its own group where /proc does not tell."""
    found = []
    try:
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    stat = Path(f"/proc/{entry.name}/stat").read_text(encoding="utf-8", errors="replace")
                    state, _, _, session = stat.rpartition(")")[2].split()[:4]  # proc(5): after the name
                    if int(session) == leader and state != "Z":
                        found.append(int(entry.name))
    except OSError:
        with contextlib.suppress(OSError):
            os.killpg(leader, 0)
            return [-leader]
    return found


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"code {code}"


def _refuse(text: str) -> int:
    with contextlib.suppress(OSError):
        sys.stderr.write(text + "\n")
    return 1
