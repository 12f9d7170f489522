"""A simulator on a real port, a receiver for its callbacks on another, and one account of each provider."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests

from wa_dashboard import simulator

SHARED = Path(__file__).resolve().parents[3] / "shared" / "contracts"

META = {
    "phone_number_id": "106540352242922",
    "waba_id": "102290129340398",
    "access_token": "EAAJBtest",
    "app_secret": "0123456789abcdef0123456789abcdef",
    "verify_token": "verify-me",
    "display_phone_number": "15550783881",
}
TWILIO = {
    "account_sid": "AC" + "a1" * 16,
    "auth_token": "12345",
    "from": "whatsapp:+40310000001",
    "messaging_service_sid": "MG" + "b2" * 16,
    "api_key": "SK" + "c3" * 16,
    "api_secret": "keysecret",
}
DIALOG360 = {"api_key": "d360-key", "phone_number": "+40310000002", "webhook_secret": "hook-secret"}

BODY = "Salut {{first_name}}, biletele pentru {{event}} sunt gata."
TWILIO_BODY = "Salut {{1}}, biletele pentru {{2}} sunt gata. Mulțumim!"


@dataclass
class Call:
    """One callback as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class Receiver:
    """Takes callbacks; `answers` are the next statuses to give, then 200."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                outer.calls.append(Call(self.path, dict(self.headers), body, time.monotonic()))
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                """Meta's handshake: the token must be the account's."""
                query = dict(parse_qsl(self.path.partition("?")[2]))
                good = query.get("hub.mode") == "subscribe" and query.get("hub.verify_token") == META["verify_token"]
                text = query["hub.challenge"].encode() if good else b"no"
                self.send_response(200 if good else 403)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                return

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """The simulator may be stopped in the middle of a callback."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    def statuses(self) -> list[dict[str, Any]]:
        """Every Meta or 360dialog status that arrived, in order."""
        found: list[dict[str, Any]] = []
        for call in list(self.calls):
            if "json" in call.headers["Content-Type"]:
                for change in call.json["entry"][0]["changes"]:
                    found += change["value"].get("statuses", [])
        return found

    def forms(self) -> list[dict[str, str]]:
        """Every Twilio form that arrived, in order."""
        return [c.form for c in list(self.calls) if "form" in c.headers["Content-Type"]]


def wait_for(what: Callable[[], Any], seconds: float = 5.0) -> Any:
    """The first truthy answer; fails after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("did not happen in time")


class Lab:
    """The simulator with the three accounts registered, and short words for what the tests do to it."""

    def __init__(self, sim: simulator.Simulator, receiver: Receiver) -> None:
        self.sim, self.receiver, self.http = sim, receiver, requests.Session()
        self.meta = sim.base_urls["meta"] + "/v24.0"
        self.twilio = f"{sim.base_urls['twilio']}/2010-04-01/Accounts/{TWILIO['account_sid']}"
        self.content = sim.base_urls["twilio_content"] + "/v1"
        self.d360 = sim.base_urls["dialog360"]
        self.wait_for = wait_for
        self.accounts = {"meta_cloud": META, "twilio": TWILIO, "dialog360": DIALOG360}
        self.bearer = {"Authorization": f"Bearer {META['access_token']}"}
        self.basic = (TWILIO["account_sid"], TWILIO["auth_token"])
        self.key = {"D360-API-KEY": DIALOG360["api_key"]}

    def register(self) -> None:
        for provider, credentials in self.accounts.items():
            self.control(
                "PUT",
                "accounts",
                {
                    "provider": provider,
                    "credentials": credentials,
                    "webhook_url": f"{self.receiver.url}/hook/{provider}",
                },
            )

    def control(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        answer = self.http.request(method, f"{self.sim.url}/_sim/{path}", json=body)
        assert answer.status_code == status if status else answer.ok, answer.text
        return answer.json()

    def ledger(self, after: int = 0) -> list[dict[str, Any]]:
        answer = self.http.get(f"{self.sim.url}/_sim/ledger", params={"after": after})
        return [json.loads(line) for line in answer.text.splitlines()]

    def phone(self, number: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"{self.sim.url}/_sim/phone", params={"to": number})
        assert answer.ok, answer.text
        return answer.json()["messages"]

    # Meta and 360dialog

    def draft(self, **changes: Any) -> dict[str, Any]:
        samples = [{"param_name": "first_name", "example": "Ana"}, {"param_name": "event", "example": "Concert"}]
        body = {"type": "BODY", "text": BODY, "example": {"body_text_named_params": samples}}
        base = {"name": "order_confirmed", "language": "ro", "category": "UTILITY", "parameter_format": "NAMED"}
        return {**base, "components": [body], **changes}

    def template(self, **changes: Any) -> str:
        """Creates and approves a Meta template; returns its id."""
        draft = self.draft(**changes)
        answer = self.http.post(f"{self.meta}/{META['waba_id']}/message_templates", headers=self.bearer, json=draft)
        assert answer.ok, answer.text
        self.approve("meta_cloud", META["waba_id"], draft["name"], draft["language"])
        return str(answer.json()["id"])

    def approve(self, provider: str, account: str, name: str, language: str = "ro", event: str = "APPROVED") -> None:
        wanted = {"provider": provider, "account": account, "name": name, "language": language, "event": event}
        self.control("POST", "templates", wanted)

    def message(self, to: str = "+40700000001", **changes: Any) -> dict[str, Any]:
        parameters = [
            {"type": "text", "parameter_name": "first_name", "text": "Ana"},
            {"type": "text", "parameter_name": "event", "text": "Concert / Arenă"},
        ]
        template = {
            "name": "order_confirmed",
            "language": {"code": "ro"},
            "components": [{"type": "body", "parameters": parameters}],
        }
        base = {"messaging_product": "whatsapp", "to": to, "type": "template", "biz_opaque_callback_data": "msg_1.1"}
        return {**base, "template": template, **changes}

    def send(self, message: dict[str, Any] | None = None, **kwargs: Any) -> requests.Response:
        url = f"{self.meta}/{META['phone_number_id']}/messages"
        return self.http.post(url, headers=self.bearer, json=message or self.message(), **kwargs)

    def template360(self) -> None:
        answer = self.http.post(f"{self.d360}/v1/configs/templates", headers=self.key, json=self.draft())
        assert answer.status_code == 201, answer.text
        self.approve("dialog360", DIALOG360["phone_number"], "order_confirmed")

    def send360(self, message: dict[str, Any] | None = None) -> requests.Response:
        return self.http.post(f"{self.d360}/messages", headers=self.key, json=message or self.message())

    # Twilio

    def twilio_content(self, **changes: Any) -> str:
        """Creates, submits and approves a content; returns its SID."""
        types = {"twilio/text": {"body": TWILIO_BODY}}
        wanted = {"friendly_name": "order_confirmed", "language": "ro", "variables": {"1": "Ana", "2": "Concert"}}
        made = self.http.post(f"{self.content}/Content", auth=self.basic, json={**wanted, "types": types, **changes})
        assert made.status_code == 201, made.text
        sid = str(made.json()["sid"])
        asked = {"name": "order_confirmed", "category": "UTILITY"}
        answer = self.http.post(f"{self.content}/Content/{sid}/ApprovalRequests/whatsapp", auth=self.basic, json=asked)
        assert answer.status_code == 201, answer.text
        self.approve("twilio", TWILIO["account_sid"], "order_confirmed")
        return sid

    def form(self, sid: str, to: str = "+40700000001", **changes: str | None) -> dict[str, str]:
        form: dict[str, str | None] = {
            "To": f"whatsapp:{to}",
            "From": TWILIO["from"],
            "ContentSid": sid,
            "ContentVariables": json.dumps({"1": "Ana", "2": "Concert"}),
            "StatusCallback": f"{self.receiver.url}/hook/twilio?mid=msg_1.1&x=%C8%99",
            **changes,
        }
        return {k: v for k, v in form.items() if v is not None}

    def send_twilio(self, form: dict[str, str], **kwargs: Any) -> requests.Response:
        kwargs.setdefault("auth", self.basic)
        return self.http.post(f"{self.twilio}/Messages.json", data=form, **kwargs)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def lab(tmp_path: Path, receiver: Receiver) -> Iterator[Lab]:
    """Nothing is approved by itself here, and statuses come a hundred times faster."""
    with simulator.in_thread(tmp_path, approve_after_s=None, scale=0.02, seed=7) as sim:
        made = Lab(sim, receiver)
        made.register()
        made.control("PUT", "settings", {"retry_base_s": 0.02})
        yield made
        made.http.close()


@pytest.fixture
def contracts() -> Path:
    """The wire contracts; skipped aloud where the folder is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no wire contracts at {SHARED}")
    return SHARED
