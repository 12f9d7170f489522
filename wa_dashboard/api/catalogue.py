"""Every code a problem of the API can carry: what it means and what to do. Shown at ``/problems/<code>``."""

from dataclasses import dataclass

from ..domain.text import T


@dataclass(frozen=True)
class Entry:
    """``status``: the HTTP status it comes with. ``repeat``: may the same request be sent again as it is?"""

    status: int
    title: T
    meaning: T
    remedy: T
    repeat: bool = False


PROBLEMS: dict[str, Entry] = {
    "webhook_signature_invalid": Entry(
        401,
        T("The webhook is not signed"),
        T("The post does not prove that it comes from the provider of one of our accounts. Nothing was stored."),
        T("Compare the secret and the public address: the signature covers both. Then let the provider post again."),
    ),
    "malformed_json": Entry(
        400,
        T("The body is not JSON"),
        T("The text could not be read as JSON, or holds what JSON leaves doubtful: a key twice, NaN, half a letter."),
        T("Build the body with a JSON library, in UTF-8, and send it again."),
    ),
    "malformed_request": Entry(
        400,
        T("The request could not be read"),
        T("A header or a parameter is not written as this API expects it."),
        T("Read the detail of the answer: it names the header or parameter."),
    ),
    "cursor_mismatch": Entry(
        400,
        T("The cursor belongs to another list"),
        T("A cursor works only with the filters of the answer it came in, and only for your organisation."),
        T("Repeat the filters with the cursor, or start again without a cursor."),
    ),
    "bad_filter": Entry(
        400,
        T("A filter is not known"),
        T("A query parameter has an unknown name or a value that cannot be."),
        T("Read the errors of the answer: each names the parameter and what it may hold."),
    ),
    "key_in_query": Entry(
        400,
        T("The API key was in the address"),
        T("Addresses end up in logs and histories, so a key there counts as leaked."),
        T("Send it in the header Authorization: Bearer …, and replace this key."),
    ),
    "idempotency_key_invalid": Entry(
        400,
        T("The Idempotency-Key is not usable"),
        T("It must have 1 to 255 printable ASCII characters."),
        T("Use a UUID, one for each thing you want done once."),
    ),
    "idempotency_key_missing": Entry(
        400,
        T("An Idempotency-Key is needed"),
        T("This call must never happen twice by accident, and has no key of its own to tell."),
        T("Send the header Idempotency-Key with a UUID, and repeat it when you repeat the call."),
    ),
    "test_clock_refused": Entry(
        400,
        T("The clock cannot be moved"),
        T("X-WA-Test-Clock works with test keys only and takes an RFC 3339 time."),
        T("Leave the header out, or use a test key."),
    ),
    "unauthenticated": Entry(
        401,
        T("No valid API key"),
        T("The header Authorization: Bearer … is missing, or the key in it is unknown, expired or revoked."),
        T("Take a key from Settings, or from python3 app.py api-key-create."),
    ),
    "insufficient_balance": Entry(
        402,
        T("The balance is too low"),
        T("The prepaid balance does not cover what was asked."),
        T("Top up the balance, then send the same request again."),
        repeat=True,
    ),
    "tenant_in_test_mode": Entry(
        403,
        T("The organisation is in test mode"),
        T("A live key was used, but the organisation has not gone live, or went back to test mode."),
        T("Use a test key, or have the owner go live under Settings, Going live."),
    ),
    "scope_missing": Entry(
        403,
        T("The key may not do this"),
        T("The key is valid, but was made without the scope this call needs."),
        T("Make a key with that scope; the answer names it."),
    ),
    "verify_token_wrong": Entry(
        403,
        T("The verify token is wrong"),
        T("Meta asked for a webhook with a token that is not the account's."),
        T("Copy the verify token of the account's settings into Meta's console."),
    ),
    "tenant_not_found": Entry(
        404,
        T("No such organisation"),
        T("The organisation in the address is not the one of the key, or does not exist: the answer is the same."),
        T("Use the tenant id that was shown together with the key."),
    ),
    "not_found": Entry(
        404,
        T("Not found"),
        T("There is nothing at this address, or it belongs to another organisation: the answer is the same."),
        T("Check the address and the id."),
    ),
    "method_not_allowed": Entry(
        405,
        T("Not with this method"),
        T("The address exists, but does not take this HTTP method."),
        T("The header Allow of the answer lists the methods it takes."),
    ),
    "idempotency_in_progress": Entry(
        409,
        T("The same request is still being worked on"),
        T("Another request with this Idempotency-Key has not been answered yet."),
        T("Wait a second and send it again: you will get the answer of the first."),
        repeat=True,
    ),
    "stale_event_version": Entry(
        409,
        T("A newer version of the event is known"),
        T("The event came with a lower version than the one already stored."),
        T("Send the present state of the event with a higher version."),
    ),
    "state_conflict": Entry(
        409,
        T("Not possible in the present state"),
        T("The thing exists, but its state does not allow this now."),
        T("Look at current_state in the answer."),
    ),
    "approval_required": Entry(
        409,
        T("A second person must approve"),
        T("More people would be reached than one person alone may decide."),
        T("Ask a colleague to approve it in the dashboard."),
    ),
    "precondition_failed": Entry(
        412,
        T("It has changed meanwhile"),
        T("If-Match names a version that is no longer the present one."),
        T("Read it again, apply your change to what you read, and send that."),
    ),
    "body_too_large": Entry(
        413,
        T("The request is too large"),
        T("A body may have at most 1 MiB."),
        T("Split it into several requests."),
    ),
    "unsupported_media_type": Entry(
        415,
        T("Send JSON"),
        T("The body must be JSON and say so."),
        T("Send the header Content-Type: application/json."),
    ),
    "validation_failed": Entry(
        422,
        T("Request did not validate"),
        T("The request was understood, but one or more fields are not right. Nothing was done."),
        T("Read the errors of the answer: each has a pointer to the field and says what to do."),
    ),
    "idempotency_key_reused": Entry(
        422,
        T("The Idempotency-Key was used for something else"),
        T("A key stands for one request. This one came before with another body or address."),
        T("Use a new key for a new request; the answer lists what differs."),
    ),
    "template_not_sendable": Entry(
        422,
        T("The template cannot be sent"),
        T("No version of it is approved in that language on an account of yours."),
        T("Wait for the approval, or name another template or language."),
    ),
    "lint_failed": Entry(
        422,
        T("The template breaks a rule"),
        T("WhatsApp would refuse it. Nothing was stored."),
        T("Fix each finding in errors, then submit again."),
    ),
    "dry_run_stale": Entry(
        422,
        T("The rehearsal is too old"),
        T("Since the dry run the people or the cost have changed too much."),
        T("Make a new dry run and look at it."),
    ),
    "not_opted_in": Entry(
        422,
        T("The person has not agreed"),
        T("With strict, a person who has not agreed to such messages is a refusal. Nothing was stored."),
        T("Send their consent along, or leave strict out: the message is then left out and said so."),
    ),
    "opted_out": Entry(
        422,
        T("The person wants no such messages"),
        T("With strict, a person who opted out is a refusal. Nothing was stored."),
        T("Do not send it; only the person can change this."),
    ),
    "rate_limited": Entry(
        429,
        T("Too many requests"),
        T("The key made more calls than it may in a minute. Messages already accepted are not affected."),
        T("Wait as long as Retry-After says, then go on."),
        repeat=True,
    ),
    "code_too_soon": Entry(
        429,
        T("A code was sent a moment ago"),
        T("To one number and for one purpose a code goes at most every 30 seconds. No second one was made."),
        T("Wait as long as Retry-After says before offering to send another."),
        repeat=True,
    ),
    "code_limit": Entry(
        429,
        T("Enough codes for this number"),
        T("A number gets at most five codes an hour: more would be somebody's nuisance, or a fraud at your cost."),
        T("Wait as long as Retry-After says, or let the person prove the number another way."),
        repeat=True,
    ),
    "codes_exhausted": Entry(
        429,
        T("Enough codes for this hour"),
        T("The organisation has sent all the codes it may in an hour. Nothing else is held up."),
        T("Look for who asks for so many; the operator can allow more with WA_CODES_PER_HOUR."),
        repeat=True,
    ),
    "internal_error": Entry(
        500,
        T("Something went wrong on our side"),
        T("We did not foresee this. It was logged under the request_id of the answer; nothing was half done."),
        T("Send it again with the same Idempotency-Key; if it stays, give us the request_id."),
        repeat=True,
    ),
    "not_ready": Entry(
        503,
        T("Not ready"),
        T("The database is away or busy, or the server is stopping. Nothing was done."),
        T("Send the same request again after Retry-After seconds."),
        repeat=True,
    ),
}
