"""Twilio's error body and Basic authentication, shared by the Messages and the Content API."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from aiohttp import web

from .door import Reply
from .records import Account
from .world import World

_TEXTS: dict[int, tuple[int, str]] = {
    20001: (400, "Unknown parameters"),
    20003: (401, "Authenticate"),
    20004: (405, "Method not allowed"),
    20404: (404, "The requested resource was not found"),
    20422: (400, "Invalid parameter"),
    20429: (429, "Too Many Requests"),
    20503: (503, "Service is unavailable. Please try again"),
    21211: (400, "Invalid 'To' Phone Number"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21609: (400, "The 'StatusCallback' URL is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21620: (400, "Invalid media URL(s)"),
    21655: (400, "The ContentSid is Invalid"),
    21656: (400, "The ContentVariables Parameter is invalid"),
    21701: (404, "The Messaging Service does not exist"),
    21705: (400, "The Messaging Service is invalid"),
    63007: (400, "Twilio could not find a Channel with the specified From address"),
    63031: (400, "Message cannot have the same To and From"),
    92001: (400, "Content: invalid request"),
}


class TwilioError(Exception):
    """A refusal in Twilio's words."""

    def __init__(self, code: int, detail: str = "") -> None:
        self.status, message = _TEXTS[code]
        self.body: dict[str, Any] = {
            "code": code,
            "message": f"{message}: {detail}" if detail and code != 20003 else message,
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": self.status,
        }
        if code == 20003:
            self.body["detail"] = detail or "Your AccountSid or AuthToken was incorrect."
        super().__init__(self.body["message"])

    @property
    def reply(self) -> Reply:
        """The refusal as an answer."""
        headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if self.status == 401 else {}
        return Reply(self.status, self.body, headers=headers)


def authenticated(world: World, request: web.Request) -> list[Account]:
    """Accounts whose token or API key the request carries. Raises TwilioError 20003."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise TwilioError(20003, "Your request carries no credentials.")
    try:
        user, _, password = b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise TwilioError(20003) from None
    found = []
    for account in world.login("twilio", user):
        known = account.credentials
        secret = known["auth_token"] if user == account.key else ""
        if user and user == known.get("api_key"):
            secret = known.get("api_secret", "")
        if secret and hmac.compare_digest(secret.encode(), password.encode()):
            found.append(account)
    if not found:
        raise TwilioError(20003)
    return found


def guarded(answer: Callable[[web.Request, bytes], Reply]) -> Callable[[web.Request, bytes], Reply]:
    """The answer with refusals turned into replies."""

    def guard(request: web.Request, body: bytes) -> Reply:
        try:
            return answer(request, body)
        except TwilioError as error:
            return error.reply

    return guard
