"""Benchmarks that make their own house and answer with plain numbers: their run, and its place among the gates."""

import importlib
from contextlib import nullcontext
from typing import Any

from .gates import judged
from .stage import Stage

# name: by which key of its answer which gate is judged
RATIOS = {
    "intake": {"ratio_to_empty": "intake_of_empty", "ratio_to_naive": "intake_of_naive"},
    "webhook": {"ratio": "webhooks_of_orm"},
}
# At scale 1 the webhooks meet a million rows, which is ten times what their own scale counts.
_TIMES = {"webhook": 10.0}
_IN_CONTEXT = {"webhook"}


def run(stage: Stage, name: str) -> dict[str, Any]:
    """One of `RATIOS` in a process of its own, on a fresh database."""
    env = stage.env(stage.migrated())
    scale = stage.scale * _TIMES.get(name, 1.0)
    facts = stage.step("apart:call", env=env, seconds=1800, name=name, scale=scale)
    ratios = [judged(gate, [facts[key]]) for key, gate in RATIOS[name].items() if facts.get(key) is not None]
    for each in ratios:
        stage.say(f"  {each['what']}: {each['value']:.2f}")
    return {"figures": _figures(facts, set(RATIOS[name])), "ratios": ratios, "notes": [], "facts": facts}


def call(name: str, scale: float) -> dict[str, Any]:
    """The step: ``run(scale)`` of the module, inside the application's context where it wants to be."""
    from .product import product

    module = importlib.import_module(f"wa_dashboard.bench.{name}")
    with product() if name in _IN_CONTEXT else nullcontext():
        return dict(module.run(scale))


def _figures(facts: dict[str, Any], judged_keys: set[str], before: str = "") -> list[dict[str, Any]]:
    figures = []
    for key, value in facts.items():
        what = f"{before}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            figures += _figures(value, judged_keys, f"{what}: ")
        elif isinstance(value, int | float) and key not in judged_keys:
            figures.append({"what": what, "unit": "", "value": value})
    return figures
