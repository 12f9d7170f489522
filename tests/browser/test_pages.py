"""Every page in every state, as people see it: accessible, inside its window, silent on the console, light."""

import os
import re

import pytest
from playwright.sync_api import expect

from tests import factories
from tests.browser.conftest import overflow, violations
from tests.browser.world import fill
from tests.support.people import PASSWORD, Visitor, visitor_of

pytestmark = [pytest.mark.parametrize("app", ["sqlite"], indirect=True), pytest.mark.browser]

SUBSET = [("ro", 390, "light"), ("en", 1280, "dark")]
MATRIX = [(lang, width, theme) for lang in ("ro", "en") for width in (390, 1280) for theme in ("light", "dark")]
SHAPES = MATRIX if os.environ.get("WA_TEST_FULL") == "1" else SUBSET
EMPTY = ("/overview", "/messages", "/templates", "/phone", "/send-test", "/connect", "/settings/providers",
         "/settings/failover", "/settings/limits", "/settings/live", "/problems", "/problems/archive")  # fmt: skip
FIRST_LOAD = 60 * 1024
LATER_LOAD = 25 * 1024


class Eyes:
    """Looks at one page after the other in one window and remembers what was wrong."""

    def __init__(self, page, base, lang):
        self.page, self.base, self.lang, self.seen, self.wrong = page, base, lang, 0, []

    def look(self, name, url=None):
        if url is not None:
            self.page.goto(self.base + url)
        for bad in violations(self.page):
            self.wrong.append((name, *bad))
        self.seen += 1
        for details in (False, True):
            if details:
                self.page.evaluate("document.querySelectorAll('main details').forEach(d => d.open = true)")
            if overflow(self.page):
                self.wrong.append((name, "wider than the window", overflow(self.page)))
        assert self.page.locator("html").get_attribute("lang") == self.lang, name
        assert self.page.locator("h1").count() == 1, name


@pytest.fixture
def window(browser, watcher, app):
    """A window of that language, width and theme, with the cookie of a visitor."""
    opened = []

    def open_window(base, lang, width, theme, visitor=None, **more):
        context = browser.new_context(
            locale=f"{lang}-RO", viewport={"width": width, "height": 900}, color_scheme=theme, **more
        )
        opened.append(context)
        if visitor is not None:
            cookie = visitor.client.get_cookie("wa-session").value
            context.add_cookies([{"name": "wa-session", "value": cookie, "url": base}])
        page = context.new_page()
        watcher.watch(page)
        return page

    yield open_window
    for context in opened:
        context.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("lang", "width", "theme"), SHAPES)
def test_every_page_in_every_state(app, web, window, watcher, show, capsys, lang, width, theme):
    watcher.allowed += ["404", "422", "403"]  # answers that error pages have
    blank = factories.make_tenant("Teatrul Gol", "gol@example.org")
    season = fill(show)

    def eyes_of(visitor=None):
        return Eyes(window(web, lang, width, theme, visitor), web, lang)

    nobody, full_house = eyes_of(visitor_of(app, blank)), eyes_of(visitor_of(app, show))
    onlooker, stranger = eyes_of(visitor_of(app, show, "viewer")), eyes_of()
    for url in EMPTY:
        nobody.look(f"empty {url}", url)
    for name, url in season.pages.items():
        full_house.look(name, url)
    full_house.look("nothing found", "/messages?q=zzzz")
    full_house.look("wrong date", "/messages?from=tomorrow")
    full_house.look("lost", "/nowhere")
    full_house.page.goto(web + "/send-test")
    full_house.page.fill("#phone", "12")
    full_house.page.locator("main form button[type=submit]").click()
    full_house.look("wrong number")
    onlooker.look("not allowed", "/send-test")
    stranger.look("sign in", "/sign-in")
    stranger.page.locator("form.form button.wide").click()
    stranger.look("sign in wrong")
    stranger.look("welcome", f"/welcome/{blank.welcome_token}")
    stranger.page.locator("form.form button.wide").click()
    stranger.look("welcome wrong")
    stranger.look("welcome spent", "/welcome/nonsense")
    all_eyes = (nobody, full_house, onlooker, stranger)
    with capsys.disabled():
        print(f" {sum(eyes.seen for eyes in all_eyes)} page states looked at")
    assert [wrong for eyes in all_eyes for wrong in eyes.wrong] == []


def test_everything_fits_on_the_narrowest_phone(app, web, window, watcher, show):
    watcher.allowed += ["404"]
    season = fill(show)
    eyes = Eyes(window(web, "ro", 320, "light", visitor_of(app, show)), web, "ro")
    for name, url in season.pages.items():
        eyes.look(name, url)
    assert [each for each in eyes.wrong if "wider" in each[1]] == []


def test_targets_are_large_enough_for_thumbs(app, web, window, show):
    """44 px for buttons and navigation; links inside text are exempt (WCAG 2.5.8)."""
    season = fill(show)
    page = window(web, "ro", 390, "light", visitor_of(app, show))
    small = []
    for url in season.pages.values():
        page.goto(web + url)
        small += page.evaluate(
            """[...document.querySelectorAll('button, .btn, .tabbar a, .chip, summary, select, input')]
            .filter(e => e.type != 'hidden')
            .map(e => e.type == 'checkbox' ? e.closest('label') : e)
            .filter(e => e.offsetParent && e.getBoundingClientRect().height < 43.5)
            .map(e => location.pathname + ' ' + e.outerHTML.slice(0, 80) + ' ' + e.getBoundingClientRect().height)"""
        )
    assert small == []


def test_the_first_load_is_light(app, web, window, show, capsys):
    fill(show)
    page = window(web, "ro", 390, "light", visitor_of(app, show))
    client = page.context.new_cdp_session(page)
    loads: list[tuple[str, int]] = []
    urls: dict[str, str] = {}
    client.on("Network.requestWillBeSent", lambda e: urls.setdefault(e["requestId"], e["request"]["url"]))
    client.on("Network.loadingFinished", lambda e: loads.append((urls[e["requestId"]], int(e["encodedDataLength"]))))
    client.send("Network.enable")
    page.goto(web + "/overview")
    page.wait_for_load_state("networkidle")
    first, requests = sum(size for _, size in loads), len(loads)
    assert all(url.startswith(web) for url, _ in loads)
    loads.clear()
    page.goto(web + "/messages?status=read")
    page.wait_for_load_state("networkidle")
    later = sum(size for _, size in loads)
    with capsys.disabled():
        print(f"\nfirst load {first} bytes in {requests} requests, a later page {later} bytes")
    assert first <= FIRST_LOAD
    assert requests <= 8
    assert later <= LATER_LOAD


def test_headings_and_titles_name_the_page(app, web, window, show):
    season = fill(show)
    page = window(web, "ro", 1280, "light", visitor_of(app, show))
    titles = set()
    for url in ("/overview", "/messages", "/templates", season.pages["phone"], "/connect", "/send-test"):
        page.goto(web + url)
        titles.add(page.title())
        assert page.title().endswith(" · Notificări WhatsApp")
    assert len(titles) == 6


class TestStories:
    def test_from_the_welcome_link_to_the_first_delivered_message(self, app, web, window, show, work, until):
        page = window(web, "ro", 390, "light")
        page.goto(f"{web}/welcome/{show.welcome_token}")
        page.fill("#name", "Ana Pop")
        page.fill("#email", "ana@teatru.ro")
        page.fill("#password", PASSWORD)
        page.get_by_role("button", name="Arată").click()
        assert page.locator("#password").get_attribute("type") == "text"
        page.get_by_role("button", name="Creează contul").click()
        page.wait_for_url("**/overview")
        assert page.get_by_role("heading", level=1).inner_text() == "Prezentare"
        page.get_by_role("link", name="Trimite un mesaj de probă").click()
        page.get_by_role("button", name="Trimite un mesaj").click()
        page.wait_for_url("**/messages/msg_*")
        badge = page.locator("#story header .badge")
        assert badge.inner_text() == "În așteptare"

        def has_arrived():
            work()
            page.wait_for_timeout(300)
            return badge.inner_text() in ("Livrat", "Citit")

        until(has_arrived, 25)
        page.get_by_role("link", name="Vezi pe telefon").click()
        assert page.locator("#thread .bubble").count() >= 1

    def test_five_keystrokes_are_one_request_and_back_restores(self, app, web, window, show):
        fill(show)
        page = window(web, "ro", 1280, "light", visitor_of(app, show))
        page.goto(web + "/messages")
        asked = []
        rows = page.locator("#results tbody tr")
        page.on("request", lambda r: asked.append(r.url) if "/messages?" in r.url else None)
        page.locator("#q").press_sequentially("mihai", delay=40)
        expect(rows).to_have_count(5)
        page.wait_for_timeout(400)
        assert len(asked) == 1
        assert page.url == f"{web}/messages?q=mihai"
        assert set(page.locator("#results tbody th a").all_inner_texts()) == {"Mihai"}
        page.go_back()
        expect(rows).to_have_count(50)
        assert page.url == f"{web}/messages"
        page.go_forward()
        expect(rows).to_have_count(5)
        assert page.locator("#q").input_value() == "mihai"

    def test_slash_searches_and_question_mark_shows_the_list(self, app, web, window, show):
        page = window(web, "en", 1280, "light", visitor_of(app, show))
        page.goto(web + "/messages")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.id") == "q"
        page.keyboard.press("?")
        assert page.locator("#q").input_value() == "?"
        page.locator("h1").click()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("?")
        assert page.get_by_role("dialog").is_visible()
        page.keyboard.press("Escape")
        assert not page.get_by_role("dialog").is_visible()

    def test_stop_on_the_phone_works_while_one_looks(self, app, client, web, window, show, work, until):
        body = factories.order("S-1", "+40700000320")
        assert client.post("/api/wa/send/confirm", json=body, headers=show.headers).status_code == 202
        page = window(web, "ro", 390, "dark", visitor_of(app, show))
        page.goto(web + "/phone")
        until(lambda: (work(), page.wait_for_timeout(300), page.locator("#thread .bubble").count() == 1)[2], 25)
        assert page.locator("#consent .badge.bad").count() == 0
        page.get_by_role("button", name="STOP").click()
        expect(page.locator("#thread .bubble")).to_have_count(2)
        until(lambda: (work(), page.wait_for_timeout(300), page.locator("#consent .badge.bad").count() == 2)[2], 25)
        assert "Nu, dezabonat" in page.locator("#consent").inner_text()
        field = page.get_by_label("Răspunde în locul cumpărătorului")
        field.fill("Mulțumesc *mult*")
        field.press("Enter")
        expect(page.locator("#thread .bubble")).to_have_count(3)
        assert page.locator("#thread .bubble strong").last.inner_text() == "mult"
        assert field.input_value() == ""

    def test_all_of_it_without_javascript(self, app, client, web, window, show, work, until):
        visitor = Visitor(app)
        visitor_of(app, show, email="ana@theatre.ro")
        del visitor
        page = window(web, "ro", 390, "light", java_script_enabled=False)
        page.goto(web + "/messages?q=proba")
        assert "/sign-in?next=" in page.url
        page.fill("#email", "ana@theatre.ro")
        page.fill("#password", PASSWORD)
        page.get_by_role("button", name="Intră în cont").click()
        assert page.url == f"{web}/messages?q=proba"
        page.goto(web + "/send-test")
        page.fill("#first_name", "Proba")
        page.get_by_role("button", name="Trimite un mesaj").click()
        message = page.url
        assert "/messages/msg_" in message
        until(
            lambda: (
                (work(), page.goto(message), page.locator("#story header .badge").inner_text())[2]
                in ("Livrat", "Citit")
            )
        )
        page.goto(web + "/messages")
        page.fill("#q", "proba")
        page.get_by_role("button", name="Caută").click()
        assert page.locator("#results tbody tr").count() == 1
        page.locator("#results tbody th a").click()
        assert page.url == message
        page.get_by_role("link", name="Vezi pe telefon").click()
        page.get_by_role("button", name="STOP").click()
        until(lambda: (work(), page.reload(), page.locator("#consent .badge.bad").count())[2] == 2)
        page.get_by_role("button", name="English").click()
        assert page.locator("html").get_attribute("lang") == "en"
        page.locator(".tabbar summary").click()
        page.locator(".tabbar").get_by_role("button", name="Sign out").click()
        assert page.url == f"{web}/sign-in"

    def test_a_session_that_ended_leads_to_the_sign_in_by_itself(self, app, web, window, watcher, show):
        watcher.allowed.append("401")
        fill(show)
        page = window(web, "ro", 1280, "light", visitor_of(app, show))
        page.goto(web + "/messages?status=read")
        page.context.clear_cookies()
        page.locator("#q").press_sequentially("a")
        page.wait_for_url(re.compile("/sign-in"))
        assert "next=" in page.url

    def test_nothing_is_asked_while_nobody_looks(self, app, web, window, show):
        fill(show)
        page = window(web, "ro", 1280, "light", visitor_of(app, show))
        page.goto(web + "/overview")
        asked = []
        page.on("request", lambda r: asked.append(r.url) if "/assets/" not in r.url else None)
        page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        page.wait_for_timeout(6000)
        assert asked == []
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(500)
        assert any("/overview/numbers" in url for url in asked)
