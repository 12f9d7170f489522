"""What the simulator remembers: accounts, templates, messages that went out, messages that came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PROVIDERS = ("meta_cloud", "twilio", "dialog360")


@dataclass
class Account:
    """One sender of one provider. `key` is the phone number id, the Account SID or the phone number."""

    provider: str
    key: str
    credentials: dict[str, str]
    webhook_url: str
    webhook_headers: dict[str, str] = field(default_factory=dict)
    waba_webhook: tuple[str, dict[str, str]] | None = None

    def destination(self, field_name: str) -> tuple[str, dict[str, str]]:
        """URL and own headers for one kind of change: 360dialog sends template events to a URL of their own."""
        if self.waba_webhook and field_name not in ("messages", "user_preferences"):
            url, headers = self.waba_webhook
            return url, headers
        return self.webhook_url, self.webhook_headers

    @property
    def owner(self) -> str:
        """Whose templates it uses: the WABA at Meta and 360dialog, the Account SID at Twilio."""
        return self.credentials.get("waba_id") or self.key

    @property
    def waba_id(self) -> str:
        """`entry[].id` of its webhooks; 360dialog accounts need not tell theirs."""
        return self.credentials.get("waba_id") or "1" + digits(self.phone)

    @property
    def phone(self) -> str:
        """The sender's number as +E.164, or an empty text (Twilio messaging service without a number)."""
        names = {"meta_cloud": "display_phone_number", "dialog360": "phone_number", "twilio": "from"}
        number = digits(self.credentials.get(names[self.provider], ""))
        return f"+{number}" if number else ""

    @property
    def phone_number_id(self) -> str:
        """`metadata.phone_number_id` of its webhooks."""
        return self.key if self.provider == "meta_cloud" else "2" + digits(self.phone)

    def answers_to(self, name: str) -> bool:
        """Whether a control request means this account: any of its public identifiers will do."""
        ours = {self.key, self.owner, self.phone, digits(self.phone)} | {
            self.credentials.get(k, "") for k in ("messaging_service_sid", "from", "display_phone_number")
        }
        return bool(name) and name in ours


@dataclass
class Template:
    """A template under one owner. `components` have Meta's form for every provider."""

    provider: str
    owner: str
    id: str
    name: str
    language: str
    category: str
    status: str
    components: list[dict[str, Any]]
    parameter_format: str
    created_at: float
    updated_at: float
    review_at: float | None = None
    review_finding: str = ""
    rejected_reason: str = "NONE"
    previous_category: str = ""
    quality: str = "UNKNOWN"
    edits: list[float] = field(default_factory=list)
    ttl_seconds: int | None = None
    content: dict[str, Any] = field(default_factory=dict)

    @property
    def sendable(self) -> bool:
        return self.status == "APPROVED"


@dataclass
class Message:
    """One accepted send and how far it got. `script` is what will become of it: (seconds after `at`, status, code)."""

    provider: str
    account: str
    id: str
    correlation_id: str
    recipient: str
    template: str
    language: str
    category: str
    at: float
    status: str
    shown: dict[str, Any]
    script: list[tuple[float, str, int]]
    callback: str = ""
    step: int = 0
    status_at: float = 0.0
    sent_at: float = 0.0
    error_code: int = 0
    sender: str = ""
    service: str = ""
    reached_phone: bool = False


@dataclass
class Inbound:
    """Something the person on the simulated phone wrote, pressed or chose."""

    provider: str
    account: str
    id: str
    sender: str
    at: float
    text: str
    kind: str


def digits(text: str) -> str:
    """Only the decimal digits of a text."""
    return "".join(c for c in text if c.isdigit())
