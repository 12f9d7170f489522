"""No route shows or changes another organisation's things (test-catalogue S1).

The matrix is made from the URL map: a route that is not written down here fails. Every case is asked by somebody
else, with a good key or a signed-in browser, and with the owner's real ids wherever a route takes one.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import inspect, select, update
from werkzeug.test import TestResponse

from tests import factories
from tests.factories import ReadyTenant
from tests.support import codes
from wa_dashboard.db import Base, TenantRow, all_tenants, db, tenant_scope, transaction
from wa_dashboard.models import Contact, Message, ProviderAccount
from wa_dashboard.services import lifecycle, tenants
from wa_dashboard.services.messages import Filters, search

CANARIES = ("Kanarienvogel", "KanaryOrder", "Kanarina", "KanaryGala", "kanarytext", "kanary-meta", "722999111")
PHONE = "+40722999111"
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Case:
    """One question about somebody else's things. ``{name}`` in query, body and form is replaced by the owner's id.

    ``statuses``: what may come back. ``seen``: the owner asking the same does see a canary.
    """

    statuses: tuple[int, ...] = (404,)
    query: str = ""
    body: dict[str, Any] | None = None
    form: dict[str, str] | None = None
    htmx: bool = False
    seen: bool = False
    path: dict[str, str] = field(default_factory=dict)


READ, GONE, TO_LOGIN = (200,), (404,), (302, 303)
CASES: dict[tuple[str, str], list[Case]] = {
    # --- API ---
    ("api.messages.index", "GET"): [
        Case(seen=True),
        Case(READ, "?order_id=KanaryOrder", path={"tenant_id": "{own_tenant_id}"}),
        Case(READ, "?phone=%2B40722999111", path={"tenant_id": "{own_tenant_id}"}),
        Case(READ, "?account={account_id}&event_ref=KanaryGala", path={"tenant_id": "{own_tenant_id}"}),
        Case(READ, "?include=attempts,events,cost,count", path={"tenant_id": "{own_tenant_id}"}),
        Case((400,), "?cursor={cursor}", path={"tenant_id": "{own_tenant_id}"}),
    ],
    ("api.messages.show", "GET"): [Case(seen=True), Case(path={"tenant_id": "{own_tenant_id}"})],
    ("api.messages.cancel", "POST"): [Case(body={}), Case(body={}, path={"tenant_id": "{own_tenant_id}"})],
    ("api.stuck.retry_one", "POST"): [
        Case(body={}),
        Case(body={}, path={"tenant_id": "{own_tenant_id}"}),
        Case(body={"account": "{account_id}"}, path={"tenant_id": "{own_tenant_id}"}),
    ],
    ("api.stuck.index", "GET"): [
        Case(query="?cause=not_on_whatsapp", seen=True),
        Case(READ, "?cause=not_on_whatsapp", path={"tenant_id": "{own_tenant_id}"}),
        Case(READ, path={"tenant_id": "{own_tenant_id}"}),
        Case((400,), "?cause=not_on_whatsapp&cursor={cursor}", path={"tenant_id": "{own_tenant_id}"}),
    ],
    **{
        (f"api.stuck.{verb}", "POST"): [
            Case(body={"cause": "not_on_whatsapp"}),
            Case(READ, body={"cause": "not_on_whatsapp"}, path={"tenant_id": "{own_tenant_id}"}),
            Case(body={"message_ids": ["{message_id}"]}, path={"tenant_id": "{own_tenant_id}"}),
        ]
        for verb in ("retry", "close", "reopen")
    },
    ("api.accounts.index", "GET"): [Case(seen=True)],
    ("api.accounts.drill", "GET"): [Case(seen=True), Case(path={"tenant_id": "{own_tenant_id}"})],
    ("api.accounts.limits", "GET"): [Case()],
    ("api.orders.confirm", "POST"): [
        Case((202, 200), body=factories.order("KanaryOrder", PHONE, metadata={})),
        Case((422,), body=factories.order("A-9", PHONE) | {"template": {"name": "kanarytemplate"}}),
        Case((422,), body=factories.order("A-9", PHONE) | {"tenant_id": "{tenant_id}"}),
    ],
    ("api.codes.send", "POST"): [Case((202,), body={"phone": "+40722123456"})],
    ("api.codes.verify", "POST"): [
        Case(READ, body={"phone": PHONE, "code": "{code}"}),
        Case(READ, body={"phone": PHONE, "code": "{code}", "purpose": "checkout"}),
        Case((422,), body={"phone": PHONE, "code": "{code}", "tenant_id": "{tenant_id}"}),
    ],
    ("api.optin.post_optin", "POST"): [
        Case((200, 201), body={"phone": PHONE, "status": "opted_out", "source": "api", "purposes": ["marketing"]}),
        Case((422,), body={"phone": PHONE, "status": "opted_out", "source": "api", "contact": "{contact_id}"}),
    ],
    ("api.templates.save", "POST"): [
        Case(
            (404, 422),
            body={
                "name": "mine", "type": "order_confirm", "language": "ro", "category": "utility",
                "body": "Bună, {first_name}! Totul este în regulă, mulțumim.", "examples": {"first_name": "Ana"},
                "accounts": ["{account_id}"], "submit": True,
            },
        ),
    ],
    ("api.templates.check", "POST"): [
        # The very text of theirs, which the lint would name if it saw it.
        Case(
            (200,),
            body={
                "name": "mine", "type": "order_confirm", "language": "ro",
                "body": "Bună, {first_name}! Aici e kanarytext pentru {order_id}, mulțumim.",
            },
        ),
    ],
    ("api.templates.index", "GET"): [Case(READ), Case(READ, "?name=kanarytemplate&versions=all")],
    ("api.templates.show", "GET"): [Case(seen=True)],
    ("api.webhook.receive", "POST"): [Case((401, 403), body={"entry": [], "object": "{account_id}"})],
    ("api.webhook.challenge", "GET"): [Case((403,), "?hub.mode=subscribe&hub.verify_token=x&hub.challenge=1")],
    # --- pages ---
    ("web.overview", "GET"): [Case(READ), Case(READ, htmx=True)],
    ("web.overview_numbers", "GET"): [Case(READ), Case(READ, htmx=True)],
    ("web.overview_needs", "GET"): [Case(READ), Case(READ, htmx=True)],
    ("web.overview_senders", "GET"): [Case(READ), Case(READ, htmx=True)],
    ("web.senders", "GET"): [Case(READ)],
    ("web.sender_health", "GET"): [Case(), Case(htmx=True)],
    ("web.check_sender", "POST"): [Case(form={}), Case(form={}, htmx=True)],
    ("web.sender", "GET"): [Case(seen=True)],
    ("web.register_webhook", "POST"): [Case(form={})],
    ("web.going_live", "GET"): [Case(READ)],
    ("web.go_live", "POST"): [Case((422,), form={"live": "1", "password": PASSWORD, "tenant_id": "{tenant_id}"})],
    ("web.submit_live_templates", "POST"): [Case((303,), form={"tenant_id": "{tenant_id}"})],
    ("web.sender_off", "GET"): [Case(seen=True)],
    ("web.switch_sender", "POST"): [Case(form={"on": "0"}), Case(form={"on": "1"}, htmx=True)],
    ("web.sender_keys", "GET"): [Case(seen=True)],
    ("web.replace_keys", "POST"): [Case(form={"access_token": "stolen-token-stolen-token", "password": PASSWORD})],
    ("web.new_sender", "GET"): [Case(READ), Case(READ, "?provider=twilio&mode=live")],
    ("web.add_sender", "POST"): [
        Case((303,), form={"provider": "twilio", "tenant_id": "{tenant_id}"}),
        Case((303,), form={"provider": "{account_id}"}),
    ],
    ("web.failover_order", "GET"): [Case(READ)],
    ("web.set_failover", "POST"): [Case((303,), form={"on": "0", "tenant_id": "{tenant_id}"})],
    ("web.move_sender", "POST"): [Case(form={"to": "up"}), Case(form={"to": "down"}, htmx=True)],
    ("web.failover_drill", "GET"): [Case(seen=True)],
    ("web.limits", "GET"): [Case(READ)],
    ("web.limits_use", "GET"): [Case((303,)), Case(READ, htmx=True)],
    ("web.limits_effect", "POST"): [Case(READ, form={"rate_per_minute": "1", "rate_per_hour": "2"})],
    ("web.set_limits", "POST"): [Case((303,), form={"rate_per_minute": "1", "rate_per_hour": "2"})],
    ("web.set_sender_limits", "POST"): [Case(form={"rate_per_second": "1", "tier_limit": "2"})],
    ("web.messages", "GET"): [
        Case(READ), Case(READ, "?q=KanaryOrder"), Case(READ, "?q=Kanarina", htmx=True), Case(READ, "?q=0722999111"),
        Case(READ, "?q={message_id}"),
    ],
    ("web.new_messages", "GET"): [Case((200, 204, 286), "?since=0", htmx=True)],
    ("web.message", "GET"): [Case(seen=True), Case(htmx=True)],
    ("web.cancel_message", "POST"): [Case(form={}), Case(form={}, htmx=True)],
    ("web.send_message_again", "POST"): [Case(form={"reason": "lost"}), Case(form={"reason": "lost"}, htmx=True)],
    ("web.problem_groups", "GET"): [Case(READ), Case(READ, htmx=True)],
    ("web.problem_count", "GET"): [Case(READ), Case(READ, "?where=menu", htmx=True)],
    ("web.problem_cause", "GET"): [Case(READ), Case(READ, htmx=True)],
    ("web.problem_archive", "GET"): [Case(READ), Case(READ, htmx=True)],
    ("web.decide_problems", "POST"): [
        Case(form={"act": "retry", "id": "{message_id}"}),
        Case(form={"act": "close", "id": "{message_id}", "note": "mine"}),
        Case(form={"act": "reopen", "id": "{message_id}"}),
        Case(form={"act": "through", "id": "{message_id}", "account": "{account_id}"}, htmx=True),
        Case((303,), form={"act": "retry", "all": "1", "cause": "not_on_whatsapp"}),
        Case((303,), form={"act": "close", "all": "1", "cause": "not_on_whatsapp"}),
    ],
    ("web.send_through", "POST"): [Case(form={"account": "{account_id}"})],
    ("web.change_number", "GET"): [Case()],
    ("web.set_number", "POST"): [Case(form={"phone": PHONE, "agreed": "1"})],
    ("web.templates", "GET"): [Case(READ)],
    ("web.template", "GET"): [Case(seen=True)],
    ("web.template_packs", "GET"): [Case(READ)],
    ("web.install_pack", "POST"): [Case(TO_LOGIN, form={"language": "ro"}, path={"key": "theatre"})],
    ("web.new_template", "GET"): [Case(READ), Case(query="?copy={template_id}&language=en", seen=True)],
    ("web.add_template", "POST"): [Case((303,), form={"name": "kanarytemplate", "language": "ro"})],
    ("web.edit_template", "GET"): [Case(seen=True)],
    ("web.change_template", "POST"): [Case(form={"body": "Alt text."})],
    ("web.preview_template", "POST"): [Case(READ, form={"body": "Text."}), Case(form={"id": "{template_id}"})],
    ("web.before_sending", "GET"): [Case(seen=True)],
    ("web.submit_template", "POST"): [Case(form={})],
    ("web.install_starters", "POST"): [Case((*READ, *TO_LOGIN), form={"tenant_id": "{tenant_id}"})],
    ("web.connect", "GET"): [Case(READ)],
    ("web.send_test", "GET"): [Case(READ)],
    ("web.do_send_test", "POST"): [Case((303, 422), form={"phone": PHONE, "token": "{message_id}"})],
    ("web.test_phone", "GET"): [Case((*READ, *TO_LOGIN))],
    ("web.phone_of", "GET"): [Case(seen=True), Case(htmx=True)],
    ("web.answer_on_phone", "POST"): [Case(form={"text": "STOP"}), Case(form={"text": "STOP"}, htmx=True)],
}  # fmt: skip

# Routes that show nobody's things, or only what the caller brings along: each is a decision.
NOBODYS = {
    "assets.serve": "files of the product",
    "health.healthz": "the process",
    "health.readyz": "the process",
    "health.metrics": "sums over all, from loopback or with a token",
    "problems.index": "the codes of the API",
    "problems.show": "the codes of the API",
    "calendar.event": "the signature in the link is the proof; nobody in particular is in the file",
    "web.welcome": "a single-use token of 256 bits is the proof",
    "web.accept_welcome": "the same",
    "web.sign_in": "nobody is signed in yet",
    "web.check_sign_in": "the same",
    "web.sign_out": "ends the browser's own session",
    "web.switch_language": "a cookie of this browser",
    "web.home": "leads to the overview",
    "web.settings": "leads to the first page of the settings",
}


def routes(app: Flask) -> Iterator[tuple[str, str, Any]]:
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule.endpoint, method, rule


def test_every_route_is_in_the_matrix(sqlite_app: Flask) -> None:
    known = {(endpoint, method) for endpoint, method, _ in routes(sqlite_app)}
    asked = {pair for pair in known if pair[0] not in NOBODYS}

    assert asked - set(CASES) == set(), "write down what a stranger gets there"
    assert set(CASES) - known == set(), "these routes are gone"
    assert set(NOBODYS) - {endpoint for endpoint, _ in known} == set()


@pytest.fixture
def owner(client: FlaskClient, app: Flask) -> ReadyTenant:
    """Somebody with things to lose: a template, a person, consent, a message with a try and a story."""
    owner = factories.make_tenant("Kanarienvogel SRL", "kanary@example.org")
    factories.make_template(owner)
    factories.make_template(
        owner, "kanarytemplate", body="Bună, {first_name}! Aici e kanarytext pentru {order_id}, mulțumim."
    )
    body = factories.order("KanaryOrder", PHONE, template={"name": "kanarytemplate"}, metadata={"note": "kanary-meta"})
    body["recipient"] |= {"first_name": "Kanarina"}
    body["event"] |= {"ref": "KanaryGala", "name": "KanaryGala"}
    answer = client.post("/api/wa/send/confirm", json=body, headers=owner.headers | {"Idempotency-Key": "kanary"})
    assert answer.status_code == 202, answer.text
    tenants.create_user(owner.tenant, "kanary-user@example.org", "owner", PASSWORD)
    with tenant_scope(owner.id), transaction():
        db.session.execute(update(ProviderAccount).values(label="Kanarina"))
        lifecycle.bury(owner.id, answer.json["message"]["id"], "131026", "kanary-meta", "recipient")  # type: ignore[index]
    return owner


@pytest.fixture
def stranger(app: Flask) -> ReadyTenant:
    stranger = factories.make_tenant("Alt organizator", "other@example.org")
    factories.make_template(stranger)
    codes.make_template(stranger)
    tenants.create_user(stranger.tenant, "stranger@example.org", "owner", PASSWORD)
    return stranger


def ids_of(owner: ReadyTenant, client: FlaskClient) -> dict[str, str]:
    """The owner's ids, by the names that routes give them."""
    with tenant_scope(owner.id):
        found = search(owner.tenant, Filters()).rows[0]
    page = client.get(f"/api/wa/messages/{owner.id}?updated_since=2020-01-01T00:00:00Z", headers=owner.headers)
    assert page.json is not None
    return {
        "tenant_id": owner.id,
        "message_id": found.message.id,
        "contact_id": found.contact.id,
        "template_id": found.template.id if found.template else "",
        "account_id": owner.account.id,
        "account_token": owner.account.webhook_token,
        "cause": "not_on_whatsapp",
        "cursor": cursor_of(owner, client),
        "code": code_of(owner, client),
    }


def code_of(owner: ReadyTenant, client: FlaskClient) -> str:
    """A live code of the owner's, to a number the stranger writes to as well."""
    codes.make_template(owner)
    answer = client.post("/api/wa/send/otp", json={"phone": PHONE}, headers=owner.headers)
    return codes.code_in(answer.json["message"]["id"])  # type: ignore[index]


def cursor_of(owner: ReadyTenant, client: FlaskClient) -> str:
    """A cursor the owner was given, from a list of two."""
    client.post("/api/wa/send/confirm", json=factories.order("KanaryOrder2", PHONE), headers=owner.headers)
    page = client.get(f"/api/wa/messages/{owner.id}?limit=1", headers=owner.headers)
    return str(page.json["page"]["next"])  # type: ignore[index]


@pytest.mark.parametrize("rim", ["api", "web"])
def test_a_stranger_finds_nothing(rim: str, app: Flask, owner: ReadyTenant, stranger: ReadyTenant) -> None:
    ids = ids_of(owner, app.test_client()) | {"own_tenant_id": stranger.id}
    before = rows_of(owner)
    browser = signed_in(app, "stranger@example.org")

    for name, case, answer in asked_by(stranger, browser, app, ids, rim):
        assert answer.status_code in case.statuses, f"{name} {case}: {answer.status_code} {answer.text[:300]}"
        leaked = [word for word in CANARIES if word in answer.text and word not in said(case, ids)]
        assert leaked == [], f"{name} {case}: {leaked}"
    assert rows_of(owner) == before


@pytest.mark.parametrize("rim", ["api", "web"])
def test_the_owner_sees_what_the_stranger_did_not(rim: str, app: Flask, owner: ReadyTenant) -> None:
    """Otherwise the test above would prove nothing."""
    ids = ids_of(owner, app.test_client()) | {"own_tenant_id": owner.id}
    browser = signed_in(app, "kanary-user@example.org")
    looked = 0

    for name, case, answer in asked_by(owner, browser, app, ids, rim):
        if case.seen:
            looked += 1
            assert answer.status_code == 200, f"{name}: {answer.status_code}"
            assert any(word in answer.text for word in CANARIES), name
    assert looked >= 3


def asked_by(
    who: ReadyTenant, browser: "Browser", app: Flask, ids: dict[str, str], rim: str
) -> Iterator[tuple[str, Case, TestResponse]]:
    for endpoint, method, rule in routes(app):
        if (endpoint, method) not in CASES or not endpoint.startswith(f"{rim}."):
            continue
        for case in CASES[endpoint, method]:
            url = filled(
                rule.rule, rule.arguments, ids | {name: word.format(**ids) for name, word in case.path.items()}
            )
            url += case.query.format(**ids)
            if endpoint.startswith("api."):
                body = None if case.body is None else replaced(case.body, ids)
                yield endpoint, case, app.test_client().open(url, method=method, json=body, headers=who.headers)
            else:
                yield endpoint, case, browser.ask(method, url, case, ids)


def filled(rule: str, arguments: set[str], ids: dict[str, str]) -> str:
    return re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", lambda name: ids[name[1]], rule) if arguments else rule


def replaced(value: Any, ids: dict[str, str]) -> Any:
    """The value with ``{tenant_id}`` and its like filled in; other braces stay."""
    if isinstance(value, str):
        return ids.get(value[1:-1], value) if value.startswith("{") and value.endswith("}") else value
    if isinstance(value, dict):
        return {key: replaced(item, ids) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, ids) for item in value]
    return value


def said(case: Case, ids: dict[str, str]) -> str:
    """What the stranger brought along himself: it may come back to him."""
    return f"{case.query} {replaced(case.body, ids)} {replaced(case.form, ids)}"


def rows_of(owner: ReadyTenant) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the owner, to see that none was touched."""
    db.session.remove()
    found: dict[str, list[tuple[object, ...]]] = {}
    with all_tenants("the test compares"):
        for mapper in Base.registry.mappers:
            if not issubclass(mapper.class_, TenantRow):
                continue
            columns = [column.key for column in inspect(mapper.class_).column_attrs if column.key != "last_used_at"]
            rows = db.session.scalars(select(mapper.class_).where(mapper.class_.tenant_id == owner.id))
            found[mapper.class_.__name__] = sorted(
                (tuple(getattr(row, name) for name in columns) for row in rows), key=repr
            )
        db.session.remove()
    assert sum(map(len, found.values())) > 10
    return found


@dataclass(frozen=True)
class Browser:
    """A signed-in browser that sends the token of its page with every form.

    Each request gets an application context of its own, as in a server: what one leaves behind in ``g`` (the CSRF
    token, for one) is not there for the next.
    """

    app: Flask
    client: FlaskClient

    def open(self, url: str, **what: Any) -> TestResponse:
        with self.app.app_context():
            return self.client.open(url, **what)

    def ask(self, method: str, url: str, case: Case, ids: dict[str, str]) -> TestResponse:
        headers = {"HX-Request": "true"} if case.htmx else {}
        if method == "GET":
            return self.open(url, headers=headers)
        form = {"csrf_token": self.token("/overview"), **(replaced(case.form, ids) or {})}
        return self.open(url, method=method, data=form, headers=headers)

    def token(self, page: str) -> str:
        found = re.search(r'name="csrf-token" content="([^"]+)"', self.open(page).text)
        assert found
        return found[1]


def signed_in(app: Flask, email: str) -> Browser:
    browser = Browser(app, app.test_client())
    form = {"email": email, "password": PASSWORD, "csrf_token": browser.token("/sign-in")}
    answer = browser.open("/sign-in", method="POST", data=form)
    assert answer.status_code == 303, answer.text
    return browser


# --- below the routes -------------------------------------------------------------------------------------------

ATTACKS: dict[str, Callable[[str], object]] = {
    "read": lambda victim: db.session.scalars(select(Message).where(Message.tenant_id == victim)).all(),
    "read by id": lambda victim: db.session.scalar(select(Message).where(Message.id == victim)),
    "read a joined row": lambda victim: db.session.execute(
        select(Contact.id).join(Message, Message.contact_id == Contact.id).where(Message.id == victim)
    ).all(),
    "cancel": lambda victim: lifecycle.cancel_waiting(victim, "x", message_ids=[victim]),
}


def test_the_session_hides_what_a_forgotten_filter_would_show(
    app: Flask, owner: ReadyTenant, stranger: ReadyTenant
) -> None:
    """The verbs' own filters are the first wall; this is the second, which needs nobody to remember it."""
    with tenant_scope(owner.id):
        message = db.session.scalars(select(Message)).one()
    for name, attack in ATTACKS.items():
        for victim in (owner.id, message.id):
            with tenant_scope(stranger.id), transaction():
                assert not attack(victim), name
