"""Hash chains: histories in which nothing can be changed, left out or slipped in without being found.

Each row carries the keyed hash of itself and of its forerunner. The key is derived from ``WA_SECRET_KEY`` and is
not in the database, so that whoever can only write rows cannot forge a chain (security.md §4.8). What it cannot
show by itself: the newest rows cut off together with the remembered end.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flask import current_app
from sqlalchemy import select, update

from .. import security
from ..db import db, insert_rows
from ..models import AuditEntry, ChainHead, ConsentEvent
from ..prepared import Prepared, placeholders

FIRST = "0" * 64  # the forerunner of the first link
_PAGE = 1000


class Link(NamedTuple):
    """The chain columns of a new row."""

    seq: int
    previous_hash: str
    hash: str


@dataclass
class End:
    """Where a locked chain ends now."""

    tenant_id: str
    chain: str
    seq: int
    hash: str

    def append(self, body: Mapping[str, Any]) -> Link:
        """The next link, over ``body`` (JSON values; no telephone numbers, so that erasure breaks nothing)."""
        link = Link(self.seq + 1, self.hash, _mac(self.tenant_id, self.chain, self.seq + 1, self.hash, body))
        self.seq, self.hash = link.seq, link.hash
        return link


@contextmanager
def lengthening(tenant_id: str, chain: str) -> Iterator[End]:
    """Lock the end of a tenant's chain (inside a transaction), and remember the new end when the block is done."""
    row = lock(tenant_id, chain)
    end = replace(row)
    yield end
    if end.seq != row.seq:
        _move_end.run(tenant_id=tenant_id, chain=chain, new_seq=end.seq, new_hash=end.hash)


def lock(tenant_id: str, chain: str) -> End:
    """Wait for whoever is writing to this chain, and keep others out until the transaction ends; where it ends now."""
    found = _lock_end.run(tenant_id=tenant_id, chain=chain)
    if not found:
        first = {"tenant_id": tenant_id, "chain": chain, "seq": 0, "hash": FIRST}
        insert_rows(ChainHead, [first], once=["tenant_id", "chain"])
        found = _lock_end.run(tenant_id=tenant_id, chain=chain)
    return End(tenant_id, chain, found[0]["seq"], found[0]["hash"])


def _of_the_chain() -> tuple[Any, Any]:
    marks = placeholders(ChainHead, ("tenant_id", "chain"))
    return ChainHead.tenant_id == marks["tenant_id"], ChainHead.chain == marks["chain"]


_lock_end = Prepared(
    lambda _dialect: select(ChainHead.seq, ChainHead.hash).where(*_of_the_chain()).with_for_update(), changes=True
)
_move_end = Prepared(
    lambda _dialect: update(ChainHead).where(*_of_the_chain()).values(placeholders(ChainHead, ("seq", "hash"), "new_")),
    changes=True,
)


def _mac(tenant_id: str, chain: str, seq: int, previous: str, body: Mapping[str, Any]) -> str:
    text = json.dumps([chain, tenant_id, seq, previous, body], sort_keys=True, separators=(",", ":"))
    return hmac.new(_key(), text.encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    return hmac.new(current_app.config["SECRET_KEY"].encode(), b"wa_dashboard hash chains", hashlib.sha256).digest()


def written(moment: datetime) -> str:
    """How an instant stands in a body."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


# --- checking ---------------------------------------------------------------------------------------------------


class Broken(NamedTuple):
    """The first link that does not hold. ``why``: ``changed``, ``missing``, ``unlinked`` or ``surplus``."""

    chain: str
    seq: int
    why: str


def verify(tenant_id: str, chain: str, rows: type[Any], body_of: Callable[[Any], Mapping[str, Any]]) -> Broken | None:
    """Recompute a tenant's whole chain over the table ``rows``; None when every link holds."""
    end = _end_of(tenant_id, chain)
    seq, previous = 0, FIRST
    while seq < end[0]:
        page = _page(tenant_id, rows, seq, end[0])
        for row in page:
            if row.seq != seq + 1:
                return Broken(chain, seq + 1, "missing")
            if row.previous_hash != previous:
                return Broken(chain, row.seq, "unlinked")
            if not security.same(row.hash, _mac(tenant_id, chain, row.seq, previous, body_of(row))):
                return Broken(chain, row.seq, "changed")
            seq, previous = row.seq, row.hash
        if not page:
            return Broken(chain, seq + 1, "missing")
    if previous != end[1]:
        return Broken(chain, seq, "unlinked")
    beyond = _page(tenant_id, rows, seq, None)
    # Links made while we were reading have moved the end; a row beyond an end that stands still was slipped in.
    return Broken(chain, beyond[0].seq, "surplus") if beyond and _end_of(tenant_id, chain) == end else None


def _end_of(tenant_id: str, chain: str) -> tuple[int, str]:
    wanted = select(ChainHead.seq, ChainHead.hash).where(ChainHead.tenant_id == tenant_id, ChainHead.chain == chain)
    row = db.session.execute(wanted).one_or_none()
    return (row.seq, row.hash) if row else (0, FIRST)


def _page(tenant_id: str, rows: type[Any], after: int, up_to: int | None) -> list[Any]:
    wanted = select(rows).where(rows.tenant_id == tenant_id, rows.seq > after)
    if up_to is not None:
        wanted = wanted.where(rows.seq <= up_to)
    limited = wanted.order_by(rows.seq).limit(_PAGE if up_to is not None else 1)
    return list(db.session.scalars(limited, execution_options={"populate_existing": True}))


# --- the two chains there are -----------------------------------------------------------------------------------

CONSENT = "consent"
AUDIT = "audit"


def consent_body(event: Any) -> dict[str, Any]:
    """What a consent event's hash covers. ``dedupe`` stands for the source's own reference."""
    names = ("id", "contact_id", "purpose", "status", "source", "wording_id", "actor", "applied", "changed", "dedupe")
    times = {name: written(getattr(event, name)) for name in ("occurred_at", "recorded_at")}
    return {name: getattr(event, name) for name in names} | times


def audit_body(entry: Any) -> dict[str, Any]:
    names = ("id", "actor", "action", "subject", "detail")
    return {name: getattr(entry, name) for name in names} | {"at": written(entry.at)}


def verify_consent(tenant_id: str) -> Broken | None:
    """Check the tenant's consent history. Inside its scope."""
    return verify(tenant_id, CONSENT, ConsentEvent, consent_body)


def verify_audit(tenant_id: str) -> Broken | None:
    """Check the tenant's audit log. Inside its scope."""
    return verify(tenant_id, AUDIT, AuditEntry, audit_body)
