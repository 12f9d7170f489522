"""What ``run`` prints when everything is up. Standard library only; pure text in, text out."""

import json
import os
import secrets
import shlex
from pathlib import Path
from typing import Any, TextIO

from .config import Settings

Facts = dict[str, Any]


def greeting(settings: Settings, facts: Facts, seconds: float, *, colour: bool) -> str:
    """Where to go, for a terminal. ``facts`` is what ``_prepare`` answers: {"welcome_url": text or None,
    "sign_in_url": text, "demo": {"tenant", "api_key", "phone", "body"?} or None}; ``seconds`` since the start."""
    bold, dim, green, off = ("\033[1m", "\033[2m", "\033[32m", "\033[0m") if colour else ("", "", "", "")
    demo, welcome = facts.get("demo"), facts.get("welcome_url")
    lines = ["", f"  {green}●{off} {bold}wa_dashboard is running{off}  {dim}ready in {seconds:.1f} s{off}", ""]
    if welcome:
        lines += [
            f"  {bold}Open{off}   {welcome}",
            f"         {dim}makes the first account; works once, for 30 minutes{off}",
        ]
    else:
        lines += [f"  {bold}Open{off}   {facts.get('sign_in_url') or settings.public_url}"]
    if demo:
        lines += [
            "",
            f"  {bold}Demo{off}   {demo['tenant']} is loaded. It is in test mode: messages go to the simulator,",
            "         nobody receives anything.",
            f"  {bold}Try{off}    paste this, and watch it arrive on the Messages page:",
            "",
            curl_line(settings.public_url, demo),
        ]
    kind = "SQLite" if settings.database_path else "PostgreSQL"
    queue = "embedded queue" if settings.embedded_queue else "your Redis"
    lines += [
        "",
        f"  {dim}Data   {_short(settings.data_dir)} ({kind}, {queue}); logs in {_short(settings.logs_dir)}{off}",
        f"  {dim}Stop   Ctrl-C{off}",
        "",
    ]
    return "\n".join(lines)


def curl_line(public_url: str, demo: dict[str, Any]) -> str:
    """One line that a POSIX shell takes as it is: an order confirmation to the demo's person, a new order each time."""
    body = demo.get("body") or {
        "order_id": f"A-{secrets.token_hex(3).upper()}",
        "recipient": {"phone": demo["phone"], "first_name": "Ana", "locale": "ro-RO"},
        "event": {"ref": "HAMLET", "name": "Hamlet", "starts_at": "2027-04-04T20:00", "timezone": "Europe/Bucharest"},
        "consent": {"status": "opted_in", "purposes": ["transactional"], "source": "checkout"},
    }
    words = [
        *("curl", "-sS", f"{public_url}/api/wa/send/confirm"),
        *("-H", f"Authorization: Bearer {demo['api_key']}", "-H", "Content-Type: application/json"),
        *("-d", json.dumps(body, ensure_ascii=False, separators=(",", ":"))),
    ]
    return " ".join(map(shlex.quote, words))


def wants_colour(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _short(path: Path) -> str:
    try:
        return f"./{path.relative_to(Path.cwd())}"
    except (ValueError, OSError):
        return str(path)
