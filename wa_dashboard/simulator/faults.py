"""Misbehaviour on request: what `PUT /_sim/faults` accepts and how the dice are thrown."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from typing import Any

from .records import PROVIDERS


class BadFault(ValueError):
    """A fault that cannot be set; the text says which key and why."""


@dataclass(frozen=True)
class Faults:
    """Fractions are chances per send (or per webhook item) between 0 and 1."""

    drop_before: float = 0.0
    drop_after: float = 0.0
    slow_s: float = 12.0
    slow: float = 0.0
    http_503: float = 0.0
    http_429: float = 0.0
    http_502_after_accept: float = 0.0
    refuse: bool = False
    latency_ms: float = 0.0
    webhook_delay_ms: float = 0.0
    webhook_lost: float = 0.0
    webhook_duplicate: float = 0.0
    webhook_shuffle: float = 0.0
    webhooks_off: bool = False


_SWITCHES = {"refuse", "webhooks_off"}
_UPPER = {"slow_s": 600.0, "latency_ms": 60_000.0, "webhook_delay_ms": 86_400_000.0}
_KNOWN = [f.name for f in fields(Faults)]


class FaultBook:
    """The faults in force, one set per provider."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed
        self._dice = random.Random(seed)
        self._sets = {provider: Faults() for provider in PROVIDERS}

    def of(self, provider: str) -> Faults:
        """The set in force for one provider."""
        return self._sets[provider]

    def change(self, wanted: dict[str, Any]) -> None:
        """Applies one control request: absent keys stay, `{}` resets all, only `provider` resets that one.

        Raises BadFault and changes nothing when a key or a value is wrong.
        """
        values = dict(wanted)
        provider = values.pop("provider", None)
        if provider is not None and provider not in PROVIDERS:
            raise BadFault(f"provider must be one of {', '.join(PROVIDERS)}")
        seed = values.pop("seed", self.seed)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise BadFault("seed must be a whole number or null")
        checked: dict[str, Any] = {key: _checked(key, value) for key, value in values.items()}
        for name in [provider] if provider else PROVIDERS:
            nothing_else = not checked and "seed" not in wanted
            self._sets[name] = Faults() if nothing_else else replace(self._sets[name], **checked)
        if "seed" in wanted:
            self.seed = seed
            self._dice = random.Random(seed)

    def before(self, provider: str) -> str:
        """What happens to a send before it is looked at: "", "drop", "429" or "503"."""
        faults = self._sets[provider]
        for name, chance in (("drop", faults.drop_before), ("429", faults.http_429), ("503", faults.http_503)):
            if self.hit(chance):
                return name
        return ""

    def after(self, provider: str) -> tuple[float, str]:
        """Seconds to wait before the answer of an accepted send, and "", "drop" or "502" for the answer."""
        faults = self._sets[provider]
        wait = faults.slow_s if self.hit(faults.slow) else 0.0
        if self.hit(faults.drop_after):
            return wait, "drop"
        return wait, "502" if self.hit(faults.http_502_after_accept) else ""

    def hit(self, chance: float) -> bool:
        """Whether an event of this chance happens now."""
        return chance > 0 and self._dice.random() < chance

    def between(self, low: float, high: float) -> float:
        """A number between the two."""
        return self._dice.uniform(low, high)

    def as_json(self) -> dict[str, Any]:
        """What `GET /_sim/faults` answers."""
        return {"seed": self.seed, **{name: vars(faults) for name, faults in self._sets.items()}}


def _checked(key: str, value: Any) -> float | bool:
    if key not in _KNOWN:
        raise BadFault(f"unknown fault {key}; known are provider, seed, {', '.join(_KNOWN)}")
    if key in _SWITCHES:
        if not isinstance(value, bool):
            raise BadFault(f"{key} must be true or false")
        return value
    upper = _UPPER.get(key, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= upper:
        raise BadFault(f"{key} must be a number between 0 and {upper:g}")
    return float(value)
