"""360dialog (contracts.md §3): Meta's bodies behind another door, one key per number, errors in four shapes."""

import json
import random
import string
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..domain.account_facts import AccountFacts
from ..domain.text import T
from . import dialog360_facts, meta_bodies, meta_webhooks
from .base import Provider, refusal
from .codes_dialog360 import PATIENCE, TEXTS
from .codes_meta import CODES
from .codes_meta import PATIENCE as META_PATIENCE
from .hooks import Item, WebhookRequest
from .port import (
    Credential,
    Fault,
    OutboundTemplate,
    ProviderError,
    TemplateAnswer,
    TemplateDraft,
    WireRequest,
)
from .template_words import template_status_word
from .verdict import SCOPE_OF
from .wire import dig, e164, language_code, same, text_at

PAGE = 100
MOST_PAGES = 100


class Dialog360(Provider):
    """One number at 360dialog. Webhooks prove themselves by our own secret header, since 360dialog's signature is
    made with a secret we cannot have."""

    name = "dialog360"
    label = T("360dialog")
    official_urls = {"api": "https://waba-v2.360dialog.io"}
    codes = {**CODES, **TEXTS}
    patience = {**META_PATIENCE, **PATIENCE}
    webhook_header = "X-WA-Webhook-Secret"
    uploads_media = True
    account_field = "phone_number"
    sets_webhook = True
    loses_webhook = True
    webhook_steps = (
        T("Press “Register it for me”: 360dialog takes the address only by its API."),
        T("A new API key in 360dialog's hub makes it forget the address. We look every hour and set it again."),
    )
    credentials = (
        Credential(
            "api_key", T("API key"), secret=True,
            where=T("hub.360dialog.com, your number, “API key”, “Generate API key”. It is shown there once."),
        ),
        Credential(
            "phone_number", T("Phone number"), hint="+40722000000", phone=True,
            where=T("The number this key belongs to, with + and the country code."),
        ),
        Credential(
            "webhook_secret", T("Webhook secret"), secret=True, made_up=True,
            where=T("A word by which we know that news are 360dialog's. Leave it empty and we make one up."),
        ),
        Credential(
            "waba_id", T("WhatsApp business account ID"), required=False, pattern=r"[A-Za-z0-9_.-]{1,64}",
            where=T("hub.360dialog.com, “WhatsApp accounts”. Without it, news of templates may arrive later."),
        ),
    )  # fmt: skip

    @classmethod
    def random_test_credentials(cls, rng: random.Random) -> dict[str, str]:
        letters = string.ascii_letters + string.digits
        return {
            "api_key": "".join(rng.choices(letters, k=32)) + "_AK",
            "phone_number": "+4031" + "".join(rng.choices(string.digits, k=7)),
            "webhook_secret": "".join(rng.choices(letters, k=40)),
            "waba_id": "12" + "".join(rng.choices(string.digits, k=13)),
        }

    @classmethod
    def sender_of(cls, credentials: Mapping[str, str]) -> str | None:
        return e164(credentials.get("phone_number"))

    @classmethod
    def account_keys(cls, credentials: Mapping[str, str]) -> list[str]:
        keys = [f"phone:{e164(credentials['phone_number'])}"]
        return keys + ([f"waba:{credentials['waba_id']}"] if credentials.get("waba_id") else [])

    def auth_headers(self) -> dict[str, str]:
        return {"D360-API-KEY": self.keys["api_key"]}

    # --- one message

    def build_send(self, message: OutboundTemplate) -> WireRequest:
        return self.request("POST", f"{self.urls['api']}/messages", payload=meta_bodies.send_body(message))

    def sent_id(self, data: Any) -> str | None:
        return meta_bodies.message_id(data)

    def fault_in(self, data: Any, status: int) -> Fault | None:
        """Meta's error object where there is a code, else 360dialog's sentence, in whichever of its shapes."""
        found = meta_bodies.graph_fault_at(data, status)
        if found is not None:
            return found
        sentence = _sentence(data)
        for text, row in TEXTS.items():
            if text.lower() in sentence.lower():
                scope = "message" if row.error_class == "request" else SCOPE_OF.get(row.scope, "message")
                return Fault(row.error_class, text, sentence[:1000], scope)
        refused = sentence or dig(data, "meta", "success") is False
        return Fault("request", f"http_{status}", sentence[:1000], "message") if refused and _is_no(status) else None

    # --- files

    def upload_media(self, content: bytes, mime_type: str) -> str:
        """Sample files of templates have no door of their own here: 360dialog takes their address as the handle."""
        request = self.request("POST", f"{self.urls['api']}/media", file=meta_bodies.media_part(content, mime_type))
        return meta_bodies.media_id(self.ask(request))

    # --- templates

    def submit_template(self, draft: TemplateDraft, external_id: str | None = None) -> TemplateAnswer:  # noqa: ARG002
        url = f"{self.urls['api']}/v1/configs/templates"
        data = self.ask(self.request("POST", url, payload=meta_bodies.create_body(draft)))
        raw_status = text_at(data, "status") or ""
        return TemplateAnswer(
            status=template_status_word(raw_status or "submitted"),
            external_id=text_at(data, "external_id") or text_at(data, "id"),
            category=(text_at(data, "category") or draft.category).lower(),
            parameter_map=meta_bodies.parameter_map(draft),
            raw_status=raw_status,
            name=draft.name,
            language=language_code(draft.language),
            raw=data,
        )

    def edit_template(self, external_id: str, draft: TemplateDraft) -> TemplateAnswer:  # noqa: ARG002
        """Always refused: an API key cannot edit (contracts.md §3). Submit the next version under another name."""
        reason = T("360dialog cannot change a template. Save it under another name and send that for approval.")
        raise refusal("cannot_edit", reason)

    def delete_template(self, external_id: str | None, name: str, language: str) -> None:  # noqa: ARG002
        """360dialog deletes a name in all its languages: done only when this is its only one (contracts.md §3)."""
        wanted = language_code(language)
        languages = {answer.language for answer in self._named(name) if answer.status != "deleted"}
        if wanted not in languages:
            return
        if others := sorted(other or "?" for other in languages - {wanted}):
            reason = T(
                "360dialog would delete “%(name)s” in every language, and there are others: %(languages)s.",
                name=name,
                languages=", ".join(others),
            )
            raise refusal("all_languages", reason)
        self.ask(self.request("DELETE", f"{self.urls['api']}/v1/configs/templates/{quote(name, safe='')}"))

    def template_status(self, external_id: str | None, name: str, language: str) -> TemplateAnswer | None:  # noqa: ARG002
        wanted = language_code(language)
        return next((answer for answer in self._named(name) if answer.language == wanted), None)

    def list_templates(self) -> list[TemplateAnswer]:
        return self._listed({})

    def _named(self, name: str) -> list[TemplateAnswer]:
        filters = json.dumps({"business_templates.name": name})
        return [answer for answer in self._listed({"filters": filters}) if answer.name == name]

    def _listed(self, filters: dict[str, str]) -> list[TemplateAnswer]:
        url = f"{self.urls['api']}/v1/configs/templates"
        answers: list[TemplateAnswer] = []
        for page_number in range(MOST_PAGES):
            query: dict[str, str | int] = {"limit": PAGE, "offset": page_number * PAGE, **filters}
            page = self.ask(self.request("GET", url, query=query))
            rows = page.get("waba_templates")
            rows = rows if isinstance(rows, list) else []
            answers += [meta_bodies.template_answer(row) for row in rows if isinstance(row, dict)]
            total = page.get("total")
            # Paging keys may be absent: then a short page is the last one.
            more = (page_number + 1) * PAGE < total if isinstance(total, int) else len(rows) >= PAGE
            if not (rows and more):
                break
        return answers

    # --- webhooks

    @classmethod
    def account_keys_in(cls, request: WebhookRequest) -> list[str]:
        _, accounts, displays = meta_webhooks.references(request)
        return [f"phone:{display}" for display in displays] + [f"waba:{account}" for account in accounts]

    def verify_webhook(self, request: WebhookRequest) -> bool:
        return same(self.keys["webhook_secret"], request.header(self.webhook_header))

    def parse_webhook(self, request: WebhookRequest) -> list[Item]:
        return meta_webhooks.parse(request)

    def register_webhook(self, url: str) -> T:
        """Messages by the number's webhook; templates and account news only come by the account-wide one, which not
        every key may set: then templates are polled."""
        target: dict[str, Any] = {"url": url, "headers": {self.webhook_header: self.keys["webhook_secret"]}}
        self.ask(self.request("POST", f"{self.urls['api']}/v1/configs/webhook", payload=target))
        account_wide = {**target, "override_all": False}
        try:
            self.ask(self.request("POST", f"{self.urls['api']}/waba_webhook", payload=account_wide))
        except ProviderError as problem:
            if problem.outcome.kind != "rejected":
                raise
            return T("360dialog now reports messages to %(url)s; for templates we ask now and then.", url=url)
        return T("360dialog now reports to %(url)s.", url=url)

    # --- health

    def facts(self, webhook_url: str) -> AccountFacts:
        return dialog360_facts.read(
            lambda path: self.ask(self.request("GET", f"{self.urls['api']}/{path}")),
            self.webhook_header, self.keys["webhook_secret"], webhook_url,
        )  # fmt: skip

    def probe_request(self) -> WireRequest:
        return self.request("GET", f"{self.urls['api']}/v1/configs/webhook")


def _sentence(data: Any) -> str:
    paths = (("error",), ("error", "message"), ("meta", "developer_message"), ("meta", "developerMessage"))
    return next((found for path in paths if (found := text_at(data, *path))), "")


def _is_no(status: int) -> bool:
    return 400 <= status < 500 and status not in (401, 408, 429, 499)
