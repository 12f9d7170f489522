"""Is this the database we left? A number in it grows and is remembered outside of it; if it has shrunk, it is a backup.

Outside is a file of the data folder and a key in Redis. Each start of a part that sends compares, and every few
seconds the sweeps do; both then count on. A new database has another name, a new data folder or a flushed Redis
remembers nothing: neither is a restore. Outside is read before the database is, and written after it has committed,
so it is never ahead of a database that only went on.
"""

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import redis
from flask import current_app
from sqlalchemy import select, update

from .. import logs, queues
from ..config import Settings
from ..db import all_tenants, db, end_read, insert_rows, transaction
from ..domain.ids import new_id
from ..models import InstanceFact
from . import fence

log = logs.get(__name__)

FILE = "instance_epoch.json"
_FACT = "instance"
_KEY = "wa:epoch:"
_MOST_NAMES = 20  # of databases that this folder has been used with
_REMEMBERED_S = 400 * 86_400
_QUIET = {"synchronize_session": False}
# KEYS: the database's key. ARGV: number, seconds. Never backwards.
_ADVANCE = """
local known = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) > known then redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


def check_in() -> bool:
    """Compare and count on; when the database is behind, put the fence up. Returns whether it went up.

    Any number may do so at once. Raises the database's errors; what lies outside may be away.
    """
    while True:
        name = _name()
        outside = max(_in_file().get(name, 0), _in_redis(name)) if name else 0
        with all_tenants("the instance is nobody's"), transaction():
            found, number = _locked()
            if name not in (None, found):
                continue  # somebody else has found out, or emptied the database, in this moment
            behind = number < outside
            if behind:
                log.error("database_behind", number=number, known=outside, advice="was a backup restored by hand?")
                fence.put_up("database_behind")
                found, number = renew(), 0
            number += 1
            _set(found, number)
        _tell_outside(found, number)
        return behind


def renew() -> str:
    """A restored database is another one from now on, or those who go on with the old one would be taken for restored.

    Returns its name; in a transaction.
    """
    made = new_id("ins")
    insert_rows(InstanceFact, [{"name": _FACT, "value": "{}"}], once=["name"])
    _set(made, 0)
    return made


def _name() -> str | None:
    with all_tenants("the instance is nobody's"):
        told = db.session.scalar(select(InstanceFact.value).where(InstanceFact.name == _FACT))
        end_read()
    return json.loads(told)["name"] if told else None


def _locked() -> tuple[str, int]:
    """The database's name and number, nobody else's until the commit."""
    fresh = {"name": _FACT, "value": json.dumps({"name": new_id("ins"), "number": 0})}
    insert_rows(InstanceFact, [fresh], once=["name"])
    told = db.session.scalars(select(InstanceFact.value).where(InstanceFact.name == _FACT).with_for_update()).one()
    facts = json.loads(told)
    return facts["name"], facts["number"]


def _set(name: str, number: int) -> None:
    db.session.execute(
        update(InstanceFact)
        .where(InstanceFact.name == _FACT)
        .values(value=json.dumps({"name": name, "number": number})),
        execution_options=_QUIET,
    )


# --- outside ----------------------------------------------------------------------------------------------------


def _file() -> Path:
    settings: Settings = current_app.extensions["wa_settings"]
    return settings.data_dir / FILE


def _in_file() -> dict[str, int]:
    try:
        read = json.loads(_file().read_text(encoding="utf-8"))
        return {str(name): int(number) for name, number in read.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _in_redis(name: str) -> int:
    try:
        return int(queues.client().get(_KEY + name) or 0)
    except (redis.RedisError, OSError, ValueError):
        return 0


def _tell_outside(name: str, number: int) -> None:
    """As far as it can be told: a full disk or a Redis that is away costs a chance to find out, no more."""
    with suppress(redis.RedisError, OSError):
        queues.client().eval(_ADVANCE, 1, _KEY + name, str(number), str(_REMEMBERED_S))
    try:
        known = _in_file()
        if known.get(name, 0) < number:
            others = [(each, known[each]) for each in known if each != name][-_MOST_NAMES + 1 :]
            _write_file(dict([*others, (name, number)]))
    except OSError as error:
        log.warning("epoch_not_written", error=type(error).__name__)


def _write_file(known: dict[str, int]) -> None:
    target = _file()
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=".epoch-")  # 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(known, file)
        Path(draft).replace(target)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
