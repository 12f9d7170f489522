"""The baseline of job queues: one RQ job for each message, rows loaded and saved through the ORM.

What a careful developer writes on the first day: a status that says ``sending`` before the request and ``sent``
after it, each committed. Its tables are its own, beside the product's in the same database.
"""

import random
import resource
import time
from datetime import UTC, datetime
from functools import cache
from typing import Any

import redis
import requests
from rq import Queue, SimpleWorker, Worker
from sqlalchemy import JSON, DateTime, Engine, ForeignKey, String, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

QUEUE = "bench-naive"


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


class _Base(DeclarativeBase):
    pass


class NaiveContact(_Base):
    __tablename__ = "bench_contacts"

    id: Mapped[int] = mapped_column(primary_key=True)
    phone: Mapped[str] = mapped_column(String(32), unique=True)
    first_name: Mapped[str] = mapped_column(String(100))
    opted_in: Mapped[bool] = mapped_column(default=True)


class NaiveTemplate(_Base):
    __tablename__ = "bench_templates"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    language: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))


class NaiveMessage(_Base):
    __tablename__ = "bench_messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("bench_contacts.id"))
    template_id: Mapped[int] = mapped_column(ForeignKey("bench_templates.id"))
    status: Mapped[str] = mapped_column(String(16), index=True)
    external_id: Mapped[str | None] = mapped_column(String(200), index=True)
    error: Mapped[str | None] = mapped_column(String(500))
    variables: Mapped[dict[str, str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=_now)
    updated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    contact: Mapped[NaiveContact] = relationship()
    template: Mapped[NaiveTemplate] = relationship()


@cache
def _engine(url: str) -> Engine:
    return create_engine(url)


def send_one(message_id: int, url: str, far_end: str) -> None:
    """The job: load, mark as sending, post, mark as sent. Runs in an RQ worker."""
    with Session(_engine(url)) as session:
        message = session.get_one(NaiveMessage, message_id)
        if message.status != "queued" or not message.contact.opted_in or message.template.status != "approved":
            return
        message.status = "sending"
        message.updated_at = _now()
        session.commit()
        answer = requests.post(
            f"{far_end}/v24.0/106540352242922/messages",
            json=_body(message),
            headers={"Authorization": "Bearer EAAJB-bench"},
            timeout=(3, 10),
        )
        data = answer.json()
        message.status = "sent" if answer.status_code == 200 else "failed"
        message.external_id = data["messages"][0]["id"] if answer.status_code == 200 else None
        message.updated_at = _now()
        session.commit()


def _body(message: NaiveMessage) -> dict[str, Any]:
    parameters = [{"type": "text", "parameter_name": name, "text": value} for name, value in message.variables.items()]
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": message.contact.phone,
        "type": "template",
        "biz_opaque_callback_data": f"naive_{message.id}.1",
        "template": {
            "name": message.template.name,
            "language": {"code": message.template.language},
            "components": [{"type": "body", "parameters": parameters}],
        },
    }


def fill(url: str, count: int) -> list[int]:
    """So many messages that wait; their ids."""
    engine = create_engine(url)
    _Base.metadata.create_all(engine)
    with Session(engine) as session:
        template = NaiveTemplate(name="order_confirm", language="ro", status="approved")
        stamp = time.time_ns() // 1000
        people = [NaiveContact(phone=f"+{stamp + number}", first_name="Ana") for number in range(count)]
        values = {"first_name": "Ana", "order_id": "A-1", "event_name": "Hamlet"}
        rows = [NaiveMessage(contact=each, template=template, status="queued", variables=values) for each in people]
        session.add_all(rows)
        session.commit()
        ids = [row.id for row in rows]
    engine.dispose()
    return ids


def work(kind: str, url: str, redis_url: str, far_end: str, count: int) -> dict[str, Any]:
    """``count`` jobs, done by one worker of ``kind`` ``fork`` (RQ's default) or ``simple``; wall and CPU seconds."""
    connection = redis.Redis.from_url(redis_url)
    queue = Queue(f"{QUEUE}-{kind}", connection=connection)
    for message_id in fill(url, count):
        queue.enqueue(send_one, message_id, url, far_end, result_ttl=0)
    _engine(url)  # made before the fork, as a module does that holds one: its driver is then imported once
    worker = (Worker if kind == "fork" else SimpleWorker)([queue], connection=connection)
    began, cpu = time.monotonic(), _cpu()
    worker.work(burst=True, logging_level="ERROR")
    return {"wall": time.monotonic() - began, "cpu": _cpu() - cpu, "left": len(queue)}


def post(url: str, redis_url: str, far_end: str, count: int, pause: float) -> dict[str, Any]:
    """``count`` messages, committed and then enqueued, ``pause`` seconds (and up to as much again) apart; when each
    was committed, by the id that the far end sees."""
    queue = Queue(QUEUE, connection=redis.Redis.from_url(redis_url))
    committed: dict[str, float] = {}
    for _ in range(count):
        time.sleep(pause + random.uniform(0, pause))
        (message_id,) = fill(url, 1)
        committed[f"naive_{message_id}"] = time.time()
        queue.enqueue(send_one, message_id, url, far_end, result_ttl=0)
    return {"committed": committed}


def serve(url: str, redis_url: str) -> dict[str, Any]:
    """RQ's default worker, until it is told to stop: for the time from an enqueue to the wire."""
    _engine(url)
    connection = redis.Redis.from_url(redis_url)
    Worker([Queue(QUEUE, connection=connection)], connection=connection).work(logging_level="ERROR")
    return {}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
