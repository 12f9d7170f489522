"""Logs: one JSON object a line, constant event names, ids as fields, no telephone number and no secret ever."""

import logging
import re
import sys
from typing import Any

import structlog

# A number in any of the ways we, a person or a provider might write it: +40722123456, 0722 123 456,
# whatsapp%3A%2B40722123456. Ids, dates, ports, prices and times in seconds or milliseconds stay readable.
_START = r"(?:(?<=%2B)|(?<=%3A)|(?<![\w-])(?<!\d\.))"
_END = r"(?!\w|[.-]\w)"
_NUMBER = re.compile(
    rf"{_START}(\+|%2B|00)([1-9](?:[\s().-]{{0,2}}\d){{7,14}})"
    rf"|{_START}(?!1\d{{9}}{_END}|1\d{{12}}{_END})(\d{{2,3}})\d{{4,9}}(\d{{3}}){_END}"
    rf"|{_START}\(?(0\d{{1,3}})\)?[\s.-]\d{{2,3}}[\s.-]?\d{{0,3}}[\s.-]?(\d{{3}}){_END}",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"(wak_(?:live|test)_\w{4})[\w-]+|(?<![A-Za-z0-9])((?-i:EAA))\w{10,}|((?:Bearer|Basic)\s+)[\w.~+/=-]{8,}"
    r"|(/(?:welcome|webhook)/)[\w-]{16,}"
    r"|((?:(?:access|auth|verify|csrf)[_-]?token|api[_-]?key|app[_-]?secret|(?:webhook|api)[_-]secret|secret[_-]?key"
    r"|password|code|token)[\"']?\s*[:=]\s*[\"']?)(?!\[redacted)[^\s\"',}&]{4,}",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:token|password|secret|api_key|authorization|credentials|cookie|secret_key|encryption_keys)$",
    re.IGNORECASE,
)


def mask_text(text: str) -> str:
    """The same text with telephone numbers cut to their last three digits and secrets removed."""
    text = _SECRET.sub(lambda m: next(g for g in m.groups() if g is not None) + "[redacted]", text)
    return _NUMBER.sub(_cut, text)


def _cut(found: re.Match[str]) -> str:
    plus, international, head, tail, area, end = found.groups()
    if international:
        digits = re.sub(r"\D", "", international)
        return f"{plus}{digits[:2]}•••{digits[-3:]}"
    return f"{head or area}•••{tail or end}"


def _mask(value: Any, name: str = "") -> Any:
    if value and _SECRET_NAME.search(name):
        return "[redacted]"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _mask(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask(item) for item in value]
    if isinstance(value, bytes | bytearray):
        value = value.decode("utf-8", "replace")
    return mask_text(str(value))  # whatever it is, it is written as text


_OURS = ("timestamp", "_record", "_from_structlog")  # structlog's own keys: the last two are taken out again


def _mask_event(_logger: Any, _name: str, event: Any) -> Any:
    return {key: value if key in _OURS else _mask(value, key) for key, value in event.items()}


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
