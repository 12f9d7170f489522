"""Places where a test may kill, freeze or fail the process (durability.md §3.20). Inert unless WA_FAILPOINTS is set."""

import os
import signal
import time
from collections import Counter

_points: dict[str, tuple[str, float, int]] = {}
_hits: Counter[str] = Counter()


class Failed(RuntimeError):
    """Raised by a failpoint that was told to raise."""


def arm(spec: str) -> None:
    """``name=kill@3,other=stop(5),third=raise``: what to do, and at which hit (1 if not said).

    Raises ValueError for anything else.
    """
    _points.clear()
    _hits.clear()
    for part in filter(None, (piece.strip() for piece in spec.split(","))):
        name, _, rest = part.partition("=")
        what, _, count = rest.partition("@")
        action, _, seconds = what.rstrip(")").partition("(")
        if action not in ("kill", "stop", "raise") or not name:
            raise ValueError(f"{part!r} is not NAME=kill|stop(SECONDS)|raise[@N]")
        _points[name] = (action, float(seconds or 0), int(count or 1))


def hit(name: str) -> None:
    """Does nothing, unless this point was armed and its count has come."""
    if not _points or name not in _points:
        return
    action, seconds, count = _points[name]
    _hits[name] += 1
    if _hits[name] != count:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "stop":
        time.sleep(seconds)
    if action == "raise":
        raise Failed(name)
