"""Plain functions that make real rows. No surprises: what is not said has one sensible value."""

import itertools
import random
from dataclasses import dataclass

from flask import current_app
from sqlalchemy import select

from wa_dashboard import clock
from wa_dashboard.db import db, tenant_scope, transaction
from wa_dashboard.domain.ids import new_id
from wa_dashboard.models import ProviderAccount, Template, TemplateApproval, Tenant
from wa_dashboard.providers.base import provider_named
from wa_dashboard.services import accounts, tenants

_counter = itertools.count()


@dataclass(frozen=True)
class ReadyTenant:
    """A tenant as tests like it: itself, its first account, and a test key with every scope."""

    tenant: Tenant
    account: ProviderAccount
    key: str
    welcome_token: str

    @property
    def id(self) -> str:
        return self.tenant.id

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def make_tenant(
    name: str = "Teatrul Mic", email: str = "ana@example.org", provider: str = "meta_cloud", **settings: object
) -> ReadyTenant:
    """A tenant in test mode with one account that the simulator has not been told of."""
    made = tenants.create_tenant(current_app.extensions["wa_settings"], name, email)
    if settings:
        with transaction():
            row = db.session.scalars(select(Tenant).where(Tenant.id == made.tenant.id)).one()
            for key, value in settings.items():
                setattr(row, key, value)
    tenant = tenants.find_tenant(made.tenant.id)
    account = make_account(tenant, provider)
    return ReadyTenant(tenant, account, made.test_key, made.welcome_token)


def make_account(tenant: Tenant, provider: str = "meta_cloud", *, seed: int | None = None) -> ProviderAccount:
    """A test account with random well-formed credentials."""
    rng = random.Random(next(_counter) if seed is None else seed)
    return accounts.create_account(tenant, provider, provider_named(provider).random_test_credentials(rng))


def make_template(
    ready: ReadyTenant,
    name: str = "order_confirm",
    language: str = "ro",
    *,
    type: str = "order_confirm",  # noqa: A002
    body: str = "Bună, {first_name}! Comanda {order_id} pentru {event_name} este confirmată. Mulțumim.",
    status: str = "approved",
    version: int = 1,
    parameter_map: dict[str, str] | None = None,
    external_id: str | None = None,
) -> Template:
    """A template version and what its account thinks of it; the simulator knows nothing of it."""
    now = clock.now()
    category = {"promo": "marketing", "otp": "authentication"}.get(type, "utility")
    with tenant_scope(ready.id), transaction():
        template = Template(
            id=new_id("tpl"),
            tenant_id=ready.id,
            name=name,
            language=language,
            version=version,
            type=type,
            category=category,
            body=body,
            footer="Răspunde STOP pentru a opri mesajele",
            buttons=[],
            examples={"first_name": "Ana", "order_id": "A-1001", "event_name": "Hamlet"},
            content_hash=f"{name}-{language}-{version}",
            draft=False,
            updated_at=now,
        )
        db.session.add(template)
        db.session.flush()
        approval = TemplateApproval(
            id=new_id("tap"),
            tenant_id=ready.id,
            template_id=template.id,
            account_id=ready.account.id,
            status=status,
            status_at=now,
            external_id=external_id or f"ext-{template.id}",
            category=category,
            parameter_map=parameter_map or {},
        )
        db.session.add(approval)
    return template


def order(order_id: str = "A-1001", phone: str = "+40722123456", **changes: object) -> dict[str, object]:
    """A body for POST /api/wa/send/confirm, consent included."""
    body: dict[str, object] = {
        "order_id": order_id,
        "recipient": {"phone": phone, "first_name": "Ana", "locale": "ro-RO", "timezone": "Europe/Bucharest"},
        "event": {
            "ref": "EVT-9",
            "name": "Hamlet",
            "starts_at": "2027-04-04T20:00",
            "timezone": "Europe/Bucharest",
            "venue": {"name": "Sala Mare"},
        },
        "consent": {
            "status": "opted_in",
            "purposes": ["transactional", "reminder"],
            "source": "checkout",
            "wording_id": "wa-consent-v3",
            "occurred_at": "2026-11-20T17:59:58+02:00",
        },
    }
    return body | changes
