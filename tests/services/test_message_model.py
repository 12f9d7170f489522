"""R39: one message's life in random order, beside a model small enough to be believed. They must never differ."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, update

from tests import factories
from tests.support import queued
from tests.support.people import Somebody
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, db_now, tenant_scope, transaction
from wa_dashboard.domain.statuses import Rank, Status
from wa_dashboard.models import Attempt, Message, Outbox
from wa_dashboard.providers.base import Outcome, StatusItem
from wa_dashboard.services import consent_log, delivery, invariants, lifecycle, recovery, requeueing, settlement
from wa_dashboard.services.consent_request import ConsentRequest

ANSWERS = {
    "accepted": Outcome("accepted"),
    "ambiguous": Outcome("ambiguous", "ambiguous", "no_answer", "ReadTimeout"),
    "not_sent": Outcome("not_sent", "network", "network", "refused", scope="provider"),
    "throttled": Outcome("throttled", "throttle", "130429", "slower", retry_after=0.0),
    "final": Outcome("rejected", "recipient", "131026", "not on WhatsApp", scope="recipient"),
    "buried": Outcome("rejected", "template", "132000", "parameters", scope="template"),
}
RECEIPTS = {"sent": 30, "failed": 40, "delivered": 50, "read": 60}
WORDS = {20: "accepted", 30: "sent", 40: "failed", 50: "delivered", 60: "read"}
OVER = ("failed", "dead_letter", "unconfirmed", "expired")
TRIES = 4


@dataclass
class Model:
    """What durability.md says of one message, without a database."""

    policy: str
    status: str = "queued"
    outbox: str | None = "queued"
    ranks: list[int] = field(default_factory=list)
    failures: int = 0
    wants_no_more: bool = False
    out: bool = False

    def _end(self, status: str) -> None:
        self.status, self.outbox = status, None

    def _heard(self) -> None:
        """Evidence outranks everything we believe."""
        alive = [rank for rank in self.ranks if rank not in (12, 40)]
        best = max(self.ranks)
        best = best if best >= 50 else max(alive or self.ranks)
        if best >= 20:
            self._end(WORDS[best])

    def begin(self) -> None:
        self.ranks.append(5)
        self.status, self.outbox = "sending", "sending"

    def answer(self, number: int, kind: str) -> None:
        at = number - 1
        current = self.outbox == "sending" and number == len(self.ranks)
        if kind == "accepted":
            self.ranks[at] = max(self.ranks[at], 20)
            self._heard()
            return
        if self.ranks[at] not in (5, 10):
            return
        self.ranks[at] = {"ambiguous": 10, "final": 40}.get(kind, 12)
        if not current:
            return
        if kind == "ambiguous":
            self.status = self.outbox = "uncertain"
        elif kind == "final":
            self._end("failed")
        elif kind == "buried":
            self._end("dead_letter")
        else:
            self.failures += kind == "not_sent"
            self.status = self.outbox = "queued"
            if self.failures >= TRIES:
                self._end("dead_letter")
            elif self.wants_no_more:
                self._end("cancelled")

    def receipt(self, number: int, rank: int) -> None:
        self.ranks[number - 1] = max(self.ranks[number - 1], rank)
        self._heard()

    def lease_over(self) -> None:
        if self.outbox == "claimed":
            self.outbox = "queued"
        else:
            self.ranks[-1] = 10 if self.ranks[-1] == 5 else self.ranks[-1]
            self.status = self.outbox = "uncertain"

    def decide(self, evidence: bool) -> None:
        self.ranks[-1] = 12 if self.ranks[-1] == 10 else self.ranks[-1]
        again = self.policy == "must_deliver" or (self.policy == "evidence" and evidence)
        if again and not self.wants_no_more and len(self.ranks) < TRIES:
            self.status = self.outbox = "queued"
        else:
            self._end("unconfirmed")

    def stop(self, status: str = "cancelled") -> None:
        if self.outbox in ("queued", "claimed"):
            self._end(status)
        elif self.outbox:
            self.wants_no_more = True

    def again(self) -> None:
        self.status = self.outbox = "queued"
        self.failures, self.wants_no_more = 0, False


class Life(RuleBasedStateMachine):
    """Every rule does the same to the database and to the model."""

    make: Callable[[], tuple[factories.ReadyTenant, object, object]]

    @initialize(kind=st.sampled_from(["order_confirm", "reminder", "promo"]))
    def ask(self, kind: str) -> None:
        self.ready, template, self.person = self.make()
        (self.id,) = queued.queue(self.ready, template, [self.person], kind)
        self.model = Model({"order_confirm": "must_deliver", "reminder": "evidence", "promo": "never_twice"}[kind])
        self.lane = delivery.open_lane(self.ready.account.id)
        self.claimed: delivery.Claimed | None = None
        self.open: dict[int, delivery.Begun] = {}
        self.steps = 0

    def _in_scope(self):
        return tenant_scope(self.ready.id)

    def _set(self, **values: object) -> None:
        with self._in_scope(), transaction():
            db.session.execute(
                update(Outbox).where(Outbox.message_id == self.id).values(**values),
                execution_options={"synchronize_session": False},
            )

    def _reap(self) -> None:
        recovery.reap(delivery.pace())

    # --- sending

    @precondition(lambda self: self.model.outbox == "queued")
    @rule()
    def claim(self) -> None:
        self._set(next_at=db_now(-1))
        with self._in_scope():
            self.claimed = delivery.claim(self.lane, 5, holder="jrn_test")
        assert self.claimed is not None
        assert self.claimed.message_ids == [self.id]
        self.model.outbox = "claimed"

    @precondition(lambda self: self.claimed is not None)
    @rule()
    def begin(self) -> None:
        """Perhaps long after somebody else has taken it away."""
        claimed, self.claimed = self.claimed, None
        with self._in_scope():
            begun = delivery.begin(self.lane, claimed)
        assert bool(begun) == (self.model.outbox == "claimed")
        if begun:
            self.model.begin()
            self.open[begun[0].attempt_no] = begun[0]
            assert begun[0].attempt_no == len(self.model.ranks)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), kind=st.sampled_from(sorted(ANSWERS)))
    def answer(self, data: st.DataObject, kind: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        begun = self.open.pop(number)
        outcome = ANSWERS[kind]
        if kind == "accepted":
            outcome = Outcome("accepted", external_id=f"wamid.{self.id}.{number}")
        with self._in_scope():
            settlement.settle(self.lane.account, [(begun, outcome)], delivery.pace())
        self.model.answer(number, kind)

    # --- what comes from outside

    @precondition(lambda self: self.model.ranks)
    @rule(data=st.data(), status=st.sampled_from(sorted(RECEIPTS)))
    def receipt(self, data: st.DataObject, status: str) -> None:
        number = data.draw(st.integers(1, len(self.model.ranks)))
        item = StatusItem(
            key=f"{status}.{number}",
            at=clock.now(),
            correlation_id=f"{self.id}.{number}",
            external_id=None,
            status=status,
        )
        with self._in_scope(), transaction():
            assert lifecycle.apply_receipt(self.lane.account, item) == self.id
        self.model.receipt(number, RECEIPTS[status])

    @rule()
    def cancel(self) -> None:
        with self._in_scope(), transaction():
            lifecycle.cancel_waiting(self.ready.id, "cancelled_by_user", message_ids=[self.id])
        self.model.stop()

    @precondition(lambda self: not self.model.out and self.steps > 3)
    @rule()
    def opt_out(self) -> None:
        with self._in_scope():
            request = ConsentRequest(status="opted_out", source="whatsapp_reply")
            consent_log.record(self.ready.tenant, request, "test", contact=self.person)
        self.model.stop()
        self.model.out = True

    # --- sweeps

    @rule()
    def reap_in_passing(self) -> None:
        """Nothing is due: nothing may move."""
        self._reap()

    @precondition(lambda self: self.model.outbox in ("claimed", "sending"))
    @rule()
    def the_worker_is_gone(self) -> None:
        self._set(lease_until=db_now(-1))
        self._reap()
        self.model.lease_over()

    @precondition(lambda self: self.model.outbox == "uncertain")
    @rule(evidence=st.booleans())
    def decide(self, evidence: bool) -> None:
        with self._in_scope(), transaction():
            row = db.session.scalars(
                select(Outbox).where(Outbox.message_id == self.id), execution_options={"populate_existing": True}
            ).one()
            recovery.decide(row, evidence=evidence, pace=delivery.pace())
        self.model.decide(evidence)

    @precondition(lambda self: self.model.outbox == "uncertain")
    @rule()
    def patience_is_over(self) -> None:
        self._set(uncertain_since=db_now(-1000), next_at=db_now(-1))
        self._reap()
        self.model.decide(False)

    @precondition(lambda self: self.model.outbox == "queued" and self.steps > 3)
    @rule()
    def too_late(self) -> None:
        self._set(expires_at=db_now(-1))
        self._reap()
        self.model._end("expired")

    @precondition(lambda self: self.model.status in OVER and not self.model.out)
    @rule()
    def a_person_sends_it_again(self) -> None:
        with self._in_scope(), transaction():
            assert requeueing.requeue(Somebody(self.ready), [self.id]) == {self.id: None}
        self.model.again()

    # --- never a difference

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        self.steps += 1
        with all_tenants("a test looks"):
            message = db.session.execute(
                select(Message.status, Message.rank, Message.cancel_requested).where(Message.id == self.id)
            ).one()
            outbox = db.session.scalar(select(Outbox.state).where(Outbox.message_id == self.id))
            ranks = list(
                db.session.scalars(
                    select(Attempt.rank).where(Attempt.message_id == self.id).order_by(Attempt.attempt_no)
                )
            )
            db.session.rollback()
        model = self.model
        assert (str(Status(message.status)), outbox, ranks) == (model.status, model.outbox, model.ranks)
        assert message.cancel_requested == model.wants_no_more
        if max(ranks, default=0) >= Rank.DELIVERED:
            assert message.rank == max(ranks)

    def teardown(self) -> None:
        db.session.rollback()
        if hasattr(self, "model"):
            self._set(next_at=db_now(3000), expires_at=None)  # out of the next life's way


@pytest.mark.parametrize(
    "runs", [60, pytest.param(2000, marks=[pytest.mark.full, pytest.mark.timeout(3600)])], ids=["few", "all"]
)
def test_message_and_model_never_differ(app, at_pace, runs):
    at_pace(tries=TRIES, lease=600.0)
    ready = factories.make_tenant()
    templates = factories.make_template(ready)
    count = iter(range(10**6))

    class OneLife(Life):
        make = staticmethod(lambda: (ready, templates, queued.people(ready, 1, next(count))[0]))

    run_state_machine_as_test(
        OneLife,
        settings=settings(
            max_examples=runs, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
    assert invariants.check()[1] is None
