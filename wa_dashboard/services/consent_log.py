"""What people agreed to: an append-only history, the state it adds up to, and what follows from that state.

Consent of one tenant is written one after another, under the lock of its hash chain. Sends read the state with a
shared lock of its rows, so that no attempt begins after an opt-out has committed (durability.md §0.9).
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from .. import clock
from ..db import db, insert_rows, savepoint, transaction, upsert
from ..domain.consent import IN, OUT, PURPOSES, Refusal, Said, Source, judge, present_of, statuses, supersedes
from ..domain.ids import new_id
from ..domain.phone import Phone
from ..domain.statuses import Purpose
from ..domain.text import T
from ..errors import Finding, Invalid, WaError, invalid
from ..models import ConsentEvent, Contact, OptIn, Schedule, Tenant
from . import chains, contacts, lifecycle

FUTURE = timedelta(minutes=5)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class ConsentRequest:
    """What a person said, as reported to us.

    ``status``: ``opted_in`` or ``opted_out``; ``purposes`` None means all for an opt-out and is refused for an
    opt-in; ``occurred_at`` aware (None: now); ``source_ref``: the source's own name for the statement, which makes
    a repetition harmless; ``wording_id``: which text was agreed to; ``evidence``: what proves it (kept encrypted);
    ``claimed_by``: who acted, as the caller says.
    """

    status: str
    source: str
    phone: Phone | None = None
    purposes: Collection[str] | None = None
    occurred_at: datetime | None = None
    source_ref: str | None = None
    wording_id: str | None = None
    evidence: Mapping[str, Any] | None = None
    claimed_by: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recorded:
    """One event of the history. ``applied``: it became the present state; ``changed``: that state is a new one;
    ``duplicate``: it had been recorded before, nothing was done now."""

    id: str
    purpose: str
    applied: bool
    changed: bool
    seq: int
    hash: str
    duplicate: bool


@dataclass(frozen=True)
class ConsentResult:
    """``state``: status by purpose, afterwards; the counts are what an opt-out cancelled."""

    contact: Contact
    state: Mapping[str, str]
    events: tuple[Recorded, ...]
    cancelled_messages: int = 0
    cancelled_schedules: int = 0

    @property
    def changed(self) -> bool:
        return any(event.changed and not event.duplicate for event in self.events)


# --- writing ----------------------------------------------------------------------------------------------------


def record(
    tenant: Tenant, request: ConsentRequest, actor: str, *, contact: Contact | None = None, at: str = ""
) -> ConsentResult:
    """Add a statement to the history and let it take effect, all in one transaction.

    An opt-out cancels what waits to be sent. ``actor`` like ``key:key_…``; ``contact`` instead of the request's
    phone; ``at``: where the request stands in the caller's JSON. Raises Invalid: ``purposes_missing``,
    ``occurred_at_in_future`` (by more than five minutes), ``occurred_at_too_old``, ``proof_missing`` (promotions
    need a ``wording_id`` or ``evidence``; imported ones also where each row came from).
    """
    _check(request, at)
    with transaction(), chains.lengthening(tenant.id, chains.CONSENT) as end:
        return _record(tenant, request, actor, contact or _contact_of(tenant, request), end)


def record_many(
    tenant: Tenant, requests: Sequence[ConsentRequest], actor: str, *, at: Sequence[str]
) -> list[ConsentResult | WaError]:
    """`record` for each, in one transaction; an item that is refused takes only itself back.

    ``at``: the pointer of each item. Returns a result or the refusal, in the same order.
    """
    results: dict[int, ConsentResult | WaError] = {}
    with transaction(), chains.lengthening(tenant.id, chains.CONSENT) as end:
        known = contacts.load(tenant, (request.phone for request in requests if request.phone))
        people = [known.get(request.phone.e164) if request.phone else None for request in requests]
        # By contact, as workers lock them, newcomers last; of one person in the order given.
        for number in sorted(range(len(requests)), key=lambda n: _lock_order(people[n])):
            request, person = requests[number], people[number]
            try:
                _check(request, at[number])
                with end.undoing(), savepoint():
                    results[number] = _record(tenant, request, actor, person or _contact_of(tenant, request), end)
            except WaError as refusal:
                results[number] = refusal
    return [results[number] for number in range(len(requests))]


def _lock_order(person: Contact | None) -> tuple[bool, str]:
    return person is None, person.id if person else ""


def _contact_of(tenant: Tenant, request: ConsentRequest) -> Contact:
    if request.phone is None:
        raise ValueError("a statement needs a phone or a contact")
    return contacts.contact_for(tenant, request.phone)


def _check(request: ConsentRequest, at: str) -> None:
    if request.status == IN and not request.purposes:
        words = ", ".join(PURPOSES)
        raise invalid(f"{at}/purposes", "purposes_missing", T("Say what the person agreed to: %(words)s.", words=words))
    if request.occurred_at is not None:
        if request.occurred_at > clock.now() + FUTURE:
            detail = T("This lies in the future. Check the clock and the offset.")
            raise invalid(f"{at}/occurred_at", "occurred_at_in_future", detail)
        if request.occurred_at < EARLIEST:
            raise invalid(f"{at}/occurred_at", "occurred_at_too_old", T("This is before the year 2000."))
    if request.status == IN and Purpose.MARKETING in (request.purposes or ()):
        _check_proof(request, at)


def _check_proof(request: ConsentRequest, at: str) -> None:
    """Whoever sends promotions must be able to prove the yes: GDPR art. 7(1), Law 506/2004 art. 12."""
    findings = []
    if not request.wording_id and not request.evidence:
        detail = T("Promotions need proof: give wording_id (the text agreed to) or evidence.")
        findings.append(Finding(f"{at}/wording_id", "proof_missing", detail))
    if request.source == Source.IMPORT:
        for name in ("source_ref", "occurred_at"):
            if getattr(request, name) is None:
                detail = T("An imported yes to promotions needs %(name)s: where and when it was given.", name=name)
                findings.append(Finding(f"{at}/{name}", "proof_missing", detail))
    if findings:
        raise Invalid(findings[0].detail, findings=findings)


def _record(tenant: Tenant, request: ConsentRequest, actor: str, contact: Contact, end: chains.End) -> ConsentResult:
    now = clock.now()
    states, rows = _states_with_rows(contact.id)
    wanted = [purpose for purpose in PURPOSES if request.purposes is None or purpose in request.purposes]
    keys = {purpose: _dedupe_keys(contact.id, purpose, request, now) for purpose in wanted}
    before = _recorded_with([key for pair in keys.values() for key in pair])
    recorded, fresh = [], []
    for purpose in wanted:
        base, again = keys[purpose]
        found = before.get(again) or before.get(base)
        if found is not None and not _said_again(request, found, states.get(purpose)):
            recorded.append(_as_recorded(found, duplicate=True))
            continue
        event = _event(tenant, request, actor, contact.id, purpose, states, again if found else base, now, end)
        fresh.append(event)
        recorded.append(_as_recorded(event, duplicate=False))
    insert_rows(ConsentEvent, [_row(event, request.evidence) for event in fresh])
    # The state by purpose, then what waits: the order in which a worker about to send takes its locks.
    applied = sorted((event for event in fresh if event.applied), key=lambda event: event.purpose)
    for event in applied:
        _project(event, rows.get(event.purpose))
    counts = _cancel(tenant, contact.id, states) if request.status == OUT and applied else (0, 0)
    return ConsentResult(contact, statuses(states), tuple(recorded), *counts)


def _event(
    tenant: Tenant,
    request: ConsentRequest,
    actor: str,
    contact_id: str,
    purpose: str,
    states: dict[str, Said],
    dedupe: str,
    now: datetime,
    end: chains.End,
) -> ConsentEvent:
    """The next link of the history; brings ``states`` up to date."""
    # A clock that runs ahead must not make a yes outlive a STOP said meanwhile.
    said = Said(request.status, min(request.occurred_at or now, now), request.source)
    applied = supersedes(said, states.get(purpose))
    changed = applied and statuses(states)[purpose] != said.status
    if applied:
        states[purpose] = said
    event = ConsentEvent(
        id=new_id("cev"),
        tenant_id=tenant.id,
        contact_id=contact_id,
        purpose=str(purpose),
        status=str(request.status),
        source=str(request.source),
        source_ref=request.source_ref,
        wording_id=request.wording_id,
        actor={**request.claimed_by, "by": actor},
        occurred_at=said.at,
        recorded_at=now,
        applied=applied,
        changed=changed,
        dedupe=dedupe,
    )
    event.seq, event.previous_hash, event.hash = end.append(chains.consent_body(event))
    return event


def _row(event: ConsentEvent, evidence: Mapping[str, Any] | None) -> dict[str, Any]:
    if evidence:
        event.evidence = dict(evidence)
    return {column.key: getattr(event, column.key) for column in ConsentEvent.__mapper__.columns}


def _dedupe_keys(contact_id: str, purpose: str, request: ConsentRequest, now: datetime) -> tuple[str, str]:
    """What makes two statements the same (api.md §5.6), and the same once more at another time."""
    when = chains.written(request.occurred_at or now)
    base = _digest(contact_id, purpose, request.status, request.source, request.source_ref or f"at {when}")
    return base, _digest(base, when)


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _recorded_with(keys: Sequence[str]) -> dict[str, ConsentEvent]:
    found = db.session.scalars(select(ConsentEvent).where(ConsentEvent.dedupe.in_(keys)))
    return {event.dedupe: event for event in found}


def _said_again(request: ConsentRequest, found: ConsentEvent, present: Said | None) -> bool:
    """Was a statement with a known ``source_ref`` really made once more, after the opposite?

    A repetition must not bring back a yes that was withdrawn, so a yes counts again only with a newer time of its
    own. A no without a time counts again: to lose it would be worse.
    """
    if request.source_ref is None or present is None or present.status == request.status:
        return False
    if request.occurred_at is None:
        return request.status == OUT
    return request.occurred_at > max(present.at, found.occurred_at)


def _as_recorded(event: ConsentEvent, *, duplicate: bool) -> Recorded:
    return Recorded(event.id, event.purpose, event.applied, event.changed, event.seq, event.hash, duplicate)


def _project(event: ConsentEvent, present: OptIn | None) -> None:
    row = {
        "tenant_id": event.tenant_id,
        "contact_id": event.contact_id,
        "purpose": event.purpose,
        "status": event.status,
        "event_id": event.id,
        "occurred_at": event.occurred_at,
        "changed_at": event.recorded_at if event.changed or present is None else present.changed_at,
    }
    key = ["tenant_id", "contact_id", "purpose"]
    upsert(OptIn, row, key=key, update=[name for name in row if name not in key])


def _cancel(tenant: Tenant, contact_id: str, states: Mapping[str, Said]) -> tuple[int, int]:
    """Cancel what waits for purposes that are refused now; (messages, schedules)."""
    refusals = [judge(states, purpose, contract_basis=tenant.contract_basis) for purpose in PURPOSES]
    refused = [
        purpose
        for purpose, refusal in zip(PURPOSES, refusals, strict=True)
        if refusal and refusal.reason == "opted_out"
    ]
    messages = lifecycle.cancel_waiting(tenant.id, "opted_out", contact_id=contact_id, purposes=refused)
    if Purpose.REMINDER not in refused:
        return messages, 0
    cancelled = db.session.scalars(
        update(Schedule)
        .where(Schedule.contact_id == contact_id, Schedule.status == "pending")
        .values(status="cancelled", reason="opted_out", updated_at=clock.now())
        .returning(Schedule.id)
    ).all()
    return messages, len(cancelled)


# --- reading ----------------------------------------------------------------------------------------------------


def states_of(contact_ids: Collection[str], *, lock: bool = False) -> dict[str, dict[str, Said]]:
    """The present state of many people: ``{contact: {purpose: Said}}`` (``source`` is left empty).

    ``lock``: hold the rows until the transaction ends, so that an opt-out waits until what was decided is done.
    """
    wanted = select(OptIn).where(OptIn.contact_id.in_(contact_ids)).order_by(OptIn.contact_id, OptIn.purpose)
    if lock:
        wanted = wanted.with_for_update(read=True)
    states: dict[str, dict[str, Said]] = {contact_id: {} for contact_id in contact_ids}
    for row in db.session.scalars(wanted, execution_options={"populate_existing": True}):
        states[row.contact_id][row.purpose] = Said(row.status, row.occurred_at, "")
    return states


def verdict(tenant: Tenant, contact_id: str, purpose: str, *, lock: bool = False) -> Refusal | None:
    """None when a message of this purpose may go to this person now, else why not, with what a sentence needs."""
    states = states_of([contact_id], lock=lock)[contact_id]
    refusal = judge(states, purpose, contract_basis=tenant.contract_basis)
    return explained(contact_id, refusal) if refusal else None


def explained(contact_id: str, refusal: Refusal) -> Refusal:
    """The refusal with its ``detail`` (see `domain.consent.skip_sentence`)."""
    detail = {"purpose": str(refusal.purpose)}
    if refusal.reason == "opted_out":
        event = db.session.scalars(
            select(ConsentEvent)
            .join(OptIn, OptIn.event_id == ConsentEvent.id)
            .where(OptIn.contact_id == contact_id, OptIn.purpose == refusal.purpose)
        ).one()
        detail |= {"at": chains.written(event.occurred_at), "source": event.source}
        if word := (event.evidence or {}).get("word"):
            detail["word"] = str(word)
    return replace(refusal, detail=detail)


def state_of(contact_id: str) -> dict[str, str]:
    """Status by purpose, ``unknown`` where nothing was ever said."""
    return statuses(states_of([contact_id])[contact_id])


def history(contact_id: str) -> list[ConsentEvent]:
    """Everything a person ever said, oldest first."""
    wanted = select(ConsentEvent).where(ConsentEvent.contact_id == contact_id)
    return list(db.session.scalars(wanted.order_by(ConsentEvent.occurred_at, ConsentEvent.seq)))


def recompute(contact_id: str) -> dict[str, Said]:
    """The state as the history alone tells it. It equals the stored one whatever order the events came in."""
    said: dict[str, list[Said]] = {}
    for event in history(contact_id):
        said.setdefault(event.purpose, []).append(as_said(event))
    return {purpose: present for purpose, all_said in said.items() if (present := present_of(all_said))}


def as_said(event: ConsentEvent) -> Said:
    return Said(event.status, event.occurred_at, event.source)


def _states_with_rows(contact_id: str) -> tuple[dict[str, Said], dict[str, OptIn]]:
    wanted = select(OptIn).where(OptIn.contact_id == contact_id)
    rows = {row.purpose: row for row in db.session.scalars(wanted, execution_options={"populate_existing": True})}
    return {purpose: Said(row.status, row.occurred_at, "") for purpose, row in rows.items()}, rows
