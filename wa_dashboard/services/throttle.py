"""How much may be sent now: one script over all limits, asked for a whole batch, answering for each message.

Tenant per minute and hour, number per second, number of different people in 24 hours (the provider's tier), and one
message in six seconds to one person. A fifth of each is kept for codes, urgent messages and order confirmations.
Nothing is taken from any limit unless all of them agree. Without Redis a token bucket in SQL at half the rate:
slower, never open (durability.md §3.11).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import redis
from flask import current_app
from sqlalchemy import select

from .. import clock, logs, queues
from ..db import clock_of_database, db, end_read, insert_rows, transaction, upsert
from ..domain.statuses import PRIORITY, Lane
from ..domain.text import T
from ..models import Attempt, Message, ProviderAccount, RateBucket, Tenant

log = logs.get(__name__)

# KEYS: epoch, log of each window rule, people (tier). ARGV: window rules (limit, window in ms), tier limit, pair in ms,
# stem of the pair keys, then for each message: 1 if it may use the reserve (2: and need not wait for its pair), its
# name, its person.
# Redis' own clock is the only one. Answers rule and wait (ms) for each message, rule 0: it may go; {-1}: the logs were
# lost, fill them first.
_TAKE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {-1} end
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
local rules = #KEYS - 2; local people = KEYS[#KEYS]; local limits, windows, counts, shut = {}, {}, {}, {{}, {}}
for i = 1, rules do
  limits[i] = tonumber(ARGV[i * 2 - 1]); windows[i] = tonumber(ARGV[i * 2])
  redis.call('ZREMRANGEBYSCORE', KEYS[i + 1], '-inf', now - windows[i])
  counts[i] = redis.call('ZCARD', KEYS[i + 1])
end
local a = rules * 2; local tier = tonumber(ARGV[a + 1]); local pair = tonumber(ARGV[a + 2]); local stem = ARGV[a + 3]
local day = 86400000; local known = 0
if tier > 0 then
  redis.call('ZREMRANGEBYSCORE', people, '-inf', now - day); known = redis.call('ZCARD', people)
end
local function room(limit, first) if first == 1 then return limit end return math.max(1, math.floor(limit * 0.8)) end
local function opens(key, count, most, window)
  local nth = redis.call('ZRANGE', key, count - most, count - most, 'WITHSCORES')
  return nth[2] and math.max(1, tonumber(nth[2]) + window - now + 1) or window
end
local answer = {}
for m = a + 4, #ARGV, 3 do
  local first = ARGV[m] == '0' and 2 or 1; local person = ARGV[m + 2]
  local rule, wait = 0, 0
  if shut[first][1] then rule, wait = shut[first][1], shut[first][2] else
    for i = 1, rules do
      local most = room(limits[i], first)
      if counts[i] >= most then
        local w = opens(KEYS[i + 1], counts[i], most, windows[i])
        if w > wait then rule, wait = i, w end
      end
    end
    if rule > 0 then shut[first] = {rule, wait} end
  end
  if rule == 0 and tier > 0 and not redis.call('ZSCORE', people, person) then
    local most = room(tier, first)
    if known >= most then rule, wait = rules + 1, opens(people, known, most, day) end
  end
  if rule == 0 and pair > 0 and ARGV[m] ~= '2' then
    local left = redis.call('PTTL', stem .. person)
    if left > 0 then rule, wait = rules + 2, left end
  end
  if rule == 0 then
    for i = 1, rules do redis.call('ZADD', KEYS[i + 1], now, ARGV[m + 1]); counts[i] = counts[i] + 1 end
    if tier > 0 then
      if not redis.call('ZSCORE', people, person) then known = known + 1 end
      redis.call('ZADD', people, now, person)
    end
    if pair > 0 then redis.call('SET', stem .. person, '1', 'PX', pair) end
  end
  answer[#answer + 1] = rule; answer[#answer + 1] = wait
end
for i = 1, rules do redis.call('PEXPIRE', KEYS[i + 1], windows[i] + 60000) end
if tier > 0 then redis.call('PEXPIRE', people, day + 60000) end
return answer
"""

RESERVED = PRIORITY[Lane.HIGH]  # this urgent and more: may use the fifth that the others may not
_AT_ONCE = PRIORITY[Lane.OTP]  # a code waits for no pair: Meta bears bursts of 45 to a person (contracts.md §1.9)
_SHARE = 0.8
DAY_S = 86_400
# A grant leaves a moment later than it is counted; so much longer is a window, that the far end never sees more.
_SLACK_MS = 1500
_SHORT_SLACK_MS = 250
# What a live number bears where nobody has said otherwise, messages a second (contracts.md §1.9, §2.5).
_NUMBER_BEARS = {"twilio": 10}
_MOST_NUMBERS_BEAR = 80
_RECOVERS_PER_MINUTE = 0.1

_missed: set[str] = set()

_LABELS = {
    "minute": T("messages a minute"),
    "hour": T("messages an hour"),
    "second": T("messages a second from this number"),
    "tier": T("different people in 24 hours"),
    "pair": T("one message to a person in six seconds"),
    "queue_away": T("half of the limits while the queue is away"),
}


@dataclass(frozen=True)
class Rule:
    """At most ``limit`` messages in any ``seconds``."""

    name: str
    limit: int
    seconds: int

    @property
    def window_ms(self) -> int:
        return self.seconds * 1000 + (_SLACK_MS if self.seconds > 10 else _SHORT_SLACK_MS)


@dataclass(frozen=True)
class Ask:
    """A message that wants to leave."""

    message_id: str
    attempt_no: int
    contact_id: str
    priority: int

    @property
    def name(self) -> str:
        return f"{self.message_id}.{self.attempt_no}"


@dataclass(frozen=True)
class Leave:
    """Whether one message may go now: ``rule`` is None, or it may not before ``wait`` seconds because of it."""

    rule: str | None = None
    wait: float = 0.0


@dataclass(frozen=True)
class Use:
    """How much of a limit is used now. ``account_id``: the number it is about, None for the whole organisation."""

    rule: str
    label: T
    limit: int
    used: int
    seconds: int
    account_id: str | None = None


def limit_of(tenant: Tenant, account: ProviderAccount, rule: str) -> int | None:
    """The number of the rule called so, None where it has none."""
    if rule == "tier":
        return account.tier_limit
    return next((each.limit for each in rules_of(tenant, account) if each.name == rule), None)


def rules_of(tenant: Tenant, account: ProviderAccount | None = None) -> list[Rule]:
    """The limits over windows of time; one that is 0 does not exist."""
    rules = [Rule("minute", tenant.rate_per_minute, 60), Rule("hour", tenant.rate_per_hour, 3600)]
    if account is not None:
        rules.append(Rule("second", number_bears(account), 1))
    return [rule for rule in rules if rule.limit > 0]


def number_bears(account: ProviderAccount) -> int:
    """Messages a second from this number, after what the provider asked us to slow down; 0: no limit.

    What the provider took away comes back by a tenth a minute (durability.md §3.9).
    """
    rate = account.rate_per_second
    slowed = 1.0
    if account.slowed < 1.0 and account.slowed_at is not None:
        minutes = (clock.now() - account.slowed_at).total_seconds() / 60
        slowed = min(1.0, account.slowed + max(minutes, 0.0) * _RECOVERS_PER_MINUTE)
    if not rate and (account.live or slowed < 1.0):
        rate = _NUMBER_BEARS.get(account.provider, _MOST_NUMBERS_BEAR)
    return max(1, int(rate * slowed)) if rate else 0


def take(tenant: Tenant, account: ProviderAccount, asks: Sequence[Ask]) -> list[Leave]:
    """For each message whether it may leave now. Never waits, never opens the gate when Redis is away.

    In the tenant's scope and outside any transaction.
    """
    rules = rules_of(tenant, account)
    if not asks:
        return []
    try:
        return _take_from_redis(account, asks, rules)
    except (redis.RedisError, OSError) as error:
        log.warning("limiter_without_redis", tenant_id=tenant.id, error=type(error).__name__)
        _missed.add(_keys(account, rules)[0])  # what leaves now is not in its logs: fill them again when it is back
        return _take_from_sql(tenant, account, asks, rules)


def _pair_ms() -> int:
    pair = current_app.extensions["wa_pace"].pair
    return int(pair * 1000) + _SLACK_MS if pair else 0


def _stem(tenant_id: str, live: bool) -> str:
    return f"wa:rate:{tenant_id}:{'live' if live else 'test'}"


def _keys(account: ProviderAccount, rules: Sequence[Rule]) -> tuple[str, list[str], str, str]:
    """Epoch, a key for each rule, the people of the day, the stem of pairs."""
    stem = _stem(account.tenant_id, account.live)
    number = f"wa:rate:{account.id}"
    keys = [f"{number if rule.name == 'second' else stem}:{rule.name}" for rule in rules]
    return f"{stem}:epoch:{account.id}", keys, f"{number}:people", f"{number}:to:"


def _take_from_redis(account: ProviderAccount, asks: Sequence[Ask], rules: Sequence[Rule]) -> list[Leave]:
    client = queues.client()
    epoch, keys, people, pairs = _keys(account, rules)
    arguments: list[str | int] = []
    for rule in rules:
        arguments += [rule.limit, rule.window_ms]
    arguments += [account.tier_limit, _pair_ms(), pairs]
    for ask in asks:
        arguments += [2 if ask.priority == _AT_ONCE else int(ask.priority <= RESERVED), ask.name, ask.contact_id]
    if epoch in _missed:
        client.delete(epoch)
        _missed.discard(epoch)
    call = client.register_script(_TAKE)
    answer = call(keys=[epoch, *keys, people], args=arguments)
    if answer[0] == -1:
        _refill(client, account, rules)
        answer = call(keys=[epoch, *keys, people], args=arguments)
    names: list[str | None] = [None, *(rule.name for rule in rules), "tier", "pair"]
    return [Leave(names[rule], wait / 1000) for rule, wait in zip(answer[::2], answer[1::2], strict=True)]


def _refill(client: redis.Redis, account: ProviderAccount, rules: Sequence[Rule]) -> None:
    """A flushed Redis has forgotten what was sent: the attempts have not."""
    now = clock_of_database()
    longest = max([rule.seconds for rule in rules] + [_pair_ms() / 1000] + ([DAY_S] if account.tier_limit else []))
    rows = db.session.execute(
        select(Attempt.message_id, Attempt.attempt_no, Attempt.account_id, Attempt.started_at, Message.contact_id)
        .join(Message, Message.id == Attempt.message_id)
        .where(Message.live == account.live, Attempt.started_at > now - timedelta(seconds=longest))
    ).all()
    end_read()
    seconds, micros = client.time()
    clock_ms = seconds * 1000 + micros // 1000
    epoch, keys, people, pairs = _keys(account, rules)
    pipe = client.pipeline()
    for row in rows:
        age_ms = int((now - row.started_at).total_seconds() * 1000)
        ours = row.account_id == account.id
        for rule, key in zip(rules, keys, strict=True):
            if age_ms < rule.window_ms and (ours or rule.name != "second"):
                pipe.zadd(key, {f"{row.message_id}.{row.attempt_no}": clock_ms - age_ms})
        if ours and account.tier_limit:
            pipe.zadd(people, {row.contact_id: clock_ms - age_ms}, gt=True)
        left_ms = _pair_ms() - age_ms
        if ours and left_ms > 0:
            pipe.set(f"{pairs}{row.contact_id}", "1", px=left_ms)
    pipe.set(epoch, "1", ex=DAY_S)
    pipe.execute()


# --- without Redis ----------------------------------------------------------------------------------------------


def _take_from_sql(tenant: Tenant, account: ProviderAccount, asks: Sequence[Ask], rules: Sequence[Rule]) -> list[Leave]:
    """Half the rate of the tightest rule, from one row that is locked while we count; pairs and tier from attempts."""
    lately, people = _lately(account)
    free: list[Ask] = []
    refused: dict[str, Leave] = {}
    for ask in asks:
        if ask.contact_id in lately:
            refused[ask.message_id] = Leave("pair", _pair_ms() / 1000)
        elif account.tier_limit and ask.contact_id not in people and len(people) >= account.tier_limit * _SHARE:
            refused[ask.message_id] = Leave("tier", 3600.0)
        else:
            if _pair_ms():
                lately.add(ask.contact_id)
            people.add(ask.contact_id)
            free.append(ask)
    granted, wait = _tokens(tenant, account, rules, len(free)) if rules else (len(free), 0.0)
    refused |= {ask.message_id: Leave("queue_away", wait) for ask in free[granted:]}
    return [refused.get(ask.message_id, Leave()) for ask in asks]


def _lately(account: ProviderAccount) -> tuple[set[str], set[str]]:
    """The people written to within the last seconds, and, where the number has a tier, within the last day."""
    now = clock_of_database()
    wanted = select(Message.contact_id, Attempt.started_at).join(Attempt, Attempt.message_id == Message.id)
    since = now - timedelta(seconds=DAY_S if account.tier_limit else _pair_ms() / 1000)
    rows = db.session.execute(wanted.where(Attempt.account_id == account.id, Attempt.started_at > since)).all()
    end_read()
    soon = now - timedelta(milliseconds=_pair_ms())
    return {row.contact_id for row in rows if row.started_at > soon}, {row.contact_id for row in rows}


def _tokens(tenant: Tenant, account: ProviderAccount, rules: Sequence[Rule], wanted: int) -> tuple[int, float]:
    """Of ``wanted`` so many now, and the seconds until the next."""
    rate = min(rule.limit / rule.seconds for rule in rules) / 2
    room = max(1.0, min(rule.limit for rule in rules) / 2 / 10)  # a burst of a tenth, then the steady rate
    name = "live" if account.live else "test"
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
    return granted, 0.0 if granted == wanted else max((1 - (tokens - granted)) / rate, 0.5)


# --- for pages --------------------------------------------------------------------------------------------------


def use(tenant: Tenant, live: bool) -> list[Use]:
    """What is used of each limit of one mode now; nothing is known (0 used) while Redis is away. In its scope."""
    wanted = select(ProviderAccount).where(
        ProviderAccount.tenant_id == tenant.id, ProviderAccount.live == live, ProviderAccount.status != "disabled"
    )
    accounts = db.session.scalars(wanted.order_by(ProviderAccount.priority, ProviderAccount.id)).all()
    stem = _stem(tenant.id, live)
    found: list[tuple[str, Rule, str | None]] = [(f"{stem}:{rule.name}", rule, None) for rule in rules_of(tenant)]
    for account in accounts:
        number = f"wa:rate:{account.id}"
        if bears := number_bears(account):
            found.append((f"{number}:second", Rule("second", bears, 1), account.id))
        if account.tier_limit:
            found.append((f"{number}:people", Rule("tier", account.tier_limit, DAY_S), account.id))
    counts = _counted([(key, rule.seconds) for key, rule, _ in found])
    return [
        Use(rule.name, _LABELS[rule.name], rule.limit, count, rule.seconds, account_id)
        for (_, rule, account_id), count in zip(found, counts, strict=True)
    ]


def _counted(keys: Sequence[tuple[str, int]]) -> list[int]:
    try:
        client = queues.client()
        seconds, micros = client.time()
        now = seconds * 1000 + micros // 1000
        pipe = client.pipeline(transaction=False)
        for key, window in keys:
            pipe.zcount(key, now - window * 1000, "+inf")
        return [int(count) for count in pipe.execute()]
    except (redis.RedisError, OSError) as error:
        log.info("limits_unknown", error=type(error).__name__)
        return [0] * len(keys)


def last_leaves_at(tenant: Tenant, live: bool, waiting: int) -> tuple[datetime, Use] | None:
    """When the last of ``waiting`` messages will have left, and the limit that decides it; None where none does.

    As if nothing more came: what is free of the window goes now, the rest at the limit's pace.
    """
    latest: tuple[datetime, Use] | None = None
    for one in use(tenant, live):
        over = waiting - (one.limit - one.used)
        if over <= 0:
            continue
        at = clock.in_seconds(over * one.seconds / one.limit)
        if latest is None or at > latest[0]:
            latest = (at, one)
    return latest
