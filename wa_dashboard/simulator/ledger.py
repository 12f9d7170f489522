"""The append-only file of accepted sends: the only judge of duplicates and losses.

One JSON object per line. A line is handed to the kernel before the provider's answer leaves, so a
send that was answered is in the file even when this process is killed the moment after.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class LedgerBusy(Exception):
    """Another simulator writes this ledger."""


class Ledger:
    """Lines are numbered from 1; `count` is how many there are."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file, cuts a torn last line (its send was never answered), locks it.

        Raises LedgerBusy when another process holds it and OSError when it cannot be written.
        """
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise LedgerBusy(str(path)) from error
        self._ends = array("Q", [0])
        self._read_existing()

    @property
    def count(self) -> int:
        return len(self._ends) - 1

    def _read_existing(self) -> None:
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    log.warning("simulator ledger: a torn last line of %d bytes was cut off", len(line))
                    os.ftruncate(self._fd, end)
                    break
                end += len(line)
                self._ends.append(end)

    def append(self, entry: dict[str, Any]) -> int:
        """Writes one line and returns its number. Raises OSError (disk full): the send is then not accepted."""
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        written = os.write(self._fd, line)
        if written != len(line):
            os.ftruncate(self._fd, self._ends[-1])
            raise OSError("the ledger line was written only in part")
        self._ends.append(self._ends[-1] + written)
        return self.count

    def read_after(self, after: int) -> Iterator[bytes]:
        """Raw lines numbered above `after`, in chunks of up to 1 MiB (whole lines may be split between chunks)."""
        position = self._ends[min(max(after, 0), self.count)]
        stop = self._ends[-1]
        while position < stop:
            chunk = os.pread(self._fd, min(1 << 20, stop - position), position)
            if not chunk:
                return
            position += len(chunk)
            yield chunk

    def entries_after(self, after: int) -> Iterator[dict[str, Any]]:
        """Parsed lines numbered above `after`."""
        for line in b"".join(self.read_after(after)).splitlines():
            yield json.loads(line)

    def close(self) -> None:
        """Closes the file and gives up the lock."""
        os.close(self._fd)
