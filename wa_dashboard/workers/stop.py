"""One bit shared by a worker and all it forks: stop. RQ has no word for a job that should come to its end early."""

import mmap
import os

_shared = mmap.mmap(-1, 1)
_parent = 0


def watch_over(pid: int) -> None:
    """``pid`` is the worker whose end is everybody's."""
    global _parent
    _parent = pid


def tell() -> None:
    """To this process, its children and theirs."""
    _shared[0] = 1


def told() -> bool:
    """Should work in hand come to its end? Also when the worker itself is gone."""
    return bool(_shared[0]) or bool(_parent and not _lives(_parent))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
