"""What a sending process has begun and heard, in a file of its own, for those who find it dead (engine.md §3.4).

The attempt row is the truth. The journal only says more of it after a kill: which attempts never left (they may go
at once) and which answers were lost on the way to the database. Without it more of them are in doubt, no more.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from .. import logs
from ..domain.ids import new_id
from ..providers.base import Outcome

log = logs.get(__name__)

_SUFFIX = ".journal"
_FIELDS = ("kind", "error_class", "code", "detail", "external_id", "retry_after", "scope")


class Journal:
    """The journal of this process. A lock on it says that we live; it goes with us, however we end."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name = new_id("jrn")
        self._path = folder / f"{self.name}{_SUFFIX}"
        self._file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._broken = False
        self._write(json.dumps({"made": _machine()}).encode())

    def begin(self, message_id: str, attempt_no: int) -> None:
        """About to let this attempt's bytes leave. Raises OSError: they must not, since nobody would know."""
        self._write(b"B%s.%d" % (message_id.encode(), attempt_no))

    def heard(self, message_id: str, attempt_no: int, outcome: Outcome) -> None:
        """The answer is known; the database will be told in a moment. Not being able to say so here loses little."""
        told = {name: value for name in _FIELDS if (value := getattr(outcome, name))}
        line = json.dumps({"of": f"{message_id}.{attempt_no}", "is": told}, separators=(",", ":")).encode()
        try:
            self._write(line)
        except OSError as error:
            log.warning("journal_not_written", error=type(error).__name__)

    def _write(self, line: bytes) -> None:
        if self._broken:
            raise OSError("the journal has a torn line")
        self._broken = True
        if os.write(self._file, line + b"\n") == len(line) + 1:
            self._broken = False
        else:
            raise OSError("the journal could not be written whole")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:  # all that was begun is settled: nothing to say to anybody
            self._path.unlink(missing_ok=True)
        os.close(self._file)


@dataclass(frozen=True)
class Found:
    """The journal of a process that is gone. ``whole``: what is not in it did not happen (no power was lost since)."""

    name: str
    path: Path
    whole: bool
    begun: set[str] = field(default_factory=set)
    heard: dict[str, Outcome] = field(default_factory=dict)


def of_the_dead(folder: Path) -> Iterator[Found]:
    """The journals whose processes are gone, each held by us while the caller deals with it and then deleted.

    If the caller fails, the file stays for the next time.
    """
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(file).st_size:  # an empty one is being made at this moment
                yield _read(path)
                path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(file)


def _read(path: Path) -> Found:
    lines = path.read_bytes().split(b"\n")[:-1]  # the last one is whole only if it has its end
    whole, begun, heard = False, set(), {}
    for line in lines:
        if line.startswith(b"B"):
            begun.add(line[1:].decode())
            continue
        try:
            told = json.loads(line)
        except ValueError:
            log.warning("journal_damaged", journal=path.stem)
            whole = False
            continue
        if "made" in told:
            whole = told["made"] is not None and told["made"] == _machine()
        else:
            heard[told["of"]] = Outcome(**told["is"])
    return Found(path.name.removesuffix(_SUFFIX), path, whole, begun, heard)


def _machine() -> str | None:
    """This machine since it was last started: what was written before may have been lost with the power. None where
    nobody can say."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return f"{socket.gethostname()}/{started}"
