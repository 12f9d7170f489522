"""Meta's error envelope. Codes, HTTP statuses and titles are those of Meta's error reference (see contracts)."""

from __future__ import annotations

import secrets
from typing import Any

_TITLES: dict[int, tuple[int, str]] = {
    4: (400, "(#4) Application request limit reached"),
    2: (503, "An unexpected error occurred. Please retry your request"),
    100: (400, "(#100) Invalid parameter"),
    190: (401, "Invalid OAuth access token - Cannot parse access token"),
    2500: (400, "Unknown path components"),
    130429: (400, "(#130429) Rate limit hit"),
    131008: (400, "(#131008) Required parameter is missing"),
    131009: (400, "(#131009) Parameter value is not valid"),
    131021: (400, "(#131021) Recipient cannot be sender"),
    131051: (400, "(#131051) Unsupported message type"),
    131059: (400, "(#131059) Invalid cursor"),
    132000: (400, "(#132000) Number of parameters does not match the expected number of params"),
    132001: (404, "(#132001) Template name does not exist in the translation"),
    132005: (400, "(#132005) Translated text too long"),
    132012: (400, "(#132012) Parameter format does not match format in the created template"),
    132015: (400, "(#132015) Template is Paused"),
    132016: (400, "(#132016) Template is Disabled"),
    132018: (400, "(#132018) There was an issue with the parameters in your template"),
}

_STOPPED = (
    "Unable to deliver the message. This recipient has chosen to stop receiving marketing messages on WhatsApp "
    "from your business"
)
FAILURES = {
    131026: ("Message undeliverable", "Message Undeliverable."),
    131047: (
        "Re-engagement message",
        "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
    ),
    131050: (_STOPPED, _STOPPED),
}
"""Codes that arrive only in a failed status: title and details."""

REFERENCE = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"


class GraphError(Exception):
    """A refusal in Meta's words."""

    def __init__(
        self,
        code: int,
        details: str = "",
        *,
        subcode: int = 0,
        user_title: str = "",
        user_msg: str = "",
        status: int = 0,
        message: str = "",
        kind: str = "OAuthException",
    ) -> None:
        default_status, default_message = _TITLES.get(code, (400, f"(#{code}) Invalid parameter"))
        self.code = code
        self.status = status or default_status
        self.details = details
        self.user_msg = user_msg
        error: dict[str, Any] = {"message": message or default_message, "type": kind, "code": code}
        if details:
            error["error_data"] = {"messaging_product": "whatsapp", "details": details}
        if subcode:
            error["error_subcode"] = subcode
        if code == 2:
            error["is_transient"] = True
        elif user_msg:
            error["is_transient"] = False
        if user_title:
            error["error_user_title"] = user_title
        if user_msg:
            error["error_user_msg"] = user_msg
        self.error = error
        super().__init__(f"{error['message']} {details or user_msg}".strip())

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON, with a fresh trace id."""
        return {"error": {**self.error, "fbtrace_id": "A" + secrets.token_urlsafe(16)}}


def missing(name: str) -> GraphError:
    """A required parameter is absent."""
    return GraphError(131008, f"The parameter {name} is required.")


def unexpected(key: str, where: str) -> GraphError:
    """A field Meta does not know."""
    return GraphError(100, f'Unexpected key "{key}" on param "{where}".')


def no_such_object(node: str) -> GraphError:
    """The node does not exist, or this token may not see it: Meta does not tell which."""
    return GraphError(
        100,
        subcode=33,
        kind="GraphMethodException",
        message=(
            f"Unsupported request. Object with ID '{node}' does not exist, cannot be loaded due to missing "
            "permissions, or does not support this operation"
        ),
    )
