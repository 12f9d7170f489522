"""360dialog's own complaints come as sentences, not codes (contracts.md §3): the first match decides.

Where 360dialog passes Meta's error through, codes_meta.py holds.
"""

from .verdict import Row

TEXTS = {
    "Invalid api_key": Row("account_stop", "account"),
    "has been disabled": Row("account_stop", "account"),
    "lack of payment": Row("account_stop", "account"),
    "Permission denied for partner": Row("account_stop", "account"),
    "exceeded the endpoint rate limit": Row("throttle", "account"),
    "exceeded the limit of": Row("throttle", "account"),
    "endpoint is blocked": Row("request", "account"),
    "not available": Row("transient", "platform"),
    "Internal server error": Row("ambiguous", "platform"),
}
PATIENCE = {"exceeded the endpoint rate limit": 5.0, "exceeded the limit of": 5.0}
