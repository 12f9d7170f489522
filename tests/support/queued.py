"""Many queued messages at once, as intake leaves them, for tests that are about what happens next."""

from collections.abc import Sequence

from tests.factories import ReadyTenant
from wa_dashboard import clock
from wa_dashboard.db import clock_of_database, insert_rows, tenant_scope, transaction
from wa_dashboard.domain.ids import new_id
from wa_dashboard.domain.phone import to_e164
from wa_dashboard.domain.statuses import LANE_OF, POLICY_OF, PRIORITY, PURPOSE_OF, MessageType
from wa_dashboard.models import Contact, Message, Outbox, Template
from wa_dashboard.services import consent_log, lifecycle
from wa_dashboard.services.consent_request import ConsentRequest

_AT_ONCE = 500


def people(ready: ReadyTenant, count: int, first: int = 0) -> list[Contact]:
    """Persons who agreed to everything."""
    wanted = [
        ConsentRequest(
            status="opted_in",
            source="checkout",
            phone=to_e164(f"+40722{number:06d}"),
            purposes=("transactional", "reminder", "marketing"),
            wording_id="v1",
        )
        for number in range(first, first + count)
    ]
    with tenant_scope(ready.id):
        done = consent_log.record_many(ready.tenant, wanted, "test", at=[""] * count)
    return [each.contact for each in done if isinstance(each, consent_log.ConsentResult)]


def queue(
    ready: ReadyTenant, template: Template, contacts: Sequence[Contact], kind: str = "order_confirm"
) -> list[str]:
    """One message of this type to each; their ids, in order."""
    made: list[str] = []
    for start in range(0, len(contacts), _AT_ONCE):
        with tenant_scope(ready.id), transaction():
            made += _some(ready, template, contacts[start : start + _AT_ONCE], MessageType(kind))
    return made


def _some(ready: ReadyTenant, template: Template, contacts: Sequence[Contact], kind: MessageType) -> list[str]:
    now, due = clock.now(), clock_of_database()
    messages, waiting = [], []
    for contact in contacts:
        message_id = new_id("msg")
        shared = {
            "tenant_id": ready.id,
            "contact_id": contact.id,
            "purpose": PURPOSE_OF[kind],
            "template_id": template.id,
            "account_id": ready.account.id,
            "live": False,
            "policy": POLICY_OF[kind],
        }
        values = {"first_name": "Ana", "order_id": "A-1", "event_name": "Hamlet"}
        messages.append(
            shared
            | {
                "id": message_id,
                "type": kind,
                "lane": LANE_OF[kind],
                "dedupe_key": message_id,
                "to_masked": contact.phone_masked,
                "market": "RO",
                "provider": ready.account.provider,
                "status": "queued",
                "status_at": now,
                "created_at": now,
                "updated_at": now,
                "variables_sealed": Message.variables.seal(Message, ready.id, message_id, values),
            }
        )
        waiting.append(
            shared
            | {
                "message_id": message_id,
                "priority": PRIORITY[LANE_OF[kind]],
                "state": "queued",
                "next_at": due,
                "attempt_no": 0,
                "failures": 0,
            }
        )
    insert_rows(Message, messages)
    insert_rows(Outbox, waiting)
    ids = [row["id"] for row in messages]
    lifecycle.tell(ready.id, ids, "asked")
    return ids
