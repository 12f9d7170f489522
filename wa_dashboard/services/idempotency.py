"""Answers remembered under an ``Idempotency-Key``: the same request, however often it comes, happens once.

Key row, effect and answer are one transaction (decisions.md D18): a crash leaves none of them, a twin waits on the
key's row until the first is through, and then reads the first one's bytes.
"""

import hashlib
import hmac
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError

from .. import clock, security
from ..db import all_tenants, db, insert_rows, savepoint, transaction, wait_for_locks
from ..domain.phone import BadPhone, to_e164
from ..domain.text import T
from ..errors import BadRequest, Conflict, Invalid, WaError
from ..models import IdempotencyKey, Tenant

KEPT = timedelta(hours=72)
TWIN_WAITS_S = 2.0
KEY_MAX = 255

# Statuses of refusals that say nothing about the request itself: asking again must ask again (api.md §5.0 rule 4).
_NEVER_KEPT = frozenset({401, 403, 429})


@dataclass(frozen=True)
class StoredAnswer:
    """An HTTP answer: ``replayed`` is True when it is the one given before, byte for byte."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    replayed: bool = False


@dataclass(frozen=True)
class Once:
    """One request under one key. ``route``: method and path; ``live``: which kind of API key asked."""

    key: str
    route: str
    body: Mapping[str, Any] = field(default_factory=dict)
    live: bool = False


def remember(
    tenant: Tenant, once: Once, run: Callable[[], StoredAnswer], refuse: Callable[[WaError], StoredAnswer]
) -> StoredAnswer:
    """What ``run`` answers, or answered when this request came before. ``refuse`` turns a refusal into its answer.

    A refusal (4xx) undoes what ``run`` did, and is remembered too. Raises BadRequest ``idempotency_key_invalid``,
    Invalid ``idempotency_key_reused`` (``differs``: pointers), Conflict ``idempotency_in_progress`` when the first
    takes longer than two seconds, and whatever ``run`` raises that may not be kept.
    """
    check_key(once.key)
    with transaction():
        if not _take(tenant, once):
            return _recall(tenant, once)
        answer = _run(run, refuse)
        _keep(tenant, once, answer)
    return answer


def check_key(key: str) -> None:
    """Raises BadRequest unless the key has 1 to 255 printable ASCII characters."""
    if not 1 <= len(key) <= KEY_MAX or not all(" " <= letter <= "~" for letter in key):
        detail = T("An Idempotency-Key has 1 to %(count)s printable ASCII characters.", count=KEY_MAX)
        raise BadRequest(detail, "idempotency_key_invalid")


def purge() -> int:
    """Forget everybody's keys whose time is over. Returns how many."""
    with all_tenants("every tenant's keys grow old"), transaction():
        gone = db.session.scalars(
            delete(IdempotencyKey).where(IdempotencyKey.expires_at <= clock.now()).returning(IdempotencyKey.key),
            execution_options={"synchronize_session": False},
        )
        return len(list(gone))


# --- the key's row ----------------------------------------------------------------------------------------------


def _take(tenant: Tenant, once: Once) -> bool:
    """Is this the first with the key? Otherwise the first is through: a twin under way is waited for here."""
    wait_for_locks(TWIN_WAITS_S)
    try:
        _drop_expired(tenant, once.key)
        row = {
            "tenant_id": tenant.id,
            "key": once.key,
            "fingerprint": _fingerprint(tenant, once),
            "body_digests": _digests(tenant, once.body),
            "headers": {},
            "created_at": clock.now(),
            "expires_at": clock.now() + KEPT,
        }
        taken = insert_rows(IdempotencyKey, [row], once=["tenant_id", "key"])
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != "55P03":  # lock_not_available
            raise
        detail = T("The same request is being worked on. Send it again in a second.")
        raise Conflict(detail, "idempotency_in_progress", retry_after=1) from error
    wait_for_locks(0)
    return bool(taken)


def _drop_expired(tenant: Tenant, key: str) -> None:
    db.session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.tenant_id == tenant.id,
            IdempotencyKey.key == key,
            IdempotencyKey.expires_at <= clock.now(),
        ),
        execution_options={"synchronize_session": False},
    )


def _recall(tenant: Tenant, once: Once) -> StoredAnswer:
    row = db.session.scalars(
        select(IdempotencyKey).where(IdempotencyKey.tenant_id == tenant.id, IdempotencyKey.key == once.key),
        execution_options={"populate_existing": True},
    ).one()
    if not hmac.compare_digest(row.fingerprint, _fingerprint(tenant, once)):
        raise _reused(row, _digests(tenant, once.body))
    kept = security.open_json(row.answer_sealed or b"", _context(tenant, once))
    return StoredAnswer(row.status or 500, row.headers, kept["body"].encode(), replayed=True)


def _reused(row: IdempotencyKey, now: Mapping[str, str]) -> Invalid:
    before = row.body_digests
    differs = sorted(pointer for pointer in before.keys() | now.keys() if before.get(pointer) != now.get(pointer))
    if differs:
        detail = T("This Idempotency-Key came before with another body: %(where)s.", where=", ".join(differs[:5]))
    else:
        detail = T("This Idempotency-Key came before for another call. Use a new one.")
    return Invalid(detail, "idempotency_key_reused", extra={"differs": differs[:100]})


def _run(run: Callable[[], StoredAnswer], refuse: Callable[[WaError], StoredAnswer]) -> StoredAnswer:
    try:
        with savepoint():
            return run()
    except WaError as refusal:
        if refusal.status >= 500 or refusal.status in _NEVER_KEPT:
            raise
        return refuse(refusal)


def _keep(tenant: Tenant, once: Once, answer: StoredAnswer) -> None:
    sealed = security.seal_json({"body": answer.body.decode()}, _context(tenant, once))
    db.session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.tenant_id == tenant.id, IdempotencyKey.key == once.key)
        .values(status=answer.status, headers=dict(answer.headers), answer_sealed=sealed),
        execution_options={"synchronize_session": False},
    )


def _context(tenant: Tenant, once: Once) -> str:
    return f"{IdempotencyKey.__tablename__}|answer|{tenant.id}|{once.key}"


# --- is it the same request? ------------------------------------------------------------------------------------


def _fingerprint(tenant: Tenant, once: Once) -> str:
    """Keyed, so that a stolen table does not tell by trial whose number a request carried."""
    text = "\n".join((once.route, "live" if once.live else "test", _canonical(once.body)))
    return hmac.new(bytes.fromhex(tenant.index_pepper), text.encode(), hashlib.sha256).hexdigest()


def _digests(tenant: Tenant, body: Mapping[str, Any]) -> dict[str, str]:
    pepper = bytes.fromhex(tenant.index_pepper)
    return {pointer: security.blind_index(pepper, f"{pointer}\n{text}")[:12] for pointer, text in _leaves(body)}


def _canonical(value: Any) -> str:
    """Sorted keys, NFC, no blanks, telephone numbers in E.164: what two spellings of one request have in common."""
    return json.dumps(_same_spelling(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _same_spelling(value: Any, name: str = "") -> Any:
    if isinstance(value, str):
        if name == "phone":
            try:
                return to_e164(value).e164
            except BadPhone:
                return value
        return unicodedata.normalize("NFC", value)
    if isinstance(value, Mapping):
        return {unicodedata.normalize("NFC", key): _same_spelling(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_same_spelling(item) for item in value]
    return value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """JSON pointers to what two bodies do not share, sorted."""
    one, other = dict(_leaves(before)), dict(_leaves(now))
    return sorted(pointer for pointer in one.keys() | other.keys() if one.get(pointer) != other.get(pointer))


def _leaves(value: Any, pointer: str = "", name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", key)
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, f"{pointer}/{number}")
    else:
        yield pointer, json.dumps(_same_spelling(value, name), ensure_ascii=False, sort_keys=True)
