"""A provider nobody knows: it shows that the contract tests cover a new one by its being there."""

import random
from collections.abc import Mapping
from typing import Any

from wa_dashboard.domain.text import T
from wa_dashboard.providers import base
from wa_dashboard.providers.base import (
    Credential,
    Fault,
    Item,
    OutboundTemplate,
    Provider,
    TemplateAnswer,
    TemplateDraft,
    UnknownItem,
    WebhookMalformed,
    WebhookRequest,
    WireRequest,
    received_at,
)
from wa_dashboard.providers.wire import fingerprint, load_signed, same, scrub, text_at


class Planted(Provider):
    name = "planted"
    label = T("Planted")
    official_urls = {"api": "https://planted.example.org"}
    webhook_header = "X-Planted"
    credentials = (Credential("key", T("Key"), secret=True), Credential("phone", T("Phone"), phone=True))

    @classmethod
    def random_test_credentials(cls, rng: random.Random) -> dict[str, str]:
        return {"key": f"k{rng.randrange(10**12)}", "phone": f"+4031{rng.randrange(10**6, 10**7)}"}

    @classmethod
    def sender_of(cls, credentials: Mapping[str, str]) -> str | None:
        return credentials["phone"]

    @classmethod
    def account_keys(cls, credentials: Mapping[str, str]) -> list[str]:
        return [f"phone:{credentials['phone']}"]

    def auth_headers(self) -> dict[str, str]:
        return {"X-Key": self.keys["key"]}

    def build_send(self, message: OutboundTemplate) -> WireRequest:
        return self.request(
            "POST", f"{self.urls['api']}/send", payload={"to": message.to, "ref": message.correlation_id}
        )

    def sent_id(self, data: Any) -> str | None:
        return text_at(data, "id")

    def fault_in(self, data: Any, status: int) -> Fault | None:
        return None

    def submit_template(self, draft: TemplateDraft, external_id: str | None = None) -> TemplateAnswer:
        return TemplateAnswer("pending", text_at(self.ask(self.request("POST", f"{self.urls['api']}/t")), "id"))

    def edit_template(self, external_id: str, draft: TemplateDraft) -> TemplateAnswer:
        return self.submit_template(draft)

    def delete_template(self, external_id: str | None, name: str, language: str) -> None:
        self.ask(self.request("DELETE", f"{self.urls['api']}/t"))

    def template_status(self, external_id: str | None, name: str, language: str) -> TemplateAnswer | None:
        self.ask(self.request("GET", f"{self.urls['api']}/t"))
        return None

    def list_templates(self) -> list[TemplateAnswer]:
        self.ask(self.request("GET", f"{self.urls['api']}/t"))
        return []

    @classmethod
    def account_keys_in(cls, request: WebhookRequest) -> list[str]:
        return []

    def verify_webhook(self, request: WebhookRequest) -> bool:
        return same(self.keys["key"], request.header(self.webhook_header))

    def parse_webhook(self, request: WebhookRequest) -> list[Item]:
        data = load_signed(request.body)
        if not isinstance(data, dict):
            raise WebhookMalformed("no object")
        return [UnknownItem(key=fingerprint(data), at=received_at(request), raw=scrub(data), reason="planted")]

    def probe_request(self) -> WireRequest:
        return self.request("GET", f"{self.urls['api']}/me")


# It registered by being defined. Tests outside this folder must not meet it, so it stays only while one of ours runs
# (conftest.py).
REGISTERED_ITSELF = base.all_providers().get("planted") is Planted
base._registry.pop("planted")
