"""Each rule is broken once by hand, and named; a tenant at work breaks none."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, select, update

from tests import factories
from tests.support.rows import make_message, put_in_outbox
from wa_dashboard import clock
from wa_dashboard.db import db, db_now, insert_rows, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank
from wa_dashboard.models import Attempt, AuditEntry, ConsentEvent, Message, MessageEvent, OptIn
from wa_dashboard.services import consent_log, contacts, invariants, lifecycle, problems


class World:
    """A tenant with one message, and ways to break it."""

    def __init__(self, tenant: factories.ReadyTenant) -> None:
        self.tenant = tenant

    def message(
        self, status: str = "queued", *, outbox: str | None = None, story: bool = True, **more: object
    ) -> Message:
        contact = contacts.contact_for(self.tenant.tenant, to_e164("+40722123456"))
        message = make_message(self.tenant, contact, status=status)
        message.rank = more.pop("rank", 0)
        db.session.flush()
        if outbox:
            put_in_outbox(message, state=outbox, **more)
        if story:
            lifecycle.tell(self.tenant.id, [message.id], "asked")
        return message

    def attempt(self, message: Message, number: int, rank: Rank) -> None:
        row = {
            "tenant_id": self.tenant.id,
            "message_id": message.id,
            "attempt_no": number,
            "account_id": self.tenant.account.id,
            "provider": self.tenant.account.provider,
            "rank": int(rank),
            "started_at": db_now(),
            "receipt_seen": False,
        }
        insert_rows(Attempt, [row])


def gap(world: World) -> None:
    message = world.message("sending", outbox="sending", lease_in=10)
    world.attempt(message, 2, Rank.INFLIGHT)


def two_in_flight(world: World) -> None:
    message = world.message("sending", outbox="sending", lease_in=10)
    world.attempt(message, 1, Rank.INFLIGHT)
    world.attempt(message, 2, Rank.INFLIGHT)


def queued_again(world: World) -> None:
    message = world.message("queued", outbox="queued")
    world.attempt(message, 1, Rank.ACCEPTED)


def nowhere(world: World) -> None:
    world.message("queued")


def settled_in_outbox(world: World) -> None:
    message = world.message("dead_letter", outbox="uncertain")
    world.attempt(message, 1, Rank.AMBIGUOUS)


def cancelled_but_sent(world: World) -> None:
    message = world.message("cancelled")
    world.attempt(message, 1, Rank.SENT)


def stale_lease(world: World) -> None:
    world.message("queued", outbox="claimed", lease_in=-91)


def silent(world: World) -> None:
    world.message("skipped", story=False)


def unproven(world: World) -> None:
    message = world.message("delivered", rank=Rank.DELIVERED)
    world.attempt(message, 1, Rank.SENT)


def lowered(world: World) -> None:
    message = world.message("delivered", rank=Rank.SENT)
    world.attempt(message, 1, Rank.DELIVERED)


def unseen(world: World) -> None:
    world.message("failed")


def problem_of_the_well(world: World) -> None:
    message = world.message("skipped")
    problems.raise_for(world.tenant.id, [message.id])


BROKEN: dict[str, Callable[[World], None]] = {
    "attempts are numbered 1..n without a gap": gap,
    "at most one attempt of a message is in flight": two_in_flight,
    "nothing waits to be sent that may have been sent": queued_again,
    "every waiting message is in the outbox": nowhere,
    "the outbox holds waiting messages only": settled_in_outbox,
    "skipped, cancelled and expired messages were never accepted": cancelled_but_sent,
    "no lease is older than 90 seconds": stale_lease,
    "every message has a story": silent,
    "delivered means that an attempt was delivered": unproven,
    "a message says the best its attempts prove": lowered,
    "what ended badly is a problem": unseen,
    "a problem is of a message that ended badly": problem_of_the_well,
}


@pytest.fixture
def world(tenant: factories.ReadyTenant) -> World:
    return World(tenant)


def test_every_rule_is_broken_below() -> None:
    assert set(BROKEN) == {name for name, _ in invariants._RULES}


@pytest.mark.parametrize("rule", list(BROKEN))
def test_a_broken_rule_is_named_with_the_message(world: World, rule: str) -> None:
    with tenant_scope(world.tenant.id), transaction():
        BROKEN[rule](world)
        message_id = db.session.scalars(select(Message.id)).one()

    checked, violation = invariants.check()

    assert violation == f"{rule}: {message_id}"
    assert checked[-1] == rule


def test_nothing_is_broken_by_work(client, world: World, other_tenant) -> None:
    for tenant in (world.tenant, other_tenant):
        factories.make_template(tenant)
        for number in range(3):
            order = factories.order(f"A-{number}", phone=f"+4072212345{number}")
            assert client.post("/api/wa/send/confirm", json=order, headers=tenant.headers).status_code == 202
    leave(world)

    checked, violation = invariants.check()

    assert violation is None
    assert len(checked) == len(set(checked)) == len(BROKEN) + 2


def leave(world: World) -> None:
    with tenant_scope(world.tenant.id), transaction():
        request = consent_log.ConsentRequest(
            status="opted_out", source="api", phone=to_e164("+40722123450"), occurred_at=clock.now()
        )
        consent_log.record(world.tenant.tenant, request, "test")


# --- histories --------------------------------------------------------------------------------------------------


def agreed(world: World) -> None:
    with tenant_scope(world.tenant.id), transaction():
        request = consent_log.ConsentRequest(
            status="opted_in",
            source="checkout",
            phone=to_e164("+40722123456"),
            purposes=("transactional", "reminder"),
            occurred_at=datetime(2026, 11, 20, tzinfo=UTC),
            wording_id="v1",
        )
        consent_log.record(world.tenant.tenant, request, "test")


@pytest.mark.parametrize(
    ("chain", "tamper"),
    [
        ("consent", lambda: update(ConsentEvent).where(ConsentEvent.seq == 1).values(wording_id="v2")),
        ("consent", lambda: delete(ConsentEvent).where(ConsentEvent.seq == 1)),
        ("audit", lambda: update(AuditEntry).where(AuditEntry.seq == 1).values(actor="somebody else")),
        ("audit", lambda: delete(AuditEntry).where(AuditEntry.seq == 2)),
    ],
    ids=["a word changed", "a link taken out", "an actor changed", "an entry taken out"],
)
def test_a_history_that_was_touched_is_named(world: World, other_tenant, chain: str, tamper: Callable) -> None:
    agreed(world)
    assert invariants.check()[1] is None
    with tenant_scope(world.tenant.id), transaction():
        db.session.execute(tamper(), execution_options={"synchronize_session": False})

    _, violation = invariants.check()

    assert violation is not None
    assert violation.startswith(f"{chain} chain of {world.tenant.id}: ")


def test_a_consent_that_nobody_gave_is_named(world: World) -> None:
    agreed(world)
    with tenant_scope(world.tenant.id), transaction():
        contact_id = db.session.scalars(select(OptIn.contact_id)).first()
        db.session.execute(
            update(OptIn).where(OptIn.purpose == "reminder").values(status="opted_out"),
            execution_options={"synchronize_session": False},
        )

    assert invariants.check()[1] == f"consent state differs from its history: {contact_id}"


def test_a_story_is_not_enough(world: World) -> None:
    """The rules read rows, not what the story says happened."""
    with tenant_scope(world.tenant.id), transaction():
        message = world.message("delivered", rank=Rank.DELIVERED)
        lifecycle.tell(world.tenant.id, [message.id], "delivered")
        assert db.session.scalars(select(MessageEvent.kind)).all() == ["asked", "delivered"]

    assert invariants.check()[1] == f"delivered means that an attempt was delivered: {message.id}"
