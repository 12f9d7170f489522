"""Callbacks on their way out: batched, signed, delayed, lost, doubled, shuffled and repeated until taken."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urldefrag, urlencode

import aiohttp

from .fates import Settings
from .faults import FaultBook
from .hookforms import Change, meta_body, meta_signature, twilio_signature
from .records import Account

log = logging.getLogger(__name__)

_IN_FLIGHT_PER_ACCOUNT = 8
_META_GIVE_UP_S = 36 * 3600.0
_UNCHECKABLE_SECRET = secrets.token_hex(16)
"""360dialog's own Meta app signs with a secret its customers do not have."""


@dataclass(frozen=True)
class Form:
    """A Twilio callback: the URL as the customer wrote it, fragment included."""

    url: str
    params: dict[str, str]


@dataclass
class _Parcel:
    url: str
    body: bytes
    headers: dict[str, str]
    tries_left: int
    on_any_failure: bool
    attempt: int = 0
    waited: float = 0.0


@dataclass
class _Lane:
    account: Account
    items: deque[Change | Form] = field(default_factory=deque)
    parcels: deque[_Parcel] = field(default_factory=deque)
    running: int = 0


class Outbox:
    """Takes callbacks without waiting and delivers them from tasks of its own."""

    def __init__(self, settings: Settings, faults: FaultBook) -> None:
        self._settings = settings
        self._faults = faults
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._held: list[tuple[Account, Change | Form]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self.counts: Counter[str] = Counter()

    async def open(self) -> None:
        """Must be called inside the running loop, before the first `put`."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=15, connect=5),
            connector=aiohttp.TCPConnector(limit=64),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Stops every delivery; what was not taken yet is gone."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    @property
    def pending(self) -> int:
        """Callbacks not yet taken by their receiver, without those waiting for a repeat."""
        return len(self._held) + sum(len(ln.items) + len(ln.parcels) + ln.running for ln in self._lanes.values())

    def put(self, account: Account, item: Change | Form) -> None:
        """Hands over one callback; the webhook faults of the account's provider apply."""
        faults = self._faults.of(account.provider)
        if not (item.url if isinstance(item, Form) else account.destination(item[0])[0]):
            self.counts["no_url"] += 1
            return
        if faults.webhooks_off:
            self._held.append((account, item))
            return
        if self._faults.hit(faults.webhook_lost):
            self.counts["lost"] += 1
            return
        copies = 1
        if self._faults.hit(faults.webhook_duplicate):
            self.counts["duplicated"] += 1
            copies = 2
        for copy in range(copies):
            delay = faults.webhook_delay_ms / 1000 + 0.05 * copy
            if self._faults.hit(faults.webhook_shuffle):
                self.counts["shuffled"] += 1
                delay += self._faults.between(0.2, 1.2) * self._settings.read_s * self._settings.scale
            if delay > 0:
                asyncio.get_running_loop().call_later(delay, self._enqueue, account, item)
            else:
                self._enqueue(account, item)

    def release(self) -> None:
        """Sends what was held back while `webhooks_off` was set, where it no longer is."""
        held, self._held = self._held, []
        for account, item in held:
            self.put(account, item)

    def _lane(self, account: Account) -> _Lane:
        lane = self._lanes.get((account.provider, account.key))
        if lane is None:
            lane = self._lanes[(account.provider, account.key)] = _Lane(account)
        return lane

    def _enqueue(self, account: Account, item: Change | Form) -> None:
        lane = self._lane(account)
        lane.account = account
        lane.items.append(item)
        self._wake(lane)

    def _wake(self, lane: _Lane) -> None:
        if lane.running < _IN_FLIGHT_PER_ACCOUNT and not self._closed:
            lane.running += 1
            task = asyncio.get_running_loop().create_task(self._run(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, lane: _Lane) -> None:
        try:
            while self._session and (lane.parcels or lane.items):
                await self._deliver(self._session, lane, lane.parcels.popleft() if lane.parcels else self._pack(lane))
        finally:
            lane.running -= 1

    def _pack(self, lane: _Lane) -> _Parcel:
        account, first = lane.account, lane.items.popleft()
        if isinstance(first, Form):
            return self._pack_form(account, first)
        changes, destination = [first], account.destination(first[0])
        while lane.items and len(changes) < self._settings.webhook_batch:
            item = lane.items[0]
            if isinstance(item, Form) or account.destination(item[0]) != destination:
                break
            changes.append(item)
            lane.items.popleft()
        body = meta_body(account, changes)
        secret = account.credentials.get("app_secret", _UNCHECKABLE_SECRET)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "facebookexternalua",
            "X-Hub-Signature-256": meta_signature(secret, body),
            **destination[1],
        }
        return _Parcel(destination[0], body, headers, 10_000, on_any_failure=True)

    def _pack_form(self, account: Account, form: Form) -> _Parcel:
        url, fragment = urldefrag(form.url)
        wishes = dict(parse_qsl(fragment))
        tries, any_failure = int(self._settings.twilio_retries), True
        if "rc" in wishes or "rp" in wishes:
            tries = int(wishes["rc"]) if wishes.get("rc", "").isdigit() else 1
            any_failure = wishes.get("rp", "ct") in ("all", "5xx", "4xx", "rt")
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "I-Twilio-Idempotency-Token": secrets.token_hex(18),
            "X-Twilio-Signature": twilio_signature(account.credentials["auth_token"], url, form.params),
        }
        return _Parcel(url, urlencode(form.params).encode(), headers, tries, any_failure)

    async def handshake(self, url: str, verify_token: str) -> str:
        """Meta's check of a new callback URL. Returns an empty text, or what was wrong with the answer."""
        challenge = str(secrets.randbelow(10**10))
        query = {"hub.mode": "subscribe", "hub.verify_token": verify_token, "hub.challenge": challenge}
        if self._session is None:
            return "not running"
        try:
            async with self._session.get(url, params=query, allow_redirects=False) as reply:
                text = await reply.text()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return f"Connection failed: {error}"
        if reply.status != 200:
            return f"HTTP Status Code = {reply.status}; HTTP Message = {reply.reason}"
        return "" if text == challenge else "The challenge was not returned"

    async def _deliver(self, session: aiohttp.ClientSession, lane: _Lane, parcel: _Parcel) -> None:
        answered = 0
        try:
            async with session.post(
                parcel.url, data=parcel.body, headers=parcel.headers, allow_redirects=False
            ) as reply:
                await reply.read()
                answered = reply.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            log.debug("callback to %s not taken: %s", parcel.url, error)
        taken = answered == 200 or (lane.account.provider == "twilio" and 200 <= answered < 300)
        if taken:
            self.counts["taken"] += 1
            return
        self.counts["refused" if answered else "unreachable"] += 1
        self._try_again(lane, parcel, answered)

    def _try_again(self, lane: _Lane, parcel: _Parcel, answered: int) -> None:
        delay = min(self._settings.retry_base_s * 2.0 ** min(parcel.attempt, 20), self._settings.retry_cap_s)
        parcel.attempt += 1
        parcel.waited += delay
        hopeless = parcel.attempt > parcel.tries_left or parcel.waited > _META_GIVE_UP_S
        if hopeless or (answered and not parcel.on_any_failure):
            self.counts["given_up"] += 1
            return
        self.counts["repeats"] += 1
        asyncio.get_running_loop().call_later(delay, self._again(lane, parcel))

    def _again(self, lane: _Lane, parcel: _Parcel) -> Callable[[], None]:
        def put_back() -> None:
            lane.parcels.append(parcel)
            self._wake(lane)

        return put_back
