"""Names that must be equal in two places are compared here."""

from importlib import import_module
from inspect import getmembers, isfunction

from flask import Flask

from wa_dashboard import queues
from wa_dashboard.api import NOUNS, OPEN_ENDPOINTS, PREFIX
from wa_dashboard.db import Base, Row, TenantRow
from wa_dashboard.models import Message
from wa_dashboard.models import __all__ as models

from .source import ROOT


def test_every_job_name_has_its_function() -> None:
    """RQ is told a dotted string: a name without its function would fail in a worker, far from here."""
    for job in queues.Job:
        module, _, name = str(job.value).rpartition(".")
        assert callable(getattr(import_module(module), name)), job


def test_every_job_function_has_its_name() -> None:
    jobs = import_module("wa_dashboard.workers.jobs")
    defined = {
        f"{jobs.__name__}.{name}"
        for name, function in getmembers(jobs, isfunction)
        if function.__module__ == jobs.__name__ and not name.startswith("_")
    }

    assert defined == {str(job.value) for job in queues.Job}


def test_every_noun_of_the_api_is_listed() -> None:
    """A blueprint that nobody nests answers nothing."""
    with_blueprint = {path.stem for path in (ROOT / "api").glob("*.py") if "\nblueprint = " in path.read_text()}

    assert {noun.__name__.rpartition(".")[2] for noun in NOUNS} == with_blueprint


def test_open_endpoints_are_a_decision(app: Flask) -> None:
    """Everything below the prefix asks for a key, but for what is written here."""
    client = app.test_client()
    answering = set()
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith(PREFIX):
            continue
        url = rule.rule
        for argument in rule.arguments:
            url = url.replace(f"<{argument}>", "x")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            answer = client.open(url, method=method, json={})
            if answer.status_code != 401 or answer.json["code"] != "unauthenticated" or "Bearer" not in answer.text:
                answering.add(rule.endpoint)

    assert answering == OPEN_ENDPOINTS


def test_every_table_is_ours_and_exported() -> None:
    tables = {mapper.class_.__name__: mapper.class_ for mapper in Base.registry.mappers}

    assert all(table.__tablename__.startswith("wa_") for table in tables.values())
    assert set(tables) == set(models)
    assert all(issubclass(table, Row | TenantRow) for table in tables.values())
    assert {"wa_optin", "wa_templates", "wa_messages", "wa_schedules"} <= {t.__tablename__ for t in tables.values()}
    assert issubclass(Message, TenantRow)


def test_every_tenant_key_is_composite() -> None:
    """L2: no foreign key of a tenant's row can point into another tenant."""
    loose = {
        f"{table.name}.{key.column_keys}"
        for table in Base.metadata.tables.values()
        if "tenant_id" in table.columns
        for key in table.foreign_key_constraints
        if "tenant_id" not in key.column_keys and key.referred_table.name not in ("wa_users", "wa_tenants")
    }

    assert loose == set()
