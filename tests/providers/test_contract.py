"""What every provider promises. A class that registers is covered; nothing has to be listed."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wa_dashboard.domain.text import T
from wa_dashboard.providers import base
from wa_dashboard.providers.base import (
    BadCredentials,
    Item,
    Outcome,
    Provider,
    ProviderError,
    WebhookRequest,
    WireReply,
    all_providers,
    explain,
    provider_named,
    provider_names,
)
from wa_dashboard.providers.transport import carry

from .far_end import closed_port, far_end, http
from .planted import REGISTERED_ITSELF, Planted
from .samples import CORRELATION, DRAFT, account, carries, each_provider, outbound, parsed

KINDS = {"accepted", "not_sent", "throttled", "rejected", "ambiguous"}
SCOPES = {"message", "recipient", "pair", "sender", "account", "template", "provider"}
CALLS = {
    "submit_template": lambda provider: provider.submit_template(DRAFT),
    "template_status": lambda provider: provider.template_status("HX1", DRAFT.name, DRAFT.language),
    "list_templates": lambda provider: provider.list_templates(),
    "delete_template": lambda provider: provider.delete_template("HX1", DRAFT.name, DRAFT.language),
}
GARBAGE = [b"", b"{}", b"[]", b"null", b'"x"', b"<html>Bad Gateway</html>", b"\xff\xfe", b"[" * 100_000, b"{" * 9]
GARBAGE += [b'{"error":null}', b'{"error":[]}', b'{"error":{"code":{}}}', b'{"code":[]}', b'{"messages":{}}']
GARBAGE += [b'{"error":{"code":' + b"9" * 5000 + b"}}", b'{"error":{"code":NaN}}', b'{"sid":1}', b'{"messages":[1]}']


def test_planted_provider_is_registered_like_the_others():
    assert REGISTERED_ITSELF
    assert set(all_providers()) == {"meta_cloud", "twilio", "dialog360", "planted"}
    assert provider_named("planted") is Planted
    assert provider_names() == sorted(all_providers())


def test_a_second_provider_of_the_same_name_is_refused():
    with pytest.raises(TypeError, match="already a provider named twilio"):
        type("Other", (Provider,), {"name": "twilio"})


def test_an_incomplete_provider_cannot_be_made():
    unfinished = type("Unfinished", (Provider,), {})

    with pytest.raises(TypeError, match="abstract"):
        unfinished({}, {})


@each_provider
def test_declares_who_it_is(kind):
    assert kind.name.isidentifier()
    assert isinstance(kind.label, T)
    assert all(url.startswith("https://") for url in kind.official_urls.values())
    assert len({credential.name for credential in kind.credentials}) == len(kind.credentials)
    assert all(isinstance(credential.label, T) for credential in kind.credentials)
    assert any(credential.secret for credential in kind.credentials)
    assert any(credential.required for credential in kind.credentials)


@each_provider
def test_random_test_credentials_are_valid_and_differ(kind):
    first, second = (kind.random_test_credentials(random.Random(seed)) for seed in (1, 2))

    assert kind.validate_credentials(first) == first
    assert first != second
    assert kind.account_keys(first) != kind.account_keys(second)
    assert all(":" in key for key in kind.account_keys(first))
    assert (kind.sender_of(first) or "+").startswith("+")


@each_provider
def test_credentials_missing_or_unknown_are_named(kind):
    given = kind.random_test_credentials(random.Random(1))
    required = next(credential.name for credential in kind.credentials if credential.required)

    with pytest.raises(BadCredentials) as without:
        kind.validate_credentials({key: value for key, value in given.items() if key != required})
    with pytest.raises(BadCredentials) as with_more:
        kind.validate_credentials({**given, "colour": "red"})
    with pytest.raises(BadCredentials) as empty:
        kind.validate_credentials({**given, required: "  "})
    with pytest.raises(BadCredentials) as broken:
        kind.validate_credentials({**given, required: "a\r\nX-Evil: 1"})

    assert required in without.value.missing
    assert required in str(without.value)
    assert with_more.value.unknown == ("colour",)
    assert empty.value.missing == (required,)
    assert broken.value.invalid == (required,)


@each_provider
def test_send_goes_to_the_given_base_and_carries_our_id(kind):
    provider = account(kind, "http://127.0.0.1:9/below")

    request = provider.build_send(outbound(provider))

    assert request.method == "POST"
    assert request.url.startswith("http://127.0.0.1:9/below/api/")
    assert carries(request.body, CORRELATION)
    assert carries(request.body, "+40722000001")
    assert provider.build_send(outbound(provider)) == request


@each_provider
@pytest.mark.parametrize(
    ("reply", "kind_of_outcome"),
    [
        (WireReply(None, request_started=False, error="refused"), "not_sent"),
        (WireReply(None, request_started=True, error="timeout"), "ambiguous"),
        (WireReply(None, request_started=True), "ambiguous"),
        (WireReply(200, {}, b"{}", error="truncated"), "ambiguous"),
        (WireReply(200, {}, b"{}"), "ambiguous"),
        (WireReply(201, {}, b"<html>"), "ambiguous"),
        (WireReply(204, {}, b""), "ambiguous"),
        (WireReply(500, {}, b"<html>"), "ambiguous"),
        (WireReply(502, {}, b"Bad Gateway"), "ambiguous"),
        (WireReply(503, {}, b"<html>"), "ambiguous"),
        (WireReply(504, {}, b""), "ambiguous"),
        (WireReply(400, {}, b"<html>"), "rejected"),
        (WireReply(408, {}, b"<html>"), "ambiguous"),
        (WireReply(302, {"Location": "https://elsewhere"}, b""), "not_sent"),
        (WireReply(429, {"retry-after": "17"}, b""), "throttled"),
    ],
)
def test_answers_without_a_known_error_are_classified(kind, reply, kind_of_outcome):
    assert account(kind).read_send(reply).kind == kind_of_outcome


@each_provider
def test_unauthorised_holds_the_account(kind):
    outcome = account(kind).read_send(WireReply(401, {}, b"<html>"))

    assert (outcome.kind, outcome.error_class, outcome.holds) == ("rejected", "account_stop", "account")


@each_provider
@pytest.mark.parametrize("wait", ["17", "Wed, 21 Oct 2065 07:28:00 GMT", "-3", "soon", "9" * 400, "١٧", "\ud800"])
def test_retry_after_never_breaks_the_reading(kind, wait):
    outcome = account(kind).read_send(WireReply(429, {"Retry-After": wait}, b""))

    assert outcome.kind == "throttled"
    assert outcome.retry_after == {"17": 17.0, "Wed, 21 Oct 2065 07:28:00 GMT": 86_400.0}.get(wait)


@each_provider
@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("status", [200, 400, 403, 500, 503])
def test_garbage_is_read_without_raising(kind, body, status):
    outcome = account(kind).read_send(WireReply(status, {}, body))

    assert outcome.kind in KINDS - {"accepted"}
    assert outcome.scope in SCOPES


@each_provider
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["error", "code", "message", "messages", "id", "sid", "meta", "status", "error_code", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).map(lambda value: __import__("json").dumps(value).encode()),
    status=st.integers(100, 599),
)
def test_no_answer_makes_the_reader_raise(kind, body, status):
    provider = account(kind)

    for outcome in (provider.read_send(WireReply(status, {}, body)), provider.judged(WireReply(status, {}, body))):
        assert isinstance(outcome, Outcome)
        assert outcome.kind in KINDS
        assert outcome.scope in SCOPES
        assert (outcome.error_class is None) == (outcome.kind == "accepted")
        assert all(explain(kind.name, outcome.code, outcome.error_class))


@each_provider
def test_a_webhook_without_proof_is_refused(kind):
    provider = account(kind)
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    for headers in ({}, {kind.webhook_header: ""}, {kind.webhook_header: "sha256="}, {kind.webhook_header: "ș\udcff"}):
        for body in (b"", b"{}", b"MessageSid=SM1&MessageStatus=sent"):
            request = WebhookRequest("POST", "https://wa.example.org/hook", headers | form, body)
            assert provider.verify_webhook(request) is False


@each_provider
def test_recognises_its_own_header_and_nothing_else(kind):
    assert kind.recognises(WebhookRequest("POST", "https://h/", {kind.webhook_header.upper(): "x"}))
    assert not kind.recognises(WebhookRequest("POST", "https://h/", {"X-Other": "x"}))


@each_provider
@pytest.mark.parametrize("body", [*GARBAGE, b"\x00", b"a=%00", b"=&=&", b"MessageStatus=%ED%A0%80"], ids=str)
def test_webhook_parsing_gives_items_or_says_malformed(kind, body):
    headers = {"Content-Type": "application/x-www-form-urlencoded" if b"=" in body else "application/json"}
    request = WebhookRequest("POST", "https://h/", headers, body)
    provider = account(kind)

    result = parsed(provider, request)

    assert isinstance(kind.account_keys_in(request), list)
    assert result
    assert isinstance(result, str) or all(isinstance(i, Item) and i.key and i.at.tzinfo is UTC for i in result)


@each_provider
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_closed_port_is_surely_not_sent(kind, call):
    provider = account(kind, closed_port())

    with pytest.raises(ProviderError) as problem:
        call(provider)
    probe = provider.probe()

    assert problem.value.outcome.kind == "not_sent"
    assert problem.value.outcome.error_class == "network"
    assert probe.ok is False
    assert str(kind.label) in probe.sentence


@each_provider
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"", "ambiguous"),
        (http(200, b'{"id":"1"', length=400), "ambiguous"),
        (http(502, b"<html>"), "ambiguous"),
        (http(200, b"<html>"), "ambiguous"),
        (http(401, b"{}"), "rejected"),
        (http(429, b"{}", "Retry-After: 9"), "throttled"),
        (http(302, b"", "Location: http://127.0.0.1:1/"), "not_sent"),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id', "ambiguous"),
        (b"nonsense\r\n\r\n", "ambiguous"),
    ],
    ids=["closed", "truncated", "502", "html", "401", "429", "redirect", "half a chunk", "nonsense"],
)
def test_bad_far_ends_are_told_apart(kind, answer, outcome):
    with far_end(answer) as (base_url, seen):
        provider = account(kind, base_url)
        with pytest.raises(ProviderError) as problem:
            provider.list_templates()
        sent = provider.read_send(carry(provider.build_send(outbound(provider))))

    assert problem.value.outcome.kind == outcome
    assert sent.kind == outcome
    assert len(seen) == 2, "nothing is tried twice and no redirect is followed"


@each_provider
def test_a_far_end_that_hangs_is_ambiguous(kind):
    with far_end(None, hang=True) as (base_url, _):
        provider = account(kind, base_url)
        reply = carry(provider.build_send(outbound(provider)), timeout=(0.5, 0.3))

    assert reply.status is None
    assert reply.request_started
    assert provider.read_send(reply).kind == "ambiguous"


@each_provider
def test_probe_says_yes_in_words(kind):
    with far_end(http(200, b'{"id":"1"}')) as (base_url, seen):
        probe = account(kind, base_url).probe()

    assert probe.ok
    assert str(kind.label) in probe.sentence
    assert seen[0].startswith(b"GET "), "a probe changes nothing"


@each_provider
def test_every_code_is_explained_in_whole_sentences(kind):
    for code in kind.codes:
        reason, advice = explain(kind.name, code)
        for sentence in (reason, advice):
            assert isinstance(sentence, T)
            assert sentence.endswith(".")
            assert code not in sentence


def test_a_moment_is_given_when_the_provider_gives_none():
    came = datetime(2026, 11, 23, 12, tzinfo=UTC)

    assert base.received_at(WebhookRequest("POST", "https://h/", received_at=came)) == came
