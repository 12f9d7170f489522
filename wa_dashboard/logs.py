"""Logs: one JSON object a line, constant event names, ids as fields, no telephone number and no secret ever."""

import logging
import re
import sys
from typing import Any

import structlog

# A number in any of the ways we or a provider might write it: +40722123456, 40722123456, whatsapp%3A%2B40…
_NUMBER = re.compile(r"(?<![\w.:-])(\+|%2B)?(\d{2,3})\d{4,9}(\d{3})(?![\w.-])")
_SECRET = re.compile(
    r"(wak_(?:live|test)_\w{4})[\w-]+|(EAA)[\w]{10,}|((?:Bearer|Basic)\s+)[\w.~+/=-]{8,}"
    r"|((?:access_token|auth_token|api_key|app_secret|password|code|token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}&]{4,}",
    re.IGNORECASE,
)


def mask_text(text: str) -> str:
    """The same text with telephone numbers cut to their last three digits and secrets removed."""
    text = _SECRET.sub(lambda m: next(g for g in m.groups() if g is not None) + "[redacted]", text)
    return _NUMBER.sub(lambda m: f"{m[1] or ''}{m[2]}•••{m[3]}", text)


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, dict):
        return {key: _mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mask(item) for item in value]
    return value


def _mask_event(_logger: Any, _name: str, event: Any) -> Any:
    return {key: value if key == "timestamp" else _mask(value) for key, value in event.items()}


def configure(level: str, *, human: bool = False) -> None:
    """Send everything (ours, libraries', warnings) to stderr: JSON lines, or short lines for a terminal."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask_event,
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("rq.worker", "urllib3", "alembic", "aiohttp.access"):
        logging.getLogger(noisy).setLevel("WARNING")
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get(name: str) -> Any:
    """A logger: ``log.info("message_accepted", message_id=…)``."""
    return structlog.stdlib.get_logger(name)
