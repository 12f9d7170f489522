"""R28: what each code of each provider does, met over a real wire (durability.md §3.9, contracts.md §1.10, §2.6)."""

import pytest
from sqlalchemy import delete, select, update

from tests import factories
from tests.services.health_world import (
    account_of,
    account_story,
    breaker_of,
    far_end_at,
    message_of,
    outbox_of,
    queue,
)
from wa_dashboard import clock
from wa_dashboard.db import db, db_now, tenant_scope, transaction
from wa_dashboard.domain.failures import explain
from wa_dashboard.models import Breaker, Outbox, ProviderAccount
from wa_dashboard.providers.base import Outcome
from wa_dashboard.services import delivery, engine, recovery, settlement

META = {
    "held": "0 190 3 10 200 210 299 131005 131031 131037 131042 131044 131045 131048 131064 133010 33 368",
    "throttled": "4 613 80007 130429 131056 131208",
    "retrying": "2 131016 131053 131057 133004 134101",
    "uncertain": "1 131000 131036 135000",
    "template": "131063 132001 132007 132015 132016 132068 132069 134102",
    "dead_letter": "130497 132000 132005 132008 132012 132018",
    "deferred": "131049",
    "failed": "100 130472 131008 131009 131021 131026 131030 131047 131050 131051 131055 131062 134011 134100 137000",
}
TWILIO = {
    "held": "20003 20005 20403 21212 21606 21701 21702 21703 21704 21705 30002 63001 63002 63007 63008"
    " 63020 63022 63026",
    "throttled": "14107 20429 21611 30001 63017 63018 63038",
    "retrying": "20503 63009 63012 63019 63037",
    "uncertain": "20409 20500 30008 63010 63011 63023",
    "template": "21655 63027 63040 63041 63042",
    "dead_letter": "21408 21656 63005 63021 63028",
    "deferred": "63049",
    "failed": "20001 20404 20422 21211 21602 21603 21604 21608 21609 21610 21612 21614 21617 21620 21654 63003 63006"
    " 63013 63014 63015 63016 63024 63025 63029 63030 63031 63032 63033 63034 63062 92001 92008",
}
D360 = {
    "held": "Invalid api_key|has been disabled|lack of payment",
    "throttled": "exceeded the endpoint rate limit|exceeded the limit of",
    "retrying": "not available",
    "uncertain": "Internal server error",
    "failed": "endpoint is blocked",
}
STATE = {
    "held": ("queued", "account_held"),
    "throttled": ("queued", "throttled"),
    "retrying": ("queued", "retrying"),
    "uncertain": ("uncertain", "no_answer"),
    "template": ("queued", "template_unavailable"),
    "deferred": ("queued", "recipient_defer"),
    "dead_letter": ("dead_letter", None),
    "failed": ("failed", None),
}


def meta(code):
    return (400, {"error": {"code": int(code), "message": "no", "type": "OAuthException", "fbtrace_id": "x"}})


def twilio(code):
    return (400, {"code": int(code), "message": "no", "status": 400})


def dialog360(text):
    return (400, {"meta": {"success": False, "http_code": 400, "developer_message": f"So: {text}."}})


def well_again(ready):
    with tenant_scope(ready.id), transaction():
        db.session.execute(delete(Breaker))
        db.session.execute(delete(Outbox))
        db.session.execute(
            update(ProviderAccount).values(status="active", hold_reason=None, slowed=1.0, slowed_at=None)
        )


@pytest.mark.parametrize(
    ("provider", "table", "answer", "separator"),
    [("meta_cloud", META, meta, None), ("twilio", TWILIO, twilio, None), ("dialog360", D360, dialog360, "|")],
)
def test_every_code_does_what_the_table_says(app, at_pace, other_tenant, provider, table, answer, separator):
    at_pace(base=30.0)  # nothing comes round again within one drain
    ready = factories.make_tenant(provider=provider)
    template = factories.make_template(
        ready, parameter_map={"first_name": "1", "order_id": "2", "event_name": "3"}, external_id="HX0123456789"
    )
    wrong, number = {}, 0
    with far_end_at(app, provider) as far:
        for action, codes in table.items():
            for code in codes.split(separator):
                number += 1
                far.answer = answer(code)
                (message_id,) = queue(ready, template, first=number)
                assert engine.drain(ready.account.id) == 1
                found = what_it_did(ready, message_id)
                if found != (action, *STATE[action]):
                    wrong[code] = found
                well_again(ready)
    assert wrong == {}
    assert number > 7
    assert account_of(other_tenant.account).status == "active"
    assert account_story(other_tenant.account) == []


def what_it_did(ready, message_id):
    """(action, status, reason), an action with any other effect than its own is a name of its own."""
    message, row = message_of(message_id), outbox_of(message_id)
    account, breaker = account_of(ready.account), breaker_of(ready.account)
    held = account.status == "held" and breaker is not None and breaker.state == "locked"
    shown = (message.status, message.reason if row is not None else None)
    action = next((name for name, state in STATE.items() if state == shown), "nothing")
    if held != (action == "held") or (account.slowed < 1.0 and action != "throttled"):
        return (f"{action} with the wrong account", *shown)
    if row is not None and row.failures != (1 if action in ("retrying", "deferred") else 0):
        return (f"{action} with {row.failures} tries", *shown)
    return (action, *shown)


def test_a_pause_for_one_person_holds_only_what_goes_to_them(tenant):
    template = factories.make_template(tenant)
    (first,), (second,) = queue(tenant, template), queue(tenant, template)
    (other,) = queue(tenant, template, first=1)
    lane = delivery.open_lane(tenant.account.id)
    no = Outcome("throttled", "throttle", "131056", "pair", retry_after=6, scope="pair")

    with tenant_scope(tenant.id):
        begun = delivery.begin(lane, delivery.claim(lane, 1))
        assert [one.message_id for one in begun] == [first]
        settlement.settle(lane.account, [(begun[0], no)], delivery.pace())

        soon = set(db.session.scalars(select(Outbox.message_id).where(Outbox.next_at <= db_now(5))))
        later = set(db.session.scalars(select(Outbox.message_id).where(Outbox.next_at <= db_now(10))))
    assert soon == {other}
    assert later == {first, second, other}
    assert account_of(tenant.account).slowed == 1.0


@pytest.mark.parametrize(
    ("kind", "expires_in_h", "expected"),
    [
        ("promo", None, ("dead_letter", "recipient_defer")),
        ("reminder", None, ("queued", "recipient_defer")),
        ("reminder", 5, ("failed", "recipient_defer")),
    ],
)
def test_the_limit_of_promotions_to_a_person_is_not_tried_again_for_a_day(app, tenant, kind, expires_in_h, expected):
    template = factories.make_template(tenant)
    with far_end_at(app, "meta_cloud") as far:
        (message_id,) = queue(tenant, template, type=kind)
        if expires_in_h:
            with tenant_scope(tenant.id), transaction():
                message_of(message_id).expires_at = clock.in_seconds(expires_in_h * 3600)
                db.session.flush()
        far.answer = meta(131049)
        engine.drain(tenant.account.id)

    message = message_of(message_id)
    assert (message.status, message.reason) == expected
    assert "promotions" in explain(message.error_class, message.error_code).reason
    if message.status == "queued":
        recovery.reap(delivery.pace())  # which must not take a day for a clock that jumped
        wait = outbox_of(message_id).next_at - clock.now()
        assert 86_000 < wait.total_seconds() < 86_500
