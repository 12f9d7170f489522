"""What people agreed to: an append-only history, the state it adds up to, and what follows from that state.

Consent of one tenant is written one after another, under the lock of its hash chain. Sends read the state with a
shared lock of its rows, so that no attempt begins after an opt-out has committed (durability.md §0.9). Both lock
people's states first, in the order of their keys, then what waits to be sent.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlalchemy import select, update

from .. import clock, failpoints
from ..bulk import among
from ..db import db, insert_rows, on_commit, transaction
from ..domain.consent import OUT, PURPOSES, Refusal, Said, judge, present_of, statuses, supersedes
from ..domain.ids import new_id
from ..domain.statuses import Purpose
from ..errors import WaError
from ..models import ConsentEvent, Contact, OptIn, Outbox, Schedule, Tenant
from ..prepared import Inserts
from . import chains, contacts, lifecycle
from .consent_request import ConsentRequest, check, dedupe_keys, said_again

V = TypeVar("V")

_CHUNK = 300
_AFRESH = {"populate_existing": True}  # not as this session happened to read it earlier


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
    check(request, at)
    if contact is None and request.phone is None:
        raise ValueError("a statement needs a phone or a contact")
    with transaction(), chains.lengthening(tenant.id, chains.CONSENT) as end:
        person = contact or contacts.contact_for(tenant, request.phone)  # type: ignore[arg-type]
        on_commit(lambda: failpoints.hit("F14"))
        return _Batch(tenant, actor, end, [(request, person)]).write()[0]


@contextmanager
def writing(
    tenant: Tenant, request: ConsentRequest, actor: str, *, at: str
) -> Iterator[Callable[[Contact, bool], ConsentResult]]:
    """`record` in two steps, inside a transaction: inside the block the tenant's consent is locked, and what the block
    gets records the statement as this contact's; True for a contact made since the lock was taken."""
    check(request, at)
    with chains.lengthening(tenant.id, chains.CONSENT) as end:
        yield lambda contact, new: _Batch(tenant, actor, end, [(request, contact)], strangers=new).write()[0]


def record_many(
    tenant: Tenant, requests: Sequence[ConsentRequest], actor: str, *, at: Sequence[str]
) -> list[ConsentResult | WaError]:
    """`record` for many people at once, in one transaction; what is refused leaves the others alone.

    Every request has a phone; ``at``: the pointer of each. Returns a result or the refusal, in the same order.
    """
    results: dict[int, ConsentResult | WaError] = {}
    for number, request in enumerate(requests):
        try:
            check(request, at[number])
        except WaError as refusal:
            results[number] = refusal
    good = [number for number in range(len(requests)) if number not in results]
    with transaction(), chains.lengthening(tenant.id, chains.CONSENT) as end:
        phones = [phone for number in good if (phone := requests[number].phone)]
        people = contacts.contacts_for(tenant, phones)
        said = [(requests[number], people[phone.e164]) for number, phone in zip(good, phones, strict=True)]
        results.update(zip(good, _Batch(tenant, actor, end, said).write(), strict=True))
    return [results[number] for number in range(len(requests))]


_EVENT = (
    "id", "tenant_id", "seq", "contact_id", "purpose", "status", "source", "source_ref", "wording_id", "actor",
    "occurred_at", "recorded_at", "applied", "changed", "dedupe", "previous_hash", "hash", "evidence_sealed",
)  # fmt: skip
_STATE = ("tenant_id", "contact_id", "purpose", "status", "event_id", "occurred_at", "changed_at")
_insert_events = Inserts(ConsentEvent, _EVENT)
_insert_states = Inserts(OptIn, _STATE)


class _Batch:
    """Statements of one tenant, written together: a handful of statements to the database however many they are."""

    def __init__(
        self,
        tenant: Tenant,
        actor: str,
        end: chains.End,
        said: Sequence[tuple[ConsentRequest, Contact]],
        *,
        strangers: bool = False,
    ) -> None:
        """Read what is known. The chain is locked: nobody else writes consent of this tenant now.

        ``strangers``: nobody knows anything of these contacts, who were made in this very transaction.
        """
        self.tenant, self.actor, self.end, self.said, self.now = tenant, actor, end, said, clock.now()
        ids = list({person.id for _, person in said})
        self.rows: dict[tuple[str, str], OptIn] = {}
        for some in _chunks([] if strangers else ids):
            for row in db.session.scalars(select(OptIn).where(OptIn.contact_id.in_(some)), execution_options=_AFRESH):
                self.rows[row.contact_id, row.purpose] = row
        self.states: dict[str, dict[str, Said]] = {contact_id: {} for contact_id in ids}
        for (contact_id, purpose), row in self.rows.items():
            self.states[contact_id][purpose] = Said(row.status, row.occurred_at, "")
        self.known = {} if strangers else self._events_known()
        self.fresh: list[ConsentEvent] = []
        self.newcomers: list[OptIn] = []
        self.refused: dict[str, set[str]] = defaultdict(set)

    def _events_known(self) -> dict[str, ConsentEvent]:
        keys = [
            key
            for request, person in self.said
            for purpose in request.wanted()
            for key in dedupe_keys(person.id, purpose, request, self.now)
        ]
        found: dict[str, ConsentEvent] = {}
        for some in _chunks(keys):
            for event in db.session.scalars(select(ConsentEvent).where(ConsentEvent.dedupe.in_(some))):
                found[event.dedupe] = event
        return found

    def write(self) -> list[ConsentResult]:
        """Append what is new, bring the states up to date, cancel what may not be sent any more."""
        results = [self._take(request, person) for request, person in self.said]
        self._store()
        if not self.refused:
            return results
        messages, schedules = self._cancel()
        counted: set[str] = set()
        for number, (request, person) in enumerate(self.said):
            if request.status == OUT and person.id in self.refused and person.id not in counted:
                counted.add(person.id)
                counts = messages[person.id], schedules[person.id]
                results[number] = replace(results[number], cancelled_messages=counts[0], cancelled_schedules=counts[1])
        return results

    def _take(self, request: ConsentRequest, person: Contact) -> ConsentResult:
        states, recorded, applied = self.states[person.id], [], False
        for purpose in request.wanted():
            base, again = dedupe_keys(person.id, purpose, request, self.now)
            found = self.known.get(again) or self.known.get(base)
            if found is not None and not said_again(request, found, states.get(purpose)):
                recorded.append(_as_recorded(found, duplicate=True))
                continue
            event = self._append(request, person.id, purpose, again if found else base)
            applied = applied or event.applied
            recorded.append(_as_recorded(event, duplicate=False))
        if request.status == OUT and applied:
            self.refused[person.id].update(_refused(states, contract_basis=self.tenant.contract_basis))
        return ConsentResult(person, statuses(states), tuple(recorded))

    def _append(self, request: ConsentRequest, contact_id: str, purpose: str, dedupe: str) -> ConsentEvent:
        """The next link of the history, and the state if it is the newest."""
        states = self.states[contact_id]
        # A clock that runs ahead must not make a yes outlive a STOP said meanwhile.
        said = Said(request.status, min(request.occurred_at or self.now, self.now), request.source)
        applied = supersedes(said, states.get(purpose))
        event = ConsentEvent(
            id=new_id("cev"),
            tenant_id=self.tenant.id,
            contact_id=contact_id,
            purpose=str(purpose),
            status=str(request.status),
            source=str(request.source),
            source_ref=request.source_ref,
            wording_id=request.wording_id,
            actor={**request.claimed_by, "by": self.actor},
            occurred_at=said.at,
            recorded_at=self.now,
            applied=applied,
            changed=applied and statuses(states)[purpose] != said.status,
            dedupe=dedupe,
        )
        if request.evidence:
            event.evidence = dict(request.evidence)
        event.seq, event.previous_hash, event.hash = self.end.append(chains.consent_body(event))
        self.known[dedupe] = event
        self.fresh.append(event)
        if applied:
            states[purpose] = said
            self._project(event)
        return event

    def _project(self, event: ConsentEvent) -> None:
        row = self.rows.get((event.contact_id, event.purpose))
        if row is None:
            row = OptIn(tenant_id=self.tenant.id, contact_id=event.contact_id, purpose=event.purpose)
            row.changed_at = event.recorded_at
            self.rows[event.contact_id, event.purpose] = row
            self.newcomers.append(row)
        if event.changed:
            row.changed_at = event.recorded_at
        row.status, row.event_id, row.occurred_at = event.status, event.id, event.occurred_at

    def _store(self) -> None:
        events = [{name: getattr(event, name) for name in _EVENT} for event in self.fresh]
        states = [{name: getattr(row, name) for name in _STATE} for row in self.newcomers]
        if len(events) <= len(PURPOSES):
            _insert_events.run(events)
            _insert_states.run(states)
        else:
            for some in _chunks(events):
                insert_rows(ConsentEvent, some)
            for some in _chunks(states):
                insert_rows(OptIn, some)
        db.session.flush()

    def _cancel(self) -> tuple[Counter[str], Counter[str]]:
        """Cancel what waits for purposes that were refused; how many messages and reminders, by contact."""
        messages: Counter[str] = Counter()
        for some in _chunks(sorted(self.refused)):
            waiting = db.session.scalars(select(Outbox.contact_id).where(Outbox.contact_id.in_(some)).distinct()).all()
            for contact_id in sorted(waiting):
                messages[contact_id] += lifecycle.cancel_waiting(
                    self.tenant.id, "opted_out", contact_id=contact_id, purposes=self.refused[contact_id]
                )
        schedules: Counter[str] = Counter()
        for some in _chunks([each for each, refused in self.refused.items() if Purpose.REMINDER in refused]):
            schedules.update(
                db.session.scalars(
                    update(Schedule)
                    .where(Schedule.contact_id.in_(some), Schedule.status == "pending")
                    .values(status="cancelled", reason="opted_out", updated_at=self.now)
                    .returning(Schedule.contact_id)
                )
            )
        return messages, schedules


def _refused(states: Mapping[str, Said], *, contract_basis: bool) -> Iterator[str]:
    """Purposes that may not be sent because of a no."""
    for purpose in PURPOSES:
        refusal = judge(states, purpose, contract_basis=contract_basis)
        if refusal is not None and refusal.reason == "opted_out":
            yield purpose


def _as_recorded(event: ConsentEvent, *, duplicate: bool) -> Recorded:
    return Recorded(event.id, event.purpose, event.applied, event.changed, event.seq, event.hash, duplicate)


def _chunks(values: Iterable[V]) -> Iterator[list[V]]:
    listed = list(values)
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]


# --- reading ----------------------------------------------------------------------------------------------------


def states_of(contact_ids: Collection[str], *, lock: bool = False) -> dict[str, dict[str, Said]]:
    """The present state of many people: ``{contact: {purpose: Said}}`` (``source`` is left empty).

    ``lock``: hold the rows until the transaction ends, so that an opt-out waits until what was decided is done.
    """
    wanted = (
        select(OptIn.contact_id, OptIn.purpose, OptIn.status, OptIn.occurred_at)
        .where(among(OptIn.contact_id, contact_ids))
        .order_by(OptIn.contact_id, OptIn.purpose)
    )
    if lock:
        wanted = wanted.with_for_update(read=True)
    states: dict[str, dict[str, Said]] = {contact_id: {} for contact_id in contact_ids}
    for contact_id, purpose, status, occurred_at in db.session.execute(wanted):
        states[contact_id][purpose] = Said(status, occurred_at, "")
    return states


def verdict(
    tenant: Tenant, contact_id: str, purpose: str, *, lock: bool = False, states: Mapping[str, Said] | None = None
) -> Refusal | None:
    """None when a message of this purpose may go to this person now, else why not, with what a sentence needs.

    ``states``: what the transaction has just read of the person; without them they are read now.
    """
    if states is None:
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
        detail |= {"when": chains.written(event.occurred_at), "source": event.source}
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
