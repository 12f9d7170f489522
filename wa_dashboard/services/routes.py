"""Which way messages take when a sender fails, computed from the order, the switch and the approved templates."""

from dataclasses import dataclass

from sqlalchemy import select

from ..db import db
from ..domain.statuses import SENDABLE
from ..domain.text import T
from ..models import ProviderAccount, Template, TemplateApproval, Tenant
from . import breakers
from .breakers import AccountHealth

_WORKS = ("healthy", "degraded")


@dataclass(frozen=True)
class Route:
    """A sender's place in the order, and what happens when it fails. ``missing``: texts not approved at the next."""

    health: AccountHealth
    next_account: ProviderAccount | None
    missing: list[str]
    sentence: T

    @property
    def account(self) -> ProviderAccount:
        return self.health.account

    @property
    def waiting(self) -> int:
        return self.health.waiting


def routes_of(tenant: Tenant, live: bool) -> list[Route]:
    """Every sender of the mode in its order, with its way out. In the tenant's scope."""
    senders = breakers.health_of(tenant, live)
    approved = _approved([each.account.id for each in senders])
    return [_route(tenant, each, senders, approved) for each in senders]


def _route(
    tenant: Tenant, health: AccountHealth, senders: list[AccountHealth], approved: dict[str, dict[str, set[str]]]
) -> Route:
    mine = health.account
    others = [each for each in senders if each.account.id != mine.id and each.state != "disabled"]
    working = next((each.account for each in others if each.state in _WORKS), None)
    if health.state == "disabled":
        return Route(health, None, [], T("It is switched off: no message goes through it."))
    if not tenant.failover:
        return Route(health, None, [], _if_it_fails(health, T("messages wait until it works again.")))
    if working is None:
        why = (
            T("messages wait until it works again; the other senders do not work now either.")
            if others
            else T("messages wait until it works again; there is no other sender.")
        )
        return Route(health, None, [], _if_it_fails(health, why))
    missing = _missing(approved, mine.id, working.id)
    through = T("messages go through %(other)s.", other=working.label)
    if missing:
        through = T("%(through)s Not approved there, so these wait: %(names)s.", through=through, names=_some(missing))
    return Route(health, working, missing, _if_it_fails(health, through))


def _if_it_fails(health: AccountHealth, what: T) -> T:
    label = health.account.label
    if health.state in ("open", "locked"):
        return T("%(label)s does not work now: %(what)s", label=label, what=what)
    return T("If %(label)s fails: %(what)s", label=label, what=what)


def _some(names: list[str]) -> str | T:
    if len(names) <= 4:
        return ", ".join(names)
    return T("%(names)s and %(count)s more", names=", ".join(names[:3]), count=len(names) - 3)


def _approved(account_ids: list[str]) -> dict[str, dict[str, set[str]]]:
    """For each account and text, ``name (language)``: the accounts where some version of it may be sent."""
    rows = db.session.execute(
        select(TemplateApproval.account_id, Template.name, Template.language)
        .join(Template, Template.id == TemplateApproval.template_id)
        .where(TemplateApproval.account_id.in_(account_ids), TemplateApproval.status.in_(SENDABLE))
        .distinct()
    )
    found: dict[str, dict[str, set[str]]] = {}
    for account_id, name, language in rows:
        found.setdefault(account_id, {}).setdefault(name, set()).add(language)
    return found


def _missing(approved: dict[str, dict[str, set[str]]], mine: str, other: str) -> list[str]:
    there = approved.get(other, {})
    return sorted(
        f"{name} ({language})"
        for name, languages in approved.get(mine, {}).items()
        for language in languages - there.get(name, set())
    )
