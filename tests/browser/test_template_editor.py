"""Texts as people write them: variables by a press, a bubble that follows, checks that mend, an approval that comes."""

import pytest
from playwright.sync_api import expect

from tests import factories
from tests.browser.test_pages import Eyes, window  # noqa: F401 - a fixture
from tests.support.people import visitor_of
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.models import Template, TemplateApproval
from wa_dashboard.services import template_submission

pytestmark = [pytest.mark.parametrize("app", ["sqlite"], indirect=True), pytest.mark.browser]

ABORTED = ["htmx:sendAbort", "htmx:afterRequest"]  # a newer preview takes the place of one still asked for


def approve(app, show, name, language):
    """The simulator approves it, and the program hears of it; in a thread, away from the browser's event loop."""
    from threading import Thread

    def run():
        with app.app_context():
            template_submission.approve_now(show.tenant, name, language)

    thread = Thread(target=run)
    thread.start()
    thread.join()


@pytest.mark.timeout(200)
def test_a_text_is_written_mended_sent_and_approved(app, web, window, watcher, show, work):  # noqa: F811
    watcher.allowed += ABORTED
    page = window(web, "en", 1280, "light", visitor_of(app, show))
    page.goto(web + "/templates")
    page.get_by_role("link", name="New text").click()
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#lint-summary")).to_have_text("Nothing written yet")
    page.select_option("#language", "en")
    page.locator("label:has(#type-promo)").click()
    page.locator("#title").press_sequentially("Early birds!")
    assert page.locator("#name").input_value() == "early_birds"
    body = page.locator("#body")
    body.fill("Hello , tickets for  are on sale and we would love to see you there.")
    body.evaluate("e => e.setSelectionRange(6, 6)")
    page.locator("[data-insert=first_name]").click()
    assert body.evaluate("e => e === document.activeElement && e.selectionStart") == len("Hello {first_name}")
    body.evaluate("e => { const at = e.value.indexOf('for ') + 4; e.setSelectionRange(at, at); }")
    page.locator("[data-insert=event_name]").click()
    assert body.input_value().startswith("Hello {first_name}, tickets for {event_name} are on sale")
    expect(page.locator("#bubble .b-text")).to_contain_text("Hello Ana, tickets for Spring Concert are on sale")
    expect(page.locator("#sample-event_name")).to_have_value("Spring Concert")
    page.locator("#sample-event_name").fill("Hamlet")
    expect(page.locator("#bubble .b-text")).to_contain_text("tickets for Hamlet")
    assert page.locator("#sample-event_name").evaluate("e => e === document.activeElement")

    finding = page.locator("#lint li").filter(has_text="must say how to stop")
    expect(finding).to_be_visible()
    finding.get_by_role("button", name="Mend it").click()
    expect(page.locator("#bubble .b-foot")).to_contain_text("STOP")
    expect(page.locator("#lint li").filter(has_text="must say how to stop")).to_have_count(0)
    assert page.locator("#title").input_value() == "Early birds!"
    page.locator("#add-button").click()
    expect(page.locator("#button-0-text")).to_be_focused()
    page.locator("#button-0-text").press_sequentially("Count me in")
    expect(page.locator("#bubble .b-buttons")).to_contain_text("Count me in")
    expect(page.locator(".editor .one-button")).to_have_count(1)
    light = page.locator("#bubble .bubble").evaluate("e => getComputedStyle(e).backgroundColor")
    page.locator("label:has(#look-dark)").click()
    assert page.locator("#bubble .bubble").evaluate("e => getComputedStyle(e).backgroundColor") != light

    page.get_by_role("button", name="Send for approval (1 sender)").click()
    page.wait_for_url("**/send")
    page.get_by_role("button", name="Send to 1 sender").click()
    page.wait_for_url("**/templates/tpl_*")
    badge = page.locator("#approvals header .badge")
    expect(badge).not_to_have_text("Draft")
    work()
    approve(app, show, "early_birds", "en")
    expect(badge).to_have_text("Approved", timeout=15_000)
    expect(page.locator("#approvals[data-poll]")).to_have_count(0)


@pytest.mark.timeout(120)
def test_a_text_without_a_script(app, web, window, show):  # noqa: F811
    page = window(web, "ro", 390, "dark", visitor_of(app, show), java_script_enabled=False)
    page.goto(web + "/templates/new?start=empty")
    page.fill("#title", "Porțile se deschid")
    page.fill("#body", "Bună, ne vedem în curând la eveniment și ne bucurăm, ")
    page.get_by_role("button", name="Prenume").click()
    assert page.locator("#body").input_value().endswith("ne bucurăm, {first_name}")
    assert "ne bucurăm, Ana" in page.locator("#bubble .b-text").inner_text()
    page.fill("#body", page.locator("#body").input_value() + "! Pe curând.")
    page.get_by_role("button", name="Adaugă un buton").click()
    page.fill("#button-0-text", "Vin")
    page.get_by_role("button", name="Previzualizează și verifică").click()
    assert page.locator("#bubble .b-buttons").inner_text().strip() == "Vin"
    page.get_by_role("button", name="Scoate butonul 1").click()
    assert page.locator("#bubble .b-buttons").count() == 0
    assert page.locator("#title").input_value() == "Porțile se deschid"
    page.get_by_role("button", name="Salvează ciorna").click()
    assert "Salvat ca ciornă." in page.locator("main").inner_text()
    page.get_by_role("link", name="Engleză lipsește: copiază").click()
    assert page.locator("#language").input_value() == "en"


def test_enter_in_a_field_only_looks(app, web, window, watcher, show):  # noqa: F811
    """The first button of a form is what Enter presses: it must be the harmless one."""
    watcher.allowed += ABORTED
    page = window(web, "en", 1280, "light", visitor_of(app, show))
    page.goto(web + "/templates/new?start=empty")
    page.fill("#title", "Gates")
    page.locator("#title").press("Enter")
    page.wait_for_url("**/templates/preview")
    assert page.locator("#title").input_value() == "Gates"
    assert page.locator("#body").input_value() == ""


def states_of(show):
    """Addresses by a word for each state of the pages of templates."""
    rejected = factories.make_template(show, name="promo_toamna", type="promo", status="rejected")
    paused = factories.make_template(show, name="reminder_cald", type="reminder", status="paused")
    first = factories.make_template(show, name="two_versions", version=1)
    second = factories.make_template(show, name="two_versions", version=2, status="pending")
    factories.make_account(show.tenant, "twilio")
    with tenant_scope(show.id), transaction():
        for row in db.session.query(TemplateApproval).filter(TemplateApproval.template_id.in_([first.id, rejected.id])):
            row.quality, row.previous_category = "YELLOW", "marketing"
            row.announced_category, row.announced_at = "marketing", clock.now()
            row.rejected_reason = "PROMOTIONAL"
        db.session.flush()
        code = db.session.query(Template).filter_by(name="otp_code", language="ro").one().id
    return {
        "list": "/templates",
        "how to begin": "/templates/new",
        "empty page": "/templates/new?start=empty",
        "a copy": f"/templates/new?copy={rejected.id}&language=en",
        "ready-made texts": "/templates/packs",
        "rejected": f"/templates/{rejected.id}",
        "fix": f"/templates/{rejected.id}/edit",
        "paused": f"/templates/{paused.id}",
        "old version": f"/templates/{first.id}",
        "new version": f"/templates/{second.id}",
        "edit": f"/templates/{second.id}/edit",
        "code": f"/templates/{code}/edit",
        "send": f"/templates/{second.id}/send",
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("lang", "width", "theme"), [("ro", 320, "light"), ("en", 320, "dark"), ("ro", 1280, "dark"),
                                                      ("en", 1280, "light")])  # fmt: skip
def test_every_state_breaks_no_rule(app, web, window, watcher, show, capsys, lang, width, theme):  # noqa: F811
    watcher.allowed += ["422", *ABORTED]
    pages = states_of(show)
    eyes = Eyes(window(web, lang, width, theme, visitor_of(app, show)), web, lang)
    for name, url in pages.items():
        eyes.look(name, url)
    page = eyes.page
    page.goto(web + "/templates/new?start=empty")
    page.fill("#body", "{first_name}, reducere 50% la {event_name}! bit.ly/x {foo}")
    page.locator("label:has(#header-image)").click()
    for number in range(2):
        page.locator("#add-button").click()
        expect(page.locator(".one-button")).to_have_count(number + 1)
    page.select_option("#button-1-type", "url")
    page.locator("label:has(#look-dark)").click()
    expect(page.locator("#lint li.bad").first).to_be_visible()
    eyes.look("wrong while typing")
    page.locator("button[value=send]").click()
    expect(page.locator(".summary")).to_be_focused()
    eyes.look("refused")
    blank = factories.make_tenant("Teatrul Gol", "gol@example.org")
    nobody = Eyes(window(web, lang, width, theme, visitor_of(app, blank)), web, lang)
    nobody.look("empty list", "/templates")
    nobody.look("begin with nothing", "/templates/new")
    with capsys.disabled():
        broken = len(eyes.wrong + nobody.wrong)
        print(f" {eyes.seen + nobody.seen} states in {lang} at {width} px, {broken} broken rules")
    assert eyes.wrong + nobody.wrong == []


def test_targets_of_the_editor_are_large_enough_for_thumbs(app, web, window, show):  # noqa: F811
    pages = states_of(show)
    page = window(web, "ro", 390, "light", visitor_of(app, show))
    small = []
    for url in pages.values():
        page.goto(web + url)
        small += page.evaluate(
            """[...document.querySelectorAll('button, .btn, .chip, summary, select, input, .segment')]
            .filter(e => e.type != 'hidden' && e.offsetParent && e.getBoundingClientRect().height < 43.5)
            .map(e => location.pathname + ' ' + e.outerHTML.slice(0, 80) + ' ' + e.getBoundingClientRect().height)"""
        )
    assert small == []
