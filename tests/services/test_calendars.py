"""The calendar link: nobody can guess one, everybody who has it gets the event and nothing else."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from tests import factories
from wa_dashboard.db import all_tenants, db, tenant_scope
from wa_dashboard.domain.calendar import calendar_file
from wa_dashboard.models import Event, Message
from wa_dashboard.services import calendars


def with_link(ready):
    body = "Bună, {first_name}! Comanda {order_id}: pune în calendar {calendar_token} și vino la noi."
    return factories.make_template(ready, body=body)


def link_of(client, ready, **changes):
    answer = client.post("/api/wa/send/confirm", json=factories.order(**changes), headers=ready.headers)
    assert answer.status_code == 202, answer.json
    with tenant_scope(ready.id):
        wanted = select(Message).where(Message.id == answer.json["message"]["id"])
        return db.session.scalars(wanted).one().variables["calendar_token"]


def test_the_product_fills_the_link_and_it_opens(client, tenant):
    with_link(tenant)

    token = link_of(client, tenant)
    answer = client.get(f"/e/{token}")

    assert token.endswith(".ics")
    assert (answer.status_code, answer.mimetype) == (200, "text/calendar")
    lines = answer.text.split("\r\n")
    assert "DTSTART;TZID=Europe/Bucharest:20270404T200000" in lines
    assert "SUMMARY:Hamlet" in lines
    assert "LOCATION:Sala Mare" in lines
    assert "Set-Cookie" not in answer.headers
    for personal in ("Ana", "40722", "A-1001", tenant.id):
        assert personal not in answer.text


def test_two_orders_of_an_event_share_the_link_and_another_organiser_has_another(client, tenant, other_tenant):
    for each in (tenant, other_tenant):
        with_link(each)

    tokens = [link_of(client, tenant), link_of(client, tenant, order_id="A-2"), link_of(client, other_tenant)]

    assert tokens[0] == tokens[1] != tokens[2]


def test_a_moved_event_shows_its_new_time(client, tenant):
    with_link(tenant)
    token = link_of(client, tenant)
    moved = factories.order()["event"] | {"starts_at": "2027-05-01T19:00", "version": 2}
    assert link_of(client, tenant, order_id="A-2", event=moved) == token

    assert "DTSTART;TZID=Europe/Bucharest:20270501T190000" in client.get(f"/e/{token}").text


def _with_another_end(token: str) -> str:
    return token[:-5] + ("B" if token[-5] == "A" else "A") + ".ics"


NOT_OURS = [
    _with_another_end,
    lambda token: token.replace("evn_", "evn_0"),
    lambda token: "x",
    lambda token: token.split(".")[0],
    lambda token: ".",
    lambda token: "é" + token,
]


@pytest.mark.parametrize("change", NOT_OURS)
def test_a_token_that_is_not_ours_opens_nothing(client, tenant, change):
    with_link(tenant)
    token = link_of(client, tenant)
    assert client.get(f"/e/{token}").status_code == 200

    assert client.get(f"/e/{change(token)}").status_code == 404


def test_an_event_is_noted_even_without_reminders(client, tenant):
    with_link(tenant)
    token = link_of(client, tenant)

    with all_tenants("test"):
        (event_id,) = db.session.scalars(select(Event.id)).all()
    assert calendars.token_for(event_id) == token


def test_the_file_keeps_to_rfc_5545():
    text = calendar_file(
        uid="a@b", name="Ziua; de, mâine\nși poimâine " + "ș" * 60, starts_at=datetime(2026, 10, 24, 20, tzinfo=UTC),
        ends_at=datetime(2026, 10, 25, 3, tzinfo=UTC), zone="Europe/Bucharest",
        changed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip

    lines = text.split("\r\n")
    assert lines[-1] == ""
    assert all(len(line.encode()) <= 75 for line in lines)
    assert "\n" not in text.replace("\r\n", "")
    unfolded = text.replace("\r\n ", "")
    assert "SUMMARY:Ziua\\; de\\, mâine\\nși poimâine" in unfolded
    assert "DTSTART;TZID=Europe/Bucharest:20261024T230000" in unfolded
    assert "TZOFFSETTO:+0300" in unfolded
    assert "DTEND:20261025T030000Z" in unfolded, "the clocks change that night"
