"""What survives a restart besides the ledger: one SQLite file, written a fifth of a second behind."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .records import Account, Inbound, Message, Template

_TABLES = ("accounts", "templates", "messages", "inbounds")


class Store:
    """Rows are JSON keyed by text; `position` keeps the order in which they were first written."""

    def __init__(self, path: Path) -> None:
        """Opens or makes the file. Raises sqlite3.Error or OSError when it cannot be written."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        for table in _TABLES:
            self._db.execute(
                f"CREATE TABLE IF NOT EXISTS {table} "
                "(position INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, body TEXT NOT NULL)"
            )
        self._db.execute("CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, body TEXT NOT NULL)")

    def save(
        self,
        *,
        accounts: Iterable[Account] = (),
        templates: Iterable[Template] = (),
        messages: Iterable[Message] = (),
        inbounds: Iterable[Inbound] = (),
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Writes the given rows in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        self._put("accounts", ((f"{a.provider}/{a.key}", a) for a in accounts))
        self._put("templates", ((f"{t.provider}/{t.id}", t) for t in templates))
        self._put("messages", ((m.id, m) for m in messages))
        self._put("inbounds", ((i.id, i) for i in inbounds))
        for key, value in (facts or {}).items():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, json.dumps(value)))
        self._db.execute("COMMIT")

    def _put(self, table: str, rows: Iterable[tuple[str, Any]]) -> None:
        self._db.executemany(
            f"INSERT INTO {table} (key, body) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET body = excluded.body",  # noqa: S608 - our own names
            ((key, json.dumps(vars(row), ensure_ascii=False)) for key, row in rows),
        )

    def fact(self, key: str, default: Any) -> Any:
        """One remembered value, or the default."""
        row = self._db.execute("SELECT body FROM facts WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else default

    def _rows(self, table: str, newest: int) -> Iterator[dict[str, Any]]:
        query = f"SELECT body FROM (SELECT * FROM {table} ORDER BY position DESC LIMIT ?) ORDER BY position"  # noqa: S608 - our own names
        for (body,) in self._db.execute(query, (newest,)):
            yield json.loads(body)

    def accounts(self) -> list[Account]:
        return [Account(**row) for row in self._rows("accounts", -1)]

    def templates(self) -> list[Template]:
        return [Template(**row) for row in self._rows("templates", -1)]

    def messages(self, newest: int) -> list[Message]:
        """The newest so many, oldest first."""
        return [Message(**row) for row in self._rows("messages", newest)]

    def inbounds(self, newest: int) -> list[Inbound]:
        """The newest so many, oldest first."""
        return [Inbound(**row) for row in self._rows("inbounds", newest)]

    def close(self) -> None:
        """Closes the file."""
        self._db.close()
