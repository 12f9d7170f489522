"""Every request any adapter can make, before judges from outside: published specifications and corrected schemas."""

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wa_dashboard.providers import base, meta_bodies, port, twilio_bodies
from wa_dashboard.providers.base import Button, Header, OutboundTemplate, Provider, TemplateDraft, provider_named

from . import oracle
from .calls import IMAGE, calls_of
from .oracle import problems_of
from .samples import CONTENT_SID, CORRELATION, account, needs_contracts
from .seen import Seen

KINDS = [provider_named(name) for name in ("meta_cloud", "dialog360", "twilio")]
TABLE = [(kind, call) for kind in KINDS for call in calls_of(kind)]
IDS = [f"{kind.name}-{call.method}-{call.name}" for kind, call in TABLE]
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
pytestmark = needs_contracts

# Public methods that make no request. Whatever else is public must be in the table of calls.py.
MAKES_NONE = {
    *("validate_credentials", "random_test_credentials", "sender_of", "account_keys", "identity", "class_of"),
    *("auth_headers", "read_send", "sent_id", "fault_in"),
    *("recognises", "account_keys_in", "verify_webhook", "challenge", "parse_webhook"),
}
# The means by which the others make theirs.
CARRY = {"request", "judged", "ask"}


@pytest.mark.parametrize(("kind", "call"), TABLE, ids=IDS)
def test_the_judges_find_nothing_wrong_with_a_request(kind, call):
    for seen, problems in call.judged(kind):
        assert problems == [], f"{seen.method} {seen.url} {seen.body[:2000]!r}"


@by_kind
def test_every_public_method_that_makes_a_request_is_in_the_table(kind):
    public = {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}
    tried = {call.method for call in calls_of(kind)}

    missing = sorted(public - tried - MAKES_NONE - CARRY)
    assert not missing, f"{kind.__name__}: put into tests/providers/calls.py (or MAKES_NONE): {', '.join(missing)}"
    assert not tried & (MAKES_NONE | CARRY)


@by_kind
def test_what_is_said_to_make_no_request_makes_none(kind):
    for name in MAKES_NONE & {name for name, _ in inspect.getmembers(kind, callable)}:
        source = inspect.getsource(getattr(kind, name))
        assert not re.search(r"self\.(request|ask)\(|carry\(|WireRequest\(", source), name


PROVIDERS = Path(base.__file__).parent


def places() -> dict[str, tuple[str, int, int]]:
    """Every place in the adapters where a request is made: ``file:line`` → file, first line, last line."""
    found = {}
    for path in sorted(PROVIDERS.glob("*.py")):
        if path.name in ("base.py", "transport.py"):  # the means, and the wire itself
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in ("request", "WireRequest"):
                    found[f"{path.name}:{node.lineno}"] = (str(path), node.lineno, node.end_lineno or node.lineno)
    return found


def test_the_table_reaches_every_line_that_makes_a_request(monkeypatch):
    reached = set()
    make = port.WireRequest.__init__

    def watched(self, *given, **named):
        frame = sys._getframe(1)
        while frame is not None:
            reached.add((frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
        make(self, *given, **named)

    monkeypatch.setattr(port.WireRequest, "__init__", watched)
    for kind, call in TABLE:
        call.requests(kind)

    everywhere = places()
    missed = [
        place
        for place, (file, first, last) in everywhere.items()
        if not any((file, line) in reached for line in range(first, last + 1))
    ]
    assert len(everywhere) > 20
    assert not missed, f"no call in tests/providers/calls.py gets to {', '.join(missed)}"


def test_metas_doors_are_those_it_publishes():
    ours = {(method, path) for method, path, _ in oracle.META_DOORS if path not in oracle.ONLY_IN_THE_PAPER}

    assert ours <= oracle.meta_doors_published() | {("GET", "{template}")}


# --- drafts and messages nobody thought of ------------------------------------------------------------------------

NAMES = ["first_name", "event", "place", "day", "seat_2"]
WORDS = st.sampled_from(
    ["Salut", "biletele", "sunt gata", "țară", "👍", "ora 20:00", "*îngroșat*", "50%", "„ghilimele”", "&"]
)
TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=30).filter(
    lambda text: text.strip() and len(text) <= 30
)


@st.composite
def drafts(draw) -> TemplateDraft:
    names = draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
    text = " ".join(["Bună,", *(f"{draw(WORDS)} {{{{{name}}}}}" for name in names), draw(WORDS)])
    header = draw(
        st.sampled_from([None, Header(text="Vești bune"), Header(text="Despre {{event}}"), IMAGE])
        | st.sampled_from(["video", "document"]).map(lambda kind: replace(IMAGE, kind=kind))
    )
    quick = [Button("quick_reply", f"Răspuns {n}", payload=f"P{n}") for n in range(draw(st.integers(0, 4)))]
    url = st.sampled_from(
        ["https://t.example.org/{{ticket}}", "https://t.example.org/program?z={{ticket}}", "https://e.ro/"]
    )
    links = [Button("url", f"Adresa {n}", url=draw(url)) for n in range(draw(st.integers(0, 2)))]
    phone = draw(st.sampled_from([[], [Button("phone", "Sună", phone="+40310000000")]]))
    code = draw(st.sampled_from([[], [Button("copy_code", "Copiază", example="VARA26")]]))
    others = [*links, *phone, *code]
    return TemplateDraft(
        name=draw(st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True)),
        language=draw(st.sampled_from(["ro", "en", "en_US", "en-gb", "pt_BR", "fil"])),
        category=draw(st.sampled_from(["utility", "marketing"])),
        body=text,
        header=header,
        footer=draw(st.sampled_from(["", "Scrie STOP pentru dezabonare"])),
        buttons=tuple([*quick, *others] if draw(st.booleans()) else [*others, *quick]),
        examples={name: draw(TEXTS) for name in [*NAMES, "ticket"]},
        ttl_seconds=draw(st.none() | st.just(43_200)),
    )


def message_of(draft: TemplateDraft, provider: Provider, values: dict[str, str], to: str) -> OutboundTemplate:
    """The message that an approved draft asks for, as `services.outbound` fills it in."""
    bodies = twilio_bodies if provider.name == "twilio" else meta_bodies
    media = draft.header if draft.header is not None and draft.header.kind != "text" else None
    urls = [(place, button) for place, button in enumerate(draft.buttons) if "{{" in button.url]
    return OutboundTemplate(
        correlation_id=CORRELATION,
        to=to,
        template_name=draft.name,
        language=draft.language,
        parameters=values,
        header_variables=base_variables(draft.header.text) if draft.header is not None else [],
        body_variables=base_variables(draft.body),
        button_variables=[(place, "url", "ticket") for place, _ in urls],
        button_payloads={place: b.payload for place, b in enumerate(draft.buttons) if b.payload},
        parameter_map=bodies.parameter_map(draft),
        external_id=CONTENT_SID,
        status_callback_url="https://wa.example.org/api/wa/webhook/abc",
        header=media if provider.name != "twilio" else None,
    )


def base_variables(text: str) -> list[str]:
    return re.findall(r"\{\{(\w+)\}\}", text)


@by_kind
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    draft=drafts(),
    values=st.fixed_dictionaries(dict.fromkeys([*NAMES, "ticket"], TEXTS)),
    to=st.sampled_from(["+40722000001", "RO.1349", "40722000001"]),
)
def test_drafts_and_messages_nobody_thought_of(kind, draft, values, to):
    provider = account(kind)
    creations = {
        "meta_cloud": lambda: f"{provider.graph}/{provider.keys['waba_id']}/message_templates",
        "dialog360": lambda: f"{provider.urls['api']}/v1/configs/templates",
        "twilio": lambda: f"{provider.urls['content']}/v1/Content",
    }
    bodies = twilio_bodies if kind.name == "twilio" else meta_bodies
    create = provider.request("POST", creations[kind.name](), payload=bodies.create_body(draft))
    send = provider.build_send(message_of(draft, provider, values, to))

    for request in (create, send):
        assert problems_of(provider, Seen.built(request)) == [], request.body.decode()
    if kind.name == "twilio":  # what the content uses, every message fills
        form = dict(parse_qsl(send.body.decode()))
        assert (
            json.loads(form.get("ContentVariables", "{}")).keys() == json.loads(create.body).get("variables", {}).keys()
        )


# --- the judges themselves: each mistake is noticed --------------------------------------------------------------


def first(kind: type[Provider], method: str, name: str = "") -> Seen:
    call = next(call for call in calls_of(kind) if call.method == method and (not name or call.name == name))
    return call.requests(kind)[-1]


def json_mistakes(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A key left out, misspelt, or of another type: at the top, and in each component."""
    for key in body:
        yield f"no {key}", {k: v for k, v in body.items() if k != key}
        yield f"misspelt {key}", {(k + "x" if k == key else k): v for k, v in body.items()}
        yield f"{key} of another type", {**body, key: 7.5}


@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: kind.name)
@pytest.mark.parametrize("method", ["build_send", "submit_template"])
def test_the_judge_notices_every_mistake_in_a_body_of_meta(kind, method):
    seen = first(kind, method, "everything")
    provider = account(kind)
    unnoticed = [
        what
        for what, body in json_mistakes(seen.json)
        if not problems_of(provider, replace(seen, body=json.dumps(body).encode()))
    ]

    assert problems_of(provider, seen) == []
    assert unnoticed == ["no recipient_type"] * (method == "build_send")  # Meta's own default


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("everything", '"index":"0"', '"index":0'),
        ("everything", '"sub_type":"url"', '"sub_type":"link"'),
        ("everything", '"parameter_name":"event",', ""),
        ("everything", '"to":"+40', '"to":"40'),
        ("everything", '"to":"+40722000001"', '"to":"+40722000001","recipient":"RO.1"'),
        ("everything", '"code":"ro"', '"code":"ro-RO"'),
        ("everything", "Concert & Co", "Concert\\nCo"),
        ("everything", "Concert & Co", "Concert     Co"),
        ("image by link", '"link"', '"url"'),
        ("image by media_id", '"id":"123"', '"id":"123","link":"https://h/"'),
        ("a place", '"latitude"', '"lat"'),
        ("a code", '"type":"text","text":"123456"', '"type":"coupon_code","text":"123456"'),
    ],
)
def test_the_judge_notices_a_mistake_in_a_message(name, old, new):
    seen = first(KINDS[0], "build_send", name)
    body = seen.body.decode()
    assert old in body

    assert problems_of(account(KINDS[0]), replace(seen, body=body.replace(old, new).encode())) != []


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("everything", '"param_name":"event"', '"param_name":"events"'),
        ("everything", "{{event}}", "{{eveniment}}"),
        ("everything", '"NAMED"', '"POSITIONAL"'),
        ("everything", '"name":"order_confirmed"', '"name":"Order"'),
        ("everything", "org/{{1}}", "org/{{1}}/x"),
        ("everything", "Scrie STOP", "Scrie {{stop}}"),
        ("picture", '["4::aW"]', '[""]'),
        ("coupon", '"COPY_CODE"', '"COUPON"'),
        ("code", '"OTP"', '"URL"'),
        ("code", '"add_security_recommendation":true', '"text":"{{1}}"'),
        ("lifetime", "3600", '"3600"'),
    ],
)
def test_the_judge_notices_a_mistake_in_a_template(name, old, new):
    seen = first(KINDS[1], "submit_template", name)
    body = seen.body.decode()
    assert old in body

    assert problems_of(account(KINDS[1]), replace(seen, body=body.replace(old, new).encode())) != []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("To", None),
        ("To", "+40722000001"),
        ("From", "+40310000001"),
        ("From", None),
        ("ContentSid", "HX1"),
        ("ContentVariables", '{"1":1}'),
        ("ContentVariable", "{}"),
        ("Body", "Salut"),
        ("StatusCallback", "https://wa_dashboard.example.org/?mid=1"),
        ("StatusCallback", "https://wa.example.org/hook"),
        ("ValidityPeriod", "soon"),
    ],
)
def test_the_judge_notices_a_mistake_in_twilios_form(key, value):
    seen = first(KINDS[2], "build_send", "everything")
    form = {**dict(parse_qsl(seen.body.decode())), key: value}
    spoilt = replace(seen, body=urlencode({k: v for k, v in form.items() if v is not None}).encode())

    assert problems_of(account(KINDS[2]), seen) == []
    assert problems_of(account(KINDS[2]), spoilt) != []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"language":"ro"', '"lang":"ro"'),
        ('"whatsapp/card"', '"whatsapp/kard"'),
        ('"header_text"', '"header"'),
        ('"type":"URL"', '"type":"LINK"'),
        ('"title":"Dezabonare"', '"text":"Dezabonare"'),
        ('"2":"Ana"', '"2":7'),
        ('"4":"T-8841"', '"5":"T-8841"'),
        ('"4":"T-8841"', '"4":"T-8841","5":"x"'),
    ],
)
def test_the_judge_notices_a_mistake_in_twilios_content(old, new):
    call = next(c for c in calls_of(KINDS[2]) if (c.method, c.name) == ("submit_template", "everything"))
    seen = call.requests(KINDS[2])[0]
    body = seen.body.decode()
    assert old in body

    assert problems_of(account(KINDS[2]), replace(seen, body=body.replace(old, new).encode())) != []


@by_kind
def test_the_judge_notices_a_wrong_address_and_a_missing_proof(kind):
    seen, provider = first(kind, "build_send", "everything"), account(kind)
    elsewhere = [
        replace(seen, method="PUT"),
        replace(seen, url=seen.url.replace("essages", "esage")),
        replace(seen, url=seen.url.replace("https://", "http://")),
        replace(seen, headers={k: v for k, v in seen.headers.items() if k not in ("authorization", "d360-api-key")}),
        replace(seen, headers={**seen.headers, "content-type": "text/plain"}),
    ]

    assert problems_of(provider, seen) == []
    assert all(problems_of(provider, wrong) for wrong in elsewhere)


@by_kind
def test_the_judge_notices_a_wrong_query(kind):
    seen, provider = first(kind, "list_templates", "one page"), account(kind)

    assert problems_of(provider, seen) == []
    assert problems_of(provider, replace(seen, url=seen.url + "&colour=red"))
    if kind.name == "meta_cloud":
        assert problems_of(provider, replace(seen, url=seen.url.replace("rejected_reason", "rejection_reason")))
        deleted = first(kind, "delete_template", "by id")
        assert problems_of(provider, replace(deleted, url=re.sub(r"&hsm_id=\d+", "", deleted.url)))
