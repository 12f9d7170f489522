"""Backups as files: private, whole, checked before anything is touched; and who may restore when."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.servers import DOOR, clean_environ
from tests.test_cli import Shell
from wa_dashboard import dumps, presence

KILLED_WRITER = """
import os, sqlite3, sys
link = sqlite3.connect(sys.argv[1], isolation_level=None)
link.execute("PRAGMA wal_autocheckpoint=0")
link.execute("UPDATE wa_tenants SET name = 'Other'")
os._exit(0)
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """An installation on SQLite with one organiser."""
    made = Shell(tmp_path)
    made.ask("upgrade")
    made.ask("tenant-create", "Casa", "--email", "casa@example.org")
    return made


def tenants_in(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as opened:
        return [name for (name,) in opened.execute("SELECT name FROM wa_tenants ORDER BY name")]


def database(shell: Shell) -> Path:
    return shell.folder / "data" / "wa.db"


def test_a_backup_is_one_private_file_with_its_checksum(shell: Shell) -> None:
    file = shell.folder / "monday"
    os.umask(0)

    told = shell.ask("backup", str(file))

    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE((shell.folder / "monday.sha256").stat().st_mode) == 0o600
    assert (told["database"], told["bytes"], told["sha256"]) == ("sqlite", file.stat().st_size, dumps.digest(file))
    assert subprocess.run(["sha256sum", "-c", "monday.sha256"], cwd=shell.folder, capture_output=True).returncode == 0
    assert tenants_in(file) == ["Casa"]
    assert sorted(path.name for path in shell.folder.glob("monday*")) == ["monday", "monday.sha256"]


def test_a_restore_brings_back_what_was_and_keeps_what_is(shell: Shell) -> None:
    file = shell.folder / "monday"
    shell.ask("backup", str(file))
    shell.ask("tenant-create", "Later", "--email", "later@example.org")

    told = shell.ask("restore", str(file))

    assert tenants_in(database(shell)) == ["Casa"]
    assert tenants_in(Path(told["before"])) == ["Casa", "Later"]
    assert (told["checksum"], told["held"], told["tenants"]) == (True, 0, [])
    assert not database(shell).with_name("wa.db.restoring").exists()
    assert shell.ask("invariants")["ok"] is True
    assert tenants_in(file) == ["Casa"]  # the backup itself is as it was


def test_the_log_of_the_database_before_is_not_read_into_the_restored_one(shell: Shell) -> None:
    file = shell.folder / "monday"
    shell.ask("backup", str(file))
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(database(shell))], check=True)
    assert database(shell).with_name("wa.db-wal").stat().st_size > 0

    told = shell.ask("restore", str(file))

    assert tenants_in(database(shell)) == ["Casa"]
    assert tenants_in(Path(told["before"])) == ["Other"]


@pytest.mark.parametrize("how", ["flipped", "cut", "text", "missing", "newer", "foreign"])
def test_a_file_that_is_no_good_backup_changes_nothing(shell: Shell, how: str) -> None:
    file = shell.folder / "monday"
    shell.ask("backup", str(file))
    shell.ask("tenant-create", "Later", "--email", "later@example.org")
    spoil(file, how)

    done = shell.run("restore", str(file))

    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert tenants_in(database(shell)) == ["Casa", "Later"]


def spoil(file: Path, how: str) -> None:
    if how == "flipped":
        with file.open("r+b") as opened:
            opened.seek(file.stat().st_size // 2)
            opened.write(b"\xff" * 64)
    elif how == "missing":
        file.unlink()
    elif how == "text":
        file.write_text("no database")
    elif how == "cut":  # without a checksum the database's own check has to find it
        file.with_name("monday.sha256").unlink()
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)
    else:
        file.with_name("monday.sha256").unlink()
        with closing(sqlite3.connect(file)) as opened, opened:
            change = "UPDATE alembic_version SET version_num = '9999'"
            opened.execute(change if how == "newer" else "DROP TABLE alembic_version")


def test_nobody_restores_under_a_running_part_and_no_part_starts_under_a_restore(shell: Shell) -> None:
    file = shell.folder / "monday"
    shell.ask("backup", str(file))

    with presence.present(shell.folder / "data"), presence.present(shell.folder / "data"):
        done = shell.run("restore", str(file))
    with presence.alone(shell.folder / "data"):
        refused = shell.run("tick")

    assert done.returncode == refused.returncode == 1
    assert "stop web" in done.stderr
    assert "restore is under way" in refused.stderr


def test_the_database_is_no_place_for_its_backup(shell: Shell) -> None:
    assert shell.run("backup", str(database(shell))).returncode == 1
    assert shell.run("backup", str(shell.folder / "nowhere" / "monday")).returncode == 1
    assert tenants_in(database(shell)) == ["Casa"]


def test_a_database_put_back_by_hand_is_noticed_by_the_next_tick(tmp_path: Path) -> None:
    """As operators do it who do not know `restore`: the file is copied back."""
    shell = Shell(tmp_path)
    apart(shell, "upgrade")
    apart(shell, "tick", "--once")
    shutil.copy2(database(shell), tmp_path / "by-hand")
    apart(shell, "tick", "--once")
    shutil.copy2(tmp_path / "by-hand", database(shell))

    assert "database_behind" in apart(shell, "tick", "--once")
    assert "database_behind" not in apart(shell, "tick", "--once")


def apart(shell: Shell, *words: str) -> str:
    """The command in a process of its own, which leaves no connection behind; what it logged."""
    done = subprocess.run(
        [sys.executable, str(DOOR), *words], env=clean_environ(shell.env), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_an_old_version_of_a_client_program_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, fitting, newest = (fake(tmp_path / str(version), version) for version in (9, 16, 18))
    monkeypatch.setattr(dumps, "_candidates", lambda name: [newest, old, fitting])

    assert dumps._client("pg_dump", 15) == fitting
    assert dumps._client("pg_dump", 17) == newest
    with pytest.raises(dumps.DumpError, match="pg_dump 19 or newer is not on PATH"):
        dumps._client("pg_dump", 19)


def fake(folder: Path, version: int) -> Path:
    folder.mkdir()
    program = folder / "pg_dump"
    program.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.4 (Debian {version}.4-1)'\n")
    program.chmod(0o755)
    return program
