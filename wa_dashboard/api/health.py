"""What machines ask: does the process live, can it work, how much is there to do."""

import ipaddress
from typing import Any

import redis
from flask import Blueprint, Response, current_app, jsonify, request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from .. import db as database
from .. import queues, security
from ..db import all_tenants, db, end_read, give_up_read
from ..domain.causes import CAUSES
from ..models import Message, Outbox, WebhookEvent
from ..services import account_health, checkup, parked, problems

bp = Blueprint("health", __name__)

TICK_LATE_S = 60
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


@bp.get("/healthz")
def healthz() -> Response:
    """The process lives. Touches nothing else."""
    return jsonify(status="ok")


@bp.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Every part with its state; 200 when messages can be accepted, kept and sent, else 503."""
    parts = _database_parts()
    parts["queue"] = "ok"
    try:
        queues.client().ping()
    except (redis.RedisError, OSError) as error:
        # Not fatal: rows are kept and the tick sends them; but somebody should look.
        parts["queue"] = f"away ({type(error).__name__})"
    ready = all(value == "ok" for value in parts.values())
    return jsonify(status="ok" if ready else "not_ready", parts=parts), 200 if ready else 503


def _database_parts() -> dict[str, Any]:
    parts = {"database": "ok", "schema": "ok", "tick": "unknown"}
    try:
        revision, newest = database.schema_revision(), checkup.newest_migration()
        if revision != newest:
            parts["schema"] = f"at {revision}, needs {newest}"
        if revision is not None:
            age = checkup.tick_age()
            late = age is None or age.total_seconds() > TICK_LATE_S
            parts["tick"] = "ok" if not late else "never" if age is None else f"{int(age.total_seconds())} s ago"
        end_read()
    except SQLAlchemyError as error:
        give_up_read()
        parts = {"database": type(error).__name__, "schema": "unknown", "tick": "unknown"}
    return parts


@bp.get("/metrics")
def metrics() -> Response:
    """Prometheus. Numbers come from the database when asked, so that any number of processes agree."""
    if not _may_see_metrics():
        return Response("metrics are for this machine, or send the token of WA_METRICS_TOKEN\n", 403)
    registry = CollectorRegistry()
    registry.register(_Counts())
    return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")


def _may_see_metrics() -> bool:
    token = current_app.extensions["wa_settings"].metrics_token
    if token:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return security.same(given, token)
    if any(name in request.headers for name in _FORWARDED):
        return False  # a proxy on this machine speaks for somebody who may be anywhere
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


class _Counts:
    """Gauges read from the rows."""

    def collect(self) -> Any:
        with all_tenants("metrics are the operator's"):
            outbox = GaugeMetricFamily("wa_outbox_messages", "Messages still to be dealt with", labels=["state"])
            for state, count in db.session.execute(select(Outbox.state, func.count()).group_by(Outbox.state)):
                outbox.add_metric([state], count)
            yield outbox
            messages = GaugeMetricFamily("wa_messages", "Messages by type and status", labels=["type", "status"])
            rows = select(Message.type, Message.status, func.count()).group_by(Message.type, Message.status)
            for kind, status, count in db.session.execute(rows):
                messages.add_metric([kind, status], count)
            yield messages
            webhooks = GaugeMetricFamily("wa_webhook_events", "Stored webhooks by state", labels=["state"])
            for state, count in db.session.execute(
                select(WebhookEvent.state, func.count()).group_by(WebhookEvent.state)
            ):
                webhooks.add_metric([state], count)
            yield webhooks
            items = GaugeMetricFamily(
                "wa_webhook_items", "Pieces of providers' news that are not settled", labels=["state"]
            )
            for state, count in parked.unsettled().items():
                items.add_metric([state], count)
            yield items
            open_problems = problems.totals()
            breakers = GaugeMetricFamily("wa_breaker_state", "Senders by the state of their breaker", labels=["state"])
            for state, count in account_health.states().items():
                breakers.add_metric([state], count)
            yield breakers
            stuck = GaugeMetricFamily("wa_problems", "Messages that wait for a person, by cause", labels=["cause"])
            for cause in CAUSES:
                stuck.add_metric([cause], open_problems.get(cause, 0))
            yield stuck
            yield GaugeMetricFamily(
                "wa_uncertain_age_seconds",
                "How long the oldest message without a clear answer has been waiting",
                value=account_health.oldest_doubt_s(),
            )
            age = checkup.tick_age()
            yield GaugeMetricFamily(
                "wa_tick_age_seconds", "Seconds since the sweeps last ran", value=age.total_seconds() if age else -1
            )
            end_read()
