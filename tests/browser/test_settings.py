"""Settings as people use them: a sender is tested and stopped, limits are tried before they are saved, with and
without a script."""

import pytest
from playwright.sync_api import expect

from tests import factories
from tests.browser.conftest import violations
from tests.browser.test_pages import window  # noqa: F401 - a fixture
from tests.support.people import visitor_of
from tests.web.test_settings_pages import account_of, change, set_tenant, tenant_of, used, waiting_messages

pytestmark = [pytest.mark.parametrize("app", ["sqlite"], indirect=True), pytest.mark.browser]


def test_a_stopped_sender_is_seen_tested_and_works_again(app, web, window, show):  # noqa: F811
    change(show, status="held", hold_reason="account_stop:190")
    page = window(web, "ro", 390, "light", visitor_of(app, show))
    page.goto(web + "/overview")
    expect(page.locator("#senders li.bad a")).to_contain_text(show.account.label)
    page.locator("#senders a").click()
    page.wait_for_url(f"**/settings/providers#{show.account.id}")
    card = page.locator(f"[id='{show.account.id}']")
    card.locator("summary").first.click()
    card.get_by_role("button", name="Verifică conexiunea").click()
    health = page.locator(f"#health-{show.account.id}")
    expect(health.locator(".notice.good")).to_be_visible()
    expect(health.locator(".badge").first).not_to_have_class("badge bad")
    expect(card.locator("pre")).to_be_visible()  # what was unfolded stays so
    assert account_of(show).status == "active"
    assert violations(page) == []


def test_a_limit_says_what_it_means_while_it_is_typed(app, web, window, watcher, show):  # noqa: F811
    watcher.allowed += ["htmx:sendAbort", "htmx:afterRequest"]  # the form is sent while a word is still asked for
    set_tenant(show, rate_per_minute=100, rate_per_hour=0)
    page = window(web, "en", 1280, "dark", visitor_of(app, show))
    page.goto(web + "/settings/limits")
    expect(page.locator("#effect")).to_contain_text("10,000 messages take 1 h 40 min")
    page.locator("#rate_per_hour").select_text()
    page.locator("#rate_per_hour").press_sequentially("500")
    expect(page.locator("#effect")).to_contain_text("10,000 messages take 20 h")
    assert page.locator("#rate_per_hour").evaluate("e => e === document.activeElement")
    assert tenant_of(show).rate_per_hour == 0
    page.locator("form").filter(has=page.locator("#rate_per_hour")).get_by_role("button", name="Save").click()
    expect(page.locator(".notice.good")).to_contain_text("Saved.")
    assert tenant_of(show).rate_per_hour == 500


def test_the_meters_move_by_themselves(app, web, window, show):  # noqa: F811
    set_tenant(show, rate_per_minute=0, rate_per_hour=1000)
    used(show, "hour", 12)
    page = window(web, "ro", 390, "light", visitor_of(app, show))
    page.goto(web + "/settings/limits")
    expect(page.locator("#use")).to_contain_text("12 din 1.000 în ultima oră")
    used(show, "hour", 1000)
    waiting_messages(show, 3)
    expect(page.locator("#use .notice")).to_contain_text("1.000 pe oră: ultimul", timeout=9000)
    expect(page.locator("#use")).to_contain_text("1.000 din 1.000 în ultima oră")


def test_all_of_it_without_a_script(app, web, window, show):  # noqa: F811
    second = factories.make_account(show.tenant, "twilio")
    change(show, second.id, priority=200)
    page = window(web, "ro", 390, "dark", visitor_of(app, show), java_script_enabled=False)
    page.goto(web + "/settings")
    assert page.url.endswith("/settings/providers")
    page.get_by_role("link", name="Ordinea de rezervă").click()
    page.get_by_role("button", name=f"Mută {second.label} mai sus").click()
    first = page.locator(".order > li").first
    assert second.label in first.inner_text()
    page.get_by_role("link", name=f"Ce-ar fi dacă {second.label} ar pica acum?").click()
    assert "A fost o repetiție" in page.locator("main").inner_text()
    page.goto(web + "/settings/limits")
    page.fill("#rate_per_minute", "7")
    page.get_by_role("button", name="Ce ar însemna?").click()
    assert "La 7 pe minut" in page.locator("#effect").inner_text()
    assert page.input_value("#rate_per_minute") == "7"
    page.locator("form").filter(has=page.locator("#rate_per_minute")).get_by_role("button", name="Salvează").click()
    assert "Salvat." in page.locator("main").inner_text()
    page.goto(f"{web}/settings/providers/{second.id}/off")
    page.get_by_role("button", name=f"Oprește {second.label}").click()
    assert account_of(show, second.id).status == "disabled"
    page.get_by_role("button", name="Pornește").click()
    assert account_of(show, second.id).status == "active"
