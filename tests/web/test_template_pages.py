"""Templates: the list, one of them, starters in one click, sending for approval."""

import pytest
from sqlalchemy import select

from tests import factories
from tests.support import queued
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.models import ProviderAccount, Template, TemplateApproval
from wa_dashboard.services import templates


def test_the_empty_list_offers_six_texts_and_installs_them_once(tenant, owner):
    assert "Install the six texts" in owner.get("/templates").text
    for _ in range(2):
        assert owner.post("/templates/starters", page="/templates").location == "/templates"
    with tenant_scope(tenant.id):
        rows = db.session.scalars(select(Template)).all()
        assert len(rows) == 12
        assert {approval.status for approval in db.session.scalars(select(TemplateApproval))} == {"submitting"}
    page = owner.get("/templates").text
    assert page.count("<h2>") == 6
    assert "Being submitted" in page
    assert "data-poll" in page


def test_without_a_sender_they_are_drafts(tenant, owner):
    with tenant_scope(tenant.id), transaction():
        db.session.scalars(select(ProviderAccount)).one().status = "disabled"
        db.session.flush()
    owner.post("/templates/starters", page="/templates")
    page = owner.get("/templates").text
    assert "Installed as drafts: 12" in page
    assert "Draft" in page
    assert "data-poll" not in page.split("<main")[1].split("</main>")[0]


def test_one_shows_bubble_samples_and_approval(tenant, owner):
    template = factories.make_template(tenant)
    english = factories.make_template(
        tenant, language="en", body="Hello {first_name}! Order {order_id} for {event_name} is in."
    )
    page = owner.get(f"/templates/{template.id}").text
    assert "Bună, Ana! Comanda A-1001 pentru Hamlet este confirmată" in page
    assert "{first_name}" in page
    assert f'href="/templates/{english.id}"' in page
    assert "Approved" in page
    assert "Send for approval" not in page


def test_somebody_elses_is_not_there(tenant, other_tenant, owner):
    theirs = factories.make_template(other_tenant, name="secret_text")
    assert owner.get(f"/templates/{theirs.id}").status_code == 404
    assert owner.post(f"/templates/{theirs.id}/submit", page="/overview").status_code == 404
    assert "secret_text" not in owner.get("/templates").text


def test_a_draft_is_sent_for_approval(tenant, owner):
    with tenant_scope(tenant.id):
        saved = templates.install_starters(tenant.tenant, ["ro"], submit=False)[0]
    page = owner.get(f"/templates/{saved.template.id}").text
    assert "Send for approval" in page
    assert "never sent for approval" in page
    answer = owner.post(f"/templates/{saved.template.id}/submit", page="/templates")
    after = owner.get(answer.location).text
    assert "Sent for approval." in after
    assert "data-poll" in after


@pytest.mark.parametrize(
    ("reason", "says"),
    [("PROMOTIONAL", "not in the marketing category"), ("Something odd", "The provider says: Something odd")],
)
def test_a_rejection_is_said_in_words(tenant, owner, reason, says):
    from wa_dashboard import clock
    from wa_dashboard.services import template_review

    template = factories.make_template(tenant, status="pending")
    with tenant_scope(tenant.id), transaction():
        approval = db.session.scalars(select(TemplateApproval)).one()
        template_review.move(approval, "rejected", "webhook", clock.now(), reason=reason)
        db.session.flush()
    page = owner.get(f"/templates/{template.id}").text
    assert "Rejected" in page
    assert says in page


def test_an_older_version_points_to_the_newer(tenant, owner):
    old = factories.make_template(tenant, version=1)
    new = factories.make_template(tenant, version=2)
    assert f'href="/templates/{new.id}"' in owner.get(f"/templates/{old.id}").text
    assert "newer version" not in owner.get(f"/templates/{new.id}").text


def test_a_category_that_will_change_says_on_the_page_what_it_costs(tenant, owner):
    template, other = (
        factories.make_template(tenant),
        factories.make_template(tenant, name="other_text", body="Alt text."),
    )
    queued.queue(tenant, template, queued.people(tenant, 3))
    with tenant_scope(tenant.id), transaction():
        row = db.session.scalars(select(TemplateApproval).where(TemplateApproval.template_id == template.id)).one()
        row.announced_category, row.announced_at = "marketing", clock.in_seconds(86_400)

    page = owner.get(f"/templates/{template.id}").text

    assert "Together they cost" in page
    assert "Together they cost" not in owner.get(f"/templates/{other.id}").text
