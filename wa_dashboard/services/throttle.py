"""How many messages a tenant may send now: a sliding log in Redis, one script over all its rules.

Without Redis a token bucket in SQL at half the rate: slower, never unlimited (durability.md §3.11).
"""

from dataclasses import dataclass
from datetime import timedelta

import redis
from sqlalchemy import select

from .. import logs, queues
from ..db import clock_of_database, db, insert_rows, transaction, upsert
from ..domain.ids import new_id
from ..models import Attempt, Message, RateBucket, Tenant

log = logs.get(__name__)

# KEYS: epoch, then one log a rule. ARGV: wanted, a unique name, then limit and window (ms) of each rule.
# Redis' own clock is the only one. Nothing is taken unless all rules agree; -1: the logs were lost, fill them first.
_TAKE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {-1, 0, 0} end
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
local granted = tonumber(ARGV[1]); local wait = 0; local binding = 0
for i = 2, #KEYS do
  local limit, window = tonumber(ARGV[i * 2 - 1]), tonumber(ARGV[i * 2])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - window)
  local free = limit - redis.call('ZCARD', KEYS[i])
  if free < tonumber(ARGV[1]) then
    local nth = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
    if nth[2] then local w = tonumber(nth[2]) + window - now + 1; if w > wait then wait = w; binding = i - 1 end end
  end
  if free < granted then granted = math.max(free, 0) end
end
for n = 1, granted do
  for i = 2, #KEYS do redis.call('ZADD', KEYS[i], now, ARGV[2] .. ':' .. n) end
end
for i = 2, #KEYS do redis.call('PEXPIRE', KEYS[i], tonumber(ARGV[i * 2]) + 60000) end
return {granted, wait, binding}
"""


# A grant leaves a moment later than it is counted; so much longer is a window, that the far end never sees more.
_SLACK_MS = 1500


@dataclass(frozen=True)
class Rule:
    """At most ``limit`` messages in any ``seconds``."""

    name: str
    limit: int
    seconds: int


@dataclass(frozen=True)
class Grant:
    """``count`` may go now; the others not before ``wait`` seconds, because of ``rule``."""

    count: int
    wait: float
    rule: str | None = None


def rules_of(tenant: Tenant) -> list[Rule]:
    """The tenant's limits; one that is 0 does not exist."""
    rules = [Rule("minute", tenant.rate_per_minute, 60), Rule("hour", tenant.rate_per_hour, 3600)]
    return [rule for rule in rules if rule.limit > 0]


def take(tenant: Tenant, live: bool, wanted: int) -> Grant:
    """Take up to ``wanted`` sends from the tenant's limits. Never waits, never opens the gate when Redis is away."""
    rules = rules_of(tenant)
    if not rules or wanted <= 0:
        return Grant(wanted, 0.0)
    try:
        return _take_from_redis(tenant, live, wanted, rules)
    except (redis.RedisError, OSError) as error:
        log.warning("limiter_without_redis", tenant_id=tenant.id, error=type(error).__name__)
        return _take_from_sql(tenant, live, wanted, rules)


def _take_from_redis(tenant: Tenant, live: bool, wanted: int, rules: list[Rule]) -> Grant:
    client = queues.client()
    stem = f"wa:rate:{tenant.id}:{'live' if live else 'test'}"
    keys = [f"{stem}:epoch", *(f"{stem}:{rule.name}" for rule in rules)]
    arguments: list[str | int] = [wanted, new_id("tok")]
    for rule in rules:
        arguments += [rule.limit, rule.seconds * 1000 + _SLACK_MS]
    granted, wait, binding = client.eval(_TAKE, len(keys), *keys, *arguments)
    if granted < 0:
        _refill(client, live, stem, rules)
        granted, wait, binding = client.eval(_TAKE, len(keys), *keys, *arguments)
    tightest = rules[int(binding) - 1].name if binding else None
    return Grant(max(int(granted), 0), max(int(wait), 0) / 1000, tightest)


def _refill(client: redis.Redis, live: bool, stem: str, rules: list[Rule]) -> None:
    """A flushed Redis has forgotten what was sent: the attempts have not."""
    now = clock_of_database()
    longest = max(rule.seconds for rule in rules)
    rows = db.session.execute(
        select(Attempt.message_id, Attempt.attempt_no, Attempt.started_at)
        .join(Message, Message.id == Attempt.message_id)
        .where(Message.live == live, Attempt.started_at > now - timedelta(seconds=longest))
    ).all()
    seconds, micros = client.time()
    clock_ms = seconds * 1000 + micros // 1000
    pipe = client.pipeline()
    for rule in rules:
        scores = {
            f"seed:{row.message_id}:{row.attempt_no}": clock_ms - int((now - row.started_at).total_seconds() * 1000)
            for row in rows
            if (now - row.started_at).total_seconds() < rule.seconds
        }
        if scores:
            pipe.zadd(f"{stem}:{rule.name}", scores)
            pipe.pexpire(f"{stem}:{rule.name}", rule.seconds * 1000 + 60000)
    pipe.set(f"{stem}:epoch", "1", ex=86400)
    pipe.execute()


def _take_from_sql(tenant: Tenant, live: bool, wanted: int, rules: list[Rule]) -> Grant:
    """Half the rate of the tightest rule, from one row that is locked while we count."""
    rate = min(rule.limit / rule.seconds for rule in rules) / 2
    room = max(1.0, min(rule.limit for rule in rules) / 2 / 10)  # a burst of a tenth, then the steady rate
    name = "live" if live else "test"
    with transaction():
        now = clock_of_database()
        insert_rows(
            RateBucket,
            [{"tenant_id": tenant.id, "rule": name, "tokens": room, "counted_at": now}],
            once=["tenant_id", "rule"],
        )
        bucket = db.session.scalars(select(RateBucket).where(RateBucket.rule == name).with_for_update()).one()
        tokens = min(room, bucket.tokens + (now - bucket.counted_at).total_seconds() * rate)
        granted = min(wanted, int(tokens))
        upsert(
            RateBucket,
            {"tenant_id": tenant.id, "rule": name, "tokens": tokens - granted, "counted_at": now},
            key=["tenant_id", "rule"],
            update=["tokens", "counted_at"],
        )
    wait = 0.0 if granted == wanted else (1 - (tokens - granted)) / rate
    return Grant(granted, max(wait, 0.5) if granted < wanted else 0.0, "queue_away")
