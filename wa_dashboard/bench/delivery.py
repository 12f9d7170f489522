"""Messages per second to the wire in one process, beside what others reach on the same far end and database."""

import importlib.util
from statistics import median
from typing import Any

from .far_end import FarEnd, tally
from .gates import judged
from .stage import Stage

LATENCIES = {0: 64, 150: 1500}  # answer after so many ms: connections of the product and of the ceiling
_THREADS = {0: 8, 150: 128}
_LONGEST = 120.0


def run(stage: Stage) -> dict[str, Any]:
    """The pipelines one after another in each round; medians, ratios, CPU."""
    with stage.far_end() as far:
        bench = _Delivery(stage, far)
        rows = [row for number in range(stage.rounds) for row in bench.round(number + 1)]
    return {"figures": _figures(rows), "ratios": _ratios(rows), "notes": bench.notes, "rows": rows}


class _Delivery:
    def __init__(self, stage: Stage, far: FarEnd) -> None:
        self.stage, self.far = stage, far
        self.notes: list[str] = []
        self.url = stage.migrated()
        self.made = {ms: self._settle_in(ms) for ms in LATENCIES}
        if importlib.util.find_spec("celery") is None:
            self.notes.append("Celery is not installed: not measured.")

    def _settle_in(self, ms: int) -> dict[str, Any]:
        made = self.stage.step("product:settle_in", env=self.env(ms), name=f"Banc {ms}")
        return {"tenant_id": made["tenant_id"], "account_id": made["account_id"]}

    def env(self, ms: int) -> dict[str, str]:
        more = {"WA_TEST_META_BASE_URL": self.far.url, "WA_SEND_CONCURRENCY": str(LATENCIES[ms])}
        return self.stage.env(self.url, **more)

    def round(self, number: int) -> list[dict[str, Any]]:
        rows = []
        for ms, connections in LATENCIES.items():
            count = self.stage.sized(30_000, 3000) if ms else self.stage.sized(20_000, 300)
            rows.append(self._measure(number, "ceiling", ms, "ceiling:measure", connections=connections, count=count))
            rows.append(self._product(number, ms, count))
            some = self.stage.sized(3000, 200)
            rows.append(self._measure(number, "requests", ms, "plain:loop", threads=_THREADS[ms], count=some))
        for kind, full, least in (("simple", 300, 30), ("fork", 60, 12)):
            rows.append(self._naive(number, kind, self.stage.sized(full, least)))
        if importlib.util.find_spec("celery") is not None:
            rows.append(self._naive(number, "celery", self.stage.sized(600, 40)))
        return rows

    def _measure(self, number: int, who: str, ms: int, where: str, *, count: int, **arguments: Any) -> dict[str, Any]:
        self.far.reset(ms)
        facts = self.stage.step(where, port=self.far.port, count=count, **arguments)
        return self._row(number, who, ms, count, facts)

    def _product(self, number: int, ms: int, count: int) -> dict[str, Any]:
        made, env = self.made[ms], self.env(ms)
        self.stage.step("product:fill", env=env, kind="promo", count=count, **made)
        if number == 1:
            self.stage.learn(self.url)
        self.far.reset(ms)
        facts = self.stage.step("product:drain", env=env, seconds=_LONGEST + 60, longest=_LONGEST, **made)
        return self._row(number, "product", ms, count, facts)

    def _naive(self, number: int, kind: str, count: int) -> dict[str, Any]:
        self.far.reset(0)
        where = "celery_peer:work" if kind == "celery" else "naive:work"
        more: dict[str, Any] = {} if kind == "celery" else {"kind": kind}
        facts = self.stage.step(
            where, url=self.url, redis_url=self.stage.redis_url, far_end=self.far.url, count=count, **more
        )
        return self._row(number, kind, 0, count, facts)

    def _row(self, number: int, who: str, ms: int, count: int, facts: dict[str, Any]) -> dict[str, Any]:
        seen = tally(self.far.arrivals(), ms / 1000)
        row = {"round": number, "who": who, "latency_ms": ms, "count": count, **facts, **seen}
        row["settled"] = facts.get("seconds")
        row["cpu_ms"] = 1000 * facts["cpu"] / max(seen["arrived"], 1)
        if seen["different"] != count:
            self.notes.append(f"round {number}, {who} at {ms} ms: {seen['different']} of {count} arrived in time")
        speed = f"{seen['rate']:>9,.0f} msg/s, {row['cpu_ms']:.3f} ms CPU each"
        self.stage.say(f"  {who:>8} at {ms:>3} ms: {speed}, {seen['twice']} twice")
        return row


def _figures(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    figures = []
    for who, ms in dict.fromkeys((row["who"], row["latency_ms"]) for row in rows):
        mine = [row for row in rows if (row["who"], row["latency_ms"]) == (who, ms)]
        figures.append(_figure(f"{who} at {ms} ms", "msg/s", [row["rate"] for row in mine]))
        figures.append(_figure(f"{who} at {ms} ms, CPU", "ms each", [row["cpu_ms"] for row in mine]))
        if who == "product":
            wall = [row["arrived"] / row["settled"] for row in mine if row["settled"]]
            figures += [_figure(f"{who} at {ms} ms, begun to settled", "msg/s", wall)] if wall else []
    return figures


def _figure(what: str, unit: str, values: list[float]) -> dict[str, Any]:
    return {"what": what, "unit": unit, "value": median(values), "rounds": values}


def _ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def each(who: str, ms: int, what: str) -> list[float]:
        return [row[what] for row in rows if (row["who"], row["latency_ms"]) == (who, ms)]

    def of(other: str, ms: int, what: str = "rate") -> list[float]:
        pairs = zip(each("product", ms, what), each(other, ms, what), strict=True)
        return [mine / theirs if theirs else 0.0 for mine, theirs in pairs]

    found = [
        judged("delivery_150_of_ceiling", of("ceiling", 150)),
        judged("delivery_0_of_requests", of("requests", 0)),
        judged("delivery_0_of_simple", of("simple", 0)),
        judged("delivery_0_of_fork", of("fork", 0)),
        judged("cpu_of_requests", of("requests", 0, "cpu_ms")),
        judged("twice", [max(row["twice"] for row in rows if row["who"] == "product")]),
    ]
    if each("celery", 0, "rate"):
        found.append(judged("delivery_0_of_celery", of("celery", 0)))
    return found
