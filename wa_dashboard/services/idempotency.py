"""Answers remembered under an ``Idempotency-Key``: the same request, however often it comes, happens once.

Key row, effect and answer are one transaction (decisions.md D18): a crash leaves none of them, a twin waits on the
key's row until the first is through, and then reads the first one's bytes.
"""

import hmac
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.exc import OperationalError

from .. import clock, security
from ..db import all_tenants, db, in_transaction, transaction
from ..domain.phone import BadPhone, to_e164
from ..domain.text import T
from ..errors import BadRequest, Conflict, Invalid, WaError
from ..models import IdempotencyKey, Tenant
from ..prepared import Prepared, insert_into, placeholders

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
    if in_transaction():
        raise RuntimeError("a refusal must be able to undo everything")
    asked = _Asked(_fingerprint(tenant, once), _digests(tenant, once.body))
    try:
        with transaction(TWIN_WAITS_S):
            if not _take(tenant, once, asked):
                return _recall(tenant, once, asked)
            answer = _run(run)
            _keep(tenant, once, answer)
    except _Refused as undone:
        # Kept by itself, now that nothing is left of what was done. A twin that came between has its own answer.
        with transaction(TWIN_WAITS_S):
            if not _take(tenant, once, asked):
                return _recall(tenant, once, asked)
            answer = refuse(undone.refusal)
            _keep(tenant, once, answer)
    return answer


@dataclass(frozen=True)
class _Asked:
    """What tells one request from another, and where they differ; made before a lock is taken."""

    fingerprint: str
    digests: Mapping[str, str]


class _Refused(Exception):
    """Carries a refusal that is to be remembered out of the transaction that it undoes."""

    def __init__(self, refusal: WaError) -> None:
        super().__init__()
        self.refusal = refusal


def _run(run: Callable[[], StoredAnswer]) -> StoredAnswer:
    try:
        return run()
    except WaError as refusal:
        if refusal.status >= 500 or refusal.status in _NEVER_KEPT:
            raise
        raise _Refused(refusal) from refusal


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


_ROW = ("tenant_id", "key", "fingerprint", "body_digests", "headers", "created_at", "expires_at")


def _build_take(dialect: str) -> Any:
    """The key's row, if there is none or its time is over; then locks are waited for without end again."""
    wanted = insert_into(dialect, IdempotencyKey).values(placeholders(IdempotencyKey, _ROW))
    fresh = {name: wanted.excluded[name] for name in _ROW[2:]} | {"status": None, "answer_sealed": None}
    now = bindparam("created_at", type_=IdempotencyKey.created_at.type, required=True)
    wanted = wanted.on_conflict_do_update(
        index_elements=["tenant_id", "key"], set_=fresh, where=IdempotencyKey.expires_at <= now
    )
    patient = [func.set_config("lock_timeout", "0", True)] if dialect == "postgresql" else []
    return wanted.returning(IdempotencyKey.key, *patient)


def _of_the_key() -> tuple[Any, Any]:
    marks = placeholders(IdempotencyKey, ("tenant_id", "key"))
    return IdempotencyKey.tenant_id == marks["tenant_id"], IdempotencyKey.key == marks["key"]


def _build_recall(_dialect: str) -> Any:
    columns = IdempotencyKey.fingerprint, IdempotencyKey.body_digests, IdempotencyKey.status
    return select(*columns, IdempotencyKey.headers, IdempotencyKey.answer_sealed).where(*_of_the_key())


def _build_keep(_dialect: str) -> Any:
    answer = placeholders(IdempotencyKey, ("status", "headers", "answer_sealed"), "kept_")
    return update(IdempotencyKey).where(*_of_the_key()).values(answer)


_take_row = Prepared(_build_take, changes=True)
_recall_row = Prepared(_build_recall)
_keep_row = Prepared(_build_keep, changes=True)


def _take(tenant: Tenant, once: Once, asked: _Asked) -> bool:
    """Is this the first with the key? Otherwise the first is through: a twin under way is waited for here."""
    now = clock.now()
    try:
        taken = _take_row.run(
            tenant_id=tenant.id,
            key=once.key,
            fingerprint=asked.fingerprint,
            body_digests=dict(asked.digests),
            headers={},
            created_at=now,
            expires_at=now + KEPT,
        )
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != "55P03":  # lock_not_available
            raise
        detail = T("The same request is being worked on. Send it again in a second.")
        raise Conflict(detail, "idempotency_in_progress", retry_after=1) from error
    return bool(taken)


def _recall(tenant: Tenant, once: Once, asked: _Asked) -> StoredAnswer:
    row = _recall_row.run(tenant_id=tenant.id, key=once.key)[0]
    if not hmac.compare_digest(row["fingerprint"], asked.fingerprint):
        raise _reused(row["body_digests"], asked.digests)
    kept = security.open_json(row["answer_sealed"] or b"", _context(tenant, once))
    return StoredAnswer(row["status"] or 500, row["headers"], kept["body"].encode(), replayed=True)


def _reused(before: Mapping[str, str], now: Mapping[str, str]) -> Invalid:
    differs = sorted(pointer for pointer in before.keys() | now.keys() if before.get(pointer) != now.get(pointer))
    if differs:
        detail = T("This Idempotency-Key came before with another body: %(where)s.", where=", ".join(differs[:5]))
    else:
        detail = T("This Idempotency-Key came before for another call. Use a new one.")
    return Invalid(detail, "idempotency_key_reused", extra={"differs": differs[:100]})


def _keep(tenant: Tenant, once: Once, answer: StoredAnswer) -> None:
    sealed = security.seal_json({"body": answer.body.decode()}, _context(tenant, once))
    _keep_row.run(
        tenant_id=tenant.id,
        key=once.key,
        kept_status=answer.status,
        kept_headers=dict(answer.headers),
        kept_answer_sealed=sealed,
    )


def _context(tenant: Tenant, once: Once) -> str:
    return f"{IdempotencyKey.__tablename__}|answer|{tenant.id}|{once.key}"


_tight = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode
_wide = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode

# --- is it the same request? ------------------------------------------------------------------------------------


def _fingerprint(tenant: Tenant, once: Once) -> str:
    """Keyed, so that a stolen table does not tell by trial whose number a request carried."""
    text = "\n".join((once.route, "live" if once.live else "test", _canonical(once.body)))
    return hmac.digest(bytes.fromhex(tenant.index_pepper), text.encode(), "sha256").hex()


def _digests(tenant: Tenant, body: Mapping[str, Any]) -> dict[str, str]:
    pepper = bytes.fromhex(tenant.index_pepper)
    return {
        pointer: hmac.digest(pepper, f"{pointer}\n{text}".encode(), "sha256").hex()[:12]
        for pointer, text in _leaves(body)
    }


def _canonical(value: Any) -> str:
    """Sorted keys, NFC, no blanks, telephone numbers in E.164: what two spellings of one request have in common."""
    return _tight(_same_spelling(value))


def _same_spelling(value: Any, name: str = "") -> Any:
    if isinstance(value, str):
        if name == "phone":
            try:
                return to_e164(value).e164
            except BadPhone:
                return value
        return value if value.isascii() else unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        return {
            key if key.isascii() else unicodedata.normalize("NFC", key): _same_spelling(item, key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_same_spelling(item) for item in value]
    return value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """JSON pointers to what two bodies do not share, sorted."""
    one, other = dict(_leaves(before)), dict(_leaves(now))
    return sorted(pointer for pointer in one.keys() | other.keys() if one.get(pointer) != other.get(pointer))


def _leaves(value: Any, pointer: str = "", name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", key)
    elif isinstance(value, list) and value:
        for number, item in enumerate(value):
            yield from _leaves(item, f"{pointer}/{number}")
    else:
        yield pointer, _wide(_same_spelling(value, name))
