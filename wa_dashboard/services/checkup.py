"""The doctor: what may be wrong with an installation, said in words, with what to do."""

import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis
import requests
from flask import current_app
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from .. import db as database
from .. import queues
from ..config import Settings, unknown_variables
from ..db import all_tenants, clock_of_database, db
from ..models import ApiKey, Heartbeat, ProviderAccount, Tenant
from ..security import Undecryptable
from . import account_health, accounts, fence


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``sentence`` says what was found and, when not ``ok``, what to do."""

    name: str
    ok: bool
    sentence: str

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def examine(settings: Settings) -> list[Check]:
    """Every check, in the order in which to mend."""
    steps: list[Callable[[Settings], list[Check]]] = [
        _python,
        _folder,
        _variables,
        _database,
        _queue,
        _tick,
        _keys,
        _providers,
        _health,
        _fence,
        _webhooks,
    ]
    found: list[Check] = []
    for step in steps:
        try:
            found += step(settings)
        except SQLAlchemyError as error:
            name = step.__name__.strip("_")
            found.append(Check(name, False, f"The database did not answer ({type(error).__name__}): see DATABASE_URL."))
            db.session.rollback()
    return found


def _python(_: Settings) -> list[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return [Check("python", good, f"Python {version}." + ("" if good else " Install Python 3.11 or newer."))]


def _folder(settings: Settings) -> list[Check]:
    writable = os.access(settings.data_dir, os.W_OK)
    sentence = (
        f"{settings.data_dir} can be written." if writable else f"{settings.data_dir} cannot be written: chown it."
    )
    checks = [Check("data folder", writable, sentence)]
    secrets_file = settings.data_dir / "secrets.env"
    if secrets_file.exists():
        private = not secrets_file.stat().st_mode & 0o077
        hint = "Only you can read the secrets." if private else f"Others can read {secrets_file}: chmod 600 it."
        checks.append(Check("secrets", private, hint))
    return checks


def _variables(_: Settings) -> list[Check]:
    strangers = unknown_variables(os.environ)
    if not strangers:
        return [Check("settings", True, "Every WA_ variable that is set has a meaning.")]
    words = [f"{name} (did you mean {near}?)" if near else name for name, near in strangers]
    return [Check("settings", False, f"These variables mean nothing here: {', '.join(words)}. Remove or rename them.")]


def _database(_: Settings) -> list[Check]:
    newest = newest_migration()
    present = database.schema_revision()
    checks = []
    if present == newest:
        checks.append(Check("database", True, f"{database.dialect_name()} answers; its schema is {present}."))
    else:
        sentence = f"The schema is {present or 'empty'}, the code needs {newest}: run python3 app.py upgrade."
        checks.append(Check("database", False, sentence))
    gaps = database.row_security_gaps()
    if gaps:
        checks.append(Check("tenant walls", False, f"PostgreSQL does not keep tenants apart: {'; '.join(gaps)}."))
    return checks


def _fence(_: Settings) -> list[Check]:
    """A line for each organiser whose messages wait since a restore."""
    up = fence.state()
    if not up:
        return [Check("restore", True, "Nothing is held back after a restore.")]
    return [
        Check(
            "restore",
            False,
            f"A backup was restored: {found.held} messages and {found.reminders} reminders of {found.tenant_id} wait."
            f" python3 app.py release --tenant {found.tenant_id} --dry-run tells what is known of them.",
        )
        for found in up
    ]


def newest_migration() -> str:
    """The revision the code was written for."""
    folder = Path(current_app.extensions["migrate"].directory) / "versions"
    return max(file.name[:4] for file in folder.glob("[0-9]*.py"))


def _queue(settings: Settings) -> list[Check]:
    try:
        queues.client().ping()
        forgetful = forgets(queues.client())
    except (redis.RedisError, OSError) as error:
        where = "the embedded queue (start python3 app.py)" if settings.embedded_queue else "REDIS_URL"
        sentence = (
            f"The queue does not answer ({type(error).__name__}): look at {where}. Messages go out slowly meanwhile."
        )
        return [Check("queue", False, sentence)]
    if forgetful:
        return [Check("queue", False, forgetful)]
    return [Check("queue", True, "The queue answers, and is not known to forget what it is given.")]


def forgets(client: redis.Redis) -> str | None:
    """The sentence for a Redis that throws keys away when it is full (durability.md §2.1 Q12); None when all is well,
    or its settings may not be read. Raises RedisError when it does not answer."""
    try:
        found: Any = client.config_get("maxmemory-policy")
    except redis.ResponseError:  # an ACL may keep us from asking
        return None
    policy = str(found.get("maxmemory-policy", "noeviction"))
    if policy == "noeviction":
        return None
    return f"Redis may forget wake-ups (maxmemory-policy {policy}): set it to noeviction."


def _tick(_: Settings) -> list[Check]:
    age = tick_age()
    if age is None:
        return [Check("sweeps", False, "The sweeps never ran: start a worker or the scheduler.")]
    if age > timedelta(seconds=60):
        sentence = f"The sweeps last ran {int(age.total_seconds())} s ago: start a worker or the scheduler."
        return [Check("sweeps", False, sentence)]
    return [Check("sweeps", True, "The sweeps run.")]


def tick_age() -> timedelta | None:
    """How long ago the periodic sweeps last ran, None if never (both by the database's clock)."""
    last = db.session.scalar(select(Heartbeat.at).where(Heartbeat.name == "tick"))
    return None if last is None else clock_of_database() - last


def _keys(_: Settings) -> list[Check]:
    with all_tenants("the doctor looks at everything"):
        live = db.session.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.revoked_at.is_(None)))
        for account in db.session.scalars(select(ProviderAccount)):
            try:
                _ = account.credentials
            except Undecryptable as error:
                sentence = f"The secrets of account {account.id} cannot be read: {error}. Put the old key back."
                return [Check("encryption", False, sentence)]
    return [Check("keys", True, f"{live} API keys in use; every stored secret can be read.")]


def _providers(settings: Settings) -> list[Check]:
    checks = []
    with all_tenants("the doctor looks at everything"):
        for account in db.session.scalars(select(ProviderAccount).where(ProviderAccount.status != "disabled")):
            try:
                probe = accounts.provider_of(account).probe()
            except Undecryptable:
                continue  # named by _keys
            held = f" It is held: {account.hold_reason}." if account.status == "held" else ""
            sentence = f"{account.label} ({account.id}): {probe.sentence}{held}"
            checks.append(Check("provider", probe.ok and not held, sentence))
    if settings.failpoints and any(live_accounts()):
        checks.append(Check("failpoints", False, "WA_FAILPOINTS is set while live accounts exist: unset it."))
    return checks


def _health(_: Settings) -> list[Check]:
    """A line for each sender in trouble; what a held one is held for stands in its own line above."""
    checks = []
    with all_tenants("the doctor looks at everything"):
        tenants = list(db.session.scalars(select(Tenant)))
        database.end_read()
    for tenant in tenants:
        with database.tenant_scope(tenant.id):
            for found in [*account_health.health_of(tenant, True), *account_health.health_of(tenant, False)]:
                if found.state not in ("healthy", "disabled"):
                    counts = f"{found.waiting} messages wait, {found.uncertain} are unclear."
                    label = f"{found.account.label} ({found.account.id}): {found.word}."
                    checks.append(Check("sender", False, f"{label} {found.sentence or ''} {counts}"))
            database.end_read()
    return checks


def live_accounts() -> list[str]:
    """The ids of accounts that reach people."""
    with all_tenants("the doctor looks at everything"):
        return list(db.session.scalars(select(ProviderAccount.id).where(ProviderAccount.live.is_(True))))


def _webhooks(settings: Settings) -> list[Check]:
    url = f"{settings.public_url}/healthz"
    try:
        good = requests.get(url, timeout=3, allow_redirects=False).status_code == 200
    except requests.RequestException:
        good = False
    if not good:
        return [
            Check(
                "webhooks",
                False,
                f"{url} does not answer: providers cannot report. Check WA_PUBLIC_URL and the web part.",
            )
        ]
    if any(live_accounts()) and not settings.public_url.startswith("https://"):
        return [Check("webhooks", False, "Live providers post to https only: set WA_PUBLIC_URL to your https address.")]
    return [Check("webhooks", True, f"{settings.public_url} answers.")]
