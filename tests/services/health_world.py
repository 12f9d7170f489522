"""A provider that answers what a test tells it to, over real HTTP, and messages on their way to it."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select, update

from tests.support.rows import make_message, put_in_outbox
from wa_dashboard.db import TenantScopeMissing, all_tenants, db, db_now, tenant_scope, transaction
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.models import (
    AccountEvent,
    Attempt,
    Breaker,
    Message,
    MessageEvent,
    Outbox,
    ProviderAccount,
    TemplateApproval,
)
from wa_dashboard.services import consent_log, contacts, delivery, settlement

DOWN = (503, {"error": {"code": 131016, "message": "Service unavailable", "type": "OAuthException"}})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # the five of the library are refused connections, which looks like a doubt


class FarEnd:
    """``answer``: what a send gets, (status, body) or None for a connection that is closed; ``look``: what a GET gets.

    With ``answer`` unset a send is accepted. ``sends`` and ``looks`` hold the requests, ``most_looks`` how many
    looks were ever under way at once.
    """

    def __init__(self):
        self.answer = None
        self.look = (200, {"id": "1"})
        self.slow_look = 0.0
        self.sends, self.looks = [], []
        self.most_looks = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self._count = 0

    def send(self, path, body):
        with self._lock:
            self.sends.append(body)
            self._count += 1
            number = self._count
        if self.answer is not None:
            return self.answer
        if path.endswith("Messages.json"):
            return 201, {"sid": f"SM{id(self):x}{number:010d}", "status": "queued"}
        return 200, {"messages": [{"id": f"wamid.{id(self)}.{number}"}]}

    def peek(self, path):
        with self._lock:
            self.looks.append(path)
            self._under_way += 1
            self.most_looks = max(self.most_looks, self._under_way)
        if self.slow_look:
            threading.Event().wait(self.slow_look)
        with self._lock:
            self._under_way -= 1
        return self.look


def _handler(far):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._say(far.peek(self.path))

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._say(far.send(self.path, body.decode()))

        def _say(self, answer):
            if answer == "close":
                self.close_connection = True
                return
            status, body = answer
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def far_end_at(app, *providers):
    """The test accounts of these providers send to a far end of ours inside the block."""
    far = FarEnd()
    server = _Server(("127.0.0.1", 0), _handler(far))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    before = app.extensions["wa_settings"]
    url = f"http://127.0.0.1:{server.server_port}"
    words = {"meta_cloud": "META", "twilio": "TWILIO", "dialog360": "DIALOG360"}
    changed = {
        name: url if any(words[p] in name.upper() for p in providers) else there
        for name, there in before.test_urls.items()
    }
    app.extensions["wa_settings"] = replace(before, test_urls=changed)
    try:
        yield far
    finally:
        app.extensions["wa_settings"] = before
        server.shutdown()
        server.server_close()


@pytest.fixture
def far(app):
    """Meta, as this test wants it."""
    with far_end_at(app, "meta_cloud") as far:
        yield far


@pytest.fixture
def standby_far(app, far):
    """Twilio, as this test wants it."""
    with far_end_at(app, "twilio") as other:
        yield other


def queue(ready, template, count=1, first=0, account=None, **what):
    """Messages that wait for the tenant's account (or another of its accounts); their ids."""
    ids = []
    with tenant_scope(ready.id), transaction():
        for number in range(first, first + count):
            asked = consent_log.ConsentRequest(
                status="opted_in",
                source="checkout",
                phone=to_e164(f"+4072200{number:04d}"),
                purposes=("transactional", "reminder", "marketing"),
                wording_id="v1",
            )
            contact = consent_log.record(ready.tenant, asked, "test").contact
            message = make_message(ready, contact, template=template, **what)
            if account is not None:
                message.account_id, message.provider = account.id, account.provider
                db.session.flush()
            put_in_outbox(message)
            ids.append(message.id)
    return ids


def contact_of(ready, number=0):
    return contacts.contact_for(ready.tenant, to_e164(f"+4072200{number:04d}"))


def approve(ready, template, account, status="approved"):
    """The template's approval at another account of the tenant."""
    with tenant_scope(ready.id), transaction():
        first = db.session.scalars(select(TemplateApproval).where(TemplateApproval.template_id == template.id)).first()
        db.session.add(
            TemplateApproval(
                id=f"tap_{template.id[-20:]}{account.id[-6:]}",
                tenant_id=ready.id,
                template_id=template.id,
                account_id=account.id,
                status=status,
                status_at=first.status_at,
                external_id=f"HX{account.id[-10:]}",
                category="utility",
                parameter_map={"first_name": "1", "order_id": "2", "event_name": "3"},
            )
        )


def settle(ready, template, answers, first=0, account=None):
    """Send one message for each of these outcomes, without a wire; the ids of the messages."""
    ids = queue(ready, template, len(answers), first, account)
    lane = delivery.open_lane((account or ready.account).id)
    with tenant_scope(ready.id):
        begun = delivery.begin(lane, delivery.claim(lane, len(answers)))
        settlement.settle(lane.account, list(zip(begun, answers, strict=True)), delivery.pace())
    return ids


def make_due(ready):
    """All that is queued is due now."""
    with tenant_scope(ready.id), transaction():
        db.session.execute(update(Outbox).where(Outbox.state == "queued").values(next_at=db_now(-1)))


def look_now(account_id):
    """The account's next look is due."""
    with all_tenants("test"), transaction():
        db.session.execute(update(Breaker).where(Breaker.account_id == account_id).values(retry_at=db_now(-1)))


def breaker_of(account):
    return _fresh(select(Breaker).where(Breaker.account_id == account.id))


def account_of(account):
    return _fresh(select(ProviderAccount).where(ProviderAccount.id == account.id))


def message_of(message_id):
    return _fresh(select(Message).where(Message.id == message_id))


def outbox_of(message_id):
    return _fresh(select(Outbox).where(Outbox.message_id == message_id))


def _fresh(wanted):
    try:
        scope = all_tenants("test")
        scope.__enter__()
    except TenantScopeMissing:  # the test stands in a tenant's scope
        return db.session.scalar(wanted, execution_options={"populate_existing": True})
    row = db.session.scalar(wanted, execution_options={"populate_existing": True})
    db.session.commit()
    scope.__exit__(None, None, None)
    return row


def attempts_of(message_id):
    with all_tenants("test"):
        wanted = select(Attempt).where(Attempt.message_id == message_id).order_by(Attempt.attempt_no)
        return list(db.session.scalars(wanted, execution_options={"populate_existing": True}))


def story_of(message_id):
    with all_tenants("test"):
        wanted = select(MessageEvent.kind).where(MessageEvent.message_id == message_id).order_by(MessageEvent.id)
        return list(db.session.scalars(wanted))


def account_story(account):
    with all_tenants("test"):
        wanted = select(AccountEvent).where(AccountEvent.account_id == account.id).order_by(AccountEvent.id)
        return [event.kind for event in db.session.scalars(wanted)]
