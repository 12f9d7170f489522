"""Copies of the whole database, and putting one back. What a restore then holds up is `fence`."""

import time
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from .. import db as database
from .. import dumps
from ..config import Settings
from ..db import all_tenants, db
from ..dumps import DumpError
from ..models import ProviderAccount
from . import checkup, epoch, fence

_DRAFT = ".partial"


def make(settings: Settings, file: Path) -> dict[str, Any]:
    """Copy the database into ``file`` (0600, whole or not at all) with its checksum beside it, while all goes on.

    Raises DumpError; OSError when the file cannot be written.
    """
    revision = database.schema_revision()
    if revision is None:
        raise DumpError("There is no database yet: nothing to back up.")
    if settings.database_path and file.exists() and file.samefile(settings.database_path):
        raise DumpError(f"{file} is the database itself: name another file.")
    if not file.parent.is_dir():
        raise DumpError(f"{file.parent} is no folder.")
    made_at = fence.note_backup()
    draft = file.with_name(file.name + _DRAFT)
    try:
        if settings.database_path is not None:
            dumps.copy_sqlite(settings.database_path, draft)
            dumps.revision_of_sqlite(draft)
        else:
            _dump_postgresql(settings, draft)
        dumps.put_in_place(draft, file)
    finally:
        draft.unlink(missing_ok=True)
    return {
        "file": str(file.absolute()),
        "bytes": file.stat().st_size,
        "sha256": dumps.put_checksum(file),
        "database": database.dialect_name(),
        "schema": revision,
        "made_at": made_at.isoformat(),
    }


def _dump_postgresql(settings: Settings, draft: Path) -> None:
    version = database.server_version()
    dumps.dump_postgresql(settings.database_url, draft, version)
    with all_tenants("a backup has everybody's"):
        senders = db.session.scalar(select(func.count()).select_from(ProviderAccount)) or 0
        database.end_read()
    if senders and not dumps.accounts_in_postgresql(draft, version):
        raise DumpError(
            "The dump has no rows of any organisation: a pooler between us and PostgreSQL keeps back what pg_dump says"
            " of itself. Name the database's own address in DATABASE_URL for this command."
        )


def check(settings: Settings, file: Path) -> dict[str, Any]:
    """Can ``file`` be put back into the database of the settings? Raises DumpError, else answers what it is."""
    kind = dumps.kind_of(file)
    wanted = "sqlite" if settings.database_path is not None else "postgresql"
    if kind != wanted:
        raise DumpError(f"{file} is of {kind}, and DATABASE_URL names {wanted}.")
    verified = dumps.checked(file)
    revision = dumps.revision_of_sqlite(file) if kind == "sqlite" else _check_postgresql(file)
    newest = checkup.newest_migration()
    if revision is None or revision > newest:
        raise DumpError(
            f"{file} has the schema {revision or 'of nothing'}, this version knows {newest}: upgrade first."
        )
    return {"file": str(file.absolute()), "database": kind, "schema": revision, "checksum": verified}


def _check_postgresql(file: Path) -> str | None:
    others = database.other_sessions()
    if others:
        raise DumpError(
            f"{others} other connections use this database: stop web, workers and scheduler on every machine first."
        )
    revision, tables = dumps.look_into_postgresql(file, database.server_version())
    strangers = sorted(name for name in database.our_tables() if name not in tables)
    if strangers:
        raise DumpError(
            f"The database has tables that the backup does not know ({', '.join(strangers[:3])}): it is of an older"
            " version. Restore into an empty database and name that in DATABASE_URL."
        )
    return revision


def stage_sqlite(settings: Settings, file: Path) -> Path:
    """A copy of ``file`` beside the database, not yet in its place. Raises DumpError."""
    assert settings.database_path is not None  # noqa: S101 - asked for on SQLite only
    staged = settings.database_path.with_name(f"{settings.database_path.name}.restoring")
    dumps.copy_sqlite(file, staged)
    return staged


def load_postgresql(settings: Settings, file: Path) -> None:
    """Put the dump into the database, whole or not at all. Raises DumpError."""
    version = database.server_version()
    db.engine.dispose()
    dumps.load_postgresql(settings.database_url, file, version)


def mark_restored() -> list[fence.Fence]:
    """In the restored database, before anything runs on it: another name for it, and the fence."""
    with all_tenants("a restore concerns everybody"), database.transaction():
        epoch.renew()
        return fence.put_up("restore")


def put_sqlite_in_place(settings: Settings, staged: Path) -> Path | None:
    """Make the staged copy the database; where the one before is kept, None if there was none."""
    assert settings.database_path is not None  # noqa: S101 - asked for on SQLite only
    dumps.close_sqlite(staged)
    folder = settings.data_dir / "backups"
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = folder / f"before-restore-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.db"
    return kept if dumps.replace_sqlite(staged, settings.database_path, kept) else None
