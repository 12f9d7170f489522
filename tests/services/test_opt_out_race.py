"""R18: people opt out while promotions to them are being sent. Who was heard before the attempt gets nothing."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from tests import factories
from tests.support import children, queued
from wa_dashboard.db import all_tenants, clock_of_database, db, end_read, tenant_scope
from wa_dashboard.models import Attempt, Message
from wa_dashboard.services import consent_log, engine, invariants
from wa_dashboard.services.consent_request import ConsentRequest


@pytest.mark.parametrize(
    ("promotions", "leaving"),
    [(200, 100), pytest.param(2000, 1000, marks=[pytest.mark.full, pytest.mark.timeout(300)])],
)
def test_no_attempt_begins_after_the_opt_out_was_committed(app, far_end, capsys, promotions, leaving):
    ready = factories.make_tenant()
    promo = factories.make_template(ready, "promo", type="promo")
    contacts = queued.people(ready, promotions)
    queued.queue(ready, promo, contacts, "promo")
    far_end.latency = 0.1
    heard = {}

    def opt_out(contact):
        with app.app_context():
            try:
                with tenant_scope(ready.id):
                    request = ConsentRequest(status="opted_out", source="whatsapp_reply")
                    consent_log.record(ready.tenant, request, "test", contact=contact)
                    heard[contact.id] = clock_of_database()
                    end_read()
            finally:
                db.session.remove()

    child = children.start(app, lambda: engine.serve(120.0))
    end = time.monotonic() + 20
    while not far_end.arrivals and time.monotonic() < end:
        time.sleep(0.005)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(opt_out, contacts[::-1][:leaving]))
    assert children.end_of(child) == 0

    with all_tenants("a test looks"):
        rows = db.session.execute(
            select(Message.contact_id, Message.status, Attempt.started_at).outerjoin(
                Attempt, Attempt.message_id == Message.id
            )
        ).all()
        db.session.rollback()
    begun = [row for row in rows if row.started_at and row.contact_id in heard]
    late = [row for row in begun if row.started_at > heard[row.contact_id]]
    stopped = sum(row.status in ("cancelled", "skipped") for row in rows)
    with capsys.disabled():
        print(f"\nR18: {promotions} promotions, {leaving} opt-outs: {stopped} stopped, {len(late)} begun afterwards")
    assert late == []
    assert len(heard) == leaving
    assert 0 < stopped <= leaving
    assert stopped + len(far_end.arrivals) == promotions
    assert {row.status for row in rows if row.contact_id not in heard} == {"accepted"}
    assert invariants.check()[1] is None
