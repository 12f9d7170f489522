"""What all tables share: sealed columns and the moment a row was made."""

from datetime import datetime
from typing import Any, overload

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .. import clock, security
from ..db import UtcDateTime


class Sealed:
    """A property whose value (anything JSON can say) is kept encrypted in the column ``<name>_sealed``.

    The ciphertext is bound to its table, column, tenant and row: copied elsewhere it does not open. Give the
    row its ``id`` and ``tenant_id`` before the value.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, row: None, owner: type) -> "Sealed": ...
    @overload
    def __get__(self, row: Any, owner: type) -> Any: ...
    def __get__(self, row: Any, owner: type) -> Any:
        if row is None:
            return self
        return self.unseal(owner, row.tenant_id, row.id, getattr(row, f"{self.name}_sealed"))

    def __set__(self, row: Any, value: Any) -> None:
        setattr(row, f"{self.name}_sealed", self.seal(type(row), row.tenant_id, row.id, value))

    def seal(self, owner: type, tenant_id: str, row_id: str, value: Any) -> bytes | None:
        """The ciphertext for that row, for statements that write columns."""
        if not tenant_id or not row_id:
            raise ValueError("a sealed value needs its row's id and tenant first")
        return None if value is None else security.seal_json(value, self._context(owner, tenant_id, row_id))

    def unseal(self, owner: type, tenant_id: str, row_id: str, sealed: bytes | None) -> Any:
        """The value of a ciphertext that was read as a column. Raises Undecryptable."""
        return None if sealed is None else security.open_json(sealed, self._context(owner, tenant_id, row_id))

    def _context(self, owner: Any, tenant_id: str, row_id: str) -> str:
        return f"{owner.__tablename__}|{self.name}|{tenant_id}|{row_id}"


class SealedBytes(Sealed):
    """As `Sealed`, for bytes as they are."""

    def seal(self, owner: type, tenant_id: str, row_id: str, value: Any) -> bytes | None:
        if not tenant_id or not row_id:
            raise ValueError("a sealed value needs its row's id and tenant first")
        return None if value is None else security.seal_bytes(value, self._context(owner, tenant_id, row_id))

    def unseal(self, owner: type, tenant_id: str, row_id: str, sealed: bytes | None) -> Any:
        return None if sealed is None else security.open_bytes(sealed, self._context(owner, tenant_id, row_id))


class Made:
    """Mixin: when the row was made."""

    created_at: Mapped[datetime] = mapped_column(UtcDateTime(), default=clock.now, sort_order=90)


def belongs_to(table: str, column: str) -> ForeignKeyConstraint:
    """A foreign key that cannot point into another tenant: ``(tenant_id, column)`` → ``(tenant_id, id)``."""
    return ForeignKeyConstraint(["tenant_id", column], [f"{table}.tenant_id", f"{table}.id"])
