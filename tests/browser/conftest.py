"""A real Chromium that complains about everything: console errors, blocked content, strangers' addresses."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import axe_playwright_python
import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from tests import factories
from tests.factories import ReadyTenant
from tests.support.people import light_passwords
from wa_dashboard.workers import tick

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


class Server:
    """An application on a free port of this machine, answering in threads until it is closed."""

    def __init__(self, app: Flask) -> None:
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Skips without Chromium, unless WA_NEED_BROWSER=1 (the build server): then it fails."""
    if not CHROMIUM:
        message = "no Chromium on this machine: pages were not opened in a browser"
        if os.environ.get("WA_NEED_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="package", autouse=True)
def quick_hashes() -> Iterator[None]:
    with light_passwords():
        yield


@pytest.fixture
def show(app: Flask, simulator: str, web: str) -> ReadyTenant:
    """A theatre whose sender the simulator knows and whose order template it has approved."""
    from wa_dashboard.services import template_submission, templates

    made = factories.make_tenant("Teatrul de Vară")
    templates.install_starters(made.tenant, ["ro", "en"])
    template_submission.submit_due()
    for language in ("ro", "en"):
        template_submission.approve_now(made.tenant, "order_confirm", language)
    return made


@pytest.fixture
def work(app: Flask) -> Callable[[], None]:
    """As everywhere, but in a thread of its own: the browser's event loop lives in this one."""

    def run() -> None:
        with app.app_context():
            tick.run_once(here=True)

    def in_thread() -> None:
        thread = Thread(target=run)
        thread.start()
        thread.join()

    return in_thread


class Watcher:
    """What a page should not have said. ``allowed`` are fragments of lines a test expects."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.allowed: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("console", lambda m: self.note(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.note(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("http://127.0.0.1", "data:")) else self.note(r.url))

    def note(self, line: str) -> None:
        if not any(part in line for part in self.allowed):
            self.seen.append(line)


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    watcher = Watcher()
    yield watcher
    assert watcher.seen == []


@pytest.fixture
def page(browser: Browser, watcher: Watcher) -> Iterator[Page]:
    context = browser.new_context(locale="ro-RO", timezone_id="Europe/Bucharest")
    page = context.new_page()
    watcher.watch(page)
    yield page
    context.close()


def violations(page: Page) -> list[tuple[str, str, list[str]]]:
    """Broken accessibility rules (WCAG 2.2 A and AA, best practice): rule, impact, the first elements."""
    page.evaluate(AXE)  # through DevTools, where the page's policy does not apply
    found = page.evaluate("rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES)
    return [(v["id"], v["impact"], [n["html"][:120] for n in v["nodes"][:4]]) for v in found["violations"]]


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    return int(page.evaluate("Math.max(0, document.documentElement.scrollWidth - innerWidth)"))
