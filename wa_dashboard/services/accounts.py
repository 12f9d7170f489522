"""Provider accounts: adding one, finding the adapter that speaks for it."""

import json
import random
import secrets
from collections.abc import Mapping

import requests
from flask import current_app
from sqlalchemy import select

from .. import logs
from ..config import Settings
from ..db import db, on_commit, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.text import T
from ..errors import Finding, Forbidden, Invalid, NotFound, invalid
from ..models import AccountRef, ProviderAccount, Tenant
from ..providers.base import BadCredentials, Provider, all_providers, provider_named
from . import audit

log = logs.get(__name__)


def settings() -> Settings:
    """This process's settings."""
    return current_app.extensions["wa_settings"]


def provider_of(account: ProviderAccount) -> Provider:
    """The adapter that speaks for this account, with its credentials."""
    urls = settings().provider_urls(account.provider, account.live)
    return provider_named(account.provider)(account.credentials, urls)


def webhook_url(account: ProviderAccount) -> str:
    """Where the provider must post this account's news."""
    return f"{settings().public_url}/api/wa/webhook/{account.webhook_token}"


def accounts_of(tenant: Tenant, live: bool) -> list[ProviderAccount]:
    """The tenant's accounts of one mode that may send, best first."""
    wanted = select(ProviderAccount).where(
        ProviderAccount.tenant_id == tenant.id, ProviderAccount.live == live, ProviderAccount.status != "disabled"
    )
    return list(db.session.scalars(wanted.order_by(ProviderAccount.priority, ProviderAccount.id)))


def find_account(account_id: str) -> ProviderAccount:
    """Raises NotFound."""
    account = db.session.scalar(select(ProviderAccount).where(ProviderAccount.id == account_id))
    if account is None:
        raise NotFound(T("There is no such account."))
    return account


def create_account(
    tenant: Tenant,
    provider: str,
    credentials: Mapping[str, object],
    *,
    live: bool = False,
    priority: int = 100,
    label: str | None = None,
) -> ProviderAccount:
    """Add an account; a test account is introduced to the simulator after the commit.

    Raises Invalid naming the wrong credential keys, Forbidden for a live account of a tenant in test mode.
    """
    if provider not in all_providers():
        detail = T("Unknown provider %(name)s. Choose from: %(all)s.", name=provider, all=", ".join(all_providers()))
        raise invalid("/provider", "provider_unknown", detail)
    if live and not tenant.live:
        raise Forbidden(T("This organisation is in test mode: it cannot have live accounts."), "tenant_in_test_mode")
    kind = provider_named(provider)
    clean = _checked(kind, credentials)
    account = ProviderAccount(
        id=new_id("acc"),
        tenant_id=tenant.id,
        provider=provider,
        label=label or f"{kind.label}{'' if live else ' (test)'}",
        live=live,
        priority=priority,
        sender=kind.sender_of(clean) or "",
        webhook_token=secrets.token_urlsafe(24),
        status="active",
    )
    account.credentials = clean
    with tenant_scope(tenant.id), transaction():
        db.session.add(account)
        db.session.flush()
        for ref in kind.account_keys(clean):
            row = AccountRef(id=new_id("ref"), tenant_id=tenant.id, account_id=account.id, provider=provider, ref=ref)
            db.session.add(row)
        audit.record(tenant.id, "command", "account.created", account.id, provider=provider, live=live)
        if not live:
            on_commit(lambda: introduce(account))
    return account


def create_test_account(tenant: Tenant, provider: str | None = None) -> ProviderAccount:
    """An account that exists only in the simulator, of the default provider unless another is named."""
    kind = provider_named(provider or settings().default_provider)
    return create_account(tenant, kind.name, kind.random_test_credentials(random.Random(secrets.randbits(64))))


def introduce(account: ProviderAccount) -> bool:
    """Tell the simulator of a test account. False while it is away: `introductions.reintroduce` mends that."""
    return new_to_simulator(account) is not None


def new_to_simulator(account: ProviderAccount) -> bool | None:
    """Tell the simulator of a test account: was it new there? None (and a log line) when it is away or refuses."""
    known = {
        "provider": account.provider,
        "credentials": account.credentials,
        "webhook_url": webhook_url(account),
    }
    try:
        answer = requests.put(f"{settings().simulator_url}/_sim/accounts", json=known, timeout=2)
    except requests.RequestException as error:
        log.info("simulator_away", account_id=account.id, error=type(error).__name__)
        return None
    if answer.status_code >= 300:
        log.warning("simulator_refused", account_id=account.id, status=answer.status_code)
        return None
    return answer.status_code == 201


def _checked(kind: type[Provider], credentials: Mapping[str, object]) -> dict[str, str]:
    try:
        return kind.validate_credentials(credentials)
    except BadCredentials as problem:
        findings = [
            *(
                Finding(f"/credentials/{name}", "unknown_field", T("Unknown: %(names)s.", names=name))
                for name in problem.unknown
            ),
            *(
                Finding(f"/credentials/{name}", "missing_field", T("Missing: %(names)s.", names=name))
                for name in problem.missing
            ),
            *(
                Finding(f"/credentials/{name}", "invalid", T("Not usable as written: %(names)s.", names=name))
                for name in problem.invalid
            ),
        ]
        raise Invalid(" ".join(problem.sentences), "credentials_invalid", findings=findings) from problem


def read_credentials(path: str) -> dict[str, object]:
    """The JSON object of a credentials file. Raises Invalid when it is none."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - also /dev/stdin
            read = json.load(file)
    except (OSError, ValueError) as error:
        raise invalid(
            "/credentials", "file_unreadable", T("%(path)s is not a readable JSON file.", path=path)
        ) from error
    if not isinstance(read, dict):
        raise invalid("/credentials", "not_an_object", T("%(path)s must hold one JSON object.", path=path))
    return read
