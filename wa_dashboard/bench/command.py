"""``python3 app.py bench [NAME …]``: runs benchmarks, prints a table or one JSON object."""

import importlib
import importlib.util
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from . import apart
from .stage import Stage, StepFailed, stage

NAMES = ("delivery", "crash", "latency", "intake", "webhook", "stats", "schedule", "footprint")


@click.command("bench")
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--scale", default=1.0, type=click.FloatRange(0.001, 10), help="Share of the full sizes; 0.1 is quick.")
@click.option("--rounds", default=3, type=click.IntRange(1, 20), help="Interleaved rounds; medians are shown.")
@click.option("--database", help="sqlite, postgresql (from the development lock) or a server's URL.")
@click.option("--seeds", default=1, type=click.IntRange(1, 50), help="crash: so many storms.")
def bench(names: Sequence[str], as_json: bool, scale: float, rounds: int, database: str | None, seeds: int) -> None:
    """Measure ratios against baselines of the same run. NAME: delivery crash latency intake webhook stats schedule
    footprint; all without a name. Works in temporary folders on loopback, and leaves nothing behind."""
    began = time.monotonic()
    chosen = list(dict.fromkeys(names)) or list(NAMES)
    results: dict[str, Any] = {}
    with stage(database, scale, rounds, _say) as place:
        facts = {"database": place.database, "scale": scale, "rounds": rounds, "machine": _machine()}
        for name in chosen:
            _say(f"{name} …")
            results[name] = _one(place, name, seeds)
    ratios = [each for result in results.values() for each in result.get("ratios", ())]
    failed = any(each["verdict"] == "fail" for each in ratios) or any("error" in each for each in results.values())
    summary = {**facts, "seconds": round(time.monotonic() - began, 1), "ok": not failed, "benches": results}
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False, default=str))
    else:
        click.echo(table(summary))
    sys.exit(1 if failed else 0)


def main(words: list[str]) -> int:
    """Run; returns the exit code: 0, or 1 when a gate was missed or a benchmark broke."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        bench.main(args=words, prog_name="python3 app.py bench", standalone_mode=False)
    except click.ClickException as problem:
        return _refuse(words, "wrong_usage", problem.format_message(), problem.exit_code)
    except (ValueError, OSError) as problem:
        return _refuse(words, "cannot_start", str(problem), 1)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def _refuse(words: list[str], code: str, sentence: str, exit_code: int) -> int:
    if "--json" in words:
        click.echo(json.dumps({"error": {"code": code, "detail": sentence, "errors": []}}, ensure_ascii=False))
    click.echo(sentence, err=True)
    return exit_code


def _one(place: Stage, name: str, seeds: int) -> dict[str, Any]:
    """One benchmark's result; what breaks it is its ``error``, and the others go on."""
    if importlib.util.find_spec(f"wa_dashboard.bench.{name}") is None:
        return {"notes": [f"{name} is not there yet."], "ratios": [], "figures": []}
    try:
        if name in apart.RATIOS:
            return apart.run(place, name)
        module = importlib.import_module(f"wa_dashboard.bench.{name}")
        return dict(module.run(place, seeds=seeds) if name == "crash" else module.run(place))
    except (StepFailed, OSError, AssertionError) as problem:
        _say(f"  {name} broke: {problem}")
        return {"error": str(problem), "ratios": [], "figures": [], "notes": []}


def _say(line: str) -> None:
    click.echo(line, err=True)


def _machine() -> dict[str, Any]:
    return {
        "processors": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }


# --- for people ---------------------------------------------------------------------------------------------------


def table(summary: Mapping[str, Any]) -> str:
    """The run as text: figures, then ratios with gate, aim and verdict."""
    lines = [f"{summary['database']}, scale {summary['scale']:g}, {summary['rounds']} rounds, {summary['seconds']} s"]
    for name, result in summary["benches"].items():
        lines += ["", name]
        lines += [f"  error: {result['error'].splitlines()[0]}"] if "error" in result else []
        lines += _figures(result.get("figures", ()))
        lines += [f"  {note}" for note in result.get("notes", ())]
    ratios = [each for result in summary["benches"].values() for each in result.get("ratios", ())]
    if ratios:
        lines += ["", f"{'':<72}{'reached':>12}{'gate':>12}{'aim':>12}  verdict"]
        lines += [_ratio(each) for each in ratios]
    return "\n".join(lines)


def _figures(figures: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"  {each['what']:<58}{_number(each['value']):>14} {each['unit']}" for each in figures]


def _ratio(each: Mapping[str, Any]) -> str:
    sign = "≤" if each["most"] else "≥"
    unit = each["unit"]
    cells = [f"{_number(each['value'])} {unit}", f"{sign} {_number(each['gate'])}", f"{sign} {_number(each['aim'])}"]
    word = {"fail": "FAIL", "pass": "pass", "aim": "pass, aim reached"}[each["verdict"]]
    return f"{each['what']:<72}" + "".join(f"{cell:>12}" for cell in cells) + f"  {word}"


def _number(value: Any) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
