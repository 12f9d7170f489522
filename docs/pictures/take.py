"""Take the README's pictures: start the product in a temporary folder, sign in as anybody would, photograph.

    .venv/bin/python docs/pictures/take.py [FOLDER]

Needs the development packages (``python3 app.py test --version`` makes them) and a Chromium on PATH or in ``CHROMIUM``.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).resolve().parent
DOOR = HERE.parents[1] / "app.py"
LARGEST = 200 * 1024
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
SETTLED_S = 12  # by then the simulator has read, failed and delivered late all of the demo's first evening


def main(folder: Path) -> int:
    """Write ``overview.png`` (a desktop) and ``message.png`` (a telephone) into ``folder``; returns the exit code."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        sys.stderr.write("There is no Chromium here: install one, or name it in CHROMIUM.\n")
        return 1
    with product() as facts, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        state = sign_up(browser, facts["welcome_url"])
        message = order(facts)
        time.sleep(SETTLED_S)
        overview = page_of(browser, state, width=1280, height=940)
        overview.goto(f"{facts['url']}/overview")
        shoot(overview, folder / "overview.png")
        telephone = page_of(browser, state, width=390, height=844, mobile=True)
        telephone.goto(f"{facts['url']}/messages/{message}")
        shoot(telephone, folder / "message.png")
        browser.close()
    return 0


@contextlib.contextmanager
def product() -> Iterator[dict[str, Any]]:
    """The whole product on free ports; yields what it prints when it is up: url, welcome_url, demo."""
    port, simulator_port = free_ports(2)
    with tempfile.TemporaryDirectory() as data:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("WA_")}
        environ |= {"WA_DATA_DIR": data, "WA_PORT": str(port), "WA_SIMULATOR_PORT": str(simulator_port)}
        running = subprocess.Popen(  # noqa: S603 — our own program
            [sys.executable, str(DOOR), "--json"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield json.loads((running.stdout.readline() if running.stdout else "") or "{}")
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(20)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def sign_up(browser: Browser, welcome_url: str) -> Any:
    """Make the first account in English and take the last of the first steps; returns the browser's cookies."""
    page = browser.new_context(locale="en-GB").new_page()
    page.goto(welcome_url)
    for name, value in {
        "organisation": "Teatrul de Vară",
        "name": "Ana Ionescu",
        "email": "ana@example.org",
        "password": "a short sentence is fine",
    }.items():
        page.locator(f"[name={name}]").fill(value)
    page.get_by_role("button", name="Make the account").click()
    page.wait_for_url("**/overview")
    page.get_by_role("link", name="Send a test").first.click()
    page.get_by_role("button", name="Send one message").click()
    page.wait_for_url("**/messages/msg_*")
    return page.context.storage_state()


def order(facts: dict[str, Any]) -> str:
    """An order confirmation as a checkout asks for it; returns the message's id."""
    answer = requests.post(
        f"{facts['url']}/api/wa/send/confirm",
        headers={"Authorization": f"Bearer {facts['demo']['api_key']}"},
        json={
            "order_id": "A-20391",
            "recipient": {"phone": "+40700000123", "first_name": "Ana", "locale": "en-GB"},
            "event": {
                "ref": "HAMLET-04-04",
                "name": "Hamlet",
                "starts_at": "2027-04-04T20:00",
                "timezone": "Europe/Bucharest",
            },
            "consent": {"status": "opted_in", "purposes": ["transactional"], "source": "checkout"},
        },
        timeout=10,
    )
    answer.raise_for_status()
    return str(answer.json()["message"]["id"])


def page_of(browser: Browser, state: Any, *, width: int, height: int, mobile: bool = False) -> Page:
    """A signed-in page of that size, in the light look, without movement."""
    context = browser.new_context(
        storage_state=state,
        locale="en-GB",
        timezone_id="Europe/Bucharest",
        viewport={"width": width, "height": height},
        device_scale_factor=2 if mobile else 1,
        is_mobile=mobile,
        color_scheme="light",
        reduced_motion="reduce",
    )
    return context.new_page()


def shoot(page: Page, target: Path) -> None:
    """What the window shows. Raises ValueError when the picture would weigh on the repository."""
    page.wait_for_load_state("load")
    page.evaluate("document.fonts.ready")
    picture = page.screenshot()
    if len(picture) > LARGEST:
        raise ValueError(f"{target.name} has {len(picture)} bytes, more than {LARGEST}")
    target.write_bytes(picture)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE))
