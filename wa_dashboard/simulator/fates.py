"""What becomes of a message: by the number it goes to, and by what the provider would find out later."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

_FATED = re.compile(r"\+4070000\d{3}(\d)\Z")
_NOT_ON_WHATSAPP = {"meta_cloud": 131026, "dialog360": 131026, "twilio": 63024}


class BadSetting(ValueError):
    """A setting that cannot be set; the text says which and why."""


@dataclass
class Settings:
    """Seconds unless said otherwise. `approve_after_s` None leaves templates in review for ever."""

    approve_after_s: float | None = 3.0
    sent_s: float = 0.2
    delivered_s: float = 1.0
    read_s: float = 3.0
    late_s: float = 6.0
    scale: float = 1.0
    retry_base_s: float = 1.0
    retry_cap_s: float = 60.0
    twilio_retries: int = 3
    webhook_batch: int = 50
    templates_per_account: int = 250
    reject_duplicates: bool = True

    def change(self, wanted: dict[str, Any]) -> None:
        """Sets the given keys. Raises BadSetting and changes nothing when one is wrong."""
        known = {f.name for f in fields(self)}
        for key, value in wanted.items():
            if key not in known:
                raise BadSetting(f"unknown setting {key}; known are {', '.join(sorted(known))}")
            if key == "reject_duplicates":
                if not isinstance(value, bool):
                    raise BadSetting(f"{key} must be true or false")
            elif value is None:
                if key != "approve_after_s":
                    raise BadSetting(f"{key} must be a number")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1_000_000:
                raise BadSetting(f"{key} must be a number between 0 and 1000000")
            elif key in ("twilio_retries", "webhook_batch", "templates_per_account") and value != int(value):
                raise BadSetting(f"{key} must be a whole number")
        if wanted.get("webhook_batch") == 0:
            raise BadSetting("webhook_batch must be at least 1")
        for key, value in wanted.items():
            setattr(self, key, value)


def script(settings: Settings, provider: str, recipient: str, problem: int) -> list[tuple[float, str, int]]:
    """(seconds after acceptance, status, error code) in order. `problem` fails the message with that code."""
    failed = "failed"
    if provider == "twilio" and problem in (0, 63024):
        failed = "undelivered"
    fated = _FATED.match(recipient)
    digit = fated.group(1) if fated else "0"
    if problem:
        steps = [(settings.sent_s, failed, problem)]
    elif digit == "8":
        steps = [(settings.sent_s, failed, _NOT_ON_WHATSAPP[provider])]
    elif digit == "9":
        steps = [(settings.sent_s, failed, _NOT_ON_WHATSAPP[provider]), (settings.late_s, "delivered", 0)]
    elif digit == "7":
        steps = [(settings.sent_s, "sent", 0), (settings.delivered_s, "delivered", 0)]
    else:
        steps = [(settings.sent_s, "sent", 0), (settings.delivered_s, "delivered", 0), (settings.read_s, "read", 0)]
    return [(offset * settings.scale, status, code) for offset, status, code in steps]
