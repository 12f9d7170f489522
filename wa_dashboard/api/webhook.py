"""`/api/wa/webhook`: where providers report. No key: the provider's signature is the caller's proof."""

from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from .. import clock
from ..domain.text import T
from ..errors import TooLarge
from ..providers.base import WebhookRequest
from ..services import intake
from .parsing import raw_body

blueprint = Blueprint("webhook", __name__)


@blueprint.post("/webhook")
@blueprint.post("/webhook/<account_token>")
def receive(account_token: str | None = None) -> Response:
    """Verify, store, 200 ``{"received": true}`` (a form gets Twilio's empty ``<Response/>``).

    401: not signed by an account of ours. 413: over 4 MiB. 503: not stored, send again.
    """
    request.max_content_length = intake.BODY_LIMIT
    try:
        body = raw_body()
    except RequestEntityTooLarge as error:
        raise TooLarge(T("A webhook may have at most %(mib)s MiB.", mib=intake.BODY_LIMIT >> 20)) from error
    kept = intake.accept(_as_sent(body), account_token)
    if kept.form:
        return Response("<Response/>", mimetype="text/xml")
    return jsonify(received=True)


@blueprint.get("/webhook")
@blueprint.get("/webhook/<account_token>")
def challenge(account_token: str | None = None) -> Response:
    """Meta's handshake: 200 with the bare ``hub.challenge`` when ``hub.verify_token`` is the account's, else 403."""
    return Response(intake.answer_challenge(_as_sent(b""), account_token), mimetype="text/plain")


def _as_sent(body: bytes) -> WebhookRequest:
    """The request as the provider signed it: under the public address, whatever Host and X-Forwarded-* say."""
    query = request.query_string.decode("latin-1")
    url = current_app.extensions["wa_settings"].public_url + request.path + (f"?{query}" if query else "")
    return WebhookRequest(request.method, url, dict(request.headers), body, received_at=clock.now())
