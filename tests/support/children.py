"""Forked children that use the test's application and may be killed at any place (workers are forked by RQ too)."""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable

from flask import Flask

from wa_dashboard import failpoints
from wa_dashboard.db import db


def start(app: Flask, work: Callable[[], object], armed: str = "") -> int:
    """Run ``work`` in a child with its own connections, with failpoints ``armed``. Returns its process id."""
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(0)
        app.extensions.pop("wa_redis", None)
        failpoints.arm(armed)
        with app.app_context():
            work()
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


def end_of(pid: int) -> int:
    """Wait for it; its exit code, negative when a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(app: Flask, work: Callable[[], object], armed: str) -> None:
    """Run ``work`` in a child that is killed (SIGKILL) at the failpoint ``armed``; anything else is an error."""
    assert end_of(start(app, work, armed)) == -signal.SIGKILL
