"""Messages: searching, paging, new ones, one message's story, and what can be done with it."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from tests import factories
from tests.support.rows import put_in_outbox
from tests.web.test_overview_page import PHONE, messages_of
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Attempt, AuditEntry, Message, Outbox
from wa_dashboard.services import contacts, invariants, lifecycle, tenants


def send(client, ready, order_id="A-1001", phone=PHONE, name="Ana"):
    body = factories.order(order_id, phone)
    body["recipient"] |= {"first_name": name}
    answer = client.post("/api/wa/send/confirm", json=body, headers=ready.headers)
    assert answer.status_code == 202, answer.text
    return answer.json["message"]["id"]


def row_of(ready, message_id):
    with tenant_scope(ready.id):
        db.session.expire_all()
        return db.session.scalars(select(Message).where(Message.id == message_id)).one()


class TestList:
    @pytest.mark.parametrize("q", ["Ana", "ana", "0722 123 456", "+40722123456", "456", "A-1001"])
    def test_one_box_finds_names_numbers_and_orders(self, client, tenant, owner, q):
        factories.make_template(tenant)
        send(client, tenant)
        send(client, tenant, "B-2002", "+40733999888", "Mihai")
        found = owner.get("/messages", query_string={"q": q}).text
        assert "Ana" in found
        assert "Mihai" not in found
        assert "1 message" in found

    def test_the_days_of_a_filter_are_written_as_people_write_them(self, tenant, owner):
        page = owner.get("/messages?from=2026-11-01&to=nonsense").text
        chips = page.split('class="chips"')[1].split("</ul>")[0]
        assert "From: 1 Nov 2026" in chips
        assert "Until: nonsense" in chips

    def test_a_live_tenant_is_told_when_it_looks_at_tests(self, tenant, owner):
        messages_of(tenant, "read")
        assert "Mode: Test" not in owner.get("/messages?mode=test").text
        with transaction():
            tenants.find_tenant(tenant.id).live = True
            db.session.flush()
        page = owner.get("/messages?mode=test").text
        assert "1 message" in page
        assert "Mode: Test" in page
        assert 'class="band"' not in page
        assert "Mode: Test" not in owner.get("/messages").text

    def test_nobody_elses(self, client, tenant, other_tenant, owner):
        factories.make_template(other_tenant)
        theirs = send(client, other_tenant)
        for url in ("/messages", "/messages?q=Ana", f"/messages?q={theirs}"):
            page = owner.get(url)
            assert page.status_code == 200
            assert theirs not in page.text.replace(f"q={theirs}", "").replace(f'value="{theirs}"', "").replace(
                f"“{theirs}”", ""
            )

    def test_empty_and_nothing_matches_are_told_apart(self, tenant, owner):
        assert "No messages yet" in owner.get("/messages").text
        assert "Nothing matches “ana”" in owner.get("/messages?q=ana").text
        assert "Nothing matches" in owner.get("/messages?status=failed").text

    def test_filters_and_their_chips(self, client, tenant, owner):
        factories.make_template(tenant)
        send(client, tenant)
        messages_of(tenant, "failed")
        page = owner.get("/messages?status=failed&type=order_confirm").text
        assert "1 message" in page
        assert 'href="/messages?type=order_confirm"' in page
        assert 'href="/messages?status=failed"' in page

    @pytest.mark.parametrize(
        ("query", "count"),
        [("from=2026-11-22", 1), ("to=2026-11-22", 1), ("from=2026-11-22&to=2026-11-22", 0), ("from=2026-11-21", 2)],
    )
    def test_days_are_the_tenants(self, tenant, owner, query, count):
        from datetime import datetime

        from dateutil.tz import gettz

        bucharest = gettz("Europe/Bucharest")
        with clock.at(datetime(2026, 11, 23, 0, 30, tzinfo=bucharest)):
            messages_of(tenant, "read")
        with clock.at(datetime(2026, 11, 21, 23, 30, tzinfo=bucharest)):
            messages_of(tenant, "read")
        assert len(re.findall(r'<th scope="row">', owner.get(f"/messages?{query}").text)) == count

    @pytest.mark.parametrize("query", ["from=tomorrow", "to=2026-13-45", "from=99999-01-01"])
    def test_a_wrong_date_is_said_and_left_out(self, tenant, owner, query):
        messages_of(tenant, "read")
        page = owner.get(f"/messages?{query}")
        assert page.status_code == 200
        assert "year-month-day" in page.text
        assert "1 message" in page.text

    @pytest.mark.parametrize("junk", ["status=zzz", "type=%00", "provider='--", "at=xyz", "at=%FF", "q=" + "x" * 5000])
    def test_junk_is_harmless(self, tenant, owner, junk):
        assert owner.get(f"/messages?{junk}").status_code == 200

    def test_pages_meet_without_a_gap(self, tenant, owner):
        messages_of(tenant, *["read"] * 60)
        messages_of(tenant, *["read"] * 53, days_ago=1)
        seen, url = [], "/messages"
        pages = 0
        while url:
            page = owner.get(url).text
            seen += re.findall(r'<th scope="row"><a href="/messages/(msg_\w+)"', page)
            pages += 1
            older = re.search(r'rel="next" href="([^"]+)"', page)
            back = re.search(r'rel="prev" href="([^"]+)"', page)
            assert bool(back) == (pages > 1)
            url = older[1].replace("&amp;", "&") if older else None
        assert (pages, len(seen), len(set(seen))) == (3, 113, 113)

    def test_a_page_of_another_list_is_the_beginning(self, tenant, owner):
        messages_of(tenant, *["read"] * 60)
        older = re.search(r'rel="next" href="([^"]+)"', owner.get("/messages").text)[1].replace("&amp;", "&")
        assert owner.get(older + "&status=read").text.count('<th scope="row">') == 50

    def test_htmx_gets_the_results_alone(self, tenant, owner):
        assert owner.fragment("/messages?q=a").text.lstrip().startswith('<div id="results"')

    def test_new_ones_are_counted_and_not_moved_in(self, tenant, owner):
        messages_of(tenant, "read")
        url = re.search(r'hx-get="(/messages/new[^"]+)"', owner.get("/messages").text)[1].replace("&amp;", "&")
        assert owner.fragment(url).status_code == 204
        messages_of(tenant, "queued", "queued", "queued")
        answer = owner.fragment(url)
        assert answer.status_code == 200
        assert "3 new, show them" in answer.text
        with clock.at(clock.now() + timedelta(minutes=31)):
            assert owner.fragment(url).status_code == 286

    def test_a_code_is_never_shown(self, tenant, owner):
        template = factories.make_template(
            tenant, "otp_code", type="otp", body="{code} este codul tău de verificare azi."
        )
        (message_id,) = messages_of(tenant, "sent", type="otp", template_id=template.id, template_name="otp_code")
        with tenant_scope(tenant.id), transaction():
            row = db.session.scalars(select(Message)).one()
            row.variables = {"code": "987654"}
            db.session.flush()
        assert "987654" not in owner.get("/messages").text
        page = owner.get(f"/messages/{message_id}").text
        assert "987654" not in page
        assert "•••••• este codul tău" in page
        assert "Only the person’s phone shows it." in page


class TestOne:
    def test_its_bubble_and_its_story(self, client, tenant, owner):
        factories.make_template(tenant)
        message_id = send(client, tenant)
        page = owner.get(f"/messages/{message_id}").text
        assert "Comanda A-1001 pentru Hamlet este confirmată" in page
        assert "Asked for by your ticketing system" in page
        assert "Order A-1001" in page
        assert PHONE not in page
        assert "data-poll" in page

    @pytest.mark.parametrize("early", [timedelta(0), timedelta(milliseconds=300), timedelta(seconds=2)])
    def test_a_receipt_from_another_clock_follows_our_own_line(self, client, tenant, owner, early):
        """The receipt may be learnt before our sender writes down that the provider took the message."""
        factories.make_template(tenant)
        message_id = send(client, tenant)
        at = clock.now().replace(microsecond=400_000) + timedelta(seconds=10)
        told = [("read", at - early), ("delivered", at - early), ("sent", at - early), ("accepted", at)]
        with tenant_scope(tenant.id), transaction():
            for kind, moment in told:
                lifecycle.tell(
                    tenant.id, [message_id], kind, at=moment, attempt_no=1, detail={"provider": "meta_cloud"}
                )
        page = owner.get(f"/messages/{message_id}").text
        story = page.split('class="timeline"')[1].split("</ol>")[0]
        titles = re.findall(r"<b>([^<]+)</b>", story)
        first = titles.index("Meta took it")
        assert titles[first : first + 4] == ["Meta took it", "Sent by WhatsApp", "Arrived on the phone", "Read"]
        assert "+0 s" not in story

    def test_somebody_elses_is_not_there(self, client, tenant, other_tenant, owner):
        factories.make_template(other_tenant)
        theirs = send(client, other_tenant)
        for method, url in (("get", ""), ("post", "/cancel"), ("post", "/again")):
            path = f"/messages/{theirs}{url}"
            answer = owner.get(path) if method == "get" else owner.post(path, page="/overview")
            assert answer.status_code == 404, path
            assert "This page does not exist" in answer.text
        assert row_of(other_tenant, theirs).status == "queued"

    def test_nothing_new_is_204_and_the_end_stops_asking(self, client, tenant, owner):
        factories.make_template(tenant)
        message_id = send(client, tenant)
        page = owner.fragment(f"/messages/{message_id}").text
        url = re.search(r'hx-get="([^"]+)"', page)[1].replace("&amp;", "&")
        assert owner.fragment(url).status_code == 204
        owner.post(f"/messages/{message_id}/cancel", page="/overview")
        after = owner.fragment(url)
        assert after.status_code == 200
        assert "data-poll" not in after.text

    def test_stopping_what_waits(self, client, tenant, owner):
        factories.make_template(tenant)
        message_id = send(client, tenant)
        answer = owner.post(f"/messages/{message_id}/cancel", page=f"/messages/{message_id}")
        assert answer.location == f"/messages/{message_id}"
        page = owner.get(answer.location).text
        assert "Stopped. Nothing was sent." in page
        assert row_of(tenant, message_id).status == "cancelled"
        assert "Stop it" not in page
        owner.post(f"/messages/{message_id}/cancel", page="/overview")
        assert row_of(tenant, message_id).status == "cancelled"

    def test_a_viewer_sees_no_buttons(self, client, tenant, viewer):
        factories.make_template(tenant)
        page = viewer.get(f"/messages/{send(client, tenant)}").text
        assert "Stop it" not in page


class TestAgain:
    def stuck(self, ready, client, status="dead_letter", tries=5):
        factories.make_template(ready)
        message_id = send(client, ready)
        with tenant_scope(ready.id), transaction():
            row = db.session.scalars(select(Message).where(Message.id == message_id)).one()
            row.status, row.attempts, row.error_code = status, tries, "131026"
            db.session.delete(db.session.scalars(select(Outbox)).one())
            for number in range(1, tries + 1):
                attempt = Attempt(
                    message_id=message_id, attempt_no=number, tenant_id=ready.id, account_id=ready.account.id,
                    provider=ready.account.provider, rank=12, started_at=clock.now(), ended_at=clock.now(),
                )  # fmt: skip
                db.session.add(attempt)
            db.session.flush()
        return message_id

    @pytest.mark.parametrize("status", ["dead_letter", "failed", "expired", "unconfirmed"])
    def test_it_goes_into_the_queue_and_counts_on(self, client, tenant, owner, status):
        message_id = self.stuck(tenant, client, status)
        assert "Send again" in owner.get(f"/messages/{message_id}").text
        for _ in range(2):  # a double tap
            owner.post(f"/messages/{message_id}/again", page="/overview")
        row = row_of(tenant, message_id)
        assert (row.status, row.error_code) == ("queued", None)
        assert row.possible_duplicate == (status == "unconfirmed")
        with tenant_scope(tenant.id):
            waiting = db.session.scalars(select(Outbox)).one()
            assert (waiting.attempt_no, waiting.state, waiting.failures) == (5, "queued", 0)
            assert waiting.expires_at > clock.now() + timedelta(hours=23)
            actions = list(db.session.scalars(select(AuditEntry.action)))
        assert actions.count("message.requeued") == 1
        assert "Put back into the queue by hand" in owner.get(f"/messages/{message_id}").text
        assert invariants.check()[1] is None

    @pytest.mark.parametrize("status", ["read", "delivered", "cancelled", "skipped", "queued"])
    def test_what_arrived_or_waits_is_not_sent_again(self, client, tenant, owner, status):
        factories.make_template(tenant)
        (message_id,) = messages_of(tenant, status)
        if status == "queued":
            with tenant_scope(tenant.id), transaction():
                put_in_outbox(row_of(tenant, message_id))
        assert "Send again" not in owner.get(f"/messages/{message_id}").text
        page = owner.get(owner.post(f"/messages/{message_id}/again", page="/overview").location).text
        assert "moved on" in page
        assert row_of(tenant, message_id).status == status

    def test_not_to_somebody_who_opted_out_meanwhile(self, client, tenant, owner):
        message_id = self.stuck(tenant, client)
        client.post(
            "/api/wa/optin",
            json={"phone": PHONE, "status": "opted_out", "source": "api"},
            headers=tenant.headers | {"Idempotency-Key": "1"},
        )
        page = owner.get(owner.post(f"/messages/{message_id}/again", page="/overview").location).text
        assert "asked for no more messages" in page
        assert row_of(tenant, message_id).status == "dead_letter"

    def test_it_really_arrives(self, client, ready, work, until, app):
        from tests.support.people import visitor_of

        body = factories.order("Z-1", "+40700000008")  # not on WhatsApp: fails
        message_id = client.post("/api/wa/send/confirm", json=body, headers=ready.headers).json["message"]["id"]
        until(lambda: (work(), row_of(ready, message_id).status)[1] == "failed")
        owner = visitor_of(app, ready)
        owner.post(f"/messages/{message_id}/again", page="/overview")
        until(lambda: (work(), row_of(ready, message_id).attempts)[1] == 2)
        until(lambda: (work(), row_of(ready, message_id).status)[1] == "failed")
        assert invariants.check()[1] is None


def test_the_names_of_people_are_escaped(client, tenant, owner):
    factories.make_template(tenant)
    send(client, tenant, name="<script>alert(1)</script>")
    page = owner.get("/messages").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_contacts_are_known_only_by_the_masked_number(client, tenant, owner):
    factories.make_template(tenant)
    message_id = send(client, tenant)
    with tenant_scope(tenant.id):
        person = contacts.find_contact(tenant.tenant, to_e164(PHONE).e164)
    for url in ("/messages", f"/messages/{message_id}", f"/phone/{person.id}", "/overview"):
        page = owner.get(url).text
        assert "722123456" not in page, url


def test_many_are_counted_as_romanians_count(tenant, owner):
    owner.post("/language", page="/overview", language="ro", next="/messages")
    messages_of(tenant, *["read"] * 1_021)
    assert "1.021 de mesaje" in owner.get("/messages").text
