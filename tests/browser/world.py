"""A theatre in the middle of its season: every kind of message, template and person, to be looked at."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select

from tests import factories
from tests.factories import ReadyTenant
from tests.support.rows import make_message
from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.causes import ENDED_BADLY
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import Status
from wa_dashboard.models import Message, ProviderAccount, Template
from wa_dashboard.services import contacts, lifecycle, problems

NAMES = ("Ana", "Andrei", "Ioana-Alexandra", "Mihai", "Elena", "Radu", "Maria", "Ștefan", "Irina", "Vlad", "Alina",
         "Tudor", "Cristina Dumitrescu-Văcărescu")  # fmt: skip

REASONS = {
    Status.QUEUED: "throttled",
    Status.SKIPPED: "opted_out",
    Status.CANCELLED: "cancelled_by_user",
    Status.UNCONFIRMED: "no_receipt",
}


@dataclass(frozen=True)
class Season:
    """Where to look: addresses by a word for each."""

    pages: dict[str, str]
    person: str


def fill(ready: ReadyTenant) -> Season:
    """Rows in every state, over the last week."""
    rejected = factories.make_template(ready, name="promo_toamna", type="promo", status="rejected")
    with tenant_scope(ready.id):
        template = db.session.scalars(
            select(Template).where(Template.name == "order_confirm", Template.language == "ro")
        ).one()
        ids = _messages(ready, template)
        _hold_account(ready)
    pages = {f"message {status}": f"/messages/{message_id}" for status, message_id in ids.items()}
    with tenant_scope(ready.id):
        person = db.session.scalars(select(Message.contact_id).where(Message.id == ids["read"])).one()
    return Season(
        pages
        | {
            "overview": "/overview",
            "messages": "/messages",
            "messages filtered": "/messages?status=failed&q=a",
            "templates": "/templates",
            "template approved": f"/templates/{template.id}",
            "template rejected": f"/templates/{rejected.id}",
            "phone": f"/phone/{person}",
            "connect": "/connect",
            "send a test": "/send-test",
            "providers": "/settings/providers",
            "one sender": f"/settings/providers/{ready.account.id}",
            "going live": "/settings/live",
            "connect a number": "/settings/providers/new?provider=meta_cloud&mode=live",
            "replace keys": f"/settings/providers/{ready.account.id}/keys",
            "switch off": f"/settings/providers/{ready.account.id}/off",
            "choose a provider": "/settings/providers/new",
            "add a sender": "/settings/providers/new?provider=twilio",
            "failover order": "/settings/failover",
            "drill": f"/settings/failover/{ready.account.id}/drill",
            "limits": "/settings/limits",
            "problems": "/problems",
            "problems of a cause": "/problems/cause/not_on_whatsapp",
            "closed problems": "/problems/archive",
            "change a number": f"/messages/{ids['failed']}/number",
        },
        person,
    )


def _messages(ready: ReadyTenant, template: Template) -> dict[str, str]:
    ids: dict[str, str] = {}
    with transaction():
        for number in range(60):
            status = list(Status)[number % len(Status)]
            phone = to_e164(f"+40722{100_000 + number % len(NAMES)}")
            person = contacts.contact_for(ready.tenant, phone, first_name=NAMES[number % len(NAMES)])
            row = make_message(ready, person, status=status, template=template)
            row.variables = {"first_name": person.first_name, "order_id": f"A-{number}", "event_name": "Hamlet",
                             "event_date": "4 aprilie 2027, 20:00"}  # fmt: skip
            row.created_at = clock.now() - timedelta(hours=3 * number)
            row.order_id, row.market, row.estimate_micros = f"A-{number}", "RO", 23_900
            if status in (Status.DELIVERED, Status.READ):
                row.charged_micros = 23_900
            if status in (Status.FAILED, Status.DEAD_LETTER):
                row.error_class, row.error_code, row.error_detail = "recipient", "131026", "Message undeliverable"
            row.reason = REASONS.get(status)
            db.session.flush()
            _tell(ready, row)
            if status in ENDED_BADLY:
                problems.raise_for(ready.id, [row.id])
            ids.setdefault(str(status), row.id)
    return ids


def _tell(ready: ReadyTenant, row: Message) -> None:
    lifecycle.tell(ready.id, [row.id], "asked", at=row.created_at, detail={"by": "key:key_1"})
    kinds = {
        "read": ("accepted", "sent", "delivered", "read"),
        "delivered": ("accepted", "sent", "delivered"),
        "sent": ("accepted", "sent"),
        "sending": (),  # its try says so
    }
    for number, kind in enumerate(kinds.get(row.status, (row.status,))):
        at = row.created_at + timedelta(seconds=2 * number + 1)
        facts = {"error_class": row.error_class, "error_code": row.error_code, "reason": row.reason}
        detail = {"provider": row.provider} | {name: value for name, value in facts.items() if value}
        lifecycle.tell(ready.id, [row.id], kind, at=at, detail=detail)


def _hold_account(ready: ReadyTenant) -> None:
    with transaction():
        factories.make_account(ready.tenant, "twilio")
        second = db.session.scalars(select(ProviderAccount).where(ProviderAccount.provider == "twilio")).one()
        second.status, second.hold_reason = "held", "account_stop"
        db.session.flush()
