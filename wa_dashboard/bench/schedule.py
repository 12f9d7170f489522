"""Reminders: planned through the product's verb for many attendees at once, against the ORM one by one; released."""

from typing import Any

from .gates import judged
from .stage import Stage


def run(stage: Stage) -> dict[str, Any]:
    """Plan, compare and release in each round, on one database."""
    url = stage.migrated()
    env = stage.env(url)
    made = stage.step("product:settle_in", env=env, name="Banc")
    rows = []
    for number in range(stage.rounds):
        attendees = stage.sized(2000, 50)
        facts = stage.step(
            "schedule_steps:round_of", env=env, tenant_id=made["tenant_id"], number=number, attendees=attendees
        )
        rows.append(facts)
        speeds = ", ".join(f"{name} {facts[name]:,.0f}/s" for name in ("planned", "orm", "released"))
        stage.say(f"  {attendees} attendees × 3: {speeds}")
    figures = [
        {"what": what, "unit": "reminders/s", "value": _median([row[name] for row in rows])}
        for name, what in (
            ("planned", "planned in bulk (services.planning.plan)"),
            ("orm", "ORM, a commit each"),
            ("released", "released when due (services.reminders.release_due)"),
        )
    ]
    ratios = [judged("schedules_of_orm", [row["planned"] / row["orm"] for row in rows])]
    return {"figures": figures, "ratios": ratios, "notes": [], "rows": rows}


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
