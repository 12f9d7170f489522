"""The test phone: only one's own people, only in test mode; STOP written there works."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from tests import factories
from tests.support.people import HTMX, visitor_of
from tests.support.servers import free_port
from tests.web.test_message_pages import send
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.models import Contact
from wa_dashboard.services import consent_log, tenants


def person_of(ready):
    with tenant_scope(ready.id):
        return db.session.scalars(select(Contact)).one()


def test_before_the_first_message_it_explains(tenant, owner):
    page = owner.get("/phone")
    assert page.status_code == 200
    assert "still silent" in page.text


def test_a_simulator_that_is_away_is_a_sentence(app, client, tenant, owner, monkeypatch):
    settings = replace(app.extensions["wa_settings"], simulator_port=free_port())
    monkeypatch.setitem(app.extensions, "wa_settings", settings)
    factories.make_template(tenant)
    send(client, tenant)
    url = f"/phone/{person_of(tenant).id}"
    assert owner.get("/phone").location == url
    page = owner.get(url)
    assert page.status_code == 200
    assert "does not answer right now" in page.text
    answer = owner.post(url, page=url, text="STOP")
    assert "does not answer" in owner.get(answer.location).text


def test_other_tenants_people_are_not_there(client, tenant, other_tenant, owner):
    factories.make_template(other_tenant)
    send(client, other_tenant, name="Strain")
    theirs = person_of(other_tenant)
    assert owner.get(f"/phone/{theirs.id}").status_code == 404
    assert owner.post(f"/phone/{theirs.id}", page="/overview", text="STOP").status_code == 404
    assert "Strain" not in owner.get("/phone").text


def test_it_does_not_exist_in_live_mode(client, tenant, owner):
    factories.make_template(tenant)
    send(client, tenant)
    with transaction():
        tenants.find_tenant(tenant.id).live = True
        db.session.flush()
    url = f"/phone/{person_of(tenant).id}"
    assert owner.get("/phone").status_code == 403
    assert owner.get(url).status_code == 403
    assert owner.post(url, page="/overview", text="STOP").status_code == 403


def state_of(ready):
    with tenant_scope(ready.id):
        db.session.expire_all()
        return consent_log.state_of(person_of(ready).id)


def test_stop_and_start_work(app, client, ready, work, until):
    owner = visitor_of(app, ready)
    client.post("/api/wa/send/confirm", json=factories.order("S-1", "+40700000300"), headers=ready.headers)
    url = f"/phone/{person_of(ready).id}"
    until(lambda: (work(), "Numărul comenzii: S-1" in owner.get(url).text)[1])
    assert state_of(ready)["reminder"] == "opted_in"

    answer = owner.post(url, page=url, headers=HTMX, text="STOP")
    assert answer.status_code == 200
    assert "STOP" in answer.text.split('id="consent"')[0]
    until(lambda: (work(), state_of(ready)["reminder"])[1] == "opted_out")
    changed = owner.fragment(url).text
    assert 'hx-swap-oob="true"' in changed
    assert "No, opted out" in changed
    assert "by a WhatsApp answer" in changed

    owner.post(url, page=url, text="start")
    until(lambda: (work(), state_of(ready)["reminder"])[1] == "opted_in")


def test_the_thread_of_a_shared_number_shows_only_ones_own(app, client, ready, work, until):
    """Two tenants write to one number; the simulator has one phone for both."""
    from wa_dashboard.services import template_submission, templates

    second = factories.make_tenant("Alt", "alt@example.org", provider=ready.account.provider)
    templates.install_starters(second.tenant, ["ro"])
    template_submission.submit_due()
    template_submission.approve_now(second.tenant, "order_confirm", "ro")
    for who, order_id in ((second, "THEIRS-1"), (ready, "MINE-1")):
        body = factories.order(order_id, "+40700000310")
        assert client.post("/api/wa/send/confirm", json=body, headers=who.headers).status_code == 202
    owner = visitor_of(app, ready)
    url = f"/phone/{person_of(ready).id}"
    until(lambda: (work(), "MINE-1" in owner.get(url).text)[1])
    they = visitor_of(app, second, email="b@example.org")
    their_url = f"/phone/{person_of(second).id}"
    until(lambda: (work(), "THEIRS-1" in they.get(their_url).text)[1])
    assert "MINE-1" not in they.get(their_url).text
    assert "THEIRS-1" not in owner.get(url).text


@pytest.mark.parametrize("text", ["", "   ", "x" * 5000, "<b>*x*</b>"])
def test_any_text_is_harmless(app, client, tenant, owner, simulator, text):
    factories.make_template(tenant)
    send(client, tenant)
    url = f"/phone/{person_of(tenant).id}"
    assert owner.post(url, page=url, text=text).status_code == 303
    assert "<b>*x" not in owner.get(url).text
