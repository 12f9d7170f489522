"""A simulator of our own for templates, a sink for its webhooks, and a wire that can lose answers."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import requests
from flask import Flask, current_app

from tests.factories import ReadyTenant
from wa_dashboard import simulator
from wa_dashboard.clock import now
from wa_dashboard.db import tenant_scope, transaction
from wa_dashboard.models import ProviderAccount
from wa_dashboard.providers.base import TemplateStatusItem, WebhookRequest
from wa_dashboard.services import accounts, templates


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Wire:
    """Stands between us and the simulator. ``lose_answers``/``lose_requests``: how many POSTs to spoil; ``rewrite``:
    what to replace in every answer by what."""

    to: int = 0
    port: int = 0
    lose_answers: int = 0
    lose_requests: int = 0
    rewrite: tuple[bytes, bytes] = (b"", b"")
    seen: list[str] = field(default_factory=list)

    def handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        wire = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                wire.seen.append(f"{self.command} {self.path.partition('?')[0]}")
                post = self.command == "POST"
                if post and wire.lose_requests:
                    wire.lose_requests -= 1
                    return self.hang_up()
                far = http.client.HTTPConnection("127.0.0.1", wire.to, timeout=10)
                far.request(self.command, self.path, body or None, dict(self.headers))
                answer = far.getresponse()
                data = answer.read()
                data = data.replace(*wire.rewrite) if wire.rewrite[0] else data
                far.close()
                if post and wire.lose_answers:
                    wire.lose_answers -= 1
                    return self.hang_up()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.getheader("Content-Type", "application/json"))
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                return None

            do_GET = do_POST = do_DELETE = do_PUT = forward

            def hang_up(self) -> None:
                self.close_connection = True
                self.connection.shutdown(2)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@dataclass
class Post:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class World:
    """The far end of one test."""

    url: str
    wire: Wire
    posts: list[Post]

    def known(self, ready: ReadyTenant, account: ProviderAccount | None = None) -> None:
        """Introduce the tenant's account to the simulator."""
        with tenant_scope(ready.id):
            assert accounts.introduce(account or ready.account)

    def templates(self, account: ProviderAccount) -> list[dict[str, str]]:
        """What the simulator has of this account's templates."""
        owners = {value for key, value in account.credentials.items() if key in ("waba_id", "account_sid")}
        found = requests.get(f"{self.url}/_sim/state", timeout=5).json()["templates"]
        return [line for line in found if line["owner"] in owners]

    def event(self, account: ProviderAccount, name: str, event: str, language: str = "ro", **more: str) -> None:
        keys = ("phone_number_id", "account_sid", "phone_number")
        own = next(account.credentials[key] for key in keys if key in account.credentials)
        wanted = {"provider": account.provider, "account": own, "name": name, "language": language, "event": event}
        answer = requests.post(f"{self.url}/_sim/templates", json=wanted | more, timeout=5)
        assert answer.status_code == 200, answer.text

    def news(self, ready: ReadyTenant, count: int = 1) -> list[TemplateStatusItem]:
        """The next webhooks, verified, parsed and applied."""
        from tests.support.servers import wait_until

        wait_until(lambda: len(self.posts) >= count, 5, f"{count} webhooks")
        with tenant_scope(ready.id):
            provider = accounts.provider_of(ready.account)
            found = []
            for post in self.posts[:count]:
                url = f"{accounts.settings().public_url}{post.path}"
                request = WebhookRequest("POST", url, post.headers, post.body, received_at=now())
                assert provider.verify_webhook(request)
                found += provider.parse_webhook(request)
            del self.posts[:count]
            with transaction():
                for item in found:
                    assert isinstance(item, TemplateStatusItem)
                    assert templates.apply_news(ready.account, item) is not None
        return found


def _sink(posts: list[Post]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            posts.append(Post(self.path, dict(self.headers), body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def world_of(app: Flask, folder: Path) -> Iterator[World]:
    """Point the application's test accounts at a fresh simulator whose reviews wait for our word."""
    posts: list[Post] = []
    wire = Wire()
    with (
        simulator.in_thread(folder, approve_after_s=None) as sim,
        serving(_sink(posts)) as sink,
        serving(wire.handler()) as wire_port,
    ):
        wire.to, wire.port = sim.port, wire_port
        before = current_app.extensions["wa_settings"]
        near = {
            name: url.replace(f":{before.simulator_port}/", f":{wire_port}/") for name, url in before.test_urls.items()
        }
        app.extensions["wa_settings"] = replace(
            before, simulator_port=sim.port, public_url=f"http://127.0.0.1:{sink}", test_urls=near
        )
        try:
            yield World(f"http://127.0.0.1:{sim.port}", wire, posts)
        finally:
            app.extensions["wa_settings"] = before
