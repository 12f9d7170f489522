"""What goes into a provider and what comes out: plain frozen data, the same words for all providers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from ..domain.text import T

Kind = Literal["accepted", "not_sent", "throttled", "rejected", "ambiguous"]
Scope = Literal["message", "recipient", "pair", "sender", "account", "template", "provider"]


@dataclass(frozen=True)
class Credential:
    """One thing a person must paste. The settings form and ``account-create`` are drawn from these.

    ``where`` says where the person finds it. ``made_up``: anything random will do, so the form need not ask for it.
    """

    name: str
    label: T
    secret: bool = False
    required: bool = True
    hint: str = ""
    pattern: str = r"[!-~]{1,1024}"  # anything printable without spaces: it travels in headers and paths
    phone: bool = False
    where: T | None = None
    made_up: bool = False


class BadCredentials(ValueError):
    """Credentials that cannot work. ``unknown``, ``missing`` and ``invalid`` hold the names of the keys."""

    def __init__(self, unknown: Sequence[str] = (), missing: Sequence[str] = (), invalid: Sequence[str] = ()) -> None:
        self.unknown, self.missing, self.invalid = tuple(unknown), tuple(missing), tuple(invalid)
        sentences = []
        if unknown:
            sentences.append(T("Unknown: %(names)s.", names=", ".join(unknown)))
        if missing:
            sentences.append(T("Missing: %(names)s.", names=", ".join(missing)))
        if invalid:
            sentences.append(T("Not usable as written: %(names)s.", names=", ".join(invalid)))
        self.sentences = tuple(sentences)
        super().__init__(" ".join(sentences))


@dataclass(frozen=True)
class Header:
    """The top of a message. ``link`` is a public https address, ``handle`` an upload's handle (template samples)."""

    kind: Literal["text", "image", "video", "document", "location"] = "text"
    text: str = ""
    link: str = ""
    media_id: str = ""
    filename: str = ""
    handle: str = ""
    location: Mapping[str, str] = field(default_factory=dict)  # latitude, longitude, name, address


class ButtonVariable(NamedTuple):
    """A button with a value of its own in each message: 0-based position, kind, our variable's name."""

    position: int
    kind: str  # url | quick_reply | copy_code | otp
    name: str


@dataclass(frozen=True)
class OutboundTemplate:
    """One approved template for one person.

    ``to`` is E.164 with ``+`` (or a business-scoped user id such as ``RO.1349…``). ``parameters`` are our
    variables by name; the three ``*_variables`` say where each is used, in the order of the text.
    ``button_payloads`` are what the quick replies at these positions give back (Meta keeps them with each message,
    Twilio with the template). ``parameter_map`` (from the TemplateAnswer) turns our names into the provider's keys.
    ``external_id`` is Twilio's ContentSid. ``correlation_id`` comes back in every receipt.
    """

    correlation_id: str
    to: str
    template_name: str
    language: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body_variables: Sequence[str] = ()
    header_variables: Sequence[str] = ()
    button_variables: Sequence[tuple[int, str, str]] = ()
    button_payloads: Mapping[int, str] = field(default_factory=dict)
    parameter_map: Mapping[str, str] = field(default_factory=dict)
    external_id: str | None = None
    status_callback_url: str | None = None
    header: Header | None = None


class CannotBuild(ValueError):
    """The message or template is incomplete on our side; trying again cannot help. ``reason`` is for people."""

    def __init__(self, reason: T) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class WireRequest:
    """An HTTP request as bytes, for any transport. ``headers`` hold the credentials: never log them."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class WireReply:
    """What came back. ``status`` is None when no complete answer came; ``request_started`` says whether any byte
    of the request may have left (durability.md §3.7); ``error`` is the transport's own text."""

    status: int | None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    request_started: bool = True
    error: str | None = None

    def header(self, name: str) -> str:
        """The header's value whatever its case, ``""`` when absent."""
        return header_of(self.headers, name)


class Fault(NamedTuple):
    """A provider's complaint in our words. ``error_class`` is a class of contracts.md, ``code`` the provider's own
    code as text, ``scope`` what it concerns."""

    error_class: str
    code: str
    detail: str
    scope: Scope


@dataclass(frozen=True)
class Outcome:
    """What one send (or control call) came to.

    ``accepted``: the provider has it. ``not_sent``: certainly not processed, try later or elsewhere.
    ``throttled``: not processed, slow ``scope`` down. ``rejected``: a final no. ``ambiguous``: nobody knows.
    ``retry_after`` is seconds. ``error_class`` is None only for accepted.
    """

    kind: Kind
    error_class: str | None = None
    code: str | None = None
    detail: str = ""
    external_id: str | None = None
    retry_after: float | None = None
    scope: Scope = "message"

    @property
    def holds(self) -> Literal["account", "sender"] | None:
        """What must stop sending until a person has acted; the message itself is not to blame and keeps its tries."""
        if self.error_class == "account_stop" or self.code == "131048":
            return self.scope if self.scope in ("account", "sender") else None
        return None


class ProviderError(Exception):
    """A control call failed; ``outcome`` says how."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.kind} {outcome.error_class} {outcome.code}: {outcome.detail}")
        self.outcome = outcome


@dataclass(frozen=True)
class Button:
    """A template's button. ``url`` may end in ``{{variable}}``; ``payload`` comes back when a quick reply is tapped."""

    kind: Literal["quick_reply", "url", "phone", "copy_code", "otp"]
    text: str
    url: str = ""
    phone: str = ""
    payload: str = ""
    example: str = ""


@dataclass(frozen=True)
class TemplateDraft:
    """A template as we keep it: variables are ``{{our_name}}`` everywhere, ``examples`` holds one sample for each."""

    name: str
    language: str
    category: str  # utility | marketing | authentication
    body: str
    header: Header | None = None
    footer: str = ""
    buttons: Sequence[Button] = ()
    examples: Mapping[str, str] = field(default_factory=dict)
    type: str = ""
    ttl_seconds: int | None = None
    code_expiration_minutes: int | None = None


@dataclass(frozen=True)
class TemplateAnswer:
    """What the provider says about a template. ``status`` is our word (states.md §6.4) or ``"unknown"``.

    ``previous_category`` is what it was before; ``announced_category`` what it will be, when the provider has said
    that another one is right."""

    status: str
    external_id: str | None
    category: str | None = None
    parameter_map: Mapping[str, str] = field(default_factory=dict)
    rejected_reason: str | None = None
    raw_status: str = ""
    at: datetime | None = None
    quality: str | None = None
    name: str | None = None
    language: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)
    previous_category: str | None = None
    announced_category: str | None = None


class Probe(NamedTuple):
    """Whether the credentials work, in words."""

    ok: bool
    sentence: T
    outcome: Outcome


class SentRecord(NamedTuple):
    """A message the provider says it has. ``status`` is our word; ``at`` is when it was created, ``changed_at`` when
    it last changed (aware UTC); ``text`` the words the person got, empty when the provider no longer has them.
    ``price_micros``: what the provider took for it, in micro-units of ``price_currency``; None until it says so."""

    external_id: str
    status: str
    at: datetime
    fault: Fault | None
    text: str = ""
    changed_at: datetime | None = None
    price_micros: int | None = None
    price_currency: str | None = None


def header_of(headers: Mapping[str, str], name: str) -> str:
    """The header's value whatever its case, ``""`` when absent."""
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), "")
