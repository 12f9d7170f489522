"""Accounts as people use them: every state is accessible, and a number goes from its keys to real people."""

import random
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from tests import factories
from tests.browser.test_pages import Eyes, window  # noqa: F401 - a fixture
from tests.support.doors import door_of, meta_facts
from tests.support.people import PASSWORD, visitor_of
from tests.web.test_going_live_pages import URL, ask_facts, live_account, make_ready
from tests.web.test_settings_pages import change, order_of, tenant_of
from wa_dashboard import clock
from wa_dashboard.db import insert_rows, tenant_scope, transaction
from wa_dashboard.models import AccountEvent
from wa_dashboard.providers.base import provider_named
from wa_dashboard.services import account_facts, accounts, going_live

pytestmark = [pytest.mark.parametrize("app", ["sqlite"], indirect=True), pytest.mark.browser]

SHAPES = [(lang, width, theme) for lang in ("ro", "en") for width, theme in ((320, "light"), (1280, "dark"))]
PROVIDERS = ("meta_cloud", "twilio", "dialog360")


def with_a_past(ready, account):
    """Lines of every kind in its story, and news of a kind nobody knows."""
    kinds = [("held", {"class": "account_stop", "code": "190"}), ("credentials_replaced", {}), ("closed", {}),
             ("quality", {"was": "green", "now": "red"}), ("tier", {"was": 250, "now": 2000}),
             ("webhook_set_again", {}),
             ("unknown_news", {"why": "field 'moon' is new to us", "raw": {"phase": "full"}})]  # fmt: skip
    with tenant_scope(ready.id), transaction():
        for number, (kind, detail) in enumerate(kinds):
            row = {"id": f"ace_p{number}", "tenant_id": ready.id, "account_id": account.id, "kind": kind,
                   "at": clock.now(), "detail": detail}  # fmt: skip
            insert_rows(AccountEvent, [row])


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("lang", "width", "theme"), SHAPES)
def test_every_state_of_the_accounts(app, web, window, watcher, capsys, lang, width, theme):  # noqa: F811
    watcher.allowed += ["422"]
    fresh = factories.make_tenant("Teatrul Gol", "gol@example.org")
    trouble = factories.make_tenant("Teatrul Trist", "trist@example.org")
    fit = factories.make_tenant("Teatrul Gata", "gata@example.org")
    bad, good = live_account(trouble), make_ready(fit)
    wrong = {"quality_rating": "RED", "name_status": "DECLINED", "status": "RESTRICTED", "subscribed": []}
    elsewhere = {"webhook_configuration": {"application": "https://other.example.org/x"}}
    ask_facts(trouble, bad, account_review_status="REJECTED", **wrong, **elsewhere)
    with_a_past(trouble, bad)

    def eyes_of(ready):
        return Eyes(window(web, lang, width, theme, visitor_of(app, ready)), web, lang)

    one, two, three = eyes_of(fresh), eyes_of(trouble), eyes_of(fit)
    one.look("empty list", "/settings/providers")
    one.look("nothing done", URL)
    for name in PROVIDERS:
        one.look(f"form of {name}", f"/settings/providers/new?provider={name}&mode=live")
        one.page.locator("main form button[type=submit]").last.click()
        one.look(f"form of {name}, wrong")
    two.look("list in trouble", "/settings/providers")
    two.look("sender in trouble", f"/settings/providers/{bad.id}")
    two.look("list half done", URL)
    two.look("keys", f"/settings/providers/{bad.id}/keys")
    three.look("sender is well", f"/settings/providers/{good.id}")
    three.look("ready", URL)
    three.page.locator("#password").fill("not mine")
    three.page.locator("main form.form button[type=submit]").click()
    three.look("wrong password")
    with tenant_scope(fit.id):
        going_live.go_live(tenant_of(fit), "user:usr_1")
    three.look("live", URL)
    all_eyes = (one, two, three)
    with capsys.disabled():
        print(f" {sum(eyes.seen for eyes in all_eyes)} states of the accounts looked at")
    assert [wrong for eyes in all_eyes for wrong in eyes.wrong] == []


@pytest.fixture
def real(app):
    """Live senders speak to the simulator, whose far end is as good as any."""
    before = app.extensions["wa_settings"]
    app.extensions["wa_settings"] = replace(before, live_urls=before.test_urls)
    yield
    app.extensions["wa_settings"] = before


@pytest.mark.timeout(180)
@pytest.mark.parametrize("script", [True, False], ids=["with a script", "without"])
def test_from_the_keys_of_a_number_to_real_people(app, web, window, show, real, work, until, script):  # noqa: F811
    given = provider_named("meta_cloud").random_test_credentials(random.Random(f"a number of my own {script}"))
    page = window(web, "ro", 390, "light", visitor_of(app, show), java_script_enabled=script)
    page.goto(web + "/overview")
    page.locator(".band").get_by_role("link", name="Trimiteri reale").click()
    page.get_by_role("link", name="Conectează-ți numărul").click()
    page.get_by_role("link", name="Meta WhatsApp Cloud API").click()
    for name, value in given.items():
        page.fill(f"#{name}", value)
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Adaugă și testează").click()
    account = order_of(show, live=True)[0]
    page.wait_for_url(f"**/settings/providers/{account.id}")
    expect(page.locator("main .notice.bad").first).to_be_visible()  # the far end does not know it yet
    accounts.introduce(account)
    page.locator("#checks").get_by_role("button", name="Verifică conexiunea").click()
    expect(page.locator("main .notice.good")).to_be_visible()
    expect(page.locator("#checks")).to_contain_text("Oamenii văd numele")
    page.locator("#webhook").get_by_role("button", name="Înregistrează-l pentru mine").click()
    expect(page.locator("main .notice.good")).to_contain_text("/api/wa/webhook/")
    page.goto(web + URL)
    page.get_by_role("button", name="Trimite-le spre aprobare").click()

    def ticked(point):
        work()
        page.goto(web + URL)
        return "done" in (page.locator(f"#point-{point}").get_attribute("class") or "")

    until(lambda: ticked("template"), 25)
    page.get_by_role("link", name="Trimite-ți un mesaj de probă").click()
    page.fill("#phone", "+40700000101")
    page.locator("#mine").check()
    page.get_by_role("button", name="Trimite un mesaj").click()
    page.wait_for_url("**/messages/msg_*")
    until(lambda: ticked("message"), 25)
    assert ticked("webhook")
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Pornește trimiterile reale").click()
    expect(page.locator("main .notice.good")).to_contain_text("de acum mesajele ajung la oameni")
    assert page.locator(".band").count() == 0
    assert tenant_of(show).live is True
    page.locator("summary", has_text="Înapoi la modul de probă").click()
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Întoarce-te la modul de probă").click()
    expect(page.locator("main .notice.good")).to_contain_text("Înapoi în modul de probă")
    assert tenant_of(show).live is False


def test_the_test_of_a_connection_shows_what_changed(app, web, window, show):  # noqa: F811
    page = window(web, "en", 1280, "light", visitor_of(app, show))
    with door_of("meta_cloud") as door:
        meta_facts(door, show.account, accounts.webhook_url(show.account), quality_rating="YELLOW")
        page.goto(f"{web}/settings/providers/{show.account.id}")
        page.locator("#checks").get_by_role("button", name="Test connection").click()
        expect(page.locator("#checks li.warn").first).to_contain_text("Quality: medium")
        expect(page.locator("#checks li.warn").first).to_contain_text("leave promotions for a few days")
    with tenant_scope(show.id):
        assert account_facts.facts_of(accounts.find_account(show.account.id)).fine
    change(show, last_webhook_at=clock.now())
    page.reload()
    expect(page.locator("#webhook")).to_contain_text("last received")
