"""What a process may remember of the database for a moment, and when it must look again.

A change made by this process is seen by its next look, one made by another after the cache's ``seconds``.
"""

from collections.abc import Callable, Hashable
from time import monotonic
from typing import Any, Generic, TypeVar

from flask import current_app

from .db import Base, versions_of

V = TypeVar("V")
_MOST = 10_000


class Remembered(Generic[V]):
    """Answers by key, each for at most ``seconds``, and only while this process changed no row of ``models``.

    A key names everything that the answer depends on, the tenant first. Each application has its own memory.
    """

    def __init__(self, name: str, seconds: float, *models: type[Base]) -> None:
        self._name = f"wa_remembered_{name}"
        self._seconds = seconds
        self._models = models

    def get(self, key: Hashable, look: Callable[[], V]) -> V:
        """The answer for the key: remembered, or what ``look`` says now. What ``look`` raises is not remembered."""
        memory: dict[Hashable, tuple[Any, float, V]] = current_app.extensions.setdefault(self._name, {})
        versions = versions_of(self._models)
        known = memory.get(key)
        if known is not None and known[0] == versions and monotonic() < known[1]:
            return known[2]
        until = monotonic() + self._seconds
        answer = look()
        if None not in versions:
            if len(memory) >= _MOST:
                memory.clear()
            memory[key] = (versions, until, answer)
        return answer
