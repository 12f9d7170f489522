"""The first tenant of an empty installation: a theatre in test mode with guests, templates and a first evening."""

import json
import os
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from .. import clock, logs
from ..config import Settings
from ..db import db, tenant_scope
from ..domain.orders import GivenConsent, OrderConfirmation, OrderEvent
from ..domain.phone import to_e164
from ..domain.statuses import Purpose
from ..errors import WaError
from ..models import Tenant
from . import accounts, sending, template_submission, templates, tenants

log = logs.get(__name__)

_ZONE = "Europe/Bucharest"
_GUESTS = (
    "Ana", "Andrei", "Ioana", "Mihai", "Elena", "Radu", "Maria", "Ștefan", "Irina", "Vlad",
    "Alina", "Tudor", "Cristina", "Matei", "Diana", "Luca", "Roxana", "Sorin", "Bianca", "Victor",
)  # fmt: skip
_EMAIL = "owner@example.org"


def first_tenant() -> Tenant | None:
    """The oldest tenant, None in an empty installation."""
    return db.session.scalars(select(Tenant).order_by(Tenant.created_at, Tenant.id)).first()


def make(settings: Settings) -> Tenant:
    """A tenant with one test account and the starter templates; with ``WA_DEMO`` also a show and its first orders.

    Everything goes the way of any order: the simulator approves, receives and answers.
    """
    name = "Teatrul de Vară" if settings.demo else "My organisation"
    made = tenants.create_tenant(settings, name, _EMAIL, demo=settings.demo)
    tenant = made.tenant
    accounts.create_test_account(tenant)
    templates.install_starters(tenant)
    if settings.demo:
        _remember(settings, {"tenant": tenant.name, "api_key": made.test_key, "phone": "+40700000123"})
        _first_evening(tenant, made.test_key)
    return tenant


def remembered(settings: Settings) -> dict[str, Any] | None:
    """The demo's key for the terminal's curl line, kept between starts in a file only its owner reads."""
    try:
        return dict(json.loads(settings.demo_file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _remember(settings: Settings, facts: dict[str, Any]) -> None:
    handle, draft = tempfile.mkstemp(dir=settings.data_dir, prefix=".demo-")  # 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(facts, file)
    Path(draft).replace(settings.demo_file)


def _first_evening(tenant: Tenant, key: str) -> None:
    """Twenty orders for a show in eight days, so that every state of a message can be seen within a minute."""
    template_submission.submit_due()
    try:
        for language in ("ro", "en"):
            template_submission.approve_now(tenant, "order_confirm", language, patience_s=8.0)
    except WaError as problem:
        log.warning("demo_without_orders", code=problem.code)
        return
    caller = tenants.authenticate(key)
    evening = (clock.now().astimezone(ZoneInfo(_ZONE)) + timedelta(days=8)).replace(
        hour=20, minute=0, second=0, microsecond=0
    )
    with tenant_scope(tenant.id):
        for number, name in enumerate(_GUESTS):
            sending.send_order_confirmation(caller, _order(number, name, evening))


def _order(number: int, name: str, evening: datetime) -> OrderConfirmation:
    event = OrderEvent("HAMLET", "Hamlet", evening, _ZONE, venue={"name": "Grădina de Vară"})
    said = GivenConsent(
        status="opted_in",
        purposes=(Purpose.TRANSACTIONAL, Purpose.REMINDER),
        source="checkout",
        occurred_at=clock.now(),
        wording_id="demo-checkout-v1",
    )
    order_id = f"D-{1001 + number}"
    return OrderConfirmation(
        order_id=order_id,
        phone=to_e164(f"+4070000{2000 + number:04d}"),
        first_name=name,
        locale="en-GB" if number % 7 == 3 else "ro-RO",
        timezone=_ZONE,
        event=event,
        variables={"order_token": f"demo{number}", "order_url": f"demo{number}"},
        consent=said if number != 17 else None,
        reminders=("D-7", "D-3", "D-1"),
        body={"order_id": order_id},
    )
