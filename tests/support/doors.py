"""A provider's door that tells what a test wants: the wire is all that is faked."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from flask import current_app


@dataclass
class Door:
    """``answers``: the end of a path to ``(status, JSON)``; the longest fitting one wins. ``seen``: method and path."""

    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self.seen.append(f"{method} {path}")
        self.bodies.append(json.loads(body) if body.startswith(b"{") else None)
        bare = path.partition("?")[0]
        for end in sorted(self.answers, key=len, reverse=True):
            wanted, _, tail = end.rpartition(" ")
            if bare.endswith(tail) and wanted in ("", method):
                return self.answers[end]
        return 404, {"error": {"message": "nothing here", "code": 100}}


@contextmanager
def door_of(provider: str, *, live: bool = False, **answers: tuple[int, Any]) -> Iterator[Door]:
    """Until the end of the block every account of the provider and mode speaks to the door."""
    door = Door(dict(answers))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = door.answer(self.command, self.path, body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    door.port = server.server_address[1]
    before = current_app.extensions["wa_settings"]
    name = {"meta_cloud": ("META",), "twilio": ("TWILIO", "TWILIO_CONTENT"), "dialog360": ("DIALOG360",)}[provider]
    urls = dict(before.live_urls if live else before.test_urls) | dict.fromkeys(name, door.url)
    current_app.extensions["wa_settings"] = replace(before, **{"live_urls" if live else "test_urls": urls})
    try:
        yield door
    finally:
        current_app.extensions["wa_settings"] = before
        server.shutdown()
        server.server_close()


def meta_facts(door: Door, account: Any, webhook: str | None, **changes: Any) -> None:
    """Meta's answers for the account (contracts.md §1.1): a healthy number unless ``changes`` says otherwise."""
    keys = account.credentials
    number = {
        "id": keys["phone_number_id"],
        "display_phone_number": "+40 " + keys["display_phone_number"][3:],
        "verified_name": "Teatrul Mic",
        "quality_rating": "GREEN",
        "throughput": {"level": "STANDARD"},
        "status": "CONNECTED",
        "name_status": "APPROVED",
        "whatsapp_business_manager_messaging_limit": "TIER_2K",
        "health_status": {"can_send_message": "AVAILABLE", "entities": []},
        "webhook_configuration": {"application": webhook} if webhook else {},
    }
    waba = {"id": keys["waba_id"], "name": "Teatrul Mic SRL", "currency": "EUR", "account_review_status": "APPROVED"}
    subscribed = changes.pop("subscribed", [{"whatsapp_business_api_data": {"id": "1", "name": "App"}}])
    waba |= {name: changes.pop(name) for name in ("account_review_status",) if name in changes}
    door.answers[f"/{keys['phone_number_id']}"] = (200, number | changes)
    door.answers[f"/{keys['waba_id']}"] = (200, waba)
    door.answers[f"GET /{keys['waba_id']}/subscribed_apps"] = (200, {"data": subscribed})
    door.answers[f"POST /{keys['waba_id']}/subscribed_apps"] = (200, {"success": True})
