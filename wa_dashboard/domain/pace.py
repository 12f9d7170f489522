"""How long things may take: leases, the patience with unknown outcomes, retries (durability.md §3.5–3.8)."""

import random
from dataclasses import dataclass, fields, replace

_ASKED = ((1, 1), (4, 4), (24, 24))  # younger than so many times ``stuck``: again after so many times


@dataclass(frozen=True)
class Pace:
    """Seconds. The defaults are for real providers; tests and kill storms shorten them through ``WA_PACE``."""

    lease: float = 30.0  # > request time-out + two commits
    connect: float = 3.0
    read: float = 7.0
    grace: float = 20.0  # before an unknown outcome is looked at at all
    margin: float = 30.0  # receipts must have been seen for attempts begun this much later
    hold: float = 900.0  # must_deliver: after that it is sent again even without evidence
    long_hold: float = 86400.0  # evidence, never_twice: after that it is given up as unconfirmed
    look_first: float = 5.0  # a provider that can be asked is asked about a doubt after this long,
    look_again: float = 15.0  # again after this long,
    look_last: float = 60.0  # and believed, when it does not know the message, after this long
    stuck: float = 900.0  # a provider that can be asked tells what became of an accepted message, and its price, then
    pair: float = 6.0  # between two messages to one person; 0: none (contracts.md §1.9)
    base: float = 5.0  # first retry
    cap: float = 3600.0
    tries: int = 8
    tick: float = 2.0
    probe: float = 15.0  # an account that is out of order is looked at after this; longer waits are multiples of it
    silence: float = 300.0  # accepted messages without any receipt for so long: receipts have stopped

    def retry_delay(self, failures: int, retry_after: float | None = None) -> float:
        """Full jitter: anywhere up to base·2^(failures-1), never under a second or what the provider asked for."""
        ceiling = min(self.cap, self.base * 2 ** max(failures - 1, 0))
        return max(min(1.0, self.base), retry_after or 0.0, random.uniform(0, ceiling))

    def ask_after(self, age: float) -> float | None:
        """Seconds until a message accepted ``age`` seconds ago is asked about again (after 15 minutes, 1 hour more, 6
        hours more at the usual pace); None: not any more."""
        return next((self.stuck * times for limit, times in _ASKED if age < self.stuck * limit), None)

    @classmethod
    def parse(cls, spec: str) -> "Pace":
        """``lease=6,grace=4``: the defaults with these changed. Raises ValueError naming what is wrong."""
        known = {field.name: field.type for field in fields(cls)}
        changes: dict[str, float] = {}
        for part in filter(None, (piece.strip() for piece in spec.split(","))):
            name, _, value = part.partition("=")
            if name not in known:
                raise ValueError(f"{name!r} is none of {', '.join(known)}")
            number = float(value)
            if number < 0:
                raise ValueError(f"{name} cannot be negative")
            changes[name] = int(number) if name == "tries" else number
        return replace(cls(), **changes)  # type: ignore[arg-type]
