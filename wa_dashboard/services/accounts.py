"""Provider accounts: adding one, finding the adapter that speaks for it."""

import json
import random
import secrets
from collections.abc import Mapping

import requests
from flask import current_app
from sqlalchemy import case, delete, or_, select

from .. import logs
from ..config import Settings
from ..db import db, end_read, on_commit, tenant_scope, transaction
from ..domain.ids import new_id
from ..domain.text import T
from ..errors import Finding, Forbidden, Invalid, NotFound, invalid
from ..models import AccountRef, Breaker, ProviderAccount, Tenant
from ..providers.base import BadCredentials, Probe, Provider, all_providers, provider_named
from . import account_story, audit, breakers, waiting

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
    """The tenant's accounts of one mode that are not switched off, best first: what works by priority, then what is
    being tried again, then what is out of order (messages for it wait). By priority alone for a tenant that does not
    want its messages to switch over."""
    wanted = (
        select(ProviderAccount)
        .outerjoin(Breaker, Breaker.account_id == ProviderAccount.id)
        .where(
            ProviderAccount.tenant_id == tenant.id, ProviderAccount.live == live, ProviderAccount.status != "disabled"
        )
    )
    trouble = case(
        (ProviderAccount.status != "active", 2),
        (or_(Breaker.state.is_(None), Breaker.state == "closed"), 0),
        (Breaker.state == "half_open", 1),
        else_=2,
    )
    first = (trouble,) if tenant.failover else ()
    return list(db.session.scalars(wanted.order_by(*first, ProviderAccount.priority, ProviderAccount.id)))


def find_account(account_id: str, *, live: bool | None = None) -> ProviderAccount:
    """The account, of that mode when one is named. Raises NotFound."""
    account = db.session.scalar(select(ProviderAccount).where(ProviderAccount.id == account_id))
    if account is None or live not in (None, account.live):
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
    actor: str = "command",
    getting_ready: bool = False,
    once: bool = False,
) -> ProviderAccount:
    """Add an account; a test account is introduced to the simulator after the commit.

    ``getting_ready``: also a live account of a tenant in test mode, which is to go live with it; until then no key
    reaches it. ``once``: not a sender that is connected already.

    Raises Invalid naming the wrong credential keys or the sender that is there already (``already_connected``),
    Forbidden for a live account of a tenant in test mode.
    """
    if provider not in all_providers():
        detail = T("Unknown provider %(name)s. Choose from: %(all)s.", name=provider, all=", ".join(all_providers()))
        raise invalid("/provider", "provider_unknown", detail)
    if live and not (tenant.live or getting_ready):
        raise Forbidden(T("This organisation is in test mode: it cannot have live accounts."), "tenant_in_test_mode")
    kind = provider_named(provider)
    clean = checked(kind, credentials)
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
        if once:
            _refuse_twin(tenant, account, kind)
        db.session.add(account)
        db.session.flush()
        for ref in kind.account_keys(clean):
            row = AccountRef(id=new_id("ref"), tenant_id=tenant.id, account_id=account.id, provider=provider, ref=ref)
            db.session.add(row)
        audit.record(tenant.id, actor, "account.created", account.id, provider=provider, live=live)
        if not live:
            on_commit(lambda: introduce(account))
    return account


def _refuse_twin(tenant: Tenant, new: ProviderAccount, kind: type[Provider]) -> None:
    """One sender connected twice would be two limits and two stories for one number. One adding at a time."""
    db.session.execute(select(Tenant.id).where(Tenant.id == tenant.id).with_for_update())
    same_mode = (ProviderAccount.tenant_id == tenant.id, ProviderAccount.live == new.live)
    for other in db.session.scalars(select(ProviderAccount).where(*same_mode)):
        number = next((each.name for each in kind.credentials if each.phone), kind.account_field)
        if other.provider == new.provider and kind.identity(other.credentials) == kind.identity(new.credentials):
            detail = T("It is connected here already, as %(label)s. Replace its keys there.", label=other.label)
            raise invalid(f"/credentials/{kind.account_field}", "already_connected", detail)
        if new.sender and other.sender == new.sender and other.status != "disabled":
            detail = T(
                "This number is connected here already, as %(label)s. A number works at one provider at a time: switch "
                "that sender off first.",
                label=other.label,
            )
            raise invalid(f"/credentials/{number}", "already_connected", detail)


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


def test_connection(actor: str, account_id: str) -> Probe:
    """Ask the provider whether it accepts the account; when it does, one that was held or out of order sends again.

    For a person who presses Test (``actor`` like ``user:usr_…``), in the tenant's scope and outside a transaction: one
    request without side effects. Raises NotFound.
    """
    account = find_account(account_id)
    provider = provider_of(account)
    end_read()
    probe = provider.probe()
    with transaction():
        audit.record(account.tenant_id, actor, "account.tested", account.id, ok=probe.ok)
        if probe.ok:
            breakers.recover(account, by="person")
        else:
            account_story.add_line(account.tenant_id, account.id, "tested", code=probe.outcome.code)
    if probe.ok:
        waiting.let_go(account, waiting.FIRST)
    return probe


def replace_credentials(actor: str, account_id: str, credentials: Mapping[str, object]) -> Probe:
    """Put new access data into an account and test it at once; what waited for it goes out when it works.

    Keys that are missing or empty stay as they are. In the tenant's scope, outside a transaction. Raises NotFound,
    Invalid naming the wrong keys, or when the data are another number's: that is another account.
    """
    with transaction():
        account = db.session.scalar(
            select(ProviderAccount).where(ProviderAccount.id == account_id).with_for_update(key_share=True),
            execution_options={"populate_existing": True},
        )
        if account is None:
            raise NotFound(T("There is no such account."))
        kind = provider_named(account.provider)
        clean = checked(kind, {**account.credentials, **{key: value for key, value in credentials.items() if value}})
        if kind.account_keys(clean)[0] != kind.account_keys(account.credentials)[0]:
            detail = T("These belong to another number. Add it as a sender of its own.")
            raise Invalid(detail, "credentials_invalid")
        account.credentials, account.sender = clean, kind.sender_of(clean) or account.sender
        _write_refs(account, kind, clean)
        audit.record(account.tenant_id, actor, "account.credentials_replaced", account.id)
        account_story.add_line(account.tenant_id, account.id, "credentials_replaced")
    if not account.live:
        introduce(account)
    return test_connection(actor, account_id)


def _write_refs(account: ProviderAccount, kind: type[Provider], clean: Mapping[str, str]) -> None:
    """The names by which the provider's bare webhooks find the account."""
    db.session.execute(
        delete(AccountRef).where(AccountRef.account_id == account.id),
        execution_options={"synchronize_session": False},
    )
    db.session.flush()
    for ref in kind.account_keys(clean):
        row = AccountRef(
            id=new_id("ref"), tenant_id=account.tenant_id, account_id=account.id, provider=account.provider, ref=ref
        )
        db.session.add(row)


def checked(kind: type[Provider], credentials: Mapping[str, object]) -> dict[str, str]:
    """The access data, trimmed. Raises Invalid naming every wrong key."""
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
