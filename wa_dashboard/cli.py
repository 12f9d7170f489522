"""The commands: ``python3 app.py NAME`` and ``flask --app app wa NAME`` (the same ones).

Each takes ``--json`` and then prints exactly one JSON object on stdout; logs go to stderr.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from . import logs
from .config import PROJECT, ConfigError, Settings
from .db import give_up_read, is_unavailable
from .errors import WaError

log = logs.get(__name__)


@click.group("wa", epilog="Besides: run (everything; the default), test, web, simulator. See docs/operations.md.")
def commands() -> None:
    """Commands of wa_dashboard."""


class Failed(Exception):
    """A command's own "no": printed as it is, exit code 1."""

    def __init__(self, facts: Mapping[str, Any], sentence: str) -> None:
        super().__init__(sentence)
        self.facts = facts


def command(name: str) -> Callable[[Callable[..., Mapping[str, Any]]], Any]:
    """A command whose function returns the facts to print: as JSON with ``--json``, else a line each."""

    def wrap(function: Callable[..., Mapping[str, Any]]) -> Any:
        @wraps(function)
        def run(as_json: bool, **arguments: Any) -> None:
            try:
                _print(function(**arguments), as_json)
            except WaError as problem:
                findings = [{"pointer": f.pointer, "code": f.code, "detail": f.detail} for f in problem.findings]
                facts = {"error": {"code": problem.code, "detail": problem.detail, "errors": findings}}
                sentences = [problem.detail, *(f"{f.pointer}: {f.detail}" for f in problem.findings)]
                _fail(facts, " ".join(sentences), as_json)
            except Failed as problem:
                _fail(problem.facts, str(problem), as_json)
            except Exception as problem:
                if not is_unavailable(problem):
                    raise
                name = type(getattr(problem, "orig", None) or problem).__name__
                sentence = (
                    f"The database does not answer as it should ({name}): see DATABASE_URL, and python3 app.py doctor."
                )
                _fail({"error": {"code": "database_unavailable", "detail": sentence, "errors": []}}, sentence, as_json)

        decorated = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(run)
        return commands.command(name)(with_appcontext(decorated))

    return wrap


def _print(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, default=str))
        return
    for key, value in facts.items():
        if key in ("checks", "sentences"):
            click.echo(_checks_in_lines(value) if key == "checks" else "\n".join(value))
            continue
        shown = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value
        click.echo(f"{key.replace('_', ' ')}: {shown}")


def _checks_in_lines(checks: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(f"{'ok ' if each['ok'] else 'BAD'} {each['name']}: {each['sentence']}" for each in checks)


def _fail(facts: Mapping[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, default=str))
    click.echo(sentence, err=True)
    sys.exit(1)


def main(argv: list[str]) -> int:
    """Run one command; returns its exit code. A wrong setting is one sentence on stderr and 1.

    With ``--json`` a setting or a call that is wrong is a JSON object on stdout too.
    """
    from .factory import create_app

    try:
        app = create_app(Settings.from_env())
    except (ConfigError, OSError) as error:
        _say_in_json(argv, "wrong_setting", str(error))
        click.echo(str(error), err=True)
        return 1
    with app.app_context():
        try:
            commands.main(args=argv, prog_name="python3 app.py", standalone_mode=False)
        except click.ClickException as problem:
            _say_in_json(argv, "wrong_usage", problem.format_message())
            problem.show()
            return problem.exit_code
        except click.exceptions.Abort:
            return 130
        except SystemExit as ending:
            return int(ending.code or 0)
    return 0


def _say_in_json(argv: Sequence[str], code: str, sentence: str) -> None:
    if "--json" in argv:
        click.echo(json.dumps({"error": {"code": code, "detail": sentence, "errors": []}}, ensure_ascii=False))


def register(app: Flask) -> None:
    """Make the commands known as ``flask wa NAME``."""
    app.cli.add_command(commands)


def _settings() -> Settings:
    return current_app.extensions["wa_settings"]


def _refuse_failpoints() -> None:
    """Raises ClickException: what breaks on purpose may not stand between people and their messages."""
    from .services import checkup

    if _settings().failpoints and checkup.live_accounts():
        raise click.ClickException("WA_FAILPOINTS is set while live accounts exist: unset it.")


def _checked_in() -> bool:
    """Before anything may leave: is this the database we left? False when it cannot tell."""
    from .services import epoch

    try:
        epoch.check_in()
    except SQLAlchemyError as error:
        give_up_read()
        log.warning("database_cannot_tell", error=type(error).__name__)
        return False
    return True


def _as_part(run: Callable[[Flask], int]) -> None:
    """Serve as a part of the product until stopped. Raises ClickException when it may not start."""
    from . import presence

    _refuse_failpoints()
    try:
        with presence.present(_settings().data_dir):
            sys.exit(run(current_app._get_current_object()))  # type: ignore[attr-defined]
    except presence.Busy as busy:
        raise click.ClickException(str(busy)) from busy


# --- processes --------------------------------------------------------------------------------------------------


@commands.command("worker")
@with_appcontext
def worker() -> None:
    """Send, and read receipts, until stopped."""
    from .workers import runner

    _as_part(runner.worker)


@commands.command("scheduler")
@with_appcontext
def scheduler() -> None:
    """The metronome of the periodic sweeps, until stopped."""
    from .workers import runner

    _as_part(runner.scheduler)


@commands.command("tick")
@click.option("--once", is_flag=True, help="One round instead of going on.")
@click.option("--json", "as_json", is_flag=True)
@with_appcontext
def tick_command(once: bool, as_json: bool) -> None:
    """The sweeps without RQ: they send, read receipts and do the chores themselves."""
    from .workers import runner, tick

    if once:
        _refuse_failpoints()
        failed = tick.run_once(here=True) if _checked_in() else ["epoch"]
        if failed:
            _fail({"ticked": False, "failed": failed}, f"These sweeps failed: {', '.join(failed)}.", as_json)
        _print({"ticked": True}, as_json)
        return
    _as_part(runner.alone)


@commands.command("bench", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def bench(words: Sequence[str]) -> None:
    """Ratios against baselines measured in the same run, in folders of its own; bench --help says more."""
    # A process of its own: what is measured must not find this one's settings or imports.
    sys.exit(subprocess.call([sys.executable, str(PROJECT / "app.py"), "bench", *words]))  # noqa: S603


# --- making things ----------------------------------------------------------------------------------------------


@command("tenant-create")
@click.argument("name")
@click.option("--email", required=True)
@click.option("--live", is_flag=True, help="A tenant that may reach people.")
@click.option("--no-account", is_flag=True)
def tenant_create(name: str, email: str, live: bool, no_account: bool) -> Mapping[str, Any]:
    """A tenant, its owner, its keys, and one account of the default provider."""
    from .services import accounts, tenants

    settings = _settings()
    made = tenants.create_tenant(settings, name, email, live=live)
    account = None if no_account else accounts.create_test_account(made.tenant)
    return {
        "tenant_id": made.tenant.id,
        "owner": {"email": tenants.clean_email(email), "welcome_url": _welcome_url(settings, made.welcome_token)},
        "api_keys": {"test": made.test_key, "live": made.live_key},
        "account_id": account.id if account else None,
    }


@command("user-create")
@click.option("--tenant", required=True)
@click.option("--email", required=True)
@click.option("--role", required=True)
@click.option("--password-stdin", is_flag=True, required=True, help="The password is read from standard input.")
def user_create(tenant: str, email: str, role: str, password_stdin: bool) -> Mapping[str, Any]:  # noqa: ARG001
    """A person who can sign in."""
    from .services import tenants

    password = sys.stdin.readline().rstrip("\r\n")
    user = tenants.create_user(tenants.find_tenant(tenant), email, role, password)
    return {"user_id": user.id, "email": user.email, "role": role}


@command("api-key-create")
@click.option("--tenant", required=True)
@click.option("--scopes", default="all", help="'all' or a comma list.")
@click.option("--live", is_flag=True)
@click.option("--name", default="Command line")
def api_key_create(tenant: str, scopes: str, live: bool, name: str) -> Mapping[str, Any]:
    """A key, shown this once."""
    from .services import tenants

    chosen = tenants.SCOPES if scopes == "all" else [scope.strip() for scope in scopes.split(",") if scope.strip()]
    key = tenants.create_api_key(tenants.find_tenant(tenant), name, chosen, live=live)
    return {"api_key": key, "scopes": sorted(chosen), "live": live}


@command("account-create")
@click.option("--tenant", required=True)
@click.option("--provider", required=True)
@click.option("--credentials", required=True, help="A JSON file.")
@click.option("--priority", default=100, type=int)
@click.option("--live", is_flag=True)
def account_create(tenant: str, provider: str, credentials: str, priority: int, live: bool) -> Mapping[str, Any]:
    """A sender at a provider."""
    from .services import accounts, tenants

    owner = tenants.find_tenant(tenant)
    read = accounts.read_credentials(credentials)
    account = accounts.create_account(owner, provider, read, live=live, priority=priority)
    return {"account_id": account.id, "webhook_url": accounts.webhook_url(account)}


@command("failover-drill")
@click.option("--tenant", required=True)
@click.option("--account", required=True)
def failover_drill(tenant: str, account: str) -> Mapping[str, Any]:
    """What would happen if a sender were down now. Changes nothing."""
    from .db import tenant_scope
    from .services import failover, tenants

    owner = tenants.find_tenant(tenant)
    with tenant_scope(owner.id):
        found = failover.drill(owner, account)
        return {
            "account_id": found.account.id,
            "standbys": [each.id for each in found.standbys],
            "ready": found.ready,
            "moves": found.moves,
            "stays": found.stays,
            "sentences": list(found.sentences),
        }


@command("template-approve")
@click.option("--tenant", required=True)
@click.argument("name")
@click.argument("language")
def template_approve(tenant: str, name: str, language: str) -> Mapping[str, Any]:
    """Test mode only: ask the simulator to approve a template now."""
    from .services import template_submission, tenants

    rows = template_submission.approve_now(tenants.find_tenant(tenant), name, language)
    return {"name": name, "language": language, "approved": [row.account_id for row in rows]}


@command("welcome-link")
@click.option("--tenant", "tenant_id", help="The first one, unless another is named.")
def welcome_link(tenant_id: str | None) -> Mapping[str, Any]:
    """A fresh link by which an owner who has no password yet makes one."""
    from .services import demo, tenants

    tenant = tenants.find_tenant(tenant_id) if tenant_id else demo.first_tenant()
    if tenant is None or not tenants.owner_without_password(tenant):
        raise Failed(
            {"welcome_url": None, "sign_in_url": f"{_settings().public_url}/sign-in"},
            "There is an account already: sign in.",
        )
    return {"welcome_url": _welcome_url(_settings(), tenants.new_welcome_link(tenant))}


def _welcome_url(settings: Settings, token: str) -> str:
    return f"{settings.public_url}/welcome/{token}"


# --- looking after ----------------------------------------------------------------------------------------------


@command("_prepare")
def prepare() -> Mapping[str, Any]:
    """What ``run`` needs: the newest schema and, in an empty database, something to look at."""
    return prepare_database(_settings())


def prepare_database(settings: Settings) -> dict[str, Any]:
    """Bring the schema up to date and make the first tenant; where to go first, for the terminal.

    Returns ``{"welcome_url"|None, "sign_in_url", "demo": {"tenant", "api_key", "phone"}|None}``.
    """
    from .services import demo, tenants

    migrate_schema()
    tenant = demo.first_tenant() or demo.make(settings)
    welcome = tenants.new_welcome_link(tenant) if tenants.first_account_missing() else None
    return {
        "welcome_url": _welcome_url(settings, welcome) if welcome else None,
        "sign_in_url": f"{settings.public_url}/sign-in",
        "demo": demo.remembered(settings),
    }


def migrate_schema() -> None:
    """Run the migrations that are missing."""
    from flask_migrate import upgrade

    upgrade(directory=current_app.extensions["migrate"].directory)


@command("upgrade")
def upgrade_command() -> Mapping[str, Any]:
    """A copy of an SQLite database beside it, then the migrations. PostgreSQL: make your own backup first."""
    from . import db

    copy = db.copy_sqlite(_settings())
    before = db.schema_revision()
    migrate_schema()
    return {"backup": str(copy) if copy else None, "from": before, "to": db.schema_revision()}


@command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> Mapping[str, Any]:
    """A copy of the whole database in FILE, while everything runs; its checksum beside it."""
    from .services import backups

    with _spoken():
        return backups.make(_settings(), file)


@command("restore")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def restore(file: Path) -> Mapping[str, Any]:
    """Put FILE back in place of the database. Everything must be stopped; nothing old is sent before `release`."""
    from . import presence
    from .services import backups

    settings = _settings()
    with _spoken(), presence.alone(settings.data_dir):
        facts = backups.check(settings, file)
        kept = None
        if settings.database_path is None:
            backups.load_postgresql(settings, file)
            fences = _make_ready()
        else:
            staged = backups.stage_sqlite(settings, file)
            try:
                fences = _make_ready_apart(replace(settings, database_url=f"sqlite:///{staged}"))
                kept = backups.put_sqlite_in_place(settings, staged)
            finally:
                staged.unlink(missing_ok=True)
    return {
        **facts,
        "before": str(kept) if kept else None,
        "held": sum(each.held for each in fences),
        "reminders": sum(each.reminders for each in fences),
        "tenants": [_fence_facts(each) for each in fences],
    }


def _make_ready_apart(settings: Settings) -> Any:
    """As `_make_ready`, for a database that is not in its place yet."""
    from .db import db
    from .factory import create_app

    with create_app(settings).app_context():
        try:
            return _make_ready()
        finally:
            db.session.remove()
            db.engine.dispose()


def _make_ready() -> Any:
    from .services import backups

    migrate_schema()
    return backups.mark_restored()


def _fence_facts(found: Any) -> Mapping[str, Any]:
    at = found.backup_at.isoformat() if found.backup_at else None
    return {"tenant_id": found.tenant_id, "held": found.held, "reminders": found.reminders, "backup_at": at}


@contextmanager
def _spoken() -> Iterator[None]:
    """What stops a backup or a restore, as the command's own "no"."""
    from . import presence
    from .dumps import DumpError

    try:
        yield
    except (DumpError, presence.Busy, OSError) as problem:
        place = f"{problem.filename}: {problem.strerror}." if isinstance(problem, OSError) else str(problem)
        raise Failed({"error": {"code": "not_possible", "detail": place, "errors": []}}, place) from problem


@command("release")
@click.option("--tenant", required=True)
@click.option("--campaign", help="Only the messages of this campaign.")
@click.option("--dry-run", is_flag=True, help="Count; let nothing go.")
@click.option(
    "--leave-unknown", is_flag=True, help="Do not send what nobody can tell was sent: it is left unconfirmed."
)
@click.option("--without-asking", is_flag=True, help="Let go as well what a provider gives no answer about.")
def release(
    tenant: str, campaign: str | None, dry_run: bool, leave_unknown: bool, without_asking: bool
) -> Mapping[str, Any]:
    """After a restore: let an organiser's messages go that had not been sent."""
    from .services import release as verbs
    from .services import tenants

    owner = tenants.find_tenant(tenant)
    wish = verbs.Wish(campaign, leave_unknown=leave_unknown, without_asking=without_asking)
    return {"tenant_id": owner.id, "dry_run": dry_run, **verbs.release(owner, wish, dry_run=dry_run)}


@command("doctor")
def doctor() -> Mapping[str, Any]:
    """What is wrong, in words, and what to do."""
    from .services import checkup

    findings = checkup.examine(_settings())
    checks = [each.as_dict() for each in findings]
    facts: dict[str, Any] = {"ok": all(each.ok for each in findings), "checks": checks}
    if not facts["ok"]:
        raise Failed(facts, _checks_in_lines(checks))
    return facts


@command("invariants")
def invariants() -> Mapping[str, Any]:
    """Check what must always hold; the first violation, exit 1."""
    from .services import invariants as rules

    checked, violation = rules.check()
    if violation is not None:
        raise Failed({"ok": False, "checked": checked, "violation": violation}, violation)
    return {"ok": True, "checked": checked}


@command("webhooks-replay")
@click.option("--since", help="RFC 3339, with offset.")
@click.option("--id", "event_id")
@click.option("--provider")
@click.option("--dry-run", is_flag=True)
def webhooks_replay(since: str | None, event_id: str | None, provider: str | None, dry_run: bool) -> Mapping[str, Any]:
    """Read stored webhooks again; whatever was understood already changes nothing."""
    from .services import receipts

    if (since is None) == (event_id is None):
        raise click.UsageError("Say either --since or --id.")
    try:
        moment = datetime.fromisoformat(since) if since else None
    except ValueError as error:
        raise click.UsageError(f"--since must be a time such as 2026-11-22T10:00:00+02:00, not {since!r}.") from error
    if moment is not None and moment.tzinfo is None:
        raise click.UsageError("--since needs an offset, such as 2026-11-22T10:00:00+02:00.")
    return dict(receipts.replay(since=moment, event_id=event_id, provider=provider, dry_run=dry_run))
