"""What each figure must reach, and what it is meant to reach (engine.md §8, the issue's table)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Gate:
    """``least`` must be reached, ``aim`` is wished for; ``most``: smaller is better. ``unit`` is for people."""

    what: str
    gate: float
    aim: float
    most: bool = False
    unit: str = "×"


GATES = {
    "delivery_150_of_ceiling": Gate("delivery at 150 ms ÷ the far end's ceiling, same connections", 0.45, 0.80),
    "delivery_0_of_requests": Gate("delivery at 0 ms ÷ plain requests loop", 4, 10),
    "delivery_0_of_simple": Gate("delivery at 0 ms ÷ RQ SimpleWorker, a job per message", 50, 100),
    "delivery_0_of_fork": Gate("delivery at 0 ms ÷ RQ default worker, a job per message", 300, 700),
    "delivery_0_of_celery": Gate("delivery at 0 ms ÷ Celery prefork, a task per message", 20, 40),
    "cpu_of_requests": Gate("CPU of a message ÷ CPU of a message in a requests loop", 0.15, 0.08, most=True),
    "twice": Gate("messages sent more than once", 0, 0, most=True, unit=""),
    "wire_of_fork": Gate("commit → on the wire, idle lane, p95 ÷ an RQ fork job", 1 / 5, 1 / 10, most=True),
    "otp_under_load_ms": Gate("a code under a running campaign, p95", 100, 50, most=True, unit="ms"),
    "confirm_under_load_s": Gate("100 confirmations under 10,000 promotions, p95", 5, 1, most=True, unit="s"),
    "intake_of_empty": Gate("confirmation ÷ empty Flask route, same server", 0.20, 0.35),
    "intake_of_naive": Gate("confirmation ÷ the ORM and an RQ job per message", 4, 8),
    "webhooks_of_orm": Gate("webhooks of 1,000 ÷ one ORM row at a time", 40, 80),
    "crash_lost": Gate("kill storm: lost", 0, 0, most=True, unit=""),
    "crash_twice": Gate("kill storm: twice", 0, 0, most=True, unit=""),
    "crash_unsaid": Gate("kill storm: unconfirmed though sent, unsent though not said", 0, 0, most=True, unit=""),
    "list_depth": Gate("deepest list page ÷ first page", 3, 1.5, most=True),
    "schedules_of_orm": Gate("reminders planned in bulk ÷ ORM one by one", 4, 6),
    "cli_of_bare": Gate("python3 app.py --help ÷ bare Flask with SQLAlchemy, imported", 1.5, 0.5, most=True),
    "web_rss_of_bare": Gate("memory of web's largest process ÷ bare Flask with SQLAlchemy", 1.5, 1.2, most=True),
}


def judged(name: str, values: Sequence[float]) -> dict[str, Any]:
    """The median of the rounds beside its gate; ``verdict``: fail, pass (the gate) or aim (even that)."""
    gate = GATES[name]
    value = median(values)
    reached = [value <= limit if gate.most else value >= limit for limit in (gate.gate, gate.aim)]
    verdict = "aim" if all(reached) else "pass" if reached[0] else "fail"
    return {"name": name, **asdict(gate), "value": value, "rounds": list(values), "verdict": verdict}
