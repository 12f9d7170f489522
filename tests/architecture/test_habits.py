"""Habits that only hold because somebody looks: each test names the places that may differ, and why."""

import ast
import re
from pathlib import Path

import pytest

from wa_dashboard.domain import statuses, story

from .source import calls_of, functions_of, modules, name_of, room_of, tree_of

# The judge has no database and no tenants; the benchmarks hold baselines that do everything we do not.
OURS = tuple(path for path in modules() if room_of(path) not in ("simulator", "bench"))


def where(calls: set[str], paths: tuple[Path, ...] = OURS) -> set[str]:
    return {name_of(path) for path in paths for name, _ in calls_of(path) if name in calls}


# --- the database -----------------------------------------------------------------------------------------------


def test_only_db_commits() -> None:
    assert where({"commit"}) == {"db.py"}
    assert where({"rollback"}) == {"db.py", "services/checkup.py"}  # the doctor looks at a database that may be ill


def test_only_db_speaks_sql() -> None:
    """L5 of security.md §4.1: plain SQL passes the tenant filter by. Text is allowed for what no rows pass through."""
    index_predicates = {"models/codes.py", "models/media.py", "models/messages.py", "models/webhooks.py"}

    plain = {
        name_of(path)
        for path in OURS
        for _, call in calls_of(path)
        if ast.unparse(call.func) in ("text", "sa.text", "sqlalchemy.text")
    }
    assert plain == index_predicates
    assert where({"exec_driver_sql"}) == {"db.py"}
    our_own_wire = {"providers/transport.py"}  # requests.Session
    assert where({"Session"}) == our_own_wire
    assert where({"sessionmaker", "scoped_session", "bulk_insert_mappings", "bulk_save_objects"}) == set()


def test_nobody_reaches_past_the_models() -> None:
    """``__table__`` and ``session.get`` (which may answer from memory) pass the tenant filter by as well."""
    reached = set()
    for path in OURS:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and node.attr in ("__table__", "identity_map"):
                reached.add(name_of(path))
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("db.session.get", "db.session.query"):
                reached.add(name_of(path))

    assert reached == {"bulk.py", "db.py"}


def test_rims_open_no_transactions() -> None:
    """A use case is a transaction, and use cases live in services."""
    rims = tuple(path for path in OURS if room_of(path) in ("api", "web", "workers"))

    assert where({"transaction", "savepoint", "insert_rows", "upsert"}, rims) == {"workers/tick.py"}  # its heartbeat


def test_statuses_move_in_one_place() -> None:
    """Messages move through lifecycle.py, and evidence.py below it. Others assign the status of rows that are theirs,
    named here."""
    theirs = {
        "services/lifecycle.py": "messages",
        "services/evidence.py": "messages, as receipts prove it",
        "services/outcomes.py": "accounts that are held",
        "services/template_review.py": "approvals",
        "services/template_submission.py": "approvals",
        "services/consent_log.py": "consents",
        "services/reminders.py": "schedules",
        "services/idempotency.py": "the HTTP status of a kept answer",
    }
    assigning = set()
    for path in OURS:
        for node in ast.walk(tree_of(path)):
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [
                part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])
            ]
            if any(isinstance(name, ast.Attribute) and name.attr == "status" for name in names):
                assigning.add(name_of(path))

    assert {name for name in assigning if name.startswith("services/")} - set(theirs) == set()


def test_only_lifecycle_changes_a_messages_status() -> None:
    changing = set()
    for path in OURS:
        for name, call in calls_of(path):
            says_status = name == "values" and "status" in {word.arg for word in call.keywords}
            if says_status and "update(Message)" in ast.unparse(call.func):
                changing.add(name_of(path))

    assert changing == {"services/lifecycle.py", "services/delivery.py"}  # the latter: begin, queued → sending


# --- time and randomness ----------------------------------------------------------------------------------------


def test_time_is_asked_of_the_clock() -> None:
    """Business time can be moved by a test. Where the wire's own time is meant, it stands here."""
    asking = {
        name_of(path)
        for path in OURS
        for name, call in calls_of(path)
        if name in ("now", "utcnow", "today") and ast.unparse(call.func).startswith(("datetime", "date"))
    }

    assert asking == {"clock.py", "providers/verdict.py"}  # verdict: how long Retry-After's date lies ahead


# --- words ------------------------------------------------------------------------------------------------------


def test_sentences_are_written_out_where_they_are_used() -> None:
    """``T(variable)`` would never reach the translators."""
    unwritten = {
        f"{name_of(path)}:{call.lineno}"
        for path in OURS
        for name, call in calls_of(path)
        if name == "T" and call.args and not _is_text(call.args[0])
    }

    assert {place.split(":")[0] for place in unwritten} - {"domain/story.py", "domain/consent.py"} == set()


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_line_of_a_story_has_its_sentence() -> None:
    told = set()
    for path in OURS:
        for name, call in calls_of(path):
            position = {"tell": 2, "move": 3}.get(name)
            if position is not None and len(call.args) > position and _is_text(call.args[position]):
                told.add(call.args[position].value)

    assert len(told) > 8
    assert told - story.known_kinds() == set()


def test_every_status_has_its_word_and_its_moves() -> None:
    every = set(statuses.Status)

    assert set(statuses.STATUS_WORDS) == every
    assert set(statuses.MOVES) == every
    assert set(statuses.POLICY_OF) == set(statuses.LANE_OF) == set(statuses.PURPOSE_OF) == set(statuses.MessageType)


# --- shape ------------------------------------------------------------------------------------------------------

LONG_FILES = {
    "cli.py": "every command, in one place",
    "config.py": "every variable of the operator, in one place",
    "db.py": "all that differs between databases, in one place",
    "services/tenants.py": "tenants, people, keys and sign-in are one story",
}
LONGEST_FILE, LONGEST_FUNCTION = 400, 50


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert ast.get_docstring(tree_of(path)), "say in one sentence what the module is for"
    assert text.count("\n") <= LONGEST_FILE or name_of(path) in LONG_FILES
    for function in functions_of(path):
        document = ast.get_docstring(function, clean=False) or ""
        lines = (function.end_lineno or 0) - function.lineno + 1 - document.count("\n")
        assert lines <= LONGEST_FUNCTION, f"{function.name} has {lines} lines"


def test_no_drawer_for_odds_and_ends() -> None:
    names = {path.stem for path in modules()} | {path.parent.name for path in modules()}

    assert names & {"utils", "util", "helpers", "common", "misc", "manager", "base_service"} == set()


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b")  # the words it looks for, nothing left open
    unfinished = {name_of(path) for path in modules() if mark.search(path.read_text(encoding="utf-8"))}

    assert unfinished == set()
