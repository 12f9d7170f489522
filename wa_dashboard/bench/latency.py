"""From the commit to the wire: one message on an idle lane, a code and confirmations while a campaign is running."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from .far_end import FarEnd
from .gates import judged
from .servers import app_process, wait_until
from .stage import Stage

_CAMPAIGN_MS = 150  # with 64 requests under way a campaign of 10,000 then takes 23 s, however quick the sender is


def run(stage: Stage) -> dict[str, Any]:
    """Idle and under load in each round; real worker processes, a real queue."""
    notes: list[str] = []
    rows: list[dict[str, Any]] = []
    with stage.far_end() as far:
        for number in range(stage.rounds):
            rows.append(_idle(stage, far, number + 1))
            rows.append(_under_load(stage, far, number + 1, notes))
    return {"figures": _figures(rows), "ratios": _ratios(rows), "notes": notes, "rows": rows}


def _idle(stage: Stage, far: FarEnd, number: int) -> dict[str, Any]:
    """Single messages through the product and through RQ's default worker, both workers running all the time."""
    count = stage.sized(40, 6)
    url = stage.migrated()
    env = stage.env(url, WA_TEST_META_BASE_URL=far.url)
    made = _settled(stage, env)
    far.reset(0)
    log = stage.folder / "worker.log"
    naive: dict[str, Any] = {"url": url, "redis_url": stage.redis_url, "far_end": far.url}
    with app_process("worker", env=env, log=log), stage.beside("naive:serve", url=url, redis_url=stage.redis_url):
        stage.step("latency_steps:post", env=env, kind="order_confirm", count=1, pause=0.0, **made)
        stage.step("naive:post", count=1, pause=0.0, **naive)
        wait_until(lambda: far.sends() >= 2, 20, "both workers send")
        time.sleep(1.0)
        with ThreadPoolExecutor(2) as both:  # at random moments of the same minute: what disturbs one disturbs both
            posting = partial(stage.step, count=count, pause=0.3)
            ours = both.submit(posting, "latency_steps:post", env=env, kind="order_confirm", **made)
            others = both.submit(posting, "naive:post", **naive)
            mine, theirs = ours.result(), others.result()
        wait_until(lambda: far.sends() >= 2 + 2 * count, 30, "all single messages arrive")
    waits = _waits(far, mine["committed"]), _waits(far, theirs["committed"])
    row = {"round": number, "what": "idle", "product": waits[0], "fork": waits[1]}
    stage.say(f"  idle lane: p95 {1000 * _p95(waits[0]):.1f} ms, RQ fork job {1000 * _p95(waits[1]):.1f} ms")
    return row


def _under_load(stage: Stage, far: FarEnd, number: int, notes: list[str]) -> dict[str, Any]:
    """A campaign is running; codes come one by one, then a hundred confirmations at once."""
    promos = stage.sized(10_000, 3000)
    env = stage.env(stage.migrated(), WA_TEST_META_BASE_URL=far.url)
    made = _settled(stage, env)
    stage.step("product:fill", env=env, kind="promo", count=promos, **made)
    far.reset(_CAMPAIGN_MS)
    with app_process("worker", env=env, log=stage.folder / "worker.log"):
        wait_until(lambda: far.sends() >= 200, 40, "the campaign is under way")
        codes = stage.step("latency_steps:post", env=env, kind="otp", count=stage.sized(20, 5), pause=0.2, **made)
        _all_there(far, codes["committed"], 30)
        orders = stage.step("latency_steps:post", env=env, kind="order_confirm", count=100, pause=0.0, **made)
        _all_there(far, orders["committed"], 60)
        after = far.sends()
    if after >= promos + len(codes["committed"]) + 101:
        notes.append(f"round {number}: the campaign was over before the last confirmation had left")
    waits = _waits(far, codes["committed"]), _waits(far, orders["committed"])
    stage.say(f"  under load: code p95 {1000 * _p95(waits[0]):.0f} ms, confirmations p95 {_p95(waits[1]):.2f} s")
    return {"round": number, "what": "load", "otp": waits[0], "confirm": waits[1], "sent_by_then": after}


def _settled(stage: Stage, env: dict[str, str]) -> dict[str, Any]:
    made = stage.step("product:settle_in", env=env, name="Banc")
    return {"tenant_id": made["tenant_id"], "account_id": made["account_id"]}


def _all_there(far: FarEnd, committed: dict[str, float], seconds: float) -> None:
    def arrived() -> bool:
        return set(committed) <= {name.rpartition(".")[0] for name, _ in far.arrivals()}

    _patiently(arrived, seconds)


def _patiently(happened: Callable[[], bool], seconds: float) -> None:
    """What is not there in time counts as waiting that long: `_waits`."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.1)


def _waits(far: FarEnd, committed: dict[str, float]) -> list[float]:
    """Seconds from each commit to its (first) arrival; what never arrived waits until now."""
    first: dict[str, float] = {}
    for name, at in far.arrivals():
        first.setdefault(name.rpartition(".")[0], at)
    now = time.time()
    return [max(first.get(message_id, now) - at, 0.0) for message_id, at in committed.items()]


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _figures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    figures = []
    for kind, words in (
        ("product", "commit → wire, idle lane"),
        ("fork", "commit → wire, RQ fork job"),
        ("otp", "commit → wire, code under a campaign"),
        ("confirm", "commit → wire, 100 confirmations under a campaign"),
    ):
        each = [row[kind] for row in rows if kind in row]
        for name, measure in (("p50", _median), ("p95", _p95)):
            rounds = [1000 * measure(waits) for waits in each]
            figures.append({"what": f"{words}, {name}", "unit": "ms", "value": _median(rounds), "rounds": rounds})
    return figures


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    idle = [row for row in rows if row["what"] == "idle"]
    load = [row for row in rows if row["what"] == "load"]
    return [
        judged("wire_of_fork", [_p95(row["product"]) / _p95(row["fork"]) for row in idle]),
        judged("otp_under_load_ms", [1000 * _p95(row["otp"]) for row in load]),
        judged("confirm_under_load_s", [_p95(row["confirm"]) for row in load]),
    ]
