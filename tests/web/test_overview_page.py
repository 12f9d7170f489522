"""The overview: ticks that tick themselves, what needs somebody, the numbers and when they are asked for again."""

from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from sqlalchemy import select

from tests import factories
from tests.support.people import HTMX
from tests.support.rows import make_message
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.ids import new_id
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Message, ProviderAccount, TemplateApproval, WebhookEvent
from wa_dashboard.services import by_hand, contacts, overview, problems, week
from wa_dashboard.services.tenants import SignedIn, User

PHONE = "+40722123456"


def messages_of(ready, *statuses, days_ago=0, **values):
    """One message per status, asked for so many days ago."""
    with tenant_scope(ready.id), transaction():
        person = contacts.contact_for(ready.tenant, to_e164(PHONE), first_name="Ana")
        made = []
        for status in statuses:
            message = make_message(ready, person, status=status)
            message.created_at = message.updated_at = clock.now() - timedelta(days=days_ago)
            for name, value in values.items():
                setattr(message, name, value)
            made.append(message.id)
        db.session.flush()
        bad = [each for each, status in zip(made, statuses, strict=True) if status in ("failed", "dead_letter")]
        problems.raise_for(ready.id, bad)
    return made


def numbers_of(ready):
    with tenant_scope(ready.id):
        return week.week(ready.tenant, live=False)


class TestNumbers:
    def test_they_are_of_this_tenant_this_mode_and_these_seven_days(self, tenant, other_tenant):
        messages_of(other_tenant, "read", "failed")
        messages_of(tenant, "read", live=True)
        messages_of(tenant, "read", days_ago=8)
        messages_of(
            tenant, "queued", "sent", "delivered", "read", "read", "failed", "dead_letter", "skipped", "cancelled"
        )

        found = numbers_of(tenant)

        assert (found.sent, found.delivered, found.read, found.failed, found.under_way) == (5, 3, 2, 2, 2)
        assert found.delivered_share == pytest.approx(3 / 5)
        assert found.read_share == pytest.approx(2 / 3)
        assert found.sent_before == 1
        assert found.growth == pytest.approx(4.0)
        assert [day.total for day in found.days] == [0, 0, 0, 0, 0, 0, 7]

    def test_money_is_what_was_charged_and_a_guess_for_what_is_on_the_way(self, tenant):
        messages_of(tenant, "read", charged_micros=30_000, estimate_micros=99)
        messages_of(tenant, "sent", estimate_micros=20_000)
        messages_of(tenant, "failed", estimate_micros=50_000)
        found = numbers_of(tenant)
        assert (found.spent_micros, found.estimated) == (50_000, True)

    def test_a_day_begins_at_midnight_of_the_tenant(self):
        now = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)  # 30 March, 01:30 in Bucharest, whose clock moved on the 29th
        starts = week.day_starts(now, "Europe/Bucharest")
        assert [start.isoformat() for start in starts[-3:]] == [
            "2026-03-27T22:00:00+00:00", "2026-03-28T22:00:00+00:00", "2026-03-29T21:00:00+00:00",
        ]  # fmt: skip
        assert len(starts) == 7

    def test_what_was_not_received_is_one_number_here_there_and_behind_its_link(self, tenant, owner):
        messages_of(tenant, "failed", "unconfirmed", "dead_letter", "expired", "read", "skipped", "cancelled")
        messages_of(tenant, "failed", days_ago=8)
        page = owner.get("/overview").text
        tile = page.split("Not received</dt>")[1].split("</div>")[0]
        assert ">4</a>" in tile
        assert "status=not_received" in tile
        behind = owner.get(unescape(tile.split('href="')[1].split('"')[0])).text
        assert "4 messages" in behind
        assert "4 not received" in behind
        assert "Status: Not received" in behind
        assert behind.count('scope="row"') == 4

    def test_an_empty_week_divides_by_nothing(self, tenant):
        found = numbers_of(tenant)
        assert (found.sent, found.delivered_share, found.read_share, found.growth) == (0, None, None, None)


class TestPolling:
    def mark_in(self, page):
        return page.split("have=")[1].split('"')[0].replace("&amp;", "&")

    def test_nothing_new_costs_nothing_to_show(self, tenant, owner):
        messages_of(tenant, "sent")
        page = owner.fragment(f"/overview/numbers?watched={int(clock.now().timestamp())}")
        assert 'hx-trigger="every 5s, wake"' in page.text
        url = page.text.split('hx-get="')[1].split('"')[0].replace("&amp;", "&")
        assert owner.fragment(url).status_code == 204
        messages_of(tenant, "read")
        assert owner.fragment(url).status_code == 200

    def test_the_whole_page_knows_what_it_shows_too(self, client, tenant, owner):
        """Every first question carries the mark of what stands on the page, so its answer is 204."""
        factories.make_template(tenant, status="pending")
        template = factories.make_template(tenant, name="order_x")
        (message,) = messages_of(tenant, "sent")
        with tenant_scope(tenant.id), transaction():
            approval = db.session.scalars(select(TemplateApproval).where(TemplateApproval.template_id == template.id))
            approval.one().status = "pending"
            db.session.flush()
        for url in ("/overview", f"/messages/{message}", "/templates", f"/templates/{template.id}"):
            page = owner.get(url).text
            asked = [
                unescape(part.split('"')[0]) for part in page.split('hx-get="')[1:] if "have=" in part.split('"')[0]
            ]
            assert asked, url
            assert [owner.fragment(each).status_code for each in asked] == [204] * len(asked), asked

    def test_it_slows_down_when_nothing_moves_and_ends_when_nobody_looks(self, tenant, owner):
        messages_of(tenant, "read", days_ago=1)
        now = int(clock.now().timestamp())
        assert 'hx-trigger="every 30s, wake"' in owner.fragment(f"/overview/numbers?watched={now}").text
        over = owner.fragment(f"/overview/numbers?watched={now - 3600}").text
        assert "hx-trigger" not in over
        assert "data-poll" not in over

    @pytest.mark.parametrize("junk", ["", "x", "-1", "9" * 50])
    def test_junk_in_the_address_is_harmless(self, owner, junk):
        assert owner.fragment(f"/overview/numbers?watched={junk}&have={junk}").status_code == 200


class TestSteps:
    def steps(self, ready):
        with tenant_scope(ready.id):
            return overview.started(ready.tenant)

    def test_each_ticks_itself_and_only_for_its_tenant(self, app, client, tenant, other_tenant):
        factories.make_template(other_tenant)
        client.post("/api/wa/send/confirm", json=factories.order(), headers=other_tenant.headers)
        assert self.steps(tenant) == overview.Started(True, False, False, False, False)

        template = factories.make_template(tenant, status="pending")
        assert not self.steps(tenant).template
        with tenant_scope(tenant.id), transaction():
            db.session.scalars(select(TemplateApproval)).one().status = "approved"
            db.session.flush()
        assert self.steps(tenant).template

        answer = client.post("/api/wa/send/confirm", json=factories.order(reminders=["D-1"]), headers=tenant.headers)
        assert answer.status_code == 202, answer.text
        assert self.steps(tenant) == overview.Started(True, True, True, False, True)

        with tenant_scope(tenant.id):
            me = SignedIn(User(id="usr_1", email="a@b.ro"), tenant.tenant, "owner", "ses_1")
            by_hand.send_test(me, to_e164("+40722000111"), "Ana", "t" * 43, template.language)
        assert self.steps(tenant).all_done

    def test_the_list_goes_when_all_is_done(self, app, tenant, owner):
        assert "Get started" in owner.get("/overview").text
        self.test_each_ticks_itself_and_only_for_its_tenant(
            app, app.test_client(), tenant, factories.make_tenant("Alt", "alt@example.org")
        )
        assert "Get started" not in owner.get("/overview").text


class TestNeeds:
    def test_nothing(self, tenant, owner):
        assert "Nothing needs you right now." in owner.get("/overview").text

    def test_everything_at_once_each_with_its_link(self, tenant, other_tenant, owner):
        messages_of(other_tenant, "dead_letter")
        template = factories.make_template(tenant, name="promo_x", status="rejected")
        messages_of(tenant, "dead_letter", "dead_letter")
        long_ago = clock.now() - timedelta(hours=3)
        with tenant_scope(tenant.id), transaction():
            second = factories.make_account(tenant.tenant)
            held = db.session.scalars(select(ProviderAccount).where(ProviderAccount.id == tenant.account.id)).one()
            held.status, held.hold_reason = "held", "account_stop"
            silent = db.session.scalars(select(ProviderAccount).where(ProviderAccount.id == second.id)).one()
            silent.last_sent_at, silent.last_webhook_at, silent.label = long_ago, None, "Sala Mare"
            event = WebhookEvent(
                id=new_id("whe"), tenant_id=tenant.id, account_id=second.id, provider="meta_cloud", url="http://x/",
                received_at=clock.now(), headers={}, body=b"?", digest="d", state="quarantined", error="no JSON",
            )  # fmt: skip
            db.session.add(event)
            db.session.flush()
        text = owner.fragment("/overview/needs").text
        assert "has stopped" in text
        assert "Messages that did not arrive: 2." in text
        assert "“promo_x” (ro) was rejected" in text
        assert f'href="/templates/{template.id}"' in text
        assert "“Sala Mare” sends, but no receipts come back" in text
        assert "could not read: 1" in text

    def test_the_same_is_not_said_again(self, tenant, owner):
        page = owner.get("/overview").text
        url = page.split('id="needs"')[1].split('hx-get="')[1].split('"')[0]
        assert owner.fragment(url).status_code == 204
        messages_of(tenant, "dead_letter")
        assert "1 message did not arrive." in owner.fragment(url).text

    def test_a_newer_version_answers_a_rejection(self, tenant, owner):
        factories.make_template(tenant, name="promo_x", status="rejected", version=1)
        factories.make_template(tenant, name="promo_x", status="approved", version=2)
        assert "promo_x" not in owner.fragment("/overview/needs").text


def test_next_sends_are_grouped_by_event_and_interval(client, tenant, other_tenant, owner):
    for who in (other_tenant, tenant):
        factories.make_template(who)
    for number in range(3):
        for who, name in ((tenant, "Hamlet"), (other_tenant, "Secret")):
            body = factories.order(f"A-{number}", f"+4072212345{number}", reminders=["D-7", "D-1"])
            body["event"] |= {"name": name}
            assert client.post("/api/wa/send/confirm", json=body, headers=who.headers).status_code == 202
    with tenant_scope(tenant.id):
        found = overview.next_sends(tenant.tenant, live=False)
    assert [(each.event, each.interval, each.people) for each in found] == [("Hamlet", "D-7", 3), ("Hamlet", "D-1", 3)]
    page = owner.get("/overview").text
    assert "7 days before" in page
    assert "3 people" in page
    assert "Secret" not in page


class TestSendTest:
    def send(self, owner, page="/send-test", **form):
        token = owner.get(page).text.split('name="token" value="')[1].split('"')[0]
        return owner.post(page, page=page, **({"phone": PHONE, "first_name": "Ana", "token": token} | form))

    def test_it_really_sends_and_a_double_tap_is_one_message(self, app, tenant, owner):
        factories.make_template(tenant)
        token = owner.get("/send-test").text.split('name="token" value="')[1].split('"')[0]
        first = self.send(owner, token=token)
        again = self.send(owner, token=token)
        assert first.status_code == again.status_code == 303
        assert first.location == again.location
        with tenant_scope(tenant.id):
            message = db.session.scalars(select(Message)).one()
            assert message.status == "queued"
            assert message.asked_by.startswith("user:")
            assert message.variables["first_name"] == "Ana"
            assert contacts.find_contact(tenant.tenant, PHONE) is not None
        page = owner.get(first.location)
        assert "Asked for by somebody of your team" in page.text

    def test_without_a_template_it_says_so_and_keeps_what_was_typed(self, tenant, owner):
        answer = self.send(owner, phone="0722 123 456")
        assert answer.status_code == 422
        assert "template" in answer.text
        assert 'value="0722 123 456"' in answer.text

    @pytest.mark.parametrize("phone", ["", "12", "+407", "ana", "+40722123456789012"])
    def test_a_wrong_number_is_said_at_its_field(self, tenant, owner, phone):
        answer = self.send(owner, phone=phone)
        assert answer.status_code == 422
        assert 'id="phone-error"' in answer.text

    @pytest.mark.parametrize("token", ["", "short", "ț" * 30, "x" * 500])
    def test_a_form_without_a_decent_token_is_not_sent(self, tenant, owner, token):
        factories.make_template(tenant)
        assert self.send(owner, token=token).status_code == 422

    def test_whoever_said_stop_all_gets_nothing(self, client, tenant, owner):
        factories.make_template(tenant)
        client.post(
            "/api/wa/optin",
            json={"phone": PHONE, "status": "opted_out", "source": "api"},
            headers=tenant.headers | {"Idempotency-Key": "1"},
        )
        page = owner.get(self.send(owner).location).text
        assert "Left out" in page
        assert "nothing was sent" in page

    def test_live_wants_your_own_number(self, app, tenant, owner):
        with transaction():
            from wa_dashboard.services import tenants

            tenants.find_tenant(tenant.id).live = True
            db.session.flush()
        answer = self.send(owner)
        assert answer.status_code == 422
        assert 'id="mine-error"' in answer.text
        phone = owner.get("/phone")
        assert phone.status_code == 403
        assert "This page exists in test mode only." in phone.text
        assert "role" not in phone.text.split("<main")[1].split("</main>")[0].replace('role="', "")


def test_the_connect_page_shows_this_installations_addresses(app, tenant, other_tenant, owner):
    page = owner.get("/connect").text
    settings = app.extensions["wa_settings"]
    assert f"{settings.public_url}/api/wa/send/confirm" in page
    assert tenant.account.webhook_token in page
    assert other_tenant.account.webhook_token not in page


def test_fragments_are_fragments(tenant, owner):
    for url in ("/overview/numbers", "/overview/needs"):
        assert "<html" not in owner.get(url, headers=HTMX).text
