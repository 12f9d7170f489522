"""R1 of the catalogue at any size: kill everything, lose nothing, send nothing twice. The ledger outside judges."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import redis

from .gates import judged
from .stage import Stage
from .storm import CONFIRMATION, Installation, installation

FAULTS = {"drop_before": 0.015, "drop_after": 0.02, "slow": 0.004, "slow_s": 4, "http_503": 0.03, "http_429": 0.015}
_SETTLE_S = 240.0
_PAUSE_S = 1.5


class Storm(Installation):
    """As R1 asks: two workers and two ticks beside the web; promotions are never sent twice, confirmations must go."""

    parts = {
        "web": "web",
        "worker1": "worker",
        "worker2": "worker",
        "scheduler1": "scheduler",
        "scheduler2": "scheduler",
    }
    templates = (
        CONFIRMATION,
        {
            "name": "promo",
            "type": "promo",
            "language": "ro",
            "category": "marketing",
            "body": "Bună, {first_name}! Avem o ofertă pentru {event_name}, doar pentru tine, până duminică seara.",
            "footer": "Răspunde STOP pentru a opri mesajele",
            "examples": {"first_name": "Ana", "event_name": "Hamlet"},
            "submit": True,
        },
    )


def run(stage: Stage, seeds: int = 1) -> dict[str, Any]:
    """One storm for each seed; what was lost, what came twice, and the bound that follows for all together."""
    storms = []
    for number in range(seeds):
        storms.append(_storm(stage, seed=int(time.time()) + number, number=number))
        stage.say(f"  {_sentence(storms[-1])}")
    total = sum(each["messages"] for each in storms)
    lost, twice = sum(each["lost"] for each in storms), sum(each["twice"] for each in storms)
    notes = [_sentence(each) for each in storms]
    if not twice:
        notes.append(f"none of {total:,} came twice: with 95 % confidence fewer than {3 / total:.1e} of all do (3/n)")
    figures = [
        {"what": "messages in storms", "unit": "", "value": total},
        {"what": "unconfirmed though sent, or unsent and not said so", "unit": "", "value": _wrong(storms)},
        {"what": "seconds of a storm", "unit": "s", "value": round(sum(s["seconds"] for s in storms) / seeds, 1)},
    ]
    broken = [f"invariants: {each['invariants']}" for each in storms if each["invariants"] is not True]
    broken += ["not all messages were handed over" for each in storms if not each["complete"]]
    ratios = [judged("crash_lost", [lost]), judged("crash_twice", [twice]), judged("crash_unsaid", [_wrong(storms)])]
    result = {"figures": figures, "ratios": ratios, "notes": notes, "storms": storms}
    return result | ({"error": broken[0]} if broken else {})


def _wrong(storms: list[dict[str, Any]]) -> int:
    return sum(each["unconfirmed_but_sent"] + each["unsent_but_unsaid"] for each in storms)


def _sentence(each: dict[str, Any]) -> str:
    return (
        f"seed {each['seed']}: {each['messages']} messages ({each['must_deliver']} must be delivered),"
        f" {each['kills']} kills, {each['flushes']} flushes:"
        f" lost {each['lost']}, twice {each['twice']}, unconfirmed {each['unconfirmed']} (of them sent"
        f" {each['unconfirmed_but_sent']}), unsent and unsaid {each['unsent_but_unsaid']},"
        f" {dict(each['statuses'])}, {each['seconds']} s"
    )


def _storm(stage: Stage, seed: int, number: int) -> dict[str, Any]:
    count, kills, flushes = stage.sized(10_000, 200), stage.sized(50, 4), stage.sized(5, 1)
    folder = stage.folder / f"storm{number}"
    folder.mkdir()
    queue = redis.Redis.from_url(stage.redis_url)
    queue.flushall()
    began = time.monotonic()
    with installation(folder, stage.make_database(), stage.redis_url, seed, "meta_cloud", Storm) as storm:
        storm.faults(**FAULTS)
        made = {"tenant_id": storm.tenant, "account_id": storm.account}
        fed = folder / "fed.json"
        feeding = {"count": count, "chunks": kills + flushes, "pause": _PAUSE_S * 0.75, "file": str(fed)}
        with stage.beside("crash_steps:feed", env=storm.env, **made, **feeding) as feeder:
            storm.kill_some(kills, queue.flushall, flushes, pause=_PAUSE_S)
            feeder.wait(120)
        storm.faults()
        settled = stage.step("crash_steps:settle", env=storm.env, seconds=_SETTLE_S + 60, longest=_SETTLE_S, **made)
        ledger = storm.ledger()
        invariants = storm.command("invariants")
    facts = _judge(settled["messages"], ledger)
    seconds = round(time.monotonic() - began, 1)
    return {
        "seed": seed,
        "kills": kills,
        "flushes": flushes,
        "seconds": seconds,
        "invariants": invariants.get("ok") or invariants.get("violation"),
        "complete": _is_complete(fed, count),
        **facts,
    }


def _is_complete(fed: Path, count: int) -> bool:
    return fed.exists() and int(fed.read_text(encoding="utf-8")) == count


def _judge(messages: dict[str, list[str]], ledger: Counter[str]) -> dict[str, Any]:
    """``messages``: policy and status by id; ``ledger``: how often the provider accepted each."""
    unsent = {message_id for message_id in messages if message_id not in ledger}
    unconfirmed = {message_id for message_id, (_, status) in messages.items() if status == "unconfirmed"}
    must = {message_id for message_id, (policy, _) in messages.items() if policy == "must_deliver"}
    return {
        "messages": len(messages),
        "must_deliver": len(must),
        "statuses": Counter(status for _, status in messages.values()),
        "lost": len(unsent & must),
        "twice": sum(1 for message_id in messages if ledger[message_id] > 1),
        "unconfirmed": len(unconfirmed),
        "unconfirmed_but_sent": len(unconfirmed - unsent),
        "unsent_but_unsaid": len(unsent - must - unconfirmed),
    }
