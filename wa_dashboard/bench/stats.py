"""The list of messages at its first and its deepest page, and what the overview adds up, over many messages."""

from statistics import median
from typing import Any

from .gates import judged
from .stage import Stage

# What part 2 has no answer for yet, with the part of the plan that brings it.
_NOT_YET = "roll-ups by day (statistics of 30 days from a kept sum) come with the part about statistics: not measured"


def run(stage: Stage) -> dict[str, Any]:
    """Fill once, then measure in rounds."""
    count = stage.sized(100_000, 2000)
    url = stage.migrated()
    env = stage.env(url)
    made = stage.step("product:settle_in", env=env, name="Banc")
    ids = {"tenant_id": made["tenant_id"], "account_id": made["account_id"]}
    stage.step("product:fill", env=env, seconds=600, kind="promo", count=count, contacts=2000, **ids)
    stage.learn(url)
    rows = [
        stage.step("stats_steps:measure", env=env, tenant_id=made["tenant_id"], times=stage.sized(50, 10))
        for _ in range(stage.rounds)
    ]
    words = {
        "first_ms": "first page of 50",
        "deep_ms": f"page at the far end of {count:,}",
        "offset_ms": "the same page by OFFSET",
        "totals_ms": "totals of the whole list",
    }
    figures = [
        {"what": what, "unit": "ms", "value": round(median(row[name] for row in rows), 3)}
        for name, what in words.items()
    ]
    stage.say("  " + ", ".join(f"{each['what']} {each['value']} ms" for each in figures))
    ratios = [judged("list_depth", [row["deep_ms"] / row["first_ms"] for row in rows])]
    return {"figures": figures, "ratios": ratios, "notes": [_NOT_YET], "rows": rows}
