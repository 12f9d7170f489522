"""What a wake-up calls. The names are listed in `queues.Job`; each takes a lane's name or nothing.

Run inside the application context that the worker process holds; RQ's forked child inherits it.
"""

from .. import queues
from ..db import db
from ..services import engine, receipts
from . import stop
from . import tick as sweeps

linger_s = 0.0  # how long a drain stays when all is sent; worker processes set it, well under the job's time-out


def drain(account_id: str) -> None:
    """Send what is due, on this lane and all others, and stay for what comes next."""
    _fresh()
    queues.awake(queues.Job.DRAIN, account_id)
    engine.serve(linger_s or engine.BUDGET_S, linger=linger_s > 0, stopping=stop.told)


def read_receipts(_: str = "") -> None:
    """Read the webhooks that wait."""
    _fresh()
    queues.awake(queues.Job.RECEIPTS, "")
    while receipts.process():
        pass


def chores(_: str = "") -> None:
    """Slow talk with providers: template submissions and look-ups."""
    _fresh()
    queues.awake(queues.Job.CHORES, "")
    sweeps.chores()


def tick(_: str = "") -> None:
    """The periodic sweeps, as rq-scheduler asks for them."""
    _fresh()
    sweeps.run_once()


def _fresh() -> None:
    """A forked child must not use its parent's connections (RQ forks one child per job)."""
    db.session.remove()
    db.engine.dispose(close=False)
