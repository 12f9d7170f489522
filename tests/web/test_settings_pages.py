"""Settings: senders with their health and keys, the failover order, the limits; who may change what."""

import re
from datetime import timedelta
from html import unescape

import pytest
from sqlalchemy import select, update

from tests import factories
from tests.support.people import PASSWORD, visitor_of
from tests.support.rows import make_message, put_in_outbox
from wa_dashboard import clock, queues
from wa_dashboard.db import db, insert_rows, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Rank
from wa_dashboard.models import (
    AccountEvent,
    AccountRef,
    Attempt,
    AuditEntry,
    Breaker,
    Message,
    Outbox,
    ProviderAccount,
    Tenant,
)
from wa_dashboard.services import accounts, contacts


def account_of(ready, account_id=None):
    with tenant_scope(ready.id):
        db.session.rollback()  # SQLite would go on showing what it showed before
        wanted = select(ProviderAccount).where(ProviderAccount.id == (account_id or ready.account.id))
        return db.session.scalars(wanted).one()


def order_of(ready, live=False):
    with tenant_scope(ready.id):
        db.session.rollback()
        return accounts.accounts_of(ready.tenant, live)


def change(ready, account_id=None, **values):
    with tenant_scope(ready.id), transaction():
        wanted = ProviderAccount.id == (account_id or ready.account.id)
        db.session.execute(update(ProviderAccount).where(wanted).values(**values))


def tenant_of(ready):
    with tenant_scope(ready.id):
        db.session.rollback()  # SQLite would go on showing what it showed before
        return db.session.scalars(select(Tenant).where(Tenant.id == ready.id)).one()


def set_tenant(ready, **values):
    with tenant_scope(ready.id), transaction():
        db.session.execute(update(Tenant).where(Tenant.id == ready.id).values(**values))


def audited(ready, action):
    with tenant_scope(ready.id):
        rows = db.session.scalars(select(AuditEntry).where(AuditEntry.action == action).order_by(AuditEntry.seq))
        return [(each.actor, each.subject, each.detail) for each in rows]


def open_breaker(ready, account, **values):
    now = clock.now()
    row = {"state": "open", "reason": "network:timeout", "evidence": {}, "changed_at": now, "opened": 1, "step": 0,
           "down_since": now - timedelta(minutes=4), "retry_at": now + timedelta(minutes=1)}  # fmt: skip
    with tenant_scope(ready.id), transaction():
        insert_rows(Breaker, [row | values | {"account_id": account.id, "tenant_id": ready.id}])


def waiting_messages(ready, count, **facts):
    with tenant_scope(ready.id), transaction():
        person = contacts.contact_for(ready.tenant, to_e164("+40722000999"), first_name="Ana")
        ids = []
        for _ in range(count):
            message = make_message(ready, person)
            for name, value in facts.items():
                setattr(message, name, value)
            put_in_outbox(message, next_in=600)
            ids.append(message.id)
        db.session.flush()
    return ids


def used(ready, rule, count):
    """So many sends in the limiter's log, all just now."""
    client = queues.client()
    seconds, micros = client.time()
    now = seconds * 1000 + micros // 1000
    client.zadd(f"wa:rate:{ready.id}:test:{rule}", {f"x{number}": now - 10 * number for number in range(count)})


def main_of(answer):
    return unescape(answer.text.split("<main")[1].split("</main>")[0])


def text_of(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


class TestProviders:
    def test_a_card_says_how_the_sender_is_doing(self, tenant, other_tenant, owner):
        change(other_tenant, label="Al altcuiva")
        change(tenant, last_receipt_at=clock.now() - timedelta(minutes=3), quality="GREEN", tier_limit=2000)
        waiting_messages(tenant, 2)
        page = main_of(owner.get("/settings/providers"))
        words = text_of(page)
        for said in ("Works", "2 messages", "3 minutes ago", "high", "up to 2,000", tenant.account.sender):
            assert said in words, said
        assert accounts.webhook_url(tenant.account) in page
        assert "Al altcuiva" not in page

    def test_secrets_never_come_out(self, tenant, owner):
        keys = account_of(tenant).credentials
        secret = ("access_token", "app_secret", "verify_token")
        for url in ("/settings/providers", f"/settings/providers/{tenant.account.id}/keys"):
            page = owner.get(url).text
            assert [name for name in secret if keys[name] in page] == []
            assert f"…{keys['access_token'][-4:]}" in text_of(page).replace("… ", "…")

    def test_what_is_wrong_is_said_with_since_when_and_when_we_look_again(self, tenant, owner):
        open_breaker(tenant, tenant.account)
        words = text_of(main_of(owner.get("/settings/providers")))
        assert "Out of order at the provider since" in words
        assert "next look" in words

    def test_the_health_asks_for_itself_and_is_told_only_when_it_changes(self, tenant, owner):
        page = owner.get("/settings/providers").text
        url = unescape(re.search(r'hx-get="(/settings/providers/[^"]+/health[^"]+)"', page)[1])
        assert owner.fragment(url).status_code == 204
        open_breaker(tenant, tenant.account)
        again = owner.fragment(url)
        assert again.status_code == 200
        assert "Out of order" in again.text
        assert "<html" not in again.text

    def test_its_story_is_told_in_words(self, tenant, owner):
        with tenant_scope(tenant.id), transaction():
            detail = {"failed": 6, "requests": 11, "class": "network", "code": "timeout"}
            row = {"id": "ace_1", "tenant_id": tenant.id, "account_id": tenant.account.id, "kind": "opened",
                   "at": clock.now(), "detail": detail}  # fmt: skip
            insert_rows(AccountEvent, [row])
        assert "6 of the last 11 tries failed" in text_of(owner.get(f"/settings/providers/{tenant.account.id}").text)

    def test_without_a_sender_the_page_says_what_to_do(self, app, tenant, owner):
        with tenant_scope(tenant.id), transaction():
            for model in (AccountRef, ProviderAccount):
                for row in db.session.scalars(select(model)):
                    db.session.delete(row)
                db.session.flush()
        for url in ("/settings/providers", "/settings/failover"):
            assert "No sender yet" in owner.get(url).text
        assert "No live sender yet" in owner.get("/settings/providers").text

    def test_in_romanian(self, tenant, owner):
        owner.post("/language", page="/settings/providers", language="ro")
        for url, word in (("/settings/providers", "Furnizori"), ("/settings/failover", "Ordinea de rezervă"),
                          ("/settings/limits", "Limite și viteză")):  # fmt: skip
            assert f"<h1>{word}</h1>" in owner.get(url, headers={"Accept-Language": "ro"}).text


class TestConnection:
    @pytest.mark.parametrize("ready", ["meta_cloud"], indirect=True)
    def test_the_result_is_said_in_place(self, ready, owner_of):
        visitor = owner_of(ready)
        answer = visitor.post(f"/settings/providers/{ready.account.id}/test", page="/overview",
                              headers={"HX-Request": "true"})  # fmt: skip
        assert answer.status_code == 200
        assert f'id="health-{ready.account.id}"' in answer.text
        assert "accepts these credentials" in answer.text
        assert "<html" not in answer.text
        assert audited(ready, "account.tested")[-1][2]["ok"] is True

    def test_without_a_script_it_stands_on_the_next_page(self, tenant, owner):
        """No simulator listens here: that too is an answer in words."""
        answer = owner.post(f"/settings/providers/{tenant.account.id}/test", page="/settings/providers")
        assert answer.status_code == 303
        assert answer.location.endswith(f"/settings/providers#{tenant.account.id}")

    def test_a_viewer_has_no_buttons(self, tenant, viewer):
        page = main_of(viewer.get("/settings/providers"))
        assert "<form" not in page
        assert "Replace keys" not in page


@pytest.fixture
def owner_of(app):
    return lambda ready, role="owner": visitor_of(app, ready, role)


class TestKeys:
    def url(self, ready):
        return f"/settings/providers/{ready.account.id}/keys"

    @pytest.mark.parametrize("ready", ["twilio"], indirect=True)
    def test_new_keys_go_in_and_what_is_left_empty_stays(self, ready, owner_of):
        before = account_of(ready).credentials
        form = {name: before[name] for name in ("account_sid", "from", "api_key") if name in before}
        answer = owner_of(ready).post(self.url(ready), page=self.url(ready), **form, auth_token="f" * 28 + "4f2a")
        assert answer.status_code == 303
        after = account_of(ready).credentials
        assert after["auth_token"].endswith("4f2a")
        assert after["account_sid"] == before["account_sid"]
        assert audited(ready, "account.credentials_replaced")[-1][1] == ready.account.id
        assert "4f2a" not in str(audited(ready, "account.credentials_replaced"))

    def test_a_wrong_one_is_said_at_its_field_and_nothing_changes(self, tenant, owner):
        before = account_of(tenant).credentials
        form = {name: before[name] for name in ("waba_id", "display_phone_number")}
        answer = owner.post(self.url(tenant), page=self.url(tenant), phone_number_id="x y", access_token="secret one",
                            **form)  # fmt: skip
        assert answer.status_code == 422
        assert 'id="phone_number_id-error"' in answer.text
        assert "Error: " in answer.text.split("</title>")[0]
        assert tenant.account.label in main_of(answer)
        assert 'value="x y"' in answer.text
        assert "secret one" not in answer.text
        assert account_of(tenant).credentials == before

    def test_live_keys_want_the_owners_own_password(self, tenant, owner):
        set_tenant(tenant, live=True)
        change(tenant, live=True)
        before = account_of(tenant).credentials
        form = {name: before[name] for name in ("phone_number_id", "waba_id", "display_phone_number")}
        wrong = owner.post(self.url(tenant), page=self.url(tenant), access_token="EAA" + "n" * 40,
                           password="not mine at all", **form)  # fmt: skip
        assert wrong.status_code == 422
        assert "This is not your password." in wrong.text
        assert account_of(tenant).credentials == before

    def test_guessing_the_password_is_slowed_down(self, tenant, owner):
        set_tenant(tenant, live=True)
        change(tenant, live=True)
        answers = [owner.post(self.url(tenant), page=self.url(tenant), password=f"guess number {n}") for n in range(6)]
        assert "Too many tries" in answers[-1].text


class TestAdding:
    def test_first_the_provider_then_the_form_of_its_class(self, tenant, owner):
        choice = owner.get("/settings/providers/new").text
        assert "provider=twilio" in choice
        form = owner.get("/settings/providers/new?provider=twilio").text
        assert 'name="account_sid"' in form
        assert 'name="phone_number_id"' not in form

    def test_a_test_sender_needs_no_keys_and_comes_last(self, tenant, owner):
        answer = owner.post(
            "/settings/providers/new", page="/settings/providers/new?provider=twilio", provider="twilio"
        )
        assert answer.status_code == 303
        first, second = order_of(tenant)
        assert (first.id, second.provider, second.live) == (tenant.account.id, "twilio", False)
        actor, subject, _ = audited(tenant, "account.created")[-1]
        assert actor.startswith("user:")
        assert subject == second.id

    def test_a_live_one_wants_keys_and_the_owners_password_also_before_going_live(self, tenant, owner):
        owner.post("/settings/providers/new", page="/settings/providers/new", provider="dialog360", mode="live")
        assert order_of(tenant, live=True) == []
        page = owner.get("/settings/providers/new?provider=dialog360&mode=live").text
        assert 'name="password"' in page
        form = {"api_key": "k" * 30, "phone_number": "+40722000000", "webhook_secret": "s" * 20, "mode": "live"}
        missing = owner.post("/settings/providers/new", page="/settings/providers/new", provider="dialog360",
                             password=PASSWORD, mode="live", phone_number="+40722000000")  # fmt: skip
        assert missing.status_code == 422
        assert "API key is missing." in missing.text
        assert owner.post("/settings/providers/new", page="/settings/providers/new", provider="dialog360",
                          password="x" * 20, **form).status_code == 422  # fmt: skip
        assert order_of(tenant, live=True) == []


class TestSwitch:
    def test_off_keeps_the_keys_and_on_lets_what_waits_go_at_once(self, tenant, owner):
        ids = waiting_messages(tenant, 3)
        url = f"/settings/providers/{tenant.account.id}"
        assert "3 messages wait for it now." in owner.get(f"{url}/off").text
        assert owner.post(f"{url}/switch", page=f"{url}/off", on="0").status_code == 303
        off = account_of(tenant)
        assert off.status == "disabled"
        assert off.credentials == tenant.account.credentials
        assert "Switched off" in text_of(owner.get("/settings/providers").text)
        owner.post(f"{url}/switch", page="/settings/providers", on="1")
        assert account_of(tenant).status == "active"
        with tenant_scope(tenant.id):
            db.session.rollback()
            due = db.session.scalars(select(Outbox.next_at).where(Outbox.message_id.in_(ids))).all()
        assert all(at <= clock.now() + timedelta(seconds=5) for at in due)
        for action in ("account.switched_off", "account.switched_on"):
            assert [actor[:5] for actor, _, _ in audited(tenant, action)] == ["user:"]


class TestFailover:
    def second(self, ready, **values):
        account = factories.make_account(ready.tenant, "twilio")
        change(ready, account.id, priority=200, **values)
        return account

    def test_each_sender_says_what_happens_when_it_fails(self, tenant, owner):
        factories.make_template(tenant)
        second = self.second(tenant)
        words = text_of(main_of(owner.get("/settings/failover")))
        assert f"If {tenant.account.label} fails: messages go through {second.label}." in words
        assert "Not approved there, so these wait: order_confirm (ro)." in words
        assert f"If {second.label} fails: messages go through {tenant.account.label}." in words

    def test_alone_switched_off_or_all_down_they_wait(self, tenant, owner):
        assert "there is no other sender" in owner.get("/settings/failover").text
        second = self.second(tenant)
        open_breaker(tenant, second)
        words = text_of(main_of(owner.get("/settings/failover")))
        assert "the other senders do not work now either" in words
        assert f"{second.label} does not work now: messages go through" in words

    def test_the_switch_is_the_organisations(self, tenant, other_tenant, owner):
        self.second(tenant)
        owner.post("/settings/failover", page="/settings/failover", on="0")
        assert tenant_of(tenant).failover is False
        assert tenant_of(other_tenant).failover is True
        assert "messages wait until it works again." in owner.get("/settings/failover").text
        assert audited(tenant, "tenant.failover")[-1][2] == {"before": True, "after": False}

    def test_up_and_down_change_which_sender_is_first(self, tenant, owner):
        second = self.second(tenant)
        page = owner.get("/settings/failover").text
        assert page.count('value="up"') == page.count('value="down"') == 1
        owner.post(f"/settings/failover/{second.id}/move", page="/settings/failover", to="up")
        assert [each.id for each in order_of(tenant)] == [second.id, tenant.account.id]
        owner.post(f"/settings/failover/{second.id}/move", page="/settings/failover", to="up")
        owner.post(f"/settings/failover/{second.id}/move", page="/settings/failover", to="down")
        assert [each.id for each in order_of(tenant)] == [tenant.account.id, second.id]
        assert len(audited(tenant, "account.moved")) == 2

    def test_a_drill_says_what_would_happen_and_changes_nothing(self, tenant, owner):
        factories.make_template(tenant)
        waiting_messages(tenant, 2)
        before = [(each.status, each.priority) for each in (account_of(tenant),)]
        page = text_of(main_of(owner.get(f"/settings/failover/{tenant.account.id}/drill")))
        assert "nothing was changed and nothing was sent" in page
        assert "All would wait" in page
        assert [(each.status, each.priority) for each in (account_of(tenant),)] == before


class TestLimits:
    def save(self, owner, **form):
        form = {"rate_per_minute": "100", "rate_per_hour": "1000"} | form
        return owner.post("/settings/limits", page="/settings/limits", **form)

    def test_saved_limits_count_at_once_and_are_audited(self, tenant, other_tenant, owner):
        theirs = tenant_of(other_tenant).rate_per_hour
        (message,) = waiting_messages(tenant, 1, reason="throttled")
        assert self.save(owner, rate_per_minute="80", rate_per_hour="2 000").status_code == 303
        found = tenant_of(tenant)
        assert (found.rate_per_minute, found.rate_per_hour) == (80, 2000)
        assert tenant_of(other_tenant).rate_per_hour == theirs
        assert audited(tenant, "tenant.limits")[-1][2]["after"] == {"rate_per_minute": 80, "rate_per_hour": 2000}
        with tenant_scope(tenant.id):
            db.session.rollback()
            due = db.session.scalars(select(Outbox.next_at).where(Outbox.message_id == message)).one()
        assert due <= clock.now() + timedelta(seconds=5)

    def test_what_failed_keeps_its_own_patience(self, tenant, owner):
        (message,) = waiting_messages(tenant, 1)
        with tenant_scope(tenant.id), transaction():
            db.session.execute(update(Outbox).where(Outbox.message_id == message).values(failures=2))
        self.save(owner, rate_per_minute="7")
        with tenant_scope(tenant.id):
            db.session.rollback()
            due = db.session.scalars(select(Outbox.next_at).where(Outbox.message_id == message)).one()
        assert due > clock.now() + timedelta(minutes=5)

    @pytest.mark.parametrize("typed", ["abc", "-1", "1e3", "100001", "9" * 30, "½"])
    def test_a_wrong_number_is_said_at_its_field_and_kept(self, tenant, owner, typed):
        before = tenant_of(tenant).rate_per_minute
        answer = self.save(owner, rate_per_minute=typed)
        assert answer.status_code == 422
        assert 'id="rate_per_minute-error"' in answer.text
        assert f'value="{typed}"' in unescape(answer.text)
        assert tenant_of(tenant).rate_per_minute == before

    @pytest.mark.parametrize(
        ("minute", "hour", "said"),
        [
            ("100", "0", "At 100 per minute, 10,000 messages take 1 h 40 min."),
            ("100", "1000", "At 1,000 per hour, 10,000 messages take 10 h."),
            ("0", "100", "At 100 per hour, 10,000 messages take 4 days 4 h."),
            ("0", "0", "as fast as the provider takes them"),
        ],
    )
    def test_the_effect_is_said_before_anything_is_saved(self, tenant, owner, minute, hour, said):
        before = tenant_of(tenant).rate_per_minute
        form = {"rate_per_minute": minute, "rate_per_hour": hour}
        plain = owner.post("/settings/limits/effect", page="/settings/limits", **form)
        assert said in main_of(plain)
        part = owner.post("/settings/limits/effect", page="/overview", headers={"HX-Request": "true"}, **form)
        assert said in part.text
        assert "<html" not in part.text
        assert tenant_of(tenant).rate_per_minute == before

    def test_the_live_use_in_words_and_the_limit_that_binds(self, tenant, other_tenant, owner):
        set_tenant(tenant, rate_per_minute=0, rate_per_hour=1000)
        used(other_tenant, "hour", 700)
        used(tenant, "hour", 412)
        page = owner.get("/settings/limits").text
        assert "412 of 1,000 this hour" in page
        assert re.search(r'<meter[^>]*max="1000"[^>]*value="412"', page)
        url = unescape(re.search(r'hx-get="(/settings/limits/use[^"]+)"', page)[1])
        assert owner.fragment(url).status_code == 204
        used(tenant, "hour", 1000)
        waiting_messages(tenant, 30)
        again = owner.fragment(url)
        assert "1,000 of 1,000 this hour" in again.text
        assert re.search(r"1,000 per hour: the last of 30 waiting leaves at \d\d:\d\d\.", again.text)

    def test_a_number_has_its_own_limits(self, tenant, owner):
        url = f"/settings/limits/{tenant.account.id}"
        assert owner.post(url, page="/settings/limits", rate_per_second="20", tier_limit="2000").status_code == 303
        found = account_of(tenant)
        assert (found.rate_per_second, found.tier_limit) == (20, 2000)
        wrong = owner.post(url, page="/settings/limits", rate_per_second="20", tier_limit="many")
        assert wrong.status_code == 422
        assert f'id="tier_limit-{tenant.account.id}-error"' in wrong.text
        assert audited(tenant, "account.limits")[-1][2]["after"] == {"rate_per_second": 20, "tier_limit": 2000}

    def test_a_waiting_message_names_its_limit_and_its_time(self, tenant, owner):
        set_tenant(tenant, rate_per_minute=0, rate_per_hour=1000)
        used(tenant, "hour", 1000)
        (message,) = waiting_messages(tenant, 1, reason="throttled", reason_detail={"rule": "hour", "limit": 1000},
                                      next_at=clock.now() + timedelta(minutes=25))  # fmt: skip
        page = owner.get(f"/messages/{message}").text
        assert re.search(r"the limit of 1,000 per hour is reached; its turn comes at \d\d:\d\d\.", page)
        listed = owner.get("/messages").text
        assert re.search(r"<small>1,000 per hour · \d\d:\d\d</small>", listed)
        assert "1,000 per hour: the last of 1 waiting leaves at" in listed
        assert "1,000 per hour: the last" not in owner.get("/messages?status=read").text
        with tenant_scope(tenant.id):
            assert db.session.scalars(select(Message.status).where(Message.id == message)).one() == "queued"


class TestOverview:
    def strip(self, owner):
        return text_of(owner.get("/overview").text.split('id="senders"')[1].split("</ul>")[0])

    def test_every_sender_with_its_word_and_a_link(self, tenant, other_tenant, owner):
        change(other_tenant, label="Al altcuiva")
        page = owner.get("/overview").text
        assert f'href="/settings/providers#{tenant.account.id}"' in page
        assert f"{tenant.account.label} · Works" in self.strip(owner)
        assert "Al altcuiva" not in page

    def test_a_stopped_one_is_red_and_says_what_to_do(self, tenant, owner):
        change(tenant, status="held", hold_reason="account_stop:190")
        page = owner.get("/overview").text
        assert '<li class="bad"><a href="/settings/providers#' in page
        assert "Stopped by the provider" in self.strip(owner)
        needs = owner.fragment("/overview/needs").text
        assert "has stopped" in needs
        assert "access token" in needs

    def test_one_whose_receipts_stopped_is_amber(self, tenant, owner):
        now = clock.now()
        change(tenant, last_sent_at=now, last_receipt_at=now - timedelta(minutes=12), last_webhook_at=now)
        (message,) = waiting_messages(tenant, 1)
        with tenant_scope(tenant.id), transaction():
            row = {"message_id": message, "tenant_id": tenant.id, "attempt_no": 1, "account_id": tenant.account.id,
                   "provider": tenant.account.provider, "rank": Rank.ACCEPTED, "outcome": "accepted",
                   "started_at": now - timedelta(minutes=10), "receipt_seen": False}  # fmt: skip
            insert_rows(Attempt, [row])
        page = owner.get("/overview").text
        assert '<li class="warn"><a href="/settings/providers#' in page
        assert f"{tenant.account.label} · No receipts no receipt for 12 minutes while sending" in self.strip(owner)
        assert "no receipts come back" in owner.fragment("/overview/needs").text

    def test_the_strip_is_told_only_when_it_changes(self, tenant, owner):
        page = owner.get("/overview").text
        url = unescape(re.search(r'hx-get="(/overview/senders[^"]+)"', page)[1])
        assert owner.fragment(url).status_code == 204
        open_breaker(tenant, tenant.account)
        assert "Out of order" in owner.fragment(url).text
