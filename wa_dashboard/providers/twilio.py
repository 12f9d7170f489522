"""Twilio (contracts.md §2): messages as forms, templates as Content with numbered variables."""

import base64
import json
import random
import re
import string
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from ..domain.account_facts import AccountFacts
from ..domain.text import T
from . import twilio_bodies, twilio_facts, twilio_webhooks
from .base import Provider
from .codes_twilio import CODES, PATIENCE
from .hooks import Item, WebhookRequest
from .port import (
    CannotBuild,
    Credential,
    Fault,
    OutboundTemplate,
    Outcome,
    ProviderError,
    SentRecord,
    TemplateAnswer,
    TemplateDraft,
    WireReply,
    WireRequest,
)
from .verdict import outcome_of
from .wire import bad_text, e164, items_at, language_code, read_json, text_at

MOST_PAGES = 100
UNKNOWN_THERE = ("20404", "http_404")
# Five retries on any failure: Twilio's default is one, on failed connections only. Never part of the signed URL.
CALLBACK_RETRIES = "#rc=5&rp=all"
_SID = "[0-9A-Za-z]{1,64}"


class Twilio(Provider):
    """One Twilio account with a WhatsApp sender or a messaging service."""

    name = "twilio"
    label = T("Twilio")
    official_urls = {"api": "https://api.twilio.com", "content": "https://content.twilio.com"}
    codes = CODES
    patience = PATIENCE
    webhook_header = "X-Twilio-Signature"
    can_look_up = True
    templates_by_webhook = False
    account_field = "account_sid"
    webhook_steps = (
        T("Open console.twilio.com, “Messaging”, “Senders”, “WhatsApp senders”, and your number."),
        T("Paste the address under “Webhook URL for incoming messages”, with HTTP POST, and save."),
        T("With a messaging service, paste it there instead: “Integration”, “Send a webhook”."),
        T("Receipts need nothing: every message carries its own callback address."),
    )
    credentials = (
        Credential(
            "account_sid", T("Account SID"), hint="AC…", pattern=f"AC{_SID}",
            where=T("console.twilio.com, on the first page, under “Account info”."),
        ),
        Credential(
            "auth_token", T("Auth token"), secret=True,
            where=T("On the same page; press “Show”. Twilio signs its news with it: needed beside an API key too."),
        ),
        Credential(
            "from", T("WhatsApp sender"), required=False, hint="+40722000000", phone=True,
            where=T("“Messaging”, “Senders”, “WhatsApp senders”. Needed unless you use a messaging service."),
        ),
        Credential(
            "messaging_service_sid", T("Messaging service SID"), required=False, hint="MG…", pattern=f"MG{_SID}",
            where=T("“Messaging”, “Services”. Only when Twilio is to choose the number."),
        ),
        Credential(
            "api_key", T("API key SID"), required=False, hint="SK…", pattern=f"SK{_SID}",
            where=T("“Account”, “API keys & tokens”. Only when you do not send with the auth token; both or neither."),
        ),
        Credential(
            "api_secret", T("API key secret"), secret=True, required=False,
            where=T("Shown by Twilio once, when the key is made."),
        ),
    )  # fmt: skip
    one_of = (("from", "messaging_service_sid"),)
    together = (("api_key", "api_secret"),)

    @classmethod
    def random_test_credentials(cls, rng: random.Random) -> dict[str, str]:
        return {
            "account_sid": "AC" + "".join(rng.choices("0123456789abcdef", k=32)),
            "auth_token": "".join(rng.choices("0123456789abcdef", k=32)),
            "from": "+4031" + "".join(rng.choices(string.digits, k=7)),
        }

    @classmethod
    def sender_of(cls, credentials: Mapping[str, str]) -> str | None:
        return e164(credentials.get("from"))

    @classmethod
    def account_keys(cls, credentials: Mapping[str, str]) -> list[str]:
        return [f"sid:{credentials['account_sid']}"]

    @classmethod
    def identity(cls, credentials: Mapping[str, str]) -> str:
        """One account may have many senders: each is one of its own."""
        sender = credentials.get("from") or credentials.get("messaging_service_sid") or ""
        return f"{credentials['account_sid']}:{sender}"

    def auth_headers(self) -> dict[str, str]:
        user, password = self.keys.get("api_key"), self.keys.get("api_secret")
        if not (user and password):
            user, password = self.keys["account_sid"], self.keys["auth_token"]
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    @property
    def _account(self) -> str:
        return f"{self.urls['api']}/2010-04-01/Accounts/{self.keys['account_sid']}"

    # --- one message

    def build_send(self, message: OutboundTemplate) -> WireRequest:
        if not message.external_id:
            raise CannotBuild(T("This template has not been sent to Twilio for approval yet."))
        form = [("To", _address(message.to)), ("ContentSid", message.external_id)]
        if sender := self.keys.get("from"):
            form.append(("From", f"whatsapp:{sender}"))
        if service := self.keys.get("messaging_service_sid"):
            form.append(("MessagingServiceSid", service))
        if variables := twilio_bodies.content_variables(message):
            form.append(("ContentVariables", json.dumps(variables, ensure_ascii=False, separators=(",", ":"))))
        if message.status_callback_url:
            form.append(("StatusCallback", _callback(message.status_callback_url, message.correlation_id)))
        return self.request("POST", f"{self._account}/Messages.json", form=form)

    def read_send(self, reply: WireReply) -> Outcome:
        outcome = super().read_send(reply)
        if outcome.kind != "accepted":
            return outcome
        data = read_json(reply.body)
        word = text_at(data, "status") or ""
        if twilio_webhooks.STATUSES.get(word) != "failed":
            return outcome
        # Created and failed at once: no callback follows for the status in this answer.
        failure = twilio_webhooks.failure(text_at(data, "error_code"), text_at(data, "error_message"), word)
        return replace(outcome_of(failure), external_id=outcome.external_id)

    def sent_id(self, data: Any) -> str | None:
        sid = text_at(data, "sid")
        return sid if sid and re.fullmatch(f"(SM|MM){_SID}", sid) else None

    def fault_in(self, data: Any, status: int) -> Fault | None:
        return twilio_bodies.twilio_fault(data, status)

    def find_sent(self, to: str, since: datetime) -> list[SentRecord]:
        """Not filtered by DateSent: a message still in Twilio's queue has none and would look unsent."""
        url = f"{self._account}/Messages.json"
        page = self.ask(self.request("GET", url, query={"To": _address(to), "PageSize": 100}))
        found: list[SentRecord] = []
        for _ in range(MOST_PAGES):
            records = [record for row in items_at(page, "messages") if (record := _record(row))]
            found += [record for record in records if record.at >= since]
            following = text_at(page, "next_page_uri")
            if not following or (records and records[-1].at < since):
                break
            page = self.ask(self.request("GET", self._own(self.urls["api"], following)))
        return sorted(found, key=lambda record: record.at, reverse=True)

    def fetch_message(self, external_id: str) -> SentRecord | None:
        """One message as Twilio has it now, None when Twilio does not know it. Raises ProviderError."""
        try:
            data = self.ask(self.request("GET", f"{self._account}/Messages/{quote(external_id, safe='')}.json"))
        except ProviderError as problem:
            if problem.outcome.code in UNKNOWN_THERE:
                return None
            raise
        return _record(data)

    # --- templates

    def submit_template(self, draft: TemplateDraft, external_id: str | None = None) -> TemplateAnswer:
        """Two calls: the content, then its approval. When the second fails, the error's outcome carries the
        content's id; give it back as ``external_id`` instead of creating a second content."""
        if external_id is None:
            contents = f"{self.urls['content']}/v1/Content"
            created = self.ask(self.request("POST", contents, payload=twilio_bodies.create_body(draft)))
            external_id = text_at(created, "sid")
            if external_id is None:
                raise ProviderError(Outcome("ambiguous", "ambiguous", "no_answer", "the content came without a sid"))
        approval = {"name": draft.name, "category": draft.category.upper()}
        url = f"{self._content(external_id)}/ApprovalRequests/whatsapp"
        try:
            data = self.ask(self.request("POST", url, payload=approval))
        except ProviderError as problem:
            raise ProviderError(replace(problem.outcome, external_id=external_id)) from problem
        raw_status = text_at(data, "status") or "received"
        answer = twilio_bodies.approval_answer(
            {"sid": external_id, "language": draft.language, "friendly_name": draft.name},
            {**data, "status": "received" if raw_status == "unsubmitted" else raw_status},
        )
        category = answer.category or draft.category.lower()
        return replace(answer, category=category, parameter_map=twilio_bodies.parameter_map(draft), raw=data)

    def edit_template(self, external_id: str, draft: TemplateDraft) -> TemplateAnswer:
        """A content that was never sent for approval is changed; any other stays as WhatsApp has seen it, and a copy
        is made, whose id the answer carries."""
        present = self.template_status(external_id, draft.name, draft.language)
        if present is None or present.status != "draft":
            return self.submit_template(draft)
        changed = {"variables": {}, **twilio_bodies.create_body(draft)}
        self.ask(self.request("PUT", self._content(external_id), payload=changed))
        return self.submit_template(draft, external_id)

    def delete_template(self, external_id: str | None, name: str, language: str) -> None:
        """The content, and with it WhatsApp's template: a content is one language."""
        if external_id is None:
            found = self.template_status(None, name, language)
            external_id = found.external_id if found else None
        if external_id is None:
            return
        try:
            self.ask(self.request("DELETE", self._content(external_id)))
        except ProviderError as problem:
            if problem.outcome.code not in UNKNOWN_THERE:
                raise

    def _content(self, external_id: str) -> str:
        return f"{self.urls['content']}/v1/Content/{quote(external_id, safe='')}"

    def template_status(self, external_id: str | None, name: str, language: str) -> TemplateAnswer | None:
        if external_id is None:
            wanted = language_code(language)
            named = (a for a in self.list_templates() if a.name == name and a.language == wanted)
            return next(named, None)
        try:
            data = self.ask(self.request("GET", f"{self._content(external_id)}/ApprovalRequests"))
        except ProviderError as problem:
            if problem.outcome.code in UNKNOWN_THERE:
                return None
            raise
        content = {"sid": external_id, "language": language, "friendly_name": name}
        return replace(twilio_bodies.approval_answer(content, data.get("whatsapp")), raw=data)

    def list_templates(self) -> list[TemplateAnswer]:
        answers: list[TemplateAnswer] = []
        page = self.ask(self.request("GET", f"{self.urls['content']}/v1/ContentAndApprovals", query={"PageSize": 100}))
        for _ in range(MOST_PAGES):
            rows = (row for row in items_at(page, "contents") if isinstance(row, dict))
            answers += [twilio_bodies.approval_answer(row, row.get("approval_requests")) for row in rows]
            following = text_at(page, "meta", "next_page_url")
            if not following:
                break
            page = self.ask(self.request("GET", self._own(self.urls["content"], following)))
        return answers

    @staticmethod
    def _own(base: str, following: str) -> str:
        """The next page at our own base: credentials never go to a host that an answer names."""
        parts = urlsplit(following)
        path = parts.path
        prefix = urlsplit(base).path
        if prefix and path.startswith(prefix + "/"):
            path = path[len(prefix) :]
        return urljoin(base + "/", f".{path}" + (f"?{parts.query}" if parts.query else ""))

    # --- webhooks

    @classmethod
    def account_keys_in(cls, request: WebhookRequest) -> list[str]:
        sids = dict.fromkeys(value for key, value in request.fields if key == "AccountSid")
        return [f"sid:{sid}" for sid in list(sids)[:10] if sid and len(sid) <= 64 and not bad_text(sid)]

    def verify_webhook(self, request: WebhookRequest) -> bool:
        given = request.header(self.webhook_header)
        return bool(given) and twilio_webhooks.verified(self.keys["auth_token"], request, given)

    def parse_webhook(self, request: WebhookRequest) -> list[Item]:
        return twilio_webhooks.parse(request)

    def register_webhook(self, url: str) -> T:
        return T(
            "In Twilio's console, open the WhatsApp sender and enter %(url)s under “Webhook for incoming messages”.",
            url=url,
        )

    # --- health

    def facts(self, webhook_url: str) -> AccountFacts:  # noqa: ARG002 - Twilio tells of none
        api = f"{self.urls['api']}/2010-04-01/Accounts"
        return twilio_facts.read(lambda path: self.ask(self.request("GET", f"{api}/{path}")), self.keys["account_sid"])

    def probe_request(self) -> WireRequest:
        # API keys of the standard kind may not read the account itself, but they may list messages.
        return self.request("GET", f"{self._account}/Messages.json", query={"PageSize": 1})


def _address(to: str) -> str:
    person = twilio_webhooks.user_id(to)
    return f"whatsapp:{person}" if person else f"whatsapp:+{to.lstrip('+')}"


def _callback(url: str, correlation_id: str) -> str:
    joint = "&" if "?" in url else "?"
    return f"{url}{joint}mid={quote(correlation_id, safe='')}{CALLBACK_RETRIES}"


def _record(row: Any) -> SentRecord | None:
    """A message resource; None for what is no outgoing message (``received``) or makes no sense."""
    sid, word = text_at(row, "sid"), text_at(row, "status") or ""
    status = twilio_webhooks.STATUSES.get(word)
    at = _instant(text_at(row, "date_created"))
    if sid is None or status is None or at is None:
        return None
    failure = twilio_webhooks.failure(text_at(row, "error_code"), text_at(row, "error_message"), word)
    price, currency = _price(row)
    return SentRecord(
        sid,
        status,
        at,
        failure if status == "failed" else None,
        text_at(row, "body") or "",
        _instant(text_at(row, "date_updated")),
        price,
        currency,
    )


def _instant(text: str | None) -> datetime | None:
    """Aware UTC of an RFC 2822 date; None for what is none."""
    try:
        at = parsedate_to_datetime(text or "")
    except (ValueError, TypeError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _price(row: Any) -> tuple[int | None, str | None]:
    """Micro-units and currency of ``"price": "-0.00750"``: Twilio writes what it takes as a negative number."""
    currency = (text_at(row, "price_unit") or "").upper()
    try:
        amount = -Decimal(text_at(row, "price") or "") * 1_000_000
    except InvalidOperation:
        return None, None
    if not amount.is_finite() or abs(amount) >= 10**15 or not re.fullmatch("[A-Z]{3}", currency):
        return None, None
    return int(amount.to_integral_value()), currency
