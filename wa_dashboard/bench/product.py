"""The product under measurement: an organiser without limits, messages that wait, the real drain in one process.

Steps for processes of their own (`Stage.step`): each reads its settings from the environment.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import func, select

from .. import clock
from ..db import clock_of_database, db, insert_rows, tenant_scope, transaction
from ..domain.consent import PURPOSES
from ..domain.ids import new_id
from ..domain.phone import Phone
from ..domain.statuses import LANE_OF, POLICY_OF, PRIORITY, PURPOSE_OF, MessageType
from ..models import Attempt, Contact, Message, Outbox, ProviderAccount, Template, TemplateApproval, Tenant

_CHUNK = 1000
_VALUES = {"first_name": "Ana", "order_id": "A-1001", "event_name": "Hamlet", "code": "123456"}
_BODIES = {
    "order_confirm": "Bună, {first_name}! Comanda {order_id} pentru {event_name} este confirmată. Mulțumim.",
    "promo": "Bună, {first_name}! Au mai rămas locuri la {event_name}, cu reducere pentru comanda {order_id}.",
    "otp": "Codul tău este {code}.",
    "reminder": "Bună, {first_name}! Te așteptăm la {event_name}.",
}
_CATEGORIES = {"promo": "marketing", "otp": "authentication"}


@contextmanager
def product() -> Iterator[Any]:
    """The application of the environment's settings, inside its context."""
    from ..factory import create_app

    app = create_app()
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


def migrate() -> dict[str, Any]:
    """Bring the database of the environment to the newest schema."""
    from flask_migrate import upgrade

    with product() as app:
        upgrade(directory=app.extensions["migrate"].directory)
    return {}


def settle_in(name: str) -> dict[str, Any]:
    """An organiser with one Meta account and approved templates of every kind; the ids the other steps need."""
    from ..services import accounts, tenants

    with product() as app:
        made = tenants.create_tenant(app.extensions["wa_settings"], name, f"{new_id('b')}@example.org")
        account = accounts.create_test_account(made.tenant, "meta_cloud")
        for kind, body in _BODIES.items():
            _approved_template(made.tenant, account, kind, body)
    return {"tenant_id": made.tenant.id, "account_id": account.id, "key": made.test_key}


def _approved_template(tenant: Tenant, account: ProviderAccount, kind: str, body: str) -> None:
    now = clock.now()
    category = _CATEGORIES.get(kind, "utility")
    with tenant_scope(tenant.id), transaction():
        template = Template(
            id=new_id("tpl"),
            tenant_id=tenant.id,
            name=kind,
            language="ro",
            version=1,
            type=kind,
            category=category,
            body=body,
            examples=_VALUES,
            content_hash=f"bench-{kind}",
            draft=False,
            updated_at=now,
        )
        db.session.add(template)
        db.session.flush()
        approval = TemplateApproval(
            id=new_id("tap"),
            tenant_id=tenant.id,
            template_id=template.id,
            account_id=account.id,
            status="approved",
            status_at=now,
            external_id=f"ext-{template.id}",
            category=category,
            parameter_map={},
        )
        db.session.add(approval)


def fill(tenant_id: str, account_id: str, kind: str, count: int, contacts: int = 100_000) -> dict[str, Any]:
    """``count`` messages of ``kind`` that wait in the outbox, for at most ``contacts`` people who agreed."""
    with product(), tenant_scope(tenant_id):
        put(tenant_id, account_id, kind, count, people(tenant_id, min(count, contacts)))
    return {}


def people(tenant_id: str, count: int, first: int = 0) -> list[Contact]:
    """So many contacts who agreed to everything, from number ``first`` on; those of an earlier call are taken again."""
    from ..services import consent_log, contacts
    from ..services.consent_request import ConsentRequest

    tenant = db.session.scalars(select(Tenant).where(Tenant.id == tenant_id)).one()
    phones = [Phone(f"+40722{number:06d}", "RO") for number in range(first, first + count)]
    known = set(db.session.scalars(select(Contact.phone_index)))
    new = [phone for phone in phones if contacts.index_of(tenant, phone.e164) not in known]
    for start in range(0, len(new), _CHUNK):
        said = [
            ConsentRequest(status="opted_in", source="checkout", phone=phone, purposes=PURPOSES, wording_id="bench")
            for phone in new[start : start + _CHUNK]
        ]
        consent_log.record_many(tenant, said, "command", at=[""] * len(said))
    with transaction():
        return list(contacts.contacts_for(tenant, phones).values())


def put(tenant_id: str, account_id: str, kind: str, count: int, persons: list[Contact]) -> list[str]:
    """Messages and their outbox rows, in one transaction for each thousand; their ids."""
    with transaction():
        template_id = db.session.scalars(select(Template.id).where(Template.name == kind)).one()
    ids: list[str] = []
    for start in range(0, count, _CHUNK):
        some = [persons[number % len(persons)] for number in range(start, min(start + _CHUNK, count))]
        with transaction():
            ids += put_rows(tenant_id, account_id, template_id, kind, some)
    return ids


def put_rows(tenant_id: str, account_id: str, template_id: str, kind: str, persons: list[Contact]) -> list[str]:
    """A message and its outbox row for each person, inside a transaction; the messages' ids."""
    due = clock_of_database()
    rows = [_message(tenant_id, account_id, template_id, kind, person) for person in persons]
    insert_rows(Message, rows)
    insert_rows(Outbox, [_outbox(row, due) for row in rows])
    return [row["id"] for row in rows]


def _message(tenant_id: str, account_id: str, template_id: str, kind: str, person: Contact) -> dict[str, Any]:
    now = clock.now()
    message_id = new_id("msg")
    wanted = MessageType(kind)
    return {
        "id": message_id,
        "tenant_id": tenant_id,
        "live": False,
        "type": kind,
        "purpose": PURPOSE_OF[wanted],
        "lane": LANE_OF[wanted],
        "policy": POLICY_OF[wanted],
        "dedupe_key": f"bench:{message_id}",
        "contact_id": person.id,
        "to_masked": person.phone_masked,
        "market": "RO",
        "template_id": template_id,
        "template_name": kind,
        "language": "ro",
        "account_id": account_id,
        "provider": "meta_cloud",
        "status": "queued",
        "status_at": now,
        "created_at": now,
        "updated_at": now,
        "currency": "EUR",
        "reason_detail": {},
        "meta": {},
        "asked_by": "bench",
        "variables_sealed": Message.variables.seal(Message, tenant_id, message_id, _VALUES),
    }


def _outbox(row: dict[str, Any], due: Any) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("tenant_id", "contact_id", "purpose", "account_id", "template_id", "live")},
        "message_id": row["id"],
        "priority": PRIORITY[row["lane"]],
        "policy": row["policy"],
        "state": "queued",
        "next_at": due,
        "attempt_no": 0,
        "failures": 0,
    }


def drain(tenant_id: str, account_id: str, longest: float) -> dict[str, Any]:
    """Call the product's drain in this process until the outbox is empty or ``longest`` seconds are over.

    ``cpu``: this process and those it started; ``seconds``: first attempt begun to last attempt settled, database
    clock; ``left``: rows still in the outbox.
    """
    from ..services import engine

    with product():
        with tenant_scope(tenant_id):
            begun_at = clock_of_database()
            left = _left(account_id)
        began, cpu = time.monotonic(), _cpu()
        while left and time.monotonic() - began < longest:
            engine.drain(account_id, budget_s=min(30.0, longest))
            with tenant_scope(tenant_id):
                left = _left(account_id)
        facts = {"wall": time.monotonic() - began, "cpu": _cpu() - cpu, "left": left}
        with tenant_scope(tenant_id):
            times = select(func.min(Attempt.started_at), func.max(Attempt.ended_at), func.count())
            first, last, attempts = db.session.execute(times.where(Attempt.started_at >= begun_at)).one()
            db.session.remove()
    settled = (last - first).total_seconds() if first and last else None
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**facts, "seconds": settled, "attempts": attempts, "most_mb": round(memory, 1)}


def _left(account_id: str) -> int:
    count = db.session.scalars(select(func.count()).where(Outbox.account_id == account_id)).one()
    db.session.remove()
    return count


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
