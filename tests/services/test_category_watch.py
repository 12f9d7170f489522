"""A category that a provider changes: seen in any order, reckoned into what waits, and never silent."""

import itertools
from dataclasses import replace
from datetime import timedelta
from html import unescape

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.services.health_world import approve, message_of
from tests.services.template_world import world_of
from tests.services.test_templates import TEXT
from tests.support.people import light_passwords, visitor_of
from wa_dashboard import clock
from wa_dashboard.db import all_tenants, db, tenant_scope, transaction
from wa_dashboard.models import Message, Outbox, TemplateApproval, TemplateEvent
from wa_dashboard.providers.base import TemplateStatusItem
from wa_dashboard.services import category_watch, lifecycle, overview, template_submission, templates

UTILITY, MARKETING, ELSEWHERE = 23_900, 71_200, 17_500
EXTERNAL = "7001"


@pytest.fixture
def stranger(client, other_tenant):
    """Somebody else whose template has the same id at the provider, and a message that waits for it."""
    template = factories.make_template(other_tenant, external_id=EXTERNAL)
    message_id = ask(client, other_tenant, "X-1")
    yield
    row = approval_of(template)
    assert (row.category, row.previous_category, row.announced_category) == ("utility", None, None)
    assert message_of(message_id).estimate_micros == UTILITY


@pytest.fixture
def template(tenant, stranger):
    return factories.make_template(tenant, external_id=EXTERNAL)


def ask(client, ready, order_id, phone="+40722123456"):
    answer = client.post("/api/wa/send/confirm", json=factories.order(order_id, phone=phone), headers=ready.headers)
    assert answer.status_code == 202, answer.json
    return answer.json["message"]["id"]


def approval_of(template):
    with all_tenants("test"):
        wanted = select(TemplateApproval).where(TemplateApproval.template_id == template.id)
        return db.session.scalars(wanted, execution_options={"populate_existing": True}).first()


def step_1(seconds=0.0, days=1, category="marketing"):
    return item(seconds, change="announced", category=category, effective_at=day(days))


def step_2(seconds=0.0, category="marketing"):
    return item(seconds, change="category", category=category)


def day(days):
    return (clock.now() + timedelta(days=days)).replace(microsecond=0)


def item(seconds, **more):
    at = clock.now().replace(microsecond=0) + timedelta(seconds=seconds)
    values = {"key": f"{at}{more}", "at": at, "external_id": EXTERNAL, "name": None, "language": None}
    return TemplateStatusItem(**(values | more))


def tell(ready, *news):
    with tenant_scope(ready.id), transaction():
        for each in news:
            assert templates.apply_news(ready.account, each)


def announced(ready):
    with tenant_scope(ready.id):
        return category_watch.announced(ready.tenant, False)


def test_an_announcement_is_told_with_what_it_will_cost_and_changes_no_price_yet(client, tenant, template):
    here, abroad = ask(client, tenant, "A-1"), ask(client, tenant, "A-2", "+48512345678")
    news = step_1()

    tell(tenant, news)

    row = approval_of(template)
    assert (row.category, row.announced_category, row.announced_at) == ("utility", "marketing", news.effective_at)
    assert [message_of(each).estimate_micros for each in (here, abroad)] == [UTILITY, ELSEWHERE]
    (found,) = announced(tenant)
    assert (found.old, found.new, found.at, found.waiting) == ("utility", "marketing", news.effective_at, 2)
    assert found.difference_micros == 2 * MARKETING - UTILITY - ELSEWHERE
    assert found.currency == "EUR"
    assert "order_confirm" in found.sentence


def test_the_change_reckons_anew_what_waits_there_and_nothing_else(client, tenant, template):
    gone = ask(client, tenant, "A-0")
    second = factories.make_account(tenant.tenant, "twilio")
    approve(tenant, template, second)
    waits, there = ask(client, tenant, "A-1"), ask(client, tenant, "A-2")
    with tenant_scope(tenant.id), transaction():
        lifecycle.drop_from_outbox([gone])
        db.session.execute(update(Outbox).where(Outbox.message_id == there).values(account_id=second.id))

    tell(tenant, step_2())

    row = approval_of(template)
    assert (row.category, row.previous_category, row.announced_category) == ("marketing", "utility", None)
    assert [message_of(each).estimate_micros for each in (gone, waits, there)] == [UTILITY, MARKETING, UTILITY]
    assert [message_of(each).category for each in (waits, there)] == ["marketing", "utility"]
    with tenant_scope(tenant.id):
        (line,) = db.session.scalars(select(TemplateEvent)).all()
    assert line.detail == {
        "category": "marketing", "was": "utility", "repriced": 1, "more_micros": MARKETING - UTILITY, "currency": "EUR",
    }  # fmt: skip
    found = announced(tenant)[0]
    assert (found.old, found.new, found.waiting, found.difference_micros) == (
        "utility", "marketing", 1, MARKETING - UTILITY,
    )  # fmt: skip


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_any_order_and_any_repetition_ends_alike(client, tenant, template, order):
    waits = ask(client, tenant, "A-1")
    said = [step_1(-30), step_2(-20), item(-40, change="status", status="approved", category="utility")]

    for index in (*order, *order):
        tell(tenant, said[index])

    row = approval_of(template)
    assert (row.category, row.previous_category, row.announced_category) == ("marketing", "utility", None)
    assert message_of(waits).estimate_micros == MARKETING


def test_an_announcement_taken_back_is_told_no_more(client, tenant, template):
    tell(tenant, step_1(-30))
    assert len(announced(tenant)) == 1

    tell(tenant, step_1(-10, category="utility"))

    assert announced(tenant) == []


def test_old_changes_are_told_no_more(client, tenant, template):
    tell(tenant, step_2())

    with clock.at(clock.now() + timedelta(days=6)):
        assert len(announced(tenant)) == 1
    with clock.at(clock.now() + timedelta(days=8)):
        assert announced(tenant) == []


def test_reminders_that_are_planned_count_too(client, tenant, template):
    reminder = factories.make_template(tenant, "reminder_d7", type="reminder", external_id="7002")
    body = factories.order("A-1", event=factories.order()["event"] | {"starts_at": "2027-04-04T20:00"})
    body["reminders"] = ["D-7", "D-3"]
    assert client.post("/api/wa/send/confirm", json=body, headers=tenant.headers).status_code == 202

    tell(tenant, replace(step_1(), external_id="7002"))

    (found,) = announced(tenant)
    assert (found.template.id, found.waiting) == (reminder.id, 1)
    assert found.difference_micros == MARKETING - UTILITY


def test_the_overview_says_so(app, client, tenant, template):
    ask(client, tenant, "A-1")
    with light_passwords():
        page = visitor_of(app, tenant)
    assert "marketing" not in unescape(page.get("/overview").text)

    tell(tenant, step_1())

    with tenant_scope(tenant.id):
        assert len(overview.needs(tenant.tenant, False, []).categories) == 1
    shown = unescape(page.get("/overview").text)
    assert "marketing" in shown
    assert f"/templates/{template.id}" in shown
    assert "0,05" in shown or "0.05" in shown


@pytest.mark.parametrize("provider", ["meta_cloud", "twilio", "dialog360"])
def test_another_category_than_asked_for_is_noticed_by_whoever_is_asked(app, tmp_path, provider):
    with world_of(app, tmp_path) as world:
        ready = factories.make_tenant(provider=provider)
        world.known(ready)
        template = templates.save(ready.tenant, TEXT, submit=True, live=False).template
        template_submission.submit_due()
        world.event(ready.account, "order_confirm", "CATEGORY", category="MARKETING")
        world.event(ready.account, "order_confirm", "APPROVED")
        with tenant_scope(ready.id):
            templates.look_again(template.id, ready.account.id)

        templates.poll_due()

        row = approval_of(template)
        assert (row.status, row.category, row.previous_category) == ("approved", "marketing", "utility")
        (found,) = announced(ready)
        assert (found.old, found.new) == ("utility", "marketing")
        with tenant_scope(ready.id):
            assert db.session.scalar(select(Message.id)) is None


def test_the_first_answer_to_a_submission_may_differ_from_what_was_asked(app, tmp_path):
    with world_of(app, tmp_path) as world:
        ready = factories.make_tenant()
        world.known(ready)
        world.wire.rewrite = (b'"UTILITY"', b'"MARKETING"')
        template = templates.save(ready.tenant, TEXT, submit=True, live=False).template

        template_submission.submit_due()

        row = approval_of(template)
        assert (row.category, row.previous_category) == ("marketing", "utility")
        assert [found.new for found in announced(ready)] == ["marketing"]
