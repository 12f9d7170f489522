"""The port to every provider: subclass ``Provider`` in a module of this folder and it is there."""

import json
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from ..clock import now
from ..domain.account_facts import AccountFacts
from ..domain.text import T
from .hooks import (
    AccountItem,
    InboundItem,
    Item,
    PreferenceItem,
    Pricing,
    StatusItem,
    TemplateStatusItem,
    UnknownItem,
    VolumeTier,
    WebhookMalformed,
    WebhookRequest,
)
from .port import (
    BadCredentials,
    Button,
    ButtonVariable,
    CannotBuild,
    Credential,
    Fault,
    Header,
    OutboundTemplate,
    Outcome,
    Probe,
    ProviderError,
    SentRecord,
    TemplateAnswer,
    TemplateDraft,
    WireReply,
    WireRequest,
)
from .transport import carry
from .verdict import SHARED_CLASSES, Row, judge
from .wire import FilePart, e164, multipart, read_json
from .words import Explanation, explanation_of

__all__ = [
    "AccountItem",
    "BadCredentials",
    "Button",
    "ButtonVariable",
    "CannotBuild",
    "Credential",
    "Fault",
    "Header",
    "InboundItem",
    "Item",
    "OutboundTemplate",
    "Outcome",
    "PreferenceItem",
    "Pricing",
    "Probe",
    "Provider",
    "ProviderError",
    "SentRecord",
    "StatusItem",
    "TemplateAnswer",
    "TemplateDraft",
    "TemplateStatusItem",
    "UnknownItem",
    "VolumeTier",
    "WebhookMalformed",
    "WebhookRequest",
    "WireReply",
    "WireRequest",
    "all_providers",
    "explain",
    "provider_named",
    "provider_names",
    "providers_recognising",
]

_registry: dict[str, type["Provider"]] = {}


class Provider(ABC):
    """One account at one provider. Subclassing registers; nothing else has to know.

    Building and reading are pure; only the methods of the control plane (templates, probe, look-ups, webhook)
    open a connection, and they raise ProviderError.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    credentials: ClassVar[tuple[Credential, ...]]
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()  # of each group at least one must be given
    together: ClassVar[tuple[tuple[str, ...], ...]] = ()  # of each group all or none
    official_urls: ClassVar[Mapping[str, str]]
    codes: ClassVar[Mapping[str, Row]] = {}
    patience: ClassVar[Mapping[str, float]] = {}
    webhook_header: ClassVar[str]  # the header that carries the proof; present = this provider is speaking
    can_look_up: ClassVar[bool] = False  # whether find_sent is evidence in both directions
    uploads_media: ClassVar[bool] = False  # True: a file in a header is an id of ours there; False: an address
    templates_by_webhook: ClassVar[bool] = True  # False: only polling tells of an approval
    can_unpause: ClassVar[bool] = False  # whether a paused template can be asked back before its time
    account_field: ClassVar[str] = ""  # the credential that names the sender
    sets_webhook: ClassVar[bool] = False  # whether register_webhook does it by itself
    loses_webhook: ClassVar[bool] = False  # whether the provider forgets it when keys are rotated
    webhook_steps: ClassVar[tuple[T, ...]] = ()  # what a person does in the provider's console instead

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        name = cls.__dict__.get("name")
        if name is None:
            return
        if name in _registry and _registry[name].__qualname__ != cls.__qualname__:
            raise TypeError(f"there is already a provider named {name}")
        _registry[name] = cls

    def __init__(self, credentials: Mapping[str, Any], base_urls: Mapping[str, str]) -> None:
        """``credentials`` as declared, ``base_urls`` with the keys of ``official_urls``. Raises BadCredentials."""
        self.keys = self.validate_credentials(credentials)
        self.urls = {part: base_urls[part].rstrip("/") for part in self.official_urls}

    # --- credentials -------------------------------------------------------------------------------------------

    @classmethod
    def validate_credentials(cls, given: Mapping[str, Any]) -> dict[str, str]:
        """The credentials, trimmed and with phone numbers in E.164. Raises BadCredentials naming every wrong key."""
        declared = {credential.name: credential for credential in cls.credentials}
        clean = {str(key): str(value).strip() for key, value in given.items() if value not in (None, "")}
        clean = {key: value for key, value in clean.items() if value}
        missing = [name for name, credential in declared.items() if credential.required and name not in clean]
        missing += ["|".join(group) for group in cls.one_of if not clean.keys() & set(group)]
        for group in cls.together:
            present = clean.keys() & set(group)
            missing += [name for name in group if present and name not in present]
        unknown = sorted(str(key) for key in given if str(key) not in declared)
        invalid = [
            key
            for key, value in clean.items()
            if key in declared and (isinstance(given[key], bool | dict | list) or not _fits(declared[key], value))
        ]
        if unknown or missing or invalid:
            raise BadCredentials(unknown, missing, invalid)
        return {key: (e164(value) or value) if declared[key].phone else value for key, value in clean.items()}

    @classmethod
    @abstractmethod
    def random_test_credentials(cls, rng: random.Random) -> dict[str, str]:
        """Well-formed credentials of an account that exists only in the simulator."""

    @classmethod
    @abstractmethod
    def sender_of(cls, credentials: Mapping[str, str]) -> str | None:
        """The number people see, E.164; None when the provider chooses it (a Twilio messaging service)."""

    @classmethod
    @abstractmethod
    def account_keys(cls, credentials: Mapping[str, str]) -> list[str]:
        """The references (``kind:value``) by which a webhook names this account."""

    @classmethod
    def class_of(cls, code: str) -> str | None:
        """The class of one of the provider's codes, or of the codes every provider shares; None when unknown."""
        row = cls.codes.get(code)
        return row.error_class if row else SHARED_CLASSES.get(code)

    @classmethod
    def identity(cls, credentials: Mapping[str, str]) -> str:
        """What two accounts cannot share: the sender itself, not what it costs or who pays."""
        return cls.account_keys(credentials)[0]

    # --- one message -------------------------------------------------------------------------------------------

    @abstractmethod
    def build_send(self, message: OutboundTemplate) -> WireRequest:
        """The request that sends the message. Pure. Raises CannotBuild when a value is missing."""

    def read_send(self, reply: WireReply) -> Outcome:
        """What the answer to ``build_send``'s request means. Pure; never raises."""
        return judge(reply, self.sent_id, self.fault_in, self.patience)

    @abstractmethod
    def sent_id(self, data: Any) -> str | None:
        """The provider's id of the message in the JSON of a 2xx answer, or None."""

    @abstractmethod
    def fault_in(self, data: Any, status: int) -> Fault | None:
        """The provider's complaint in the JSON of an answer, or None when it holds none we recognise."""

    def find_sent(self, to: str, since: datetime) -> list[SentRecord]:
        """Messages the provider created for ``to`` at or after ``since`` (aware), newest first; only where
        ``can_look_up``. Raises ProviderError."""
        raise NotImplementedError(f"{self.name} cannot look messages up")  # guarded by can_look_up

    def fetch_message(self, external_id: str) -> SentRecord | None:
        """One message as the provider has it now, with its price once there is one; None when it does not know it.
        Only where ``can_look_up``. Raises ProviderError."""
        raise NotImplementedError(f"{self.name} cannot look messages up")  # guarded by can_look_up

    # --- files ----------------------------------------------------------------------------------------------------

    def upload_media(self, content: bytes, mime_type: str) -> str:
        """Give the provider a file for headers; returns its id there. Only where ``uploads_media``. ProviderError."""
        raise NotImplementedError(f"{self.name} takes no files")  # guarded by uploads_media

    samples_by_handle: ClassVar[bool] = False  # True: a sample file of a template is uploaded and has a handle

    def upload_sample(self, content: bytes, mime_type: str, filename: str) -> str:
        """The handle of a template's sample file; only where ``samples_by_handle``. ProviderError, CannotBuild."""
        raise NotImplementedError(f"{self.name} takes sample files by their address")  # see samples_by_handle

    # --- templates ---------------------------------------------------------------------------------------------

    @abstractmethod
    def submit_template(self, draft: TemplateDraft, external_id: str | None = None) -> TemplateAnswer:
        """Create the template and ask for approval. ``external_id`` resumes a creation that stopped half-way (from
        the ProviderError's outcome). Raises ProviderError, CannotBuild."""

    @abstractmethod
    def edit_template(self, external_id: str, draft: TemplateDraft) -> TemplateAnswer:
        """Change a template and ask for approval again; the answer may carry another ``external_id`` (a copy).

        Raises CannotBuild, and ProviderError: code ``cannot_edit`` where only another name or category would help, or
        the template is in a state in which the provider takes no change.
        """

    @abstractmethod
    def delete_template(self, external_id: str | None, name: str, language: str) -> None:
        """Take one language of a template away for good; one that is not there counts as taken away.

        Raises ProviderError; its outcome's code is ``all_languages`` where the provider could only delete the name in
        every language, and there are others. The name of an approved one is closed for 30 days at Meta.
        """

    def unpause_template(self, external_id: str) -> None:  # noqa: ARG002 - a default
        """Ask a paused template back before its time; only where ``can_unpause``. Raises ProviderError."""
        raise refusal("cannot_unpause", T("%(provider)s ends a pause by itself, in its own time.", provider=self.label))

    @abstractmethod
    def template_status(self, external_id: str | None, name: str, language: str) -> TemplateAnswer | None:
        """The template as the provider has it, None when it has none. Raises ProviderError."""

    @abstractmethod
    def list_templates(self) -> list[TemplateAnswer]:
        """Every template of the account. Raises ProviderError."""

    # --- webhooks ----------------------------------------------------------------------------------------------

    @classmethod
    def recognises(cls, request: WebhookRequest) -> bool:
        """Whether the request looks like this provider's (nothing is verified)."""
        return bool(request.header(cls.webhook_header))

    @classmethod
    @abstractmethod
    def account_keys_in(cls, request: WebhookRequest) -> list[str]:
        """The accounts the request claims to be about, as in ``account_keys``: unverified, only to pick the secret."""

    @abstractmethod
    def verify_webhook(self, request: WebhookRequest) -> bool:
        """Whether the request proves that it comes from the provider. Never raises."""

    def challenge(self, request: WebhookRequest) -> str | None:  # noqa: ARG002 - a default
        """The body that answers the provider's GET handshake, or None (answer 403)."""
        return None

    @abstractmethod
    def parse_webhook(self, request: WebhookRequest) -> list[Item]:
        """Every item of a verified request. Raises WebhookMalformed when the body cannot be read at all."""

    def register_webhook(self, url: str) -> T:  # noqa: ARG002 - a default
        """Tell the provider where to call, or say what the person must do. Raises ProviderError."""
        return T("Nothing to set up: every message carries its own callback address.")

    # --- health ------------------------------------------------------------------------------------------------

    @abstractmethod
    def probe_request(self) -> WireRequest:
        """A GET without side effects that needs valid credentials."""

    def probe(self) -> Probe:
        """Whether the credentials work. Never raises."""
        outcome = self.judged(carry(self.probe_request()))
        if outcome.kind == "accepted":
            return Probe(True, T("%(provider)s accepts these credentials.", provider=self.label), outcome)
        if outcome.error_class in ("network", "transient", "ambiguous", "throttle"):
            sentence = T("%(provider)s could not be reached just now. Try again in a minute.", provider=self.label)
            return Probe(False, sentence, outcome)
        return Probe(False, explain(self.name, outcome.code, outcome.error_class).reason, outcome)

    def facts(self, webhook_url: str) -> AccountFacts:  # noqa: ARG002 - a default
        """What the provider tells of the number and its account, by default whether the keys work; ``webhook_url`` is
        where we want its news. Raises ProviderError."""
        self.ask(self.probe_request())
        return AccountFacts()

    # --- the control plane -------------------------------------------------------------------------------------

    @abstractmethod
    def auth_headers(self) -> dict[str, str]:
        """The headers that prove who we are to the provider."""

    def request(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | int] | None = None,
        payload: Any = None,
        form: Sequence[tuple[str, str]] | None = None,
        file: FilePart | None = None,
    ) -> WireRequest:
        """A request with our credentials and a JSON or form body, or a form with one file."""
        headers = {"Accept": "application/json", "User-Agent": "wa-dashboard/1", **self.auth_headers()}
        body = b""
        if payload is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        elif form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form).encode("ascii")
        elif file is not None:
            body, headers["Content-Type"] = multipart(file)
        return WireRequest(method, f"{url}?{urlencode(query)}" if query else url, headers, body)

    def judged(self, reply: WireReply) -> Outcome:
        """The outcome of a control call: any 2xx with a JSON object and no complaint is success."""
        return judge(reply, self._control_id, self.fault_in, self.patience)

    def ask(self, request: WireRequest) -> Any:
        """The JSON object of a control call's answer, empty for one without content. Raises ProviderError."""
        reply = carry(request)
        if reply.status == 204 and not reply.error:  # done, and nothing more to say
            return {}
        outcome = self.judged(reply)
        if outcome.kind != "accepted":
            raise ProviderError(outcome)
        return read_json(reply.body)

    def _control_id(self, data: Any) -> str | None:
        if not isinstance(data, dict) or self.fault_in(data, 200) is not None:
            return None
        return ""


def refusal(code: str, reason: T) -> ProviderError:
    """A no of our own, before or instead of the provider's."""
    return ProviderError(Outcome("rejected", "request", code, reason))


def provider_named(name: str) -> type[Provider]:
    """The provider's class. Raises KeyError."""
    return _registry[name]


def all_providers() -> dict[str, type[Provider]]:
    """Every provider by name."""
    return dict(_registry)


def provider_names() -> list[str]:
    """The names of every provider, in the order of the alphabet."""
    return sorted(_registry)


def providers_recognising(request: WebhookRequest) -> list[type[Provider]]:
    """The providers a bare webhook may come from; each must still verify it."""
    return [provider for provider in _registry.values() if provider.recognises(request)]


def explain(provider: str, code: str | None, error_class: str | None = None) -> Explanation:
    """What an error means and what to do, for an organiser. The class is looked up when it is not given."""
    known = _registry.get(provider)
    if error_class is None and known is not None and code is not None:
        error_class = known.class_of(code)
    return explanation_of(provider, code, error_class)


def received_at(request: WebhookRequest) -> datetime:
    """When the request came (aware UTC)."""
    return request.received_at or now()


def _fits(credential: Credential, value: str) -> bool:
    if credential.phone:
        return e164(value) is not None
    return re.fullmatch(credential.pattern, value) is not None
