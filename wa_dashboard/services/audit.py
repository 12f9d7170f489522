"""Who did what to what: append-only, chained by hash, free of telephone numbers (security.md §4.8)."""

import json
from typing import Any

from .. import clock
from ..db import db, transaction
from ..domain.ids import new_id
from ..models import AuditEntry
from . import chains
from .chains import Broken


def record(tenant_id: str, actor: str, action: str, subject: str, **detail: Any) -> AuditEntry:
    """Add a line to the tenant's audit, in the transaction of the act itself; inside the tenant's scope.

    ``actor`` like ``user:usr_…``, ``key:key_…``, ``command``; ``action`` like ``api_key.created``; ``subject`` an
    id; ``detail`` small JSON values. Never a telephone number: lines outlive the person's erasure.
    """
    with transaction(), chains.lengthening(tenant_id, chains.AUDIT) as end:
        entry = AuditEntry(
            id=new_id("aud"),
            tenant_id=tenant_id,
            at=clock.now(),
            actor=actor[:80],
            action=action[:64],
            subject=subject[:80],
            detail=json.loads(json.dumps(detail)),  # as it will be read back
        )
        entry.seq, entry.previous_hash, entry.hash = end.append(chains.audit_body(entry))
        db.session.add(entry)
        db.session.flush()
    return entry


def verify(tenant_id: str) -> Broken | None:
    """The first line of the tenant's audit that was changed, removed or slipped in; None when all hold."""
    return chains.verify_audit(tenant_id)
