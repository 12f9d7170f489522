"""Problems as people use them: choose some, try again, close with a note; with and without a script."""

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from tests.browser.conftest import violations
from tests.browser.test_pages import window  # noqa: F401 - a fixture
from tests.services.health_world import message_of
from tests.services.test_problems import rows_of
from tests.support.people import visitor_of
from tests.support.rows import make_message
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import Template
from wa_dashboard.services import consent_log, lifecycle

pytestmark = [pytest.mark.parametrize("app", ["sqlite"], indirect=True), pytest.mark.browser]


@pytest.fixture
def stuck(show):
    """Three whose number is not on WhatsApp."""
    with tenant_scope(show.id), transaction():
        wanted = select(Template).where(Template.name == "order_confirm", Template.language == "ro")
        template = db.session.scalars(wanted).one()
        ids = []
        for number in range(3):
            yes = consent_log.ConsentRequest(
                status="opted_in",
                source="checkout",
                phone=to_e164(f"+4072200{number:04d}"),
                purposes=("transactional",),
            )
            person = consent_log.record(show.tenant, yes, "test").contact
            message = make_message(show, person, template=template)
            lifecycle.bury(show.id, message.id, "131026", "Message undeliverable", "recipient")
            ids.append(message.id)
    return ids


def test_some_are_chosen_and_tried_again(app, web, window, show, stuck):  # noqa: F811
    page = window(web, "ro", 390, "dark", visitor_of(app, show))
    page.goto(web + "/problems")
    expect(page.locator("#problem-groups h2").first).to_contain_text("Numărul nu este pe WhatsApp")
    page.get_by_role("link", name="Vezi-le: Numărul nu este pe WhatsApp").click()
    page.locator(f'input[value="{stuck[1]}"]').check()
    expect(page.locator("[data-chosen]")).to_have_text("Alese: 1")
    page.get_by_role("button", name="Încearcă din nou acum").click()
    expect(page.locator(".notice.good")).to_contain_text("Din nou la rând: 1.")
    assert message_of(stuck[1]).status != "dead_letter"
    assert sorted(rows_of(show)) == sorted([stuck[0], stuck[2]])
    expect(page.locator("#problems-rail")).to_have_text("(2)")
    assert violations(page) == []


def test_closing_needs_no_script(app, web, window, show, stuck):  # noqa: F811
    page = window(web, "en", 1280, "light", visitor_of(app, show), java_script_enabled=False)
    page.goto(web + "/problems/cause/not_on_whatsapp")
    page.locator(f'input[value="{stuck[0]}"]').check()
    page.locator(".actions summary").click()
    page.get_by_label("Note").fill("called her")
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator(".notice.good")).to_contain_text("Closed: 1.")
    page.goto(web + "/problems/archive")
    expect(page.locator(".picks")).to_contain_text("called her")
    seen = window(web, "en", 1280, "light", visitor_of(app, show, "editor"))
    seen.goto(web + "/problems/archive")
    assert violations(seen) == []
