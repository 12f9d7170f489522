"""What the tests of the adapters share: accounts, a draft, a message, and the contract papers beside the repository."""

import random
from pathlib import Path
from urllib.parse import quote

import pytest

from wa_dashboard.providers.base import (
    Button,
    Header,
    Item,
    OutboundTemplate,
    Provider,
    TemplateDraft,
    WebhookMalformed,
    WebhookRequest,
    all_providers,
)

from .planted import Planted

CONTRACTS = Path(__file__).parents[3] / "shared" / "contracts"
SPECS = CONTRACTS / "specs"
PAYLOADS = CONTRACTS / "payloads"
needs_contracts = pytest.mark.skipif(
    not CONTRACTS.is_dir(), reason=f"the providers' published contracts are not at {CONTRACTS}"
)
CORRELATION = "msg_01k0000000000000000000abcd.1"
CONTENT_SID = "HX" + "a" * 32

DRAFT = TemplateDraft(
    name="order_confirmed",
    language="ro",
    category="utility",
    body="Salut {{first_name}}, biletele pentru {{event}} sunt gata.",
    header=Header(text="Comanda {{order}}"),
    footer="Scrie STOP pentru dezabonare",
    buttons=(
        Button("url", "Vezi biletele", url="https://t.example.org/{{ticket}}"),
        Button("quick_reply", "Dezabonare", payload="STOP_MKT"),
    ),
    examples={"first_name": "Ana", "event": "Concert", "order": "8841", "ticket": "T-8841"},
)
OTP_DRAFT = TemplateDraft(
    name="login_code",
    language="en_US",
    category="authentication",
    body="{{code}} is your code",
    buttons=(Button("otp", "Copy code"),),
    code_expiration_minutes=10,
    ttl_seconds=300,
)
PARAMETERS = {"first_name": "Ștefan", "event": "Concert & Co", "order": "8841", "ticket": "T-8841"}


def account(kind: type[Provider], base: str | None = None, **changed: str) -> Provider:
    """A provider with random credentials; every address below ``base`` when given, else the official ones."""
    credentials = kind.random_test_credentials(random.Random(7)) | changed
    urls = kind.official_urls if base is None else {part: f"{base}/{part}" for part in kind.official_urls}
    return kind(credentials, urls)


def outbound(provider: Provider, **changed: object) -> OutboundTemplate:
    """One message of ``DRAFT`` as the engine would hand it to the provider."""
    numbers = {name: str(n) for n, name in enumerate(("order", "first_name", "event", "ticket"), 1)}
    settings: dict = {
        "correlation_id": CORRELATION,
        "to": "+40722000001",
        "template_name": DRAFT.name,
        "language": DRAFT.language,
        "parameters": PARAMETERS,
        "header_variables": ["order"],
        "body_variables": ["first_name", "event"],
        "button_variables": [(0, "url", "ticket")],
        "parameter_map": numbers if provider.name == "twilio" else {name: name for name in numbers},
        "external_id": CONTENT_SID,
        "status_callback_url": "https://wa.example.org/api/wa/webhook/abc",
    }
    return OutboundTemplate(**(settings | changed))


def carries(body: bytes, text: str) -> bool:
    """Whether a JSON or form body carries the text, however it is quoted."""
    raw = body.decode()
    return text in raw or quote(text, safe="") in raw or quote(quote(text, safe=""), safe="") in raw


def each_provider(function):
    """Run a test for every provider that is registered."""
    kinds = {**all_providers(), Planted.name: Planted}
    return pytest.mark.parametrize("kind", kinds.values(), ids=kinds.keys())(function)


def parsed(provider: Provider, request: WebhookRequest) -> list[Item] | str:
    """The items of a webhook, or the reason why it is malformed; any other exception is a failure."""
    try:
        return provider.parse_webhook(request)
    except WebhookMalformed as malformed:
        return malformed.reason
