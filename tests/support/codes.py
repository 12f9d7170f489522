"""One-time codes in tests: asked for as a shop does, read where only the recipient's phone would."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import inspect, select

from tests import factories
from tests.factories import ReadyTenant
from wa_dashboard.db import Base, all_tenants, db, end_read
from wa_dashboard.models import Code, Message

PHONE = "+40722123456"
BODY = "*{code}* este codul tău de verificare. Nu îl trimite nimănui."


def make_template(ready: ReadyTenant) -> None:
    factories.make_template(ready, "otp_code", type="otp", body=BODY)


def ask(client: Any, ready: ReadyTenant, path: str, at: str | None = None, key: str | None = None, **body: Any) -> Any:
    """Post to ``send/otp`` or ``verify/otp``; ``at`` moves the clock of the call, ``key`` makes it idempotent."""
    headers = ready.headers | ({"X-WA-Test-Clock": at} if at else {}) | ({"Idempotency-Key": key} if key else {})
    return client.post(f"/api/wa/{path}", json={"phone": PHONE} | body, headers=headers)


def code_in(message_id: str) -> str:
    """The code that is sealed in a message."""
    with all_tenants("a test looks"):
        message = db.session.scalars(
            select(Message).where(Message.id == message_id), execution_options={"populate_existing": True}
        ).one()
        found: str = message.variables["code"]
        end_read()
    return found


def sealed(message_id: str) -> bytes | None:
    with all_tenants("a test looks"):
        found = db.session.scalar(select(Message.variables_sealed).where(Message.id == message_id))
        end_read()
    return found


def wrong(code: str) -> str:
    """Another code."""
    return f"{(int(code) + 1) % 1_000_000:06d}"


def rows() -> list[Code]:
    """Everybody's codes, oldest first."""
    with all_tenants("a test looks"):
        found = list(
            db.session.scalars(
                select(Code).order_by(Code.created_at, Code.id), execution_options={"populate_existing": True}
            )
        )
        end_read()
    return found


def everything_stored() -> str:
    """All columns of all rows of all tables, as text; but for times, whose microseconds may be any six digits."""
    with all_tenants("a test looks"):
        text = "\n".join(_columns())
        end_read()
    return text


def _columns() -> Iterator[str]:
    for mapper in Base.registry.mappers:
        names = [column.key for column in inspect(mapper.class_).mapper.column_attrs]
        for row in db.session.scalars(select(mapper.class_), execution_options={"populate_existing": True}):
            values = [(name, getattr(row, name)) for name in names]
            yield from (f"{type(row).__name__}.{name}: {v!r}" for name, v in values if not isinstance(v, datetime))
