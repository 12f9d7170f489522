"""Meta's WhatsApp Cloud API (contracts.md §1)."""

import hashlib
import hmac
import random
import re
import string
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..domain.account_facts import AccountFacts
from ..domain.text import T
from . import meta_bodies, meta_facts, meta_webhooks
from .base import Provider, refusal
from .codes_meta import CODES, PATIENCE
from .hooks import Item, WebhookRequest
from .port import (
    CannotBuild,
    Credential,
    Fault,
    OutboundTemplate,
    Outcome,
    ProviderError,
    TemplateAnswer,
    TemplateDraft,
    WireRequest,
)
from .template_words import template_status_word
from .wire import dig, e164, language_code, same, text_at

VERSION = "v24.0"
MOST_PAGES = 100
MOST_RESTARTS = 2
INVALID_CURSOR = "131059"
EDITABLE = {"APPROVED", "REJECTED", "PAUSED"}
_FIELDS = (
    "id,name,language,status,category,previous_category,correct_category,sub_category,parameter_format,"
    "components,rejected_reason,quality_score,message_send_ttl_seconds"
)
_ID = r"[A-Za-z0-9_.-]{1,64}"


class MetaCloud(Provider):
    """One number of one WhatsApp business account at Meta.

    The base URL may end in a Graph version (``https://graph.facebook.com/v26.0``); without one it is v24.0.
    """

    name = "meta_cloud"
    label = T("Meta WhatsApp Cloud API")
    official_urls = {"api": "https://graph.facebook.com"}
    codes = CODES
    patience = PATIENCE
    webhook_header = "X-Hub-Signature-256"
    can_unpause = True
    uploads_media = True
    samples_by_handle = True
    account_field = "phone_number_id"
    sets_webhook = True
    webhook_steps = (
        T("Open your app at developers.facebook.com, then “WhatsApp”, “Configuration”."),
        T("Paste the address as callback URL, and the verify token you chose here."),
        T("Subscribe to messages, message_template_status_update, account_update and phone_number_quality_update."),
    )
    credentials = (
        Credential(
            "phone_number_id", T("Phone number ID"), hint="106540352242922", pattern=_ID,
            where=T("developers.facebook.com, your app, “WhatsApp”, “API Setup”, below the number."),
        ),
        Credential(
            "waba_id", T("WhatsApp business account ID"), hint="102290129340398", pattern=_ID,
            where=T("On the same page, beside the phone number ID."),
        ),
        Credential(
            "access_token", T("Permanent access token"), secret=True, hint="EAAJB…",
            where=T("business.facebook.com, “Settings”, “System users”, “Generate token”, with the permissions "
                    "whatsapp_business_messaging and whatsapp_business_management. The token on the page “API Setup” "
                    "ends after a day."),
        ),
        Credential(
            "app_secret", T("App secret"), secret=True,
            where=T("developers.facebook.com, your app, “App settings”, “Basic”: press “Show”."),
        ),
        Credential(
            "verify_token", T("Webhook verify token"), secret=True, made_up=True,
            where=T("Any word you choose, the same here and at Meta. Leave it empty and we make one up: it is only "
                    "needed when you enter the webhook at Meta by hand."),
        ),
        Credential(
            "display_phone_number", T("Phone number"), hint="+40722000000", phone=True,
            where=T("The number people see, with + and the country code."),
        ),
        Credential(
            "app_id", T("App ID"), required=False, hint="1234567890", pattern=_ID,
            where=T("developers.facebook.com, your app, at the top. Needed only for templates with a picture or file."),
        ),
    )  # fmt: skip

    def __init__(self, credentials: Mapping[str, Any], base_urls: Mapping[str, str]) -> None:
        super().__init__(credentials, base_urls)
        api = self.urls["api"]
        self.graph = api if re.search(r"/v[0-9]+\.[0-9]+$", api) else f"{api}/{VERSION}"

    @classmethod
    def random_test_credentials(cls, rng: random.Random) -> dict[str, str]:
        digits, letters = string.digits, string.ascii_letters + string.digits
        return {
            "phone_number_id": "10" + "".join(rng.choices(digits, k=13)),
            "waba_id": "11" + "".join(rng.choices(digits, k=13)),
            "access_token": "EAAJB" + "".join(rng.choices(letters, k=40)),
            "app_secret": "".join(rng.choices("0123456789abcdef", k=32)),
            "verify_token": "".join(rng.choices(letters, k=24)),
            "display_phone_number": "+4031" + "".join(rng.choices(digits, k=7)),
            "app_id": "13" + "".join(rng.choices(digits, k=13)),
        }

    @classmethod
    def sender_of(cls, credentials: Mapping[str, str]) -> str | None:
        return e164(credentials.get("display_phone_number"))

    @classmethod
    def account_keys(cls, credentials: Mapping[str, str]) -> list[str]:
        return [f"pnid:{credentials['phone_number_id']}", f"waba:{credentials['waba_id']}"]

    def auth_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys['access_token']}"}

    # --- one message

    def build_send(self, message: OutboundTemplate) -> WireRequest:
        url = f"{self.graph}/{self.keys['phone_number_id']}/messages"
        return self.request("POST", url, payload=meta_bodies.send_body(message))

    def sent_id(self, data: Any) -> str | None:
        return meta_bodies.message_id(data)

    def fault_in(self, data: Any, status: int) -> Fault | None:
        return meta_bodies.graph_fault_at(data, status)

    # --- files

    def upload_media(self, content: bytes, mime_type: str) -> str:
        url = f"{self.graph}/{self.keys['phone_number_id']}/media"
        request = self.request("POST", url, file=meta_bodies.media_part(content, mime_type))
        return meta_bodies.media_id(self.ask(request))

    def upload_sample(self, content: bytes, mime_type: str, filename: str) -> str:
        """Two calls of the Resumable Upload API: a session, then the bytes (contracts.md §1.3)."""
        app_id = self.keys.get("app_id")
        if not app_id:
            raise CannotBuild(
                T("Meta takes a sample file only from an app: put the app's ID into the sender's settings.")
            )
        about: dict[str, str | int] = {"file_name": filename, "file_length": len(content), "file_type": mime_type}
        session = text_at(self.ask(self.request("POST", f"{self.graph}/{app_id}/uploads", query=about)), "id")
        if not session or not session.startswith("upload:"):
            raise ProviderError(Outcome("ambiguous", "ambiguous", "no_answer", "no upload session was opened"))
        headers = {
            "Accept": "application/json",
            "Authorization": f"OAuth {self.keys['access_token']}",
            "file_offset": "0",
            "Content-Type": "application/octet-stream",
        }
        answer = self.ask(WireRequest("POST", f"{self.graph}/{session}", headers, content))
        handle = text_at(answer, "h")
        if not handle:
            raise ProviderError(Outcome("ambiguous", "ambiguous", "no_answer", "the upload came without a handle"))
        return handle

    # --- templates

    def submit_template(self, draft: TemplateDraft, external_id: str | None = None) -> TemplateAnswer:  # noqa: ARG002
        url = f"{self.graph}/{self.keys['waba_id']}/message_templates"
        return self._answer(draft, self.ask(self.request("POST", url, payload=meta_bodies.create_body(draft))))

    def edit_template(self, external_id: str, draft: TemplateDraft) -> TemplateAnswer:
        """Only of an approved, rejected or paused one, and never the category of an approved one (contracts.md §1.3).
        Its name and language stay what they are."""
        body = meta_bodies.create_body(draft)
        url = self._template_url(external_id)
        present = self.ask(self.request("GET", url, query={"fields": "name,language,status,category"}))
        state, category = ((text_at(present, key) or "").upper() for key in ("status", "category"))
        if (text_at(present, "name"), language_code(text_at(present, "language"))) != (body["name"], body["language"]):
            raise refusal("cannot_edit", T("A template keeps its name and its language: save this one as a new one."))
        if state not in EDITABLE:
            raise refusal("cannot_edit", T("Meta takes no changes to this template in its present state."))
        if state == "APPROVED" and category != body["category"]:
            raise refusal("cannot_edit", T("The category of an approved template stays. Save this one as a new one."))
        wanted = ("components", "message_send_ttl_seconds", *(() if state == "APPROVED" else ("category",)))
        self._done(self.request("POST", url, payload={key: body[key] for key in wanted if key in body}))
        return self._answer(draft, {"id": external_id, "status": "PENDING", "category": draft.category})

    def delete_template(self, external_id: str | None, name: str, language: str) -> None:
        """By name and id: by its name alone it would go in every language (contracts.md §1.3)."""
        external_id = external_id or self._living_id(name, language)
        if external_id is None:
            return
        url = f"{self.graph}/{self.keys['waba_id']}/message_templates"
        try:
            self._done(self.request("DELETE", url, query={"name": name, "hsm_id": external_id}))
        except ProviderError as problem:
            if problem.outcome.kind != "rejected" or self._living_id(name, language) == external_id:
                raise

    def _living_id(self, name: str, language: str) -> str | None:
        found = self.template_status(None, name, language)
        return found.external_id if found is not None and found.status != "deleted" else None

    def unpause_template(self, external_id: str) -> None:
        self._done(self.request("POST", self._template_url(external_id) + "/unpause"))

    def _template_url(self, external_id: str) -> str:
        return f"{self.graph}/{quote(external_id, safe='')}"

    def _done(self, request: WireRequest) -> None:
        """A change that is answered with ``success``. Raises ProviderError."""
        answer = self.ask(request)
        if dig(answer, "success") is False:
            detail = text_at(answer, "reason") or text_at(answer, "message") or ""
            raise ProviderError(Outcome("rejected", "template", "no_success", detail, scope="template"))

    def template_status(self, external_id: str | None, name: str, language: str) -> TemplateAnswer | None:
        wanted = language_code(language)
        found = [answer for answer in self._listed({"name": name}) if answer.name == name]
        by_id = [answer for answer in found if answer.external_id == external_id]
        return next((answer for answer in [*by_id, *found] if answer.language == wanted), None)

    def list_templates(self) -> list[TemplateAnswer]:
        return self._listed({})

    def _answer(self, draft: TemplateDraft, data: Any) -> TemplateAnswer:
        category = text_at(data, "category") or draft.category
        raw_status = text_at(data, "status") or ""
        return TemplateAnswer(
            status=template_status_word(raw_status or "PENDING"),
            external_id=text_at(data, "id"),
            category=category.lower(),
            parameter_map=meta_bodies.parameter_map(draft),
            raw_status=raw_status,
            name=draft.name,
            language=language_code(draft.language),
            raw=data,
        )

    def _listed(self, filters: dict[str, str]) -> list[TemplateAnswer]:
        """Every page; a cursor that stops being valid on the way means to begin again (contracts.md §1.3)."""
        for _ in range(MOST_RESTARTS):
            try:
                return self._walked(filters)
            except ProviderError as problem:
                if problem.outcome.code != INVALID_CURSOR:
                    raise
        return self._walked(filters)

    def _walked(self, filters: dict[str, str]) -> list[TemplateAnswer]:
        url = f"{self.graph}/{self.keys['waba_id']}/message_templates"
        query: dict[str, str | int] = {"fields": _FIELDS, "limit": 100, **filters}
        answers: list[TemplateAnswer] = []
        for _ in range(MOST_PAGES):
            page = self.ask(self.request("GET", url, query=query))
            rows = page.get("data")
            rows = rows if isinstance(rows, list) else []
            answers += [meta_bodies.template_answer(row) for row in rows if isinstance(row, dict)]
            after = text_at(page, "paging", "cursors", "after")
            # Meta names a cursor on the last page too; only "next" says that there is more.
            if not (rows and after and text_at(page, "paging", "next")) or after == query.get("after"):
                break
            query["after"] = after
        return answers

    # --- webhooks

    @classmethod
    def recognises(cls, request: WebhookRequest) -> bool:
        return super().recognises(request) or "hub.mode" in request.query

    @classmethod
    def account_keys_in(cls, request: WebhookRequest) -> list[str]:
        numbers, accounts, _ = meta_webhooks.references(request)
        return [f"pnid:{number}" for number in numbers] + [f"waba:{account}" for account in accounts]

    def verify_webhook(self, request: WebhookRequest) -> bool:
        digest = hmac.new(self.keys["app_secret"].encode(), request.body, hashlib.sha256).hexdigest()
        return same(f"sha256={digest}", request.header(self.webhook_header))

    def challenge(self, request: WebhookRequest) -> str | None:
        query = request.query
        if request.method.upper() != "GET" or query.get("hub.mode") != "subscribe":
            return None
        challenge = query.get("hub.challenge", "")
        if not same(self.keys["verify_token"], query.get("hub.verify_token", "")):
            return None
        return challenge if re.fullmatch(r"[A-Za-z0-9_.~-]{1,256}", challenge) else None

    def parse_webhook(self, request: WebhookRequest) -> list[Item]:
        return meta_webhooks.parse(request)

    def register_webhook(self, url: str) -> T:
        payload = {"override_callback_uri": url, "verify_token": self.keys["verify_token"]}
        self.ask(self.request("POST", f"{self.graph}/{self.keys['waba_id']}/subscribed_apps", payload=payload))
        return T("Meta now reports to %(url)s.", url=url)

    # --- health

    def facts(self, webhook_url: str) -> AccountFacts:
        keys = self.keys
        return meta_facts.read(
            lambda path, query: self.ask(self.request("GET", f"{self.graph}/{path}", query=query)),
            keys["phone_number_id"], keys["waba_id"], webhook_url,
        )  # fmt: skip

    def probe_request(self) -> WireRequest:
        fields = "id,display_phone_number,verified_name,quality_rating,status,throughput"
        return self.request("GET", f"{self.graph}/{self.keys['phone_number_id']}", query={"fields": fields})
