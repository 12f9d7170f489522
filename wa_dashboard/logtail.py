"""Follows the parts' log files and shows them: warnings on a terminal, every line anywhere else."""

import contextlib
import json
import os
import shutil
import sys
import time
from pathlib import Path

from .greeting import wants_colour

ROTATE_BYTES = 16 * 1024 * 1024
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_NOT_SHOWN = ("event", "level", "timestamp", "logger", "exception")


class LogTail:
    """Reads only what was added since the last look; keeps each file below ROTATE_BYTES and one older copy."""

    def __init__(self, folder: Path, level: str) -> None:
        self._terminal = sys.stderr.isatty()
        self._colour = wants_colour(sys.stderr)
        self._least = _LEVELS["debug"] if level == "debug" else _LEVELS["warning"]
        self._places: dict[Path, int] = {}
        self._rests: dict[Path, bytes] = {}
        for log in folder.glob("*.log"):
            self._rotate(log)

    def follow(self, log: Path) -> None:
        """Show what ``log`` gets from now on."""
        self._places[log] = log.stat().st_size if log.exists() else 0

    def pass_on(self) -> None:
        """Show what is new. Never raises: nobody may be reading."""
        for log, place in self._places.items():
            with contextlib.suppress(OSError):
                size = log.stat().st_size
                if size > place:
                    with log.open("rb") as file:
                        file.seek(place)
                        fresh = file.read(size - place)
                    self._places[log] = place + len(fresh)
                    self._show(log, fresh)
                if self._places[log] > ROTATE_BYTES:
                    self._rotate(log)
                    self._places[log] = 0

    def _show(self, log: Path, fresh: bytes) -> None:
        lines = (self._rests.pop(log, b"") + fresh).split(b"\n")
        self._rests[log] = lines.pop()
        for line in lines:
            text = line.decode("utf-8", "replace")
            shown = self._for_terminal(log.stem, text) if self._terminal else _as_json(log.stem, text)
            if shown:
                sys.stderr.write(shown + "\n")
        sys.stderr.flush()

    def _for_terminal(self, part: str, text: str) -> str | None:
        """A short line for what matters; None for the rest. Text that is not JSON is a part's last words."""
        try:
            entry = json.loads(text)
            level = str(entry["level"]).lower()
        except (ValueError, KeyError, TypeError):
            return f"  {part}: {text}" if part != "queue" and text.strip() else None
        if _LEVELS.get(level, 20) < self._least:
            return None
        ids = " ".join(f"{key}={value}" for key, value in entry.items() if key not in _NOT_SHOWN)
        mark, off = ("\033[33m", "\033[0m") if self._colour else ("", "")
        return f"  {mark}{part}: {level}: {entry.get('event', '')} {ids}".rstrip() + off

    @staticmethod
    def _rotate(log: Path) -> None:
        """Copy and cut: the part that writes keeps its place, because it appends."""
        with contextlib.suppress(OSError):
            if log.stat().st_size > ROTATE_BYTES:
                shutil.copyfile(log, log.with_suffix(".log.1"))
                os.truncate(log, 0)


def tell(text: str, level: str = "info") -> None:
    """A line of our own on stderr: plain for a person, JSON for a collector. Never raises."""
    with contextlib.suppress(OSError):
        sys.stderr.write((text if sys.stderr.isatty() else _entry("supervisor", text, level)) + "\n")
        sys.stderr.flush()


def _as_json(part: str, text: str) -> str:
    """The line as it is when it is JSON already; the queue's own and tracebacks are wrapped."""
    return text if text.startswith("{") or not text.strip() else _entry(part, text, "info")


def _entry(part: str, text: str, level: str) -> str:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"event": text, "level": level, "logger": part, "timestamp": stamp}, ensure_ascii=False)
